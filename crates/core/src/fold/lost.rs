//! Records that others refer to and that will never count: their author's disk was set back before others had them, or
//! they lie past its fork. Whoever has one says so, by its header; else a log that refers to it would wait for ever at
//! all who never had it.

use hutong_record::Header;
use serde::{Deserialize, Serialize};

use super::*;
use crate::duty::Duty;

/// What is known of a record that was named as lost.
#[derive(Serialize, Deserialize)]
struct Lost {
    shop: ShopId,
    incarnation: u32,
}

/// Whether other shops' records refer to records of a kind, and wait for them.
pub(super) const fn is_referred_to(kind: Kind) -> bool {
    matches!(kind, Kind::Promotion | Kind::QuotaMove | Kind::Payment | Kind::FundingConsent)
}

/// The record that a message names as lost.
pub(super) fn named_by(kind: Kind, message: Option<&Bytes>) -> Option<RecordId> {
    let bytes = message.filter(|_| kind == Kind::LostRecord)?;
    let header = proto::LostRecord::decode(bytes.clone()).ok()?.header;
    Some(Header::id_of(&header))
}

impl Alliance {
    /// Takes note of a record that is held and that a later incarnation of its author's log superseded.
    pub fn fold_superseded<R: Reader + ?Sized>(
        &self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<Bytes>,
    ) -> Result<(), ViewError> {
        if is_referred_to(record.header().kind) {
            table::write(view, table::record_ignored(record.id()), &());
            self.owe_news_of(view, record, message)?;
        }
        Ok(())
    }

    /// Where this shop may have written records that refer to a record which does not count, it owes the others the news.
    pub(super) fn owe_news_of<R: Reader + ?Sized>(
        &self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<Bytes>,
    ) -> Result<(), ViewError> {
        let own = record.header().shop == self.me();
        if own
            || view.get(&table::lost(record.id()))?.is_some()
            || !self.concerns_me(view, record, message)?
        {
            return Ok(());
        }
        let duty = Duty::TellLost(record.header_bytes().to_vec());
        table::write(view, duty.key(), &duty);
        Ok(())
    }

    fn concerns_me<R: Reader + ?Sized>(
        &self,
        view: &Overlay<'_, R>,
        record: &Record,
        message: Option<Bytes>,
    ) -> Result<bool, ViewError> {
        let Some(message) = message else { return Ok(false) };
        let currency = self.charter().currency;
        let promotion = match record.header().kind {
            Kind::Payment => return Ok(true), // it can be read: this shop is a party
            Kind::Promotion => proto::Promotion::decode(message)
                .ok()
                .and_then(|m| Promotion::check(&m, record.id(), record.header().shop, currency).ok()),
            Kind::QuotaMove => {
                let id = proto::QuotaMove::decode(message).ok().map(|m| m.promotion_id);
                self.promotion_named(view, id.as_deref())?
            }
            _ => {
                let id = proto::FundingConsent::decode(message).ok().map(|m| m.promotion_id);
                self.promotion_named(view, id.as_deref())?
            }
        };
        let me = self.me();
        Ok(promotion.is_some_and(|p| {
            p.funder == me || p.distributor_index(me).is_some() || p.redeemers.contains(&me)
        }))
    }

    fn promotion_named<R: Reader + ?Sized>(
        &self,
        view: &Overlay<'_, R>,
        id: Option<&[u8]>,
    ) -> Result<Option<Promotion>, ViewError> {
        match id.and_then(|id| RecordId::try_from(id).ok()) {
            Some(id) => Promotion::load(view, id, self.charter().currency),
            None => Ok(None),
        }
    }

    /// Whether a record that is not known here can never come to count: it was named as lost, and its author's log went on
    /// without it or is at its end.
    pub(crate) fn never_counts(
        &self,
        view: &(impl Reader + ?Sized),
        id: RecordId,
    ) -> Result<bool, ViewError> {
        if view.get(&table::record_ignored(id))?.is_some() {
            return Ok(true);
        }
        let lost: Option<Lost> = table::read(view, &table::lost(id))?;
        match lost {
            Some(lost) => self.went_on_without(view, &lost),
            None => Ok(false),
        }
    }

    fn went_on_without(&self, view: &(impl Reader + ?Sized), lost: &Lost) -> Result<bool, ViewError> {
        let resumed: Option<u32> = table::read(view, &table::resumed(lost.shop))?;
        Ok(resumed.is_some_and(|resumed| resumed > lost.incarnation)
            || self.log_is_closed(view, lost.shop)?)
    }

    /// A log that waits may tell further on that it waits in vain: that is heard at once. It holds wherever it stands.
    pub(super) fn fold_lost_ahead<R: Reader + ?Sized>(
        &self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Bytes,
    ) -> Result<Effects, ViewError> {
        let id = named_by(record.header().kind, Some(&message));
        let mut effects = Effects::default();
        match (id, (Folding { alliance: self, view, record, message }).lost_record()) {
            // Else they would wait again at once, and its own log would come here again, for ever.
            (Some(id), Ok(())) if self.never_counts(view, id)? => {
                effects.resume = resume(view, id.as_bytes())?
            }
            (_, Err(Stop::View(error))) => return Err(error),
            _ => {}
        }
        Ok(effects)
    }

    /// The logs that waited for a shop's lost records.
    pub(super) fn resume_lost_of<R: Reader + ?Sized>(
        view: &mut Overlay<'_, R>,
        shop: ShopId,
    ) -> Result<Vec<ShopId>, ViewError> {
        let lost = table::collect(view, &table::all_lost_of(shop), |key, _| {
            RecordId::try_from(&key[1 + ShopId::BYTES..])
                .map_err(|_| ViewError::Damaged("table of lost records".into()))
        })?;
        let mut resumed = Vec::new();
        for id in lost {
            resumed.extend(resume(view, id.as_bytes())?);
        }
        Ok(resumed)
    }
}

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn lost_record(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::LostRecord = self.decode()?;
        let header = Header::parse(&message.header).map_err(|_| ignore("not a header"))?;
        let id = Header::id_of(&message.header);
        if header.alliance != self.alliance.charter().id || !is_referred_to(header.kind) {
            return Err(ignore("not a record that others refer to"));
        }
        let lost = Lost { shop: header.shop, incarnation: header.incarnation };
        table::write(self.view, table::lost(id), &lost);
        table::write(self.view, table::lost_of(header.shop, id), &());
        self.view.remove(Duty::TellLost(message.header.to_vec()).key());
        Ok(())
    }

    /// Waits for a record that another one refers to, unless it never comes to count.
    pub(super) fn await_record(&self, id: RecordId, why_not: &'static str) -> Stop {
        match self.alliance.never_counts(self.view, id) {
            Ok(true) => ignore(why_not),
            Ok(false) => wait(*id.as_bytes()),
            Err(error) => error.into(),
        }
    }
}
