//! The golden bytes of what nodes say to each other, and the fingerprint of a till's request, which is kept with the
//! answer for the voucher's whole life.

use bytes::Bytes;
use hutong_record::{
    AllianceId, Audience, Draft, Payload, Record, ShopId, SigningKey, UnixMillis, proto::Kind, request_hash,
    sign,
};
use hutong_sync::{Frame, FrontierDigest, GoodbyeReason, PeerHead};
use hutong_wire::{
    frame::{from_wire, to_wire},
    merchant::v1::RedeemVoucherRequest,
    peer::v1 as peer,
    trade::request_tag,
};
use prost::Message as _;

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::{Case, check};

/// The fuzz targets' alliance, so that these frames are where they begin.
const ALLIANCE: AllianceId = AllianceId::new([3; 32]);

fn record() -> Record {
    let draft = Draft {
        alliance: ALLIANCE,
        shop: ShopId::new([4; 32]),
        key_epoch: 0,
        incarnation: 0,
        sequence: 1,
        previous: None,
        time: UnixMillis::EPOCH,
        kind: Kind::Profile,
        audience: Audience::Alliance,
    };
    let payload = Payload::from_bytes(Bytes::from_static(&[7; 20])).expect("within bounds");
    sign(draft, payload, &SigningKey::from_seed(&[4; 32]))
}

fn frames() -> [(&'static str, Frame); 12] {
    let shop = ShopId::new([4; 32]);
    let mut head_prefix = [0; 8];
    head_prefix.copy_from_slice(&record().id().as_bytes()[..8]);
    let heads = vec![PeerHead { shop, sequence: 1, head_prefix, incarnation: 0 }];
    let digest = FrontierDigest::new([0xd1; 32]);
    [
        ("hello", Frame::Hello { versions: vec![1], alliance: ALLIANCE, digest }),
        ("hello of version 2", Frame::Hello { versions: vec![1, 2], alliance: ALLIANCE, digest }),
        ("sketch", Frame::Sketch { bucket_count: 2, bits: bytes::Bytes::from_static(&[0x12, 0x3a, 0xbc]) }),
        (
            "part",
            Frame::Part {
                bucket_count: 16,
                buckets: bytes::Bytes::from_static(&[0x21, 0x80]),
                heads: heads.clone(),
                complete: true,
                rest: digest,
                fill_bytes_max: 262_144,
            },
        ),
        ("counterpart", Frame::Counterpart { heads: heads.clone(), complete: true, fill_bytes_max: 262_144 }),
        ("filled", Frame::Filled),
        ("frontier", Frame::Frontier { heads: heads.clone(), complete: true }),
        ("records", Frame::Records { shop, runs: vec![vec![record().to_message()]], pushed: false }),
        ("have", Frame::Have { heads }),
        ("want", Frame::Want { shop: ShopId::new([1; 32]), from_sequence: 1, body_bytes_max: 65_536 }),
        ("alarm", Frame::Alarm { shop, sequence: 7, proof: bytes::Bytes::from_static(b"an encoded proof") }),
        ("goodbye", Frame::Goodbye { reason: GoodbyeReason::Shutdown, detail: "closing time".into() }),
    ]
}

#[test]
fn frames_between_nodes() {
    let case = |(name, frame)| Case::new(name).hex("frame", to_wire(frame).encode_to_vec());
    for (stored, (_, frame)) in check("frame.json", frames().map(case).into()).iter().zip(frames()) {
        let message = peer::Frame::decode(stored.bytes("frame").as_slice()).unwrap();
        assert_eq!(from_wire(message), Ok(frame));
    }
}

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
