// 小二, a bot: answers "what offers are there?", and notes which customers it sent where.
import assert from "node:assert/strict";
import { call, connect, grpc, requestId } from "./hutong.mjs";

const client = (service) => connect(service, "HUTONG_GIVER", "HUTONG_BOT_TOKEN");
const { promotions } = await call(client("PromotionService"), "ListPromotions", {});
const offers = promotions.map(({ title, amount_off: off }) => `${title}（${off ? `减${off.minor}分` : "有礼"}）`);
const touch = {
  request_id: requestId(), to_shop_id: promotions[0].redeemer_id, card_id: requestId(), kind: "TOUCH_KIND_INVITE",
  channel: "bot",
};
const { touch_id: touchId } = await call(client("VoucherService"), "RecordTouch", touch);
const stream = client("EventService").Watch({ resume_token: "0" }, { deadline: Date.now() + 30_000 });
const heard = await new Promise((done, fail) => {
  stream.on("data", (event) => event.record_id === touchId && done(event));
  stream.on("error", fail);
});
assert.equal(heard.type, "EVENT_TYPE_TOUCH");
stream.on("error", () => {});
stream.cancel();
await assert.rejects(call(client("ReportService"), "GetSummary", {}), { code: grpc.status.PERMISSION_DENIED });
const answer = `现在有${offers.length}个优惠：${offers.join("；")}`;
console.log(JSON.stringify({ example: "node/bot", offers: offers.length, touches: 1, answer }));
process.exit(0);
