//! `hutong serve`: opens the data folder, both ports, and runs until told to stop.

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use hutong_record::ShopId;
use hutong_wire::peer::v1::{join_service_server::JoinServiceServer, sync_service_server::SyncServiceServer};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, PeerListen},
    data_folder::DataFolder,
    federation::{hub::MESSAGE_BYTES_MAX, service::PeerPort},
    format::{self, Prepared},
    identity_file, merchant,
    metrics::{self, Exposition, Sampler, calls::CountCalls},
    node::Node,
    reload::{LogFilter, Reload},
    supervisor,
    telemetry::Telemetry,
    trace,
    transport::{self, ListenLimits},
};

/// How long calls under way may take to finish when the node stops; then its writers; then its audit log. The service files
/// give it a little more than all three.
const GRACE: Duration = Duration::from_secs(5);
/// How often the writers are looked after.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// A join request: an alliance id and an identity.
const JOIN_MESSAGE_BYTES_MAX: usize = 4_096;

/// Runs the node of a data folder until SIGINT or SIGTERM.
///
/// # Errors
/// The folder is in use or damaged, a port is taken, or a journal failed.
pub async fn run(data: DataFolder, config: Config, log: LogFilter) -> anyhow::Result<()> {
    without_huge_pages();
    let _lock = data.lock()?;
    let folder = data.clone();
    let preparing = tokio::task::spawn_blocking(move || format::prepare(&folder));
    if let Prepared::Copied(copy) = supervisor::while_starting(preparing).await?? {
        tracing::info!(copy = %copy.display(), "another version wrote this data: a copy of it was kept");
    }
    let secrets = identity_file::load(&data)?;
    let token = data.read_token()?;
    let (at_start, tls) = (config.clone(), merchant::load_tls(&config.merchant)?);
    let peer_listener = bind_peer(config.peer.listen).await?;
    let merchant_listener = TcpListener::bind(config.merchant.listen)
        .await
        .with_context(|| format!("the merchant port {} cannot be opened", config.merchant.listen))?;
    let peer_address = peer_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let merchant_address = merchant_listener.local_addr()?;

    let stop = CancellationToken::new();
    let exposition = Exposition::default();
    let metrics_listener = bind_metrics(&config).await;
    let telemetry = telemetry(&config, &exposition, secrets.identity.id(), &stop)?;
    let node = Node::new(data.clone(), config, secrets, peer_address, telemetry, stop.clone());
    supervisor::while_starting(node.open_all()).await?;

    let peer_port = peer_listener.map(|listener| tokio::spawn(serve_peers(node.clone(), listener)));
    let (controls, serving) = merchant::serve(node.clone(), &data, merchant_listener, &token, tls)?;
    let merchant_port = tokio::spawn(serving);
    // Whoever learns the address may end the node at once.
    let asked_to_stop = asked_to_stop();
    let hung_up = signal(SignalKind::hangup());
    let reload = Arc::new(Reload { data: data.clone(), at_start, merchant: controls, log });
    let settings = reload.clone();
    if let Some(listener) = metrics_listener {
        data.write_metrics_address(listener.local_addr()?)?;
        let sampler = Arc::new(Sampler::new(node.clone(), exposition));
        tokio::spawn(metrics::serve(listener, sampler, stop.clone()));
    }
    data.write_merchant_address(merchant_address)?;
    let peers = told_peers(peer_address);
    let status = format!("peers at {peers}, tills at {merchant_address}");
    supervisor::ready(&status);
    tracing::info!(shop = %node.me(), peer_address = peers, %merchant_address, "the node serves");

    let outcome = tokio::select! {
        () = asked_to_stop => Ok(()),
        () = reload_when_asked(hung_up, reload, &status) => Ok(()),
        failed = writers_fail(&node) => Err(failed),
        never = beat() => match never {},
    };
    tracing::info!("the node stops");
    supervisor::stopping();
    data.remove_merchant_address()?;
    data.remove_metrics_address()?;
    stop.cancel();
    let stopped = tokio::time::timeout(GRACE, async {
        if let Some(peer_port) = peer_port {
            let _ = peer_port.await;
        }
        let _ = merchant_port.await;
    });
    if stopped.await.is_err() {
        tracing::warn!("some calls did not finish in time");
    }
    if tokio::time::timeout(GRACE, node.finish()).await.is_err() {
        tracing::warn!("the views were not stored in time; they are folded again at the next start");
    }
    if tokio::time::timeout(GRACE, settings.merchant.close()).await.is_err() {
        tracing::warn!("the audit log did not reach the disk in time");
    }
    outcome
}

/// Takes settings over at each SIGHUP. Ends at the first where the node runs in a terminal, which is gone then.
/// Where a system hands huge pages to whoever has memory, a thread's heap that uses a few KiB would hold 2 MiB: more than
/// twice the memory of a node that rests (`crates/adr/0034`).
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the system keeps to huge pages");
    }
}

async fn reload_when_asked(hung_up: std::io::Result<Signal>, reload: Arc<Reload>, status: &str) {
    let Ok(mut hung_up) = hung_up else { return std::future::pending().await };
    while hung_up.recv().await.is_some() {
        if std::io::stdin().is_terminal() {
            return;
        }
        supervisor::reloading();
        let reload = reload.clone();
        let outcome = tokio::task::spawn_blocking(move || reload.run()).await;
        match outcome.map_err(anyhow::Error::new).flatten() {
            Ok(()) => {}
            Err(error) => tracing::error!("nothing was reloaded, what held until now holds: {error:#}"),
        }
        supervisor::ready(status);
    }
    std::future::pending().await
}

/// Opens the port for other nodes, unless this one only dials out.
async fn bind_peer(listen: PeerListen) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = listen.address() else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).with_context(|| format!("the peer port {address} cannot be opened"))
}

/// For people: where other nodes connect.
fn told_peers(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "none, it dials out".to_owned(), |address| address.to_string())
}

/// Opens the address for metrics. Where it is taken the shop trades on without them.
async fn bind_metrics(config: &Config) -> Option<TcpListener> {
    let address = config.metrics.enabled.then_some(config.metrics.listen)?;
    match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(%address, %error, "metrics.listen cannot be opened: no metrics are told");
            None
        }
    }
}

fn telemetry(
    config: &Config,
    exposition: &Exposition,
    me: ShopId,
    stop: &CancellationToken,
) -> anyhow::Result<Telemetry> {
    let metrics = exposition.metrics.clone();
    let (endpoint, percent) = (config.tracing.endpoint.as_str(), config.tracing.percent);
    let spans = match endpoint {
        "" => None,
        _ => Some(
            trace::start(endpoint, percent, me, metrics.clone(), stop.clone()).context("tracing.endpoint")?,
        ),
    };
    Ok(Telemetry { metrics, spans })
}

/// Tells the supervisor that the node lives, for as long as this task is run at all; a writer or hub that has failed
/// ends the node by itself.
async fn beat() -> std::convert::Infallible {
    let Some(every) = supervisor::watchdog() else { return std::future::pending().await };
    let mut interval = tokio::time::interval(every);
    loop {
        interval.tick().await;
        supervisor::alive();
    }
}

async fn serve_peers(node: Arc<Node>, listener: TcpListener) -> Result<(), tonic::transport::Error> {
    let incoming =
        transport::listen(listener, node.credential(), node.door().clone(), ListenLimits::default());
    let port = PeerPort(node.clone());
    let sync = SyncServiceServer::new(port.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let join = JoinServiceServer::new(port).max_decoding_message_size(JOIN_MESSAGE_BYTES_MAX);
    let metrics = node.telemetry().metrics.clone();
    transport::server()
        .layer(CountCalls::new(metrics, "peer", &[hutong_wire::FILE_DESCRIPTOR_SET]))
        .add_service(sync)
        .add_service(join)
        .serve_with_incoming_shutdown(incoming, node.stop().clone().cancelled_owned())
        .await
}

/// Listens for the signals from now on, and ends at the first one.
fn asked_to_stop() -> impl Future<Output = ()> {
    let (terminated, interrupted) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = heard(terminated) => {}
            () = heard(interrupted) => {}
        }
    }
}

async fn heard(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Ends when a writer has stopped, as it does when its journal fails.
async fn writers_fail(node: &Node) -> anyhow::Error {
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        interval.tick().await;
        if node.all().iter().any(|(hosted, hub)| !hosted.is_healthy() || !hub.is_running()) {
            return anyhow::anyhow!(
                "a journal or a hub failed: the node stops, so that it can be started anew"
            );
        }
    }
}
