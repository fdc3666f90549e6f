//! `hutong motion`: how an alliance decides about itself.

use clap::{Args, Subcommand, ValueEnum};
use hutong_client::{Duration, Language, Timestamp, proto};
use serde_json::json;

use super::{
    Globals,
    output::{Answer, fields},
    problem::Problem,
    resolve::{Named, full_id, listed_id, resolve},
    session::Session,
    show::{
        motion::{motion_json, motions_text, rules_json, rules_text},
        time, time_json,
    },
    value,
};

/// `hutong motion …`
#[derive(Debug, Subcommand)]
pub(crate) enum MotionCommand {
    /// The rules in force, and the season.
    Rules,
    /// Motions and how they stand.
    List {
        /// Those in this state alone.
        #[arg(long, value_enum)]
        state: Option<State>,
    },
    /// Vote for a motion, or against it; core members only, but every member can vouch for a newcomer.
    #[command(after_help = "Example:\n  hutong motion vote 3f9c\n  hutong motion vote 3f9c --against
\nA voice against takes the own vote back; an admission is objected to by it.")]
    Vote {
        /// The beginning of the motion's id.
        motion: String,
        /// The voice is against it.
        #[arg(long)]
        against: bool,
    },
    /// Change the rules.
    #[command(
        after_help = "Examples:\n  hutong motion amend --dormancy 30 --objection-period 7d --reason '假期多'
  hutong motion amend --objection-period 0
\nWhat is left out stays as it is: `hutong motion rules` tells how."
    )]
    Amend(Box<AmendArgs>),
    /// Propose a shop again whose admission was objected to, or another trade for a member.
    Admit {
        /// Name or beginning of the id.
        shop: String,
        /// It is to be a core member.
        #[arg(long)]
        core: bool,
        /// Its trade, at most 40 characters.
        #[arg(long, default_value = "")]
        category: String,
    },
    /// Make a member a core member, or with --ordinary a core member an ordinary one.
    Core {
        /// Name or beginning of the id.
        shop: String,
        /// It is to have no vote any more.
        #[arg(long)]
        ordinary: bool,
        /// Why, at most 500 characters.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let another number of shops of one trade in than the rules say for all.
    #[command(after_help = "Example:\n  hutong motion category 面馆 --shops-max 2")]
    Category {
        /// The trade, at most 40 characters.
        category: String,
        /// How many shops of it there may be.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=512))]
        shops_max: u32,
    },
    /// Give a member a strike; several suspend it.
    #[command(
        after_help = "Example:\n  hutong motion strike 茶馆 --cause missed-dues --reason '三月会费未付'"
    )]
    Strike(StrikeArgs),
    /// Appeal against a strike that this shop got.
    Appeal {
        /// The beginning of the strike's motion id.
        strike: String,
        /// Why, at most 500 characters.
        #[arg(long)]
        statement: String,
    },
    /// Take a strike back that was appealed against.
    Annul {
        /// The beginning of the strike's motion id.
        strike: String,
    },
    /// Begin another season when the present one ends.
    #[command(after_help = "Example:\n  hutong motion renew --until 2027-05-01T00:00:00+08:00")]
    Renew {
        /// When the new season ends.
        #[arg(long, value_parser = value::time)]
        until: Timestamp,
    },
    /// Say that this shop goes on in the next season, or with --stay-behind that it does not.
    GoOn {
        /// Which season [default: the one that was voted for].
        #[arg(long, default_value_t = 0)]
        season: u32,
        /// This shop does not go on.
        #[arg(long)]
        stay_behind: bool,
    },
    /// Let some members go on in an alliance of their own.
    #[command(after_help = "Example:\n  hutong motion split --name 后街 --shop 茶馆 --shop 面馆
\nOne of them then founds it with `hutong alliance create --split-from ID`; each goes by `hutong motion depart`.")]
    Split {
        /// What it is to be called, at most 80 characters.
        #[arg(long)]
        name: String,
        /// Name or beginning of the id; once for each shop.
        #[arg(long = "shop", required = true)]
        shops: Vec<String>,
        /// Why, at most 500 characters.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// This shop leaves: nothing new begins; vouchers are redeemed and debts settled.
    Depart {
        /// The alliance in which it goes on: its id, or the beginning of one that this shop is in.
        #[arg(long, value_name = "ID")]
        to: Option<String>,
        /// The split by which it goes: the beginning of the motion's id.
        #[arg(long, value_name = "ID")]
        split: Option<String>,
        /// Why, at most 500 characters.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Waits for votes.
    Open,
    /// Can be objected to.
    Announced,
    /// Decided.
    Carried,
    /// Stopped by objections.
    Objected,
    /// Overtaken.
    Lapsed,
    /// A strike that was taken back.
    Annulled,
}

impl State {
    const fn to_proto(self) -> proto::MotionState {
        match self {
            Self::Open => proto::MotionState::Open,
            Self::Announced => proto::MotionState::Announced,
            Self::Carried => proto::MotionState::Carried,
            Self::Objected => proto::MotionState::Objected,
            Self::Lapsed => proto::MotionState::Lapsed,
            Self::Annulled => proto::MotionState::Annulled,
        }
    }
}

/// Rules that votes can amend; the charter may begin with them.
#[derive(Debug, Clone, Args)]
pub(crate) struct RulesArgs {
    /// Core members' votes that change the rules [at the founding: as many as admit or remove, whichever are more].
    #[arg(long, value_name = "COUNT")]
    amendment_votes: Option<u32>,
    /// Share of the core members who are awake that must be for it, 0 to 100 [at the founding: 50].
    #[arg(long, value_name = "PERCENT")]
    amendment_percent: Option<u32>,
    /// Members, core or not, who must vouch for a newcomer [at the founding: 0].
    #[arg(long, value_name = "COUNT")]
    sponsors: Option<u32>,
    /// How long an admission is open to objections, at most 90d; 0: not at all [at the founding: not at all].
    #[arg(long, value_name = "DURATION", value_parser = value::duration_or_zero)]
    objection_period: Option<Duration>,
    /// Objections of core members that stop an admission [at the founding: 1].
    #[arg(long, value_name = "COUNT")]
    objection_votes: Option<u32>,
    /// Days of silence after which a core member is not waited for, 7 to 3650; 0: never [at the founding: 0].
    #[arg(long, value_name = "DAYS")]
    dormancy: Option<u32>,
    /// Members of one trade; 0: as many as come [at the founding: 0].
    #[arg(long, value_name = "COUNT")]
    category_shops: Option<u32>,
    /// Core members' votes that give or annul a strike [at the founding: as many as remove].
    #[arg(long, value_name = "COUNT")]
    strike_votes: Option<u32>,
    /// Strikes that suspend a member [at the founding: 3].
    #[arg(long, value_name = "COUNT")]
    strike_limit: Option<u32>,
    /// Days for which a strike counts [at the founding: 365].
    #[arg(long, value_name = "DAYS")]
    strike_days: Option<u32>,
    /// Days for which a member is suspended [at the founding: 30].
    #[arg(long, value_name = "DAYS")]
    suspension_days: Option<u32>,
    /// Days within which a member can appeal [at the founding: 14].
    #[arg(long, value_name = "DAYS")]
    appeal_days: Option<u32>,
}

impl RulesArgs {
    pub(crate) fn to_proto(&self) -> proto::Governance {
        proto::Governance {
            admission_votes: None,
            removal_votes: None,
            amendment_votes: self.amendment_votes,
            amendment_percent: self.amendment_percent,
            admission_sponsors: self.sponsors,
            objection_period: self.objection_period,
            objection_votes: self.objection_votes,
            dormancy_days: self.dormancy,
            category_shops: self.category_shops,
            strike_votes: self.strike_votes,
            strike_limit: self.strike_limit,
            strike_days: self.strike_days,
            suspension_days: self.suspension_days,
            appeal_days: self.appeal_days,
            season_end_time: None,
        }
    }
}

/// What changes.
#[derive(Debug, Args)]
pub(crate) struct AmendArgs {
    /// Core members' votes that admit a shop.
    #[arg(long, value_name = "COUNT")]
    admission_votes: Option<u32>,
    /// Core members' votes that remove a shop.
    #[arg(long, value_name = "COUNT")]
    removal_votes: Option<u32>,
    #[command(flatten)]
    rules: RulesArgs,
    /// Why, at most 500 characters.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Whom, and for what.
#[derive(Debug, Args)]
pub(crate) struct StrikeArgs {
    /// Name or beginning of the id.
    shop: String,
    /// What for.
    #[arg(long, value_enum)]
    cause: Cause,
    /// In own words, at most 500 characters.
    #[arg(long)]
    reason: String,
    /// The id of a record that shows it.
    #[arg(long, default_value = "")]
    evidence: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cause {
    /// Advertised what it did not hold to, or in the name of others.
    Advertising,
    /// Did not pay dues or debts.
    MissedDues,
    /// Signed two records in one place.
    Fork,
    /// Honoured or passed on a voucher twice.
    DoubleSpend,
    /// Kept back its secret in a draw.
    WithheldSecret,
    /// As the reason says.
    Other,
}

impl Cause {
    const fn to_proto(self) -> proto::StrikeCause {
        match self {
            Self::Advertising => proto::StrikeCause::Advertising,
            Self::MissedDues => proto::StrikeCause::MissedDues,
            Self::Fork => proto::StrikeCause::Fork,
            Self::DoubleSpend => proto::StrikeCause::DoubleSpend,
            Self::WithheldSecret => proto::StrikeCause::WithheldSecret,
            Self::Other => proto::StrikeCause::Other,
        }
    }
}

pub(crate) async fn run(globals: &Globals, command: MotionCommand) -> anyhow::Result<Answer> {
    use proto::propose_motion_request::Content;
    let session = Session::open(globals).await?;
    match command {
        MotionCommand::Rules => rules(&session).await,
        MotionCommand::List { state } => list(&session, state).await,
        MotionCommand::Vote { motion, against } => vote(&session, &motion, against).await,
        MotionCommand::Amend(args) => {
            let change = proto::Governance {
                admission_votes: args.admission_votes,
                removal_votes: args.removal_votes,
                ..args.rules.to_proto()
            };
            let amendment = proto::AmendmentMotion { change: Some(change), reason: args.reason };
            propose(&session, Content::Amendment(amendment)).await
        }
        MotionCommand::Admit { shop, core, category } => {
            let [shop_id] = session.shops([shop.as_str()]).await?;
            propose(
                &session,
                Content::Admission(proto::AdmissionMotion { shop_id, core, category, ..Default::default() }),
            )
            .await
        }
        MotionCommand::Core { shop, ordinary, reason } => {
            let [shop_id] = session.shops([shop.as_str()]).await?;
            let change = proto::CoreChangeMotion { shop_id, core: !ordinary, reason };
            propose(&session, Content::CoreChange(change)).await
        }
        MotionCommand::Category { category, shops_max } => {
            propose(&session, Content::CategoryLimit(proto::CategoryLimit { category, shops_max })).await
        }
        MotionCommand::Strike(args) => strike(&session, args).await,
        MotionCommand::Appeal { strike, statement } => appeal(&session, &strike, statement).await,
        MotionCommand::Annul { strike } => {
            let strike_id = motion_id(&session, &strike).await?;
            propose(&session, Content::Annulment(proto::AnnulmentMotion { strike_id })).await
        }
        MotionCommand::Renew { until } => {
            let renewal = proto::RenewalMotion { season: 0, end_time: Some(until) };
            propose(&session, Content::Renewal(renewal)).await
        }
        MotionCommand::GoOn { season, stay_behind } => go_on(&session, season, !stay_behind).await,
        MotionCommand::Split { name, shops, reason } => {
            let shops: Vec<_> = shops.iter().map(String::as_str).collect();
            let shop_ids = session.shop_list(&shops).await?;
            propose(&session, Content::Split(proto::SplitMotion { name, shop_ids, reason })).await
        }
        MotionCommand::Depart { to, split, reason } => depart(&session, to, split, reason).await,
    }
}

async fn propose(
    session: &Session,
    content: proto::propose_motion_request::Content,
) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let request = proto::ProposeMotionRequest { alliance_id, content: Some(content) };
    answer(session, session.client.propose_motion(request).await?.motion).await
}

async fn answer(session: &Session, motion: Option<proto::Motion>) -> anyhow::Result<Answer> {
    let motion = motion.ok_or(Problem::Answer("motion"))?;
    let names = session.names().await;
    let answer = Answer::new(motion_json(&motion), motions_text(std::slice::from_ref(&motion), &names));
    Ok(match motion.state() {
        proto::MotionState::Open => answer.hint(session.say(
            "It waits for votes: others run `hutong motion vote` with the beginning of its id.",
            "等待表决：请其他核心成员执行 `hutong motion vote`，写动议编号的开头即可。",
        )),
        _ => answer,
    })
}

async fn strike(session: &Session, args: StrikeArgs) -> anyhow::Result<Answer> {
    let [shop_id] = session.shops([args.shop.as_str()]).await?;
    let strike = proto::StrikeMotion {
        shop_id,
        cause: args.cause.to_proto().into(),
        evidence_id: args.evidence,
        reason: args.reason,
        appeal: String::new(),
    };
    propose(session, proto::propose_motion_request::Content::Strike(strike)).await
}

async fn appeal(session: &Session, strike: &str, statement: String) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let strike_id = motion_id(session, strike).await?;
    let request = proto::AppealStrikeRequest { alliance_id, strike_id, statement };
    answer(session, session.client.appeal_strike(request).await?.motion).await
}

async fn vote(session: &Session, motion: &str, against: bool) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let motion_id = motion_id(session, motion).await?;
    let request = proto::VoteOnMotionRequest { alliance_id, motion_id, against };
    answer(session, session.client.vote_on_motion(request).await?.motion).await
}

async fn list(session: &Session, state: Option<State>) -> anyhow::Result<Answer> {
    let mut motions = session.client.all_motions(&session.alliance_id).await?;
    motions.retain(|motion| state.is_none_or(|state| motion.state() == state.to_proto()));
    in_order_of_time(&mut motions);
    let names = session.names().await;
    Ok(Answer::new(motions.iter().map(motion_json).collect(), motions_text(&motions, &names)))
}

/// The oldest first, as they were proposed; those of one moment by id.
fn in_order_of_time(motions: &mut [proto::Motion]) {
    let proposed = |motion: &proto::Motion| motion.propose_time.map(|time| (time.seconds, time.nanos));
    motions.sort_by(|one, other| (proposed(one), &one.id).cmp(&(proposed(other), &other.id)));
}

async fn rules(session: &Session) -> anyhow::Result<Answer> {
    let request = proto::GetGovernanceRequest { alliance_id: session.alliance_id.clone() };
    let told = session.client.get_governance(request).await?;
    Ok(Answer::new(rules_json(&told), rules_text(&told)))
}

async fn go_on(session: &Session, season: u32, goes_on: bool) -> anyhow::Result<Answer> {
    let request = proto::ChooseSeasonRequest { alliance_id: session.alliance_id.clone(), season, goes_on };
    let season = session.client.choose_season(request).await?.season;
    let text = match (session.language, goes_on) {
        (Language::En, true) => format!("this shop goes on in season {season}"),
        (Language::En, false) => format!("this shop stays behind at the beginning of season {season}"),
        (Language::Zh, true) => format!("本店参加第 {season} 届"),
        (Language::Zh, false) => format!("本店不参加第 {season} 届"),
    };
    Ok(Answer::new(json!({ "season": season, "goes_on": goes_on }), text))
}

async fn depart(
    session: &Session,
    to: Option<String>,
    split: Option<String>,
    reason: String,
) -> anyhow::Result<Answer> {
    let next_alliance_id = match to {
        None => String::new(),
        Some(text) => alliance_id(session, &text).await?,
    };
    let split_id = match split {
        None => String::new(),
        Some(text) => motion_id(session, &text).await?,
    };
    let alliance_id = session.alliance_id.clone();
    let request = proto::DepartAllianceRequest { alliance_id, next_alliance_id, split_id, reason };
    let departed = session.client.depart_alliance(request).await?.departure_time;
    let text = fields([("left", time(departed.as_ref()))]);
    Ok(Answer::new(json!({ "departure_time": time_json(departed.as_ref()) }), text).hint(session.say(
        "Keep the node running until its vouchers are used or past their time and its debts are settled.",
        "请让节点继续运行，直到本店的券用完或过期、账目结清。",
    )))
}

async fn alliance_id(session: &Session, text: &str) -> anyhow::Result<String> {
    if let Some(id) = full_id(text) {
        return Ok(id);
    }
    let alliances = session.client.all_alliances().await?;
    let known: Vec<_> = alliances.into_iter().map(|a| Named { id: a.id, name: a.name }).collect();
    Ok(resolve("alliance", text, &known)?)
}

/// A motion's id by its beginning.
pub(crate) async fn motion_id(session: &Session, text: &str) -> anyhow::Result<String> {
    listed_id("motion", text, session.client.all_motions(&session.alliance_id), |motion| motion.id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn motions_are_listed_in_the_order_in_which_they_were_proposed() {
        let motion = |id: &str, seconds, nanos| proto::Motion {
            id: id.to_owned(),
            propose_time: Some(Timestamp { seconds, nanos }),
            ..Default::default()
        };
        let mut motions = [motion("a", 3, 0), motion("c", 1, 5), motion("d", 1, 1), motion("b", 1, 5)];
        in_order_of_time(&mut motions);
        assert_eq!(motions.map(|motion| motion.id).concat(), "dbca");
    }
}
