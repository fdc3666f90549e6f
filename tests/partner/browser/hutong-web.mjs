// gRPC-Web with nothing but fetch: a page lists the offers and follows the first event. Messages are read by hand, field
// by field, so that the page needs no build step; a real app would use generated code.

const utf8 = new TextDecoder();

function frame(message) {
  const framed = new Uint8Array(5 + message.length);
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, 5);
  return framed;
}

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
      shift += 7n;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, type] = [key >>> 3, key & 7];
    if (type === 0) yield [number, varint()];
    else if (type === 2) {
      const length = varint();
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error(`wire type ${type}`);
  }
}

// Frames as they come; the last one holds the trailers.
async function* frames(response) {
  let waiting = new Uint8Array();
  for await (const chunk of response.body) {
    const joined = new Uint8Array(waiting.length + chunk.length);
    joined.set(waiting);
    joined.set(chunk, waiting.length);
    waiting = joined;
    while (waiting.length >= 5) {
      const length = new DataView(waiting.buffer, waiting.byteOffset).getUint32(1);
      if (waiting.length < 5 + length) break;
      yield [waiting[0], waiting.subarray(5, 5 + length)];
      waiting = waiting.slice(5 + length);
    }
  }
}

export class Hutong {
  constructor(endpoint, token) {
    this.endpoint = endpoint;
    this.headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1", authorization: `Bearer ${token}` };
  }

  async *call(method, message = new Uint8Array(), signal = undefined) {
    const request = { method: "POST", headers: this.headers, body: frame(message), signal };
    const response = await fetch(`${this.endpoint}/hutong.merchant.v1.${method}`, request);
    let status = response.headers.get("grpc-status");
    for await (const [flags, bytes] of frames(response)) {
      if (flags & 0x80) status = /grpc-status:\s*(\d+)/.exec(utf8.decode(bytes))?.[1];
      else yield bytes;
    }
    if (status !== "0") throw new Error(`${method}: grpc-status ${status}`);
  }

  async offers() {
    const titles = [];
    for await (const page of this.call("PromotionService/ListPromotions")) {
      for (const [number, promotion] of fields(page)) {
        // ListPromotionsResponse.promotions = 1, Promotion.title = 3.
        if (number === 1) for (const [field, value] of fields(promotion)) if (field === 3) titles.push(utf8.decode(value));
      }
    }
    return titles;
  }

  // Events from the beginning, until there are so many.
  async events(wanted) {
    const stop = new AbortController();
    const tokens = [];
    // WatchRequest.resume_token = 2: "0".
    for await (const event of this.call("EventService/Watch", new Uint8Array([0x12, 1, 0x30]), stop.signal)) {
      for (const [number, value] of fields(event)) if (number === 1) tokens.push(utf8.decode(value));
      if (tokens.length >= wanted) break;
    }
    stop.abort();
    return tokens;
  }

  // The status of a call that the token does not cover.
  async denied() {
    try {
      for await (const _ of this.call("ReportService/GetSummary"));
      return "";
    } catch (error) {
      return error.message;
    }
  }
}

export async function visit(endpoint, token) {
  const hutong = new Hutong(endpoint, token);
  const [offers, tokens, denied] = [await hutong.offers(), await hutong.events(3), await hutong.denied()];
  if (!denied.endsWith("grpc-status 7")) throw new Error(`not denied: ${denied}`);
  return { offers: offers.length, events: new Set(tokens).size, answer: offers.join("；") };
}
