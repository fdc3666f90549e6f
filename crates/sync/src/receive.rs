//! What each frame does.

use alloc::vec::Vec;

use hutong_record::{ShopId, UnixMillis};

use crate::{
    ClosedBy, Frame, GoodbyeReason, LinkId, Output, PeerHead, RawRun, ReadPurpose, ReadRequest, Replica,
    frame::{Fault, check_heads, check_runs, check_want},
    greeting::Part,
    intake::{Arrival, Span, SpanError, predecessor, trim},
    limits::{
        INGEST_BYTES_MAX, INGEST_BYTES_PER_LINK_MAX, INGESTS_PER_SHOP_MAX, PUSH_BYTES, WANT_BYTES_MAX,
        WANTS_PER_LINK_MAX,
    },
    link::{Known, Link, Purpose, Stage},
    replica::bytes_of,
};

impl Replica {
    pub(crate) fn receive(&mut self, link: LinkId, frame: Frame, now: UnixMillis) -> Result<(), Fault> {
        let greeting = self.link(link)?.stage == Stage::Greeting;
        match frame {
            Frame::Goodbye { reason, .. } => {
                self.forget(link);
                self.emit(Output::Close { link, reason, by: ClosedBy::Peer });
                Ok(())
            }
            Frame::Hello { versions, alliance, digest } if greeting => {
                self.hello(link, &versions, alliance, digest, now)
            }
            _ if greeting => Err(Fault::Order),
            Frame::Hello { .. } => Err(Fault::Order),
            Frame::Sketch { bucket_count, bits } => self.sketched(link, bucket_count, &bits, now),
            Frame::Part { bucket_count, buckets, heads, complete, rest, fill_bytes_max } => {
                let (buckets, heads) = (&buckets[..], &heads[..]);
                self.part(link, &Part { bucket_count, buckets, heads, complete, rest, fill_bytes_max }, now)
            }
            Frame::Counterpart { heads, complete, fill_bytes_max } => {
                self.counterpart(link, &heads, complete, fill_bytes_max)
            }
            Frame::Filled => self.filled(link),
            Frame::Frontier { heads, complete } => self.frontier(link, &heads, complete),
            Frame::Have { heads } => {
                check_heads(&heads)?;
                self.learn(link, &heads)
            }
            Frame::Want { shop, from_sequence, body_bytes_max } => {
                self.want(link, shop, from_sequence, body_bytes_max)
            }
            Frame::Alarm { shop, sequence, proof } => self.alarmed(link, shop, sequence, proof),
            Frame::Records { shop, runs, pushed: true } => self.pushed(link, shop, runs, now),
            Frame::Records { shop, runs, pushed: false } => self.answered(link, shop, runs, now),
        }
    }

    pub(crate) fn link(&mut self, link: LinkId) -> Result<&mut Link, Fault> {
        // A frame is handled only for a link that exists; a missing one would be our own fault, and harmless.
        self.links.get_mut(&link).ok_or(Fault::Order)
    }

    /// Takes in what a peer says it holds.
    pub(crate) fn learn(&mut self, id: LinkId, heads: &[PeerHead]) -> Result<(), Fault> {
        let me = self.me;
        for head in heads {
            let link = self.link(id)?;
            link.learn(head.shop, Known::from(*head))?;
            if head.shop == me {
                link.push.acknowledged(head.sequence);
            }
            let theirs = link.known(&head.shop).rank();
            // Most announcements are of what is here by now: of these nothing is to be asked.
            let ahead = theirs > self.heads.get(&head.shop).map_or((0, 0), crate::Head::rank);
            if ahead || self.exacts.contains_key(&head.shop) || self.partings.contains_key(&head.shop) {
                self.review.insert(head.shop);
            }
            self.compare(id, head.shop);
        }
        Ok(())
    }

    /// Looks for a divergence, and for more of our own log than we have.
    pub(crate) fn compare(&mut self, id: LinkId, shop: ShopId) {
        let ours = self.heads.get(&shop).copied();
        let Some(link) = self.links.get_mut(&id) else { return };
        let theirs = link.known(&shop);
        let (sequence, rank) = ours.map_or((0, (0, 0)), |head| (head.sequence, head.rank()));
        if shop == self.me && theirs.rank() > rank && theirs.sequence > 0 && !link.own_log_ahead_told {
            link.own_log_ahead_told = true;
            self.emit(Output::OwnLogAhead { link: id, sequence: theirs.sequence });
            return;
        }
        let differs = |head: &crate::Head| {
            head.rank() == theirs.rank() && theirs.prefix.is_some_and(|prefix| prefix != head.prefix())
        };
        if ours.as_ref().is_some_and(differs) {
            self.diverged(id, shop, sequence);
        }
    }

    fn diverged(&mut self, id: LinkId, shop: ShopId, sequence: u64) {
        if let Some(link) = self.links.get_mut(&id)
            && link.blocked.insert(shop)
        {
            self.emit(Output::Diverged { link: id, shop, sequence });
        }
    }

    fn want(&mut self, id: LinkId, shop: ShopId, from_sequence: u64, bytes_max: u32) -> Result<(), Fault> {
        check_want(from_sequence, bytes_max)?;
        let head_sequence = self.heads.get(&shop).map_or(0, |head| head.sequence);
        let me = self.me;
        let link = self.link(id)?;
        if link.serving.len() >= WANTS_PER_LINK_MAX || link.serving.contains(&shop) {
            return Err(Fault::Credit);
        }
        link.lower(shop, from_sequence - 1);
        if shop == me {
            link.push.rewind(from_sequence - 1);
        }
        if from_sequence > head_sequence {
            self.send(id, Frame::Records { shop, runs: Vec::new(), pushed: false });
            return Ok(());
        }
        link.serving.insert(shop);
        let purpose = ReadPurpose::Answer;
        self.emit(Output::Read(ReadRequest { link: id, shop, from_sequence, bytes_max, purpose }));
        Ok(())
    }

    fn answered(
        &mut self,
        id: LinkId,
        shop: ShopId,
        runs: Vec<RawRun>,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let link = self.link(id)?;
        let asked = link.asked.remove(&shop).ok_or(Fault::Unasked)?;
        link.answered_at = now;
        if !asked.late {
            link.slow = false;
            self.wants.remove(&shop);
        }
        self.review.insert(shop);
        check_runs(&runs, asked.bytes_max)?;
        let sequence = asked.from_sequence;
        match asked.purpose {
            Purpose::CatchUp => {}
            Purpose::Evidence if asked.late => return Ok(()),
            Purpose::Evidence => {
                self.emit(Output::Evidence { link: id, shop, sequence, runs });
                return Ok(());
            }
            Purpose::Healing => {
                self.say_how_far(id, shop, now);
                if !asked.late {
                    self.emit(Output::Found { link: id, shop, sequence, runs });
                }
                return Ok(());
            }
        }
        if runs.is_empty() {
            self.broken_promise(id, shop, asked.from_sequence);
            return Ok(());
        }
        let Some(span) = self.span(id, shop, &runs, now)? else { return Ok(()) };
        if span.first > asked.from_sequence {
            return Err(Fault::Log);
        }
        if span.last.sequence < asked.from_sequence {
            self.broken_promise(id, shop, asked.from_sequence);
            return Ok(());
        }
        let ours = self.heads.get(&shop).map_or((0, 0), crate::Head::rank);
        let link = self.link(id)?;
        link.learn(shop, Known::from(span.last))?;
        if span.last.rank() <= ours && link.known(&shop).incarnation > ours.0 {
            // The branch of the later incarnation is longer than an answer from there, and counts only as a whole.
            link.lacks.insert(shop, asked.from_sequence);
            return Ok(());
        }
        self.take_in(Arrival { link: id, shop, runs, span, pushed: false }, now)
    }

    /// Whoever is asked for a record takes it that we hold none of the later ones. Told so, it goes on where it was.
    fn say_how_far(&mut self, id: LinkId, shop: ShopId, now: UnixMillis) {
        let head = self.heads.get(&shop).map(|head| head.sequence);
        if let (Some(head), Some(link)) = (head, self.links.get_mut(&id)) {
            link.owed.insert(shop, head);
            self.flush_haves(id, now);
        }
    }

    /// The peer does not have what it said; it is not asked for that record again until it says that it has grown.
    fn broken_promise(&mut self, id: LinkId, shop: ShopId, from_sequence: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.lacks.insert(shop, from_sequence);
            link.broken_promises = link.broken_promises.saturating_add(1);
        }
    }

    fn pushed(&mut self, id: LinkId, shop: ShopId, runs: Vec<RawRun>, now: UnixMillis) -> Result<(), Fault> {
        if runs.is_empty() {
            return Err(Fault::Size);
        }
        check_runs(&runs, WANT_BYTES_MAX.max(PUSH_BYTES))?;
        let Some(span) = self.span(id, shop, &runs, now)? else { return Ok(()) };
        let wanted = self.wanted.contains(&shop);
        let link = self.link(id)?;
        link.learn(shop, Known::from(span.last))?;
        self.compare(id, shop);
        if !wanted {
            return Ok(());
        }
        let link = self.link(id)?;
        // Only an author counts what is unacknowledged; of others' logs a filling brings what we let come.
        if link.peer == shop {
            link.owed.insert(shop, span.last.sequence);
        }
        self.take_in(Arrival { link: id, shop, runs, span, pushed: true }, now)?;
        // What was already here is acknowledged at once.
        self.flush_haves(id, now);
        Ok(())
    }

    /// Where the runs claim to belong; none if that cannot be used, which is already dealt with.
    fn span(
        &mut self,
        id: LinkId,
        shop: ShopId,
        runs: &[RawRun],
        now: UnixMillis,
    ) -> Result<Option<Span>, Fault> {
        let span = Span::of(runs, self.alliance, shop);
        span.map(Some).or_else(|error| self.unreadable(id, shop, error, now).map(|()| None))
    }

    fn unreadable(
        &mut self,
        id: LinkId,
        shop: ShopId,
        error: SpanError,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        match error {
            SpanError::Fault(fault) => return Err(fault),
            SpanError::Malformed => self.goodbye(id, GoodbyeReason::Record, "a header is malformed"),
            SpanError::Newer if self.is_wanted(&shop) => {
                self.held_back.insert(id, shop, now);
            }
            SpanError::Newer => {}
        }
        Ok(())
    }

    /// Passes on to the ladder what continues our log, and nothing that is already there or on its way.
    fn take_in(&mut self, arrival: Arrival, now: UnixMillis) -> Result<(), Fault> {
        let Arrival { link, shop, runs, span, pushed } = arrival;
        let intake = self.intakes.get(&shop);
        let tail = intake.map_or_else(|| self.heads.get(&shop).copied(), |intake| intake.tail);
        let (tail_sequence, tail_rank) = tail.map_or((0, (0, 0)), |head| (head.sequence, head.rank()));
        self.review.insert(shop);
        let later = span.last.incarnation > tail_rank.0 && tail.is_some();
        let useless = !self.is_wanted(&shop)
            || span.last.rank() <= tail_rank
            || span.first > tail_sequence.saturating_add(1)
            || intake.is_some_and(|intake| intake.broken || later);
        if useless || (pushed && !self.has_room(link, shop)) {
            return Ok(());
        }
        if later {
            // It may leave our log before its end, and the ladder knows where.
            self.hand_over(link, shop, runs, span);
            return Ok(());
        }
        let held = (tail_sequence + 1).saturating_sub(span.first);
        let runs = trim(runs, held);
        let previous = if held == 0 { Ok(span.previous) } else { predecessor(&runs) };
        match previous {
            Err(error) => return self.unreadable(link, shop, error, now),
            Ok(previous) if previous != tail.map(|head| head.id) => {
                // Against an unverified tail nothing is proved; the log is wanted once the ladder has spoken.
                if !self.intakes.contains_key(&shop) {
                    self.diverged(link, shop, tail_sequence);
                }
                return Ok(());
            }
            Ok(_) => {}
        }
        self.hand_over(link, shop, runs, span);
        Ok(())
    }

    fn hand_over(&mut self, link: LinkId, shop: ShopId, runs: Vec<RawRun>, span: Span) {
        let bytes = bytes_of(&runs);
        self.intakes.entry(shop).or_default().add(link, bytes, span.last);
        self.ingest_bytes += bytes;
        self.emit(Output::Ingest { link, shop, runs });
        if hutong_record::planted!(TrustArrival) {
            self.heads.insert(shop, span.last);
        }
    }

    fn has_room(&self, link: LinkId, shop: ShopId) -> bool {
        let from_link: usize = self.intakes.values().map(|intake| intake.bytes_of(link)).sum();
        self.ingest_bytes < INGEST_BYTES_MAX
            && from_link < INGEST_BYTES_PER_LINK_MAX
            && self.intakes.get(&shop).is_none_or(|intake| intake.len() < INGESTS_PER_SHOP_MAX)
    }
}
