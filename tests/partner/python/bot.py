"""小二, a bot: answers "what offers are there?", and notes which customers it sent where."""

import json

import grpc
import partner
from hutong_api import event, promotion, report, voucher


def offer(one):
    kind = one.WhichOneof("benefit")
    worth = f"减{one.amount_off.minor}分" if kind == "amount_off" else "有礼"
    return f"{one.title}（{worth}）"


def main():
    channel = partner.connect("HUTONG_GIVER", "HUTONG_BOT_TOKEN")
    listed = partner.call(
        promotion.PromotionServiceStub(channel).ListPromotions, promotion.ListPromotionsRequest()
    ).promotions
    answer = f"现在有{len(listed)}个优惠：" + "；".join(offer(one) for one in listed)
    touch = voucher.RecordTouchRequest(
        request_id=partner.request_id(), to_shop_id=listed[0].redeemer_id, card_id=partner.request_id(),
        kind=voucher.TOUCH_KIND_INVITE, channel="bot",
    )
    touch_id = partner.call(voucher.VoucherServiceStub(channel).RecordTouch, touch).touch_id
    stream = event.EventServiceStub(channel).Watch(event.WatchRequest(resume_token="0"), timeout=30)
    heard = next(one for one in stream if one.record_id == touch_id)
    assert heard.type == event.EVENT_TYPE_TOUCH
    stream.cancel()
    try:
        report.ReportServiceStub(channel).GetSummary(report.GetSummaryRequest(), timeout=15)
        raise AssertionError("a bot sees no books")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED and partner.reason(error) == "SCOPE_MISSING"
    print(json.dumps({"example": "python/bot", "offers": len(listed), "touches": 1, "answer": answer}, ensure_ascii=False))


main()
