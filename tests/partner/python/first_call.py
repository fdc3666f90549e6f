"""The first call, with nothing generated: the node tells its protos by reflection, and its answer is printed as JSON.

    pip install grpcio grpcio-reflection
    python3 first_call.py 127.0.0.1:7711 ~/.local/share/hutong/merchant.token NodeService/GetStatus '{}'
"""

import json
import pathlib
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PACKAGE = "hutong.merchant.v1"


def main(address, token_file, call, body):
    service, method = call.split("/")
    token = pathlib.Path(token_file).read_text(encoding="ascii").strip()
    with grpc.insecure_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        found = pool.FindServiceByName(f"{PACKAGE}.{service}").methods_by_name[method]
        request, answer = GetMessageClass(found.input_type), GetMessageClass(found.output_type)
        invoke = channel.unary_unary(
            f"/{PACKAGE}.{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        metadata = [("authorization", f"Bearer {token}")]
        print(MessageToJson(invoke(ParseDict(json.loads(body), request()), metadata=metadata, timeout=15)))


if __name__ == "__main__":
    main(*sys.argv[1:5])
