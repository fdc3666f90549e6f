"""A till: reports sales at one shop, and redeems the vouchers that they earned at another."""

import json
import os

import grpc
import partner
from hutong_api import sale, voucher, common

PAID_MINOR = 3_800


def main():
    sales = sale.SaleServiceStub(partner.connect("HUTONG_GIVER", "HUTONG_GIVER_TOKEN"))
    vouchers = voucher.VoucherServiceStub(partner.connect("HUTONG_REDEEMER", "HUTONG_REDEEMER_TOKEN"))
    count = int(os.environ["HUTONG_SALES"])
    paid = common.Money(minor=PAID_MINOR)
    earned = redeemed = refused = 0
    for _ in range(count):
        request = sale.ReportSaleRequest(request_id=partner.request_id(), amount=paid)
        answer = partner.call(sales.ReportSale, request)
        assert answer == partner.call(sales.ReportSale, request), "one request, one answer"
        for given in answer.vouchers:
            earned += 1
            use = lambda: voucher.RedeemVoucherRequest(
                request_id=partner.request_id(), code=given.qr_text, purchase=paid
            )
            partner.call(vouchers.RedeemVoucher, use())
            redeemed += 1
            try:
                partner.call(vouchers.RedeemVoucher, use())
            except grpc.RpcError as error:
                assert partner.reason(error) == "VOUCHER_ALREADY_REDEEMED", error
                refused += 1
    print(json.dumps({
        "example": "python/pos", "sales": count, "earned": earned, "redeemed": redeemed, "refused": refused,
    }))


main()
