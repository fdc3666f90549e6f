//! What is handed over, and where an end keeps it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The records that one end hands to the other, and the folder of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Where an end may write. It is there, and empty at first.
    pub folder: PathBuf,
    /// How many records; at least one.
    pub records: u64,
    /// Of each record's content; at least one.
    pub record_bytes: usize,
}

impl Work {
    /// Reads `FOLDER RECORDS BYTES`.
    ///
    /// # Errors
    ///
    /// One of them is missing, is no number, or is zero.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let [folder, records, record_bytes] = arguments else {
            anyhow::bail!("expected FOLDER RECORDS BYTES, got {arguments:?}");
        };
        let records = records.parse().with_context(|| format!("RECORDS: {records}"))?;
        let record_bytes = record_bytes.parse().with_context(|| format!("BYTES: {record_bytes}"))?;
        ensure!(records > 0 && record_bytes > 0, "RECORDS and BYTES are at least 1");
        Ok(Self { folder: PathBuf::from(folder), records, record_bytes })
    }

    /// The same records in a new folder within this one's.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub fn within(&self, name: impl AsRef<Path>) -> Result<Self> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, ..self.clone() })
    }

    /// What [`Work::parse`] reads.
    pub(crate) fn arguments(&self) -> [String; 3] {
        [self.folder.display().to_string(), self.records.to_string(), self.record_bytes.to_string()]
    }

    /// The content of one record: random, so that nothing can pack it.
    ///
    /// # Errors
    ///
    /// The system has no random bytes.
    pub fn content(&self) -> Result<Vec<u8>> {
        let mut content = vec![0; self.record_bytes];
        getrandom::fill(&mut content).context("no random bytes")?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Work> {
        Work::parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_as_they_were_written() {
        let work = parse("/tmp/x 10000 300").unwrap();
        assert_eq!(Work::parse(&work.arguments()).unwrap(), work);
        assert_eq!((work.records, work.record_bytes), (10_000, 300));
    }

    #[test]
    fn missing_wrong_and_empty_counts_are_refused() {
        for words in ["/tmp/x 10", "/tmp/x ten 300", "/tmp/x 10 -1", "/tmp/x 0 300", "/tmp/x 10 0"] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn no_two_contents_are_the_same() {
        let work = parse("/tmp/x 2 300").unwrap();
        let contents = [work.content().unwrap(), work.content().unwrap()];
        assert_eq!(contents[0].len(), 300);
        assert_ne!(contents[0], contents[1]);
    }
}
