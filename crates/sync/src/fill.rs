//! Filling: whoever lists the logs that may differ also lets the peer send at once what it sees to be lacking, which
//! saves the round trip that a want takes. One link at a time fills, so that nothing is sent twice.

use alloc::{collections::VecDeque, vec::Vec};

use hutong_record::{ShopId, UnixMillis};

use crate::{
    Frame, LinkId, Output, RawRun, ReadPurpose, ReadRequest, Replica,
    frame::Fault,
    limits::{FILL_BYTES, FILL_PAUSE_MS, FILL_WAIT_MS, WANT_BYTES_MAX},
    replica::bytes_of,
    sketch::Differing,
};

/// What this node is still to send to a peer that let itself be filled.
#[derive(Debug)]
pub(crate) struct Filling {
    /// Logs, and the first sequence number that the peer lacks.
    queue: VecDeque<(ShopId, u64)>,
    bytes_left: u32,
}

/// The link that is filling this node, and until when it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    link: LinkId,
    until: UnixMillis,
}

impl Replica {
    /// How much a peer may send unasked; 0: nothing, for others are at it.
    pub(crate) fn request_fill(&mut self, link: LinkId, now: UnixMillis) -> u32 {
        let idle = self.filled.is_none() && self.wants.is_empty() && self.intakes.is_empty();
        let paused = self.fill_after.is_some_and(|after| now < after);
        if !idle || paused {
            return 0;
        }
        self.filled = Some(Filled { link, until: now.saturating_add_ms(FILL_WAIT_MS) });
        FILL_BYTES
    }

    /// While one link fills, nothing is asked for: it may just be on its way.
    pub(crate) const fn is_being_filled(&self) -> bool {
        self.filled.is_some()
    }

    /// A link fills no more.
    pub(crate) fn fill_over(&mut self, link: LinkId) {
        if self.filled.is_some_and(|filled| filled.link == link) {
            self.filled = None;
        }
    }

    /// Until when a filling is waited for.
    pub(crate) fn fill_deadline(&self) -> Option<UnixMillis> {
        self.filled.map(|filled| filled.until)
    }

    /// A filling that does not end is not waited for, and for a while none is asked for: nobody holds up a catch-up by
    /// promising more.
    pub(crate) fn fill_tick(&mut self, now: UnixMillis) {
        let Some(filled) = self.filled else { return };
        let set_back = filled.until > now.saturating_add_ms(FILL_WAIT_MS);
        if now >= filled.until || set_back {
            self.filled = None;
            self.fill_after = Some(now.saturating_add_ms(FILL_PAUSE_MS));
        }
    }

    /// A peer lets itself be filled.
    pub(crate) fn begin_fill(&mut self, id: LinkId, differing: &Differing, bytes_max: u32) {
        let queue = self.lacking(id, differing).into();
        if let Some(link) = self.links.get_mut(&id) {
            link.filling = Some(Filling { queue, bytes_left: bytes_max.min(WANT_BYTES_MAX) });
            self.fill_next(id);
        }
    }

    /// Reads the next log for a filling, or ends it.
    fn fill_next(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(filling) = &mut link.filling else { return };
        let next = if filling.bytes_left == 0 { None } else { filling.queue.pop_front() };
        let Some((shop, from_sequence)) = next else {
            link.filling = None;
            self.send(id, Frame::Filled);
            return;
        };
        let (bytes_max, purpose) = (filling.bytes_left, ReadPurpose::Fill);
        self.emit(Output::Read(ReadRequest { link: id, shop, from_sequence, bytes_max, purpose }));
    }

    /// Sends what was read for a filling and goes on.
    pub(crate) fn fill(&mut self, read: ReadRequest, runs: Vec<RawRun>) {
        let Some(link) = self.links.get_mut(&read.link) else { return };
        let Some(filling) = &mut link.filling else { return };
        let bytes = u32::try_from(bytes_of(&runs)).unwrap_or(u32::MAX);
        filling.bytes_left = filling.bytes_left.saturating_sub(bytes);
        if !runs.is_empty() {
            self.send_runs(read, runs, true);
        }
        self.fill_next(read.link);
    }

    /// The peer has sent what this node lacked, or as much as it may.
    pub(crate) fn filled(&mut self, link: LinkId) -> Result<(), Fault> {
        self.fill_over(link);
        Ok(())
    }
}
