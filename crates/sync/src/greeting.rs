//! How two nodes find out what each lacks: both say Hello, the dialled one sketches what it holds, the dialling one lists
//! its logs in the buckets that differ, the dialled one answers with the logs that differ.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::{AllianceId, ShopId, UnixMillis};

use crate::{
    Frame, FrontierDigest, GoodbyeReason, LinkId, PeerHead, Replica, Side,
    frame::{Fault, check_heads, check_versions},
    limits::{HEADS_PER_FRAME_MAX, VERSIONS},
    link::{Known, Listing, Stage},
    sketch::{Differing, Sketch},
};

/// From this version on buckets are compared, and what the peer lacks is sent unasked.
const SKETCHES_SINCE: u32 = 2;

/// A chunk of the dialling side's list.
pub(crate) struct Part<'a> {
    pub(crate) bucket_count: u32,
    pub(crate) buckets: &'a [u8],
    pub(crate) heads: &'a [PeerHead],
    pub(crate) complete: bool,
    pub(crate) rest: FrontierDigest,
    pub(crate) fill_bytes_max: u32,
}

impl Replica {
    pub(crate) fn hello(
        &mut self,
        id: LinkId,
        versions: &[u32],
        alliance: AllianceId,
        digest: FrontierDigest,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        check_versions(versions)?;
        if alliance != self.alliance {
            self.goodbye(id, GoodbyeReason::Membership, "another alliance");
            return Ok(());
        }
        let Some(version) = VERSIONS.iter().rev().find(|version| versions.contains(version)) else {
            self.goodbye(id, GoodbyeReason::Version, "no common version");
            return Ok(());
        };
        let link = self.link(id)?;
        // Both sides compare the two Hellos, so both come to the same answer whatever was committed meanwhile.
        if link.digest == digest {
            link.stage = Stage::Equal;
            self.flush_haves(id, now);
            return Ok(());
        }
        self.alarm_all(id);
        self.review.extend(self.partings.keys());
        if *version < SKETCHES_SINCE {
            return self.list_all(id);
        }
        let link = self.link(id)?;
        // What is known of the peer is still what we held when we said Hello: that is what the sketch is of.
        let sketch = Sketch::of(&link.known);
        if link.side == Side::Dialled {
            let frame = Frame::Sketch { bucket_count: sketch.bucket_count(), bits: sketch.to_bytes() };
            self.send(id, frame);
        }
        self.link(id)?.stage = Stage::Sketching(sketch);
        Ok(())
    }

    /// The dialled side's sketch: lists the logs of the buckets that differ.
    pub(crate) fn sketched(
        &mut self,
        id: LinkId,
        bucket_count: u32,
        bits: &[u8],
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let theirs = Sketch::parse(bucket_count, bits)?;
        let link = self.link(id)?;
        let (Stage::Sketching(ours), Side::Dialling) = (&link.stage, link.side) else {
            return Err(Fault::Frontier);
        };
        let differing = ours.differing(&theirs);
        let rest = differing.rest(&link.known);
        let heads = self.views(|shop| differing.has(shop));
        let link = self.link(id)?;
        // What the answer does not name is taken for equal.
        link.known.retain(|shop, _| !differing.has(shop));
        link.known.extend(heads.iter().map(|head| (head.shop, Known::from(*head))));
        link.announce.retain(|shop| !differing.has(shop));
        let (bucket_count, buckets) = (differing.bucket_count(), differing.to_bytes());
        link.stage = Stage::Listing(Listing::Counterpart(differing));
        let fill_bytes_max = self.request_fill(id, now);
        self.send_chunks(id, heads, |heads, complete| Frame::Part {
            bucket_count,
            buckets: buckets.clone(),
            heads,
            complete,
            rest,
            fill_bytes_max,
        });
        Ok(())
    }

    /// The dialling side's logs in the buckets that differ.
    pub(crate) fn part(&mut self, id: LinkId, part: &Part<'_>, now: UnixMillis) -> Result<(), Fault> {
        let differing = Differing::parse(part.bucket_count, part.buckets)?;
        let link = self.link(id)?;
        let begins = matches!(link.stage, Stage::Sketching(_)) && link.side == Side::Dialled;
        if begins {
            link.rest = Some(differing.rest(&link.known));
            link.known.retain(|shop, _| !differing.has(shop));
            link.stage = Stage::Listing(Listing::Part(differing.clone()));
        } else if link.stage != Stage::Listing(Listing::Part(differing.clone())) {
            return Err(Fault::Frontier);
        }
        self.listed(id, part.heads, part.complete, Some(&differing))?;
        if !part.complete {
            return Ok(());
        }
        let link = self.link(id)?;
        if link.rest != Some(part.rest) {
            // Some bucket looked equal and is not.
            return self.list_all(id);
        }
        link.stage = Stage::Listed;
        self.answer_part(id, &differing, now)?;
        if part.fill_bytes_max > 0 {
            self.begin_fill(id, &differing, part.fill_bytes_max);
        }
        Ok(())
    }

    /// Tells of which logs this node holds more, less or something else than was listed.
    fn answer_part(&mut self, id: LinkId, differing: &Differing, now: UnixMillis) -> Result<(), Fault> {
        let listed = self.link(id)?.known.iter().filter(|(shop, _)| differing.has(shop));
        let listed: BTreeMap<_, _> = listed.map(|(shop, known)| (*shop, *known)).collect();
        let ours = |shop: &ShopId| self.own_view(shop).unwrap_or(PeerHead::none(*shop));
        let held = self.heads.keys().filter(|shop| differing.has(shop));
        let shops: BTreeSet<_> = held.chain(listed.keys()).copied().collect();
        let other =
            |head: &PeerHead| listed.get(&head.shop).copied().unwrap_or_default() != Known::from(*head);
        let heads: Vec<_> = shops.iter().map(ours).filter(other).collect();
        let lacks = listed
            .iter()
            .any(|(shop, known)| known.rank() > self.heads.get(shop).map_or((0, 0), crate::Head::rank));
        let fill_bytes_max = if lacks { self.request_fill(id, now) } else { 0 };
        self.link(id)?.announce.retain(|shop| !differing.has(shop));
        self.send_chunks(id, heads, |heads, complete| Frame::Counterpart { heads, complete, fill_bytes_max });
        Ok(())
    }

    /// The dialled side's answer to a part: what it holds otherwise.
    pub(crate) fn counterpart(
        &mut self,
        id: LinkId,
        heads: &[PeerHead],
        complete: bool,
        fill_bytes_max: u32,
    ) -> Result<(), Fault> {
        let Stage::Listing(Listing::Counterpart(differing)) = &self.link(id)?.stage else {
            return Err(Fault::Frontier);
        };
        let differing = differing.clone();
        check_heads(heads)?;
        for head in heads {
            // What we had listed was taken for the peer's as well.
            self.link(id)?.known.remove(&head.shop);
        }
        self.listed(id, heads, complete, Some(&differing))?;
        if complete {
            self.link(id)?.stage = Stage::Listed;
            if fill_bytes_max > 0 {
                self.begin_fill(id, &differing, fill_bytes_max);
            }
        }
        Ok(())
    }

    /// Lists all logs and expects the same of the peer.
    fn list_all(&mut self, id: LinkId) -> Result<(), Fault> {
        let heads = self.views(|_| true);
        let link = self.link(id)?;
        link.stage = Stage::Listing(Listing::All);
        link.listed_to = None;
        link.known.clear();
        link.announce.clear();
        self.send_chunks(id, heads, |heads, complete| Frame::Frontier { heads, complete });
        Ok(())
    }

    /// All of the peer's logs.
    pub(crate) fn frontier(&mut self, id: LinkId, heads: &[PeerHead], complete: bool) -> Result<(), Fault> {
        match &self.link(id)?.stage {
            Stage::Listing(Listing::All) => {}
            // The rests differ, so the peer lists all instead of an answer to our part.
            Stage::Listing(Listing::Counterpart(_)) => {
                self.fill_over(id);
                self.list_all(id)?;
            }
            _ => return Err(Fault::Frontier),
        }
        self.listed(id, heads, complete, None)?;
        if complete {
            self.link(id)?.stage = Stage::Listed;
        }
        Ok(())
    }

    /// Takes in a chunk of a list, of some buckets or of all.
    fn listed(
        &mut self,
        id: LinkId,
        heads: &[PeerHead],
        complete: bool,
        buckets: Option<&Differing>,
    ) -> Result<(), Fault> {
        check_heads(heads)?;
        if buckets.is_some_and(|buckets| heads.iter().any(|head| !buckets.has(&head.shop))) {
            return Err(Fault::Heads);
        }
        let link = self.link(id)?;
        let continues = heads.first().is_none_or(|first| link.listed_to.is_none_or(|last| last < first.shop));
        // An empty chunk that is not the last would let a peer talk for ever.
        if !continues || (heads.is_empty() && !complete) {
            return Err(Fault::Heads);
        }
        link.listed_to = heads.last().map(|head| head.shop).or(link.listed_to);
        self.learn(id, heads)
    }

    /// What a peer is told of some logs, ascending by shop.
    fn views(&self, chosen: impl Fn(&ShopId) -> bool) -> Vec<PeerHead> {
        let shops = self.heads.keys().filter(|shop| chosen(shop));
        shops.filter_map(|shop| self.own_view(shop)).collect()
    }

    fn send_chunks(
        &mut self,
        link: LinkId,
        heads: Vec<PeerHead>,
        frame: impl Fn(Vec<PeerHead>, bool) -> Frame,
    ) {
        let mut chunks: Vec<_> = heads.chunks(HEADS_PER_FRAME_MAX).map(<[PeerHead]>::to_vec).collect();
        let last = chunks.pop().unwrap_or_default();
        for heads in chunks {
            self.send(link, frame(heads, false));
        }
        self.send(link, frame(last, true));
    }

    /// Which logs a filling is about, and from where on the peer lacks them.
    pub(crate) fn lacking(&self, id: LinkId, differing: &Differing) -> Vec<(ShopId, u64)> {
        let Some(link) = self.links.get(&id) else { return Vec::new() };
        let lacking = self.heads.iter().filter(|(shop, head)| {
            let known = link.known(shop);
            let continues = known.sequence == 0 || known.incarnation == head.incarnation;
            differing.has(shop)
                && !link.blocked.contains(*shop)
                && continues
                && known.sequence < head.sequence
        });
        lacking.map(|(shop, _)| (*shop, link.known(shop).sequence.saturating_add(1))).collect()
    }
}
