// What the Node examples share: clients from the protos, a token on every call, repeats under one request id.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const ATTEMPTS_MAX = 6;
const CALL_MS = 15_000;
const options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
const files = ["sale", "voucher", "promotion", "event", "report"].map((name) => `hutong/merchant/v1/${name}_service.proto`);
const definition = loader.loadSync(files, { ...options, includeDirs: [process.env.HUTONG_PROTO] });
const api = grpc.loadPackageDefinition(definition).hutong.merchant.v1;

export const requestId = () => randomBytes(16).toString("hex");

export function connect(service, endpointVariable, tokenVariable) {
  const address = process.env[endpointVariable].replace("http://", "");
  const bearer = `Bearer ${process.env[tokenVariable]}`;
  const interceptor = (callOptions, next) =>
    new grpc.InterceptingCall(next(callOptions), {
      start(metadata, listener, start) {
        metadata.set("authorization", bearer);
        start(metadata, listener);
      },
    });
  return new api[service](address, grpc.credentials.createInsecure(), { interceptors: [interceptor] });
}

export async function call(client, method, request) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await new Promise((done, fail) => {
        const deadline = Date.now() + CALL_MS;
        client[method](request, { deadline }, (error, answer) => (error ? fail(error) : done(answer)));
      });
    } catch (error) {
      const again = [grpc.status.UNAVAILABLE, grpc.status.RESOURCE_EXHAUSTED].includes(error.code);
      if (!again || attempt === ATTEMPTS_MAX) throw error;
      await sleep(Math.min(2_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2));
    }
  }
}

// The stable reason of a refusal, read out of google.rpc.Status without its protos: an ErrorInfo's first field.
export function hasReason(error, reason) {
  return error.metadata.get("grpc-status-details-bin").some((bytes) => bytes.includes(reason));
}

export { grpc };
