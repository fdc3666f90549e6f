//! The machine: disk, clock, limits.

use std::{collections::BTreeMap, path::Path};

use hutong_client::{Timestamp, proto};
use hutong_record::UnixMillis;

use super::Findings;
use crate::{
    cli::{show, value},
    clock,
    config::Config,
    data_folder::DataFolder,
    metrics::process::{self, Room},
};

/// 2024-01-01T00:00:00Z: earlier than any node, so a clock before it has not been set.
pub(super) const CLOCK_MS_MIN: i64 = 1_704_067_200_000;
/// How far this clock may be from what most allies' clocks say, milliseconds: beyond, records come with times that
/// puzzle.
const CLOCK_PEERS_MS_MAX: i64 = 60_000;
/// Beyond, allies hold this shop's records back: ten minutes.
const CLOCK_PEERS_MS_BAD: i64 = 600_000;
/// Where systemd's time service says what it knows; it is there while that service runs.
const TIME_SYNC: &str = "/run/systemd/timesync";
/// How far the node may be ahead of this command on the same machine, milliseconds.
const CLOCK_SKEW_MS_MAX: i64 = 5_000;
/// Records of others this far ahead are nearer to being held back (ten minutes) than to a rounding.
const CLOCK_AHEAD_MS_MAX: i64 = 60_000;
/// With less free space the node would soon refuse to write, bytes.
pub(super) const DISK_FREE_BYTES_MIN: u64 = 200 << 20;
/// With less there is time to act, but not much, bytes.
const DISK_FREE_BYTES_LOW: u64 = 1 << 30;
/// A journal makes few files, its neighbours on the disk may make many.
const FILES_FREE_MIN: u64 = 1_000;
/// A node in several alliances with many links has hundreds of files and sockets open.
const OPEN_FILES_MIN: u64 = 1_024;
/// Of the limit, in use.
const OPEN_FILES_SHARE: u64 = 80;
/// With less the system begins to end processes, bytes.
const MEMORY_BYTES_MIN: u64 = 128 << 20;
/// Magic numbers of file systems on other machines, where a sync may be a promise of the network: NFS, SMB 1 and 2, 9P,
/// AFS, Ceph, FUSE (sshfs and its kin).
const NETWORK: [u64; 7] = [0x6969, 0x517b, 0xfe53_4d42, 0x0102_1997, 0x5346_414f, 0x00c3_6400, 0x6573_5546];
/// Those that forget everything at a restart: tmpfs, ramfs.
const MEMORY_ONLY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

pub(super) fn check(
    findings: &mut Findings,
    data: &DataFolder,
    config: Option<&Config>,
    status: Option<&proto::GetStatusResponse>,
) {
    check_clock(findings, clock::now(), status);
    if let Some(status) = status {
        check_ahead(findings, status);
        check_peers(findings, status);
    }
    check_synced(findings, Path::new(TIME_SYNC));
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    check_time_zone(findings, variable("TZ").is_some() || Path::new("/etc/localtime").exists());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    check_locale(findings, locale.as_deref());
    if let Some(room) = process::room(data.path()) {
        judge_disk(findings, room);
    }
    check_file_system(findings, data.path());
    let (open, most) = match status {
        Some(status) => (status.open_file_count, status.open_file_count_max),
        None => (0, process::open_files_max()),
    };
    judge_open_files(findings, open, most);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    judge_memory(findings, &memory, config.map_or(0, |config| config.storage.views_cache_bytes));
    #[cfg(unix)]
    judge_user(findings, rustix::process::geteuid().is_root());
}

pub(super) fn check_clock(
    findings: &mut Findings,
    now: UnixMillis,
    status: Option<&proto::GetStatusResponse>,
) {
    let shown = show::time(Some(&value::timestamp(now)));
    let advice = clock_advice(findings);
    if now.ms() < CLOCK_MS_MIN {
        let found = format!("{shown} {}", findings.say("lies in the past", "早于现实时间"));
        return findings.fail("clock", found, advice);
    }
    let ahead_ms = status.map_or(0, |status| latest_ms(status) - now.ms());
    if ahead_ms > CLOCK_SKEW_MS_MAX {
        let found = findings.say("went back since the node started, seconds:", "节点启动后时钟倒退，秒数：");
        return findings.fail("clock", format!("{shown}; {found} {}", ahead_ms / 1_000), advice);
    }
    findings.ok("clock", shown);
}

/// Compares this clock with those of the allies, as fresh records told them: where most agree, they are right.
pub(super) fn check_peers(findings: &mut Findings, status: &proto::GetStatusResponse) {
    let links = status.alliances.iter().flat_map(|alliance| &alliance.links);
    // A shop that is met in several alliances has one clock.
    let by_shop = links.filter_map(|link| Some((link.shop_id.as_str(), link.clock_offset_ms?)));
    let mut offsets: Vec<_> = by_shop.collect::<BTreeMap<_, _>>().into_values().collect();
    offsets.sort_unstable();
    let Some(median_ms) = offsets.get(offsets.len() / 2) else { return };
    let compared = if *median_ms < 0 {
        findings.say("allies' clocks are behind this one by", "盟店时钟比本机慢")
    } else {
        findings.say("allies' clocks are ahead of this one by", "盟店时钟比本机快")
    };
    let found = format!(
        "{compared} {} s ({} {})",
        median_ms.unsigned_abs() / 1_000,
        findings.say("median, allies heard:", "中位数，参与比较的盟店数："),
        offsets.len()
    );
    let advice = match offsets.len() {
        1 => findings.say("compare both clocks with network time", "请将两台机器分别与网络时间核对"),
        _ => findings.say("set the clock; turn network time (NTP) on", "校准时钟；打开网络对时（NTP）"),
    };
    match median_ms.saturating_abs() {
        0..=CLOCK_PEERS_MS_MAX => findings.ok("clock-peers", found),
        ..CLOCK_PEERS_MS_BAD => findings.warn("clock-peers", found, advice),
        _ => findings.fail("clock-peers", found, advice),
    }
}

/// Whether systemd's time service has reached a server. Another service, or none, says nothing there.
pub(super) fn check_synced(findings: &mut Findings, folder: &Path) {
    if !folder.is_dir() {
        return;
    }
    if folder.join("synchronized").exists() {
        let found = findings.say("set by network time", "已通过网络对时");
        return findings.ok("clock-synced", found);
    }
    let found = findings.say("network time has not been reached since the start", "开机以来尚未完成网络对时");
    let advice = findings.say(
        "look at `timedatectl timesync-status`; is UDP port 123 blocked?",
        "查看 `timedatectl timesync-status`；UDP 123 端口是否被拦截？",
    );
    findings.warn("clock-synced", found, advice);
}

fn clock_advice(findings: &Findings) -> String {
    findings.say("set the clock; turn network time (NTP) on", "校准时钟；打开网络对时（NTP）").to_owned()
}

/// The latest moment that the node says it has seen, milliseconds; it cannot lie after now.
fn latest_ms(status: &proto::GetStatusResponse) -> i64 {
    let heard = status
        .alliances
        .iter()
        .flat_map(|alliance| &alliance.links)
        .map(|link| link.last_heard_time.as_ref());
    let ms = |time: &Timestamp| time.seconds.saturating_mul(1_000);
    heard.chain([status.start_time.as_ref()]).flatten().map(ms).max().unwrap_or(0)
}

/// Whether others' records come from the future: then their clock is fast, or this one slow.
pub(super) fn check_ahead(findings: &mut Findings, status: &proto::GetStatusResponse) {
    let ahead_ms = status.alliances.iter().map(|alliance| alliance.clock_ahead_ms).max().unwrap_or(0);
    let found = format!(
        "{} {} s",
        findings.say("newest record of another member lies ahead by", "其他成员最新记录超前"),
        ahead_ms / 1_000
    );
    if ahead_ms <= CLOCK_AHEAD_MS_MAX {
        return findings.ok("clock-ahead", found);
    }
    let advice = findings.say(
        "compare this clock with network time; if it is right, tell the ally whose is not",
        "核对本机与网络时间；若本机无误，请通知时钟不准的盟店",
    );
    findings.warn("clock-ahead", found, advice);
}

pub(super) fn check_time_zone(findings: &mut Findings, is_set: bool) {
    if is_set {
        return findings.ok("time-zone", findings.say("set", "已设置"));
    }
    let advice = findings.say(
        "timedatectl set-timezone Asia/Shanghai (vouchers' hours follow the charter; logs follow this machine)",
        "timedatectl set-timezone Asia/Shanghai（券的时段以章程为准；日志以本机为准）",
    );
    findings.warn("time-zone", findings.say("none is set: logs are in UTC", "未设置：日志使用 UTC"), advice);
}

pub(super) fn check_locale(findings: &mut Findings, locale: Option<&str>) {
    let is_utf8 = |locale: &str| {
        let lower = locale.to_ascii_lowercase();
        lower.contains("utf-8") || lower.contains("utf8")
    };
    match locale {
        Some(locale) if is_utf8(locale) => findings.ok("locale", locale),
        other => {
            let found = other.unwrap_or_else(|| findings.say("none", "未设置")).to_owned();
            let advice = findings.say(
                "LANG=C.UTF-8, or Chinese names come out garbled",
                "设置 LANG=zh_CN.UTF-8，否则中文会显示为乱码",
            );
            findings.warn("locale", found, advice);
        }
    }
}

pub(super) fn judge_disk(findings: &mut Findings, room: Room) {
    let found = format!("{} {}", show::bytes(room.bytes), findings.say("free", "可用"));
    let advice = findings.say("make room on the disk", "清理磁盘空间").to_owned();
    match room.bytes {
        0..DISK_FREE_BYTES_MIN => findings.fail("disk", found, advice),
        DISK_FREE_BYTES_MIN..DISK_FREE_BYTES_LOW => findings.warn("disk", found, advice),
        _ => findings.ok("disk", found),
    }
    let Some(files) = room.files else { return };
    let found = format!("{files} {}", findings.say("files can still be made", "个文件可新建"));
    if files >= FILES_FREE_MIN {
        return findings.ok("disk-files", found);
    }
    let advice =
        findings.say("remove small files: the file system's inodes run out", "删除小文件：inode 即将耗尽");
    findings.fail("disk-files", found, advice);
}

#[cfg(target_os = "linux")]
fn check_file_system(findings: &mut Findings, path: &Path) {
    let there = path.ancestors().find(|folder| folder.exists());
    let Some(Ok(system)) = there.map(rustix::fs::statfs) else { return };
    // The type is a signed number on some machines; its 32 bits are what counts.
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "32 bits of a magic number")]
    judge_file_system(findings, u64::from(system.f_type as u32));
}

#[cfg(not(target_os = "linux"))]
fn check_file_system(_findings: &mut Findings, _path: &Path) {}

pub(super) fn judge_file_system(findings: &mut Findings, kind: u64) {
    if NETWORK.contains(&kind) {
        let advice = findings.say(
            "move the folder to a disk of this machine: over a network nobody knows when data is safe",
            "把目录移到本机磁盘：网络文件系统无法保证落盘",
        );
        return findings.warn("file-system", findings.say("on another machine", "位于网络文件系统"), advice);
    }
    if MEMORY_ONLY.contains(&kind) {
        let advice = findings.say("move the folder to a disk", "把目录移到磁盘上");
        let found = findings.say("in memory: gone with the next restart", "位于内存：重启即丢失");
        return findings.fail("file-system", found, advice);
    }
    findings.ok("file-system", format!("{kind:#x}"));
}

pub(super) fn judge_open_files(findings: &mut Findings, open: u64, most: u64) {
    if most == 0 {
        return findings.ok("open-files", findings.say("no limit", "无限制"));
    }
    let found = format!("{open}/{most}");
    if most >= OPEN_FILES_MIN && open.saturating_mul(100) <= most.saturating_mul(OPEN_FILES_SHARE) {
        return findings.ok("open-files", found);
    }
    let advice = findings.say(
        "LimitNOFILE=8192 in the unit, or `ulimit -n 8192`",
        "在服务单元中设 LimitNOFILE=8192，或 `ulimit -n 8192`",
    );
    findings.warn("open-files", found, advice);
}

/// `memory`: what `/proc/meminfo` says.
pub(super) fn judge_memory(findings: &mut Findings, memory: &str, cache_bytes: u64) {
    let bytes = |name| process::number(memory, name).saturating_mul(1_024);
    let (all, free) = (bytes("MemTotal:"), bytes("MemAvailable:"));
    if all == 0 {
        return;
    }
    let found = format!("{} {}", show::bytes(free), findings.say("available", "可用"));
    if free < MEMORY_BYTES_MIN {
        let advice = findings.say("end other programs, or add memory", "关闭其他程序或增加内存");
        findings.warn("memory", found, advice);
    } else {
        findings.ok("memory", found);
    }
    let found = format!("storage.views_cache_bytes {}", show::bytes(cache_bytes));
    // It has been seen to take half as much again.
    if cache_bytes.saturating_mul(3) > all {
        let advice = findings.say("set it to an eighth of the memory at most", "最多设为内存的八分之一");
        return findings.warn("config-cache", found, advice);
    }
    findings.ok("config-cache", found);
}

pub(super) fn judge_user(findings: &mut Findings, is_root: bool) {
    if !is_root {
        return findings.ok("root", findings.say("not root", "非 root"));
    }
    let advice = findings
        .say("give the node a user of its own (deploy/systemd)", "为节点建立专用用户（见 deploy/systemd）");
    findings.warn("root", findings.say("this runs as root", "正以 root 运行"), advice);
}
