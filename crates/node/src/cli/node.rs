//! `hutong status`, `hutong federation` and `hutong watch`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hutong_client::{Language, Timestamp, proto};
use serde_json::json;

use super::{
    Globals,
    output::{Answer, fields, table},
    problem::Problem,
    scrub::damage_line,
    session::{Session, announced_until},
    show,
};

/// `hutong federation …`
#[derive(Debug, Subcommand)]
pub(crate) enum FederationCommand {
    /// Cut all links to other nodes; tills go on. Lasts until `resume` or a restart.
    Pause,
    /// Link up again, and catch up.
    Resume,
}

/// Where to begin.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hutong watch                      from now on
  hutong watch --from 0 --json      from the beginning, one JSON object a line

Each event carries a resume token: give the last one to --from to go on after it, with none missed and none twice.")]
pub(crate) struct WatchArgs {
    /// The token of the last event that was dealt with; 0: from the beginning [default: from now on].
    #[arg(long, value_name = "TOKEN", default_value = "")]
    from: String,
}

pub(crate) async fn status(globals: &Globals) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let status = session.client.get_status(proto::GetStatusRequest {}).await?;
    let mut text = fields([
        ("version", status.version.clone()),
        ("shop", status.shop_id.clone()),
        ("running since", show::time(status.start_time.as_ref())),
        ("peer port", status.peer_address.clone()),
        ("key epoch", status.key_epoch.to_string()),
        ("federation", if status.federation_paused { "paused" } else { "on" }.to_owned()),
        ("memory", if status.memory_bytes == 0 { String::new() } else { show::bytes(status.memory_bytes) }),
    ]);
    for alliance in &status.alliances {
        let announced = announced_until(&session.client, &alliance.alliance_id, &status.shop_id).await;
        text = format!("{text}\n\n{}", alliance_text(alliance, announced.as_ref()));
    }
    Ok(Answer::new(show::status_json(&status), text))
}

fn alliance_text(alliance: &proto::AllianceStatus, announced: Option<&Timestamp>) -> String {
    let head = fields([
        ("alliance", show::label(&alliance.name, &alliance.alliance_id)),
        ("records", alliance.record_count.to_string()),
        ("not folded yet", alliance.unfolded_count.to_string()),
        ("signing", show::signing(&alliance.signing_doubt, Language::En).to_owned()),
        ("standing", announced.map_or_else(|| alliance.own_standing.clone(), show::announced)),
        ("key epoch", alliance.key_epoch.to_string()),
        ("vouchers in doubt until", show::time(alliance.doubtful_until_time.as_ref())),
        ("journal", show::bytes(alliance.journal_bytes)),
        ("last checked", scrubbed(alliance)),
        ("damage", damage(alliance)),
        ("views", show::bytes(alliance.views_bytes)),
    ]);
    let row = |link: &proto::Link| {
        [
            show::label(&link.shop_name, &link.shop_id),
            if link.connected { "yes" } else { "no" }.to_owned(),
            link.record_count.to_string(),
            show::time(link.last_record_time.as_ref()),
            show::time(link.last_heard_time.as_ref()),
            freshness(link),
            link.program_version.clone(),
            link.last_error.clone(),
        ]
    };
    let links = table(
        [
            "member",
            "connected",
            "records",
            "last record",
            "last heard",
            "stale since",
            "program",
            "last error",
        ],
        alliance.links.iter().map(row).collect(),
    );
    format!("{head}\n\n{links}")
}

fn scrubbed(alliance: &proto::AllianceStatus) -> String {
    let scrub = alliance.scrub.as_ref();
    scrub.map(|scrub| show::time(scrub.finish_time.as_ref())).unwrap_or_default()
}

fn damage(alliance: &proto::AllianceStatus) -> String {
    alliance.damages.iter().map(damage_line).collect::<Vec<_>>().join("; ")
}

/// Since when this node may have missed something of a member. While linked it misses nothing for longer than a moment.
fn freshness(link: &proto::Link) -> String {
    match (&link.stale_since_time, link.connected) {
        (_, true) => "fresh".to_owned(),
        (None, false) => "ever".to_owned(),
        (since, false) => show::time(since.as_ref()),
    }
}

pub(crate) async fn federation(globals: &Globals, command: FederationCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let paused = matches!(command, FederationCommand::Pause);
    let answer = session.client.set_federation(proto::SetFederationRequest { paused }).await?;
    let text = if answer.paused {
        session.say("links to other nodes are paused", "与其他节点的连接已暂停")
    } else {
        session.say("links to other nodes are on", "与其他节点的连接已开启")
    };
    Ok(Answer::new(json!({ "paused": answer.paused }), text))
}

pub(crate) async fn watch(globals: &Globals, args: WatchArgs) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let mut resume_token = args.from;
    let request = proto::WatchRequest {
        alliance_id: session.alliance_id.clone(),
        resume_token: resume_token.clone(),
        ..Default::default()
    };
    let mut events = session.client.watch(request).await?;
    let output = globals.output();
    loop {
        let event = tokio::select! {
            event = events.message() => event.map_err(hutong_client::Error::from)?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(Answer::done(ExitCode::SUCCESS));
            }
        };
        let event = event.ok_or_else(|| Problem::StreamEnded { resume_token: resume_token.clone() })?;
        output.print_item(&show::event_json(&event), &event_line(&event))?;
        resume_token = event.resume_token;
    }
}

fn event_line(event: &proto::WatchResponse) -> String {
    let kind = show::word(event.r#type().as_str_name(), "EVENT_TYPE_");
    let about =
        [&event.voucher_id, &event.promotion_id, &event.motion_id].into_iter().find(|id| !id.is_empty());
    format!(
        "{}  {kind:<18} by {}  {}  [{}]",
        show::time(event.record_time.as_ref()),
        show::short(&event.author_id),
        about.map_or("", String::as_str),
        event.resume_token,
    )
}
