use std::time::Duration;

use super::{
    wish::{LIFETIME_MS_DEFAULT, LIFETIME_MS_MAX, MINUTE_MS},
    *,
};

const NOW: UnixMillis = UnixMillis::EPOCH;

fn book() -> (tempfile::TempDir, Book) {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path().join("tokens.json"), "owner").unwrap();
    (folder, book)
}

fn now() -> UnixMillis {
    NOW.saturating_add_ms(1_800_000_000_000)
}

fn wish(scopes: &[&str]) -> Wish {
    Wish {
        name: "till".into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        lifetime_ms: None,
        calls_per_second: 0,
        request: None,
    }
}

fn reason<T>(result: Result<T, Refusal>) -> Reason {
    result.err().expect("a refusal").reason
}

#[test]
fn a_token_opens_what_it_names_until_it_ends() {
    let (_folder, book) = book();
    let (entry, text) = book.create(wish(&["sale.write"]), None, now()).unwrap();
    let shown = book.show(&text, now()).unwrap();
    assert_eq!((shown.id, shown.scopes), (entry.id, BTreeSet::from([Scope::SaleWrite])));
    let end = now().saturating_add_ms(LIFETIME_MS_DEFAULT);
    assert_eq!(entry.expires(), end);
    assert!(book.show(&text, end.saturating_add_ms(-1)).is_ok());
    assert_eq!(reason(book.show(&text, end)), Reason::TokenExpired);
    let mut other = text.to_string();
    let last = if other.ends_with('A') { 'B' } else { 'A' };
    other.pop();
    other.push(last);
    assert_eq!(reason(book.show(&other, now())), Reason::TokenInvalid);
    assert_eq!(reason(book.show("", now())), Reason::TokenInvalid);
}

#[test]
fn the_file_holds_no_secret_and_gives_the_tokens_back() {
    let (folder, book) = book();
    let path = folder.path().join("tokens.json");
    let (entry, text) = book.create(wish(&["sale.write", "event.read"]), None, now()).unwrap();
    let (gone, gone_text) = book.create(wish(&["sale.write"]), None, now()).unwrap();
    book.revoke(gone.id, now()).unwrap();
    let stored = std::fs::read_to_string(&path).unwrap();
    let secret = text.rsplit_once('_').unwrap().1;
    assert!(!stored.contains(secret) && stored.contains("sale.write"), "{stored}");
    let again = Book::open(path.clone(), "owner").unwrap();
    assert_eq!(again.get(entry.id).unwrap().0, entry);
    assert_eq!(again.show(&text, now()).unwrap().id, entry.id);
    assert_eq!(reason(again.show(&gone_text, now())), Reason::TokenRevoked);
    for bad in ["", "{}", "{\"version\":2,\"tokens\":[]}", &stored[..stored.len() / 2]] {
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(Book::open(path.clone(), "owner"), Err(BookError::Damaged { .. })), "{bad}");
    }
}

#[test]
fn a_weaker_token_is_never_stronger_and_ends_with_its_parent() {
    let (_folder, book) = book();
    let long = Wish { calls_per_second: 20, ..wish(&["sale.write", "voucher.redeem"]) };
    let (parent, _) = book.create(long, None, now()).unwrap();
    let make = |wish| book.create(wish, Some(parent.id), now());
    assert_eq!(reason(make(wish(&["report.read"]))), Reason::ScopeMissing);
    let faster = Wish { calls_per_second: 21, ..wish(&["sale.write"]) };
    assert_eq!(reason(make(faster)), Reason::FieldInvalid);
    let longer = Wish { lifetime_ms: Some(LIFETIME_MS_MAX), ..wish(&["sale.write"]) };
    assert_eq!(make(longer).unwrap().0.expires(), parent.expires());
    let (child, child_text) = make(wish(&["sale.write"])).unwrap();
    assert_eq!((child.calls_per_second, child.expires()), (20, parent.expires()));
    let (_, grandchild_text) = book.create(wish(&["sale.write"]), Some(child.id), now()).unwrap();
    let open = book.show(&grandchild_text, now()).unwrap();
    assert!(!open.revoked.is_cancelled());
    book.revoke(parent.id, now()).unwrap();
    for text in [&child_text, &grandchild_text] {
        assert_eq!(reason(book.show(text, now())), Reason::TokenRevoked);
    }
    assert!(open.revoked.is_cancelled());
    let first = book.get(parent.id).unwrap().0.revoked();
    book.revoke(parent.id, now().saturating_add_ms(5)).unwrap();
    assert_eq!(book.get(parent.id).unwrap().0.revoked(), first, "a repeat changes nothing");
}

#[test]
fn wishes_out_of_bounds_are_refused() {
    let (_folder, book) = book();
    let good = wish(&["sale.write"]);
    let bad = [
        ("name", Wish { name: String::new(), ..good.clone() }),
        ("name", Wish { name: "字".repeat(81), ..good.clone() }),
        ("name", Wish { name: "a\nb".into(), ..good.clone() }),
        ("scopes", wish(&[])),
        ("scopes", wish(&["sale.write", "everything"])),
        ("scopes", wish(&["sale.write"; 100])),
        ("lifetime", Wish { lifetime_ms: Some(0), ..good.clone() }),
        ("lifetime", Wish { lifetime_ms: Some(-1), ..good.clone() }),
        ("lifetime", Wish { lifetime_ms: Some(i64::MAX), ..good.clone() }),
        ("calls_per_second", Wish { calls_per_second: 10_001, ..good.clone() }),
    ];
    for (field, wish) in bad {
        let refusal = book.create(wish, None, now()).unwrap_err();
        assert_eq!((refusal.reason, refusal.fact("field")), (Reason::FieldInvalid, Some(field)));
    }
    assert!(book.list().is_empty());
    let nobody = TokenId::random().unwrap();
    assert_eq!(reason(book.create(good, Some(nobody), now())), Reason::TokenUnknown);
    assert_eq!(reason(book.revoke(nobody, now())), Reason::TokenUnknown);
}

#[test]
fn no_app_fills_the_book_and_ended_tokens_make_room() {
    let (_folder, book) = book();
    let (parent, _) = book.create(wish(&["sale.write"]), None, now()).unwrap();
    let short = || Wish { lifetime_ms: Some(MINUTE_MS), ..wish(&["sale.write"]) };
    for _ in 0..DESCENDANTS_MAX {
        book.create(short(), Some(parent.id), now()).unwrap();
    }
    assert_eq!(reason(book.create(short(), Some(parent.id), now())), Reason::TokenLimitReached);
    let later = now().saturating_add_ms(MINUTE_MS);
    book.create(short(), Some(parent.id), later).unwrap();

    let mut entries = book.entries();
    let ended = entries.values().filter(|entry| !entry.is_in_force(later)).count();
    assert_eq!(ended, DESCENDANTS_MAX);
    let template = entries[&parent.id].clone();
    while entries.len() < TOKENS_MAX {
        let id = TokenId::random().unwrap();
        entries.insert(id, Entry { id, ..template.clone() });
    }
    for _ in 0..ended {
        make_room(&mut entries, None, later).unwrap();
        let id = TokenId::random().unwrap();
        entries.insert(id, Entry { id, ..template.clone() });
    }
    assert_eq!(reason(make_room(&mut entries, None, later)), Reason::TokenLimitReached);
}

#[test]
fn calls_beyond_the_rate_wait_as_told() {
    let (_folder, book) = book();
    let (entry, _) = book.create(Wish { calls_per_second: 2, ..wish(&["sale.write"]) }, None, now()).unwrap();
    // A little ahead, so that the bucket is full whenever it was made.
    let at = Instant::now() + Duration::from_secs(10);
    for _ in 0..4 {
        book.count(entry.id, at).unwrap();
    }
    let refusal = book.count(entry.id, at).unwrap_err();
    assert_eq!((refusal.reason, refusal.fact("retry_ms")), (Reason::RateLimited, Some("500")));
    book.count(entry.id, at + Duration::from_millis(500)).unwrap();
}

#[test]
fn what_is_made_from_a_token_makes_its_calls_on_that_token_s_account() {
    let (_folder, book) = book();
    let (parent, _) =
        book.create(Wish { calls_per_second: 5, ..wish(&["sale.write"]) }, None, now()).unwrap();
    let child = |of| book.create(wish(&["sale.write"]), Some(of), now()).unwrap().0.id;
    let (first, second) = (child(parent.id), child(parent.id));
    let grandchild = child(first);
    let begun = Instant::now() + Duration::from_secs(10);
    let calls = |id, at| (0..1_000).take_while(|_| book.count(id, at).is_ok()).count();
    assert_eq!(calls(grandchild, begun), 10, "two seconds' worth of the parent's");
    // The other child has made no call; its parent has none left.
    let refused = book.count(second, begun).unwrap_err();
    assert_eq!((refused.reason, refused.fact("retry_ms")), (Reason::RateLimited, Some("200")));
    assert_eq!((calls(parent.id, begun), calls(first, begun)), (0, 0));
    // What was refused counted for nobody: a second later there are five calls, whoever makes them.
    let later = begun + Duration::from_secs(1);
    assert_eq!((calls(second, later), calls(parent.id, later)), (5, 0));
    let (stranger, _) = book.create(wish(&["sale.write"]), None, now()).unwrap();
    assert!(calls(stranger.id, later) > 10);
}

#[test]
fn a_repeated_request_gets_the_first_token_and_no_second() {
    let (folder, book) = book();
    let tag = |hash| RequestTag { id: "app-1".into(), hash: [hash; 32] };
    let asked = |hash| Wish { request: Some(tag(hash)), ..wish(&["sale.write"]) };
    let (entry, text) = book.create(asked(1), None, now()).unwrap();
    let later = now().saturating_add_ms(3_600_000);
    assert_eq!(book.create(asked(1), None, later).unwrap(), (entry.clone(), text.clone()));
    assert_eq!(reason(book.create(asked(2), None, later)), Reason::RequestIdReused);
    // Another caller's id is another one.
    let (child, child_text) = book.create(asked(1), Some(entry.id), later).unwrap();
    assert!(child.id != entry.id && child_text != text);
    // After a restart, and after it was taken back, the answer is the same.
    book.revoke(entry.id, later).unwrap();
    let again = Book::open(folder.path().join("tokens.json"), "owner").unwrap();
    assert_eq!(again.create(asked(1), None, later).unwrap(), (entry.clone(), text.clone()));
    assert_eq!(reason(again.show(&text, later)), Reason::TokenRevoked);
    let stored = std::fs::read_to_string(folder.path().join("tokens.json")).unwrap();
    assert!(!stored.contains(text.rsplit_once('_').unwrap().1));
    // With another owner's token the text cannot be told again, and no wrong one is.
    let other = Book::open(folder.path().join("tokens.json"), "another").unwrap();
    assert_eq!(reason(other.create(asked(1), None, later)), Reason::RequestIdReused);
    other.set_owner("owner");
    assert_eq!(other.create(asked(1), None, later).unwrap().1, text);
    // A day later the id is free again, and the text is another one.
    let next_day = now().saturating_add_ms(DAY_MS);
    let (second, second_text) = again.create(asked(1), None, next_day).unwrap();
    assert!(second.id != entry.id && second_text != text);
}
