// An export: vouchers page by page and every event from the beginning, as lines of JSON.
import assert from "node:assert/strict";
import { createWriteStream } from "node:fs";
import { call, connect, grpc } from "./hutong.mjs";

const QUIET_MS = 2_000;
const client = (service) => connect(service, "HUTONG_REDEEMER", "HUTONG_EXPORT_TOKEN");
const vouchers = client("VoucherService");
const out = createWriteStream(process.env.HUTONG_OUT);

async function* pages(filter) {
  let page_token = "";
  do {
    const page = await call(vouchers, "ListVouchers", { page_size: 7, page_token, filter });
    yield* page.vouchers;
    page_token = page.next_page_token;
  } while (page_token);
}

async function count(items) {
  let found = 0;
  for await (const item of items) {
    found += 1;
    out.write(`${JSON.stringify({ voucher: item.id, state: item.state })}\n`);
  }
  return found;
}

// Reads from a token until nothing has come for a while, and goes on from the last one until nothing comes at all.
async function events() {
  const [client_, seen, kinds] = [client("EventService"), new Set(), {}];
  for (let token = "0", before = -1; before !== seen.size; ) {
    before = seen.size;
    const stream = client_.Watch({ resume_token: token }, { deadline: Date.now() + QUIET_MS });
    try {
      for await (const event of stream) {
        assert(!seen.has(event.record_id), "each event once");
        seen.add(event.record_id);
        kinds[event.type] = (kinds[event.type] ?? 0) + 1;
        token = event.resume_token;
        out.write(`${JSON.stringify({ event: event.type, record: event.record_id })}\n`);
      }
    } catch (error) {
      assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED, error);
    }
  }
  return [seen.size, kinds];
}

const listed = await count(pages(""));
const [total, kinds] = await events();
const redeemed = await count(pages("state = REDEEMED"));
const summary = await call(client("ReportService"), "GetSummary", {});
assert.equal(redeemed, summary.redemptions);
assert.equal(kinds.EVENT_TYPE_VOUCHER_REDEEMED, summary.redemptions);
await new Promise((done) => out.end(done));
console.log(JSON.stringify({ example: "node/export", vouchers: listed, redeemed, events: total }));
process.exit(0);
