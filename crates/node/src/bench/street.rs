//! A street to measure on: shops with real keys, an alliance that all are in, and logs as they travel in catching up,
//! signed at the end of each run of 256.

use std::{ops::RangeInclusive, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use hutong_core::{charter::Charter, command::Command};
use hutong_record::{
    AllianceId, Audience, DAY_MS, DecryptionKey, Draft, Header, Identity, Payload, Place, RUN_RECORDS_MAX,
    RecordId, RecoverySeed, Sealer, SigningKey, proto, proto::Kind, sign,
};
use hutong_store::ledger::ShopKeys;
use hutong_sync::{LinkId, RawRun, limits::WANT_BYTES, raw_run_bytes};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    alliance::{AllianceFolder, Hosted, IngestJob, Notice},
    clock,
    identity_file::Secrets,
    telemetry::Telemetry,
};

/// The default of a node's configuration.
pub(super) const CACHE_BYTES: u64 = 64 << 20;
/// A name that makes a profile's record 300 bytes long, header and payload, at the sequence numbers measured.
const NAME_CHARS: usize = 64;
const ADDRESS: &str = "a-shop-in-the-lane-with-quite-a-long-name.example.com:7710";

/// What the records of a log say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Profiles: for all, so that every receiver folds each; 300 bytes.
    Public,
    /// Sales: sealed to their author, so that no receiver folds them; some 340 bytes.
    Sealed,
}

/// A shop that has no node here: its log is written straight.
pub(super) struct Shop {
    pub(super) identity: Identity,
    pub(super) keys: Arc<ShopKeys>,
    head: Option<(u64, RecordId)>,
}

/// A founder, the shops that it takes in, and the charter.
pub(super) struct Street {
    pub(super) charter: Charter,
    pub(super) founder: Shop,
    pub(super) authors: Vec<Shop>,
}

impl Shop {
    fn new(rng: &mut StdRng) -> Self {
        let seed = RecoverySeed::new(rng.random());
        let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
        let decryption = DecryptionKey::from_seed(&seed.encryption_seed());
        let identity = Identity::create(&seed, clock::now(), rng);
        Self { identity, keys: Arc::new(ShopKeys::new(signing, decryption)), head: None }
    }

    /// The next `count` records of its log, in runs.
    pub(super) fn write(
        &mut self,
        alliance: AllianceId,
        content: Content,
        count: usize,
    ) -> anyhow::Result<Vec<RawRun>> {
        let first = self.head.map_or(1, |(sequence, _)| sequence + 1);
        let payloads = self.payloads(alliance, content, first..=first + count as u64 - 1)?;
        let mut runs: Vec<RawRun> = Vec::with_capacity(count.div_ceil(RUN_RECORDS_MAX));
        let mut run = Vec::with_capacity(RUN_RECORDS_MAX);
        for (place, payload) in payloads.into_iter().enumerate() {
            let last_of_run = (place + 1) % RUN_RECORDS_MAX == 0 || place + 1 == count;
            run.push(self.append(alliance, content, payload, last_of_run));
            if last_of_run {
                runs.push(std::mem::take(&mut run));
            }
        }
        Ok(runs)
    }

    fn append(
        &mut self,
        alliance: AllianceId,
        content: Content,
        payload: Payload,
        signed: bool,
    ) -> proto::Record {
        let (kind, audience) = match content {
            Content::Public => (Kind::Profile, Audience::Alliance),
            Content::Sealed => (Kind::Sale, Audience::Parties(vec![self.identity.id()])),
        };
        let draft = Draft {
            alliance,
            shop: self.identity.id(),
            key_epoch: 0,
            incarnation: 0,
            sequence: self.head.map_or(1, |(sequence, _)| sequence + 1),
            previous: self.head.map(|(_, id)| id),
            time: clock::now(),
            kind,
            audience,
        };
        let sequence = draft.sequence;
        let (id, message) = if signed {
            let record = sign(draft, payload, &self.keys.signing);
            (record.id(), record.to_message())
        } else {
            unsigned(draft, &payload)
        };
        self.head = Some((sequence, id));
        message
    }

    fn payloads(
        &self,
        alliance: AllianceId,
        content: Content,
        sequences: RangeInclusive<u64>,
    ) -> anyhow::Result<Vec<Payload>> {
        let (mut sealer, mut rng) = (Sealer::default(), StdRng::seed_from_u64(*sequences.start()));
        let payload = |sequence| match content {
            Content::Public => Ok(Payload::clear(&profile(sequence).encode_to_vec(), &mut rng)?),
            Content::Sealed => self.sale(alliance, sequence, &mut sealer, &mut rng),
        };
        sequences.map(payload).collect()
    }

    fn sale(
        &self,
        alliance: AllianceId,
        sequence: u64,
        sealer: &mut Sealer,
        rng: &mut StdRng,
    ) -> anyhow::Result<Payload> {
        let sale = proto::Sale {
            request: Some(proto::Request { id: format!("sale-{sequence}"), hash: vec![7; 32].into() }),
            sold_unix_ms: clock::now().ms(),
            amount: Some(proto::Money { minor: 3_800, currency_code: "CNY".into() }),
            ..Default::default()
        };
        let shop = self.identity.id();
        let place = Place { alliance, shop, incarnation: 0, sequence, kind: Kind::Sale };
        let parties = [self.identity.encryption_key()];
        Ok(Payload::seal(&sale.encode_to_vec(), &place, &parties, sealer, rng)?)
    }
}

/// A record that a later one of its run covers.
fn unsigned(draft: Draft, payload: &Payload) -> (RecordId, proto::Record) {
    let header = draft.header(payload).to_bytes();
    let id = Header::id_of(&header);
    (id, proto::Record { header, signature: Bytes::new(), payload: payload.bytes().clone() })
}

/// A profile whose record has 300 bytes.
fn profile(sequence: u64) -> proto::Profile {
    let name = format!("{sequence:_>NAME_CHARS$}");
    proto::Profile { name, category: "food".into(), addresses: vec![ADDRESS.into()] }
}

impl From<Secrets> for Shop {
    fn from(secrets: Secrets) -> Self {
        let Secrets { signing, decryption, identity, .. } = secrets;
        Self { identity, keys: Arc::new(ShopKeys::new(Arc::new(signing), decryption)), head: None }
    }
}

impl Street {
    /// A street with a founder of its own.
    pub(super) fn new(authors: usize) -> anyhow::Result<Self> {
        Self::of(Shop::new(&mut StdRng::seed_from_u64(1)), authors)
    }

    /// A street that this shop founds.
    pub(super) fn of(founder: Shop, authors: usize) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(2);
        let charter = Charter::write(&proto::Charter {
            name: "bench".into(),
            currency_code: "CNY".into(),
            admission_votes: 1,
            removal_votes: 1,
            late_entry_ms_max: 7 * DAY_MS,
            founder: Some(founder.identity.signed().clone()),
            created_unix_ms: clock::now().ms(),
            salt: vec![1; 16].into(),
            ..Default::default()
        })?;
        let authors = (0..authors).map(|_| Shop::new(&mut rng)).collect();
        Ok(Self { charter, founder, authors })
    }

    /// Lays the founder's alliance out in a folder and takes everybody in.
    pub(super) async fn found(&self, folder: &AllianceFolder) -> anyhow::Result<Ledger> {
        folder.create(&self.charter, None)?;
        let ledger = self.open(folder)?;
        ledger.hosted.execute(Command::Found).await?;
        folder.founded()?;
        for (number, author) in self.authors.iter().enumerate() {
            let mut guest_key = [0; 32];
            guest_key[..8].copy_from_slice(&number.to_le_bytes());
            let expires = clock::now().saturating_add_ms(DAY_MS);
            let invitation = proto::Invitation {
                guest_key: guest_key.to_vec().into(),
                expires_unix_ms: expires.ms(),
                ..Default::default()
            };
            ledger.hosted.execute(Command::Invite(invitation)).await?;
            let identity = author.identity.signed().clone();
            ledger.hosted.execute(Command::AdmitGuest { guest_key, identity, continuation: None }).await?;
        }
        Ok(ledger)
    }

    /// The founder's copy, as it lies in a folder.
    pub(super) fn open(&self, folder: &AllianceFolder) -> anyhow::Result<Ledger> {
        let (sender, notices) = mpsc::unbounded_channel();
        let keys = self.founder.keys.clone();
        let hosted = Hosted::open(
            folder,
            self.founder.identity.id(),
            keys,
            CACHE_BYTES,
            sender,
            Telemetry::default(),
        )?;
        Ok(Ledger { hosted: Arc::new(hosted), notices })
    }

    /// Logs of all authors, `count` records together, in answers as a peer sends them, the authors taking turns.
    pub(super) fn write(&mut self, content: Content, count: usize) -> anyhow::Result<Vec<IngestJob>> {
        let (alliance, authors) = (self.charter.id, self.authors.len());
        let mut logs = Vec::with_capacity(authors);
        for author in &mut self.authors {
            logs.push(answers(author, alliance, content, count / authors)?.into_iter());
        }
        let mut jobs = Vec::new();
        while let Some(turn) = Some(logs.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>())
            .filter(|turn| !turn.is_empty())
        {
            jobs.extend(turn);
        }
        Ok(jobs)
    }
}

fn answers(
    author: &mut Shop,
    alliance: AllianceId,
    content: Content,
    count: usize,
) -> anyhow::Result<Vec<IngestJob>> {
    let (link, shop) = (LinkId(0), author.identity.id());
    let mut jobs: Vec<IngestJob> = Vec::new();
    let mut left = 0;
    for run in author.write(alliance, content, count)? {
        let bytes = raw_run_bytes(&run);
        match jobs.last_mut() {
            Some(job) if left > 0 => job.runs.push(run),
            _ => {
                left = WANT_BYTES as usize;
                jobs.push(IngestJob { link, shop, runs: vec![run] });
            }
        }
        left = left.saturating_sub(bytes);
    }
    Ok(jobs)
}

/// A shop's copy of the alliance behind its writer.
pub(super) struct Ledger {
    pub(super) hosted: Arc<Hosted>,
    notices: UnboundedReceiver<Notice>,
}

impl Ledger {
    /// Hands a peer's answers to the writer, and returns when all of them are durable: how many records.
    pub(super) async fn take_in(&mut self, jobs: Vec<IngestJob>) -> anyhow::Result<usize> {
        let (mut under_way, mut records) = (0, 0);
        for job in jobs {
            records += job.runs.iter().map(Vec::len).sum::<usize>();
            anyhow::ensure!(self.hosted.ingest(job), "the writer's queue is full");
            under_way += 1;
            while under_way >= JOBS_UNDER_WAY_MAX {
                self.ingested().await?;
                under_way -= 1;
            }
        }
        for _ in 0..under_way {
            self.ingested().await?;
        }
        Ok(records)
    }

    async fn ingested(&mut self) -> anyhow::Result<()> {
        loop {
            match self.notices.recv().await.context("the writer stopped")? {
                Notice::Ingested { outcome: hutong_sync::IngestOutcome::Accepted(_), .. } => return Ok(()),
                Notice::Ingested { outcome, .. } => anyhow::bail!("the ladder refused: {outcome:?}"),
                _ => {}
            }
        }
    }

    /// Closes it, and waits until its files can be opened again.
    pub(super) async fn close(self) {
        let views = Arc::downgrade(self.hosted.views());
        drop(self);
        while views.strong_count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

/// Answers that wait for the writer: as many wants as the protocol has under way.
const JOBS_UNDER_WAY_MAX: usize = hutong_sync::limits::WANTS_MAX;

/// Header and payload of runs, bytes: what would be there without any frame.
pub(super) fn logical_bytes(jobs: &[IngestJob]) -> usize {
    let record = |r: &proto::Record| r.header.len() + r.payload.len();
    jobs.iter().flat_map(|job| &job.runs).flatten().map(record).sum()
}
