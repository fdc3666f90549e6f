//! A node as a process of its own, for the demo and the benchmarks: set up, started, killed, started again.

use std::{
    ffi::OsStr,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// How long a node may take from its start until it listens; a restart re-reads its journal.
const START_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether a node listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of a dead node's log that are shown.
const LOG_TAIL_BYTES: usize = 2_000;

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    child: Child,
    /// `host:port` of its merchant port.
    pub(crate) address: String,
    /// The token of its merchant port.
    pub(crate) token: String,
}

/// Sets up a data folder: `hutong --data FOLDER init ...`.
pub(crate) async fn init(folder: &Path, name: &str, category: &str, peer_port: u16) -> anyhow::Result<()> {
    let peer_listen = format!("127.0.0.1:{peer_port}");
    let mut command = hutong(folder)?;
    command.args(["init", "--name", name, "--category", category, "--json"]);
    command.args(["--peer-listen", peer_listen.as_str(), "--merchant-listen", "127.0.0.1:0"]);
    command.args(["--metrics-listen", "127.0.0.1:0"]);
    let output = command.output().await.context("`hutong init` does not start")?;
    ensure!(
        output.status.success(),
        "`hutong init` for {name} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

impl NodeProcess {
    /// `hutong --data FOLDER serve`, up to the moment when it listens.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let address_file = folder.join("merchant.addr");
        match std::fs::remove_file(&address_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let log_path = folder.join("node.log");
        let mut child = spawn(folder, &log_path)?;
        let give_up = Instant::now() + START_MAX;
        loop {
            if let Ok(address) = read_line(&address_file) {
                let token = read_line(&folder.join("merchant.token"))?;
                return Ok(Self { child, address, token });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the node in {} ended ({status}):\n{}", folder.display(), tail(&log_path));
            }
            if Instant::now() > give_up {
                let folder = folder.display();
                bail!("the node in {folder} does not listen after {START_MAX:?}:\n{}", tail(&log_path));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Kills it with no warning (SIGKILL) and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the node does not die")
    }

    /// Lets go of it: it goes on after this process. Its process id.
    pub(crate) fn release(self) -> Option<u32> {
        let pid = self.child.id();
        // A dropped handle would kill the process.
        std::mem::forget(self.child);
        pid
    }
}

fn spawn(folder: &Path, log_path: &PathBuf) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log_path)?;
    let mut command = hutong(folder)?;
    command.arg("serve").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: Ctrl-C in the terminal reaches this program, and this program ends its nodes.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().context("`hutong serve` does not start")
}

/// Free ports of the loopback. All are held until all are chosen, so that none is chosen twice.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0));
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?)
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
    fn each_node_gets_a_port_of_its_own() {
        let ports = free_ports(13).unwrap();
        let different: BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 13);
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
