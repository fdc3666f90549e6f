//! Nodes of the real program, each with a folder of its own below one temporary folder. Whatever happens in a test, its
//! processes die with it.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use hutong_client::{Client, Token, proto};
use hutong_node::{
    data_folder::DataFolder,
    identity_file::{self, Secrets},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

/// How long anything may take that is bound to happen. Generous: only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOG_TAIL_BYTES: usize = 4_000;

/// Where the nodes of one test live. Removed at its end.
#[derive(Debug)]
pub(crate) struct Street(TempDir);

/// One shop's node, running or not.
#[derive(Debug)]
pub(crate) struct Shop {
    folder: PathBuf,
    name: String,
    peer: SocketAddr,
    phrase: String,
    process: Option<Child>,
}

/// How a shop is reached by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its address is told.
    Open,
    /// As behind NAT: it listens nowhere, and only dials out.
    DialsOut,
}

/// Asks again and again until there is something to say.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < give_up, "in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Bounds what is bound to happen.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, event).await;
    happened.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// A free peer address. Each node has a loopback address of its own where the system has more than one, so that no
/// other socket takes its port while the node restarts.
fn peer_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low, ..] = std::process::id().to_be_bytes()[2..] else { unreachable!("two bytes are left") };
    let own = Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((own, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    listener.and_then(|listener| listener.local_addr()).expect("a free port")
}

/// `hutong`, in English, untouched by the caller's settings.
fn hutong(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
    command.env_clear().args(["--lang", "en", "--data"]).arg(folder).stdin(Stdio::null());
    command
}

fn parse(output: Output) -> Result<Value, Value> {
    let value = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    };
    if output.status.success() { Ok(value(&output.stdout)) } else { Err(value(&output.stderr)) }
}

impl Street {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Sets a node up; it does not run yet.
    pub(crate) fn init(&self, name: &str, reach: Reach) -> Shop {
        let folder = self.path().join(name);
        let (peer, listen) = match reach {
            Reach::Open => {
                let address = peer_address();
                (address, address.to_string())
            }
            Reach::DialsOut => (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), "none".to_owned()),
        };
        let mut init = hutong(&folder);
        init.args([
            "--json",
            "init",
            "--name",
            name,
            "--category",
            "food",
            "--merchant-listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ]);
        let answer = parse(init.args(["--peer-listen", &listen]).output().expect("it runs"));
        let phrase = answer.expect("init")["recovery_phrase"].as_str().unwrap().to_owned();
        assert_eq!(phrase.split(' ').count(), 24);
        Shop { folder, name: name.to_owned(), peer, phrase, process: None }
    }

    /// A node of the same shop in a folder of its own, which the caller fills.
    pub(crate) fn twin(&self, shop: &Shop, folder: &str) -> Shop {
        let (name, phrase) = (shop.name.clone(), shop.phrase.clone());
        Shop { folder: self.path().join(folder), name, peer: shop.peer, phrase, process: None }
    }

    /// Sets a node up and runs it.
    pub(crate) async fn shop(&self, name: &str) -> Shop {
        let mut shop = self.init(name, Reach::Open);
        shop.serve().await;
        shop
    }
}

impl Shop {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its peer port listens.
    pub(crate) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Its 24 words.
    pub(crate) fn phrase(&self) -> &str {
        &self.phrase
    }

    pub(crate) fn secrets(&self) -> Secrets {
        identity_file::load(&DataFolder::new(&self.folder)).expect("the shop's keys")
    }

    pub(crate) fn id(&self) -> String {
        self.secrets().identity.id().to_string()
    }

    /// The folder of its only alliance.
    pub(crate) fn alliance_folder(&self) -> PathBuf {
        let mut entries = std::fs::read_dir(self.folder.join("alliances")).expect("alliances");
        entries.next().expect("one alliance").expect("readable").path()
    }

    /// `hutong serve` as a command of its own.
    pub(crate) fn serve_command(&self) -> Command {
        let mut command = hutong(&self.folder);
        command.arg("serve");
        command
    }

    /// Starts the node; returns when it answers.
    pub(crate) async fn serve(&mut self) {
        self.serve_as(self.serve_command()).await;
    }

    /// Starts the node by a given command.
    pub(crate) async fn serve_as(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let address = self.folder.join("merchant.addr");
        let _stale = std::fs::remove_file(&address);
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut process = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("it runs");
        until(&format!("{} starts", self.name), async || {
            let ended = process.try_wait().expect("its state");
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.name, self.log());
            address.exists().then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// Runs the node where it must refuse to start; answers with what it says.
    pub(crate) async fn refuses_to_serve(&self) -> String {
        let mut command = tokio::process::Command::from(self.serve_command());
        let output = soon("the node gives up", command.kill_on_drop(true).output()).await.expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    /// The end of what the node has said.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    /// Everything that the node has said.
    pub(crate) fn whole_log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Tells the node something as a service manager does.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().expect("it runs").id();
        let id = id.and_then(|id| Pid::from_raw(i32::try_from(id).expect("an id"))).expect("alive");
        kill_process(id, signal).expect("it is ours");
    }

    /// Ends the node as a service manager does, and waits for it.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut process = self.process.take().expect("it runs");
        let status = soon("the node stops", process.wait()).await.expect("its state");
        assert!(status.success(), "{}: {status}\n{}", self.name, self.log());
    }

    /// Ends the node with no warning (SIGKILL).
    pub(crate) async fn kill(&mut self) {
        soon("the node dies", self.process.take().expect("it runs").kill()).await.expect("killed");
    }

    /// Where its merchant port listens.
    pub(crate) fn merchant(&self) -> SocketAddr {
        let address = std::fs::read_to_string(self.folder.join("merchant.addr")).expect("it runs");
        address.trim().parse().expect("an address")
    }

    /// Everything that its metrics say.
    pub(crate) async fn metrics(&self) -> String {
        let address = std::fs::read_to_string(self.folder.join("metrics.addr")).expect("it tells metrics");
        let (status, text) = get(address.trim(), "/metrics").await;
        assert_eq!(status, 200, "{text}");
        text
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.folder.join("merchant.token")).expect("a token")
    }

    /// The SDK's client, connected.
    pub(crate) async fn client(&self) -> Client {
        let endpoint = format!("http://{}", self.merchant());
        Client::connect(&endpoint, &Token::new(&self.token())).await.expect("the node answers")
    }

    /// A command with `--json`: what it prints to stdout, or as an error to stderr.
    pub(crate) fn try_cli(&self, arguments: &[&str]) -> Result<Value, Value> {
        parse(hutong(&self.folder).arg("--json").args(arguments).output().expect("it runs"))
    }

    /// What a command says that may end with 1 and still has something to tell; and whether it ended with 0.
    pub(crate) fn told(&self, arguments: &[&str]) -> (bool, Value) {
        let output = hutong(&self.folder).arg("--json").args(arguments).output().expect("it runs");
        let text =
            String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
        (
            output.status.success(),
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}")),
        )
    }

    /// A command that must succeed.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Value {
        self.try_cli(arguments).unwrap_or_else(|error| panic!("{} {arguments:?}: {error}", self.name))
    }

    /// A command that must fail; answers with its reason.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let error = self.try_cli(arguments).expect_err("a refusal");
        error["error"]["reason"].as_str().expect("a reason").to_owned()
    }

    /// Founds an alliance in which one core member's vote admits and removes.
    pub(crate) fn found(&self, alliance: &str) -> String {
        let founded = self.cli(&["alliance", "create", "--name", alliance, "--removal-votes", "1"]);
        founded["id"].as_str().expect("an id").to_owned()
    }

    /// Has `guest` join, and waits until each has heard the other's name: then neither has more to say by itself.
    pub(crate) async fn admit(&self, guest: &Shop) {
        let link = self.cli(&["alliance", "invite"])["link"].as_str().expect("a link").to_owned();
        guest.cli(&["alliance", "join", &link]);
        for shop in [self, guest] {
            shop.knows_by_name(&[self, guest]).await;
        }
    }

    async fn knows_by_name(&self, others: &[&Self]) {
        let client = self.client().await;
        until("the members are known by name", async || {
            let members = client.all_members("").await.expect("members");
            let known = |other: &&Self| members.iter().any(|member| member.name == other.name);
            others.iter().all(known).then_some(())
        })
        .await;
    }

    pub(crate) async fn digest(&self) -> proto::GetStateDigestResponse {
        let client = self.client().await;
        client.get_state_digest(proto::GetStateDigestRequest::default()).await.expect("digests")
    }

    pub(crate) async fn summary(&self) -> proto::GetSummaryResponse {
        let client = self.client().await;
        client.get_summary(proto::GetSummaryRequest::default()).await.expect("a summary")
    }

    /// The node's view of one member.
    pub(crate) async fn link_to(&self, shop: &Shop) -> proto::Link {
        let status = self.client().await.get_status(proto::GetStatusRequest {}).await.expect("a status");
        let mut links = status.alliances.into_iter().flat_map(|alliance| alliance.links);
        links.find(|link| link.shop_id == shop.id()).unwrap_or_default()
    }

    /// Waits for a link to another shop.
    pub(crate) async fn connected(&self, shop: &Shop) {
        let what = format!("{} and {} are connected", self.name, shop.name);
        until(&what, async || self.link_to(shop).await.connected.then_some(())).await;
    }

    /// Waits until the link to another shop is gone.
    pub(crate) async fn disconnected(&self, shop: &Shop) {
        let what = format!("{} has lost {}", self.name, shop.name);
        until(&what, async || (!self.link_to(shop).await.connected).then_some(())).await;
    }
}

/// Starts a node anew with a merchant port that it will have after every restart, too; answers with its endpoint.
pub(crate) async fn fixed_merchant(shop: &mut Shop) -> String {
    let endpoint = format!("http://{}", peer_address());
    shop.stop().await;
    serve_fixed(shop, &endpoint).await;
    endpoint
}

/// Starts a node with the merchant port of an endpoint.
pub(crate) async fn serve_fixed(shop: &mut Shop, endpoint: &str) {
    let mut command = shop.serve_command();
    command.env("HUTONG_MERCHANT__LISTEN", endpoint.trim_start_matches("http://"));
    shop.serve_as(command).await;
}

/// One request in plain HTTP: the status, and the body.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status, body)
}

/// Waits until all hold the same records and have drawn the same conclusions from them (CON-1, CON-2).
pub(crate) async fn converged(shops: &[&Shop]) -> proto::GetStateDigestResponse {
    until("all shops hold the same", async || {
        let mut digests = Vec::new();
        for shop in shops {
            digests.push(shop.digest().await);
        }
        let first = digests.swap_remove(0);
        (first.unfolded_count == 0 && digests.iter().all(|digest| *digest == first)).then_some(first)
    })
    .await
}
