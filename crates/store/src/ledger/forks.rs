//! Finding forks of other shops' logs, proving them, and taking in proofs that others found.

use std::cmp::Ordering;

use hutong_core::{
    command::DraftRecord,
    fold,
    roster::{Roster, Standing},
    view::Reader,
};
use hutong_record::{
    Audience, ForkProof, Header, RUN_RECORDS_MAX, Record, RecordId, ShopId, UnixMillis, proto, proto::Kind,
    verify_run_with,
};
use prost::Message as _;
use rand_core::CryptoRng;

use super::{ExecuteError, Ledger, LedgerError, Signing, signing::PROOFS_MAX};
use crate::{
    journal::{JournalError, JournalReader},
    views::Views,
};

/// Own records that are read to prove a fork: a signature is among them if there is one near enough.
const BRANCH_BYTES_MAX: usize = 256 * 1_024;

/// What a peer's records of a log came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examined {
    /// They are no other branch, or not signed.
    Nothing,
    /// They are another branch, and nothing from the place where it leaves counts: by the proof that was made, or by what
    /// was known. Of the own log: it is not proven here, but nothing is signed any more.
    Settled,
    /// They are another branch, which leaves the log held before their first one: show me from this place on.
    Earlier(u64),
    /// As far as they go they are the records held: show me from this place on.
    Later(u64),
    /// They leave the log held in a later incarnation, and are to be taken in: of a log that ends at a proven fork no others are
    /// asked for.
    Supersede,
}

/// What became of a proof that a peer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofTaken {
    /// It holds, and was not known.
    News,
    /// It holds, and the log is known to end there or before.
    Known,
    /// It is about a shop that is not known here.
    Unknown,
    /// It does not hold: no honest node sends it.
    False,
}

/// A fork that is proven to this shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFork {
    /// Whose log it is.
    pub shop: ShopId,
    /// The first place that does not count.
    pub sequence: u64,
    /// An encoded `ForkProof`.
    pub proof: Vec<u8>,
    /// The record held here before that place is on neither of the proof's branches: they part earlier, which a peer may
    /// be able to show.
    pub parts_before: bool,
}

/// The forks of members' logs that are proven to this shop.
///
/// # Errors
/// The views or the journal cannot be read.
pub fn known_forks(
    roster: &Roster,
    view: &(impl Reader + ?Sized),
    journal: &dyn JournalReader,
) -> Result<Vec<KnownFork>, LedgerError> {
    let mut forks = Vec::new();
    for (shop, _) in roster.iter().filter(|(_, member)| member.standing == Standing::Frozen) {
        if let Some((sequence, proof)) = fold::fork_proof(view, shop)? {
            let parts_before = parts_before(shop, sequence, &proof, journal)?;
            forks.push(KnownFork { shop, sequence, proof, parts_before });
        }
    }
    Ok(forks)
}

fn parts_before(
    shop: ShopId,
    sequence: u64,
    proof: &[u8],
    journal: &dyn JournalReader,
) -> Result<bool, LedgerError> {
    let held = match sequence.checked_sub(1) {
        None | Some(0) => None,
        Some(before) => journal.readable_id(shop, before)?,
    };
    let Some(held) = held else { return Ok(false) };
    let Ok(message) = proto::ForkProof::decode(proof) else { return Ok(false) };
    let before = ForkProof::records_before(&message);
    Ok(!before.is_empty() && !before.contains(&held))
}

/// Where a branch's key is not known here, it may have rotated the key after it left the log that is held: its earlier
/// records tell.
fn before_the_epoch(first: &Header) -> Examined {
    if first.key_epoch > 0 && first.sequence > 1 {
        Examined::Earlier(first.sequence / 2)
    } else {
        Examined::Nothing
    }
}

impl<V: Views> Ledger<V> {
    /// Looks for a fork in a peer's records of a log: see [`Ledger::examine_branch`]. True: nothing from some place on
    /// counts.
    ///
    /// # Errors
    /// The views or the journal failed.
    pub fn examine(
        &mut self,
        messages: Vec<proto::Record>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<bool, ExecuteError> {
        Ok(self.examine_branch(messages, now, rng)? == Examined::Settled)
    }

    /// Looks for a fork in a peer's consecutive records of one log, a run. Where they part from the log that is held, a
    /// proof is staged as a record of this shop, unless the log is known to end before that place; where this shop may
    /// not sign yet, it waits.
    ///
    /// # Errors
    /// The views or the journal failed.
    pub fn examine_branch(
        &mut self,
        messages: Vec<proto::Record>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Examined, ExecuteError> {
        if messages.len() > RUN_RECORDS_MAX {
            return Ok(Examined::Nothing);
        }
        let parsed: Result<Vec<_>, _> = messages.into_iter().map(Record::parse).collect();
        let Ok(theirs) = parsed else { return Ok(Examined::Nothing) };
        let Some(first) = theirs.first().map(|record| record.header().clone()) else {
            return Ok(Examined::Nothing);
        };
        if first.shop == self.alliance.me() {
            return Ok(if self.examine_own(theirs)? { Examined::Settled } else { Examined::Nothing });
        }
        let key = self.alliance.key_of_run(&theirs);
        // The signatures in between stay: a proof is the shorter for them.
        let is_signed = |key| verify_run_with(theirs.clone(), &key, self.alliance.cryptography()).is_ok();
        if !key.is_some_and(is_signed) {
            return Ok(before_the_epoch(&first));
        }
        self.compare_branch(&theirs, &first, now, rng)
    }

    fn compare_branch(
        &mut self,
        theirs: &[Record],
        first: &Header,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Examined, ExecuteError> {
        let shop = first.shop;
        for (place, record) in theirs.iter().enumerate() {
            let sequence = record.header().sequence;
            let Some(id) = self.held_id(shop, sequence)? else { continue };
            if id == record.id() {
                continue;
            }
            if self.alliance.roster().counts_up_to(shop).is_some_and(|last| sequence > last) {
                return Ok(Examined::Settled); // one proof is enough
            }
            let before = sequence - 1;
            let parts_here = before == 0 || record.header().previous == self.held_id(shop, before)?;
            if !parts_here {
                return Ok(Examined::Earlier((sequence / 2).max(1)));
            }
            let ours = match self.reader.read_log(shop, sequence, BRANCH_BYTES_MAX) {
                Err(JournalError::Damaged { .. }) => return Ok(Examined::Nothing),
                ours => ours.map_err(LedgerError::from)?,
            };
            if let Some(proof) = self.proof(&ours, &theirs[place..]) {
                self.publish_proof(&proof, now, rng)?;
                return Ok(Examined::Settled);
            }
            let held = ours.first().map_or(0, |record| record.header().incarnation);
            match record.header().incarnation.cmp(&held) {
                Ordering::Greater => return Ok(Examined::Supersede),
                Ordering::Less => return Ok(Examined::Nothing), // what is held supersedes it
                Ordering::Equal => {}
            }
        }
        let end = theirs[theirs.len() - 1].header().sequence;
        let same = self.held_id(shop, end)? == Some(theirs[theirs.len() - 1].id());
        Ok(if same { Examined::Later(end.saturating_add(1)) } else { Examined::Nothing })
    }

    fn held_id(&self, shop: ShopId, sequence: u64) -> Result<Option<RecordId>, LedgerError> {
        Ok(self.reader.readable_id(shop, sequence)?)
    }

    /// The proof that two branches give, from the first place at which they do.
    fn proof(&self, ours: &[Record], theirs: &[Record]) -> Option<ForkProof> {
        let keys = |shop, epoch| self.alliance.signing_key(shop, epoch);
        let places = 0..ours.len().min(theirs.len());
        places
            .filter_map(|place| ForkProof::from_branches(&ours[place..], &theirs[place..]))
            .find_map(|message| ForkProof::verify(&message, keys).ok())
    }

    /// Takes in a proof that a peer found. News is staged as a record of this shop (or waits until that may sign), so that
    /// it reaches everybody whose way to the finder's log is cut.
    ///
    /// # Errors
    /// The views or the journal failed.
    pub fn take_proof(
        &mut self,
        message: &proto::ForkProof,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<ProofTaken, ExecuteError> {
        let accused = message.first.as_ref().and_then(|signed| Header::parse(&signed.header).ok());
        let Some(accused) = accused else { return Ok(ProofTaken::False) };
        let keys = |shop, epoch| self.alliance.signing_key(shop, epoch);
        let other = message.second.as_ref().and_then(|signed| Header::parse(&signed.header).ok());
        let known = |header: &Header| keys(header.shop, header.key_epoch).is_some();
        if !known(&accused) || !other.as_ref().is_none_or(known) {
            return Ok(ProofTaken::Unknown);
        }
        let proof = ForkProof::verify(message, keys);
        let Some(proof) = proof.ok().filter(|proof| proof.alliance() == self.id()) else {
            return Ok(ProofTaken::False);
        };
        if proof.shop() == self.alliance.me() {
            let news = self.signing != Signing::Forked;
            self.signing = Signing::Forked;
            return Ok(if news { ProofTaken::News } else { ProofTaken::Known });
        }
        let known =
            self.alliance.roster().counts_up_to(proof.shop()).is_some_and(|last| last < proof.sequence());
        if known || self.waiting_proofs.contains_key(&proof.shop()) {
            return Ok(ProofTaken::Known);
        }
        self.publish_proof(&proof, now, rng)?;
        Ok(ProofTaken::News)
    }

    fn publish_proof(
        &mut self,
        proof: &ForkProof,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<(), ExecuteError> {
        let message = proof.message().encode_to_vec();
        let draft = DraftRecord { kind: Kind::ForkProof, audience: Audience::Alliance, message };
        if self.signing == Signing::Confirmed {
            return self.write(vec![draft], now, rng).map(drop);
        }
        if self.waiting_proofs.len() < PROOFS_MAX {
            self.waiting_proofs.insert(proof.shop(), draft);
        }
        Ok(())
    }
}
