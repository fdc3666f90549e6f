// A till: reports sales at one shop, and redeems the vouchers that they earned at another.
import assert from "node:assert/strict";
import { call, connect, hasReason, requestId } from "./hutong.mjs";

const sales = connect("SaleService", "HUTONG_GIVER", "HUTONG_GIVER_TOKEN");
const vouchers = connect("VoucherService", "HUTONG_REDEEMER", "HUTONG_REDEEMER_TOKEN");
const amount = { minor: 3_800 };
const told = { example: "node/pos", sales: Number(process.env.HUTONG_SALES), earned: 0, redeemed: 0, refused: 0 };
for (let sale = 0; sale < told.sales; sale += 1) {
  const request = { request_id: requestId(), amount };
  const answer = await call(sales, "ReportSale", request);
  assert.deepEqual(await call(sales, "ReportSale", request), answer, "one request, one answer");
  for (const voucher of answer.vouchers) {
    told.earned += 1;
    const use = () => ({ request_id: requestId(), code: voucher.qr_text, purchase: amount });
    await call(vouchers, "RedeemVoucher", use());
    told.redeemed += 1;
    await assert.rejects(call(vouchers, "RedeemVoucher", use()), (error) => hasReason(error, "VOUCHER_ALREADY_REDEEMED"));
    told.refused += 1;
  }
}
console.log(JSON.stringify(told));
process.exit(0);
