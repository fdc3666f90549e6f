use std::{collections::BTreeSet, path::Path};

use hutong_client::Timestamp;
use hutong_record::UnixMillis;

use super::{Verdict::*, *};
use crate::{
    config::{Config, HostPort, Peer},
    format,
    metrics::process::Room,
    transport::DialError,
};

const NOW_MS: i64 = machine::CLOCK_MS_MIN + 400 * 24 * 3_600_000;

fn now() -> UnixMillis {
    UnixMillis::new(NOW_MS).unwrap()
}

/// The verdicts of one group of checks, in both languages: they are the same, and the words are not.
fn judge(check: impl Fn(&mut Findings)) -> Vec<(&'static str, Verdict)> {
    let mut both = Vec::new();
    for language in [Language::En, Language::Zh] {
        let mut findings = Findings::new(language);
        check(&mut findings);
        for check in &findings.checks {
            assert!(CHECKS.contains(&check.name), "{}", check.name);
            assert_eq!(check.advice.is_empty(), check.verdict == Ok, "{check:?}");
            let chinese = check.advice.chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c));
            let is_command =
                check.advice.starts_with("chmod") || check.advice.starts_with("hutong check-phrase");
            assert!(check.verdict == Ok || is_command || chinese == (language == Language::Zh), "{check:?}");
        }
        both.push(findings.checks.iter().map(|check| (check.name, check.verdict)).collect::<Vec<_>>());
    }
    assert_eq!(both[0], both[1]);
    both.swap_remove(0)
}

fn verdict(name: &str, check: impl Fn(&mut Findings)) -> Verdict {
    let found = judge(check);
    found.iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("{name}: {found:?}")).1
}

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hutong.toml");
    std::fs::write(&file, format!("[shop]\nname = \"a\"\n{text}")).unwrap();
    Config::load(&file).unwrap()
}

fn status(alliance: proto::AllianceStatus) -> proto::GetStatusResponse {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    proto::GetStatusResponse { version, alliances: vec![alliance], ..Default::default() }
}

fn sound() -> proto::AllianceStatus {
    proto::AllianceStatus {
        own_standing: "member".to_owned(),
        queued_job_count_max: 1_024,
        links: vec![proto::Link { connected: true, standing: "member".to_owned(), ..Default::default() }],
        ..Default::default()
    }
}

fn alliance(name: &str, change: impl Fn(&mut proto::AllianceStatus)) -> Verdict {
    let mut changed = sound();
    change(&mut changed);
    verdict(name, |findings| alliance::check(findings, &status(changed.clone()), &Announced::new(), now()))
}

fn link(change: impl Fn(&mut proto::Link)) -> impl Fn(&mut proto::AllianceStatus) {
    move |alliance| change(&mut alliance.links[0])
}

fn set_up() -> (tempfile::TempDir, DataFolder) {
    let temporary = tempfile::tempdir().unwrap();
    let data = DataFolder::new(temporary.path().join("node"));
    data.create().unwrap();
    data.create_token().unwrap();
    std::fs::write(data.config_file(), "[shop]\nname = \"a\"\n").unwrap();
    let seed = hutong_record::RecoverySeed::new([3; 32]);
    crate::identity_file::create(&data, &seed, UnixMillis::EPOCH).unwrap();
    (temporary, data)
}

fn in_folder(name: &str, change: impl Fn(&DataFolder)) -> Verdict {
    let (_temporary, data) = set_up();
    change(&data);
    verdict(name, |findings| {
        folder::check(findings, &data);
        folder::check_config(findings, &data);
    })
}

#[cfg(unix)]
fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What makes each check speak up, and how. Every name of [`CHECKS`] is here.
fn troubles() -> Vec<(&'static str, Verdict)> {
    let at = |seconds: i64| Some(Timestamp { seconds, nanos: 0 });
    let empty = tempfile::tempdir().unwrap();
    let nobody = DataFolder::new(empty.path());
    let money = proto::Money { currency_code: "CNY".to_owned(), minor: 300 };
    let meminfo = "MemTotal: 100000 kB\nMemAvailable: 50000 kB\n";
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = config(&format!("[peer]\nlisten = \"{}\"\n", held.local_addr().unwrap()));
    let exposed = config("[metrics]\nlisten = \"0.0.0.0:7712\"\n");
    let loopback: HostPort = "127.0.0.1:7710".parse().unwrap();
    let peer = Peer { advertise: vec![loopback], ..Peer::default() };
    let paused = proto::GetStatusResponse { federation_paused: true, ..Default::default() };
    vec![
        ("folder", verdict("folder", |f| folder::check(f, &nobody))),
        ("folder-mode", in_folder("folder-mode", |data| chmod(data.path(), 0o755))),
        ("folder-owner", verdict("folder-owner", |f| folder::judge_owner(f, 1, 2))),
        (
            "folder-format",
            in_folder("folder-format", |data| {
                let newer =
                    format!("hutong data v1\nformat {}\nviews 1\nprogram 9.0.0\n", format::FORMAT + 1);
                std::fs::write(data.path().join("format"), newer).unwrap();
            }),
        ),
        ("keys", in_folder("keys", |data| std::fs::write(data.identity_file(), "x").unwrap())),
        ("key-mode", in_folder("key-mode", |data| chmod(&data.key_file(), 0o644))),
        ("token", in_folder("token", |data| chmod(&data.token_file(), 0o644))),
        (
            "config",
            in_folder("config", |data| {
                std::fs::write(data.config_file(), "[shop]\nname = \"a\"\nnmae = 1\n").unwrap();
            }),
        ),
        ("config-cache", verdict("config-cache", |f| machine::judge_memory(f, meminfo, 64 << 20))),
        ("config-exposed", verdict("config-exposed", |f| folder::check_exposed(f, &exposed))),
        ("backup", in_folder("backup", |_| {})),
        ("phrase", in_folder("phrase", |_| {})),
        ("disk", verdict("disk", |f| machine::judge_disk(f, Room { bytes: 0, files: None }))),
        (
            "disk-files",
            verdict("disk-files", |f| machine::judge_disk(f, Room { bytes: 1 << 40, files: Some(3) })),
        ),
        ("file-system", verdict("file-system", |f| machine::judge_file_system(f, 0x6969))),
        ("clock", verdict("clock", |f| machine::check_clock(f, UnixMillis::EPOCH, None))),
        (
            "clock-ahead",
            verdict("clock-ahead", |f| {
                machine::check_ahead(f, &status(proto::AllianceStatus { clock_ahead_ms: 90_000, ..sound() }));
            }),
        ),
        (
            "clock-peers",
            verdict("clock-peers", |f| {
                machine::check_peers(
                    f,
                    &status(proto::AllianceStatus { links: clocks(&[70_000]), ..sound() }),
                );
            }),
        ),
        ("clock-synced", verdict("clock-synced", |f| machine::check_synced(f, empty.path()))),
        ("time-zone", verdict("time-zone", |f| machine::check_time_zone(f, false))),
        ("locale", verdict("locale", |f| machine::check_locale(f, Some("C")))),
        ("open-files", verdict("open-files", |f| machine::judge_open_files(f, 900, 1_024))),
        ("memory", verdict("memory", |f| machine::judge_memory(f, meminfo, 8 << 20))),
        ("root", verdict("root", |f| machine::judge_user(f, true))),
        ("ports", verdict("ports", |f| network::check_ports(f, Some(&taken)))),
        ("advertise", verdict("advertise", |f| network::check_advertise(f, &peer, None))),
        (
            "reachable",
            verdict("reachable", |f| network::judge_reachable(f, "a:1", Some(&DialError::OtherKey))),
        ),
        ("version", verdict("version", |f| check_version(f, "9.9.9"))),
        ("federation", verdict("federation", |f| alliance::check(f, &paused, &Announced::new(), now()))),
        ("membership", alliance("membership", |a| a.own_standing = "removed".to_owned())),
        ("signing", alliance("signing", |a| a.signing_doubt = "SHARED".to_owned())),
        ("key-epoch", alliance("key-epoch", |a| a.key_epoch = 1)),
        ("links", alliance("links", link(|l| l.connected = false))),
        ("peer-versions", alliance("peer-versions", link(|l| l.program_version = "9.1.0".to_owned()))),
        (
            "stale-members",
            alliance("stale-members", link(move |l| l.stale_since_time = at(NOW_MS / 1_000 - 40 * 3_600))),
        ),
        ("behind", alliance("behind", link(|l| l.logs_behind = 2))),
        ("forks", alliance("forks", link(|l| l.standing = "frozen".to_owned()))),
        ("fold-lag", alliance("fold-lag", |a| a.unfolded_count = 10_001)),
        ("views", alliance("views", |a| (a.journal_bytes, a.views_bytes) = (1, 1 << 30))),
        ("damage", alliance("damage", |a| a.lost_record_count = 1)),
        (
            "set-aside",
            alliance("set-aside", |a| {
                a.set_aside_segments = vec![proto::SetAsideSegment::default()];
            }),
        ),
        ("queue", alliance("queue", |a| a.queued_job_count = 600)),
        ("risk", alliance("risk", |a| a.risk_open = Some(money.clone()))),
        ("duties", alliance("duties", |a| a.duty_count = 101)),
    ]
}

#[test]
fn every_check_speaks_up_when_something_is_wrong() {
    let troubles = troubles();
    for (name, verdict) in &troubles {
        assert_ne!(*verdict, Ok, "{name}");
    }
    let mut covered: BTreeSet<_> = troubles.into_iter().map(|(name, _)| name).collect();
    // By the test below, which needs no listening node.
    covered.insert("node");
    assert_eq!(covered, CHECKS.into_iter().collect());
    assert_eq!(covered.len(), CHECKS.len(), "no name twice");
}

#[test]
fn a_shop_that_members_let_in_no_more_is_told_why_that_may_be() {
    let advice = |error: &str, language| {
        let link = proto::Link { last_error: error.to_owned(), ..sound().links[0].clone() };
        let cut_off =
            proto::AllianceStatus { links: vec![proto::Link { connected: false, ..link }], ..sound() };
        let mut findings = Findings::new(language);
        alliance::check_links(&mut findings, &cut_off);
        findings.checks.remove(0).advice
    };
    let refused = DialError::Refused.to_string();
    for language in [Language::En, Language::Zh] {
        assert!(advice(&refused, language).contains("hutong bundle import"));
        assert!(advice("timed out", language).contains("peer.advertise"));
    }
}

#[tokio::test]
async fn a_folder_without_a_running_node_is_told_to_start_it() {
    let (_temporary, data) = set_up();
    let mut found = Findings::new(Language::En);
    assert!(check_node(&mut found, &data).await.is_none());
    assert_eq!((found.checks[0].name, found.checks[0].verdict), ("node", Warn));
    assert!(found.checks[0].advice.contains("hutong serve"));
}

#[tokio::test]
async fn an_empty_folder_fails_with_advice_in_the_caller_s_language() {
    let temporary = tempfile::tempdir().unwrap();
    let found = examine(&DataFolder::new(temporary.path()), Language::Zh).await;
    assert_eq!((found.checks[0].name, found.checks[0].verdict), ("folder", Fail));
    assert!(found.checks[0].advice.contains("建立"));
    let answer = found.answer();
    assert_eq!(answer.json()["healthy"], false);
    assert_eq!(answer.json()["checks"][0]["status"], "fail");
    assert_eq!(answer.exit_code(), ExitCode::FAILURE);
}

#[test]
fn a_sound_node_has_nothing_to_complain_of() {
    let sound_status = status(sound());
    let found = judge(|f| alliance::check(f, &sound_status, &Announced::new(), now()));
    assert!(found.iter().all(|(_, verdict)| *verdict == Ok), "{found:?}");
    assert!(found.len() >= 13);
    let found = judge(|f| {
        machine::judge_disk(f, Room { bytes: 1 << 40, files: Some(1 << 20) });
        machine::judge_file_system(f, 0xef53);
        machine::judge_open_files(f, 30, 8_192);
        machine::check_locale(f, Some("zh_CN.UTF-8"));
        machine::check_time_zone(f, true);
        machine::check_clock(f, now(), None);
        machine::judge_user(f, false);
        network::judge_reachable(f, "a:1", Some(&DialError::Refused));
        check_version(f, env!("CARGO_PKG_VERSION"));
    });
    assert!(found.iter().all(|(_, verdict)| *verdict == Ok), "{found:?}");
}

#[test]
fn a_clock_that_was_never_set_or_went_back_fails() {
    let verdict = |now_ms, status: Option<&proto::GetStatusResponse>| {
        let mut found = Findings::new(Language::En);
        machine::check_clock(&mut found, UnixMillis::new(now_ms).unwrap(), status);
        found.checks[0].verdict
    };
    assert_eq!(verdict(machine::CLOCK_MS_MIN, None), Ok);
    let started = proto::GetStatusResponse {
        start_time: Some(Timestamp { seconds: machine::CLOCK_MS_MIN / 1_000 + 60, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(verdict(machine::CLOCK_MS_MIN, Some(&started)), Fail);
    assert_eq!(verdict(machine::CLOCK_MS_MIN + 59_000, Some(&started)), Ok);
}

#[test]
fn little_space_warns_and_none_fails() {
    for (bytes, expected) in [(0, Fail), (machine::DISK_FREE_BYTES_MIN, Warn), (u64::MAX, Ok)] {
        assert_eq!(verdict("disk", |f| machine::judge_disk(f, Room { bytes, files: None })), expected);
    }
}

#[test]
fn a_port_in_use_is_found() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    assert_eq!(network::port_problem(address), Some(std::io::ErrorKind::AddrInUse));
    assert_eq!(network::port_problem("127.0.0.1:0".parse().unwrap()), None);
}

#[test]
fn a_shop_that_only_dials_out_is_told_so() {
    let peer = Peer { listen: "0.0.0.0:7710".parse().unwrap(), ..Peer::default() };
    assert_eq!(verdict("advertise", |f| network::check_advertise(f, &peer, None)), Warn);
    let peer = Peer { advertise: vec!["shop.example.com:7710".parse().unwrap()], ..peer };
    assert_eq!(verdict("advertise", |f| network::check_advertise(f, &peer, None)), Ok);
}

#[test]
fn links_that_are_all_down_warn_with_the_reason() {
    let link = |connected, error: &str| proto::Link {
        connected,
        shop_name: "茶馆".to_owned(),
        last_error: error.to_owned(),
        ..Default::default()
    };
    let judge = |links| {
        let mut found = Findings::new(Language::En);
        alliance::check_links(&mut found, &proto::AllianceStatus { links, ..Default::default() });
        found.checks.swap_remove(0)
    };
    let down = judge(vec![link(false, "timed out"), link(false, "")]);
    assert_eq!(down.verdict, Warn);
    assert!(down.found.contains("茶馆: timed out"));
    assert_eq!(judge(vec![link(true, ""), link(false, "refused")]).verdict, Ok);
}

#[test]
fn a_shop_that_may_not_sign_is_told_why_and_what_to_do() {
    let cases = [("", Ok), ("STARTED", Warn), ("TAIL_TORN", Warn)];
    let failing = ["TAIL_DAMAGED", "MOVED", "SHARED", "FORKED", "OF_A_NEWER_PROGRAM"];
    for (doubt, expected) in cases.into_iter().chain(failing.map(|doubt| (doubt, Fail))) {
        let signing_doubt = doubt.to_owned();
        let told = proto::AllianceStatus { signing_doubt, ..Default::default() };
        assert_eq!(verdict("signing", |f| alliance::check_signing(f, &told)), expected, "{doubt}");
    }
}

#[test]
fn how_old_a_backup_may_be_is_a_week() {
    use crate::data_folder::Note;

    let (_temporary, data) = set_up();
    data.note(Note::Backup, clock::now()).unwrap();
    data.note(Note::Phrase, clock::now()).unwrap();
    let found = judge(|f| folder::check(f, &data));
    assert!(found.contains(&("backup", Ok)) && found.contains(&("phrase", Ok)), "{found:?}");
    data.note(Note::Backup, clock::now().saturating_add_ms(-8 * 24 * 3_600_000)).unwrap();
    assert_eq!(verdict("backup", |f| folder::check(f, &data)), Warn);
}

/// Links to shops whose clocks are so far ahead.
fn clocks(offsets_ms: &[i64]) -> Vec<proto::Link> {
    let link = |(number, offset_ms): (usize, &i64)| proto::Link {
        shop_id: format!("{number:064x}"),
        clock_offset_ms: Some(*offset_ms),
        ..Default::default()
    };
    offsets_ms.iter().enumerate().map(link).collect()
}

#[test]
fn one_ally_s_wrong_clock_says_nothing_and_most_allies_do() {
    let judged = |offsets: &[i64]| {
        let mut found = Findings::new(Language::En);
        machine::check_peers(
            &mut found,
            &status(proto::AllianceStatus { links: clocks(offsets), ..sound() }),
        );
        found.checks.first().map(|check| check.verdict)
    };
    assert_eq!(judged(&[]), None);
    assert_eq!(judged(&[-300, 20, 3_600_000]), Some(Ok));
    assert_eq!(judged(&[-120_000, -110_000, 50]), Some(Warn));
    assert_eq!(judged(&[i64::MIN, i64::MIN, 0]), Some(Fail));
    assert_eq!(judged(&[900_000]), Some(Fail));
}

#[test]
fn a_clock_that_was_set_by_network_time_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Findings::new(Language::Zh);
    machine::check_synced(&mut found, &folder.path().join("nobody"));
    assert!(found.checks.is_empty());
    std::fs::write(folder.path().join("synchronized"), "").unwrap();
    machine::check_synced(&mut found, folder.path());
    assert_eq!(found.checks[0].verdict, Ok);
}

#[test]
fn a_shop_that_can_be_objected_to_is_told_until_when() {
    let announced = Announced::from([(String::new(), Timestamp { seconds: 1, nanos: 0 })]);
    assert_eq!(verdict("membership", |f| alliance::check(f, &status(sound()), &announced, now())), Warn);
}

#[test]
fn a_removed_shop_is_told_the_way_back_and_is_not_sent_to_ask_whether_it_was_removed() {
    let removed = proto::AllianceStatus {
        own_standing: "removed".to_owned(),
        links: vec![proto::Link { last_error: DialError::Refused.to_string(), ..Default::default() }],
        ..sound()
    };
    for language in [Language::En, Language::Zh] {
        let mut findings = Findings::new(language);
        alliance::check(&mut findings, &status(removed.clone()), &Announced::new(), now());
        let advice = |name| &findings.checks.iter().find(|check| check.name == name).unwrap().advice;
        assert!(advice("membership").contains("--continues"), "{}", advice("membership"));
        assert!(!advice("links").contains("bundle") && advice("links").contains("membership"));
    }
}

#[test]
fn allies_whose_clocks_are_behind_are_told_so() {
    let mut findings = Findings::new(Language::En);
    let told = status(proto::AllianceStatus { links: clocks(&[-70_000]), ..sound() });
    machine::check_peers(&mut findings, &told);
    assert!(findings.checks[0].found.contains("behind this one by 70 s"), "{:?}", findings.checks);
}
