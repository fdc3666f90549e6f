//! The books of all pairs, line by line, as both shops' nodes hold them in the end: those of shops that never traded, too.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use futures::future::try_join_all;
use hutong_wire::merchant::v1::{self as pb, settlement_service_client::SettlementServiceClient};
use serde::Serialize;

use super::{gather, ledger::Violations, link::Link, street::Shop};

/// Lines asked for at once.
const PAGE_LINES: i32 = 1_000;

/// What one shop's node holds of the shop and an ally.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Side {
    /// The book, in order.
    pub(super) lines: Vec<pb::BookLine>,
    /// What the ally owes, cents.
    pub(super) balance_cents: i64,
    /// Hash over all that is held of the pair, hex.
    pub(super) state_digest: String,
}

/// The book of two shops: how both sides compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PairBook {
    shop: &'static str,
    ally: &'static str,
    /// Lines that the first shop's node lists.
    lines: usize,
    /// What the ally owes the shop, cents: the sum of these lines.
    balance_cents: i64,
    /// Hash over all that the shop's node holds of the pair, hex.
    state_digest: String,
    /// Whether the ally's node lists the same lines, from first to last.
    lines_equal: bool,
    /// Whether the ally's node has the same hash.
    digests_equal: bool,
    /// Whether the lines add up to the balance that each side reports.
    sums_equal: bool,
}

impl PairBook {
    /// Compares what the nodes of `shop` and `ally` hold. `shop_id` is the shop's hex id.
    pub(super) fn compare(shop: Shop, ally: Shop, shop_id: &str, here: &Side, there: &Side) -> Self {
        let balance_cents = sum_for(shop_id, &here.lines);
        Self {
            shop: shop.key(),
            ally: ally.key(),
            lines: here.lines.len(),
            balance_cents,
            state_digest: here.state_digest.clone(),
            lines_equal: here.lines == there.lines,
            digests_equal: !here.state_digest.is_empty() && here.state_digest == there.state_digest,
            sums_equal: balance_cents == here.balance_cents
                && sum_for(shop_id, &there.lines) == -there.balance_cents,
        }
    }

    /// Whether both sides hold the same.
    pub(super) const fn agrees(&self) -> bool {
        self.lines_equal && self.digests_equal && self.sums_equal
    }

    /// Whether nothing was ever booked.
    pub(super) const fn is_empty(&self) -> bool {
        self.lines == 0
    }
}

/// What lines come to for one of the two shops, cents.
fn sum_for(shop_id: &str, lines: &[pb::BookLine]) -> i64 {
    let cents = |line: &pb::BookLine| line.amount.as_ref().map_or(0, |amount| amount.minor);
    lines.iter().map(|line| if line.creditor_id == shop_id { cents(line) } else { -cents(line) }).sum()
}

/// All pairs of the street, each once.
pub(super) fn all_pairs() -> impl Iterator<Item = (Shop, Shop)> {
    Shop::all().flat_map(|shop| Shop::all().skip(shop.index() + 1).map(move |ally| (shop, ally)))
}

/// Reads the book of every pair from both of its nodes.
///
/// # Errors
/// A node stays down, or does not list an ally.
pub(super) async fn read(
    links: &[Arc<Link>],
    shop_of: &HashMap<String, Shop>,
) -> anyhow::Result<Vec<PairBook>> {
    let ids: HashMap<Shop, &str> = shop_of.iter().map(|(id, shop)| (*shop, id.as_str())).collect();
    let id = |shop: Shop| ids.get(&shop).copied().context("a shop without an id");
    let told = try_join_all(links.iter().map(|link| gather::pairs(link))).await?;
    let mut books = Vec::new();
    for (shop, ally) in all_pairs() {
        let here = side(&links[shop.index()], &told[shop.index()], id(ally)?).await?;
        let there = side(&links[ally.index()], &told[ally.index()], id(shop)?).await?;
        books.push(PairBook::compare(shop, ally, id(shop)?, &here, &there));
    }
    Ok(books)
}

async fn side(link: &Link, pairs: &[pb::Pair], ally_id: &str) -> anyhow::Result<Side> {
    let pair = pairs.iter().find(|pair| pair.ally_id == ally_id).context("an ally that is not listed")?;
    Ok(Side {
        lines: lines(link, ally_id).await?,
        balance_cents: pair.balance.as_ref().map_or(0, |balance| balance.minor),
        state_digest: pair.state_digest.clone(),
    })
}

async fn lines(link: &Link, ally_id: &str) -> anyhow::Result<Vec<pb::BookLine>> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let ask = |carrier| {
            let request = pb::ListBookLinesRequest {
                ally_id: ally_id.to_owned(),
                page_size: PAGE_LINES,
                page_token: page_token.clone(),
                ..Default::default()
            };
            async move { SettlementServiceClient::new(carrier).list_book_lines(request).await }
        };
        let page = link.call("ListBookLines", ask).await?.done()?;
        all.extend(page.lines);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// Every book is the same on both sides.
pub(super) fn check(books: &[PairBook], violations: &mut Violations) {
    for book in books {
        violations.require(book.lines_equal && book.digests_equal, "CON-1", || {
            format!("the books of {} and {} differ: {book:?}", book.shop, book.ally)
        });
        violations.require(book.sums_equal, "MON-1", || {
            format!("the book of {} and {} does not add up: {book:?}", book.shop, book.ally)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(creditor: &str, cents: i64) -> pb::BookLine {
        pb::BookLine {
            creditor_id: creditor.to_owned(),
            amount: Some(pb::Money { minor: cents, ..Default::default() }),
            ..Default::default()
        }
    }

    fn compare(here: &Side, there: &Side) -> PairBook {
        let (shop, ally) = all_pairs().next().unwrap();
        PairBook::compare(shop, ally, "a", here, there)
    }

    fn sides() -> (Side, Side) {
        let lines = vec![line("a", 500), line("b", 120)];
        let here = Side { lines, balance_cents: 380, state_digest: "d".into() };
        (here.clone(), Side { balance_cents: -380, ..here })
    }

    #[test]
    fn a_street_of_thirteen_has_seventy_eight_pairs() {
        assert_eq!(all_pairs().count(), 78);
    }

    #[test]
    fn equal_books_agree_and_empty_ones_too() {
        let (here, there) = sides();
        let book = compare(&here, &there);
        assert!(book.agrees() && !book.is_empty() && book.balance_cents == 380, "{book:?}");
        let empty = Side { state_digest: "e".into(), ..Side::default() };
        let book = compare(&empty, &empty);
        assert!(book.agrees() && book.is_empty());
    }

    #[test]
    fn every_difference_between_two_sides_shows() {
        let (here, there) = sides();
        let mut other_line = there.clone();
        other_line.lines[1].disputed = true;
        let missing = Side { lines: vec![], balance_cents: 0, ..there.clone() };
        let digest = Side { state_digest: "x".into(), ..there.clone() };
        let balance = Side { balance_cents: -379, ..there.clone() };
        for there in [other_line, missing, digest, balance] {
            let book = compare(&here, &there);
            assert!(!book.agrees(), "{there:?}");
            let mut violations = Violations::default();
            check(&[book], &mut violations);
            assert!(!violations.list.is_empty());
        }
        let silent = Side::default();
        assert!(!compare(&silent, &silent).agrees(), "two nodes that say nothing of a pair prove nothing");
    }
}
