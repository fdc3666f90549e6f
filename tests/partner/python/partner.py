"""What the Python examples share: a connection that carries the token, and calls that are repeated."""

import os
import random
import time
import uuid

import grpc

CALL_SECONDS = 15
ATTEMPTS_MAX = 6
DOMAIN = "hutong"


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Puts the token on every call. The port is plaintext on this machine, so call credentials cannot be used."""

    def __init__(self, token):
        self._metadata = (("authorization", f"Bearer {token}"), ("accept-language", "zh-CN"))

    def _with_token(self, details):
        return details._replace(metadata=(*(details.metadata or ()), *self._metadata))

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self._with_token(details), request)

    def intercept_unary_stream(self, continuation, details, request):
        return continuation(self._with_token(details), request)


def connect(endpoint_variable, token_variable):
    address = os.environ[endpoint_variable].removeprefix("http://")
    channel = grpc.insecure_channel(address, options=[("grpc.keepalive_time_ms", 30_000)])
    return grpc.intercept_channel(channel, _Bearer(os.environ[token_variable]))


def request_id():
    return uuid.uuid4().hex


def call(method, request):
    """Makes a call, and makes it again under the same request id while the node is away or asks to wait."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            again = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
            if not again or attempt + 1 == ATTEMPTS_MAX:
                raise
            time.sleep(min(2.0, 0.1 * 2**attempt) * (0.5 + random.random() / 2))
    raise AssertionError("unreachable")


def reason(error):
    """The stable reason of a refusal (google.rpc.ErrorInfo)."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info.reason
    return None
