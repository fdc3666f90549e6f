//! A street over a network of its own: each shop a host with its own address and its own network namespace, some behind
//! routers that translate addresses, one on a line that loses packets. It needs root, `ip` and `nft`, and says so where
//! it has not got them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod host;
mod network;

use std::time::{Duration, Instant};

use host::Host;
use network::{Network, Place};

/// The design's bound on a confirmation: a till waits so long for a voucher's home.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// A market and a tea house that everybody can dial; a home and a lamp shop behind one router, a corner shop behind
/// another. The tea house's line loses packets.
struct Street {
    market: Host,
    tea: Host,
    home: Host,
    lamp: Host,
    corner: Host,
    network: Network,
}

impl Street {
    fn set_up(network: Network) -> Self {
        let host = |name: &str, place: Place| Host::new(&network, name, place);
        let mut street = Self {
            market: host("market", Place::Wide(1)),
            tea: host("tea", Place::Wide(2)),
            home: host("home", Place::Behind { router: 1, host: 2 }),
            lamp: host("lamp", Place::Behind { router: 1, host: 3 }),
            corner: host("corner", Place::BehindMute { router: 2, host: 2 }),
            network,
        };
        println!("lossy line: {}", street.network.make_lossy("tea"));
        for shop in street.all_mut() {
            shop.serve();
        }
        street.market.cli(&["alliance", "create", "--name", "street", "--removal-votes", "1"]);
        for guest in [&street.tea, &street.home, &street.lamp, &street.corner] {
            let link = street.market.cli(&["alliance", "invite"])["link"].as_str().unwrap().to_owned();
            guest.cli(&["alliance", "join", &link]);
        }
        street.converge("after the joins");
        street
    }

    const fn all(&self) -> [&Host; 5] {
        [&self.market, &self.tea, &self.home, &self.lamp, &self.corner]
    }

    const fn all_mut(&mut self) -> [&mut Host; 5] {
        [&mut self.market, &mut self.tea, &mut self.home, &mut self.lamp, &mut self.corner]
    }

    /// Waits until all hold and have folded the same, every member's profile included.
    fn converge(&self, when: &str) {
        host::until(&format!("all hold the same {when}"), || {
            let digests = self.all().map(Host::digest);
            let named = self.all().iter().all(|shop| shop.knows_by_name(5));
            (named && digests.iter().all(|digest| *digest == digests[0])).then_some(())
        });
    }

    /// Hands out a voucher at the home; the corner redeems it.
    fn redeem_at_the_corner(&self, promotion: &str) -> Result<Duration, String> {
        let voucher = self.home.cli(&["voucher", "issue", "--promotion", promotion]);
        let qr = voucher["voucher"]["qr_text"].as_str().unwrap();
        let start = Instant::now();
        let used = self.corner.try_cli(&["voucher", "redeem", "--purchase", "2000", qr]);
        used.map(|used| {
            assert_eq!(used["at_risk"], false);
            start.elapsed()
        })
        .map_err(|error| error["error"]["reason"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn a_street_behind_routers_converges_confirms_and_heals() {
    let network = match Network::set_up() {
        Ok(network) => network,
        Err(why) => {
            println!("SKIPPED: network namespaces are not permitted or not to be had here: {why}");
            return;
        }
    };
    let mut street = Street::set_up(network);
    let (home, corner) = (street.home.id(), street.corner.id());

    // Behind different routers, and one of them listens nowhere: whatever passes between them passes by a third.
    let promotion = street.home.cli(&[
        "promotion",
        "create",
        "--title",
        "anywhere",
        "--mode",
        "anywhere",
        "--runs-for",
        "1d",
        "--budget",
        "100000",
        "--amount-off",
        "500",
        "--distributor",
        &format!("{home}=20"),
        "--redeemer",
        &corner,
    ]);
    let promotion = promotion["promotion"]["id"].as_str().unwrap().to_owned();
    street.converge("after the promotion");
    let took: Vec<_> = (0..5).map(|_| street.redeem_at_the_corner(&promotion).unwrap()).collect();
    println!("confirmations by relay took {took:?}");
    assert!(took.iter().all(|took| *took < CONFIRMATION));
    assert!(!street.corner.is_linked(&home) && !street.home.is_linked(&corner), "they never met");
    street.converge("after the confirmations");

    // A partition: the corner alone.
    street.network.cut_router(2);
    host::until("the corner is cut off", || {
        let refused = street.redeem_at_the_corner(&promotion).err()?;
        assert_eq!(refused, "HOME_UNREACHABLE");
        Some(())
    });
    street.market.cli(&["sale", "report", "--amount", "3800"]);
    street.corner.cli(&["sale", "report", "--amount", "1200"]);
    street.network.mend_router(2);
    street.converge("after the partition");
    let healed = host::until("the corner's tills are confirmed again", || {
        street.redeem_at_the_corner(&promotion).ok()
    });
    println!("a confirmation after the partition took {healed:?}");

    // No warning, and the disk as it is.
    street.market.kill();
    street.home.cli(&["sale", "report", "--amount", "900"]);
    host::until("the tea house relays alone", || street.redeem_at_the_corner(&promotion).ok());

    // Neighbours behind one router tell nobody an address, and find each other on their own network: nobody else is left to
    // link to, whatever the rings say.
    street.tea.kill();
    host::until("neighbours on one network are linked", || {
        street.home.is_linked(&street.lamp.id()).then_some(())
    });
    street.market.serve();
    street.tea.serve();
    street.converge("after the kills");
    for shop in street.all() {
        assert_eq!(shop.cli(&["offences"]).as_array().map(Vec::len), Some(0));
    }
}
