//! Before the street opens: shops with real keys, an alliance that all are in, promotions.

use std::sync::Arc;

use hutong_core::{charter::Charter, command::Command};
use hutong_record::{Currency, DecryptionKey, Identity, Money, RecoverySeed, SigningKey, UnixMillis, proto};
use hutong_store::{ledger::ShopKeys, writer::Job};
use rand::{Rng as _, RngExt as _, rngs::StdRng};

use crate::{
    clock::{Clock, DAY_MS},
    config::Config,
    node::{RequestNumber, Seat, Shop, ShopNumber},
    workload::{Action, Offer, Purpose},
    world::World,
};

/// A command of the setup, for which no till waits.
const NO_TILL: RequestNumber = usize::MAX;
/// The most shops that hand out vouchers of one promotion.
const DISTRIBUTORS_MAX: usize = 6;

/// A shop's keys, from chance.
pub(crate) fn keys(rng: &mut StdRng, now: UnixMillis) -> (Identity, Arc<ShopKeys>) {
    let seed = RecoverySeed::new(rng.random());
    let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
    let decryption = DecryptionKey::from_seed(&seed.encryption_seed());
    (Identity::create(&seed, now, rng), Arc::new(ShopKeys { signing, decryption }))
}

/// A street whose shops run and know nothing of each other, but for the founder.
pub(crate) fn street(config: &Config) -> World {
    let mut rng = World::seeded(config.seed);
    let now = Clock::default().read(0);
    let shop = |number: ShopNumber, rng: &mut StdRng| {
        let (identity, keys) = keys(rng, now);
        Shop { identity, keys, faulty: None, nodes: vec![number] }
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
            };
            self.order(0, Command::Invite(invitation));
            let identity = self.shops[shop].identity.signed().clone();
            self.order(0, Command::AdmitGuest { guest_key, identity });
        }
    }

    fn order(&mut self, node: usize, command: Command) {
        let given = self.give(node, Job::Execute { command: Box::new(command), till: NO_TILL });
        debug_assert!(given, "the queue has room for the setup of {} shops", self.shops.len());
    }

    /// Each shop says who it is, and publishes a promotion that others hand out.
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
    }

    fn publish_offer(&mut self, funder: ShopNumber) {
        let shops = self.shops.len();
        // Mostly its own vouchers, handed out by neighbours.
        let redeemer = if self.rng.random_bool(0.75) { funder } else { self.rng.random_range(0..shops) };
        let most = DISTRIBUTORS_MAX.min(shops - 1);
        let mut distributors: Vec<ShopNumber> = (0..shops).filter(|shop| *shop != redeemer).collect();
        while distributors.len() > most {
            distributors.swap_remove(self.rng.random_range(0..distributors.len()));
        }
        let each = self.config.redemptions as usize / shops.max(1) / distributors.len().max(1);
        let usual = u32::try_from(each).unwrap_or(u32::MAX).max(4);
        let quota = self.rng.random_range(usual / 2..=usual * 3);
        let message = self.terms(redeemer, &distributors, quota);
        self.publish(Offer { id: None, funder, redeemer, distributors, message });
    }

    pub(crate) fn publish(&mut self, offer: Offer) {
        let (funder, promotion) = (offer.funder, Box::new(offer.message.clone()));
        self.offers.push(offer);
        let purpose = Purpose::Publish { offer: self.offers.len() - 1 };
        self.ask(funder, Action::Publish { promotion }, purpose);
    }

    pub(crate) fn terms(
        &mut self,
        redeemer: ShopNumber,
        distributors: &[ShopNumber],
        quota: u32,
    ) -> proto::Promotion {
        let (discount, bounty) = (self.rng.random_range(100..900), self.rng.random_range(0..200));
        let id = |shop: ShopNumber| self.shops[shop].id().as_bytes().to_vec().into();
        let quotas = |shop: &ShopNumber| proto::Distributor { shop_id: id(*shop), quota };
        let budget = (discount + bounty) * i64::from(quota) * distributors.len() as i64;
        let now_ms = Clock::default().read(self.now_ms).ms();
        let card_required = self.rng.random_bool(0.3);
        proto::Promotion {
            title: "邻里券".into(),
            distributors: distributors.iter().map(quotas).collect(),
            redeemer_id: id(redeemer),
            earn_spend_min: Some(yuan(5_000)),
            benefit: Some(proto::Benefit {
                benefit: Some(proto::benefit::Benefit::AmountOff(yuan(discount))),
            }),
            redeem_spend_min: self.rng.random_bool(0.2).then(|| yuan(2_000)),
            starts_unix_ms: now_ms - 10 * DAY_MS,
            ends_unix_ms: now_ms + 60 * DAY_MS,
            voucher_valid_ms: if self.rng.random_bool(0.2) { DAY_MS } else { 20 * DAY_MS },
            per_card_max: if card_required { 1 } else { 0 },
            per_day_max: if self.rng.random_bool(0.2) { quota / 2 + 1 } else { 0 },
            budget: Some(yuan(budget)),
            bounty: Some(yuan(bounty)),
            card_required,
            ..Default::default()
        }
    }
}

fn yuan(minor: i64) -> proto::Money {
    Money::new(Currency::CNY, minor).expect("amounts of the street are small").into()
}
