//! Namespaces, lines, routers and rules, by `ip` and `nft`. Everything is undone at the end.

use std::process::Command;

/// Percent of packets that the lossy line loses, in each direction.
const LOSS_PERCENT: u32 = 5;
/// The network that all routers and public hosts are on.
const WIDE: &str = "10.77.0";
/// The network behind each router: the same numbers behind each, as in life.
const BEHIND: &str = "192.168.7";

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the wide network, at `10.77.0.N`.
    Wide(u8),
    /// Behind a router, listening in vain for those outside.
    Behind { router: u8, host: u8 },
    /// Behind a router, listening nowhere.
    BehindMute { router: u8, host: u8 },
}

/// The namespaces of one test.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: String,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = format!("{program} {}", arguments.join(" "));
    if output.status.success() { Ok(()) } else { Err(format!("{line}: {}", said.trim())) }
}

impl Network {
    /// A wide network and two routers with a network behind each.
    pub(crate) fn set_up() -> Result<Self, String> {
        let network = Self { prefix: format!("ht{}", std::process::id()) };
        network.add("wide")?;
        network.bridge("wide")?;
        for router in [1, 2] {
            network.add_router(router)?;
        }
        Ok(network)
    }

    /// The namespace of a place's name.
    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs a program within a namespace.
    fn within(&self, name: &str, program: &str, arguments: &[&str]) -> Result<(), String> {
        let namespace = self.namespace(name);
        run("ip", &[&["netns", "exec", namespace.as_str(), program], arguments].concat())
    }

    fn add(&self, name: &str) -> Result<(), String> {
        run("ip", &["netns", "add", &self.namespace(name)])?;
        self.within(name, "ip", &["link", "set", "lo", "up"])
    }

    fn bridge(&self, name: &str) -> Result<(), String> {
        self.within(name, "ip", &["link", "add", "lan", "type", "bridge"])?;
        self.within(name, "ip", &["link", "set", "lan", "up"])
    }

    /// A line from a namespace's interface to the bridge of another.
    fn plug(&self, name: &str, interface: &str, address: &str, bridge: &str) -> Result<(), String> {
        let (near, far) = (self.namespace(name), self.namespace(bridge));
        let port = format!("p-{name}");
        let line =
            ["link", "add", interface, "netns", &near, "type", "veth", "peer", "name", &port, "netns", &far];
        run("ip", &line)?;
        self.within(bridge, "ip", &["link", "set", &port, "master", "lan", "up"])?;
        self.within(name, "ip", &["addr", "add", &format!("{address}/24"), "dev", interface])?;
        self.within(name, "ip", &["link", "set", interface, "up"])
    }

    fn add_router(&self, number: u8) -> Result<(), String> {
        let name = format!("router{number}");
        self.add(&name)?;
        self.plug(&name, "out", &format!("{WIDE}.{}", 100 + number), "wide")?;
        self.bridge(&name)?;
        self.within(&name, "ip", &["addr", "add", &format!("{BEHIND}.1/24"), "dev", "lan"])?;
        self.within(&name, "sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        let rules = "add table ip street; \
             add chain ip street translate { type nat hook postrouting priority 100; }; \
             add rule ip street translate oifname out masquerade; \
             add chain ip street pass { type filter hook forward priority 0; policy drop; }; \
             add rule ip street pass iifname lan accept; \
             add rule ip street pass ct state established,related accept";
        self.within(&name, "nft", &[rules])
    }

    /// Adds a host.
    pub(crate) fn add_host(&self, name: &str, place: Place) {
        let added = self.add(name).and_then(|()| match place {
            Place::Wide(number) => self.plug(name, "eth0", &format!("{WIDE}.{number}"), "wide"),
            Place::Behind { router, host } | Place::BehindMute { router, host } => {
                self.plug(name, "eth0", &format!("{BEHIND}.{host}"), &format!("router{router}"))?;
                self.within(name, "ip", &["route", "add", "default", "via", &format!("{BEHIND}.1")])
            }
        });
        added.unwrap();
    }

    /// Lets a host's line lose packets; says by which means.
    pub(crate) fn make_lossy(&self, name: &str) -> String {
        let loss = format!("{LOSS_PERCENT}%");
        let netem = ["qdisc", "add", "dev", "eth0", "root", "netem", "loss", &loss, "delay", "20ms", "5ms"];
        if self.within(name, "tc", &netem).is_ok() {
            return format!("tc netem, {loss} of what it sends, 20 ms");
        }
        let rules = format!(
            "add table inet lossy; \
             add chain inet lossy in {{ type filter hook input priority 0; }}; \
             add chain inet lossy out {{ type filter hook output priority 0; }}; \
             add rule inet lossy in iifname eth0 numgen random mod 100 < {LOSS_PERCENT} drop; \
             add rule inet lossy out oifname eth0 numgen random mod 100 < {LOSS_PERCENT} drop"
        );
        self.within(name, "nft", &[&rules]).unwrap();
        format!("nft's random drop, {loss} each way; this kernel has no tc netem")
    }

    /// Nothing passes a router any more, connections under way included.
    pub(crate) fn cut_router(&self, number: u8) {
        let rules = "add chain ip street cut { type filter hook forward priority -10; policy drop; }";
        self.within(&format!("router{number}"), "nft", &[rules]).unwrap();
    }

    /// Everything passes again that passed before.
    pub(crate) fn mend_router(&self, number: u8) {
        self.within(&format!("router{number}"), "nft", &["delete chain ip street cut"]).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else { return };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names = listed.lines().filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| name.starts_with(&format!("{}-", self.prefix))) {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}
