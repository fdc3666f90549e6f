//! The golden bytes of identities, headers, payloads, runs, fork proofs and hashes.

use hutong_record::{
    AllianceId, Audience, Continuation, CutOff, DecryptionKey, Draft, ForkProof, Header, Identity,
    KeyOverride, PairId, Payload, Place, Record, RecordId, RecoverySeed, Sealer, ShopId, SigningKey,
    Succession, UnixMillis, incarnation_first, incarnation_last, motion_id,
    proto::{self, Kind},
    request_hash, sign, verify_run,
};
use prost::Message as _;

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::{Case, Counting, Stored, check, read};

const ALLIANCE: AllianceId = AllianceId::new([0xa1; 32]);
const AUTHOR: ShopId = ShopId::new([1; 32]);
const ALLY: ShopId = ShopId::new([2; 32]);
/// Seed of the author's signing key. The fuzz targets know it too.
const AUTHOR_SEED: [u8; 32] = [1; 32];
const TIME_UNIX_MS: i64 = 1_767_225_600_000;

fn key() -> SigningKey {
    SigningKey::from_seed(&AUTHOR_SEED)
}

fn draft(sequence: u64, previous: Option<RecordId>, audience: Audience) -> Draft {
    Draft {
        alliance: ALLIANCE,
        shop: AUTHOR,
        key_epoch: 0,
        incarnation: 3,
        sequence,
        previous,
        time: UnixMillis::new(TIME_UNIX_MS).expect("a time"),
        kind: Kind::Profile,
        audience,
    }
}

fn record(sequence: u64, previous: Option<RecordId>, message: &[u8]) -> Record {
    let payload = Payload::clear(message, &mut Counting::from_zero()).expect("a short message");
    sign(draft(sequence, previous, Audience::Alliance), payload, &key())
}

/// Three records of which the last alone is signed.
fn run() -> Vec<Record> {
    let first = record(1, None, b"first");
    let second = record(2, Some(first.id()), b"second");
    let third = record(3, Some(second.id()), b"third");
    vec![first.without_signature(), second.without_signature(), third]
}

fn messages(records: &[Record]) -> Vec<proto::Record> {
    records.iter().map(Record::to_message).collect()
}

#[test]
fn key_succession() {
    let seed = RecoverySeed::new([5; 32]);
    let time = UnixMillis::new(TIME_UNIX_MS).unwrap();
    let identity = Identity::create(&seed, time, &mut Counting::from_zero());
    let case = |epoch: u32| {
        let succession = Succession::create(&seed, &identity, epoch).unwrap();
        let rotation = proto::KeyRotation { succession: Some(succession.signed().clone()) };
        Case::new("the keys of a later epoch, of the shop of identity.json")
            .hex("recovery_seed", seed.reveal())
            .hex("signed_identity", identity.signed().encode_to_vec())
            .number("key_epoch", epoch)
            .hex("signing_seed", *seed.signing_seed_of(epoch))
            .hex("encryption_seed", *seed.encryption_seed_of(epoch))
            .hex("signing_public_key", succession.signing_key().as_bytes())
            .hex("encryption_public_key", succession.encryption_key().to_bytes())
            .hex("succession", &succession.signed().succession)
            .hex("recovery_public_key", &succession.signed().recovery_key)
            .hex("recovery_signature", &succession.signed().recovery_signature)
            .hex("signature", &succession.signed().signature)
            .hex("key_rotation", rotation.encode_to_vec())
    };
    for stored in check("key_succession.json", vec![case(1), case(2)]) {
        let signed = proto::SignedIdentity::decode(stored.bytes("signed_identity").as_slice()).unwrap();
        let identity = Identity::verify(&signed).unwrap();
        let rotation = proto::KeyRotation::decode(stored.bytes("key_rotation").as_slice()).unwrap();
        let read = Succession::verify(&rotation.succession.unwrap(), &identity).unwrap();
        assert_eq!(read.signing_key().as_bytes().to_vec(), stored.bytes("signing_public_key"));
    }
}

#[test]
fn key_override() {
    let seed = RecoverySeed::new([5; 32]);
    let time = UnixMillis::new(TIME_UNIX_MS).unwrap();
    let identity = Identity::create(&seed, time, &mut Counting::from_zero());
    let case = |epoch: u32, last_sequence: u64| {
        let (alliance, last_id) = (AllianceId::new([1; 32]), RecordId::new([3; 32]));
        let cut_off = CutOff { alliance, epoch, last_sequence, last_id };
        let made = KeyOverride::create(&seed, &identity, &cut_off).unwrap();
        Case::new(
            "older keys cut off, of the shop of identity.json, after a record of alliance 01 01 and so on",
        )
        .hex("recovery_seed", seed.reveal())
        .hex("signed_identity", identity.signed().encode_to_vec())
        .number("key_epoch", epoch)
        .number("last_sequence", last_sequence)
        .hex("last_id", last_id.as_bytes())
        .hex("revocation", &made.message().revocation)
        .hex("recovery_signature", &made.message().recovery_signature)
        .hex("key_override", made.message().encode_to_vec())
        .number("incarnation_first", incarnation_first(epoch))
        .number("incarnation_last", incarnation_last(epoch))
    };
    for stored in check("key_override.json", vec![case(1, 9), case(32, 1_000_000)]) {
        let signed = proto::SignedIdentity::decode(stored.bytes("signed_identity").as_slice()).unwrap();
        let identity = Identity::verify(&signed).unwrap();
        let message = proto::KeyOverride::decode(stored.bytes("key_override").as_slice()).unwrap();
        let read = KeyOverride::verify(&message, &identity).unwrap();
        assert_eq!(read.cut_off().last_id.as_bytes().to_vec(), stored.bytes("last_id"));
    }
}

#[test]
fn continuation() {
    let seed = RecoverySeed::new([5; 32]);
    let time = UnixMillis::new(TIME_UNIX_MS).unwrap();
    let identity = Identity::create(&seed, time, &mut Counting::from_zero());
    let (alliance, new) = (AllianceId::new([1; 32]), ShopId::new([2; 32]));
    let made = Continuation::create(&seed, alliance, identity.id(), new).unwrap();
    let case =
        Case::new("the shop of identity.json goes on as shop 02 02 and so on, in alliance 01 01 and so on")
            .hex("recovery_seed", seed.reveal())
            .hex("signed_identity", identity.signed().encode_to_vec())
            .hex("new_shop_id", new.as_bytes())
            .hex("continuation", &made.signed().continuation)
            .hex("recovery_public_key", &made.signed().recovery_key)
            .hex("recovery_signature", &made.signed().recovery_signature)
            .hex("signed_continuation", made.signed().encode_to_vec());
    for stored in check("continuation.json", vec![case]) {
        let signed = proto::SignedIdentity::decode(stored.bytes("signed_identity").as_slice()).unwrap();
        let identity = Identity::verify(&signed).unwrap();
        let read = Continuation::read(&stored.bytes("signed_continuation")).unwrap();
        assert_eq!(read.check_owner(&identity), Ok(()));
        assert_eq!(read.new_shop().as_bytes().to_vec(), stored.bytes("new_shop_id"));
    }
}

#[test]
fn identity() {
    let seed = RecoverySeed::new([5; 32]);
    let time = UnixMillis::new(TIME_UNIX_MS).unwrap();
    let identity = Identity::create(&seed, time, &mut Counting::from_zero());
    let case = Case::new("a shop's identity, grown from its recovery phrase; the salt is 00 01 02 and so on")
        .hex("recovery_seed", seed.reveal())
        .hex("signing_seed", *seed.signing_seed())
        .hex("encryption_seed", *seed.encryption_seed())
        .hex("recovery_public_key", seed.recovery_key().public().as_bytes())
        .hex("recovery_key_hash", seed.recovery_key_hash())
        .number("created_unix_ms", TIME_UNIX_MS)
        .hex("signing_public_key", identity.signing_key().as_bytes())
        .hex("encryption_public_key", identity.encryption_key().to_bytes())
        .hex("identity", &identity.signed().identity)
        .hex("signature", &identity.signed().signature)
        .hex("signed_identity", identity.signed().encode_to_vec())
        .hex("shop_id", identity.id().as_bytes());
    let stored = &check("identity.json", vec![case])[0];
    let signed = proto::SignedIdentity::decode(stored.bytes("signed_identity").as_slice()).unwrap();
    let read = Identity::verify(&signed).unwrap();
    assert_eq!(read.id().as_bytes().to_vec(), stored.bytes("shop_id"));
}

fn record_case(name: &str, record: &Record) -> Case {
    let header = record.header();
    let previous = header.previous.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let parties: Vec<_> = header.audience.named().iter().map(ShopId::to_string).collect();
    Case::new(name)
        .hex("signing_seed", AUTHOR_SEED)
        .hex("signing_public_key", key().public().as_bytes())
        .hex("alliance_id", header.alliance.as_bytes())
        .hex("shop_id", header.shop.as_bytes())
        .number("key_epoch", header.key_epoch)
        .number("incarnation", header.incarnation)
        .number("sequence", header.sequence)
        .hex("previous_id", previous)
        .number("time_unix_ms", header.time.ms())
        .text("kind", header.kind.as_str_name())
        .text("party_ids", parties.join(" "))
        .number("payload_bytes", header.payload_bytes)
        .hex("payload", record.payload().expect("it was just made").bytes())
        .hex("payload_hash", header.payload_hash)
        .hex("header", record.header_bytes())
        .hex("record_id", record.id().as_bytes())
        .hex("signature", record.signature().expect("it was just signed"))
        .hex("record", record.to_message().encode_to_vec())
}

#[test]
fn record_in_clear() {
    let first = record(1, None, b"first");
    let second = record(2, Some(first.id()), b"second");
    let cases = vec![
        record_case("the first record of a log, for the alliance", &first).text("message", "first"),
        record_case("the second record, which names the first", &second).text("message", "second"),
    ];
    for stored in check("record.json", cases) {
        let message = proto::Record::decode(stored.bytes("record").as_slice()).unwrap();
        let read = Record::parse(message).unwrap();
        assert_eq!(read.header(), &Header::parse(&stored.bytes("header")).unwrap());
        assert_eq!(read.id().as_bytes().to_vec(), stored.bytes("record_id"));
        assert_eq!(read.payload().unwrap().message(), stored.text("message"));
        assert_eq!(verify_run(vec![read.clone()], &key().public()).unwrap().head(), read.id());
    }
}

const PARTY_SEEDS: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];

/// Both parties read what a stored record says.
fn both_read(stored: &Stored, sequence: u64) {
    let message = proto::Record::decode(stored.bytes("record").as_slice()).expect("a record");
    let read = Record::parse(message).expect("one that holds");
    read.check_payload().expect("its own payload");
    let place = Place { alliance: ALLIANCE, shop: AUTHOR, incarnation: 3, sequence, kind: Kind::Profile };
    for (shop, seed) in [AUTHOR, ALLY].into_iter().zip(&PARTY_SEEDS) {
        let (audience, key) = (&read.header().audience, DecryptionKey::from_seed(seed));
        let opened = read
            .payload()
            .expect("a payload")
            .open(&place, audience, shop, &key, &())
            .expect("a party's key");
        assert_eq!(opened, stored.text("message"));
    }
}

#[test]
fn records_sealed_to_two_parties_in_one_session() {
    let keys = PARTY_SEEDS.map(|seed| DecryptionKey::from_seed(&seed));
    let parties = [keys[0].public(), keys[1].public()];
    let audience = Audience::parties([AUTHOR, ALLY]).unwrap();
    let (mut sealer, mut rng) = (Sealer::default(), Counting::from_zero());
    let mut previous = None;
    let cases = [(1, "for two alone"), (2, "and for them again")].map(|(sequence, text)| {
        let place = Place { alliance: ALLIANCE, shop: AUTHOR, incarnation: 3, sequence, kind: Kind::Profile };
        let payload = Payload::seal(text.as_bytes(), &place, &parties, &mut sealer, &mut rng).unwrap();
        let sealed = sign(draft(sequence, previous, audience.clone()), payload, &key());
        previous = Some(sealed.id());
        record_case(
            "sealed to two parties; all randomness is 00 01 02 and so on, one record after the other",
            &sealed,
        )
        .text("message", text)
        .hex("first_party_seed", PARTY_SEEDS[0])
        .hex("second_party_seed", PARTY_SEEDS[1])
    });
    for (stored, sequence) in check("sealed_session.json", cases.into()).iter().zip(1..) {
        both_read(stored, sequence);
    }
}

/// As payloads were sealed before there were sessions; nobody makes them any more.
#[test]
fn a_record_sealed_without_a_session_is_still_read() {
    both_read(&read("sealed_record.json")[0], 1);
}

#[test]
fn run_under_one_signature() {
    let run = proto::Run { records: messages(&run()) };
    let case = Case::new("three records, the last one signed for all")
        .hex("signing_public_key", key().public().as_bytes())
        .hex("run", run.encode_to_vec());
    let stored = &check("run.json", vec![case])[0];
    let read = proto::Run::decode(stored.bytes("run").as_slice()).unwrap();
    let records: Vec<_> = read.records.into_iter().map(|r| Record::parse(r).unwrap()).collect();
    assert_eq!(verify_run(records, &key().public()).unwrap().records().len(), 3);
}

#[test]
fn fork_proof() {
    let (one, other) =
        (record(5, Some(RecordId::new([3; 32])), b"one"), record(5, Some(RecordId::new([3; 32])), b"other"));
    let proof = ForkProof::from_records(&one, &other).unwrap();
    let case = Case::new("two signed headers of one place; the lower record id comes first")
        .hex("signing_public_key", key().public().as_bytes())
        .hex("fork_proof", proof.encode_to_vec());
    let later = record(6, Some(one.id()), b"later");
    let proof = ForkProof::from_branches(&[one.without_signature(), later], &[other]).unwrap();
    let chained =
        Case::new("the same place, of which one record is covered by the signature of the next one")
            .hex("signing_public_key", key().public().as_bytes())
            .hex("fork_proof", proof.encode_to_vec());
    for stored in check("fork_proof.json", vec![case, chained]) {
        let read = proto::ForkProof::decode(stored.bytes("fork_proof").as_slice()).unwrap();
        let verified = ForkProof::verify(&read, |_, _| Some(key().public())).unwrap();
        assert_eq!((verified.shop(), verified.sequence()), (AUTHOR, 5));
    }
}

#[test]
fn hashes() {
    let pair = PairId::of(AUTHOR, ALLY);
    assert_eq!(pair, PairId::of(ALLY, AUTHOR));
    check(
        "hashes.json",
        vec![
            Case::new("pair id of two shops, in either order")
                .hex("one_shop_id", AUTHOR.as_bytes())
                .hex("other_shop_id", ALLY.as_bytes())
                .hex("pair_id", pair.as_bytes()),
            Case::new("motion id of an encoded motion")
                .text("motion", "motion")
                .hex("motion_id", motion_id(b"motion")),
            Case::new("fingerprint of a till's request")
                .text("request", "request")
                .hex("request_hash", request_hash(b"request")),
        ],
    );
}
