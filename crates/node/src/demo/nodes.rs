//! Thirteen nodes as thirteen processes, each with a data folder of its own.

use std::{
    ffi::OsStr,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use super::{link::Link, street::Shop};

/// How long a node may take from its start until it listens; a restart re-reads its journal.
const START_MAX: Duration = Duration::from_secs(60);

/// How often the driver looks whether a node listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Bytes of a dead node's log that are shown.
const LOG_TAIL_BYTES: usize = 2_000;

/// One shop's node.
#[derive(Debug)]
struct Node {
    folder: PathBuf,
    link: Arc<Link>,
    process: Option<Child>,
}

/// All nodes of the street. Dropping it kills them.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    nodes: Vec<Node>,
}

impl Fleet {
    /// Creates thirteen data folders below `home` and starts a node on each.
    pub(super) async fn start(&mut self, home: &Path) -> anyhow::Result<()> {
        let ports = free_ports()?;
        try_join_all(Shop::all().zip(ports).map(|(shop, port)| init(shop, home.join(shop.key()), port)))
            .await?;
        self.nodes = try_join_all(Shop::all().map(|shop| Node::launch(shop, home.join(shop.key())))).await?;
        Ok(())
    }

    /// The tills' lines, in the order of [`Shop::all`].
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.nodes.iter().map(|node| node.link.clone()).collect()
    }

    /// Kills one node with no warning (SIGKILL) and waits until it is gone.
    pub(super) async fn kill(&mut self, shop: Shop) -> anyhow::Result<()> {
        let node = &mut self.nodes[shop.index()];
        if let Some(mut process) = node.process.take() {
            process.kill().await.with_context(|| format!("{} does not die", shop.key()))?;
        }
        Ok(())
    }

    /// Starts one node again on its data folder.
    pub(super) async fn restart(&mut self, shop: Shop) -> anyhow::Result<()> {
        let node = &mut self.nodes[shop.index()];
        let (process, address) = serve(shop, &node.folder).await?;
        node.process = Some(process);
        node.link.readdress(&address)
    }

    /// Kills every node and waits until all are gone.
    pub(super) async fn stop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                // It is gone already, or dies now: either way there is nothing more to do.
                let _ = process.kill().await;
            }
        }
        self.nodes.clear();
    }

    /// Lets go of the nodes: they go on after this process. Returns their process ids.
    pub(super) fn release(&mut self) -> Vec<u32> {
        let processes = self.nodes.drain(..).filter_map(|node| node.process);
        processes
            .filter_map(|process| {
                let pid = process.id();
                // A dropped handle would kill the process.
                std::mem::forget(process);
                pid
            })
            .collect()
    }
}

impl Node {
    async fn launch(shop: Shop, folder: PathBuf) -> anyhow::Result<Self> {
        let (process, address) = serve(shop, &folder).await?;
        let token = read_line(&folder.join("merchant.token"))?;
        let link = Arc::new(Link::new(shop, &address, &token)?);
        Ok(Self { folder, link, process: Some(process) })
    }
}

/// One free port of the loopback for each shop. All are held until all are chosen, so that none is chosen twice.
fn free_ports() -> anyhow::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        Shop::all().map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?)
}

/// `hutong --data FOLDER init ...`
async fn init(shop: Shop, folder: PathBuf, peer_port: u16) -> anyhow::Result<()> {
    let peer_listen = format!("127.0.0.1:{peer_port}");
    let mut command = hutong(&folder)?;
    command.args(["init", "--name", shop.name(), "--category", shop.key(), "--json"]);
    command.args(["--peer-listen", peer_listen.as_str(), "--merchant-listen", "127.0.0.1:0"]);
    let output = command.output().await.context("`hutong init` does not start")?;
    ensure!(
        output.status.success(),
        "`hutong init` for {} failed: {}",
        shop.key(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// `hutong --data FOLDER serve`, up to the moment when it listens; answers with its merchant address.
async fn serve(shop: Shop, folder: &Path) -> anyhow::Result<(Child, String)> {
    let address_file = folder.join("merchant.addr");
    match std::fs::remove_file(&address_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let log_path = folder.join("node.log");
    let log = File::options().create(true).append(true).open(&log_path)?;
    let mut command = hutong(folder)?;
    command.arg("serve").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: Ctrl-C in the terminal reaches the demo, and the demo ends its nodes.
    #[cfg(unix)]
    command.process_group(0);
    let mut process = command.spawn().context("`hutong serve` does not start")?;
    let give_up = Instant::now() + START_MAX;
    loop {
        if let Ok(address) = read_line(&address_file) {
            return Ok((process, address));
        }
        if let Some(status) = process.try_wait()? {
            bail!("the node of {} ended ({status}):\n{}", shop.key(), tail(&log_path));
        }
        if Instant::now() > give_up {
            bail!("the node of {} does not listen after {START_MAX:?}:\n{}", shop.key(), tail(&log_path));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn hutong(folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
    command.args([OsStr::new("--data"), folder.as_os_str()]).kill_on_drop(true);
    Ok(command)
}

/// The file's text, trimmed; an error while it is missing or empty.
fn read_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} is missing", path.display()))?;
    let line = text.trim();
    ensure!(!line.is_empty(), "{} is empty", path.display());
    Ok(line.to_owned())
}

fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let start = bytes.len().saturating_sub(LOG_TAIL_BYTES);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_shop_gets_a_port_of_its_own() {
        let ports = free_ports().unwrap();
        let different: BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), Shop::all().count());
        assert!(!different.contains(&0));
    }

    #[test]
    fn a_dead_nodes_log_is_shown_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("node.log");
        std::fs::write(&log, "x".repeat(LOG_TAIL_BYTES) + "the end").unwrap();
        assert!(tail(&log).ends_with("the end"));
        assert_eq!(tail(&log).len(), LOG_TAIL_BYTES);
    }

    #[test]
    fn an_address_that_is_not_written_yet_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("merchant.addr");
        assert!(read_line(&file).is_err());
        std::fs::write(&file, "\n").unwrap();
        assert!(read_line(&file).is_err());
        std::fs::write(&file, "127.0.0.1:80\n").unwrap();
        assert_eq!(read_line(&file).unwrap(), "127.0.0.1:80");
    }
}
