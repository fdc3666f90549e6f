//! LOG-1: whoever holds a record of an honest shop holds the one that the shop signed under that number; and no honest
//! shop stands accused of a fork.

use hutong_core::{ingest::Head, roster::Standing};
use hutong_record::{RecordId, ShopId};

use super::{Checked, Invariant};
use crate::{
    node::{NodeNumber, ShopNumber},
    world::World,
};

/// Ids of the records of each shop, from number 1, as its own node made them durable.
pub(crate) struct Signed(Vec<Vec<RecordId>>);

impl Signed {
    pub(crate) fn new(shops: usize) -> Self {
        Self(vec![Vec::new(); shops])
    }

    /// How many records of a shop are known.
    fn len(&self, shop: ShopNumber) -> u64 {
        self.0[shop].len() as u64
    }

    /// The shop's own node holds this record.
    fn own(&mut self, shop: ShopNumber, sequence: u64, id: RecordId) -> Checked {
        let log = &mut self.0[shop];
        if sequence == log.len() as u64 + 1 {
            log.push(id);
            return Ok(());
        }
        self.check(shop, sequence, id)
    }

    /// Somebody holds this record.
    fn check(&self, shop: ShopNumber, sequence: u64, id: RecordId) -> Checked {
        let index = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        match index.and_then(|index| self.0[shop].get(index)) {
            Some(known) if *known == id => Ok(()),
            Some(_) => {
                Err((Invariant::Log1, format!("shop {shop} signed two records with number {sequence}")))
            }
            None => Err((
                Invariant::Log2,
                format!("record {sequence} of shop {shop} was sent before it was durable there"),
            )),
        }
    }
}

impl World {
    /// A node has made logs durable up to these heads.
    pub(crate) fn observe_heads(&mut self, node: NodeNumber, heads: &[(ShopId, Head)]) {
        let own = self.shops[self.nodes[node].shop].id();
        for (author, head) in heads {
            let Some(shop) = self.shops.iter().position(|shop| shop.id() == *author) else { continue };
            if self.shops[shop].faulty.is_some() {
                continue;
            }
            let outcome = match *author == own {
                true => self.observe_own(node, shop, *head),
                false if self.is_honest(node) => self.checks.log1.check(shop, head.sequence, head.id),
                false => Ok(()),
            };
            self.expect(outcome);
        }
    }

    fn observe_own(&mut self, node: NodeNumber, shop: ShopNumber, head: Head) -> Checked {
        let Some(ledger) = self.nodes[node].ledger() else { return Ok(()) };
        let (reader, author) = (ledger.reader(), self.shops[shop].id());
        for sequence in self.checks.log1.len(shop) + 1..head.sequence {
            let Ok(Some(id)) = reader.record_id(author, sequence) else { continue };
            self.checks.log1.own(shop, sequence, id)?;
        }
        self.checks.log1.own(shop, head.sequence, head.id)
    }

    /// The id that an honest shop's log has at a number, as far as it is known.
    pub(super) fn signed(&self, shop: ShopNumber, sequence: u64) -> Option<RecordId> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        self.checks.log1.0[shop].get(index).copied()
    }

    /// No honest shop is frozen.
    pub(super) fn check_nobody_accused(&mut self, node: NodeNumber) {
        let Some(ledger) = self.nodes[node].ledger() else { return };
        let roster = ledger.alliance().roster();
        let accused = self.shops.iter().position(|shop| {
            let frozen = roster.shop(shop.id()).is_some_and(|m| m.standing == Standing::Frozen);
            shop.faulty.is_none() && frozen
        });
        if let Some(shop) = accused {
            self.broken(
                Invariant::Log1,
                format!("node {node} froze the log of shop {shop}, which is honest"),
            );
        }
    }
}
