//! Neighbours on the shop's own network: each node tells by multicast DNS (RFC 6762, 6763) where it listens, and learns where
//! others do. What is heard is a place to knock at and nothing more: who answers there must show the member's key.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data_encoding::HEXLOWER;
use hutong_record::{AllianceId, ShopId};
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};

/// As it is registered on the network.
const SERVICE: &str = "_hutong._tcp.local.";
/// Where the alliance's tag stands.
const ALLIANCE_KEY: &str = "a";
/// Where the shop's id stands.
const SHOP_KEY: &str = "s";
/// Shops that are remembered: two alliances of the largest size. Further ones are not heard.
const SHOPS_MAX: usize = 1_000;
/// Addresses of one shop: a machine with two networks and both kinds of addresses.
const ADDRESSES_MAX: usize = 4;
const TAG: &str = "hutong 2026 v1 lan";

/// Which alliance, so that those of others are passed over; its id cannot be told from it.
type Tag = [u8; 16];

/// What was heard of one shop.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The name under which it is taken back.
    name: String,
    addresses: Vec<String>,
}

type Table = BTreeMap<(Tag, ShopId), Entry>;

/// This node's ear and voice on its network; silent where it is switched off or has no network.
#[derive(Clone, Default)]
pub struct Lan {
    daemon: Option<ServiceDaemon>,
    port: u16,
    table: Arc<Mutex<Table>>,
}

impl std::fmt::Debug for Lan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lan({})", if self.daemon.is_some() { "on" } else { "off" })
    }
}

/// What was heard of the members of one alliance.
#[derive(Debug, Clone)]
pub struct Heard {
    tag: Tag,
    table: Arc<Mutex<Table>>,
}

impl Lan {
    /// Listens on the network, and will tell that this node's peer port is at this one.
    pub fn start(port: u16) -> Self {
        let table = Arc::<Mutex<Table>>::default();
        let started = ServiceDaemon::new().and_then(|daemon| {
            let events = daemon.browse(SERVICE)?;
            Ok((daemon, events))
        });
        let (daemon, events) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::warn!(%error, "peer.lan: neighbours on this network are neither told nor heard");
                return Self::default();
            }
        };
        let heard = table.clone();
        // Ends with the daemon, which ends with the node.
        let listening = std::thread::Builder::new().name("lan".into()).spawn(move || {
            for event in events {
                take_in(&mut lock(&heard), &event);
            }
        });
        if let Err(error) = listening {
            tracing::warn!(%error, "peer.lan: no thread");
            return Self::default();
        }
        Self { daemon: Some(daemon), port, table }
    }

    /// Tells the network that this shop takes part in an alliance.
    pub fn announce(&self, alliance: AllianceId, shop: ShopId) {
        let Some(daemon) = &self.daemon else { return };
        let tag = tag_of(alliance);
        let name = format!("{} {}", shop.short(), HEXLOWER.encode(&tag[..4]));
        let host = format!("hutong-{}.local.", HEXLOWER.encode(&shop.as_bytes()[..8]));
        let properties =
            [(ALLIANCE_KEY, HEXLOWER.encode(&tag)), (SHOP_KEY, HEXLOWER.encode(shop.as_bytes()))];
        let service = ServiceInfo::new(SERVICE, &name, &host, (), self.port, &properties[..]);
        let told = service.and_then(|service| daemon.register(service.enable_addr_auto()));
        if let Err(error) = told {
            tracing::warn!(%error, "peer.lan: this shop is not told");
        }
    }

    /// What is heard of an alliance's members.
    pub fn heard(&self, alliance: AllianceId) -> Heard {
        Heard { tag: tag_of(alliance), table: self.table.clone() }
    }

    /// Takes back what was told.
    pub fn stop(&self) {
        if let Some(daemon) = &self.daemon {
            let _gone = daemon.shutdown();
        }
    }
}

impl Heard {
    /// Where a member was heard, at most four addresses.
    pub fn addresses(&self, shop: ShopId) -> Vec<String> {
        lock(&self.table).get(&(self.tag, shop)).map(|entry| entry.addresses.clone()).unwrap_or_default()
    }
}

/// Each change is one map operation, so a poisoned map is whole.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tag_of(alliance: AllianceId) -> Tag {
    let mut tag = Tag::default();
    tag.copy_from_slice(&blake3::derive_key(TAG, alliance.as_bytes())[..16]);
    tag
}

fn take_in(table: &mut Table, event: &ServiceEvent) {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let Some((key, entry)) = read(service) else { return };
            if table.contains_key(&key) || table.len() < SHOPS_MAX {
                tracing::debug!(shop = key.1.short(), addresses = ?entry.addresses, "a neighbour was heard");
                table.insert(key, entry);
            }
        }
        ServiceEvent::ServiceRemoved(_, name) => table.retain(|_, entry| entry.name != *name),
        _ => {}
    }
}

/// Who announces itself, and where; none where it is no announcement of a node.
fn read(service: &ResolvedService) -> Option<((Tag, ShopId), Entry)> {
    let property = |key| service.txt_properties.get_property_val_str(key);
    let tag: Tag = HEXLOWER.decode(property(ALLIANCE_KEY)?.as_bytes()).ok()?.try_into().ok()?;
    let shop: [u8; 32] = HEXLOWER.decode(property(SHOP_KEY)?.as_bytes()).ok()?.try_into().ok()?;
    let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let addresses = addresses_of(addresses, service.port);
    (!addresses.is_empty())
        .then(|| ((tag, ShopId::new(shop)), Entry { name: service.fullname.clone(), addresses }))
}

/// Those that can be dialled, in a fixed order: one that holds on one link alone cannot be told to others.
fn addresses_of(addresses: impl Iterator<Item = IpAddr>, port: u16) -> Vec<String> {
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_multicast(),
        IpAddr::V6(v6) => {
            !v6.is_loopback() && !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    };
    let mut usable: Vec<_> = addresses.filter(usable).filter(|_| port != 0).collect();
    usable.sort_unstable();
    usable.truncate(ADDRESSES_MAX);
    usable.into_iter().map(|address| SocketAddr::new(address, port).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(shop: &str, addresses: &[&str], port: u16) -> ResolvedService {
        let tag = HEXLOWER.encode(&tag_of(AllianceId::new([7; 32])));
        let properties = [(ALLIANCE_KEY, tag.as_str()), (SHOP_KEY, shop)];
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        ServiceInfo::new(SERVICE, "one", "one.local.", &addresses[..], port, &properties[..])
            .unwrap()
            .as_resolved_service()
    }

    fn resolved(service: ResolvedService) -> ServiceEvent {
        ServiceEvent::ServiceResolved(Box::new(service))
    }

    #[test]
    fn a_neighbour_is_heard_moved_and_forgotten() {
        let (lan, shop) = (Lan::default(), ShopId::new([5; 32]));
        let heard = lan.heard(AllianceId::new([7; 32]));
        let hex = "05".repeat(32);
        let name = service(&hex, &["10.1.2.3"], 7710).fullname;
        take_in(&mut lock(&lan.table), &resolved(service(&hex, &["10.1.2.3"], 7710)));
        assert_eq!(heard.addresses(shop), ["10.1.2.3:7710"]);
        take_in(&mut lock(&lan.table), &resolved(service(&hex, &["10.1.2.9"], 7710)));
        assert_eq!(heard.addresses(shop), ["10.1.2.9:7710"], "an address that changed");
        assert!(lan.heard(AllianceId::new([8; 32])).addresses(shop).is_empty(), "another alliance");
        take_in(&mut lock(&lan.table), &ServiceEvent::ServiceRemoved(SERVICE.into(), name));
        assert!(heard.addresses(shop).is_empty());
    }

    #[test]
    fn what_is_no_announcement_of_a_node_is_passed_over() {
        for (shop, addresses, port) in
            [("05", ["10.1.2.3"], 7710), ("zz", ["10.1.2.3"], 7710), (&"05".repeat(32), ["127.0.0.1"], 7710)]
        {
            assert_eq!(read(&service(shop, &addresses, port)), None, "{shop} {addresses:?} {port}");
        }
    }

    #[test]
    fn a_shouting_network_fills_a_bounded_table() {
        let table = &mut Table::new();
        for n in 0..SHOPS_MAX + 5 {
            let shop = format!("{n:064x}");
            take_in(table, &resolved(service(&shop, &["10.1.2.3"], 7710)));
        }
        assert_eq!(table.len(), SHOPS_MAX);
        let many = (0..20).map(|n| IpAddr::from([10, 0, 0, n + 1]));
        assert_eq!(addresses_of(many, 7710).len(), ADDRESSES_MAX);
    }
}
