//! `hutong key override`: going on with new keys after the old ones were stolen.

use std::path::PathBuf;

use clap::Args;
use hutong_client::{Client, Language, proto};
use hutong_record::{CutOff, Identity, KeyOverride, RecoverySeed};
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, table_of},
    phrase,
    problem::Problem,
    session::Session,
    show,
};
use crate::{
    clock,
    data_folder::{DataFolder, Note},
    identity_file::{self, IdentityFileError},
};

/// How often a plan is made anew where the shop's tills went on meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// From where on the old keys do not count.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hutong key override                            shows what would be kept and cut off, and changes nothing
  hutong key override --phrase-file - --yes      goes on with new keys after the log's last record
  hutong key override --after 1207 --phrase-file - --yes

For a shop whose signing key was stolen. A rotation leaves what the thief signs before it; this cuts it off: whatever any
older key of the shop signed past the record named never counts, at any ally, whenever it comes. That record must be
one which this shop made itself; look through the list for those that it did not. Records of its own past that place are
lost to the books, too, and vouchers and numbers from before are not used until `hutong restore --nothing-lost`.

Vouchers that the old key signed are honoured where a record from before the place shows that they were handed out.
Back up anew after that.")]
pub(crate) struct OverrideArgs {
    /// The last record of this shop's log that is to count before the new keys [default: the last one, where nobody else
    /// can have signed it].
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    after: Option<u64>,
    /// A file with the 24 words of the recovery phrase; -: standard input.
    #[arg(long, value_name = "FILE")]
    phrase_file: Option<PathBuf>,
    /// Do it: without this it is only shown.
    #[arg(long, requires = "phrase_file")]
    yes: bool,
}

pub(crate) async fn run(globals: &Globals, args: &OverrideArgs) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let alliances = alliances(&session).await?;
    if args.after.is_some() && alliances.len() > 1 {
        let which = "--after is a place in one alliance's log: name it with --alliance";
        return Err(Problem::Usage(which.into()).into());
    }
    let plans = plans(&session.client, &alliances, args.after).await?;
    let Some(words) = args.phrase_file.as_ref().filter(|_| args.yes) else {
        return Ok(shown(globals, &plans));
    };
    let data = globals.data()?;
    let seed = identity_file::seed_from_phrase(&phrase::read(words)?)?;
    let identity = identity_file::load(&data)?.identity;
    let owner = Owner { data: &data, seed: &seed, identity: &identity };
    let done = carry_out(&session.client, &owner, plans, args.after).await?;
    data.note(Note::Phrase, clock::now())?;
    Ok(overridden(globals, &done))
}

/// The alliances that it is about: the one named, or all where the shop is a member.
async fn alliances(session: &Session) -> anyhow::Result<Vec<String>> {
    if !session.alliance_id.is_empty() {
        return Ok(vec![session.alliance_id.clone()]);
    }
    let status = session.client.get_status(proto::GetStatusRequest {}).await?;
    let member = status.alliances.into_iter().filter(|alliance| alliance.own_standing == "member");
    let alliances: Vec<_> = member.map(|alliance| alliance.alliance_id).collect();
    if alliances.is_empty() {
        return Err(Problem::Usage("this shop is a member of no alliance".into()).into());
    }
    Ok(alliances)
}

async fn plans(
    client: &Client,
    alliances: &[String],
    after: Option<u64>,
) -> anyhow::Result<Vec<proto::PlanOverrideResponse>> {
    let mut plans = Vec::with_capacity(alliances.len());
    for alliance in alliances {
        let request = proto::PlanOverrideRequest {
            alliance_id: alliance.clone(),
            after_sequence: after.unwrap_or_default(),
        };
        plans.push(client.plan_override(request).await?);
    }
    Ok(plans)
}

/// Who orders it.
struct Owner<'a> {
    data: &'a DataFolder,
    seed: &'a RecoverySeed,
    identity: &'a Identity,
}

/// What came of it.
struct Done {
    plans: Vec<proto::PlanOverrideResponse>,
    key_epoch: u32,
}

/// Lays the next keys and orders the override. Where the shop's tills went on since the plan was made, and nothing was
/// done yet, it is made anew.
async fn carry_out(
    client: &Client,
    owner: &Owner<'_>,
    mut plans: Vec<proto::PlanOverrideResponse>,
    after: Option<u64>,
) -> anyhow::Result<Done> {
    let known = plans.iter().map(|plan| plan.key_epoch).max().unwrap_or_default();
    let epoch = known.saturating_add(1);
    let mut attempts = 1;
    loop {
        let orders = plans.iter().map(|plan| owner.order(plan, epoch)).collect::<anyhow::Result<_>>()?;
        owner.lay_keys(epoch)?;
        match client.override_key(proto::OverrideKeyRequest { orders }).await {
            Ok(_) => return Ok(Done { plans, key_epoch: epoch }),
            Err(error) if error.reason() == Some("LOG_WENT_ON") && attempts < ATTEMPTS_MAX => {
                attempts += 1;
                let alliances: Vec<_> = plans.iter().map(|plan| plan.alliance_id.clone()).collect();
                let again = self::plans(client, &alliances, after).await?;
                if again.iter().any(|plan| plan.key_epoch >= epoch) {
                    return Err(error.into());
                }
                plans = again;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Owner<'_> {
    fn order(&self, plan: &proto::PlanOverrideResponse, epoch: u32) -> anyhow::Result<proto::OverrideOrder> {
        if plan.after_sequence == 0 {
            let which = "this shop's log has records that this node did not sign, or cannot tell from its own: run \
                         `hutong key override` to see them, and name the last one of its own with --after";
            return Err(Problem::Usage(which.into()).into());
        }
        let cut_off = CutOff {
            alliance: plan.alliance_id.parse().map_err(|_| Problem::Answer("alliance_id"))?,
            epoch,
            last_sequence: plan.after_sequence,
            last_id: plan.after_id.parse().map_err(|_| Problem::Answer("after_id"))?,
        };
        if epoch > hutong_record::KEY_EPOCH_MAX {
            return Err(IdentityFileError::LastEpoch.into());
        }
        let made = KeyOverride::create(self.seed, self.identity, &cut_off);
        let made = made.ok_or(IdentityFileError::OtherPhrase)?;
        Ok(proto::OverrideOrder {
            alliance_id: plan.alliance_id.clone(),
            key_override: made.message().encode_to_vec(),
            head_id: plan.head_id.clone(),
        })
    }

    fn lay_keys(&self, epoch: u32) -> anyhow::Result<()> {
        let mut laid = u32::try_from(identity_file::load(self.data)?.later.len())?;
        while laid < epoch {
            laid = identity_file::add_epoch(self.data, self.seed)?;
        }
        Ok(())
    }
}

fn shown(globals: &Globals, plans: &[proto::PlanOverrideResponse]) -> Answer {
    let language = globals.language();
    let texts: Vec<_> = plans.iter().map(|plan| plan_text(language, plan)).collect();
    let json: Vec<_> = plans.iter().map(plan_json).collect();
    let hint = match language {
        Language::En => {
            "Nothing is changed. Do it with --phrase-file FILE --yes, and --after to choose another place."
        }
        Language::Zh => "尚未作任何更改。加上 --phrase-file FILE --yes 执行；用 --after 可另选位置。",
    };
    Answer::new(json!({ "overridden": false, "alliances": json }), texts.join("\n\n")).hint(hint)
}

fn plan_text(language: Language, plan: &proto::PlanOverrideResponse) -> String {
    let zh = language == Language::Zh;
    let alliance = plan.alliance_id.get(..8).unwrap_or(&plan.alliance_id);
    let (after, head, count) = (plan.after_sequence, plan.head_sequence, plan.cut_off_count);
    let title = match (zh, after, count) {
        (false, 0, _) => format!(
            "alliance {alliance}: the log has {head} records, and which is this shop's last own one must be said with --after"
        ),
        (true, 0, _) => {
            format!("联盟 {alliance}：日志有 {head} 条记录，请用 --after 指明本店最后一条自己的记录")
        }
        (false, _, 0) => {
            format!("alliance {alliance}: new keys from record {} on; nothing is cut off", after + 1)
        }
        (true, _, 0) => format!("联盟 {alliance}：从第 {} 条记录起换用新密钥，不作废任何记录", after + 1),
        (false, ..) => {
            format!("alliance {alliance}: new keys from record {} on; {count} records are cut off", after + 1)
        }
        (true, ..) => format!("联盟 {alliance}：从第 {} 条记录起换用新密钥，作废 {count} 条记录", after + 1),
    };
    let header = match language {
        Language::En => ["", "record", "time", "kind", "key epoch", "incarnation"],
        Language::Zh => ["", "记录", "时间", "种类", "密钥期", "轮次"],
    };
    let (kept, cut) = if zh { ("保留", "作废") } else { ("kept", "cut off") };
    let row = |record: &proto::OwnRecord| {
        let verdict = match record.sequence {
            _ if after == 0 => "",
            sequence if sequence <= after => kept,
            _ => cut,
        };
        vec![
            verdict.to_owned(),
            record.sequence.to_string(),
            show::time(record.record_time.as_ref()),
            kind_word(&record.kind),
            record.key_epoch.to_string(),
            record.incarnation.to_string(),
        ]
    };
    let rows = plan.records.iter().map(row).collect();
    format!("{title}\n{}", table_of(header.map(str::to_owned).to_vec(), rows))
}

fn kind_word(kind: &str) -> String {
    kind.strip_prefix("KIND_").unwrap_or(kind).to_lowercase().replace('_', " ")
}

fn plan_json(plan: &proto::PlanOverrideResponse) -> Value {
    let records = plan.records.iter().map(|record| {
        json!({
            "sequence": record.sequence,
            "record_time": show::time_json(record.record_time.as_ref()),
            "kind": record.kind,
            "key_epoch": record.key_epoch,
            "incarnation": record.incarnation,
        })
    });
    json!({
        "alliance_id": plan.alliance_id,
        "after_sequence": (plan.after_sequence > 0).then_some(plan.after_sequence),
        "head_sequence": plan.head_sequence,
        "key_epoch": plan.key_epoch,
        "cut_off_count": plan.cut_off_count,
        "records": records.collect::<Vec<_>>(),
    })
}

fn overridden(globals: &Globals, done: &Done) -> Answer {
    let epoch = done.key_epoch;
    let cut_off: u64 = done.plans.iter().map(|plan| plan.cut_off_count).sum();
    let text = match globals.language() {
        Language::En => format!(
            "this shop signs with its keys of epoch {epoch} now, and {cut_off} records of older keys are cut off: back up anew"
        ),
        Language::Zh => format!("本店现已使用第 {epoch} 期密钥，旧密钥的 {cut_off} 条记录已作废：请重新备份"),
    };
    let alliances = done.plans.iter().map(|plan| {
        json!({
            "alliance_id": plan.alliance_id,
            "after_sequence": plan.after_sequence,
            "cut_off_count": plan.cut_off_count,
        })
    });
    let alliances: Vec<_> = alliances.collect();
    Answer::new(json!({ "overridden": true, "key_epoch": epoch, "alliances": alliances }), text)
}
