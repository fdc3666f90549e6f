//! Ports and addresses: whether others can reach this node.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener},
    time::Duration,
};

use hutong_client::proto;

use super::Findings;
use crate::{
    config::{Config, HostPort, Peer},
    data_folder::DataFolder,
    identity_file,
    transport::{Connections, Credential, DialError, Dialer, KnownShop, Tcp},
};

/// How long this node's own address may take to answer.
const REACH_TIME: Duration = Duration::from_secs(3);

pub(super) fn check_ports(findings: &mut Findings, config: Option<&Config>) {
    let Some(config) = config else { return };
    let peer = config.peer.listen.address().map(|address| ("peer.listen", address));
    let mut ports: Vec<_> = peer.into_iter().collect();
    ports.push(("merchant.listen", config.merchant.listen));
    if config.metrics.enabled {
        ports.push(("metrics.listen", config.metrics.listen));
    }
    for (key, address) in ports {
        match port_problem(address) {
            None => findings.ok("ports", format!("{key} {address} {}", findings.say("is free", "空闲"))),
            Some(kind) => {
                let found = format!("{key} {address}: {kind}");
                let advice = findings.say(
                    "stop the program that uses it, or set another address in hutong.toml",
                    "停掉占用它的程序，或在 hutong.toml 中改用其他地址",
                );
                findings.fail("ports", found, advice);
            }
        }
    }
}

pub(super) fn port_problem(address: SocketAddr) -> Option<ErrorKind> {
    TcpListener::bind(address).err().map(|error| error.kind())
}

/// Whether what others are told can lead them here.
pub(super) fn check_advertise(
    findings: &mut Findings,
    peer: &Peer,
    status: Option<&proto::GetStatusResponse>,
) {
    let bound = status.and_then(|status| status.peer_address.parse().ok()).or(peer.listen.address());
    let advertised = peer.advertised(bound);
    if advertised.is_empty() {
        let advice = findings.say(
            "nothing, if this shop is behind NAT and dials out; else set peer.advertise",
            "若本店在 NAT 之后只向外拨号则无须处理；否则请设置 peer.advertise",
        );
        let found = findings
            .say("none: others cannot dial this node, it dials them", "无：其他店无法拨入，本店只向外拨号");
        return findings.warn("advertise", found, advice);
    }
    let wrong: Vec<_> = advertised.iter().filter(|address| leads_nowhere(address)).collect();
    if wrong.is_empty() {
        let told: Vec<_> = advertised.iter().map(HostPort::as_str).collect();
        return findings.ok("advertise", told.join(", "));
    }
    let told: Vec<_> = wrong.into_iter().map(HostPort::as_str).collect();
    let advice = findings.say(
        "set peer.advertise to an address that the other shops can dial",
        "把 peer.advertise 设为其他店能拨通的地址",
    );
    let found =
        format!("{} {}", told.join(", "), findings.say("means each shop itself", "在各店都指向其自身"));
    findings.warn("advertise", found, advice);
}

/// Every machine takes these for itself.
fn leads_nowhere(address: &HostPort) -> bool {
    let host = address.as_str().rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Dials the addresses that others are told: who answers must show this shop's certificate.
pub(super) async fn check_reachable(findings: &mut Findings, data: &DataFolder, peer: &Peer) {
    let Ok(secrets) = identity_file::load(data) else { return };
    let known = KnownShop::new(secrets.identity);
    let credential = Credential::new(std::sync::Arc::new(secrets.signing));
    for address in &peer.advertise {
        let dialer = Dialer::new(credential.clone(), Connections::new()).with_timeout(REACH_TIME);
        let outcome = dialer.dial(known.clone(), Tcp::to(address.as_str())).await.map(drop);
        judge_reachable(findings, address.as_str(), outcome.err().as_ref());
    }
}

/// A node refuses its own key, and by that shows that it is there: the certificate was looked at first.
pub(super) fn judge_reachable(findings: &mut Findings, address: &str, failure: Option<&DialError>) {
    match failure {
        None | Some(DialError::Refused) => {
            let found = findings.say("answers with this shop's certificate", "以本店证书应答");
            findings.ok("reachable", format!("{address} {found}"));
        }
        Some(error @ (DialError::OtherKey | DialError::NotAPeer(_))) => {
            let advice = findings.say(
                "correct peer.advertise or the router's port forwarding: somebody else answers there",
                "修正 peer.advertise 或路由器端口映射：应答者不是本店",
            );
            findings.fail("reachable", format!("{address}: {error}"), advice);
        }
        Some(error) => {
            let advice = findings.say(
                "check firewall and port forwarding; some routers do not let a machine dial its own outer address",
                "检查防火墙和端口映射；有些路由器不允许从内网访问自身外网地址",
            );
            findings.warn("reachable", format!("{address}: {error}"), advice);
        }
    }
}
