//! What is owed at the end, and how much of it cancels around the circle.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use hutong_core::netting::{self, Debt};
use hutong_wire::merchant::v1::{self as pb, settlement_service_client::SettlementServiceClient};
use prost_types::Timestamp;
use serde::Serialize;

use super::{audit::Balance, gather, ledger::Violations, link::Link, plan::timestamp, street::Shop};
use crate::clock;

/// All balances of the street, netted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Settlement {
    /// Pairs between which something is owed.
    pub(super) debts: usize,
    /// What is owed, cents.
    pub(super) gross_debt_cents: i64,
    /// What cancels around the circle, cents.
    pub(super) cancelled_cents: i64,
    /// What is left to be paid, cents.
    pub(super) left_cents: i64,
    /// `cancelled_cents` of `gross_debt_cents`, in percent.
    pub(super) cancelled_percent: f64,
    /// Pairs on the street, those that never traded included.
    pub(super) pairs: usize,
    /// Of them, those whose two shops signed the same statement, over the balance that the audit has seen.
    pub(super) statements_agreed: usize,
    /// The same cancelled by records: every balance disclosed by both, and every touched shop's consent.
    pub(super) netted_by_records: bool,
}

/// What one pair's balance says: a debt, unless they are even. Positive: the second owes the first.
pub(super) fn debt(shop: Shop, ally: Shop, balance_cents: i64) -> Option<Debt<Shop>> {
    let (debtor, creditor) = if balance_cents > 0 { (ally, shop) } else { (shop, ally) };
    let minor = balance_cents.checked_abs()?;
    (minor > 0).then_some(Debt { debtor, creditor, minor })
}

impl Settlement {
    /// Nets the debts, and has the result checked.
    ///
    /// # Errors
    /// An amount is out of bounds, or the result does not hold.
    pub(super) fn of(debts: &[Debt<Shop>]) -> anyhow::Result<Self> {
        let netting = netting::net(debts)?;
        netting::verify(debts, &netting)?;
        Ok(Self {
            debts: debts.len(),
            gross_debt_cents: netting.total,
            cancelled_cents: netting.cleared,
            left_cents: netting.remainder,
            cancelled_percent: netting.cleared as f64 * 100.0 / netting.total.max(1) as f64,
            ..Self::default()
        })
    }

    /// Has all pairs settle over the merchant API, as their owners would: statements signed by both, balances of those who
    /// traded disclosed, a netting run proposed and consented to.
    ///
    /// # Errors
    /// A node stays down or refuses what it should not.
    pub(super) async fn on_record(
        mut self,
        links: &[Arc<Link>],
        shop_of: &HashMap<String, Shop>,
        pairs: &[Balance],
    ) -> anyhow::Result<Self> {
        let ids: HashMap<Shop, &String> = shop_of.iter().map(|(id, shop)| (*shop, id)).collect();
        let id = |shop: Shop| ids.get(&shop).map(|id| (*id).clone()).context("a shop without an id");
        let link = |shop: Shop| &*links[shop.index()];
        self.pairs = pairs.len();
        // Up to this moment: what was taken back was taken back today.
        let end = timestamp(clock::now());
        for pair in pairs {
            sign(link(pair.shop), id(pair.ally)?, end).await?;
        }
        gather::settle(links).await?;
        for pair in pairs {
            let signed = sign(link(pair.ally), id(pair.shop)?, None).await?;
            let closing = signed.closing.as_ref().map_or(0, |money| money.minor);
            let agreed = signed.state() == pb::StatementState::Agreed && closing == -pair.cents;
            self.statements_agreed += usize::from(agreed);
        }
        gather::settle(links).await?;
        for pair in pairs.iter().filter(|pair| pair.traded) {
            publish(link(pair.shop), id(pair.ally)?).await?;
            publish(link(pair.ally), id(pair.shop)?).await?;
        }
        gather::settle(links).await?;
        if self.cancelled_cents > 0 {
            self.netted_by_records = self.net(links).await?;
        }
        Ok(self)
    }

    /// Every two shops must have agreed, if only that nothing is owed, and what cancels must be cancelled.
    pub(super) fn check(&self, violations: &mut Violations) {
        violations.require(self.statements_agreed == self.pairs, "CON-1", || {
            format!("{} of {} pairs agreed on a statement", self.statements_agreed, self.pairs)
        });
        violations.require(self.netted_by_records == (self.cancelled_cents > 0), "MON-1", || {
            format!("{} cents that cancel were not cancelled by records", self.cancelled_cents)
        });
    }

    /// One shop proposes, all consent. Whether it took effect everywhere and cancelled what it should.
    async fn net(&self, links: &[Arc<Link>]) -> anyhow::Result<bool> {
        let ask = |carrier| async move {
            let request = pb::ProposeNettingRequest::default();
            SettlementServiceClient::new(carrier).propose_netting(request).await
        };
        let run = links[0].call("ProposeNetting", ask).await?.done()?.run.context("no run")?;
        gather::settle(links).await?;
        for link in links {
            let ask = |carrier| {
                let request = pb::ConsentToNettingRequest { run_id: run.id.clone(), ..Default::default() };
                async move { SettlementServiceClient::new(carrier).consent_to_netting(request).await }
            };
            link.call("ConsentToNetting", ask).await?.done()?;
        }
        gather::settle(links).await?;
        let mut all = true;
        for link in links {
            let ask = |carrier| {
                let request = pb::GetNettingRequest { run_id: run.id.clone(), ..Default::default() };
                async move { SettlementServiceClient::new(carrier).get_netting(request).await }
            };
            let run = link.call("GetNetting", ask).await?.done()?.run.context("no run")?;
            let cleared = run.cleared.map_or(0, |money| money.minor);
            all &= run.in_effect && cleared == self.cancelled_cents;
        }
        Ok(all)
    }
}

/// Signs the next statement with an ally, up to a moment or as far as the ally's goes.
async fn sign(
    link: &Link,
    ally_id: String,
    period_end_time: Option<Timestamp>,
) -> anyhow::Result<pb::Statement> {
    let ask = |carrier| {
        let request =
            pb::SignStatementRequest { ally_id: ally_id.clone(), period_end_time, ..Default::default() };
        async move { SettlementServiceClient::new(carrier).sign_statement(request).await }
    };
    link.call("SignStatement", ask).await?.done()?.statement.context("no statement")
}

async fn publish(link: &Link, ally_id: String) -> anyhow::Result<()> {
    let ask = |carrier| {
        let request = pb::PublishBalanceRequest { ally_id: ally_id.clone(), ..Default::default() };
        async move { SettlementServiceClient::new(carrier).publish_balance(request).await }
    };
    link.call("PublishBalance", ask).await?.done().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(key: &str) -> Shop {
        key.parse().unwrap()
    }

    #[test]
    fn a_circle_cancels_and_the_rest_stays() {
        let debts: Vec<_> = [("deli", "bakery", 500), ("bakery", "grocer", -300), ("deli", "grocer", 0)]
            .into_iter()
            .filter_map(|(one, other, cents)| debt(shop(one), shop(other), cents))
            .collect();
        assert_eq!(debts.len(), 2, "those who are even owe nothing");
        let circle = debt(shop("grocer"), shop("deli"), -200).unwrap();
        let settlement = Settlement::of(&[debts, vec![circle]].concat()).unwrap();
        // The bakery owes the deli 500, the bakery owes the grocer 300, the grocer owes the deli 200: no circle.
        assert_eq!((settlement.gross_debt_cents, settlement.cancelled_cents), (1_000, 0));
        let debts: Vec<_> = [("deli", "bakery", 500), ("bakery", "grocer", 300), ("grocer", "deli", 200)]
            .into_iter()
            .filter_map(|(one, other, cents)| debt(shop(one), shop(other), cents))
            .collect();
        let settlement = Settlement::of(&debts).unwrap();
        assert_eq!((settlement.debts, settlement.gross_debt_cents), (3, 1_000));
        assert_eq!((settlement.cancelled_cents, settlement.left_cents), (600, 400));
        assert!((settlement.cancelled_percent - 60.0).abs() < 1e-9);
    }
}
