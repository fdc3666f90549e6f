//! A run's stages: the street opens in calm, trades through the storm, comes to rest, and must be sound.

use hutong_core::{doubt, report, roster::Standing, voucher::VoucherKey};
use hutong_record::Record;

use crate::{
    action::Action,
    check::Invariant,
    clock::{DAY_MS, HOUR_MS, MINUTE_MS},
    config::Config,
    report::{Figures, RunReport},
    setup,
    workload::{Deed, Purpose},
    world::{Event, World},
};

/// How long a calm street may take to come to rest.
const REST_MS_MAX: i64 = 6 * HOUR_MS;
/// A street in which nothing was written for so long is at rest: longer than any retry waits.
const QUIET_MS: i64 = 11 * MINUTE_MS;
/// Slow checks in a storm.
const CHECKS: i64 = 12;

/// Runs all stages, or up to the first invariant that breaks.
pub(crate) fn run(config: &Config) -> RunReport {
    let mut world = setup::street(config);
    world.rest("the alliance");
    world.open_shops();
    world.rest("the promotions");
    world.trade();
    world.calm();
    world.rest("the end");
    world.vouch();
    world.rest("the lost records");
    if world.violation.is_none() {
        world.final_checks();
    }
    world.prove();
    world.report()
}

impl World {
    /// Lets everything happen that is under way, until no log grows and no till is answered any more.
    fn rest(&mut self, what: &str) {
        let end_ms = self.now_ms + REST_MS_MAX;
        self.progress_ms = self.now_ms;
        while self.step(self.progress_ms + QUIET_MS) && self.now_ms <= end_ms {}
        if self.now_ms > end_ms {
            self.broken(Invariant::Live1, format!("{what} did not come to rest"));
        }
    }

    /// The days of trade, with faults.
    fn trade(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let length_ms = i64::from(self.config.days) * DAY_MS;
        self.closing_ms = self.now_ms + length_ms;
        self.brew();
        for check in 1..=CHECKS {
            self.after(length_ms * check / CHECKS, Event::Check);
        }
        self.after(0, Event::Customer(Deed::SetOut { crowd: 0 }));
        while self.step(self.closing_ms) {}
    }

    /// Everything works again: a fresh voucher goes all the way at every sound shop.
    fn prove(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.use_what_is_left();
        self.rest("the unused vouchers");
        if self.violation.is_some() {
            return;
        }
        let offers = self.publish_proofs();
        self.rest("the last promotions");
        if self.violation.is_none() {
            self.issue_proofs(offers);
            self.rest("the last vouchers");
        }
        if self.violation.is_none() {
            self.final_checks();
        }
    }

    /// A power cut can leave a disk that looks as if acknowledged records were lost. Whoever runs a sound shop knows that
    /// none were.
    fn vouch(&mut self) {
        for node in self.honest_nodes().collect::<Vec<_>>() {
            let Some(ledger) = self.nodes[node].ledger() else { continue };
            if doubt::current(&*ledger.views()).is_ok_and(|doubt| doubt.is_some()) {
                self.ask(self.nodes[node].shop, Action::DeclareNothingLost, Purpose::Nothing);
            }
        }
    }

    fn report(self) -> RunReport {
        let first = self.honest_nodes().next();
        let ledger = first.and_then(|node| self.nodes[node].ledger());
        let records = ledger.map_or(0, |l| l.reader().frontier().iter().map(|(_, h)| h.sequence).sum());
        let checks = &self.checks;
        let figures = Figures {
            redemption_attempts: checks.presented,
            redemptions: checks.vou1.count(),
            voids: checks.mon1.void_count(),
            vouchers: checks.vou2.count(),
            refusals: checks.refused,
            double_redemptions: checks.vou1.double_count(),
            designated: checks.modes.designated,
            leased: checks.modes.leased,
            confirmed: checks.modes.confirmed,
            at_risk: checks.risk.count(),
            at_risk_settled: checks.risk.settled(),
            at_risk_lost: checks.risk.lost(),
            proofs: self.proof_count(),
            undetected_double_uses: self.undetected_double_uses() + checks.risk.undetected(),
            loss_over_cap: checks.risk.over_cap(),
            oversold: checks.vou2.oversold(),
            quota_moves: checks.lease.count(),
            leased_sold_share: self.flash.as_ref().and_then(|sale| sale.outcome).into(),
            forks_frozen: self.forks_frozen(),
            self_forks: checks.log1.self_forks(),
            put_back_records: checks.log1.compared(),
            records,
            repeats_compared: checks.repeats,
            states_compared: checks.compared,
            events: self.trace.event_count(),
        };
        let (seed, trace) = (self.config.seed, self.trace.digest());
        RunReport { seed, trace, figures, faults: self.faults, violation: self.violation }
    }

    fn forks_frozen(&self) -> u64 {
        let frozen = |shop: &&crate::node::Shop| {
            let at = |node: usize| {
                let ledger = self.nodes[node].ledger()?;
                Some(ledger.alliance().roster().shop(shop.id())?.standing == Standing::Frozen)
            };
            self.honest_nodes().all(|node| at(node) == Some(true))
        };
        self.shops.iter().filter(frozen).count() as u64
    }

    /// Second uses that cheats wrote, and that a sound party holds and did not count as such; the worst of them.
    fn undetected_double_uses(&self) -> u64 {
        let missed = |node: usize| {
            let views = self.nodes[node].ledger()?.views();
            let counted = |(second, key): &&(Record, VoucherKey)| {
                let voucher = report::voucher(&*views, key).ok().flatten();
                voucher
                    .is_some_and(|v| v.use_of(second.id()).is_some() && v.uses.len() > v.right.uses as usize)
            };
            let held = self.checks.second_uses.iter().filter(|(second, _)| self.counts_at(node, second));
            Some(held.filter(counted).count() as u64)
        };
        self.honest_nodes().filter_map(missed).max().unwrap_or_default()
    }

    /// Whether a node's shop is a party to a record that lies within what counts of its author's log.
    fn counts_at(&self, node: usize, record: &Record) -> bool {
        let (header, me) = (record.header(), self.shops[self.nodes[node].shop].id());
        let Some(ledger) = self.nodes[node].ledger() else { return false };
        let last = ledger.alliance().roster().counts_up_to(header.shop);
        let held = ledger.reader().record_id(header.shop, header.sequence);
        header.audience.named().contains(&me)
            && last.is_none_or(|last| header.sequence <= last)
            && held == Ok(Some(record.id()))
    }
}
