//! An alliance's folder: the charter, how this shop came in, the journal, the views.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use hutong_core::{
    VIEWS_VERSION,
    charter::{Charter, CharterError},
    view::ViewError,
};
use hutong_record::{Identity, IdentityError, ShopId, proto};
use hutong_store::{
    disk::OsDisk,
    journal::{JournalConfig, JournalError, JournalReader, Lsn, SegmentJournal, TailLoss},
    ledger::{Ledger, LedgerError, Seat, ShopKeys},
    views::SledViews,
};
use prost::Message as _;
use rand::{TryRng as _, rngs::SysRng};

use super::{measured::MeasuredDisk, seat::SeatMark};
use crate::{
    metrics::Metrics,
    whole_file::{self, Secrecy, sync_folder},
};

const CHARTER_FILE: &str = "charter.bin";
const BOOTSTRAP_FILE: &str = "invited-by.bin";
/// There from before an own alliance's charter until after its founding record.
const FOUNDING_FILE: &str = "founding";
const JOURNAL_FOLDER: &str = "journal";
const VIEWS_FOLDER: &str = "views";
/// Progress of a rebuild is logged about this often.
const PROGRESS_RECORDS: u64 = 50_000;

/// Where an alliance's files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllianceFolder(PathBuf);

/// The shop by whose invitation this one joined: the first peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Who it is.
    pub inviter: Identity,
    /// Where it was reached.
    pub addresses: Vec<String>,
}

/// Why an alliance cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The charter is none.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// The inviting shop's identity is none.
    #[error("{BOOTSTRAP_FILE}: {0}")]
    Bootstrap(#[from] IdentityError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The views cannot be opened.
    #[error(transparent)]
    Views(#[from] ViewError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The system gave no thread or no randomness.
    #[error("the system gave no {0}")]
    System(&'static str),
}

impl AllianceFolder {
    /// At a path.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Lays out a new alliance: charter and inviter are written whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(&self, charter: &Charter, bootstrap: Option<&Bootstrap>) -> Result<(), OpenError> {
        std::fs::create_dir_all(&self.0).map_err(|source| self.file("", source))?;
        // Its own name must outlast a power cut as its content does, and so must the name of the folder of them all.
        for above in self.0.ancestors().skip(1).take(2) {
            sync_folder(above).map_err(|source| OpenError::File { path: above.to_owned(), source })?;
        }
        match bootstrap {
            Some(bootstrap) => {
                let link = proto::InvitationLink {
                    inviter: Some(bootstrap.inviter.signed().clone()),
                    addresses: bootstrap.addresses.clone(),
                    ..Default::default()
                };
                self.write(BOOTSTRAP_FILE, &link.encode_to_vec())?;
            }
            None => self.write(FOUNDING_FILE, b"")?,
        }
        self.seat().keep(false).map_err(|source| self.file("seat", source))?;
        // The charter last: a folder without one is not an alliance.
        self.write(CHARTER_FILE, charter.bytes())
    }

    /// Lays out an alliance of which this shop has lost everything: it signs nothing before members have told how far its
    /// log goes.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create_lost(&self, charter: &Charter, bootstrap: &Bootstrap) -> Result<(), OpenError> {
        self.create(charter, Some(bootstrap))?;
        self.seat().give_up().map_err(|source| self.file("seat", source))
    }

    /// Takes the operator's word that these files are the only ones that count: members are asked for some seconds, then
    /// the shop goes on in a new incarnation, answered or not. Nothing may have these files open.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn trust_copy(&self) -> Result<(), OpenError> {
        self.seat().keep(true).map_err(|source| self.file("seat", source))
    }

    /// Notes that the founding record of an own alliance is durable.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn founded(&self) -> Result<(), OpenError> {
        let removed = std::fs::remove_file(self.0.join(FOUNDING_FILE)).and_then(|()| sync_folder(&self.0));
        removed.map_err(|source| self.file(FOUNDING_FILE, source))
    }

    /// Whether an alliance lies here, and not what a crash in the midst of laying one out left behind: nobody was told
    /// of that one, and no record of it ever left this node.
    pub fn is_whole(&self) -> bool {
        self.0.join(CHARTER_FILE).exists() && !self.0.join(FOUNDING_FILE).exists()
    }

    /// The mark that these files are the ones in which this shop signs.
    pub(super) fn seat(&self) -> SeatMark {
        SeatMark::new(&self.0, JOURNAL_FOLDER)
    }

    /// Whether the ledger on this journal is the one that signed last. What the journal's opening found is noted, for
    /// the next one finds nothing of it.
    fn seat_of(&self, me: ShopId, reader: &dyn JournalReader) -> Result<Seat, OpenError> {
        let found = self.seat().find();
        let never_signed = reader.head_of(me).is_none();
        let noted = match (found.seat, reader.tail_loss(me)) {
            (Seat::Kept, TailLoss::Torn) => self.seat().keep(true),
            (Seat::Kept, TailLoss::Damaged) => self.seat().give_up(),
            _ => Ok(()),
        };
        noted.map_err(|source| self.file("seat", source))?;
        Ok(match found.seat {
            Seat::Kept if found.was_new && !never_signed => Seat::Moved,
            Seat::Kept if found.cut => Seat::Cut,
            seat => seat,
        })
    }

    /// Opens the ledger, folding what is not folded yet.
    pub(super) fn open(
        &self,
        me: ShopId,
        keys: Arc<ShopKeys>,
        cache_bytes: u64,
        metrics: Arc<Metrics>,
    ) -> Result<(Ledger<SledViews>, Option<Bootstrap>), OpenError> {
        let charter = Charter::parse(Bytes::from(self.read(CHARTER_FILE)?))?;
        let bootstrap = self.bootstrap()?;
        let disk = OsDisk::open(self.0.join(JOURNAL_FOLDER)).map_err(|e| self.file(JOURNAL_FOLDER, e))?;
        let disk = MeasuredDisk::new(disk, metrics);
        let mut seed = [0; 4];
        SysRng.try_fill_bytes(&mut seed).map_err(|_| OpenError::System("random bytes"))?;
        let journal = SegmentJournal::open(disk, JournalConfig::new(u32::from_le_bytes(seed)))?;
        let seat = self.seat_of(me, &*journal.reader())?;
        let opened = SledViews::open(&self.0.join(VIEWS_FOLDER), VIEWS_VERSION, cache_bytes)?;
        let new = hutong_store::journal::Journal::head(&journal) == Lsn::ZERO;
        if let Some(reason) = opened.rebuilt_because.as_ref().filter(|_| !new) {
            tracing::info!(alliance = charter.id.short(), ?reason, "views are folded anew");
        }
        let mut told = 0;
        let mut progress = |done: Lsn, all: Lsn| {
            if done.0 - told >= PROGRESS_RECORDS || (done == all && told > 0) {
                told = done.0;
                tracing::info!(folded = done.0, records = all.0, "folding the journal");
            }
        };
        let views = Arc::new(opened.views);
        let ledger = Ledger::open(charter, me, keys, seat, Box::new(journal), views, &mut progress)?;
        Ok((ledger, bootstrap))
    }

    fn bootstrap(&self) -> Result<Option<Bootstrap>, OpenError> {
        let bytes = match self.read(BOOTSTRAP_FILE) {
            Err(OpenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            read => read?,
        };
        let malformed = || OpenError::Bootstrap(IdentityError::Malformed);
        let link = proto::InvitationLink::decode(bytes.as_slice()).map_err(|_| malformed())?;
        let inviter = Identity::verify(link.inviter.as_ref().ok_or_else(malformed)?)?;
        Ok(Some(Bootstrap { inviter, addresses: link.addresses }))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, OpenError> {
        std::fs::read(self.0.join(name)).map_err(|source| self.file(name, source))
    }

    /// Writes a file so that after a power cut it is there whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
        let written = whole_file::replace(&self.0.join(name), bytes, Secrecy::Plain);
        written.map_err(|source| self.file(name, source))
    }

    fn file(&self, name: &str, source: io::Error) -> OpenError {
        OpenError::File { path: self.0.join(name), source }
    }
}
