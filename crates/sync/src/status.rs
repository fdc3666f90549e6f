//! What can be seen from outside: for the console, for metrics, for a restore that waits, for tests of the bounds.

use hutong_record::ShopId;

use crate::{Head, HeadPrefix, LinkId, Replica, link::Known};

/// What the replica takes up now. Each number has its bound in [`crate::limits`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Logs asked for and not answered in time yet.
    pub wants: usize,
    /// Unanswered wants of the link that has most, late ones included.
    pub wants_per_link: usize,
    /// Wants of the link that has most which this node is serving.
    pub serving_per_link: usize,
    /// Bytes that wait for the ingest ladder.
    pub ingest_bytes: usize,
    /// Pushed and not acknowledged bytes of the link that has most.
    pub pushed_bytes_per_link: usize,
    /// Logs remembered of the peer that has most.
    pub logs_per_link: usize,
}

/// One link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStatus {
    /// The other side.
    pub peer: ShopId,
    /// All of the peer's logs are known: digests were equal, or its frontier is here.
    pub frontier_known: bool,
    /// Logs of which it says it has more than this node, whether they are wanted or not.
    pub logs_ahead: usize,
    /// It left a want unanswered and has not answered one in time since.
    pub slow: bool,
    /// How often it did not have what it had announced.
    pub broken_promises: u32,
}

/// What the peers say of this node's own log: to be asked before the first signature after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLog {
    /// How many connected peers have told their frontier.
    pub peers_heard: usize,
    /// The furthest that any of them says the log goes; 0: none has any of it.
    pub sequence_max: u64,
}

/// What one peer says of this node's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnHead {
    /// Who says so.
    pub peer: ShopId,
    /// How far it holds the log; 0: nothing of it.
    pub sequence: u64,
    /// First bytes of that record's id, where they are known.
    pub prefix: Option<HeadPrefix>,
    /// Its incarnation.
    pub incarnation: u32,
}

impl Replica {
    /// How far this node's logs go.
    pub fn heads(&self) -> impl Iterator<Item = (ShopId, Head)> + '_ {
        self.heads.iter().map(|(shop, head)| (*shop, *head))
    }

    /// One link's state; none if there is no such link.
    pub fn link_status(&self, link: LinkId) -> Option<LinkStatus> {
        let link = self.links.get(&link)?;
        let ahead = |(shop, known): &(&ShopId, &crate::link::Known)| {
            known.rank() > self.heads.get(*shop).map_or((0, 0), Head::rank)
        };
        Some(LinkStatus {
            peer: link.peer,
            frontier_known: link.stage.knows_all(),
            logs_ahead: link.known.iter().filter(ahead).count(),
            slow: link.slow,
            broken_promises: link.broken_promises,
        })
    }

    /// Whether so many of these links have told how far each log goes, and none knows of records that this node lacks.
    pub fn is_level_with(&self, links: impl IntoIterator<Item = LinkId>, wanted: usize) -> bool {
        let mut told = 0;
        for status in links.into_iter().filter_map(|link| self.link_status(link)) {
            if status.logs_ahead > 0 {
                return false;
            }
            told += usize::from(status.frontier_known);
        }
        told >= wanted
    }

    /// What the peers say of this node's own log.
    pub fn own_log(&self) -> OwnLog {
        let heard = || self.links.values().filter(|link| link.stage.knows_all());
        OwnLog {
            peers_heard: heard().count(),
            sequence_max: heard().map(|link| link.known(&self.me).sequence).max().unwrap_or(0),
        }
    }

    /// What each peer says of this node's own log, as far as its word is good: one that did not bring the records that
    /// it claims to have, when it was asked for them, is left out.
    pub fn own_heads(&self) -> impl Iterator<Item = OwnHead> + '_ {
        let (me, own) = (self.me, self.heads.get(&self.me).map_or((0, 0), Head::rank));
        let heard = self.links.values().filter(|link| link.stage.knows_all());
        let good = move |link: &&crate::link::Link| {
            let late = link.asked.get(&me).is_some_and(|asked| asked.late);
            link.known(&me).rank() <= own || !(late || link.lacks.contains_key(&me))
        };
        heard.filter(good).map(move |link| {
            let known = link.known(&me);
            let Known { sequence, prefix, incarnation } = known;
            OwnHead { peer: link.peer, sequence, prefix, incarnation }
        })
    }

    /// What the replica takes up now.
    pub fn usage(&self) -> Usage {
        let most = |size: fn(&crate::link::Link) -> usize| self.links.values().map(size).max().unwrap_or(0);
        Usage {
            wants: self.wants.len(),
            wants_per_link: most(|link| link.asked.len()),
            serving_per_link: most(|link| link.serving.len()),
            ingest_bytes: self.ingest_bytes,
            pushed_bytes_per_link: most(|link| link.push.bytes()),
            logs_per_link: most(|link| link.known.len()),
        }
    }
}
