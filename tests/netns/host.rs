//! One shop's node in a namespace of its own, and its command line there.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::network::{Network, Place};

/// How long anything may take that is bound to happen. Generous: only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOG_TAIL_BYTES: usize = 3_000;

/// A shop's host.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    namespace: String,
    folder: TempDir,
    id: String,
    process: Option<Child>,
}

/// Asks again and again until there is something to say.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn parse(output: &Output) -> Result<Value, Value> {
    let value = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    };
    if output.status.success() { Ok(value(&output.stdout)) } else { Err(value(&output.stderr)) }
}

impl Host {
    /// Adds a host to a network and sets its node up; it does not run yet.
    pub(crate) fn new(network: &Network, name: &str, place: Place) -> Self {
        network.add_host(name, place);
        let folder = TempDir::new().expect("a temporary folder");
        let namespace = network.namespace(name);
        let mut host = Self { name: name.to_owned(), namespace, folder, id: String::new(), process: None };
        let (listen, advertise) = match place {
            Place::Wide(number) => {
                let address = format!("10.77.0.{number}:7710");
                (address.clone(), Some(address))
            }
            Place::Behind { .. } => ("0.0.0.0:7710".to_owned(), None),
            Place::BehindMute { .. } => ("none".to_owned(), None),
        };
        let mut arguments = vec!["init", "--name", name, "--category", "food", "--peer-listen", &listen];
        if let Some(address) = &advertise {
            arguments.extend(["--advertise", address]);
        }
        host.id = host.cli(&arguments)["shop_id"].as_str().expect("an id").to_owned();
        host
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("node.log")
    }

    /// `hutong` in this host's namespace.
    fn hutong(&self) -> Command {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.namespace,
            env!("CARGO_BIN_EXE_hutong"),
            "--lang",
            "en",
            "--data",
        ]);
        command.arg(self.data()).stdin(Stdio::null());
        command
    }

    /// The end of what the node has said.
    fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    /// Starts the node; returns when it answers.
    pub(crate) fn serve(&mut self) {
        let address = self.data().join("merchant.addr");
        let _stale = std::fs::remove_file(&address);
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = self.hutong();
        command.arg("serve").stdout(log.try_clone().expect("a second handle")).stderr(log);
        // `ip netns exec` becomes the program: the child is the node itself.
        let mut process = command.spawn().expect("it runs");
        until(&format!("{} starts", self.name), || {
            let ended = process.try_wait().expect("its state");
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.name, self.log());
            address.exists().then_some(())
        });
        self.process = Some(process);
    }

    /// Ends the node with no warning (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it is ours");
        process.wait().expect("it ends");
    }

    pub(crate) fn id(&self) -> String {
        self.id.clone()
    }

    /// A command: what it prints to stdout, or as an error to stderr.
    pub(crate) fn try_cli(&self, arguments: &[&str]) -> Result<Value, Value> {
        parse(&self.hutong().arg("--json").args(arguments).output().expect("it runs"))
    }

    /// A command that must succeed.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Value {
        self.try_cli(arguments)
            .unwrap_or_else(|error| panic!("{} {arguments:?}: {error}\n{}", self.name, self.log()))
    }

    /// What it holds and has made of it.
    pub(crate) fn digest(&self) -> Value {
        self.cli(&["report", "digest"])
    }

    /// Whether it has so many members' names.
    pub(crate) fn knows_by_name(&self, count: usize) -> bool {
        let members = self.cli(&["alliance", "members"]);
        let named = |members: &Vec<Value>| members.iter().filter(|member| member["name"] != "").count();
        members.as_array().is_some_and(|members| named(members) == count)
    }

    /// Whether a link to another shop is up.
    pub(crate) fn is_linked(&self, shop: &str) -> bool {
        let status = self.cli(&["status"]);
        let links = status["alliances"][0]["links"].as_array().cloned().unwrap_or_default();
        links.iter().any(|link| link["shop_id"] == shop && link["connected"] == true)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            println!("--- {}\n{}", self.name, self.log());
        }
    }
}
