use hutong_record::{Audience, Draft, Payload, Record, SigningKey, UnixMillis, proto::Kind, sign};
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;

const ALLIANCE: AllianceId = AllianceId::new([1; 32]);
const DIGEST: FrontierDigest = FrontierDigest::new([7; 32]);

fn run(shop: ShopId, records: u64) -> Vec<proto::Record> {
    let (mut rng, key) = (StdRng::seed_from_u64(1), SigningKey::from_seed(&[3; 32]));
    let mut chain: Vec<Record> = Vec::new();
    for sequence in 1..=records {
        let draft = Draft {
            alliance: ALLIANCE,
            shop,
            key_epoch: 0,
            incarnation: 0,
            sequence,
            previous: chain.last().map(Record::id),
            time: UnixMillis::EPOCH,
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        let payload = Payload::clear(&sequence.to_be_bytes(), &mut rng).unwrap();
        chain.push(sign(draft, payload, &key));
    }
    chain.iter().map(Record::to_message).collect()
}

/// Two logs, and where each frame ends.
fn bundle() -> (Vec<u8>, Vec<usize>) {
    let (mut writer, mut bytes) = Writer::begin(ALLIANCE, DIGEST);
    let mut ends = vec![bytes.len()];
    for shop in [2, 3] {
        let shop = ShopId::new([shop; 32]);
        bytes.extend(writer.run(shop, run(shop, 3)).unwrap());
        ends.push(bytes.len());
    }
    bytes.extend(writer.end());
    ends.push(bytes.len());
    (bytes, ends)
}

/// What is read from pieces of a size, up to the fault if there is one.
fn read(bytes: &[u8], piece: usize) -> (Vec<Entry>, Result<(), BundleError>) {
    let (mut reader, mut entries) = (Reader::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        loop {
            match reader.next_entry() {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => break,
                Err(error) => return (entries, Err(error)),
            }
        }
    }
    (entries, reader.finish())
}

#[test]
fn what_was_written_is_read_in_pieces_of_any_size() {
    let (bytes, _) = bundle();
    let runs = |shop| {
        let shop = ShopId::new([shop; 32]);
        Entry::Runs { shop, runs: vec![run(shop, 3)] }
    };
    let expected = vec![Entry::Begin { alliance: ALLIANCE, digest: DIGEST }, runs(2), runs(3), Entry::End];
    for piece in [1, 7, 100, bytes.len()] {
        assert_eq!(read(&bytes, piece), (expected.clone(), Ok(())));
    }
}

#[test]
fn no_flipped_bit_is_read_over_and_what_lies_before_it_is() {
    let (bytes, ends) = bundle();
    let (whole, _) = read(&bytes, bytes.len());
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        let (entries, outcome) = read(&flipped, 64);
        assert!(outcome.is_err(), "byte {place}");
        let before = ends.iter().filter(|end| **end <= place).count();
        assert_eq!(entries, whole[..before], "byte {place}");
    }
}

#[test]
fn a_bundle_that_is_cut_off_anywhere_is_not_whole() {
    let (bytes, ends) = bundle();
    let (whole, _) = read(&bytes, bytes.len());
    for length in 0..bytes.len() {
        let (entries, outcome) = read(&bytes[..length], 64);
        let expected = if length < TITLE.len() { BundleError::Title } else { BundleError::Truncated };
        assert_eq!(outcome, Err(expected), "{length} bytes");
        let before = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(entries, whole[..before], "{length} bytes");
    }
}

#[test]
fn a_length_beyond_the_bound_keeps_nothing() {
    let (mut reader, mut bytes) = (Reader::default(), TITLE.to_vec());
    bytes.extend(u32::MAX.to_be_bytes());
    reader.push(&bytes);
    assert_eq!(reader.next_entry(), Err(BundleError::Damaged(TITLE.len() as u64)));
    assert!(reader.buffer.capacity() < 1_024);
}

#[test]
fn frames_that_are_moved_left_out_or_added_are_noticed() {
    let (bytes, ends) = bundle();
    let frame = |n: usize| &bytes[ends[n - 1]..ends[n]];
    let begin = &bytes[..ends[0]];
    let damaged = |parts: &[&[u8]]| matches!(read(&parts.concat(), 64).1, Err(BundleError::Damaged(_)));
    assert!(damaged(&[begin, frame(2), frame(1), frame(3)]));
    assert!(damaged(&[begin, frame(2), frame(3)]));
    assert!(damaged(&[begin, frame(1), frame(1), frame(2), frame(3)]));
    assert_eq!(read(&[&bytes[..], b"x"].concat(), 64).1, Err(BundleError::Trailing));
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    assert_eq!(read(b"", 64).1, Err(BundleError::Title));
    assert_eq!(read(b"hutong backup v1\n and more", 64).1, Err(BundleError::Title));
    assert_eq!(read(b"hutong bundle v2\n and more", 64).1, Err(BundleError::Version));
    assert_eq!(read(b"hutong bundle v10\nand more", 64).1, Err(BundleError::Version));
}

#[test]
fn frames_of_a_link_that_do_not_belong_in_a_file_are_refused() {
    let begin = || Writer::begin(ALLIANCE, DIGEST);
    let after_begin = |frame: Frame| {
        let (mut writer, bytes) = begin();
        read(&[bytes, writer.frame(frame)].concat(), 64).1
    };
    let hello = |version| Frame::Hello { versions: vec![version], alliance: ALLIANCE, digest: DIGEST };
    assert_eq!(after_begin(hello(1)), Err(BundleError::Unexpected));
    assert_eq!(after_begin(Frame::Have { heads: vec![] }), Err(BundleError::Unexpected));
    let mut writer = begin().0;
    writer.hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    writer.hasher.update(TITLE);
    let newer = [TITLE.to_vec(), writer.frame(hello(9))].concat();
    assert_eq!(read(&newer, 64).1, Err(BundleError::Version));
}

#[test]
fn a_run_that_no_frame_holds_is_not_written() {
    let (mut writer, _) = Writer::begin(ALLIANCE, DIGEST);
    let large = proto::Record { payload: vec![0; FRAME_BYTES_MAX].into(), ..Default::default() };
    assert_eq!(writer.run(ShopId::new([2; 32]), vec![large]), None);
}
