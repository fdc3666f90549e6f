use std::io::Read as _;

use hutong_record::{RecoverySeed, UnixMillis};

use super::*;
use crate::identity_file::PhraseLanguage;

fn node() -> (tempfile::TempDir, DataFolder) {
    let temporary = tempfile::tempdir().unwrap();
    let data = DataFolder::new(temporary.path().join("node"));
    data.create().unwrap();
    data.create_token().unwrap();
    let endpoint = "[tracing]\nendpoint = \"http://user:pass-word-9@collector:4317\"\n";
    fs::write(data.config_file(), format!("[shop]\nname = \"张记\"\n{endpoint}")).unwrap();
    identity_file::create(&data, &RecoverySeed::new([3; 32]), UnixMillis::EPOCH).unwrap();
    (temporary, data)
}

fn contents(path: &Path) -> Vec<(String, String)> {
    let mut tar = tar::Archive::new(fs::File::open(path).unwrap());
    let read = |entry: io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    };
    tar.entries().unwrap().map(read).collect()
}

#[tokio::test]
async fn planted_secrets_are_not_in_the_bundle() {
    let (temporary, data) = node();
    let token = data.read_token().unwrap().to_string();
    let keys = fs::read_to_string(data.key_file()).unwrap();
    let seeds: Vec<_> = keys.split_whitespace().filter(|word| word.len() == 64).collect();
    assert_eq!(seeds.len(), 2);
    let seed = RecoverySeed::new([3; 32]);
    let english = identity_file::phrase(&seed, PhraseLanguage::English);
    let chinese = identity_file::phrase(&seed, PhraseLanguage::ChineseSimplified);
    let packed: String = chinese.split_whitespace().collect();
    let voucher = "8K2M4V-7QPR3T-9XWZ5C-6NHJ4D";
    let card = "0123456789abcdef0123456789abcdef";
    let log = temporary.path().join("node.log");
    let numbered: Vec<_> = english.split(' ').enumerate().map(|(n, word)| format!("{n} {word}")).collect();
    let lines = [
        format!("GET authorization: Bearer {token}"),
        format!("key {} and {}", seeds[0], seeds[1]),
        format!("words {}", english.as_str()),
        format!("words {}", chinese.as_str()),
        format!("词{packed}"),
        numbered.join(" "),
        format!("code {voucher} of card {card}"),
        "an ordinary line stays".to_owned(),
    ];
    fs::write(&log, lines.join("\n")).unwrap();
    let output = temporary.path().join("bundle.tar");
    let redaction = Redaction::of(&data);
    let mut entries = gather(&data).await;
    entries.push(("log-0.txt".to_owned(), tail(&log).unwrap()));
    write(&output, entries, &redaction).unwrap();

    let files = contents(&output);
    let names: Vec<_> = files.iter().map(|(name, _)| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["versions.json", "config.toml", "files.txt", "doctor.json", "log-0.txt"]);
    let all = files.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    let secrets = [&token, seeds[0], seeds[1], english.as_str(), chinese.as_str(), &packed, voucher, card];
    for secret in secrets.iter().chain(&["pass-word-9", &numbered.join(" ")]) {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(all.contains("an ordinary line stays") && all.contains("张记"));
    assert!(all.contains("\"check\": \"folder\""));
}

#[test]
fn names_of_metrics_stay_and_ids_are_cut() {
    let id = "a1".repeat(32);
    let cut = shorten_runs(&format!("hutong_journal_written_bytes_total 7\nshop {id}, 2026-05-01T08:00:00Z"));
    assert_eq!(cut, "hutong_journal_written_bytes_total 7\nshop a1a1a1a1…, 2026-05-01T08:00:00Z");
}

#[test]
fn a_bundle_replaces_no_file_and_a_log_is_read_from_its_end() {
    let (temporary, data) = node();
    let output = temporary.path().join("there");
    fs::write(&output, "mine").unwrap();
    assert!(write(&output, Vec::new(), &Redaction::of(&data)).is_err());
    assert_eq!(fs::read(&output).unwrap(), b"mine");
    let log = temporary.path().join("log");
    fs::write(&log, "x".repeat(300 << 10) + "the end").unwrap();
    let text = tail(&log).unwrap();
    assert!(text.ends_with("the end") && text.len() as u64 == LOG_BYTES_MAX);
    assert!(tail(&temporary.path().join("none")).is_err());
}
