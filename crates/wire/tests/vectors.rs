//! The golden fingerprint of a till's request: kept with the answer for the voucher's whole life.

use hutong_record::request_hash;
use hutong_wire::{merchant::v1::RedeemVoucherRequest, trade::request_tag};
use prost::Message as _;

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::{Case, check};

#[test]
fn request_fingerprint() {
    let request = RedeemVoucherRequest { request_id: "till-1-0042".into(), ..Default::default() };
    let tag = request_tag(&request.request_id, "RedeemVoucher", &request).unwrap();
    let case = Case::new("the method, a zero byte and the encoded request, hashed")
        .text("method", "RedeemVoucher")
        .hex("request", request.encode_to_vec())
        .hex("request_hash", tag.hash);
    let stored = &check("request.json", vec![case])[0];
    let bytes = [stored.text("method").as_bytes(), &[0], &stored.bytes("request")].concat();
    assert_eq!(request_hash(&bytes).to_vec(), stored.bytes("request_hash"));
}
