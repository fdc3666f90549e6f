//! What every view store does, in sled and in memory, and how sled's failures show.

use std::{collections::BTreeMap, fs, path::Path};

use hutong_core::view::{Batch, Reader as _, ViewError};
use hutong_store::{
    journal::Lsn,
    views::{KEY_BYTES_MAX, MemViews, OpenedViews, RebuildReason, SledViews, VALUE_BYTES_MAX, Views},
};
use proptest::prelude::*;

const CACHE_BYTES: u64 = 8 << 20;

fn open(folder: &Path) -> OpenedViews {
    SledViews::open(folder, 1, CACHE_BYTES).unwrap()
}

fn scan(views: &dyn Views, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        seen.push((key.to_vec(), value.to_vec()));
        seen.len() < limit
    };
    views.scan(prefix, after, &mut visit).unwrap();
    seen
}

fn batch(entries: &[(&[u8], Option<&[u8]>)]) -> Batch {
    entries.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

macro_rules! contract {
    ($($rule:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $rule() { super::$rule(&hutong_store::views::MemViews::new()); })*
        }
        mod in_sled {
            $(#[test] fn $rule() {
                let folder = tempfile::tempdir().unwrap();
                super::$rule(&super::open(&folder.path().join("views")).views);
            })*
        }
    };
}

contract!(
    a_batch_is_stored_with_its_position,
    keys_are_visited_in_order_from_after_within_a_prefix,
    a_reset_leaves_nothing,
    oversized_entries_are_refused_whole,
    a_visit_may_read_and_may_panic,
);

fn a_batch_is_stored_with_its_position(views: &dyn Views) {
    assert_eq!(views.position(), Ok(Lsn::ZERO));
    views.apply(&batch(&[(b"a", Some(b"1")), (b"", Some(b"empty key")), (b"b", Some(b""))]), Lsn(3)).unwrap();
    assert_eq!(views.position(), Ok(Lsn(3)));
    assert_eq!(views.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(views.get(b"").unwrap().as_deref(), Some(&b"empty key"[..]));
    assert_eq!(views.get(b"b").unwrap().as_deref(), Some(&b""[..]));
    views.apply(&batch(&[(b"a", None), (b"absent", None)]), Lsn(9)).unwrap();
    assert_eq!((views.get(b"a"), views.position()), (Ok(None), Ok(Lsn(9))));
    views.apply(&Batch::new(), Lsn(u64::MAX)).unwrap();
    assert_eq!(views.position(), Ok(Lsn(u64::MAX)));
    views.flush().unwrap();
    views.bytes_on_disk().unwrap();
}

fn keys_are_visited_in_order_from_after_within_a_prefix(views: &dyn Views) {
    let keys: [&[u8]; 6] = [b"a", b"b", b"b\0", b"b1", b"b\xff", b"c"];
    views.apply(&keys.iter().map(|key| (key.to_vec(), Some(key.to_vec()))).collect(), Lsn(1)).unwrap();
    let found = |prefix: &[u8], after: Option<&[u8]>, limit| {
        scan(views, prefix, after, limit).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(found(b"", None, 99), keys);
    assert_eq!(found(b"b", None, 99), keys[1..5]);
    assert_eq!(found(b"b", Some(b"b"), 99), keys[2..5]);
    assert_eq!(found(b"b", Some(b"b0"), 1), [b"b1"]);
    assert_eq!(found(b"b", Some(b"a"), 99), keys[1..5], "after a key before the prefix: from its start");
    assert!(found(b"b", Some(b"c"), 99).is_empty());
    assert!(found(b"d", None, 99).is_empty());
}

fn a_reset_leaves_nothing(views: &dyn Views) {
    views.apply(&batch(&[(b"a", Some(b"1"))]), Lsn(3)).unwrap();
    views.reset().unwrap();
    assert_eq!(views.position(), Ok(Lsn::ZERO));
    assert!(scan(views, b"", None, 9).is_empty());
    views.apply(&batch(&[(b"b", Some(b"2"))]), Lsn(1)).unwrap();
    assert_eq!(scan(views, b"", None, 9), [(b"b".to_vec(), b"2".to_vec())]);
}

fn oversized_entries_are_refused_whole(views: &dyn Views) {
    let largest = vec![7; VALUE_BYTES_MAX];
    views.apply(&batch(&[(&[1; KEY_BYTES_MAX], Some(&largest))]), Lsn(1)).unwrap();
    let value = batch(&[(b"a", Some(b"1")), (b"b", Some(&vec![7; VALUE_BYTES_MAX + 1]))]);
    let key = batch(&[(b"a", Some(b"1")), (&[1; KEY_BYTES_MAX + 1], None)]);
    for refused in [value, key] {
        assert!(matches!(views.apply(&refused, Lsn(2)), Err(ViewError::Io(_))));
        assert_eq!((views.get(b"a"), views.position()), (Ok(None), Ok(Lsn(1))));
    }
}

fn a_visit_may_read_and_may_panic(views: &dyn Views) {
    views.apply(&batch(&[(b"a", Some(b"1"))]), Lsn(1)).unwrap();
    let mut visit = |key: &[u8], value: &[u8]| views.get(key).unwrap().as_deref() == Some(value);
    views.scan(b"", None, &mut visit).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        views.scan(b"", None, &mut |_, _| panic!("the caller's own"))
    }));
    assert!(panicked.is_err());
    assert_eq!(views.position(), Ok(Lsn(1)), "a caller's panic is no damage");
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..4, 0..4)
}

#[derive(Debug, Clone)]
enum Act {
    Apply(Batch),
    Reset,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let writes = proptest::collection::btree_map(keys(), proptest::option::of(keys()), 0..12);
    let act = prop_oneof![8 => writes.prop_map(Act::Apply), 1 => Just(Act::Reset), 1 => Just(Act::Reopen)];
    proptest::collection::vec(act, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_twins_read_as_the_model_does(acts in acts(), prefix in keys(), after in proptest::option::of(keys())) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("views");
        let (mut sled, memory) = (open(&folder).views, MemViews::new());
        let (mut model, mut position) = (BTreeMap::new(), 0);
        for act in acts {
            match act {
                Act::Apply(batch) => {
                    position += 1;
                    sled.apply(&batch, Lsn(position)).unwrap();
                    memory.apply(&batch, Lsn(position)).unwrap();
                    for (key, value) in batch {
                        match value {
                            Some(value) => model.insert(key, value),
                            None => model.remove(&key),
                        };
                    }
                }
                Act::Reset => {
                    (model, position) = (BTreeMap::new(), 0);
                    sled.reset().unwrap();
                    memory.reset().unwrap();
                }
                Act::Reopen => {
                    sled.flush().unwrap();
                    drop(sled);
                    let opened = open(&folder);
                    prop_assert_eq!(opened.rebuilt_because, None);
                    sled = opened.views;
                }
            }
            let whole: Vec<_> = model.clone().into_iter().collect();
            let wanted = |key: &[u8]| key.starts_with(&prefix) && after.as_deref().is_none_or(|after| key > after);
            let part: Vec<_> = whole.iter().filter(|(key, _)| wanted(key)).take(3).cloned().collect();
            for views in [&sled as &dyn Views, &memory] {
                prop_assert_eq!(scan(views, b"", None, usize::MAX), &whole[..]);
                prop_assert_eq!(scan(views, &prefix, after.as_deref(), 3), &part[..]);
                prop_assert_eq!(views.get(&prefix).unwrap(), model.get(&prefix).cloned());
                prop_assert_eq!(views.position(), Ok(Lsn(position)));
            }
        }
    }
}

#[test]
fn views_that_are_missing_or_of_another_version_begin_empty() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data/views");
    let opened = open(&folder);
    assert_eq!(opened.rebuilt_because, Some(RebuildReason::Missing));
    opened.views.apply(&batch(&[(b"a", Some(b"1"))]), Lsn(3)).unwrap();
    opened.views.flush().unwrap();
    assert!(opened.views.bytes_on_disk().unwrap() > 0);
    assert!(matches!(SledViews::open(&folder, 1, CACHE_BYTES), Err(ViewError::Io(_))), "they are held");
    drop(opened);
    let opened = open(&folder);
    assert_eq!((opened.rebuilt_because, opened.views.position()), (None, Ok(Lsn(3))));
    drop(opened.views);
    let opened = SledViews::open(&folder, 2, CACHE_BYTES).unwrap();
    assert_eq!(opened.rebuilt_because, Some(RebuildReason::OtherVersion { found: 1 }));
    assert_eq!(opened.views.position(), Ok(Lsn::ZERO));
    assert!(scan(&opened.views, b"", None, 9).is_empty());
}

#[test]
fn what_was_applied_is_stored_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("views");
    let views = open(&folder).views;
    views.apply(&batch(&[(b"a", Some(b"1")), (b"b", Some(b"1"))]), Lsn(3)).unwrap();
    views.apply(&batch(&[(b"a", None)]), Lsn(4)).unwrap();
    drop(views);
    let views = open(&folder).views;
    assert_eq!(views.position(), Ok(Lsn(4)));
    assert_eq!(scan(&views, b"", None, 9), [(b"b".to_vec(), b"1".to_vec())]);
}

/// Fifty groups, each overwriting the same hundred keys with its number.
fn filled(folder: &Path) {
    let views = open(folder).views;
    for group in 1..=50u64 {
        let value = group.to_be_bytes().repeat(20);
        let writes = (0..100u8).map(|key| (vec![key], Some(value.clone()))).collect();
        views.apply(&writes, Lsn(group)).unwrap();
    }
    views.flush().unwrap();
}

/// Whatever opens must be a state that once was: every entry as of the position.
fn check_consistent(folder: &Path) -> bool {
    let opened = open(folder);
    let views = &opened.views;
    let Ok(position) = views.position() else { return false };
    if opened.rebuilt_because.is_some() {
        assert_eq!(position, Lsn::ZERO);
    }
    let mut entries = 0;
    let expected = position.0.to_be_bytes().repeat(20);
    let mut consistent = true;
    let scanned = views.scan(b"", None, &mut |_, value| {
        entries += 1;
        consistent &= value == expected;
        true
    });
    if let Err(error) = scanned {
        assert!(matches!(error, ViewError::Damaged(_)), "{error}");
        views.reset().unwrap();
        assert_eq!(views.position(), Ok(Lsn::ZERO));
        return true;
    }
    consistent && entries == if position == Lsn::ZERO { 0 } else { 100 }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_cut_log_opens_as_a_state_that_once_was_or_empty() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    filled(&original);
    let length = fs::metadata(original.join("db")).unwrap().len();
    for cut in 0..24 {
        let copy = folder.path().join(format!("cut{cut}"));
        copy_folder(&original, &copy);
        let log = fs::OpenOptions::new().write(true).open(copy.join("db")).unwrap();
        log.set_len(length * cut / 24).unwrap();
        assert!(check_consistent(&copy), "cut at {cut}/24 of {length}");
    }
}

#[test]
fn a_flipped_byte_in_the_log_is_noticed_or_opens_as_a_state_that_once_was() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    filled(&original);
    let log = fs::read(original.join("db")).unwrap();
    let written = log.iter().rposition(|byte| *byte != 0).unwrap();
    for flip in 0..40 {
        let copy = folder.path().join(format!("flip{flip}"));
        copy_folder(&original, &copy);
        let mut damaged = log.clone();
        damaged[written * flip / 40] ^= 0x10;
        fs::write(copy.join("db"), damaged).unwrap();
        assert!(check_consistent(&copy), "flip {flip}/40 of {written}");
        fs::remove_dir_all(&copy).unwrap();
    }
}
