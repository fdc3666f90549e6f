//! What the demo says in the end: tables for people, one object for programs.

use std::{collections::BTreeMap, io::Write, time::Duration};

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::{
    audit::{Evidence, Findings, pair_of},
    faults::FaultLog,
    pair_books::{PairBook, all_pairs},
    replay::Span,
    settlement::Settlement,
    street::Shop,
};

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    visits: usize,
    days: u32,
    vouchers_issued: u64,
    vouchers_redeemed: u64,
    vouchers_expired: u64,
    redemptions_voided: u64,
    /// Attempts refused at the tills, by reason.
    refusals: BTreeMap<String, u64>,
    /// Requests that were sent twice, and answered the same both times.
    repeats: u64,
    shops: Vec<ShopLine>,
    pairs: Vec<PairLine>,
    state_digests_equal: bool,
    pairs_agree: bool,
    double_redemptions: u64,
    /// What is owed in the end, and what of it cancels around the circle.
    settlement: Settlement,
    /// The books of all pairs, as both sides hold them in the end.
    books: Vec<PairBook>,
    elapsed_s: f64,
    setup_s: f64,
    replay_s: f64,
    settle_s: f64,
    visits_per_s: f64,
    sale_ms: Quantiles,
    redeem_ms: Quantiles,
    faults: FaultLog,
    nodes: Vec<NodeLine>,
    /// Each broken invariant with its id; empty: all is well.
    invariants_failed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShopLine {
    shop: &'static str,
    sales: u64,
    vouchers_issued: u64,
    vouchers_used: u64,
    vouchers_expired: u64,
    redemptions: u64,
    refusals: u64,
    discounts_cents: i64,
    /// What all allies owe the shop for customers sent, less what it owes; cents.
    net_cents: i64,
}

/// Two shops, as the first one's node reports them.
#[derive(Debug, Serialize)]
struct PairLine {
    shop: &'static str,
    ally: &'static str,
    vouchers_given: u64,
    customers_sent: u64,
    vouchers_received: u64,
    customers_received: u64,
    /// What the ally owes the shop, cents; negative: the shop owes.
    balance_cents: i64,
    /// Whether the ally's node holds the same state of the pair.
    digests_equal: bool,
}

#[derive(Debug, Serialize)]
struct NodeLine {
    shop: &'static str,
    memory_bytes_peak: u64,
    records: u64,
    journal_bytes: u64,
    views_bytes: u64,
}

/// The middle of some times, and the slowest of a hundred; milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

impl Quantiles {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |percent: usize| {
            let index = (micros.len() * percent / 100).min(micros.len().saturating_sub(1));
            micros.get(index).map_or(0.0, |m| f64::from(*m) / 1_000.0)
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// How long each part took.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Times {
    /// Until the street opened.
    pub(super) setup: Duration,
    /// The visits.
    pub(super) replay: Duration,
    /// From the last visit until all nodes held the same.
    pub(super) settle: Duration,
}

impl Report {
    /// Adds up what was seen, reported and found.
    pub(super) fn new(
        span: Span,
        times: Times,
        evidence: &Evidence<'_>,
        findings: Findings,
        faults: FaultLog,
        (settlement, books): (Settlement, Vec<PairBook>),
    ) -> Self {
        let accounts = &evidence.books.accounts;
        let mut refusals = BTreeMap::new();
        for ((_, reason), count) in &evidence.ledger.refusals {
            *refusals.entry(reason.clone()).or_default() += count;
        }
        Self {
            visits: span.visits,
            days: span.days,
            vouchers_issued: accounts.iter().map(|a| a.issued).sum(),
            vouchers_redeemed: accounts.iter().map(|a| a.used).sum(),
            vouchers_expired: accounts.iter().map(|a| a.expired).sum(),
            redemptions_voided: accounts.iter().map(|a| a.voids).sum(),
            refusals,
            repeats: evidence.ledger.repeats,
            shops: Shop::all().map(|shop| ShopLine::of(evidence, shop)).collect(),
            pairs: pair_lines(evidence),
            state_digests_equal: findings.state_digests_equal,
            pairs_agree: findings.pairs_agree,
            double_redemptions: findings.double_redemptions,
            settlement,
            books,
            elapsed_s: (times.setup + times.replay + times.settle).as_secs_f64(),
            setup_s: times.setup.as_secs_f64(),
            replay_s: times.replay.as_secs_f64(),
            settle_s: times.settle.as_secs_f64(),
            visits_per_s: span.visits as f64 / times.replay.as_secs_f64().max(0.001),
            sale_ms: Quantiles::of(evidence.ledger.sale_micros.clone()),
            redeem_ms: Quantiles::of(evidence.ledger.redeem_micros.clone()),
            invariants_failed: failures(evidence, &findings, &faults),
            faults,
            nodes: Shop::all().map(|shop| NodeLine::of(evidence, shop)).collect(),
        }
    }

    /// Broken invariants, each with its id.
    pub(super) fn invariants_failed(&self) -> &[String] {
        &self.invariants_failed
    }

    /// Writes one JSON object.
    pub(super) fn write_json(&self, out: &mut impl Write) -> anyhow::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        Ok(writeln!(out)?)
    }

    /// Writes tables that a shop owner understands.
    pub(super) fn write_text(&self, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "{}\n\n{}\n\n{}\n", self.shop_table(), self.pair_table(), self.node_table())?;
        writeln!(
            out,
            "{} visits in {} days. Vouchers: {} handed out, {} used, {} expired; {} uses taken back.",
            self.visits,
            self.days,
            self.vouchers_issued,
            self.vouchers_redeemed,
            self.vouchers_expired,
            self.redemptions_voided
        )?;
        writeln!(out, "Refused at the tills:")?;
        for (reason, count) in &self.refusals {
            writeln!(out, "  {count:>6}  {reason}")?;
        }
        self.write_faults(out)?;
        writeln!(
            out,
            "Took {:.1} s: {:.1} s to set up, {:.1} s for the visits ({:.0} a second), {:.1} s until all agreed.",
            self.elapsed_s, self.setup_s, self.replay_s, self.visits_per_s, self.settle_s
        )?;
        writeln!(
            out,
            "A sale took {:.1} ms (1 in 100: {:.1} ms or more), a redemption {:.1} ms ({:.1} ms).",
            self.sale_ms.p50, self.sale_ms.p99, self.redeem_ms.p50, self.redeem_ms.p99
        )?;
        self.write_verdict(out)
    }

    fn write_faults(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let faults = &self.faults;
        if let Some(shop) = faults.killed {
            writeln!(
                out,
                "The node of {shop} was killed and was back after {} ms with all {} acknowledged writes.",
                faults.down_ms, faults.acknowledged_before
            )?;
        }
        if let Some(shop) = faults.cut_off {
            writeln!(
                out,
                "The node of {shop} was cut off for {} ms; its tills rang up {} sales meanwhile.",
                faults.cut_off_ms, faults.sales_while_cut_off
            )?;
        }
        Ok(())
    }

    fn write_verdict(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let yes = |holds: bool| if holds { "yes" } else { "NO" };
        writeln!(out, "All nodes hold the same state: {}", yes(self.state_digests_equal))?;
        writeln!(out, "Each two shops agree on what is between them: {}", yes(self.pairs_agree))?;
        writeln!(out, "Vouchers used twice: {}", self.double_redemptions)?;
        writeln!(out, "Requests sent twice, answered the same: {}", self.repeats)?;
        let owed = &self.settlement;
        writeln!(
            out,
            "Gross debt {}, netting cancelled {} ({:.1} %), left to pay {}",
            dollar_text(owed.gross_debt_cents),
            dollar_text(owed.cancelled_cents),
            owed.cancelled_percent,
            dollar_text(owed.left_cents)
        )?;
        writeln!(
            out,
            "Statements signed by both: {} of {}; netted by records: {}",
            owed.statements_agreed,
            owed.pairs,
            yes(owed.netted_by_records)
        )?;
        let count = |wanted: fn(&PairBook) -> bool| self.books.iter().filter(|book| wanted(book)).count();
        writeln!(
            out,
            "Books that both sides hold alike: {} of {} pairs, {} of them empty",
            count(PairBook::agrees),
            self.books.len(),
            count(|book| book.agrees() && book.is_empty())
        )?;
        writeln!(out, "Broken promises: {}", self.invariants_failed.len())?;
        Ok(())
    }

    fn shop_table(&self) -> Table {
        let mut table = table(&[
            "shop",
            "sales",
            "handed out",
            "used",
            "expired",
            "redeemed here",
            "refused here",
            "discounts",
            "net",
        ]);
        for line in &self.shops {
            let counts = [
                line.sales,
                line.vouchers_issued,
                line.vouchers_used,
                line.vouchers_expired,
                line.redemptions,
                line.refusals,
            ];
            let cells =
                counts.into_iter().map(right).chain([line.discounts_cents, line.net_cents].map(dollars));
            table.add_row([Cell::new(line.shop)].into_iter().chain(cells));
        }
        table
    }

    fn pair_table(&self) -> Table {
        let mut table = table(&[
            "shop",
            "ally",
            "vouchers →",
            "customers →",
            "vouchers ←",
            "customers ←",
            "ally owes shop",
        ]);
        for line in &self.pairs {
            let counts =
                [line.vouchers_given, line.customers_sent, line.vouchers_received, line.customers_received];
            let cells = counts.into_iter().map(right).chain([dollars(line.balance_cents)]);
            table.add_row([line.shop, line.ally].map(Cell::new).into_iter().chain(cells));
        }
        table
    }

    fn node_table(&self) -> Table {
        let mut table = table(&[
            "node",
            "peak memory, MB",
            "records",
            "journal, bytes a record",
            "views, bytes a record",
        ]);
        for line in &self.nodes {
            let each = |bytes: u64| bytes / line.records.max(1);
            let cells = [
                line.memory_bytes_peak >> 20,
                line.records,
                each(line.journal_bytes),
                each(line.views_bytes),
            ];
            table.add_row([Cell::new(line.shop)].into_iter().chain(cells.map(right)));
        }
        table
    }
}

impl ShopLine {
    fn of(evidence: &Evidence<'_>, shop: Shop) -> Self {
        let account = &evidence.books.accounts[shop.index()];
        let refusals = evidence.ledger.refusals.iter().filter(|((at, _), _)| *at == shop);
        Self {
            shop: shop.key(),
            sales: account.sales.count,
            vouchers_issued: account.issued,
            vouchers_used: account.used,
            vouchers_expired: account.expired,
            redemptions: account.redemptions,
            refusals: refusals.map(|(_, count)| count).sum(),
            discounts_cents: account.discount_cents,
            net_cents: Shop::all().map(|ally| evidence.books.balance_cents(shop, ally)).sum(),
        }
    }
}

impl NodeLine {
    fn of(evidence: &Evidence<'_>, shop: Shop) -> Self {
        let status = &evidence.nodes[shop.index()].status;
        let sum = |part: fn(&hutong_wire::merchant::v1::AllianceStatus) -> u64| {
            status.alliances.iter().map(part).sum()
        };
        Self {
            shop: shop.key(),
            memory_bytes_peak: status.memory_bytes_peak,
            records: sum(|a| a.record_count),
            journal_bytes: sum(|a| a.journal_bytes),
            views_bytes: sum(|a| a.views_bytes),
        }
    }
}

/// Pairs with anything between them, each once.
fn pair_lines(evidence: &Evidence<'_>) -> Vec<PairLine> {
    all_pairs()
        .map(|(shop, ally)| {
            let (here, there) = (pair_of(evidence, shop, ally), pair_of(evidence, ally, shop));
            PairLine {
                shop: shop.key(),
                ally: ally.key(),
                vouchers_given: here.vouchers_given,
                customers_sent: here.customers_sent,
                vouchers_received: here.vouchers_received,
                customers_received: here.customers_received,
                balance_cents: here.balance.map_or(0, |m| m.minor),
                digests_equal: here.state_digest == there.state_digest,
            }
        })
        .filter(|line| {
            line.vouchers_given + line.vouchers_received + line.customers_sent + line.customers_received > 0
        })
        .collect()
}

fn failures(evidence: &Evidence<'_>, findings: &Findings, faults: &FaultLog) -> Vec<String> {
    let lists = [&evidence.ledger.violations, &faults.violations, &findings.violations];
    let mut failures: Vec<String> = lists.iter().flat_map(|l| &l.list).map(ToString::to_string).collect();
    let more: u64 = lists.iter().map(|l| l.more).sum();
    if more > 0 {
        failures.push(format!("and {more} more"));
    }
    failures
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn right(count: u64) -> Cell {
    Cell::new(count).set_alignment(CellAlignment::Right)
}

fn dollars(cents: i64) -> Cell {
    Cell::new(dollar_text(cents)).set_alignment(CellAlignment::Right)
}

fn dollar_text(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{
        super::{
            gather::NodeBooks,
            ledger::{
                Books, Ledger,
                fixture::{entry, offer, used},
            },
        },
        *,
    };

    fn report() -> Report {
        let mut ledger = Ledger::default();
        ledger.entries.extend([entry(0, 1), entry(0, 2)]);
        ledger.used(0, used("deli"));
        ledger.refused("bakery".parse().unwrap(), "VOUCHER_EXPIRED".to_owned());
        ledger.violations.note("VOU-1", "for the test");
        let offers = [offer("deli", "bakery")];
        let nodes: Vec<NodeBooks> = Shop::all().map(|_| NodeBooks::default()).collect();
        let evidence = Evidence {
            books: &Books::of(&ledger, &offers, hutong_record::UnixMillis::MAX),
            ledger: &ledger,
            offers: &offers,
            nodes: &nodes,
            shop_of: &HashMap::new(),
            killed: None,
        };
        let span = Span { days: 1, visits: 10 };
        let times = Times { replay: Duration::from_secs(2), ..Default::default() };
        Report::new(
            span,
            times,
            &evidence,
            Findings::default(),
            FaultLog::default(),
            (Settlement::default(), Vec::new()),
        )
    }

    #[test]
    fn the_object_has_what_programs_look_for() {
        let mut out = Vec::new();
        report().write_json(&mut out).unwrap();
        let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(object["visits"], 10);
        assert_eq!(object["vouchers_issued"], 2);
        assert_eq!(object["vouchers_redeemed"], 1);
        assert_eq!(object["vouchers_expired"], 1);
        assert_eq!(object["refusals"]["VOUCHER_EXPIRED"], 1);
        assert_eq!(object["invariants_failed"][0], "VOU-1: for the test");
        assert_eq!(object["nodes"].as_array().unwrap().len(), 13);
        assert_eq!(object["visits_per_s"], 5.0);
        assert_eq!(object["settlement"]["gross_debt_cents"], 0);
        for key in [
            "pairs",
            "state_digests_equal",
            "pairs_agree",
            "double_redemptions",
            "elapsed_s",
            "settlement",
            "books",
        ] {
            assert!(!object[key].is_null(), "{key}");
        }
    }

    #[test]
    fn the_tables_show_money_and_refusals() {
        let mut out = Vec::new();
        report().write_text(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("-0.20"), "the bakery owes 20 cents:\n{text}");
        assert!(text.contains("1  VOUCHER_EXPIRED"), "{text}");
        assert!(text.contains("Broken promises: 1"), "{text}");
    }

    #[test]
    fn quantiles_of_nothing_are_nothing() {
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
        assert_eq!(
            Quantiles::of((1..=100).map(|n| n * 1_000).collect()),
            Quantiles { p50: 51.0, p99: 100.0 }
        );
    }
}
