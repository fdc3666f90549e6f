//! `hutong scrub`: reads the journal again now, and tells what was found and what became of it.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use hutong_client::proto;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Globals,
    output::{Answer, fields},
    problem::Problem,
    session::Session,
    show,
};

/// How often the node is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Where no pass is under way for so long, there will be none: the disk could not be read, or the node was started anew.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// How the pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Whole,
    Early,
}

/// How long to wait.
#[derive(Debug, Args)]
#[command(
    after_help = "The node reads its journal once a week by itself. Damaged records are fetched from members that are linked.
Exits with 1 if damage is left.

Example:
  hutong scrub --patience 120"
)]
pub(crate) struct ScrubArgs {
    /// How long members may take to send what is damaged, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u32,
}

pub(crate) async fn run(globals: &Globals, args: ScrubArgs) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let before = look(&session).await?;
    let alliance_id = before.alliance_id.clone();
    let asked = proto::ScrubJournalRequest { alliance_id };
    let pass = session.client.scrub_journal(asked).await?.pass;
    let mut status = look(&session).await?;
    let mut last_seen_at_work = Instant::now();
    while scrub_of(&status).finished_pass < pass {
        if scrub_of(&status).running {
            last_seen_at_work = Instant::now();
        } else if last_seen_at_work.elapsed() > IDLE_MAX {
            return Ok(report(&before, &status, Ended::Early));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        status = look(&session).await?;
    }
    let give_up = Instant::now() + Duration::from_secs(u64::from(args.patience));
    while !is_sound(&status) && Instant::now() < give_up {
        tokio::time::sleep(LOOK_EVERY).await;
        status = look(&session).await?;
    }
    Ok(report(&before, &status, Ended::Whole))
}

/// The alliance's status.
async fn look(session: &Session) -> anyhow::Result<proto::AllianceStatus> {
    let status = session.client.get_status(proto::GetStatusRequest {}).await?;
    let mut alliances = status.alliances.into_iter();
    let wanted = |alliance: &proto::AllianceStatus| alliance.alliance_id == session.alliance_id;
    let found = if session.alliance_id.is_empty() && alliances.len() == 1 {
        alliances.next()
    } else {
        alliances.find(wanted)
    };
    found.ok_or_else(|| Problem::Usage("name the alliance with --alliance".into()).into())
}

fn scrub_of(status: &proto::AllianceStatus) -> proto::ScrubStatus {
    status.scrub.clone().unwrap_or_default()
}

fn is_sound(status: &proto::AllianceStatus) -> bool {
    status.damages.is_empty() && status.lost_record_count == 0
}

fn report(before: &proto::AllianceStatus, status: &proto::AllianceStatus, ended: Ended) -> Answer {
    let scrub = scrub_of(status);
    let healed = scrub.healed_record_count.saturating_sub(scrub_of(before).healed_record_count);
    let sound = is_sound(status) && ended == Ended::Whole;
    let error = match ended {
        Ended::Whole => scrub.healing_error,
        Ended::Early if scrub.error.is_empty() => "the node was started anew meanwhile".to_owned(),
        Ended::Early => scrub.error,
    };
    let json = json!({
        "alliance_id": status.alliance_id,
        "sound": sound,
        "checked_bytes": scrub.checked_bytes,
        "record_count": status.record_count,
        "healed_record_count": healed,
        "lost_record_count": status.lost_record_count,
        "damages": status.damages.iter().map(show::damage_json).collect::<Vec<_>>(),
        "error": error,
    });
    let mut text = fields([
        ("read", show::bytes(scrub.checked_bytes)),
        ("sound", if sound { "yes" } else { "no" }.to_owned()),
        ("records", status.record_count.to_string()),
        ("healed", healed.to_string()),
        ("lost", status.lost_record_count.to_string()),
        ("error", error),
    ]);
    for damage in &status.damages {
        text = format!("{text}\n{}", damage_line(damage));
    }
    let code = if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Answer::new(json, text).exiting(code)
}

/// A damaged place for people.
pub(crate) fn damage_line(damage: &proto::JournalDamage) -> String {
    let lost = |lost: &proto::LostRecords| {
        format!("{} {}-{}", show::short(&lost.shop_id), lost.from_sequence, lost.to_sequence)
    };
    let lost: Vec<_> = damage.lost.iter().map(lost).collect();
    let of = if lost.is_empty() { String::new() } else { format!(" ({})", lost.join(", ")) };
    let proto::JournalDamage { file, offset, byte_count, record_count, .. } = damage;
    format!("{file}: {byte_count} bytes at {offset}, {record_count} records{of}")
}
