//! Records on their way from a frame to the ingest ladder: which place of which log they claim, and what waits there.

use alloc::{collections::VecDeque, vec::Vec};

use hutong_record::{AllianceId, Header, HeaderError, RecordId, ShopId, proto};

use crate::{Head, LinkId, RawRun, frame::Fault, limits::INTAKES_AHEAD};

/// The place that runs claim by their first and last headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    /// What the first record names as its predecessor.
    pub(crate) previous: Option<RecordId>,
    pub(crate) last: Head,
}

/// Why a place cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanError {
    /// The peer broke the protocol.
    Fault(Fault),
    /// A header that is none.
    Malformed,
    /// A record from a newer program, which this one cannot take in.
    Newer,
}

impl From<HeaderError> for SpanError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Format(_) | HeaderError::Kind(_) => Self::Newer,
            _ => Self::Malformed,
        }
    }
}

impl Span {
    /// Of at least one run, none of them empty.
    pub(crate) fn of(runs: &[RawRun], alliance: AllianceId, shop: ShopId) -> Result<Self, SpanError> {
        let fault = SpanError::Fault(Fault::Log);
        let first = runs.first().and_then(|run| run.first()).ok_or(fault)?;
        let last = runs.last().and_then(|run| run.last()).ok_or(fault)?;
        let first = Header::parse(&first.header)?;
        let steps = runs.iter().map(|run| run.len() as u64).sum::<u64>() - 1;
        // A live record comes alone.
        let other = if steps > 0 { Some(Header::parse(&last.header)?) } else { None };
        let last_header = other.as_ref().unwrap_or(&first);
        let ours = [&first, last_header].into_iter().all(|h| h.alliance == alliance && h.shop == shop);
        if !ours || first.sequence.checked_add(steps) != Some(last_header.sequence) {
            return Err(fault);
        }
        let id = Header::id_of(&last.header);
        let last = Head { sequence: last_header.sequence, id, incarnation: last_header.incarnation };
        Ok(Self { first: first.sequence, previous: first.previous, last })
    }
}

/// Takes off the first `held` records: the log already has them. The signature at each run's end covers the rest.
pub(crate) fn trim(mut runs: Vec<RawRun>, held: u64) -> Vec<RawRun> {
    let mut held = usize::try_from(held).unwrap_or(usize::MAX);
    runs.retain_mut(|run| {
        let dropped = held.min(run.len());
        held -= dropped;
        run.drain(..dropped);
        !run.is_empty()
    });
    runs
}

/// The id that the first record names as its predecessor.
pub(crate) fn predecessor(runs: &[RawRun]) -> Result<Option<RecordId>, SpanError> {
    let first: Option<&proto::Record> = runs.first().and_then(|run| run.first());
    let first = first.ok_or(SpanError::Fault(Fault::Log))?;
    Ok(Header::parse(&first.header)?.previous)
}

/// Batches of one log that the ladder has and has not answered.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// Whom each batch came from and its bytes, oldest first.
    batches: VecDeque<(LinkId, usize)>,
    /// Where the newest batch claims to end.
    pub(crate) tail: Option<Head>,
    /// A batch was refused: those after it cannot fit, which is not their senders' fault.
    pub(crate) broken: bool,
}

impl Intake {
    pub(crate) fn add(&mut self, link: LinkId, bytes: usize, tail: Head) {
        self.batches.push_back((link, bytes));
        self.tail = Some(tail);
    }

    /// Removes the oldest batch and gives its bytes.
    pub(crate) fn finish(&mut self) -> Option<usize> {
        self.batches.pop_front().map(|(_, bytes)| bytes)
    }

    /// Bytes that came from a link.
    pub(crate) fn bytes_of(&self, link: LinkId) -> usize {
        self.batches.iter().filter(|(from, _)| *from == link).map(|(_, bytes)| bytes).sum()
    }

    /// Whether nothing more of the log is to be asked for meanwhile.
    pub(crate) fn is_busy(&self) -> bool {
        self.broken || self.batches.len() >= INTAKES_AHEAD
    }

    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }
}

/// A batch that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) link: LinkId,
    pub(crate) shop: ShopId,
    pub(crate) runs: Vec<RawRun>,
    pub(crate) span: Span,
    pub(crate) pushed: bool,
}
