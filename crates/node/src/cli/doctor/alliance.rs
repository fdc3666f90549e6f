//! What the running node says of its alliances and members.

use std::cmp::Ordering;

use hutong_client::{Timestamp, proto};
use hutong_record::UnixMillis;

use super::{Announced, Findings};
use crate::{
    cli::{scrub::damage_line, show},
    transport::DialError,
};

/// More records waiting to be folded than a burst explains.
const UNFOLDED_MAX: u64 = 10_000;
/// What this node knows of a member may be so old: a day in which it was closed.
const STALE_MS_MAX: i64 = 36 * 60 * 60 * 1_000;
/// sled writes about five times what is put in; views this much larger than the journal have not been cleaned up.
const VIEWS_TIMES_MAX: u64 = 20;
/// Small views have no meaningful ratio, bytes.
const VIEWS_BYTES_MIN: u64 = 256 << 20;
/// Of the writer's queue, in use.
const QUEUE_SHARE: u64 = 50;
/// A few are always under way.
const DUTIES_MAX: u64 = 100;
/// The way back of a shop whose own log is frozen.
const FROZEN_EN: &str = "stop every copy of this node; its log stays closed, and the shop comes back as a new one that continues \
                         it: `hutong init` in a new folder, then `hutong alliance join LINK --continues SHOP_ID \
                         --phrase-file -` with this shop's id and phrase";
const FROZEN_ZH: &str = "停掉本店节点的所有副本；日志不再解冻，本店须另立新店接续：在新目录执行 `hutong init`，再用本店的编号和恢复词执行 \
                         `hutong alliance join 链接 --continues 店铺编号 --phrase-file -`";
/// The way back of a shop that was voted out.
const REMOVED_EN: &str = "vouchers and debts up to the seal stand; talk to the core members. If they let it in again, the shop comes \
                          back as a new one that continues this one: `hutong init` in a new folder, then `hutong alliance \
                          join LINK --continues SHOP_ID --phrase-file -` with this shop's id and phrase";
const REMOVED_ZH: &str = "封存点之前的券与账仍有效；请联系核心成员。若其同意重新接纳，本店须另立新店接续：在新目录执行 `hutong init`，再用本店的\
                          编号和恢复词执行 `hutong alliance join 链接 --continues 店铺编号 --phrase-file -`";
/// Of those that concern many, so many are named.
const NAMED_MAX: usize = 5;

pub(super) fn check(
    findings: &mut Findings,
    status: &proto::GetStatusResponse,
    announced: &Announced,
    now: UnixMillis,
) {
    if status.federation_paused {
        let advice =
            findings.say("go on with `hutong federation resume`", "用 `hutong federation resume` 恢复");
        findings.warn("federation", findings.say("paused", "已暂停"), advice);
    } else {
        findings.ok("federation", findings.say("on", "已开启"));
    }
    check_peer_versions(findings, status);
    for alliance in &status.alliances {
        check_membership(findings, alliance, announced.get(&alliance.alliance_id));
        check_signing(findings, alliance);
        check_key_epoch(findings, status.key_epoch, alliance);
        check_storage(findings, alliance);
        check_queue(findings, alliance);
        check_duties(findings, alliance);
        check_forks(findings, alliance);
        if !status.federation_paused {
            check_links(findings, alliance);
            check_stale(findings, alliance, now);
            check_behind(findings, alliance);
        }
    }
}

fn name(alliance: &proto::AllianceStatus) -> String {
    show::label(&alliance.name, &alliance.alliance_id)
}

fn named<'a>(links: impl Iterator<Item = &'a proto::Link>) -> String {
    let mut names: Vec<_> = links.map(|link| show::label(&link.shop_name, &link.shop_id)).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let text = names.join(", ");
    if more == 0 { text } else { format!("{text}, +{more}") }
}

fn check_membership(
    findings: &mut Findings,
    alliance: &proto::AllianceStatus,
    announced: Option<&Timestamp>,
) {
    let name = name(alliance);
    match alliance.own_standing.as_str() {
        "member" => match announced {
            None => findings.ok("membership", name),
            Some(until) => {
                let open = findings.say("admitted, open to objections until", "已公示，异议期至");
                let found = format!("{name}: {open} {}", show::time(Some(until)));
                let advice = findings.say(
                    "nothing: unless core members object, this shop may sell and sign from then on",
                    "无须处理：若核心成员没有异议，届时即可交易和签发",
                );
                findings.warn("membership", found, advice);
            }
        },
        "" | "pending" => {
            let found = format!("{name}: {}", findings.say("not admitted yet", "尚未接纳"));
            let advice = findings.say(
                "ask core members to vote (`hutong alliance approve`)",
                "请核心成员投票（`hutong alliance approve`）",
            );
            findings.warn("membership", found, advice);
        }
        "removed" => {
            let found = format!("{name}: {}", findings.say("voted out", "已被除名"));
            let advice = findings.say(REMOVED_EN, REMOVED_ZH);
            findings.fail("membership", found, advice);
        }
        _ => {
            let found = format!(
                "{name}: {}",
                findings.say("frozen, its log has two branches", "已冻结，日志出现分叉")
            );
            let advice = findings.say(FROZEN_EN, FROZEN_ZH);
            findings.fail("membership", found, advice);
        }
    }
}

pub(super) fn check_signing(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let name = name(alliance);
    let found = format!("{name}: {}", show::signing(&alliance.signing_doubt, findings.language));
    let advice = match alliance.signing_doubt.as_str() {
        "" => return findings.ok("signing", found),
        "STARTED" | "TAIL_TORN" => {
            let advice = findings.say("ask again in a few seconds", "请几秒后再查");
            return findings.warn("signing", found, advice);
        }
        "SHARED" => findings.say(
            "find the other node that runs with this shop's keys and stop it for good, then start this one anew; if \
             somebody has stolen the keys, run `hutong key override`",
            "找到并永久停掉使用同一密钥的另一个节点，然后重启本节点；如果密钥被盗，请执行 `hutong key override`",
        ),
        "KEY_MISSING" => {
            findings.say("lay the keys with `hutong key rotate`: see key-epoch", "用 `hutong key rotate` 补齐密钥：见 key-epoch")
        }
        "FORKED" => findings.say(FROZEN_EN, FROZEN_ZH),
        _ => findings.say(
            "connect to other members: at least two of them, or the only one, must be reachable",
            "连接其他成员：至少要有两个（或唯一的一个）在线",
        ),
    };
    findings.fail("signing", found, advice);
}

/// Whether the node has the keys that its log has come to, and its log those that the node has.
pub(super) fn check_key_epoch(findings: &mut Findings, held: u32, alliance: &proto::AllianceStatus) {
    let (name, epoch) = (name(alliance), alliance.key_epoch);
    let found = format!("{name}: {} {epoch}", findings.say("key epoch", "密钥期数"));
    match held.cmp(&epoch) {
        Ordering::Equal => findings.ok("key-epoch", found),
        Ordering::Less => {
            let found =
                format!("{found}, {} {held}", findings.say("this node's keys are of epoch", "本机密钥只到"));
            let advice = findings.say(
                "stop the node, run `hutong key rotate --phrase-file -` once for each epoch that is missing, start it",
                "停止节点，每缺一期执行一次 `hutong key rotate --phrase-file -`，再启动",
            );
            findings.fail("key-epoch", found, advice);
        }
        Ordering::Greater => {
            let found = format!("{found}, {} {held}", findings.say("not yet", "尚未换到"));
            let advice = findings.say(
                "nothing: the log goes over to the new keys as soon as this shop may write",
                "无须处理：本店可以签发后会自动换用",
            );
            findings.warn("key-epoch", found, advice);
        }
    }
}

fn check_storage(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let name = name(alliance);
    let lag = format!(
        "{name}: {} {}",
        alliance.unfolded_count,
        findings.say("records not folded yet", "条记录待处理")
    );
    if alliance.unfolded_count > UNFOLDED_MAX {
        let advice = findings.say("it is catching up; ask again in a minute", "正在追赶，请稍后再查");
        findings.warn("fold-lag", lag, advice);
    } else {
        findings.ok("fold-lag", lag);
    }
    let (journal, views) = (alliance.journal_bytes, alliance.views_bytes);
    let sizes = format!(
        "{name}: {} {}, {} {}",
        findings.say("journal", "日志"),
        show::bytes(journal),
        findings.say("views", "视图"),
        show::bytes(views),
    );
    if views > VIEWS_BYTES_MIN && views > journal.saturating_mul(VIEWS_TIMES_MAX) {
        let advice = findings.say(
            "stop the node, remove the folder `views` of the alliance, start it: they are folded anew",
            "停止节点，删除该联盟的 views 目录后再启动：会重新生成",
        );
        findings.warn("views", sizes, advice);
    } else {
        findings.ok("views", sizes);
    }
    check_set_aside(findings, alliance);
    if alliance.lost_record_count == 0 {
        return findings.ok(
            "damage",
            format!(
                "{name}: {} {}",
                alliance.record_count,
                findings.say("records can be read", "条记录可读")
            ),
        );
    }
    let places: Vec<_> = alliance.damages.iter().map(damage_line).collect();
    let found = format!(
        "{name}: {} {}: {}",
        alliance.lost_record_count,
        findings.say("records cannot be read any more", "条记录已无法读取"),
        places.join("; "),
    );
    let healing_error = alliance.scrub.as_ref().map_or("", |scrub| scrub.healing_error.as_str());
    let advice = if healing_error.is_empty() {
        findings.say(
            "connect to members and run `hutong scrub`: they send the records again; check the disk (smartctl). Own records \
             that no member holds come back from a backup alone (`hutong restore`)",
            "与成员连接后运行 hutong scrub：成员会重新发送这些记录；检查磁盘（smartctl）。没有任何成员持有的本店记录只能从备份恢复（hutong restore）",
        )
    } else {
        findings.say(
            "members have the records, but they could not be put back: look at the disk's room and the node's log",
            "成员持有这些记录，但写回失败：请查看磁盘空间与节点日志",
        )
    };
    findings.fail("damage", found, advice);
}

/// Segments that were damaged once are kept until somebody has looked at the disk.
fn check_set_aside(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let kept: Vec<_> = alliance.set_aside_segments.iter().map(|segment| segment.file.as_str()).collect();
    let found = format!("{}: {}", name(alliance), kept.len());
    if kept.is_empty() {
        return findings.ok("set-aside", found);
    }
    let advice = findings.say(
        "this disk has lost bytes before: check it (smartctl), then remove these files from the journal's folder",
        "这块磁盘曾经丢失数据：请检查（smartctl），然后从日志目录删除这些文件",
    );
    findings.warn("set-aside", format!("{found} ({})", kept.join(", ")), advice);
}

fn check_queue(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let (queued, most) = (alliance.queued_job_count, alliance.queued_job_count_max);
    let found = format!("{}: {queued}/{most}", name(alliance));
    if queued.saturating_mul(100) <= most.saturating_mul(QUEUE_SHARE) {
        return findings.ok("queue", found);
    }
    let advice = findings.say(
        "the disk is too slow for this many tills: see hutong_journal_sync_seconds",
        "磁盘跟不上：查看 hutong_journal_sync_seconds",
    );
    findings.warn("queue", found, advice);
}

fn check_duties(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let found = format!("{}: {}", name(alliance), alliance.duty_count);
    if alliance.duty_count <= DUTIES_MAX {
        findings.ok("duties", found);
    } else {
        let advice = findings.say(
            "look at `signing` and `fold-lag` first: this node owes others answers that it cannot give",
            "先看 signing 与 fold-lag：本节点欠其他店的答复无法发出",
        );
        findings.warn("duties", found, advice);
    }
    let Some(risk) = alliance.risk_open.as_ref().filter(|risk| risk.minor > 0) else {
        return findings.ok("risk", format!("{}: 0", name(alliance)));
    };
    let found = format!("{}: {}", name(alliance), show::money(Some(risk)));
    let advice = findings.say(
        "these discounts are this shop's loss unless the vouchers' homes confirm: get connected to them",
        "若发券店不予确认，这些优惠由本店承担：请尽快恢复与其连接",
    );
    findings.warn("risk", found, advice);
}

fn check_forks(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let forked = || alliance.links.iter().filter(|link| link.standing == "frozen");
    if forked().next().is_none() {
        return findings.ok("forks", format!("{}: 0", name(alliance)));
    }
    let found = format!("{}: {}", name(alliance), named(forked()));
    let advice = findings.say(
        "their logs have two signed branches: call them; each can come back as a new shop that continues the old one, if core \
         members let it in; then `hutong settlement carry-over` takes what is open with it along",
        "其日志有两个已签名的分支：请联系该店；它可另立新店接续旧店，由核心成员表决接纳；之后用 `hutong settlement carry-over` 转出未结账目",
    );
    findings.warn("forks", found, advice);
}

pub(super) fn check_links(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let connected = alliance.links.iter().filter(|link| link.connected).count();
    let (all, name) = (alliance.links.len(), name(alliance));
    let found = format!("{name}: {connected}/{all} {}", findings.say("connected", "已连接"));
    if all == 0 || connected > 0 {
        return findings.ok("links", found);
    }
    let errors = alliance.links.iter().filter(|link| !link.last_error.is_empty());
    let errors: Vec<_> =
        errors.take(3).map(|link| format!("{}: {}", link.shop_name, link.last_error)).collect();
    let refused = DialError::Refused.to_string();
    let advice = if matches!(alliance.own_standing.as_str(), "removed" | "frozen") {
        findings
            .say("members let this shop in no more: see membership", "成员已不再接受本店连接：见 membership")
    } else if alliance.links.iter().any(|link| link.last_error.contains(&refused)) {
        findings.say(
            "members let this shop in no more: it was voted out, or its log is frozen. Which of them, a member's bundle tells \
             (`hutong bundle export` there, `hutong bundle import` here)",
            "成员已不再接受本店连接：本店可能已被除名，或日志已被冻结。请成员执行 `hutong bundle export`，在本机用 `hutong bundle import` 导入后即知",
        )
    } else {
        findings.say(
            "check this machine's network and firewall, and peer.advertise on both sides",
            "检查本机网络和防火墙，以及双方的 peer.advertise",
        )
    };
    findings.warn("links", [vec![found], errors].concat().join("; "), advice);
}

fn check_stale(findings: &mut Findings, alliance: &proto::AllianceStatus, now: UnixMillis) {
    let is_stale =
        |since: &Timestamp| now.ms().saturating_sub(since.seconds.saturating_mul(1_000)) > STALE_MS_MAX;
    let stale = || {
        let members = alliance.links.iter().filter(|link| link.standing == "member");
        members.filter(|link| link.stale_since_time.as_ref().is_some_and(is_stale))
    };
    if stale().next().is_none() {
        return findings.ok("stale-members", format!("{}: 0", name(alliance)));
    }
    let found = format!("{}: {}", name(alliance), named(stale()));
    let advice = findings.say(
        "nothing new of them for a day and a half: call them; `hutong status` says since when",
        "一天半没有其新消息：请联系对方；`hutong status` 显示起始时间",
    );
    findings.warn("stale-members", found, advice);
}

fn check_behind(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let behind = alliance.links.iter().map(|link| link.logs_behind).max().unwrap_or(0);
    let found = format!("{}: {behind} {}", name(alliance), findings.say("logs", "个日志"));
    if behind == 0 {
        return findings.ok("behind", found);
    }
    let advice = findings.say(
        "it is catching up; if it stays so, look for refused records in the log",
        "正在追赶；若持续如此，请查日志中被拒的记录",
    );
    findings.warn("behind", found, advice);
}

/// Programs may differ while shops upgrade one after the other; a whole version apart is worth knowing.
fn check_peer_versions(findings: &mut Findings, status: &proto::GetStatusResponse) {
    let links = || status.alliances.iter().flat_map(|alliance| &alliance.links);
    let own = series(&status.version);
    let others =
        || links().filter(|link| !link.program_version.is_empty() && series(&link.program_version) != own);
    if others().next().is_none() {
        return findings.ok("peer-versions", findings.say("alike", "一致"));
    }
    let told: Vec<_> = others()
        .take(NAMED_MAX)
        .map(|link| format!("{} {}", show::label(&link.shop_name, &link.shop_id), link.program_version))
        .collect();
    let advice = findings.say(
        "upgrade the older ones: what the newer can do, they cannot",
        "请升级较旧的一方：它缺少新版功能",
    );
    findings.warn("peer-versions", told.join(", "), advice);
}

/// Major and minor version.
fn series(version: &str) -> Option<(&str, &str)> {
    let mut parts = version.split('.');
    Some((parts.next()?, parts.next()?))
}
