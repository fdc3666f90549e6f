//! The one table of metrics.

use std::sync::atomic::AtomicU64;

use hutong_core::command::{Command, GovernCommand};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// A histogram in a family is made by this.
type NewHistogram = fn() -> Histogram;
/// A gauge of seconds or of amounts that may have fractions.
type Fraction = Gauge<f64, AtomicU64>;

/// From a tenth of a millisecond, which a fast disk's sync takes, to the seconds after which tills give up.
fn seconds() -> Histogram {
    const BOUNDS: [f64; 14] =
        [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
    Histogram::new(BOUNDS)
}

/// Records of one group: up to the writer's bound, and what one answer may add to it.
fn records() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0])
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// As it is exposed; a histogram has `_bucket`, `_sum` and `_count` after it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it is broken down by.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($field:ident: $type:ty = $new:expr, $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// Every metric, to count with.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub(crate) $field: $type,)*
        }

        /// Every metric there is, in the order in which it is told.
        pub const TABLE: &[Row] =
            &[$(Row { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help }),*];

        impl Metrics {
            pub(super) fn registered(registry: &mut Registry) -> Self {
                $(
                    let $field: $type = $new;
                    // The encoder adds the suffix of counters by itself.
                    let name = $name.strip_suffix("_total").unwrap_or($name);
                    registry.register(name, $help, $field.clone());
                )*
                Self { $($field),* }
            }
        }
    };
}

metrics! {
    build_info: Family<BuildLabels, Gauge> = Family::default(), Gauge "hutong_build_info" ["version", "format", "views"] "1; the program's version, and those of the data and the views that it writes";
    commands: Family<CommandLabels, Counter> = Family::default(), Counter "hutong_commands_total" ["command", "outcome"] "Commands of tills, apps and the node itself, by outcome: done or refused";
    refusals: Family<ReasonLabels, Counter> = Family::default(), Counter "hutong_refusals_total" ["reason"] "Refused commands, by reason";
    command_seconds: Family<NameLabels, Histogram, NewHistogram> = Family::new_with_constructor(seconds), Histogram "hutong_command_seconds" ["command"] "From when a command was put into the writer's queue until its answer was durable";
    group_records: Histogram = records(), Histogram "hutong_group_records" [] "Records that were made durable by one sync";
    queue_jobs: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_writer_queue_jobs" ["alliance"] "Jobs that wait for the writer; at 1024 tills are told to come again";
    journal_records: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_journal_records" ["alliance"] "Records that can be read";
    journal_bytes: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_journal_bytes" ["alliance"] "What the journal's files take";
    journal_lost_records: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_journal_lost_records" ["alliance"] "Records that damage has made unreadable, as found at the start or by the last pass over the journal";
    journal_damages: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_journal_damages" ["alliance"] "Damaged places in the journal that are not healed yet";
    journal_set_aside: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_journal_set_aside_segments" ["alliance"] "Damaged segment files that are kept for whoever looks into the disk";
    journal_scrubbed_bytes: Counter = Counter::default(), Counter "hutong_journal_scrubbed_bytes_total" [] "Bytes of journals that were read again to check them";
    journal_scrubs: Counter = Counter::default(), Counter "hutong_journal_scrubs_total" [] "Passes over a journal that came to their end";
    journal_healed_records: Counter = Counter::default(), Counter "hutong_journal_healed_records_total" [] "Records that damage had taken and that members sent again";
    journal_written_bytes: Counter = Counter::default(), Counter "hutong_journal_written_bytes_total" [] "Bytes appended to journals";
    journal_sync_seconds: Histogram = seconds(), Histogram "hutong_journal_sync_seconds" [] "One fdatasync of a journal";
    views_bytes: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_views_bytes" ["alliance"] "What sled takes for the views";
    fold_lag_records: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_fold_lag_records" ["alliance"] "Records held and not folded yet; those that wait for others are among them";
    ingests: Family<IngestLabels, Counter> = Family::default(), Counter "hutong_ingests_total" ["outcome"] "Answers and pushes of peers, by what became of their records: accepted, later, diverged, earlier or faulty";
    members: Family<StandingLabels, Gauge> = Family::default(), Gauge "hutong_members" ["alliance", "standing"] "Shops in the roster: member, pending, removed or frozen";
    forks: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_forked_members" ["alliance"] "Members whose log is proven to have two branches";
    signing: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_signing" ["alliance"] "1: this shop signs; 0: it is not sure how far its log goes, or is frozen";
    links: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_links" ["alliance"] "Members that this node has a link to now";
    reachable: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_members_reachable" ["alliance"] "Members that this node is linked to or has heard within five minutes";
    dials: Family<DialLabels, Counter> = Family::default(), Counter "hutong_dials_total" ["outcome"] "Attempts to reach a member: connected or failed";
    links_opened: Family<DirectionLabels, Counter> = Family::default(), Counter "hutong_links_opened_total" ["direction"] "Links that came up; out: this node dialled";
    links_closed: Counter = Counter::default(), Counter "hutong_links_closed_total" [] "Links that went down";
    frames: Family<FrameLabels, Counter> = Family::default(), Counter "hutong_sync_frames_total" ["direction", "frame"] "Frames of replication, by direction: in or out";
    sync_records: Family<DirectionLabels, Counter> = Family::default(), Counter "hutong_sync_records_total" ["direction"] "Records in frames, wanted or not";
    sync_bytes: Family<DirectionLabels, Counter> = Family::default(), Counter "hutong_sync_record_bytes_total" ["direction"] "Bytes of the records in frames";
    round_trips: Counter = Counter::default(), Counter "hutong_sync_round_trips_total" [] "Wants of this node that a peer has answered";
    logs_behind: Family<PeerLabels, Gauge> = Family::default(), Gauge "hutong_sync_logs_behind" ["alliance", "peer"] "Logs of which a linked peer says that it has more than this node";
    member_stale_seconds: Family<MemberLabels, Fraction> = Family::default(), Gauge "hutong_member_stale_seconds" ["alliance", "member"] "How old what this node knows of a member is: since its last record or word, 0 while linked; the 32 most silent";
    clock_ahead_seconds: Family<AllianceLabels, Fraction> = Family::default(), Gauge "hutong_clock_ahead_seconds" ["alliance"] "How far the newest record of another member lies ahead of this node's clock; 0: none does";
    vouchers_issued: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_vouchers_issued" ["alliance"] "Vouchers that this shop has handed out since it joined";
    vouchers_open: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_vouchers_open" ["alliance"] "Of these, not known to be used; past ones are among them";
    redemptions: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_vouchers_redeemed" ["alliance"] "Vouchers redeemed at this shop, less those taken back";
    voids: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_redemptions_voided" ["alliance"] "Redemptions of this shop that were taken back";
    doubles: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_double_redemptions" ["alliance"] "Uses of a voucher beyond those it has, in any record that this shop can read";
    risk_open: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_risk_open_minor" ["alliance"] "Discounts accepted at this shop's risk whose right has not arrived, minor units";
    risk_lost: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_risk_lost_minor" ["alliance"] "Discounts accepted at risk that turned out to be second uses: this shop's loss, minor units";
    duties: Family<AllianceLabels, Gauge> = Family::default(), Gauge "hutong_duties_waiting" ["alliance"] "What this node owes others and has not done yet; counted up to 1000";
    calls: Family<CallLabels, Counter> = Family::default(), Counter "hutong_grpc_requests_total" ["port", "method", "code"] "Calls, by port (merchant or peer), method and gRPC code; a stream's code is that of its beginning";
    call_seconds: Family<MethodLabels, Histogram, NewHistogram> = Family::new_with_constructor(seconds), Histogram "hutong_grpc_request_seconds" ["port", "method"] "From a call's headers to the beginning of its answer";
    calls_in_flight: Family<PortLabels, Gauge> = Family::default(), Gauge "hutong_grpc_requests_in_flight" ["port"] "Calls whose answer has not begun";
    paused: Gauge = Gauge::default(), Gauge "hutong_federation_paused" [] "1: links to other nodes are paused";
    disk_free_bytes: Gauge = Gauge::default(), Gauge "hutong_disk_free_bytes" [] "Free space where the data folder lies";
    backup_age_seconds: Fraction = Fraction::default(), Gauge "hutong_backup_age_seconds" [] "Since the last `hutong backup`, or since the folder was set up; -1: not known";
    spans_dropped: Counter = Counter::default(), Counter "hutong_trace_spans_dropped_total" [] "Trace spans that were not sent, for the collector did not keep up or was not there";
    sample_failures: Counter = Counter::default(), Counter "hutong_metrics_sample_failures_total" [] "Times that a gauge of this page could not be read from the views";
    memory_bytes: Gauge = Gauge::default(), Gauge "process_resident_memory_bytes" [] "Memory";
    open_files: Gauge = Gauge::default(), Gauge "process_open_fds" [] "Open files and sockets";
    open_files_max: Gauge = Gauge::default(), Gauge "process_max_fds" [] "Their limit";
    threads: Gauge = Gauge::default(), Gauge "process_threads" [] "Threads";
    start_time_seconds: Fraction = Fraction::default(), Gauge "process_start_time_seconds" [] "When the node started, Unix time";
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BuildLabels {
    pub(super) version: &'static str,
    pub(super) format: u32,
    pub(super) views: u32,
}

/// A command and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CommandLabels {
    pub(crate) command: &'static str,
    pub(crate) outcome: Outcome,
}

/// What came of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    Refused,
}

/// A refusal's stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct NameLabels {
    pub(crate) command: &'static str,
}

/// What became of a peer's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IngestLabels {
    pub(crate) outcome: &'static str,
}

/// An alliance, by the beginning of its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AllianceLabels {
    pub(super) alliance: String,
}

/// Shops of a standing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StandingLabels {
    pub(super) alliance: String,
    pub(super) standing: &'static str,
}

/// A linked member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PeerLabels {
    pub(super) alliance: String,
    pub(super) peer: String,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MemberLabels {
    pub(super) alliance: String,
    pub(super) member: String,
}

/// Whether a dial succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DialLabels {
    pub(crate) outcome: DialOutcome,
}

/// What came of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DialOutcome {
    Connected,
    Failed,
}

/// In or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DirectionLabels {
    pub(crate) direction: Direction,
}

/// Which way something went, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    In,
    Out,
}

/// A frame's direction and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FrameLabels {
    pub(crate) direction: Direction,
    pub(crate) frame: &'static str,
}

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PortLabels {
    pub(crate) port: &'static str,
}

/// A method of a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MethodLabels {
    pub(crate) port: &'static str,
    pub(crate) method: std::sync::Arc<str>,
}

/// A method of a port, and how a call of it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    pub(crate) port: &'static str,
    pub(crate) method: std::sync::Arc<str>,
    pub(crate) code: &'static str,
}

macro_rules! words {
    ($type:ident: $($variant:ident $word:literal),*) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&match self { $(Self::$variant => $word),* }, encoder)
            }
        }
    };
}

words!(Outcome: Done "done", Refused "refused");
words!(DialOutcome: Connected "connected", Failed "failed");
words!(Direction: In "in", Out "out");

/// A command's name.
pub(crate) const fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Found => "found",
        Command::RotateKey(_) => "rotate_key",
        Command::OverrideKey(_) => "override_key",
        Command::ContinueShop(_) => "continue_shop",
        Command::CarryOver(_) => "carry_over",
        Command::Profile(_) => "profile",
        Command::Invite(_) => "invite",
        Command::InviteOpenly(_) => "invite_openly",
        Command::AdmitGuest { .. } => "admit_guest",
        Command::BringGuest(_) => "bring_guest",
        Command::Approve { .. } => "approve",
        Command::Remove { .. } => "remove",
        Command::Govern(act) => match act {
            GovernCommand::Propose { .. } => "propose",
            GovernCommand::Vote { .. } => "vote",
            GovernCommand::Appeal { .. } => "appeal",
            GovernCommand::ChooseSeason { .. } => "choose_season",
            GovernCommand::Depart { .. } => "depart",
        },
        Command::Publish { .. } => "publish",
        Command::EndPromotion { .. } => "end_promotion",
        Command::Sell(_) => "sell",
        Command::Issue(_) => "issue",
        Command::Redeem(_) => "redeem",
        Command::Void(_) => "void",
        Command::Touch(_) => "touch",
        Command::Transfer(_) => "transfer",
        Command::AskRight(_) => "ask_right",
        Command::Revoke(_) => "revoke",
        Command::Reserve(_) => "reserve",
        Command::MoveQuota(_) => "move_quota",
        // Duties, which the writer gives itself.
        _ => "other",
    }
}
