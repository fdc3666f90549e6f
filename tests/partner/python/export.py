"""An export: vouchers page by page and every event from the beginning, as lines of JSON."""

import collections
import json
import os

import grpc
import partner
from hutong_api import event, report, voucher

PAGE_SIZE = 7
QUIET_SECONDS = 2


def pages(vouchers, **more):
    token = ""
    while True:
        page = partner.call(
            vouchers.ListVouchers, voucher.ListVouchersRequest(page_size=PAGE_SIZE, page_token=token, **more)
        )
        yield from page.vouchers
        token = page.next_page_token
        if not token:
            return


def events(channel):
    """Up to the first bookmark after everything that there is; a stream cut off by its deadline goes on from its token."""
    stub, token = event.EventServiceStub(channel), "0"
    while True:
        heard = 0
        try:
            request = event.WatchRequest(resume_token=token)
            for one in stub.Watch(request, timeout=QUIET_SECONDS):
                token, heard = one.resume_token, heard + 1
                yield one
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        if not heard:
            return


def main():
    channel = partner.connect("HUTONG_REDEEMER", "HUTONG_EXPORT_TOKEN")
    vouchers = voucher.VoucherServiceStub(channel)
    kinds, listed = collections.Counter(), 0
    with open(os.environ["HUTONG_OUT"], "w", encoding="utf-8") as out:
        for one in pages(vouchers):
            listed += 1
            print(json.dumps({"voucher": one.id, "state": one.state}), file=out)
        seen = set()
        for one in events(channel):
            assert one.record_id not in seen, "each event once"
            seen.add(one.record_id)
            kinds[one.type] += 1
            print(json.dumps({"event": one.type, "record": one.record_id}), file=out)
    redeemed = sum(1 for _ in pages(vouchers, filter="state = REDEEMED"))
    summary = partner.call(report.ReportServiceStub(channel).GetSummary, report.GetSummaryRequest())
    assert redeemed == summary.redemptions == kinds[event.EVENT_TYPE_VOUCHER_REDEEMED], (redeemed, summary, kinds)
    print(json.dumps({
        "example": "python/export", "vouchers": listed, "redeemed": redeemed, "events": sum(kinds.values()),
    }))


main()
