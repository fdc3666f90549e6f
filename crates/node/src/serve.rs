//! `hutong serve`: opens the data folder, both ports, and runs until told to stop.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use hutong_wire::peer::v1::{join_service_server::JoinServiceServer, sync_service_server::SyncServiceServer};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    data_folder::DataFolder,
    federation::{hub::MESSAGE_BYTES_MAX, service::PeerPort},
    identity_file, merchant,
    node::Node,
    transport::{self, ListenLimits},
};

/// How long calls under way may take to finish when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often the writers are looked after.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// A join request: an alliance id and an identity.
const JOIN_MESSAGE_BYTES_MAX: usize = 4_096;

/// Runs the node of a data folder until SIGINT or SIGTERM.
///
/// # Errors
/// The folder is in use or damaged, a port is taken, or a journal failed.
pub async fn run(data: DataFolder, config: Config) -> anyhow::Result<()> {
    let _lock = data.lock()?;
    let secrets = identity_file::load(&data)?;
    let token = data.read_token()?;
    let peer_listener = TcpListener::bind(config.peer.listen)
        .await
        .with_context(|| format!("the peer port {} cannot be opened", config.peer.listen))?;
    let merchant_listener = TcpListener::bind(config.merchant.listen)
        .await
        .with_context(|| format!("the merchant port {} cannot be opened", config.merchant.listen))?;
    let (peer_address, merchant_address) = (peer_listener.local_addr()?, merchant_listener.local_addr()?);

    let stop = CancellationToken::new();
    let node = Node::new(data.clone(), config, secrets, peer_address, stop.clone());
    node.open_all().await?;

    let peer_port = tokio::spawn(serve_peers(node.clone(), peer_listener));
    let merchant_port = tokio::spawn(merchant::serve(node.clone(), &data, merchant_listener, &token)?);
    // Whoever learns the address may end the node at once.
    let asked_to_stop = asked_to_stop();
    data.write_merchant_address(merchant_address)?;
    tracing::info!(shop = %node.me(), %peer_address, %merchant_address, "the node serves");

    let outcome = tokio::select! {
        () = asked_to_stop => Ok(()),
        failed = writers_fail(&node) => Err(failed),
    };
    tracing::info!("the node stops");
    data.remove_merchant_address()?;
    stop.cancel();
    let stopped = tokio::time::timeout(GRACE, async {
        let _ = tokio::join!(peer_port, merchant_port);
        node.finish().await;
    });
    if stopped.await.is_err() {
        tracing::warn!("some calls did not finish in time");
    }
    outcome
}

async fn serve_peers(node: Arc<Node>, listener: TcpListener) -> Result<(), tonic::transport::Error> {
    let incoming =
        transport::listen(listener, node.credential(), node.door().clone(), ListenLimits::default());
    let port = PeerPort(node.clone());
    let sync = SyncServiceServer::new(port.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let join = JoinServiceServer::new(port).max_decoding_message_size(JOIN_MESSAGE_BYTES_MAX);
    transport::server()
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
