//! Who is asked for what: one want a log over all links, a few a link, each with a deadline.

use alloc::vec::Vec;
use core::ops::Bound;

use hutong_record::{ShopId, UnixMillis};

use crate::{
    Frame, LinkId, Replica,
    frame::Fault,
    intake::Intake,
    limits::{INGEST_BYTES_MAX, WANT_BYTES, WANT_BYTES_MAX, WANTS_MAX},
    link::{Asked, Link, Purpose},
    replica::Exact,
};

/// What an attempt to ask came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Asked, or nothing to ask: looked at again when something changes.
    Done,
    /// There is whom to ask, and no slot: looked at again at the next occasion.
    Full,
}

impl Replica {
    /// Time has passed: wants that are due are asked elsewhere, held-back announcements go out. To be called by
    /// [`Replica::next_wakeup`]; earlier or later does no harm.
    pub fn tick(&mut self, now: UnixMillis) {
        let overdue: Vec<_> = self
            .links
            .iter()
            .flat_map(|(id, link)| {
                let due = link.asked.iter().filter(|(_, asked)| link.overdue(asked, now));
                due.map(|(shop, asked)| (*id, *shop, *asked))
            })
            .collect();
        for (link, shop, asked) in overdue {
            self.overdue(link, shop, asked, now);
        }
        self.fill_tick(now);
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.flush_haves(link, now);
        }
        self.review.extend(self.held_back.take_due(now));
        self.ask(now);
    }

    /// When [`Replica::tick`] has something to do at the latest; none: nothing waits for time.
    pub fn next_wakeup(&self) -> Option<UnixMillis> {
        let wants =
            self.links.values().flat_map(|link| link.asked.values().map(|asked| link.deadline(asked)));
        let haves = self.links.values().filter_map(|link| self.have_due(link));
        wants.chain(haves).chain(self.held_back.due()).chain(self.fill_deadline()).min()
    }

    fn overdue(&mut self, id: LinkId, shop: ShopId, asked: Asked, now: UnixMillis) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if asked.late {
            self.fault(id, Fault::Unanswered);
            return;
        }
        link.slow = true;
        link.asked.insert(shop, Asked { late: true, since: now, ..asked });
        self.wants.remove(&shop);
        self.review.insert(shop);
        self.give_up_evidence(id, shop, asked.purpose, asked.from_sequence);
    }

    /// Sends the wants that are due, for all logs to which something happened.
    pub(crate) fn ask(&mut self, now: UnixMillis) {
        if self.is_being_filled() {
            return;
        }
        // As long as nothing more may be asked for at all, what is under review stays so, unseen: hundreds of logs may.
        let mut next = self.review.first().copied();
        while let Some(shop) = next.filter(|_| self.may_ask()) {
            if self.ask_for(shop, now) == Attempt::Done {
                self.review.remove(&shop);
            }
            next = self.review.range::<ShopId, _>((Bound::Excluded(shop), Bound::Unbounded)).next().copied();
        }
    }

    /// Whether one want more keeps the bounds over all links.
    fn may_ask(&self) -> bool {
        self.wants.len() < WANTS_MAX && self.ingest_bytes < INGEST_BYTES_MAX
    }

    fn ask_for(&mut self, shop: ShopId, now: UnixMillis) -> Attempt {
        // Each of these puts the log under review again when it ends.
        let intake = self.intakes.get(&shop);
        let busy = self.wants.contains_key(&shop) || intake.is_some_and(Intake::is_busy);
        if busy {
            return Attempt::Done;
        }
        let tail = intake.and_then(|intake| intake.tail);
        if let Some(exact) = self.exacts.get(&shop).copied() {
            // Not before the ladder is done with the log: it is put under review again then.
            return if tail.is_some() { Attempt::Done } else { self.ask_exact(shop, exact, now) };
        }
        if let Some((link, from_sequence)) = self.next_to_show(&shop) {
            self.send_want(link, shop, from_sequence, WANT_BYTES, Purpose::Evidence, now);
            return Attempt::Done;
        }
        if !self.is_wanted(&shop) {
            return Attempt::Done;
        }
        // What the ladder has before it is taken for held, so that the line does not rest while the disk works. Should it
        // be refused, the answer finds no place, and nobody is blamed for it.
        let ours = tail.as_ref().or_else(|| self.heads.get(&shop)).map_or((0, 0), crate::Head::rank);
        let able = |(id, link): (&LinkId, &Link)| {
            // Most peers hold no more than this node: nothing else is looked at then.
            let from_sequence = link.can_serve(&shop, ours)?;
            let greeted = !link.stage.is_greeting() && !self.held_back.has(*id, shop);
            // Where a later incarnation leaves our log is not known before the ladder has spoken.
            let follows = tail.is_none_or(|tail| link.known(&shop).incarnation == tail.incarnation);
            (greeted && follows).then_some((*id, from_sequence))
        };
        let mut able: Vec<_> = self.links.iter().filter_map(able).collect();
        if able.is_empty() {
            return Attempt::Done;
        }
        able.retain(|(id, _)| self.links[id].has_slot());
        let rank = |id: &LinkId| {
            let link = &self.links[id];
            // What a later incarnation superseded need not be fetched.
            let later = core::cmp::Reverse(link.known(&shop).incarnation);
            (link.slow, link.broken_promises, later, link.asked.len(), *id)
        };
        let Some((best, from_sequence)) = able.into_iter().min_by_key(|(id, _)| rank(id)) else {
            return Attempt::Full;
        };
        // A branch of a later incarnation that leaves ours is taken in as a whole, or not at all.
        let later = self.links[&best].known(&shop).incarnation > ours.0 && from_sequence <= ours.1;
        let bytes_max = if later { WANT_BYTES_MAX } else { WANT_BYTES };
        self.send_want(best, shop, from_sequence, bytes_max, Purpose::CatchUp, now);
        Attempt::Done
    }

    fn ask_exact(&mut self, shop: ShopId, exact: Exact, now: UnixMillis) -> Attempt {
        let Exact { link: id, sequence, bytes_max, purpose } = exact;
        let Some(link) = self.links.get(&id) else { return Attempt::Done };
        if link.stage.is_greeting() || !link.has_slot() || link.asked.contains_key(&shop) {
            return Attempt::Full;
        }
        self.exacts.remove(&shop);
        self.send_want(id, shop, sequence, bytes_max, purpose, now);
        Attempt::Done
    }

    fn send_want(
        &mut self,
        id: LinkId,
        shop: ShopId,
        from_sequence: u64,
        bytes_max: u32,
        purpose: Purpose,
        now: UnixMillis,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.asked.insert(shop, Asked { from_sequence, bytes_max, since: now, purpose, late: false });
        self.wants.insert(shop, id);
        self.send(id, Frame::Want { shop, from_sequence, body_bytes_max: bytes_max });
    }
}
