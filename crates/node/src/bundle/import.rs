//! Reading a bundle into an alliance: run by run through the writer, like a peer's records.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use hutong_core::refusal::{Reason, Refusal};
use hutong_record::{AllianceId, ShopId, proto};
use tokio::sync::mpsc;

use super::format::{BundleError, Entry, Reader};
use crate::alliance::{Hosted, Source, Taken};

/// Runs handed to the writer and not answered yet: enough that one sync serves many.
const RUNS_AHEAD_MAX: usize = 16;

/// What has become of a bundle's records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// New, and durable.
    pub new: u64,
    /// Held before.
    pub known: u64,
    /// Of runs that were refused, by the rung of the ladder.
    pub refused: BTreeMap<&'static str, u64>,
}

/// Why a bundle is not read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The file is at fault.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// This node is.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ImportError {
    /// As it is told to a caller, with what was done before.
    pub fn refusal(self, counts: &Counts) -> Refusal {
        let refusal = match self {
            Self::Refused(refusal) => refusal,
            Self::Bundle(BundleError::Version) => Refusal::new(Reason::BundleVersion),
            Self::Bundle(BundleError::Truncated) => Refusal::new(Reason::BundleTruncated),
            Self::Bundle(error @ BundleError::Damaged(_)) => {
                Refusal::new(Reason::BundleDamaged).with("why", error)
            }
            Self::Bundle(error) => Refusal::new(Reason::BundleInvalid).with("why", error),
        };
        let refused: u64 = counts.refused.values().sum();
        refusal.with("new", counts.new).with("known", counts.known).with("refused", refused)
    }
}

/// A run at the writer.
struct Pending {
    shop: ShopId,
    run: Vec<proto::Record>,
    answer: mpsc::Receiver<Taken>,
}

/// A bundle being read.
pub struct Import<F> {
    reader: Reader,
    find: F,
    hosted: Option<Arc<Hosted>>,
    pending: VecDeque<Pending>,
    counts: Counts,
}

impl<F> std::fmt::Debug for Import<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Import({:?})", self.counts)
    }
}

impl<F: FnMut(AllianceId) -> Result<Arc<Hosted>, Refusal>> Import<F> {
    /// From the beginning; `find` tells where the records of the alliance go that the bundle names.
    pub fn new(find: F) -> Self {
        let (reader, counts) = (Reader::default(), Counts::default());
        Self { reader, find, hosted: None, pending: VecDeque::new(), counts }
    }

    /// What has become of the records so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes the next piece of the file.
    ///
    /// # Errors
    /// The file is not read on. What was read before is taken in when [`Import::settle`] returns.
    pub async fn take(&mut self, piece: &[u8]) -> Result<(), ImportError> {
        self.reader.push(piece);
        while let Some(entry) = self.reader.next_entry()? {
            match entry {
                Entry::Begin { alliance, .. } => self.hosted = Some((self.find)(alliance)?),
                Entry::Runs { shop, runs } => {
                    for run in runs {
                        self.hand_over(shop, run).await?;
                    }
                }
                Entry::End => {}
            }
        }
        Ok(())
    }

    /// Waits until all that was read is taken in or refused.
    ///
    /// # Errors
    /// The node stops.
    pub async fn settle(&mut self) -> Result<(), ImportError> {
        while !self.pending.is_empty() {
            self.hear().await?;
        }
        Ok(())
    }

    /// After the last piece.
    ///
    /// # Errors
    /// The file was not whole.
    pub fn finish(&self) -> Result<(), ImportError> {
        Ok(self.reader.finish()?)
    }

    async fn hand_over(&mut self, shop: ShopId, run: Vec<proto::Record>) -> Result<(), ImportError> {
        while self.pending.len() >= RUNS_AHEAD_MAX {
            self.hear().await?;
        }
        let hosted = self.hosted.as_ref().ok_or(BundleError::Unexpected)?;
        let (sender, answer) = mpsc::channel(1);
        hosted.take_in(Source::Bundle(sender), shop, vec![run.clone()]).await?;
        self.pending.push_back(Pending { shop, run, answer });
        Ok(())
    }

    /// Waits for the oldest run's answer.
    async fn hear(&mut self) -> Result<(), ImportError> {
        let Some(Pending { shop, run, mut answer }) = self.pending.pop_front() else { return Ok(()) };
        let taken = answer.recv().await.ok_or(Refusal::new(Reason::Stopped))?;
        let records = run.len() as u64;
        match taken.refused {
            None => {
                self.counts.new += taken.new_records;
                self.counts.known += records.saturating_sub(taken.new_records);
            }
            Some(rung) => *self.counts.refused.entry(rung).or_default() += records,
        }
        if taken.contradicts
            && let Some(hosted) = &self.hosted
        {
            // The whole run may show where the author signed two records with one number.
            hosted.look_into(answer_to_nobody(), shop, vec![run]).await?;
        }
        Ok(())
    }
}

/// A bundle has been read: nobody can be asked for more of the branch.
fn answer_to_nobody() -> Source {
    Source::Bundle(mpsc::channel(1).0)
}
