//! Live records: our own are pushed, others' are announced.

use alloc::vec::Vec;

use hutong_record::{ShopId, UnixMillis};

use crate::{
    Frame, Head, LinkId, Output, PeerHead, RawRun, ReadPurpose, ReadRequest, Replica,
    limits::{HAVE_INTERVAL_MS, HEADS_PER_FRAME_MAX, LOGS_MAX, PUSH_BYTES, PUSHED_BYTES_MAX},
    link::Link,
    replica::{bytes_of, last_sequence},
};

impl Replica {
    /// Logs have grown: remembers it and tells the peers that may not know.
    pub(crate) fn advance(&mut self, heads: impl IntoIterator<Item = (ShopId, Head)>, now: UnixMillis) {
        let links: Vec<_> = self.links.keys().copied().collect();
        for (shop, head) in heads {
            let known = self.heads.get(&shop).copied();
            let full = known.is_none() && self.heads.len() >= LOGS_MAX;
            if full || known.is_some_and(|old| head.rank() <= old.rank()) {
                continue;
            }
            let old_sequence = known.map_or(0, |old| old.sequence);
            self.heads.insert(shop, head);
            if known.is_some_and(|old| head.incarnation > old.incarnation) {
                self.links.values_mut().for_each(|link| link.forget_back(&shop));
            }
            self.review.insert(shop);
            for link in &links {
                self.compare(*link, shop);
                self.tell(*link, shop, old_sequence);
            }
        }
        for link in links {
            self.flush_haves(link, now);
        }
    }

    /// Pushes to a peer that holds the log up to where we had it; else the log will be announced.
    fn tell(&mut self, id: LinkId, shop: ShopId, old_sequence: u64) {
        let own = shop == self.me;
        let Some(link) = self.links.get_mut(&id) else { return };
        if !own || !link.stage.knows_all() || link.blocked.contains(&shop) {
            link.announce.insert(shop);
            return;
        }
        if link.push.reading {
            // Goes on from there when the read is served.
            return;
        }
        let known = link.known(&shop);
        if known.sequence > 0 && Some(known.incarnation) != self.heads.get(&shop).map(|head| head.incarnation)
        {
            // It may hold records that were superseded: it asks from where it must.
            link.push.rewind(0);
            link.announce.insert(shop);
            return;
        }
        let peer_sequence = known.sequence.max(link.push.sent_sequence);
        if peer_sequence >= old_sequence {
            self.push_from(id, peer_sequence.saturating_add(1));
        } else {
            link.announce.insert(shop);
        }
    }

    /// Reads our own records from there on for a push, or, if too much is unacknowledged, lets them be announced.
    fn push_from(&mut self, id: LinkId, from_sequence: u64) {
        let shop = self.me;
        let head_sequence = self.heads.get(&shop).map_or(0, |head| head.sequence);
        let Some(link) = self.links.get_mut(&id) else { return };
        if from_sequence > head_sequence {
            return;
        }
        if link.push.bytes() >= PUSHED_BYTES_MAX {
            link.announce.insert(shop);
            return;
        }
        link.push.reading = true;
        let (bytes_max, purpose) = (PUSH_BYTES, ReadPurpose::Push);
        self.emit(Output::Read(ReadRequest { link: id, shop, from_sequence, bytes_max, purpose }));
    }

    /// Sends what was read for a push and goes on.
    pub(crate) fn push(&mut self, read: ReadRequest, runs: Vec<RawRun>, now: UnixMillis) {
        let Some(link) = self.links.get_mut(&read.link) else { return };
        link.push.reading = false;
        let last = last_sequence(&read, &runs);
        if runs.is_empty() {
            link.announce.insert(read.shop);
            self.flush_haves(read.link, now);
            return;
        }
        // Meanwhile the peer may have got them from another.
        let held = link.known(&read.shop).sequence >= last;
        if !held {
            link.push.sent(last, bytes_of(&runs));
            self.send(read.link, Frame::Records { shop: read.shop, runs, pushed: true });
        }
        self.push_from(read.link, last.saturating_add(1));
        self.flush_haves(read.link, now);
    }

    /// When a link's announcements go out; none: it has none.
    pub(crate) fn have_due(&self, link: &Link) -> Option<UnixMillis> {
        let owed =
            |(shop, sequence): (&ShopId, &u64)| self.heads.get(shop).is_some_and(|h| h.sequence >= *sequence);
        let pending = !link.announce.is_empty() || link.owed.iter().any(owed);
        if !pending {
            return None;
        }
        let due = link.have_sent_at.map_or(UnixMillis::EPOCH, |at| at.saturating_add_ms(HAVE_INTERVAL_MS));
        (!link.stage.is_greeting()).then_some(due)
    }

    /// Sends a link's announcements and acknowledgements, if the last were sent long enough ago.
    pub(crate) fn flush_haves(&mut self, id: LinkId, now: UnixMillis) {
        let Some(link) = self.links.get(&id) else { return };
        let set_back = link.have_sent_at.is_some_and(|at| now < at);
        if self.have_due(link).is_none_or(|due| now < due && !set_back) {
            return;
        }
        let mut heads = Vec::new();
        for shop in link.announce.iter().chain(link.owed.keys().filter(|shop| !link.announce.contains(*shop)))
        {
            if self.is_news(link, shop) {
                heads.extend(self.own_view(shop));
            }
        }
        heads.sort_unstable_by_key(|head| head.shop);
        let own: Vec<_> = heads.iter().map(|head| (head.shop, head.sequence)).collect();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.announce.clear();
        for (shop, sequence) in own {
            if link.owed.get(&shop).is_some_and(|owed| *owed <= sequence) {
                link.owed.remove(&shop);
            }
        }
        if !heads.is_empty() {
            link.have_sent_at = Some(now);
        }
        for chunk in heads.chunks(HEADS_PER_FRAME_MAX) {
            self.send(id, Frame::Have { heads: chunk.to_vec() });
        }
    }

    /// Whether the peer gains from hearing how far we hold a log: it lacks records, or waits for an acknowledgement.
    fn is_news(&self, link: &Link, shop: &ShopId) -> bool {
        let Some(head) = self.heads.get(shop) else { return false };
        let pushed = if *shop == self.me { link.push.sent_sequence } else { 0 };
        let known = link.known(shop);
        let lacks = known.incarnation < head.incarnation
            || (known.incarnation == head.incarnation && known.sequence.max(pushed) < head.sequence);
        lacks || link.owed.get(shop).is_some_and(|owed| *owed <= head.sequence)
    }

    /// What a peer is told of a log.
    pub(crate) fn own_view(&self, shop: &ShopId) -> Option<PeerHead> {
        let head = self.heads.get(shop)?;
        let (sequence, incarnation) = (head.sequence, head.incarnation);
        Some(PeerHead { shop: *shop, sequence, head_prefix: head.prefix(), incarnation })
    }
}
