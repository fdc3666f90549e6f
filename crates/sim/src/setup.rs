//! Before the street opens: shops with real keys, an alliance that all are in, promotions.

use std::sync::Arc;

use hutong_core::{charter::Charter, command::Command};
use hutong_record::{DecryptionKey, Identity, RecoverySeed, SigningKey, UnixMillis, proto};
use hutong_store::{ledger::ShopKeys, writer::Job};
use rand::{Rng as _, RngExt as _, rngs::StdRng};

use crate::{
    clock::{Clock, DAY_MS},
    config::Config,
    node::{RequestNumber, Seat, Shop, ShopNumber},
    world::World,
};

/// A command of the setup, for which no till waits.
const NO_TILL: RequestNumber = usize::MAX;

/// A shop's keys, from chance.
pub(crate) fn keys(rng: &mut StdRng, now: UnixMillis) -> (Identity, Arc<ShopKeys>) {
    let seed = RecoverySeed::new(rng.random());
    let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
    let decryption = DecryptionKey::from_seed(&seed.encryption_seed());
    (Identity::create(&seed, now, rng), Arc::new(ShopKeys::new(signing, decryption)))
}

/// A street whose shops run and know nothing of each other, but for the founder.
pub(crate) fn street(config: &Config) -> World {
    let mut rng = World::seeded(config.seed);
    let now = Clock::default().read(0);
    let shop = |number: ShopNumber, rng: &mut StdRng| {
        let (identity, keys) = keys(rng, now);
        Shop { identity, keys, faulty: None, cheated: false, nodes: vec![number] }
    };
    let shops: Vec<_> = (0..config.shops).map(|number| shop(number, &mut rng)).collect();
    let mut salt = vec![0; 16];
    rng.fill_bytes(&mut salt);
    let charter = Charter::write(&proto::Charter {
        name: "南锣街坊".into(),
        purpose: "互相带客".into(),
        currency_code: "CNY".into(),
        utc_offset_minutes: 480,
        admission_votes: 1,
        removal_votes: 1,
        late_entry_ms_max: 7 * DAY_MS,
        attribution_window_ms: 7 * DAY_MS,
        founder: Some(shops[0].identity.signed().clone()),
        created_unix_ms: now.ms(),
        salt: salt.into(),
        ..Default::default()
    });
    let charter = charter.expect("the street's charter is within bounds");
    let mut world = World::new(config, charter, shops, rng);
    for node in 0..world.nodes.len() {
        world.start(node, Seat::Own);
    }
    world.found();
    world
}

impl World {
    /// The founder founds the alliance and takes everybody in.
    fn found(&mut self) {
        self.order(0, Command::Found);
        for shop in 1..self.shops.len() {
            let guest_key: [u8; 32] = self.rng.random();
            let invitation = proto::Invitation {
                guest_key: guest_key.to_vec().into(),
                expires_unix_ms: self.clock(0).ms() + DAY_MS,
                core: false,
                note: String::new(),
                ..Default::default()
            };
            self.order(0, Command::Invite(invitation));
            let identity = self.shops[shop].identity.signed().clone();
            self.order(0, Command::AdmitGuest { guest_key, identity, continuation: None });
        }
    }

    fn order(&mut self, node: usize, command: Command) {
        let given = self.give(node, Job::Execute { command: Box::new(command), till: NO_TILL });
        debug_assert!(given, "the queue has room for the setup of {} shops", self.shops.len());
    }

    /// Each shop says who it is, and publishes a promotion; one more is kept for the flash sale.
    pub(crate) fn open_shops(&mut self) {
        for shop in 0..self.shops.len() {
            let profile = proto::Profile {
                name: format!("{shop} 号店"),
                category: "food".into(),
                addresses: vec![format!("shop-{shop}.example:7401")],
            };
            self.order(shop, Command::Profile(profile));
            self.publish_offer(shop);
        }
        self.publish_flash_offer();
    }
}
