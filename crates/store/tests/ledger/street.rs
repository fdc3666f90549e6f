//! A street: shops with real keys, a clock that tests set, and records carried by hand.

use std::{collections::BTreeMap, sync::Arc};

use hutong_core::{
    alliance::Alliance, charter::Charter, command::Command, ingest::IngestError, pair, refusal::Refusal,
    report::Summary, roster::Standing, settlement::book,
};
use hutong_record::{
    Audience, DecryptionKey, Draft, Identity, Payload, Place, RUN_RECORDS_MAX, Record, RecoverySeed, Sealer,
    ShopId, SigningKey, UnixMillis, proto, proto::Kind, sign,
};
use hutong_store::{
    disk::MemDisk,
    journal::{JournalConfig, SegmentJournal},
    ledger::{ExecuteError, Executed, HeadAnswer, Ledger, Patience, Seat, ShopKeys, Signing},
    views::MemViews,
};
use prost::Message;
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};

/// One day.
pub(crate) const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_750_000_000_000;

/// Small segments, so that a street's records fill several.
pub(crate) const CONFIG: JournalConfig = JournalConfig { segment_bytes_max: 20_000, checksum_seed: 0x5eed };

/// A shop: its keys, its disk, its copy of the alliance.
pub(crate) struct Shop {
    pub(crate) identity: Identity,
    pub(crate) keys: Arc<ShopKeys>,
    pub(crate) disk: MemDisk,
    pub(crate) ledger: Ledger<MemViews>,
}

/// What all, or the parties of a pair, must agree on, and the shop's own counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) public: [u8; 32],
    pub(crate) pairs: Vec<(ShopId, [[u8; 32]; 2])>,
    pub(crate) summary: Summary,
    pub(crate) roster: Vec<(ShopId, Standing, Option<u64>)>,
}

/// Shops 0, 1, 2, ...; shop 0 founded the alliance.
pub(crate) struct Street {
    pub(crate) shops: Vec<Shop>,
    pub(crate) charter: Charter,
    pub(crate) now: UnixMillis,
    pub(crate) rng: StdRng,
    pub(crate) requests: u64,
    /// The entropy of each shop's phrase.
    pub(crate) phrases: BTreeMap<ShopId, [u8; 32]>,
}

impl Shop {
    pub(crate) fn new(identity: Identity, keys: Arc<ShopKeys>, charter: &Charter) -> Self {
        let disk = MemDisk::new();
        let ledger = open(charter, identity.id(), &keys, Seat::Kept, &disk, Arc::new(MemViews::new()));
        Self { identity, keys, disk, ledger }
    }

    /// The same shop on a copy of its disk.
    pub(crate) fn copied(&self) -> Self {
        let (identity, keys, disk) = (self.identity.clone(), self.keys.clone(), self.disk.image());
        let charter = self.ledger.alliance().charter();
        let ledger = open(charter, identity.id(), &keys, Seat::Moved, &disk, Arc::new(MemViews::new()));
        Self { identity, keys, disk, ledger }
    }

    pub(crate) fn id(&self) -> ShopId {
        self.identity.id()
    }

    pub(crate) fn state(&self) -> State {
        let views = self.ledger.views();
        let roster = self.ledger.alliance().roster();
        let ally = |(shop, _)| {
            let pair = pair::report(&*views, self.id(), shop).unwrap().digest;
            (shop, [pair, book::digest(&*views, self.id(), shop).unwrap()])
        };
        State {
            public: Alliance::public_digest(&*views).unwrap(),
            pairs: roster.iter().map(ally).filter(|(shop, _)| *shop != self.id()).collect(),
            summary: Summary::load(&*views).unwrap(),
            roster: roster.iter().map(|(shop, m)| (shop, m.standing, m.counts_up_to)).collect(),
        }
    }

    /// The node is started again, with these views.
    pub(crate) fn reopen(&mut self, views: Arc<MemViews>) {
        let charter = self.ledger.alliance().charter().clone();
        self.ledger = open(&charter, self.identity.id(), &self.keys, Seat::Kept, &self.disk, views);
    }

    /// What this shop, as a peer, says of another one's log.
    pub(crate) fn answer(&self, about: ShopId) -> HeadAnswer {
        let head = self.ledger.head(about);
        let prefix = |id: hutong_record::RecordId| id.as_bytes()[..8].try_into().unwrap();
        let (sequence, id_prefix) = (head.map_or(0, |h| h.sequence), head.map(|h| prefix(h.id)));
        let incarnation = head.map_or(0, |h| h.incarnation);
        HeadAnswer { peer: self.id(), sequence, incarnation, id_prefix }
    }

    /// Takes in a message of records and commits it.
    pub(crate) fn take(&mut self, run: &[Record], now: UnixMillis) -> Result<bool, IngestError> {
        let taken = self.ledger.ingest(run.iter().map(Record::to_message).collect(), now).unwrap();
        self.ledger.commit().unwrap();
        taken
    }

    /// A message; what follows a rotation or an override goes with it, as far as one message goes.
    pub(crate) fn message(&self, author: ShopId, after: u64) -> Vec<Record> {
        let mut message = self.log(author, after);
        while message.last().is_some_and(|last| last.header().kind.ends_run()) {
            let more = self.log(author, after + message.len() as u64);
            if more.is_empty() || message.len() + more.len() > RUN_RECORDS_MAX {
                break;
            }
            message.extend(more);
        }
        message
    }

    /// All that it holds of a log, as it would send it to one who holds `after`.
    pub(crate) fn log(&self, author: ShopId, after: u64) -> Vec<Record> {
        self.ledger.reader().read_log(author, after + 1, 1 << 20).unwrap()
    }
}

fn open(
    charter: &Charter,
    me: ShopId,
    keys: &Arc<ShopKeys>,
    seat: Seat,
    disk: &MemDisk,
    views: Arc<MemViews>,
) -> Ledger<MemViews> {
    let journal = Box::new(SegmentJournal::open(disk.clone(), CONFIG).unwrap());
    Ledger::open(charter.clone(), me, keys.clone(), seat, journal, views, &mut |_, _| {}).unwrap()
}

/// What the phrase of a shop gives; by itself, so that tests can ask for later keys.
pub(crate) fn grow(rng: &mut StdRng, now: UnixMillis) -> ([u8; 32], Identity, Arc<ShopKeys>) {
    let entropy = rng.random();
    let (identity, keys) = keys_of(entropy, rng, now);
    (entropy, identity, keys)
}

pub(crate) fn keys(rng: &mut StdRng, now: UnixMillis) -> (Identity, Arc<ShopKeys>) {
    let (_, identity, keys) = grow(rng, now);
    (identity, keys)
}

fn keys_of(entropy: [u8; 32], rng: &mut StdRng, now: UnixMillis) -> (Identity, Arc<ShopKeys>) {
    let seed = RecoverySeed::new(entropy);
    let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
    let decryption = DecryptionKey::from_seed(&seed.encryption_seed());
    (Identity::create(&seed, now, rng), Arc::new(ShopKeys::new(signing, decryption)))
}

impl Street {
    /// A street whose shops are all in and know of each other.
    pub(crate) fn new(seed: u64, shops: usize) -> Self {
        Self::with(seed, shops, |_| {})
    }

    pub(crate) fn with(seed: u64, shops: usize, change: impl FnOnce(&mut proto::Charter)) -> Self {
        let mut street = Self::founded(seed, change);
        while street.shops.len() < shops {
            street.join(false);
        }
        street.meet();
        street
    }

    /// The founder alone.
    pub(crate) fn founded(seed: u64, change: impl FnOnce(&mut proto::Charter)) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = UnixMillis::new(START_MS).unwrap();
        let (phrase, identity, keys) = grow(&mut rng, now);
        let phrases = BTreeMap::from([(identity.id(), phrase)]);
        let mut message = proto::Charter {
            name: "南锣街坊".into(),
            purpose: "互相带客".into(),
            currency_code: "CNY".into(),
            utc_offset_minutes: 480,
            admission_votes: 1,
            removal_votes: 1,
            late_entry_ms_max: 7 * DAY_MS,
            attribution_window_ms: 7 * DAY_MS,
            founder: Some(identity.signed().clone()),
            created_unix_ms: now.ms(),
            salt: vec![9; 16].into(),
            ..Default::default()
        };
        change(&mut message);
        let charter = Charter::write(&message).unwrap();
        let shops = vec![Shop::new(identity, keys, &charter)];
        let mut street = Self { shops, charter, now, rng, requests: 0, phrases };
        street.run(0, &Command::Found).unwrap();
        street
    }

    /// One more shop, invited and voted in by the founder, that has caught up with the founder. Its index.
    pub(crate) fn join(&mut self, core: bool) -> usize {
        let (phrase, identity, keys) = grow(&mut self.rng, self.now);
        self.phrases.insert(identity.id(), phrase);
        let guest_key: [u8; 32] = self.rng.random();
        let invitation = proto::Invitation {
            guest_key: guest_key.to_vec().into(),
            expires_unix_ms: self.now.ms() + DAY_MS,
            core,
            note: "新邻居".into(),
            ..Default::default()
        };
        self.run(0, &Command::Invite(invitation)).unwrap();
        let admit =
            Command::AdmitGuest { guest_key, identity: identity.signed().clone(), continuation: None };
        self.run(0, &admit).unwrap();
        self.shops.push(Shop::new(identity, keys, &self.charter));
        let newcomer = self.shops.len() - 1;
        self.carry(0, newcomer);
        assert_eq!(self.ask_all(newcomer), Signing::Confirmed);
        newcomer
    }

    /// The shop asks some others how far its log goes.
    pub(crate) fn ask(&mut self, shop: usize, peers: &[usize], patience: Patience) -> Signing {
        let about = self.id(shop);
        let answers: Vec<_> = peers.iter().map(|peer| self.shops[*peer].answer(about)).collect();
        let Self { shops, rng, now, .. } = self;
        let signing = shops[shop].ledger.confirm_head(&answers, patience, *now, rng).unwrap();
        shops[shop].ledger.commit().unwrap();
        signing
    }

    /// The shop asks all others, to the end of its patience.
    pub(crate) fn ask_all(&mut self, shop: usize) -> Signing {
        let peers: Vec<_> = (0..self.shops.len()).filter(|peer| *peer != shop).collect();
        self.ask(shop, &peers, Patience::Over)
    }

    pub(crate) fn id(&self, shop: usize) -> ShopId {
        self.shops[shop].id()
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        self.now = self.now.saturating_add_ms(ms);
    }

    /// Carries a command out, durably; after a start the shop has asked the others before.
    pub(crate) fn run(&mut self, shop: usize, command: &Command) -> Result<Executed, Refusal> {
        self.ask_all(shop);
        self.try_run(shop, command)
    }

    /// Carries a command out, durably, without having asked anybody.
    pub(crate) fn try_run(&mut self, shop: usize, command: &Command) -> Result<Executed, Refusal> {
        let ledger = &mut self.shops[shop].ledger;
        let executed = ledger.execute(command, self.now, &mut self.rng);
        ledger.commit().unwrap();
        executed.map_err(|error| match error {
            ExecuteError::Refused(refusal) => refusal,
            ExecuteError::Ledger(error) => panic!("{error}"),
        })
    }

    /// Carries everything that one shop holds to another, log by log, as long as something is new.
    pub(crate) fn carry(&mut self, from: usize, to: usize) {
        while self.carry_round(from, to) {}
    }

    fn carry_round(&mut self, from: usize, to: usize) -> bool {
        let frontier = self.shops[from].ledger.reader().frontier();
        let mut new = false;
        for (author, _) in frontier {
            new |= matches!(self.carry_log(from, to, author), Ok(true));
        }
        new
    }

    /// Carries the next run of one log; of a later incarnation, from the place where it leaves the log that is held.
    pub(crate) fn carry_log(&mut self, from: usize, to: usize, author: ShopId) -> Result<bool, IngestError> {
        let rank = |shop: &Shop| shop.ledger.head(author).map_or((0, 0), |h| (h.incarnation, h.sequence));
        let (theirs, held) = (rank(&self.shops[from]), rank(&self.shops[to]));
        if theirs <= held {
            return Ok(false);
        }
        let mut back = 0;
        loop {
            let after = held.1.min(theirs.1 - 1).saturating_sub(back);
            let run = self.shops[from].message(author, after);
            if run.is_empty() {
                return Ok(false);
            }
            match self.shops[to].take(&run, self.now) {
                Err(IngestError::Earlier(_)) if after > 0 => back = (2 * back).max(1),
                taken => return taken,
            }
        }
    }

    /// Everybody meets everybody, until nothing is new.
    pub(crate) fn meet(&mut self) {
        let count = self.shops.len();
        let mut new = true;
        while new {
            new = false;
            for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
                new |= from != to && self.carry_round(from, to);
            }
        }
    }

    /// A record with a valid signature that no honest shop would write, as the next one of the shop's log. It is
    /// sealed to the parties, if there are any.
    pub(crate) fn craft(
        &mut self,
        shop: usize,
        kind: Kind,
        parties: &[usize],
        message: &impl Message,
    ) -> Record {
        let ledger = &self.shops[shop].ledger;
        let (head, key_epoch) = (ledger.head(self.id(shop)), ledger.alliance().key_epoch(self.id(shop)));
        let (sequence, previous) = head.map_or((1, None), |h| (h.sequence + 1, Some(h.id)));
        let incarnation = head.map_or(0, |head| head.incarnation);
        let audience = Audience::parties(parties.iter().map(|p| self.id(*p))).unwrap_or(Audience::Alliance);
        let draft = Draft {
            alliance: self.charter.id,
            shop: self.id(shop),
            key_epoch,
            incarnation,
            sequence,
            previous,
            time: self.now,
            kind,
            audience,
        };
        self.sign(shop, draft, &message.encode_to_vec())
    }

    pub(crate) fn sign(&mut self, shop: usize, draft: Draft, message: &[u8]) -> Record {
        let place = Place {
            alliance: draft.alliance,
            shop: draft.shop,
            incarnation: draft.incarnation,
            sequence: draft.sequence,
            kind: draft.kind,
        };
        let key =
            |party: &ShopId| self.shops.iter().find(|s| s.id() == *party).unwrap().identity.encryption_key();
        let keys: Vec<_> = draft.audience.named().iter().map(key).collect();
        let payload = if keys.is_empty() {
            Payload::clear(message, &mut self.rng).unwrap()
        } else {
            Payload::seal(message, &place, &keys, &mut Sealer::default(), &mut self.rng).unwrap()
        };
        let keys = &self.shops[shop].keys;
        let key = keys.signing_of(draft.key_epoch).unwrap_or_else(|| keys.signing.clone());
        sign(draft, payload, &key)
    }

    /// Puts a crafted record into its author's own log, and commits it. Its node is started anew, for one that signs
    /// would take the record for another copy's.
    pub(crate) fn plant(
        &mut self,
        shop: usize,
        kind: Kind,
        parties: &[usize],
        message: &impl Message,
    ) -> Record {
        let record = self.craft(shop, kind, parties, message);
        let views = self.shops[shop].ledger.views();
        self.shops[shop].reopen(views);
        assert_eq!(self.shops[shop].take(std::slice::from_ref(&record), self.now), Ok(true));
        record
    }

    /// The same shop on a new machine: same keys, empty disk.
    pub(crate) fn fresh(&self, shop: usize) -> Shop {
        let shop = &self.shops[shop];
        Shop::new(shop.identity.clone(), shop.keys.clone(), &self.charter)
    }

    /// All hold the same public state, and each pair the same pair state.
    pub(crate) fn check_agreement(&self, context: &str) {
        let states: Vec<_> = self.shops.iter().map(Shop::state).collect();
        for (one, shop) in states.iter().zip(&self.shops) {
            assert_eq!(one.public, states[0].public, "{context}: public state");
            assert_eq!(one.roster, states[0].roster, "{context}: roster");
            for (other, ally) in states.iter().zip(&self.shops).filter(|(_, ally)| ally.id() != shop.id()) {
                let find = |state: &State, id| state.pairs.iter().find(|(shop, _)| *shop == id).map(|p| p.1);
                assert_eq!(find(one, ally.id()), find(other, shop.id()), "{context}: pair");
            }
        }
    }

    /// What `one` says that `other` owes it.
    pub(crate) fn balance(&self, one: usize, other: usize) -> i128 {
        let views = self.shops[one].ledger.views();
        pair::report(&*views, self.id(one), self.id(other)).unwrap().balance_minor
    }
}

/// What a record's header binds beside its payload, to make another record of.
pub(crate) fn draft(record: &Record) -> Draft {
    let header = record.header().clone();
    Draft {
        alliance: header.alliance,
        shop: header.shop,
        key_epoch: header.key_epoch,
        incarnation: header.incarnation,
        sequence: header.sequence,
        previous: header.previous,
        time: header.time,
        kind: header.kind,
        audience: header.audience,
    }
}

/// Puts items into a random order.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}
