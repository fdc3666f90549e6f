//! LOG-1: whoever holds a record of an honest shop holds the one that the shop signed under that number; a shop that was put
//! back from an old backup signs no number twice within an incarnation; and neither stands accused of a fork.

use std::collections::BTreeMap;

use hutong_core::{ingest::Head, roster::Standing};
use hutong_record::{RecordId, ShopId};
use hutong_store::journal::JournalReader;

use super::{Checked, Invariant};
use crate::{
    fault::FaultKind,
    node::{NodeNumber, ShopNumber},
    world::World,
};

/// A log is read in pages of so many bytes.
const PAGE_BYTES: usize = 64 << 10;

/// A record's id and incarnation.
type Place = (RecordId, u32);

/// What shops signed, as their own nodes made it durable.
pub(crate) struct Signed {
    /// Of each shop, from number 1, as long as it is honest.
    logs: Vec<Vec<Place>>,
    /// Of each shop that was put back, by incarnation and number.
    put_back: BTreeMap<ShopNumber, BTreeMap<(u32, u64), RecordId>>,
    compared: u64,
    self_forks: u64,
}

impl Signed {
    pub(crate) fn new(shops: usize) -> Self {
        Self { logs: vec![Vec::new(); shops], put_back: BTreeMap::new(), compared: 0, self_forks: 0 }
    }

    /// Records of shops that were put back, as far as their numbers were compared.
    pub(crate) const fn compared(&self) -> u64 {
        self.compared
    }

    /// Records under a number that their shop had signed before.
    pub(crate) const fn self_forks(&self) -> u64 {
        self.self_forks
    }

    /// How many records of an honest shop are known.
    fn len(&self, shop: ShopNumber) -> u64 {
        self.logs[shop].len() as u64
    }

    /// The shop's own node holds this record.
    fn own(&mut self, shop: ShopNumber, head: Head) -> Checked {
        let log = &mut self.logs[shop];
        if head.sequence == log.len() as u64 + 1 {
            log.push((head.id, head.incarnation));
            return Ok(());
        }
        self.check(shop, head.sequence, head.id)
    }

    /// Somebody holds this record.
    fn check(&mut self, shop: ShopNumber, sequence: u64, id: RecordId) -> Checked {
        let index = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        match index.and_then(|index| self.logs[shop].get(index)) {
            Some((known, _)) if *known == id => Ok(()),
            Some(_) => self.forked(shop, sequence),
            None => Err((
                Invariant::Log2,
                format!("record {sequence} of shop {shop} was sent before it was durable there"),
            )),
        }
    }

    /// A shop is put back. It may have lost records, and goes on in an incarnation of its own.
    pub(crate) fn put_back(&mut self, shop: ShopNumber) {
        let signed = (1..).zip(&self.logs[shop]);
        let signed = signed.map(|(sequence, (id, incarnation))| ((*incarnation, sequence), *id));
        self.put_back.entry(shop).or_default().extend(signed);
    }

    /// Somebody holds this record of a shop that was put back.
    fn again(&mut self, shop: ShopNumber, head: Head) -> Checked {
        let signed = self.put_back.entry(shop).or_default();
        self.compared += 1;
        if *signed.entry((head.incarnation, head.sequence)).or_insert(head.id) == head.id {
            return Ok(());
        }
        self.forked(shop, head.sequence)
    }

    fn forked(&mut self, shop: ShopNumber, sequence: u64) -> Checked {
        self.self_forks += 1;
        Err((Invariant::Log1, format!("shop {shop} signed two records with number {sequence}")))
    }
}

impl World {
    /// A node has made logs durable up to these heads.
    pub(crate) fn observe_heads(&mut self, node: NodeNumber, heads: &[(ShopId, Head)]) {
        let own = self.nodes[node].shop;
        for (author, head) in heads {
            let Some(shop) = self.shop_number(*author) else { continue };
            let outcome = match shop == own {
                _ if self.is_put_back(shop) => self.observe_put_back(node, shop, *head),
                _ if self.shops[shop].faulty.is_some() => Ok(()),
                true => self.observe_own(node, shop, *head),
                false if self.is_honest(node) => self.checks.log1.check(shop, head.sequence, head.id),
                false => Ok(()),
            };
            self.expect(outcome);
        }
    }

    /// Whether nothing is wrong with a shop but that an old backup of it was put to work.
    fn is_put_back(&self, shop: ShopNumber) -> bool {
        let shop = &self.shops[shop];
        shop.faulty == Some(FaultKind::Restore) && !shop.cheated
    }

    fn observe_own(&mut self, node: NodeNumber, shop: ShopNumber, head: Head) -> Checked {
        let from = self.checks.log1.len(shop) + 1;
        for before in self.heads_between(node, shop, from, head.sequence) {
            self.checks.log1.own(shop, before)?;
        }
        self.checks.log1.own(shop, head)
    }

    fn observe_put_back(&mut self, node: NodeNumber, shop: ShopNumber, head: Head) -> Checked {
        let told = self.nodes[node].told.get(&self.shops[shop].id()).map_or(0, |told| told.sequence);
        for before in self.heads_between(node, shop, told + 1, head.sequence) {
            self.checks.log1.again(shop, before)?;
        }
        self.checks.log1.again(shop, head)
    }

    /// A log's records at a node from a number up to before another.
    fn heads_between(&self, node: NodeNumber, shop: ShopNumber, from: u64, to: u64) -> Vec<Head> {
        let reader = self.nodes[node].ledger().filter(|_| from < to).map(|ledger| ledger.reader());
        reader.map_or_else(Vec::new, |reader| read_heads(&*reader, self.shops[shop].id(), from, to))
    }

    /// The id that an honest shop's log has at a number, as far as it is known.
    pub(super) fn signed(&self, shop: ShopNumber, sequence: u64) -> Option<RecordId> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        self.checks.log1.logs[shop].get(index).map(|(id, _)| *id)
    }

    /// No honest shop is frozen, nor one that was put back.
    pub(super) fn check_nobody_accused(&mut self, node: NodeNumber) {
        let Some(ledger) = self.nodes[node].ledger() else { return };
        let roster = ledger.alliance().roster();
        let accused = (0..self.shops.len()).find(|shop| {
            let standing = roster.shop(self.shops[*shop].id()).map(|member| member.standing);
            let innocent = self.shops[*shop].faulty.is_none() || self.is_put_back(*shop);
            innocent && standing == Some(Standing::Frozen)
        });
        if let Some(shop) = accused {
            self.broken(
                Invariant::Log1,
                format!("node {node} froze the log of shop {shop}, which signed no number twice"),
            );
        }
    }
}

fn read_heads(reader: &dyn JournalReader, shop: ShopId, from: u64, to: u64) -> Vec<Head> {
    let (mut heads, mut next) = (Vec::new(), from);
    while next < to {
        let Ok(records) = reader.read_log(shop, next, PAGE_BYTES) else { break };
        let Some(last) = records.last() else { break };
        next = last.header().sequence + 1;
        heads.extend(records.iter().map(|record| {
            let header = record.header();
            Head { sequence: header.sequence, id: record.id(), incarnation: header.incarnation }
        }));
    }
    heads.retain(|head| head.sequence < to);
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(sequence: u64, incarnation: u32, id: u8) -> Head {
        Head { sequence, id: RecordId::new([id; 32]), incarnation }
    }

    #[test]
    fn a_shop_that_was_put_back_may_use_its_numbers_again_in_a_new_incarnation_alone() {
        let mut signed = Signed::new(1);
        signed.own(0, head(1, 0, 1)).unwrap();
        signed.own(0, head(2, 0, 2)).unwrap();
        signed.put_back(0);
        signed.again(0, head(1, 0, 1)).unwrap();
        signed.again(0, head(2, 7, 3)).unwrap();
        signed.again(0, head(2, 7, 3)).unwrap();
        assert_eq!(signed.self_forks(), 0);
        assert_eq!(signed.again(0, head(2, 0, 4)).unwrap_err().0, Invariant::Log1);
        assert_eq!(signed.again(0, head(2, 7, 5)).unwrap_err().0, Invariant::Log1);
        assert_eq!((signed.self_forks(), signed.compared()), (2, 5));
    }

    #[test]
    fn an_honest_shop_uses_a_number_once() {
        let mut signed = Signed::new(1);
        signed.own(0, head(1, 0, 1)).unwrap();
        signed.own(0, head(1, 0, 1)).unwrap();
        assert_eq!(signed.own(0, head(1, 3, 2)).unwrap_err().0, Invariant::Log1);
        assert_eq!(signed.check(0, 2, RecordId::new([2; 32])).unwrap_err().0, Invariant::Log2);
        assert_eq!(signed.self_forks(), 1);
    }
}
