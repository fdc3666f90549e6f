//! Overrides: this shop goes on with the keys of a later epoch from a place of its log, and what older keys signed past it
//! does not count any more, here and everywhere. The override names an incarnation of its own epoch, so it outranks every
//! branch that a thief of those keys can make, and forks none.

use bytes::Bytes;
use hutong_core::{
    command::{Command, Decider, DraftRecord, OverrideOrder},
    refusal::{Reason, Refusal},
};
use hutong_record::{Audience, CutOff, Record, UnixMillis, proto, proto::Kind};
use prost::Message as _;
use rand_core::CryptoRng;

use super::{Doubt, ExecuteError, Executed, Ledger, LedgerError, Signing, Spot, next_incarnation};
use crate::views::Views;

impl<V: Views> Ledger<V> {
    /// Carries an override out. It needs no confirmed head: a log of which others may hold more, as of one that a thief
    /// goes on with, is what it is for. After it nobody else has the keys that sign.
    pub(super) fn override_key(
        &mut self,
        command: &Command,
        order: &OverrideOrder,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Executed, ExecuteError> {
        self.check_not_asking()?;
        let succession = order.key_override.succession();
        let epoch = succession.epoch();
        let draft = self.decide_override(command, now, rng)?;
        let key = self.key_of(succession)?;
        let head = self.head(self.alliance.me()).filter(|head| head.id == order.head);
        let head = head.ok_or_else(|| Refusal::new(Reason::LogWentOn))?;
        let CutOff { last_sequence, last_id, .. } = *order.key_override.cut_off();
        self.check_kept(order.key_override.cut_off())?;
        let cuts_off = head.sequence > last_sequence;
        let incarnation = next_incarnation(head.incarnation, epoch, now)?;
        let lost = cuts_off || matches!(self.signing, Signing::Unconfirmed(doubt) if doubt.may_have_lost());
        let doubtful_until_unix_ms = if lost { self.doubtful_until(now).ms() } else { 0 };
        let resumption = proto::Resumption { doubtful_until_unix_ms, ..proto::Resumption::default() };
        let resumption = DraftRecord {
            kind: Kind::Resumption,
            audience: Audience::Alliance,
            message: resumption.encode_to_vec(),
        };
        let sequence = last_sequence.saturating_add(1);
        let spot =
            Spot { sequence, previous: Some(last_id), incarnation, key: key.clone(), key_epoch: epoch };
        let first = self.sign_at(&spot, &draft, now, rng)?;
        let sequence = sequence.saturating_add(1);
        let spot = Spot { sequence, previous: Some(first.id()), incarnation, key, key_epoch: epoch };
        let second = self.sign_at(&spot, &resumption, now, rng)?;
        let records = vec![first.id(), second.id()];
        self.go_on_with([(first, draft), (second, resumption)], cuts_off)?;
        self.note_keys_held(epoch).map_err(LedgerError::from)?;
        self.signing = Signing::Confirmed;
        self.next_incarnation = false;
        Ok(Executed { records, answer: None })
    }

    /// Whether peers are still being asked how far the log goes, which takes a moment, or it is frozen.
    fn check_not_asking(&self) -> Result<(), Refusal> {
        match self.signing {
            Signing::Unconfirmed(doubt @ (Doubt::Started | Doubt::TailTorn)) => {
                Err(Refusal::new(Reason::HeadUnconfirmed).with("why", doubt.code()))
            }
            Signing::Forked => Err(Refusal::new(Reason::LogFrozen)),
            Signing::Confirmed | Signing::Unconfirmed(_) => Ok(()),
        }
    }

    fn decide_override(
        &self,
        command: &Command,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<DraftRecord, ExecuteError> {
        let view = self.staged.overlay(&*self.views);
        // Nothing is signed by what decides.
        let (key, key_epoch) = (&*self.keys.signing, 0);
        let decider = Decider { alliance: &self.alliance, view: &view, now, key, key_epoch };
        let drafts = decider.decide(command, rng)?;
        drafts.into_iter().next().ok_or_else(|| Refusal::new(Reason::Internal).into())
    }

    /// Whether the record that is to be the last one before the override is held in its place.
    fn check_kept(&self, cut_off: &CutOff) -> Result<(), ExecuteError> {
        let sequence = cut_off.last_sequence;
        let held = self.id_at(self.alliance.me(), sequence).map_err(LedgerError::from)?;
        if held == Some(cut_off.last_id) {
            return Ok(());
        }
        Err(Refusal::new(Reason::OverridePlaceUnknown).with("sequence", sequence).into())
    }

    /// Stages the records: behind what is held, or in its place.
    fn go_on_with(&mut self, records: [(Record, DraftRecord); 2], cuts_off: bool) -> Result<(), LedgerError> {
        if cuts_off {
            let records: Vec<_> = records.into_iter().map(|(record, _)| record).collect();
            self.alliance.switch_keys(&records);
            self.staged.supersede(records);
            return Ok(());
        }
        for (record, draft) in records {
            self.stage(record, Some(Bytes::from(draft.message)))?;
        }
        Ok(())
    }
}
