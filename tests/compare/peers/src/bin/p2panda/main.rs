//! p2panda: logs of signed operations, and the protocol by which two stores of them become equal. Its own transport is
//! left out: the protocol runs over TCP on the loopback, in clear.

mod wire;

use std::{
    net::Ipv4Addr,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use hutong_compare_peers::{Description, Peer, Run, Work, locked_version, main_of};
use p2panda_core::{
    Body, Hash, Header, Operation, SigningKey, Timestamp, VerifyingKey, validate_backlink, validate_operation,
};
use p2panda_store::{
    SqliteStore, SqliteStoreBuilder, Transaction, logs::LogStore, operations::OperationStore,
};
use p2panda_sync::{
    protocols::{LogSync, LogSyncEvent, Logs},
    traits::Protocol,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast::{self, error::RecvError},
};

/// The one log of the one author.
const LOG: u64 = 0;

/// Operations in one transaction: as many as Hutong writes between two `fdatasync`. The crates' own way is a transaction an
/// operation, with a look at all operations that are there, which would measure that look.
const TRANSACTION_OPERATIONS: usize = 1_024;

/// Events besides the operations that a session may send.
const OTHER_EVENTS_MAX: u64 = 16;

struct P2panda;

fn main() -> ExitCode {
    main_of::<P2panda>()
}

impl Peer for P2panda {
    fn describe() -> Description {
        Description {
            name: format!("p2panda-sync {}", locked_version("p2panda-sync")),
            verifies: "each operation: hash chain, its own signature; in clear",
            durable: "fsync at each commit (SQLite)",
        }
    }

    async fn hold(work: &Work, announce: impl FnOnce(&str)) -> Result<()> {
        let store = open(&work.folder).await?;
        let author = write_log(&store, work).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        announce(&listener.local_addr()?.to_string());
        let (socket, _) = listener.accept().await?;
        serve(&store, author, socket).await?;
        // The session is over for this end before the other has stored all.
        std::future::pending().await
    }

    async fn join(work: &Work, address: &str) -> Result<Run> {
        let store = open(&work.folder).await?;
        let wire = Arc::new(AtomicU64::new(0));
        // What falls out of the channel is lost, so that it holds everything.
        let capacity = usize::try_from(work.records + OTHER_EVENTS_MAX)?;
        let (events, arrivals) = broadcast::channel(capacity);
        let session = LogSync::new(store.clone(), Logs::default(), events);

        let start = Instant::now();
        let (mut sink, mut stream) = wire::ends(TcpStream::connect(address).await?, Arc::clone(&wire))?;
        let (session, author) = tokio::join!(session.run(&mut sink, &mut stream), take_in(&store, arrivals));
        session.context("the session failed")?;
        let author = author?.context("nothing came")?;
        let run = Run::ending_now(start, wire.load(Ordering::Relaxed))?;

        let stored = stored_operations(&store, author).await?;
        ensure!(stored == work.records, "{stored} of {} operations are there", work.records);
        Ok(run)
    }
}

async fn open(folder: &Path) -> Result<SqliteStore> {
    let url = format!("sqlite://{}", folder.join("operations.db").display());
    SqliteStoreBuilder::new().database_url(&url).build().await.with_context(|| url)
}

async fn write_log(store: &SqliteStore, work: &Work) -> Result<VerifyingKey> {
    let key = SigningKey::generate();
    let mut operations = Vec::new();
    let mut backlink = None;
    for sequence in 0..work.records {
        let operation = sign(&key, sequence, backlink, Body::from(work.content()?));
        backlink = Some(operation.hash);
        operations.push(operation);
    }
    for operations in operations.chunks(TRANSACTION_OPERATIONS) {
        commit(store, operations).await?;
    }
    Ok(key.verifying_key())
}

fn sign(key: &SigningKey, sequence: u64, backlink: Option<Hash>, body: Body) -> Operation {
    let mut header = Header {
        version: 1,
        verifying_key: key.verifying_key(),
        signature: None,
        payload_size: body.size(),
        payload_hash: Some(body.hash()),
        timestamp: Timestamp::now(),
        seq_num: sequence,
        backlink,
        extensions: (),
    };
    header.sign(key);
    Operation { hash: header.hash(), header, body: Some(body) }
}

async fn serve(store: &SqliteStore, author: VerifyingKey, socket: TcpStream) -> Result<()> {
    let (mut sink, mut stream) = wire::ends(socket, Arc::default())?;
    let (events, _listener) = broadcast::channel::<LogSyncEvent<()>>(1);
    let logs = Logs::from([(author, vec![LOG])]);
    LogSync::new(store.clone(), logs, events)
        .run(&mut sink, &mut stream)
        .await
        .context("the session failed")?;
    Ok(())
}

/// Checks what arrives and stores it, until the session is over; returns whose log it was.
async fn take_in(
    store: &SqliteStore,
    mut arrivals: broadcast::Receiver<LogSyncEvent<()>>,
) -> Result<Option<VerifyingKey>> {
    let mut last: Option<Header> = None;
    let mut unstored = Vec::with_capacity(TRANSACTION_OPERATIONS);
    loop {
        match arrivals.recv().await {
            Ok(LogSyncEvent::OperationReceived { operation, .. }) => {
                check(&operation, last.as_ref())?;
                last = Some(operation.header.clone());
                unstored.push(*operation);
            }
            Ok(LogSyncEvent::MetricsExchanged { .. }) => {}
            Err(RecvError::Closed) => break,
            Err(RecvError::Lagged(lost)) => bail!("{lost} operations were lost on the way to the store"),
        }
        if unstored.len() == TRANSACTION_OPERATIONS {
            commit(store, &unstored).await?;
            unstored.clear();
        }
    }
    commit(store, &unstored).await?;
    Ok(last.map(|header| header.verifying_key))
}

/// An operation against the one before it; the very first has none.
fn check(operation: &Operation, last: Option<&Header>) -> Result<()> {
    validate_operation(operation)?;
    match last {
        Some(last) => validate_backlink(last, &operation.header)?,
        None => ensure!(operation.header.seq_num == 0, "the log's beginning is missing"),
    }
    Ok(())
}

async fn commit(store: &SqliteStore, operations: &[Operation]) -> Result<()> {
    let permit = store.begin().await?;
    for operation in operations {
        store.insert_operation(&operation.hash, operation, &LOG).await?;
    }
    Ok(store.commit(permit).await?)
}

async fn stored_operations(store: &SqliteStore, author: VerifyingKey) -> Result<u64> {
    let size = <SqliteStore as LogStore<Operation, VerifyingKey, u64, u64, Hash>>::get_log_size(
        store, &author, &LOG, None, None,
    )
    .await?;
    Ok(size.map_or(0, |(operations, _bytes)| operations))
}
