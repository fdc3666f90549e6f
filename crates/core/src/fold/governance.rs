//! Folding what the alliance decides about itself.

use hutong_record::Continuation;

use super::*;
use crate::doubt;

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn resumption(&mut self) -> Handled {
        let message: proto::Resumption = self.decode()?;
        let until = UnixMillis::new(message.doubtful_until_unix_ms).map_err(|_| ignore("no such time"))?;
        let incarnation = self.record.header().incarnation;
        if incarnation > 0 {
            table::write(self.view, table::resumed(self.author()), &incarnation);
        }
        if !self.is_own() {
            return Ok(());
        }
        if message.nothing_lost {
            self.view.remove(table::doubt());
        } else if doubt::current(self.view)?.map_or(UnixMillis::EPOCH, |doubt| doubt.until) < until {
            table::write(self.view, table::doubt(), &until);
        }
        Ok(())
    }

    pub(super) fn charter(&self) -> Handled {
        let charter = self.alliance.charter();
        let header = self.record.header();
        let founding =
            header.shop == charter.founder.id() && header.sequence == 1 && self.message == charter.bytes();
        if founding { Ok(()) } else { Err(ignore("not the alliance's charter")) }
    }

    pub(super) fn profile(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::Profile = self.decode()?;
        crate::command::check_profile(&message).map_err(|_| ignore("profile out of bounds"))?;
        // The bytes as they came: what this program does not know of them, a newer one must find in the same digest.
        self.view.put(table::profile(self.author()), self.message.to_vec());
        Ok(())
    }

    pub(super) fn vote(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::Vote = self.decode()?;
        // The council has heard the voice before; here is what it means beside that.
        let id = motion_id(&message.motion);
        if !self.alliance.council.motions.contains_key(&id) {
            return Err(ignore("motion is malformed"));
        }
        if !message.inviter_id.is_empty() {
            let heard = self.alliance.council.has_heard(self.author(), self.record.header().sequence);
            return if heard { Ok(()) } else { Err(ignore("the guest's word is none")) };
        }
        if self.is_own() && !message.guest_key.is_empty() {
            let key = table::invitation(&message.guest_key);
            if let Some((invitation, _)) = table::read::<(Vec<u8>, [u8; 32])>(self.view, &key)? {
                table::write(self.view, key, &(invitation, id));
            }
        }
        Ok(())
    }

    /// An appeal, a choice or a departure: the council has heard it, unless it is malformed.
    pub(super) fn act(&self) -> Handled {
        self.check_public()?;
        let header = self.record.header();
        let alliance = self.alliance;
        let (id, cryptography) = (alliance.charter().id, alliance.cryptography());
        let (council, judge) = (&alliance.council, alliance.judge());
        match council.hear(id, header.kind, header.time, &self.message, judge, cryptography) {
            Ok(_) => Ok(()),
            Err(_) => Err(ignore("payload is malformed")),
        }
    }

    /// The council has heard it: who continues whom, the roster says.
    pub(super) fn continuation(&self) -> Handled {
        self.check_public()?;
        let continuation = Continuation::read(&self.message).map_err(|_| ignore("payload is malformed"))?;
        if continuation.new_shop() == self.author() { Ok(()) } else { Err(ignore("of another shop")) }
    }

    pub(super) fn invitation(&mut self) -> Handled {
        if self.check_public().is_ok() {
            return self.act(); // an open one
        }
        self.check_parties([self.author()])?;
        let message: proto::Invitation = self.decode()?;
        let entry = (message.encode_to_vec(), [0u8; 32]);
        table::write(self.view, table::invitation(&message.guest_key), &entry);
        Ok(())
    }

    pub(super) fn fork_proof(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::ForkProof = self.decode()?;
        let accused =
            message.first.as_ref().and_then(|signed| hutong_record::Header::parse(&signed.header).ok());
        let accused = accused.ok_or_else(|| ignore("proof is malformed"))?;
        // Both sides' keys must be known before the proof is judged.
        self.key_of(accused.shop, accused.key_epoch)?;
        let other = message.second.as_ref().and_then(|s| hutong_record::Header::parse(&s.header).ok());
        if let Some(other) = other.filter(|other| other.shop == accused.shop) {
            self.key_of(other.shop, other.key_epoch)?;
        }
        let keys = |shop, epoch| self.alliance.statement_key(shop, epoch).ok();
        let proof = ForkProof::verify(&message, keys).map_err(|_| ignore("proof does not hold"))?;
        if proof.alliance() != self.alliance.charter().id {
            return Err(ignore("proof is about another alliance"));
        }
        // Of several proofs the earliest fork counts, and of several for that place the least bytes: the order of
        // arrival must not show.
        let key = table::fork(proof.shop());
        let new = (proof.sequence(), message.encode_to_vec());
        let before: Option<(u64, Vec<u8>)> = table::read(self.view, &key)?;
        if before.is_none_or(|before| new < before) {
            table::write(self.view, key, &new);
        }
        Ok(())
    }
}
