//! iroh: a document is a set of signed entries that two stores reconcile; an entry names its content by hash, which is
//! fetched by that hash. Both run over QUIC on the loopback, with no relay and no discovery.

use std::{
    net::Ipv4Addr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use hutong_compare_peers::{Description, Peer, Run, Work, locked_version, main_of};
use iroh::{Endpoint, RelayMode, endpoint::presets, protocol::Router};
use iroh_blobs::{BlobsProtocol, store::fs::FsStore};
use iroh_docs::{
    DocTicket,
    actor::SyncHandle,
    api::{
        Doc,
        protocol::{AddrInfoOptions, ShareMode},
    },
    engine::{DefaultAuthorStorage, Engine, LiveEvent},
    protocol::Docs,
    store::{Query, Store},
};
use iroh_gossip::net::Gossip;

/// Entries that are written at once, so that they share the store's transactions.
const WRITERS: usize = 64;

/// Events come many times a second until all is there.
const SILENCE_MAX: Duration = Duration::from_secs(30);

struct Iroh;

fn main() -> ExitCode {
    main_of::<Iroh>()
}

impl Peer for Iroh {
    fn describe() -> Description {
        let [docs, iroh] = ["iroh-docs", "iroh"].map(locked_version);
        Description {
            name: format!("iroh-docs {docs}, iroh {iroh}"),
            verifies: "each entry: two signatures (author, document); each content: its hash",
            durable: "fsync at each commit (redb)",
        }
    }

    async fn hold(work: &Work, announce: impl FnOnce(&str)) -> Result<()> {
        let node = Node::start(work).await?;
        let doc = node.docs.create().await?;
        write_entries(&node, &doc, work).await?;
        node.make_durable().await?;
        announce(&doc.share(ShareMode::Read, AddrInfoOptions::Addresses).await?.to_string());
        std::future::pending().await
    }

    async fn join(work: &Work, address: &str) -> Result<Run> {
        let node = Node::start(work).await?;
        let ticket: DocTicket = address.parse()?;

        let start = Instant::now();
        let (doc, events) = node.docs.import_and_subscribe(ticket).await?;
        all_has_come(events, work.records).await?;
        node.make_durable().await?;
        let run = Run::ending_now(start, node.wire_bytes())?;

        check_contents(&node, &doc, work).await?;
        Ok(run)
    }
}

/// One end: its endpoint and its two stores.
struct Node {
    endpoint: Endpoint,
    contents: FsStore,
    entries: SyncHandle,
    docs: Docs,
    _router: Router,
}

impl Node {
    async fn start(work: &Work) -> Result<Self> {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .bind()
            .await?;
        let contents = FsStore::load(work.folder.join("contents")).await?;
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let engine = Engine::spawn(
            endpoint.clone(),
            gossip.clone(),
            Store::persistent(work.folder.join("entries.redb"))?,
            (*contents).clone(),
            contents.downloader(&endpoint),
            DefaultAuthorStorage::Persistent(work.folder.join("author")),
            None,
        )
        .await?;
        let entries = engine.sync.clone();
        let docs = Docs::new(engine);
        let router = Router::builder(endpoint.clone())
            .accept(iroh_blobs::ALPN, BlobsProtocol::new(&contents, None))
            .accept(iroh_gossip::ALPN, gossip)
            .accept(iroh_docs::ALPN, docs.clone())
            .spawn();
        Ok(Self { endpoint, contents, entries, docs, _router: router })
    }

    /// Ends the transactions that the stores would else keep open for half a second.
    async fn make_durable(&self) -> Result<()> {
        self.contents.sync_db().await?;
        self.entries.flush_store().await
    }

    /// UDP payloads of this end, both ways, as iroh counts them.
    fn wire_bytes(&self) -> u64 {
        let socket = &self.endpoint.metrics().socket;
        [&socket.send_ipv4, &socket.send_ipv6, &socket.recv_data_ipv4, &socket.recv_data_ipv6]
            .map(|counter| counter.get())
            .iter()
            .sum()
    }
}

async fn write_entries(node: &Node, doc: &Doc, work: &Work) -> Result<()> {
    let author = node.docs.author_default().await?;
    stream::iter(0..work.records)
        .map(|number| async move { doc.set_bytes(author, number.to_string(), work.content()?).await })
        .buffer_unordered(WRITERS)
        .try_for_each(|_hash| async { Ok(()) })
        .await
}

/// Returns when that many entries and their contents have come.
async fn all_has_come(mut events: impl Stream<Item = Result<LiveEvent>> + Unpin, records: u64) -> Result<()> {
    let (mut entries, mut contents) = (0, 0);
    while entries < records || contents < records {
        let event = tokio::time::timeout(SILENCE_MAX, events.next())
            .await
            .with_context(|| format!("nothing more comes after {entries} entries and {contents} contents"))?;
        match event.context("the document was closed")?? {
            LiveEvent::InsertRemote { .. } => entries += 1,
            LiveEvent::ContentReady { .. } => contents += 1,
            other => eprintln!("{entries} {contents} {other:?}"),
        }
    }
    Ok(())
}

async fn check_contents(node: &Node, doc: &Doc, work: &Work) -> Result<()> {
    let entries = doc.get_many(Query::all()).await?;
    let contents = entries
        .and_then(|entry| async move {
            let content = node.contents.get_bytes(entry.content_hash()).await?;
            ensure!(content.len() == work.record_bytes, "a content of {} bytes", content.len());
            Ok(content)
        })
        .try_fold(0, |count, _content| async move { Ok(count + 1) })
        .await?;
    ensure!(contents == work.records, "{contents} of {} contents are there", work.records);
    Ok(())
}
