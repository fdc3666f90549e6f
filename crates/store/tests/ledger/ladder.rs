//! AUT-1, LOG-1: each rung of the ladder has its own refusal.

use hutong_core::ingest::IngestError;
use hutong_record::{
    AllianceId, Audience, Draft, HeaderError, PAYLOAD_BYTES_MAX, RUN_RECORDS_MAX, Record, RecordError,
    RecordId, RunError, proto, proto::Kind,
};
use prost::Message as _;

use crate::street::{Street, draft, keys};

const MINUTE_MS: i64 = 60_000;

/// A street, and the next record of shop 1, which shop 0 does not hold.
fn street() -> (Street, Record) {
    let mut street = Street::new(40, 3);
    for name in ["甲", "乙"] {
        let profile = profile(name);
        street.plant(1, Kind::Profile, &[], &profile);
    }
    street.meet();
    let record = street.craft(1, Kind::Profile, &[], &profile("丙"));
    (street, record)
}

fn profile(name: &str) -> proto::Profile {
    proto::Profile { name: name.into(), category: String::new(), addresses: Vec::new() }
}

/// What shop 0 says to a message.
fn refusal(street: &mut Street, messages: Vec<proto::Record>) -> IngestError {
    let ledger = &mut street.shops[0].ledger;
    let before = ledger.staged_count();
    let refused = ledger.ingest(messages, street.now).unwrap().unwrap_err();
    assert_eq!(ledger.staged_count(), before, "nothing of a refused run is kept");
    refused
}

fn refuses(change: impl FnOnce(&mut Street, &mut proto::Record)) -> IngestError {
    let (mut street, record) = street();
    let mut message = record.to_message();
    change(&mut street, &mut message);
    refusal(&mut street, vec![message])
}

fn refuses_signed(change: impl FnOnce(&mut Draft)) -> IngestError {
    let (mut street, record) = street();
    let mut draft = draft(&record);
    change(&mut draft);
    let record = street.sign(1, draft, &profile("丙").encode_to_vec());
    refusal(&mut street, vec![record.to_message()])
}

#[test]
fn the_record_itself_is_taken_in() {
    let (mut street, record) = street();
    assert_eq!(street.shops[0].take(&[record], street.now), Ok(true));
}

#[test]
fn a_run_of_no_records_or_too_many_is_refused() {
    let (mut street, record) = street();
    assert_eq!(refusal(&mut street, Vec::new()), IngestError::Length(0));
    let many = vec![record.to_message(); RUN_RECORDS_MAX + 1];
    assert_eq!(refusal(&mut street, many), IngestError::Length(RUN_RECORDS_MAX + 1));
}

#[test]
fn a_payload_over_64_kib_is_refused_before_anything_is_read() {
    let long = PAYLOAD_BYTES_MAX + 1;
    let refused = refuses(|_, message| {
        *message = proto::Record { payload: vec![0; long].into(), ..Default::default() }
    });
    assert_eq!(refused, IngestError::Size(long));
}

#[test]
fn headers_that_are_cut_padded_or_written_otherwise_are_refused() {
    let not_canonical = IngestError::Malformed(RecordError::Header(HeaderError::NotCanonical));
    assert_eq!(refuses(|_, m| m.header = m.header.slice(..m.header.len() - 1)), not_canonical);
    let unknown_field = [0x98, 0x06, 0x01];
    assert_eq!(refuses(|_, m| m.header = [&m.header[..], &unknown_field].concat().into()), not_canonical);
    let repeated = [0x08, 0x01];
    assert_eq!(refuses(|_, m| m.header = [&m.header[..], &repeated].concat().into()), not_canonical);
    let short_signature = IngestError::Malformed(RecordError::SignatureBytes(63));
    assert_eq!(refuses(|_, m| m.signature = m.signature.slice(..63)), short_signature);
}

#[test]
fn another_alliances_record_is_refused() {
    let other = AllianceId::new([7; 32]);
    assert_eq!(refuses_signed(|draft| draft.alliance = other), IngestError::WrongAlliance(other));
}

#[test]
fn a_stranger_is_refused() {
    let (mut street, record) = street();
    let (stranger, stranger_keys) = keys(&mut street.rng, street.now);
    let draft = Draft { shop: stranger.id(), sequence: 1, previous: None, ..draft(&record) };
    let payload = hutong_record::Payload::clear(b"hello", &mut street.rng).unwrap();
    let record = hutong_record::sign(draft, payload, &stranger_keys.signing);
    let refused = refusal(&mut street, vec![record.to_message()]);
    assert_eq!(refused, IngestError::NotMember(stranger.id()));
}

#[test]
fn a_key_epoch_that_nobody_knows_is_refused() {
    assert_eq!(refuses_signed(|draft| draft.key_epoch = 1), IngestError::KeyEpoch(1));
}

#[test]
fn a_gap_is_refused() {
    let gap = refuses_signed(|draft| draft.sequence += 1);
    assert_eq!(gap, IngestError::Gap { head: 2, found: 4 });
}

#[test]
fn a_record_that_does_not_follow_the_one_held_has_diverged() {
    let other = Some(RecordId::new([7; 32]));
    let diverged = refuses_signed(|draft| draft.previous = other);
    assert!(matches!(&diverged, IngestError::Diverged(r) if r.header().sequence == 3), "{diverged:?}");
    let again = refuses_signed(|draft| draft.sequence = 2);
    assert!(matches!(&again, IngestError::Diverged(r) if r.header().sequence == 2), "{again:?}");
}

#[test]
fn an_incarnation_goes_on_and_never_back() {
    let (mut street, record) = street();
    let restored = Draft { incarnation: 1, ..draft(&record) };
    let restored = street.sign(1, restored, &profile("丙").encode_to_vec());
    street.shops[0].take(std::slice::from_ref(&restored), street.now).unwrap();
    let back = Draft { sequence: 4, previous: Some(restored.id()), ..draft(&record) };
    let back = street.sign(1, back, &profile("丁").encode_to_vec());
    let refused = refusal(&mut street, vec![back.to_message()]);
    assert!(matches!(refused, IngestError::Diverged(_)), "{refused:?}");
}

#[test]
fn a_wrong_signature_and_an_unsigned_end_are_refused() {
    let refused = IngestError::Run(RunError::Signature { sequence: 3 });
    assert_eq!(refuses(|_, message| message.signature = vec![1; 64].into()), refused);
    assert_eq!(refuses(|_, message| message.signature = Default::default()), refused);
    let by_another = refuses(|street, message| {
        let record = Record::parse(message.clone()).unwrap();
        *message = street.sign(2, draft(&record), b"x").to_message();
    });
    assert_eq!(by_another, refused);
}

#[test]
fn a_run_of_two_logs_is_no_run() {
    let (mut street, record) = street();
    let other = street.craft(2, Kind::Profile, &[], &profile("丁"));
    let next = Draft { sequence: 4, previous: Some(record.id()), ..draft(&other) };
    let next = street.sign(2, next, b"x");
    let refused = refusal(&mut street, vec![record.to_message(), next.to_message()]);
    assert_eq!(refused, IngestError::Run(RunError::Broken { sequence: 4 }));
}

#[test]
fn a_record_from_the_future_is_held_back_until_its_time_is_near() {
    let (mut street, record) = street();
    let ahead = street.now.saturating_add_ms(11 * MINUTE_MS);
    let record = street.sign(1, Draft { time: ahead, ..draft(&record) }, &profile("丙").encode_to_vec());
    assert_eq!(refusal(&mut street, vec![record.to_message()]), IngestError::HeldBack(ahead));
    street.pass(2 * MINUTE_MS);
    assert_eq!(street.shops[0].take(&[record], street.now), Ok(true), "nine minutes ahead");
}

#[test]
fn another_payload_than_the_signed_one_is_refused() {
    let refused = refuses(|_, message| {
        let mut payload = message.payload.to_vec();
        payload[20] ^= 1;
        message.payload = payload.into();
    });
    assert_eq!(
        refused,
        IngestError::Run(RunError::Payload { sequence: 3, source: RecordError::PayloadHash })
    );
    let shorter = refuses(|_, message| message.payload = message.payload.slice(1..));
    assert!(matches!(shorter, IngestError::Malformed(RecordError::Payload(_))), "{shorter:?}");
}

#[test]
fn a_cheap_check_comes_before_a_dear_one() {
    // Everything is wrong with it: the first rung speaks.
    let long = vec![0; PAYLOAD_BYTES_MAX + 1];
    assert!(matches!(
        refuses(|_, m| (m.payload, m.signature) = (long.into(), vec![1; 64].into())),
        IngestError::Size(_)
    ));
    let gap = refuses(|_, m| {
        let header = hutong_record::Header::parse(&m.header).unwrap();
        let gapped = hutong_record::Header { sequence: 9, audience: Audience::Alliance, ..header };
        (m.header, m.signature) = (gapped.to_bytes(), vec![1; 64].into());
    });
    assert_eq!(gap, IngestError::Gap { head: 2, found: 9 });
}

#[test]
fn a_record_without_its_payload_is_refused() {
    let missing = refuses(|_, message| message.payload = bytes::Bytes::new());
    assert_eq!(missing, IngestError::PayloadMissing(3));
}
