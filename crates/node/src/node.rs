//! The node: one shop, the alliances that it takes part in, and who may knock at its peer port.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hutong_core::{
    alliance::Alliance,
    charter::Charter,
    command::Command,
    invitation::LinkDoor,
    refusal::{Reason, Refusal},
    report,
};
use hutong_record::{AllianceId, PublicKey, ShopId, SigningKey, UnixMillis, proto};
use hutong_store::ledger::{ShopKeys, Signing};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alliance::{AllianceFolder, Bootstrap, Hosted, OpenError, internal},
    clock,
    config::Config,
    data_folder::DataFolder,
    federation::{
        self,
        dialling::Dialling,
        hub::{self, Event, HubHandle},
        lan::Lan,
    },
    identity_file::{self, Secrets},
    telemetry::Telemetry,
    transport::{Caller, Connections, Credential, Dialer, Door, FAREWELL, GuestKey, KnownShop},
};

mod overriding;

pub use overriding::OverridePlan;

/// The most alliances of one node: each has a thread, a journal and a cache of its own.
const ALLIANCES_MAX: usize = 16;

/// How often the list of those who may knock is made anew even if no roster has changed.
const DOOR_REVIEW: Duration = Duration::from_secs(60);

/// One running node.
#[derive(Debug)]
pub struct Node {
    data: DataFolder,
    config: Config,
    keys: Arc<ShopKeys>,
    identity: hutong_record::Identity,
    credential: Credential,
    /// A log had gone over before the keys came: what was folded unread is read at the next start.
    keys_came_late: AtomicBool,
    connections: Arc<Connections>,
    door: Arc<Door>,
    door_lock: Mutex<()>,
    /// Held while an alliance is laid out.
    laying_out: tokio::sync::Mutex<()>,
    /// Held while logs go over to new keys, so that none goes over by a rotation where an override is ordered.
    going_over: tokio::sync::Mutex<()>,
    peer_address: Option<SocketAddr>,
    lan: Lan,
    started: UnixMillis,
    telemetry: Telemetry,
    alliances: RwLock<BTreeMap<AllianceId, Running>>,
    paused: watch::Sender<bool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What came of new keys in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysTaken {
    /// The newest epoch whose keys are here.
    pub key_epoch: u32,
    /// A log had gone over before they came, and what is sealed to them was folded unread: that is made good when the
    /// node is started anew.
    pub restart_needed: bool,
}

/// An alliance and what keeps it going.
#[derive(Debug, Clone)]
struct Running {
    hosted: Arc<Hosted>,
    hub: HubHandle,
}

/// Guest keys of the invitations that every member answers, of core members alone; none where this shop is no member.
fn open_guests(alliance: &Alliance, at: UnixMillis) -> Vec<[u8; 32]> {
    if alliance.own_membership().is_err() {
        return Vec::new();
    }
    let core = alliance
        .roster()
        .iter()
        .filter(|(shop, member)| member.core && alliance.roster().member(*shop).is_some());
    let government = alliance.government();
    core.flat_map(|(shop, _)| government.invitations_of(shop, at)).map(|(guest_key, _)| *guest_key).collect()
}

/// Leaves shops that are no members any more the time to hear it.
async fn see_off(door: Arc<Door>, keys: Vec<[u8; 32]>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(FAREWELL) => door.cut_off(&keys),
    }
}

/// Shows others the key of the newest epoch, with its proof; the first one needs none.
fn show_newest(credential: &Credential, keys: &ShopKeys) {
    let newest = keys.newest();
    if let (Some(key), Some(succession)) = (keys.signing_of(newest), keys.succession_to(newest)) {
        credential.renew(key, &succession);
    }
}

impl Node {
    /// A node for the shop of `secrets`, whose peer port listens at `peer_address`, if anywhere. It hosts nothing yet.
    pub fn new(
        data: DataFolder,
        config: Config,
        secrets: Secrets,
        peer_address: Option<SocketAddr>,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let Secrets { signing, decryption, identity, later } = secrets;
        let keys = Arc::new(ShopKeys::new(Arc::new(signing), decryption));
        let credential = Credential::new(keys.signing.clone());
        later.into_iter().for_each(|epoch| keys.add(epoch));
        show_newest(&credential, &keys);
        let connections = Connections::new();
        let lan_port = peer_address.filter(|at| config.peer.lan && !at.ip().is_loopback());
        Arc::new(Self {
            keys_came_late: AtomicBool::new(false),
            credential,
            door: Door::new(connections.clone()),
            door_lock: Mutex::default(),
            laying_out: tokio::sync::Mutex::default(),
            going_over: tokio::sync::Mutex::default(),
            keys,
            identity,
            connections,
            data,
            config,
            peer_address,
            lan: lan_port.map_or_else(Lan::default, |at| Lan::start(at.port())),
            started: clock::now(),
            telemetry,
            alliances: RwLock::default(),
            paused: watch::Sender::new(false),
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// This shop.
    pub const fn me(&self) -> ShopId {
        self.identity.id()
    }

    /// Who this shop is.
    pub const fn identity(&self) -> &hutong_record::Identity {
        &self.identity
    }

    /// Where the node's files lie.
    pub const fn data(&self) -> &DataFolder {
        &self.data
    }

    /// What the node counts with.
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The node's settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where the peer port listens, if anywhere.
    pub const fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
    }

    /// When the node started.
    pub const fn started(&self) -> UnixMillis {
        self.started
    }

    /// What the peer port shows of this shop.
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Who may knock.
    pub const fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// The newest key epoch whose keys this node has.
    pub fn key_epoch(&self) -> u32 {
        self.keys.newest()
    }

    /// Takes over keys of later epochs that were laid into the data folder, shows the newest one to others, and has the
    /// shop's log go over to it in every alliance where the shop may write.
    ///
    /// # Errors
    /// The key file cannot be read, or a log does not go over.
    pub async fn rotate_keys(&self) -> Result<KeysTaken, Refusal> {
        self.take_laid_keys().await?;
        self.go_over_everywhere().await
    }

    async fn go_over_everywhere(&self) -> Result<KeysTaken, Refusal> {
        for (hosted, _) in self.all() {
            self.go_over(&hosted).await?;
        }
        let restart_needed = self.keys_came_late.load(Ordering::Relaxed);
        Ok(KeysTaken { key_epoch: self.keys.newest(), restart_needed })
    }

    /// Takes over keys that were laid into the data folder, and shows the newest ones.
    async fn take_laid_keys(&self) -> Result<(), Refusal> {
        let data = self.data.clone();
        let loaded = tokio::task::spawn_blocking(move || identity_file::load(&data)).await;
        let secrets = loaded.map_err(|error| internal(&error))?.map_err(|error| internal(&error))?;
        if secrets.identity != self.identity {
            return Err(internal("the key file in the data folder is another shop's"));
        }
        let known = self.keys.newest();
        let was_behind = self.all().iter().any(|(hosted, _)| hosted.alliance().key_epoch(self.me()) > known);
        for epoch in secrets.later.into_iter().filter(|epoch| epoch.succession.epoch() > known) {
            self.keys.add(epoch);
        }
        self.keys_came_late.fetch_or(was_behind && self.keys.newest() > known, Ordering::Relaxed);
        show_newest(&self.credential, &self.keys);
        Ok(())
    }

    /// Has the shop's log in an alliance go over to each key epoch that it has not come to, once the shop may write.
    async fn go_over(&self, hosted: &Hosted) -> Result<(), Refusal> {
        let _one_at_a_time = self.going_over.lock().await;
        let may_write =
            || *hosted.signing().borrow() == Signing::Confirmed && hosted.alliance().own_membership().is_ok();
        while may_write() {
            let next = hosted.alliance().key_epoch(self.me()).saturating_add(1);
            let Some(succession) = self.keys.succession_to(next) else { return Ok(()) };
            match hosted.execute(Command::RotateKey(Box::new(succession))).await {
                // It was done at the same moment, by the other caller of this.
                Err(refusal) if refusal.reason == Reason::KeyEpochWrong => return Ok(()),
                outcome => drop(outcome?),
            }
            tracing::info!(
                alliance = hosted.id().short(),
                epoch = next,
                "the shop's log went over to its next key"
            );
            self.introduce_again(hosted).await?;
        }
        Ok(())
    }

    /// Says once more who the shop is. The first record of a key epoch outranks whatever older keys sign, so it does not wait
    /// for the next customer.
    async fn introduce_again(&self, hosted: &Hosted) -> Result<(), Refusal> {
        let me = self.me();
        match hosted.query(move |view| report::profile(view, me)).await? {
            Some(profile) => hosted.execute(Command::Profile(profile)).await.map(drop),
            None => Ok(()),
        }
    }

    /// A dialler that shows another key than the shop's, for asking to join.
    pub fn guest_dialer(&self, guest: SigningKey) -> Dialer {
        Dialer::new(Credential::new(Arc::new(guest)), self.connections.clone())
    }

    /// Cancelled when the node is to stop.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Opens every alliance in the data folder. What a crash left of one that was being founded is passed over.
    ///
    /// # Errors
    /// One of them cannot be opened: the operator must look at it rather than go on without its books.
    pub async fn open_all(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut opening = JoinSet::new();
        for id in self.data.alliance_ids()? {
            if !self.folder(id).is_whole() {
                tracing::warn!(alliance = id.short(), "its founding was cut short: passed over");
                continue;
            }
            let node = self.clone();
            opening.spawn_blocking(move || node.open(id));
        }
        while let Some(opened) = opening.join_next().await {
            let (hosted, notices) = opened??;
            self.run(hosted, notices);
        }
        Ok(())
    }

    /// Lays out and opens a new alliance, and carries out `first` in it before anything else.
    ///
    /// # Errors
    /// `ALLIANCE_EXISTS`, a refusal of `first`, or `INTERNAL` where the disk refuses.
    pub async fn add(
        self: &Arc<Self>,
        charter: Charter,
        bootstrap: Option<Bootstrap>,
        first: Option<Command>,
    ) -> Result<Arc<Hosted>, Refusal> {
        let id = charter.id;
        let _one_at_a_time = self.laying_out.lock().await;
        self.check_room(id)?;
        let node = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            node.folder(id).create(&charter, bootstrap.as_ref())?;
            node.open(id)
        });
        let (hosted, notices) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(crate::alliance::internal(&error)),
            Err(error) => return Err(crate::alliance::internal(&error)),
        };
        if let Some(command) = first {
            hosted.execute(command).await?;
        }
        Ok(self.run(hosted, notices))
    }

    /// Where an alliance's files lie.
    pub fn folder(&self, id: AllianceId) -> AllianceFolder {
        AllianceFolder::new(self.data.alliance(id))
    }

    /// Refused where the node is in the alliance, or in too many.
    ///
    /// # Errors
    /// `ALLIANCE_EXISTS`; `FIELD_INVALID` beyond the bound.
    pub fn check_room(&self, id: AllianceId) -> Result<(), Refusal> {
        let alliances = self.running();
        if alliances.contains_key(&id) {
            return Err(Refusal::new(Reason::AllianceExists));
        }
        if alliances.len() >= ALLIANCES_MAX {
            return Err(Refusal::field("alliance", format!("a node takes part in at most {ALLIANCES_MAX}")));
        }
        Ok(())
    }

    fn open(
        &self,
        id: AllianceId,
    ) -> Result<(Hosted, mpsc::UnboundedReceiver<crate::alliance::Notice>), OpenError> {
        let (sender, notices) = mpsc::unbounded_channel();
        let cache = self.config.storage.views_cache_bytes;
        Hosted::open(&self.folder(id), self.me(), self.keys.clone(), cache, sender, self.telemetry.clone())
            .map(|hosted| (hosted, notices))
    }

    fn run(
        self: &Arc<Self>,
        hosted: Hosted,
        notices: mpsc::UnboundedReceiver<crate::alliance::Notice>,
    ) -> Arc<Hosted> {
        let hosted = Arc::new(hosted);
        let hub = hub::start(hosted.clone(), notices, self.telemetry.metrics.clone(), self.stop.clone());
        let running = Running { hosted: hosted.clone(), hub: hub.clone() };
        self.alliances.write().unwrap_or_else(PoisonError::into_inner).insert(hosted.id(), running);
        let dialling = Dialling {
            hosted: hosted.clone(),
            hub,
            dialer: Dialer::new(self.credential.clone(), self.connections.clone()),
            paused: self.paused.subscribe(),
            heard: self.lan.heard(hosted.id()),
            metrics: self.telemetry.metrics.clone(),
        };
        self.tasks.spawn(dialling.run(self.stop.clone()));
        self.lan.announce(hosted.id(), self.me());
        self.tasks.spawn(self.clone().keep_house(hosted.clone()));
        let metrics = self.telemetry.metrics.clone();
        self.tasks.spawn(hosted.clone().scrub(metrics, self.stop.clone()));
        self.open_door();
        hosted
    }

    /// Follows the roster: opens the door for members, and says who this shop is once it is one itself. Has the writer
    /// look from time to time for what is due.
    async fn keep_house(self: Arc<Self>, hosted: Arc<Hosted>) {
        let (mut changes, mut signing) = (hosted.alliance_changes(), hosted.signing());
        loop {
            self.open_door();
            hosted.tick();
            if let Err(refusal) = self.go_over(&hosted).await {
                tracing::warn!(%refusal, "the shop's log did not go over to its next key");
            }
            if let Err(refusal) = self.introduce(&hosted).await {
                tracing::warn!(%refusal, "the profile was not published");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                changed = signing.changed() => if changed.is_err() { return },
                // Invitations run out without anybody saying so.
                () = tokio::time::sleep(DOOR_REVIEW) => {}
            }
        }
    }

    /// Publishes name, trade and addresses from the configuration, if the alliance has not got them so.
    async fn introduce(&self, hosted: &Hosted) -> Result<(), Refusal> {
        // Before the log is confirmed this shop's own profile may not have come back yet, and would be replaced by what the
        // settings say.
        let confirmed = *hosted.signing().borrow() == Signing::Confirmed;
        if !confirmed || hosted.alliance().own_membership().is_err() {
            return Ok(());
        }
        let me = self.me();
        let before = hosted.query(move |view| report::profile(view, me)).await?;
        let addresses: Vec<_> = self.advertised();
        let profile = match &before {
            Some(before) => proto::Profile { addresses, ..before.clone() },
            None => proto::Profile {
                name: self.config.shop.name.clone(),
                category: self.config.shop.category.clone(),
                addresses,
            },
        };
        if before.as_ref() != Some(&profile) {
            hosted.execute(Command::Profile(profile)).await?;
        }
        Ok(())
    }

    /// The addresses that others are told.
    pub fn advertised(&self) -> Vec<String> {
        let addresses = self.config.peer.advertised(self.peer_address);
        addresses.iter().map(|address| address.as_str().to_owned()).collect()
    }

    /// Members who can let a guest in for this shop: those to whom a link is up, and who tell an address.
    ///
    /// # Errors
    /// `INTERNAL` where the views cannot be read.
    pub async fn doors(&self, hosted: &Hosted) -> Result<Vec<LinkDoor>, Refusal> {
        let running = self.running().remove(&hosted.id());
        let running = running.ok_or(Refusal::new(Reason::AllianceUnknown))?;
        federation::doors(hosted, running.hub.table()).await
    }

    /// Lets in the members of every roster, inviters, and guests of this shop's invitations and of those that any member
    /// answers; nobody while paused.
    pub fn open_door(&self) {
        // From the look at the rosters to the new list nobody else may come between, or an old list would win.
        let _one_at_a_time = self.door_lock.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.paused.borrow() {
            self.door.replace([]);
            self.connections.cut_all();
            return;
        }
        let mut callers: BTreeMap<[u8; 32], (PublicKey, Caller)> = BTreeMap::new();
        let mut shops: BTreeMap<ShopId, KnownShop> = BTreeMap::new();
        // What one alliance knows of a shop's keys holds in all.
        let mut know = |known: KnownShop| {
            if shops.get(&known.shop()).is_none_or(|before| before.epoch() < known.epoch()) {
                shops.insert(known.shop(), known);
            }
        };
        for running in self.running().values() {
            let alliance = running.hosted.alliance();
            for (shop, member) in alliance.roster().iter() {
                if alliance.roster().member(shop).is_some() {
                    know(KnownShop::of(&alliance, &member.identity));
                }
            }
            if let Some(bootstrap) = running.hosted.bootstrap().filter(|_| alliance.own_membership().is_err())
            {
                know(KnownShop::of(&alliance, &bootstrap.inviter));
            }
        }
        let mut admit = |key: PublicKey, caller| {
            callers.entry(*key.as_bytes()).or_insert((key, caller));
        };
        for (shop, known) in &shops {
            admit(known.key(), Caller::Member(*shop));
        }
        for running in self.running().values() {
            let guests = running.hosted.open_invitations(clock::now()).unwrap_or_else(|error| {
                tracing::error!(%error, "invitations cannot be read");
                Vec::new()
            });
            let guests = guests.into_iter().chain(open_guests(&running.hosted.alliance(), clock::now()));
            for key in guests.filter_map(|guest| PublicKey::admit(&guest).ok()) {
                admit(key, Caller::Guest(GuestKey::from(key)));
            }
        }
        let left = self.door.replace_all(callers.into_values(), shops.into_values());
        if !left.is_empty() {
            self.tasks.spawn(see_off(self.door.clone(), left, self.stop.clone()));
        }
    }

    /// The alliance of an id; without one, the only alliance there is.
    ///
    /// # Errors
    /// `ALLIANCE_UNKNOWN`, `ALLIANCE_UNNAMED`.
    pub fn hosted(&self, id: Option<AllianceId>) -> Result<Arc<Hosted>, Refusal> {
        let alliances = self.running();
        match (id, alliances.len()) {
            (Some(id), _) => {
                alliances.get(&id).map(|r| r.hosted.clone()).ok_or(Refusal::new(Reason::AllianceUnknown))
            }
            (None, 0) => Err(Refusal::new(Reason::AllianceUnknown)),
            (None, 1) => {
                let only = alliances.values().next().map(|r| r.hosted.clone());
                only.ok_or(Refusal::new(Reason::AllianceUnknown))
            }
            (None, _) => Err(Refusal::new(Reason::AllianceUnnamed)),
        }
    }

    /// Whether no link to any member of an alliance is up.
    pub fn is_cut_off(&self, id: AllianceId) -> bool {
        self.running().get(&id).is_none_or(|running| running.hub.table().is_cut_off())
    }

    /// When this shop last heard from another member of an alliance, directly. Before anybody has been heard since the
    /// start it is when the newest record that it holds of others was made: no later than it came.
    ///
    /// # Errors
    /// `INTERNAL` where the journal cannot be read.
    pub async fn last_heard(&self, hosted: &Arc<Hosted>) -> Result<UnixMillis, Refusal> {
        let running = self.running();
        let heard = running.get(&hosted.id()).and_then(|running| running.hub.table().last_heard());
        match heard {
            Some(heard) => Ok(heard.min(clock::now())),
            None => hosted.newest_of_others().await,
        }
    }

    /// Every alliance, by id.
    pub fn all(&self) -> Vec<(Arc<Hosted>, HubHandle)> {
        self.running().into_values().map(|running| (running.hosted, running.hub)).collect()
    }

    /// The hub of an alliance, for a member of it (or the shop that invited this one).
    pub fn hub_for(&self, id: AllianceId, peer: ShopId) -> Option<HubHandle> {
        let running = self.running().remove(&id)?;
        let member = running.hosted.alliance().roster().member(peer).is_some();
        let joining = running.hosted.alliance().own_membership().is_err();
        let inviter = running.hosted.bootstrap().is_some_and(|b| b.inviter.id() == peer);
        (member || (joining && inviter)).then_some(running.hub)
    }

    fn running(&self) -> BTreeMap<AllianceId, Running> {
        self.alliances.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether federation is paused.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Pauses federation (all links are closed, nobody may knock) or resumes it.
    pub async fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
        if paused {
            for (_, hub) in self.all() {
                let _ = hub.send(Event::CloseAll).await;
            }
        }
        self.open_door();
    }

    /// Waits until the node's own tasks and writers have ended; the stop token must have been cancelled.
    pub async fn finish(&self) {
        self.lan.stop();
        self.tasks.close();
        self.tasks.wait().await;
        futures::future::join_all(self.all().iter().map(|(hosted, _)| hosted.finish())).await;
    }
}
