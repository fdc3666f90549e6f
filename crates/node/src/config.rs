//! The configuration: `hutong.toml`, overridden by `HUTONG_<SECTION>__<KEY>` of the environment.

mod address;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

pub use address::{HostPort, HostPortError, Origin, OriginError};
use config::{Environment, File, FileFormat, Map};
use serde::{Deserialize, Deserializer, Serialize};

/// Bounds of sled's cache, bytes: with less it thrashes, with more a small machine swaps.
const VIEWS_CACHE_BYTES: std::ops::RangeInclusive<u64> = 8 << 20..=4 << 30;
/// As in a profile record.
const NAME_CHARS_MAX: usize = 80;
const CATEGORY_CHARS_MAX: usize = 40;
const ADVERTISE_MAX: usize = 8;
const ORIGINS_MAX: usize = 16;
const ENV_PREFIX: &str = "HUTONG_";
/// Every setting there is, so that a slip in the environment is named as exactly as one in the file.
pub(crate) const KEYS: [&str; 18] = [
    "shop.name",
    "shop.category",
    "peer.listen",
    "peer.advertise",
    "peer.lan",
    "merchant.listen",
    "merchant.allow_plaintext_lan",
    "merchant.cors_origins",
    "merchant.webhook_allow_http",
    "merchant.tls_certificate",
    "merchant.tls_key",
    "storage.views_cache_bytes",
    "metrics.enabled",
    "metrics.listen",
    "tracing.endpoint",
    "tracing.percent",
    "log.filter",
    "log.format",
];

/// The node's settings. A value that exists is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the shop shows itself.
    pub shop: Shop,
    /// The port for other nodes.
    #[serde(default)]
    pub peer: Peer,
    /// The port for tills, apps and the command line.
    #[serde(default)]
    pub merchant: Merchant,
    /// What the node keeps.
    #[serde(default)]
    pub storage: Storage,
    /// What the node counts.
    #[serde(default)]
    pub metrics: Metrics,
    /// Where traces go.
    #[serde(default)]
    pub tracing: Tracing,
    /// What the node says.
    #[serde(default)]
    pub log: Log,
}

/// `[shop]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shop {
    /// 1 to 80 characters.
    pub name: String,
    /// Trade, at most 40 characters.
    #[serde(default)]
    pub category: String,
}

/// `[peer]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    /// Where to listen, if anywhere.
    pub listen: PeerListen,
    /// Where others reach this node, at most 8; empty: see [`Peer::advertised`].
    #[serde(deserialize_with = "list")]
    pub advertise: Vec<HostPort>,
    /// Whether other nodes on the shop's own network are told of this one and heard. Nothing is where this node listens
    /// nowhere, or on this machine alone.
    pub lan: bool,
}

/// Where other nodes connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PeerListen {
    /// Nowhere: this node dials out only.
    None,
    /// At this address.
    At(SocketAddr),
}

/// The text is neither an address with a port nor `none`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither none nor an address such as 0.0.0.0:7710")]
pub struct PeerListenError(String);

impl PeerListen {
    const NONE: &str = "none";

    /// The address, if there is one.
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::None => None,
            Self::At(address) => Some(address),
        }
    }
}

impl fmt::Display for PeerListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(Self::NONE),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl FromStr for PeerListen {
    type Err = PeerListenError;

    fn from_str(text: &str) -> Result<Self, PeerListenError> {
        match text {
            Self::NONE => Ok(Self::None),
            _ => text.parse().map(Self::At).map_err(|_| PeerListenError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for PeerListen {
    type Error = PeerListenError;

    fn try_from(text: String) -> Result<Self, PeerListenError> {
        text.parse()
    }
}

impl From<PeerListen> for String {
    fn from(listen: PeerListen) -> Self {
        listen.to_string()
    }
}

impl From<SocketAddr> for PeerListen {
    fn from(address: SocketAddr) -> Self {
        Self::At(address)
    }
}

/// `[merchant]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Merchant {
    /// Where to listen; this machine only, unless there is a certificate or `allow_plaintext_lan`.
    pub listen: SocketAddr,
    /// Whether tokens, cards and vouchers may cross the shop's network unencrypted.
    pub allow_plaintext_lan: bool,
    /// Web pages whose scripts may call this port, as `https://shop.example.com`, at most 16.
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<Origin>,
    /// Whether events may be sent unencrypted to other machines.
    pub webhook_allow_http: bool,
    /// The certificate that callers are shown, and those that vouch for it: a file in PEM form, by its full path.
    #[serde(deserialize_with = "file")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, likewise.
    #[serde(deserialize_with = "file")]
    pub tls_key: Option<PathBuf>,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Cache of the views, 8 MiB to 4 GiB.
    pub views_cache_bytes: u64,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether metrics are told.
    pub enabled: bool,
    /// Where: plain HTTP, no token. Counts, sums and ids of members are to be seen there, nothing else.
    pub listen: SocketAddr,
}

/// `[tracing]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// A collector of OTLP over gRPC, `http://host:port`; empty: no traces.
    pub endpoint: String,
    /// The share of records that is traced, 0 to 100; the same records on every node with the same share.
    pub percent: u8,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Directives of tracing-subscriber's `EnvFilter`, such as `info` or `warn,hutong_node=debug`.
    pub filter: String,
    /// One line a message, or one JSON object.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors.
    Json,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{0} does not exist: set a node up with `hutong init`")]
    Missing(PathBuf),
    /// Not TOML, a key that does not exist, or a value of another type.
    #[error("{path}, with what HUTONG_ variables override: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What and where.
        #[source]
        source: Box<config::ConfigError>,
    },
    /// An environment variable for a setting that does not exist.
    #[error("{variable} sets nothing: the settings are {}", KEYS.map(variable_of).join(", "))]
    Variable {
        /// Its name.
        variable: String,
    },
    /// A value out of bounds.
    #[error("{key}: {problem}")]
    Value {
        /// Section and key.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl Default for Peer {
    fn default() -> Self {
        let listen = PeerListen::At(SocketAddr::from(([0, 0, 0, 0], 7710)));
        Self { listen, advertise: Vec::new(), lan: true }
    }
}

impl Default for Merchant {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7711)),
            allow_plaintext_lan: false,
            cors_origins: Vec::new(),
            webhook_allow_http: false,
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { views_cache_bytes: 64 << 20 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], 7712)) }
    }
}

impl Default for Tracing {
    fn default() -> Self {
        Self { endpoint: String::new(), percent: 100 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Peer {
    /// What to tell others: the configured addresses; else the bound one, unless it stands for all interfaces; else
    /// nothing (a node behind NAT dials out).
    pub fn advertised(&self, bound: Option<SocketAddr>) -> Vec<HostPort> {
        if !self.advertise.is_empty() {
            return self.advertise.clone();
        }
        let bound = bound.filter(|bound| !bound.ip().is_unspecified());
        bound.map(HostPort::of).into_iter().collect()
    }
}

/// A list, or for the environment one text with commas.
fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Text(String),
        Items(Vec<String>),
    }
    let items = match List::deserialize(deserializer)? {
        List::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        List::Items(items) => items,
    };
    let filled = items.iter().filter(|item| !item.is_empty());
    filled.map(|item| item.parse().map_err(serde::de::Error::custom)).collect()
}

/// A path; empty: none.
fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    // `null` is what the settings are shown with where there is none.
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

impl Config {
    /// Reads a file, lets the environment override it, and checks every value.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::load_with(path, variables)
    }

    fn load_with(
        path: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        if !path.exists() {
            return Err(ConfigError::Missing(path.to_owned()));
        }
        let mut overrides = Map::new();
        for (variable, value) in variables {
            // `HUTONG_DATA` and the like are not settings; those have a section.
            if variable.strip_prefix(ENV_PREFIX).is_some_and(|rest| rest.contains("__")) {
                if !KEYS.iter().any(|key| variable_of(key) == variable) {
                    return Err(ConfigError::Variable { variable });
                }
                overrides.insert(variable, value);
            }
        }
        let environment =
            Environment::with_prefix("HUTONG").prefix_separator("_").separator("__").source(Some(overrides));
        let config: Self = config::Config::builder()
            .add_source(File::from(path).format(FileFormat::Toml))
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source: Box::new(source) })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        if let Some(problem) = text_problem(&self.shop.name, 1, NAME_CHARS_MAX) {
            return wrong("shop.name", problem);
        }
        if let Some(problem) = text_problem(&self.shop.category, 0, CATEGORY_CHARS_MAX) {
            return wrong("shop.category", problem);
        }
        if self.peer.advertise.len() > ADVERTISE_MAX {
            return wrong("peer.advertise", format!("at most {ADVERTISE_MAX} addresses"));
        }
        self.check_encryption()?;
        if self.merchant.cors_origins.len() > ORIGINS_MAX {
            return wrong("merchant.cors_origins", format!("at most {ORIGINS_MAX} origins"));
        }
        if self.peer.listen == PeerListen::None && !self.peer.advertise.is_empty() {
            return wrong("peer.advertise", "this node listens nowhere (peer.listen = \"none\")".to_owned());
        }
        if self.peer.listen.address().is_some_and(|at| at == self.merchant.listen && at.port() != 0) {
            return wrong("merchant.listen", "the same as peer.listen".to_owned());
        }
        if !VIEWS_CACHE_BYTES.contains(&self.storage.views_cache_bytes) {
            let (least, most) = (VIEWS_CACHE_BYTES.start(), VIEWS_CACHE_BYTES.end());
            return wrong("storage.views_cache_bytes", format!("between {least} and {most}"));
        }
        self.check_watching()?;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            return wrong("log.filter", error.to_string());
        }
        Ok(())
    }

    fn check_encryption(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        let Merchant { listen, allow_plaintext_lan, tls_certificate, tls_key, .. } = &self.merchant;
        match (tls_certificate, tls_key) {
            (Some(_), None) => return wrong("merchant.tls_key", "missing beside tls_certificate".to_owned()),
            (None, Some(_)) => {
                return wrong("merchant.tls_certificate", "missing beside tls_key".to_owned());
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        let files = [("merchant.tls_certificate", tls_certificate), ("merchant.tls_key", tls_key)];
        for (key, path) in files {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return wrong(
                    key,
                    format!("{} is not a full path such as /etc/hutong/x.pem", path.display()),
                );
            }
        }
        if !listen.ip().is_loopback() && !allow_plaintext_lan && tls_certificate.is_none() {
            return wrong(
                "merchant.listen",
                format!(
                    "{listen} can be reached from the network, and this port is not encrypted: use 127.0.0.1, set \
                     merchant.tls_certificate and merchant.tls_key, or set merchant.allow_plaintext_lan = true if you \
                     trust everyone on it"
                ),
            );
        }
        Ok(())
    }

    fn check_watching(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        let metrics = self.metrics.listen;
        let taken =
            [("peer.listen", self.peer.listen.address()), ("merchant.listen", Some(self.merchant.listen))];
        if let Some((other, _)) = taken.iter().find(|(_, at)| *at == Some(metrics) && metrics.port() != 0) {
            return wrong("metrics.listen", format!("the same as {other}"));
        }
        let endpoint = &self.tracing.endpoint;
        let is_collector = |uri: &http::Uri| uri.scheme_str() == Some("http") && uri.port().is_some();
        if !endpoint.is_empty() && !endpoint.parse().is_ok_and(|uri: http::Uri| is_collector(&uri)) {
            return wrong("tracing.endpoint", format!("`{endpoint}` is not such as http://127.0.0.1:4317"));
        }
        if self.tracing.percent > 100 {
            return wrong("tracing.percent", format!("0 to 100, not {}", self.tracing.percent));
        }
        Ok(())
    }

    /// The file that `hutong init` writes: these values, with comments.
    pub fn to_toml(&self) -> String {
        let text = |value: &str| toml::Value::from(value).to_string();
        let advertise: Vec<_> = self.peer.advertise.iter().map(|address| text(address.as_str())).collect();
        let origins: Vec<_> = self.merchant.cors_origins.iter().map(|origin| text(origin.as_str())).collect();
        let file = |path: &Option<PathBuf>| {
            text(&path.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default())
        };
        let format = match self.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        format!(
            include_str!("config_template.toml"),
            name = text(&self.shop.name),
            category = text(&self.shop.category),
            peer_listen = self.peer.listen,
            advertise = advertise.join(", "),
            lan = self.peer.lan,
            merchant_listen = self.merchant.listen,
            allow_plaintext_lan = self.merchant.allow_plaintext_lan,
            cors_origins = origins.join(", "),
            webhook_allow_http = self.merchant.webhook_allow_http,
            tls_certificate = file(&self.merchant.tls_certificate),
            tls_key = file(&self.merchant.tls_key),
            views_cache_bytes = self.storage.views_cache_bytes,
            metrics_enabled = self.metrics.enabled,
            metrics_listen = self.metrics.listen,
            tracing_endpoint = text(&self.tracing.endpoint),
            tracing_percent = self.tracing.percent,
            filter = text(&self.log.filter),
            format = format,
        )
    }
}

fn text_problem(text: &str, chars_min: usize, chars_max: usize) -> Option<String> {
    let chars = text.chars().count();
    if chars < chars_min || chars > chars_max {
        return Some(format!("{chars_min} to {chars_max} characters, not {chars}"));
    }
    text.chars().any(char::is_control).then(|| "no control characters".to_owned())
}

/// The environment variable of a key.
fn variable_of(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
