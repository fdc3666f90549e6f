//! Settings taken over while the node runs (SIGHUP, `systemctl reload`): the merchant port's certificate, who may come
//! without encryption, the owner's token, and what is logged. Everything else counts from the next start on, and is named
//! where it was changed. What cannot be taken over whole is not taken over at all.

use std::fmt;

use tracing_subscriber::EnvFilter;

use crate::{config::Config, data_folder::DataFolder, merchant};

/// Settings that a running node takes over.
const RELOADED: [&str; 4] =
    ["log.filter", "merchant.tls_certificate", "merchant.tls_key", "merchant.allow_plaintext_lan"];

/// Sets what is logged from now on.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>);

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogFilter(..)")
    }
}

impl LogFilter {
    /// By whatever sets it.
    pub fn new(set: impl Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync + 'static) -> Self {
        Self(Box::new(set))
    }
}

/// What is needed to take settings over.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Where they lie.
    pub(crate) data: DataFolder,
    /// As they were at the start.
    pub(crate) at_start: Config,
    /// The merchant port.
    pub(crate) merchant: merchant::Controls,
    /// What is logged.
    pub(crate) log: LogFilter,
}

impl Reload {
    /// Takes settings over. Reads a few small files.
    ///
    /// # Errors
    /// A setting, a certificate or the owner's token does not hold; then everything stays as it is.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let fresh = Config::load(&self.data.config_file())?;
        let filter = EnvFilter::try_new(&fresh.log.filter)?;
        let token = self.data.read_token()?;
        let tls = merchant::load_tls(&fresh.merchant)?;
        // From here on nothing fails but a log that has ended.
        self.merchant.set(&fresh.merchant, tls, &token);
        (self.log.0)(filter)?;
        let waiting = waiting(&self.at_start, &fresh);
        if !waiting.is_empty() {
            let settings = waiting.join(", ");
            tracing::warn!(settings, "changed settings that count from the next start on");
        }
        tracing::info!("settings, certificate and owner's token were read anew");
        Ok(())
    }
}

/// Settings that differ from those at the start, and that a running node does not take over.
fn waiting(at_start: &Config, fresh: &Config) -> Vec<&'static str> {
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (before, after) = (value(at_start), value(fresh));
    let differs = |key: &&&str| {
        let place = format!("/{}", key.replace('.', "/"));
        before.pointer(&place) != after.pointer(&place)
    };
    crate::config::KEYS.iter().filter(|key| !RELOADED.contains(key)).filter(differs).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hutong.toml");
        std::fs::write(&path, toml).unwrap();
        Config::load(&path).unwrap()
    }

    #[test]
    fn what_waits_for_a_start_is_named_and_nothing_else_is() {
        let before = config("[shop]\nname = \"a\"");
        let after = config(
            "[shop]\nname = \"b\"\n[peer]\nlisten = \"127.0.0.1:1\"\n[log]\nfilter = \"debug\"\nformat = \"json\"\n\
             [merchant]\nallow_plaintext_lan = true",
        );
        assert_eq!(waiting(&before, &after), ["shop.name", "peer.listen", "log.format"]);
        assert!(waiting(&after, &after).is_empty());
        for key in RELOADED {
            assert!(crate::config::KEYS.contains(&key), "{key}");
        }
    }
}
