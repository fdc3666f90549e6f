//! `hutong settlement`: what is owed, line by line, agreed, netted and paid.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use hutong_client::{Timestamp, proto};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields, table},
    problem::Problem,
    sale::RequestIdArg,
    session::Session,
    show::{Names, money, money_json, time, time_json, word},
    value, whole_file,
};

/// `hutong settlement …`
#[derive(Debug, Subcommand)]
pub(crate) enum SettlementCommand {
    /// The book of this shop and an ally, line by line.
    Book(BookArgs),
    /// Accept a receipt.
    Accept(ReceiptArgs),
    /// Dispute a receipt, within 14 days: what it books stays out of statements.
    #[command(
        after_help = "Example:\n  hutong settlement dispute 3f… --reason amount --text '实收 30 元' --evidence-file slip.txt"
    )]
    Dispute(DisputeArgs),
    /// Take a dispute back.
    Withdraw(ReceiptArgs),
    /// Give in to a dispute of this shop's own receipt: nothing is owed for it.
    Concede(ReceiptArgs),
    /// Statements: what both hold to be owed at the end of a period.
    #[command(subcommand)]
    Statement(StatementCommand),
    /// Say that this shop paid an ally.
    #[command(
        after_help = "Example:\n  hutong settlement pay 张记包子 --amount 128.50 --reference BANK-4711"
    )]
    Pay(PayArgs),
    /// Say that an ally's payment came (or, with --deny, that it did not).
    Confirm(ConfirmArgs),
    /// Payments of this shop.
    Payments {
        /// With this ally only.
        #[arg(long, value_name = "SHOP")]
        ally: Option<String>,
    },
    /// Disclose the last agreed balance with an ally to the alliance, so that it can be netted.
    Publish {
        /// Name or beginning of the id.
        ally: String,
    },
    /// Netting: cancel disclosed balances around the circle.
    #[command(subcommand)]
    Net(NetCommand),
    /// How much allies may come to owe this shop.
    #[command(subcommand)]
    Exposure(ExposureCommand),
}

/// Which lines.
#[derive(Debug, Args)]
pub(crate) struct BookArgs {
    /// Name or beginning of the id.
    ally: String,
    /// From this moment on.
    #[arg(long, value_parser = value::time)]
    from: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_parser = value::time)]
    until: Option<Timestamp>,
}

/// Which receipt.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArgs {
    /// The receipt's id, as the book tells it.
    receipt: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Why a receipt is disputed.
#[derive(Debug, Args)]
pub(crate) struct DisputeArgs {
    /// The receipt's id, as the book tells it.
    receipt: String,
    /// Why.
    #[arg(long, value_enum)]
    reason: Reason,
    /// In own words, at most 500 characters.
    #[arg(long, default_value = "")]
    text: String,
    /// The id of a record that speaks for it.
    #[arg(long, default_value = "")]
    evidence: String,
    /// A document that speaks for it, at most 4096 bytes.
    #[arg(long, value_name = "FILE")]
    evidence_file: Option<PathBuf>,
    #[command(flatten)]
    request: RequestIdArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    /// There was no such purchase.
    NoPurchase,
    /// The amount is another one.
    Amount,
    /// The customer was not sent by the shop that is credited.
    Credit,
    /// The goods came back.
    Returned,
    /// The redeemer's own people or family.
    SelfDealing,
    /// As the text says.
    Other,
}

/// `hutong settlement statement …`
#[derive(Debug, Subcommand)]
pub(crate) enum StatementCommand {
    /// How a statement stands; what this shop would sign now where nobody has.
    Show {
        /// Name or beginning of the id.
        ally: String,
        /// Which [default: the one after the last agreed].
        #[arg(long, default_value_t = 0)]
        number: u32,
        /// For what nobody has signed: the end of its period [default: the charter's latest].
        #[arg(long, value_parser = value::time)]
        end: Option<Timestamp>,
    },
    /// All statements with an ally.
    List {
        /// Name or beginning of the id.
        ally: String,
    },
    /// Sign the next statement with an ally.
    #[command(after_help = "Examples:
  hutong settlement statement sign 张记包子
  hutong settlement statement sign 张记包子 --end 2026-06-01T00:00:00+08:00")]
    Sign {
        /// Name or beginning of the id.
        ally: String,
        /// The end of its period [default: the ally's where it has signed, else the charter's latest].
        #[arg(long, value_parser = value::time)]
        end: Option<Timestamp>,
        /// List the lines of this day, YYYY-MM-DD, for comparing.
        #[arg(long, default_value = "")]
        list_day: String,
    },
    /// What differs between this shop's statement and the ally's, record by record.
    Compare {
        /// Name or beginning of the id.
        ally: String,
        /// Which [default: the one after the last agreed].
        #[arg(long, default_value_t = 0)]
        number: u32,
    },
}

/// What was paid.
#[derive(Debug, Args)]
pub(crate) struct PayArgs {
    /// Who was paid: name or beginning of the id.
    ally: String,
    /// How much: 1250 (minor units) or 12.50.
    #[arg(long, value_name = "MONEY")]
    amount: value::MoneyArg,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    /// The bank's or app's own name for it, at most 64 characters.
    #[arg(long, default_value = "")]
    reference: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Which payment.
#[derive(Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// The payment's id.
    payment: String,
    /// It did not come.
    #[arg(long)]
    deny: bool,
    /// Why not, at most 200 characters.
    #[arg(long, default_value = "", requires = "deny")]
    reason: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// `hutong settlement net …`
#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// Net what was disclosed for a period, and propose it to the alliance.
    Propose {
        /// The end of the period [default: the latest that a balance was disclosed for].
        #[arg(long, value_parser = value::time)]
        end: Option<Timestamp>,
    },
    /// Agree to a run.
    Consent {
        /// The run's id.
        run: String,
    },
    /// A run: its debts, what is left of them, and who has consented.
    Show {
        /// The run's id.
        run: String,
    },
    /// All runs.
    List,
    /// Write a run to two files that `hutong netting verify` checks.
    #[command(after_help = "Example:
  hutong settlement net export 3f… --debts debts.csv --result netting.json
  hutong netting verify --input debts.csv --result netting.json")]
    Export {
        /// The run's id.
        run: String,
        /// Where the debts go, as CSV.
        #[arg(long, value_name = "FILE")]
        debts: PathBuf,
        /// Where the result goes, as JSON.
        #[arg(long, value_name = "FILE")]
        result: PathBuf,
    },
    /// Whether the node consents by itself to runs that take this shop's balances as they are.
    Auto {
        /// `on` or `off`.
        #[arg(value_enum)]
        rule: Switch,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// The node consents by itself.
    On,
    /// Each consent is given by hand.
    Off,
}

/// `hutong settlement exposure …`
#[derive(Debug, Subcommand)]
pub(crate) enum ExposureCommand {
    /// Limit how much an ally may come to owe; a limit that is left out is taken off.
    #[command(after_help = "Examples:
  hutong settlement exposure set --warn 300.00 --stop 500.00
  hutong settlement exposure set --ally 张记包子 --stop 1000.00")]
    Set {
        /// Name or beginning of the id [default: all allies that have no limits of their own].
        #[arg(long, value_name = "SHOP")]
        ally: Option<String>,
        /// Above this there is a warning.
        #[arg(long, value_name = "MONEY")]
        warn: Option<value::MoneyArg>,
        /// Above this no voucher is handed out that makes the ally owe more.
        #[arg(long, value_name = "MONEY")]
        stop: Option<value::MoneyArg>,
    },
    /// Allies, their limits, and how they stand.
    List,
}

pub(crate) async fn run(globals: &Globals, command: SettlementCommand) -> anyhow::Result<Answer> {
    use SettlementCommand as C;
    use proto::ReceiptAnswer as A;
    let session = Session::open(globals).await?;
    match command {
        C::Book(args) => book(&session, args).await,
        C::Accept(args) => respond(&session, args, A::Accept).await,
        C::Withdraw(args) => respond(&session, args, A::Withdraw).await,
        C::Concede(args) => respond(&session, args, A::Concede).await,
        C::Dispute(args) => dispute(&session, args).await,
        C::Statement(command) => statement(&session, command).await,
        C::Pay(args) => pay(&session, args).await,
        C::Confirm(args) => confirm(&session, args).await,
        C::Payments { ally } => payments(&session, ally).await,
        C::Publish { ally } => publish(&session, &ally).await,
        C::Net(command) => net(&session, command).await,
        C::Exposure(command) => exposure(&session, command).await,
    }
}

async fn book(session: &Session, args: BookArgs) -> anyhow::Result<Answer> {
    let [ally_id] = session.shops([args.ally.as_str()]).await?;
    let mut request = proto::ListBookLinesRequest {
        alliance_id: session.alliance_id.clone(),
        ally_id,
        from_time: args.from,
        until_time: args.until,
        page_size: 1_000,
        page_token: String::new(),
    };
    let mut lines = Vec::new();
    loop {
        let page = session.client.list_book_lines(request.clone()).await?;
        lines.extend(page.lines);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let names = session.names().await;
    let row = |line: &proto::BookLine| {
        [
            time(line.time.as_ref()),
            word(line.r#type().as_str_name(), "BOOK_LINE_TYPE_"),
            names.label(&line.debtor_id),
            names.label(&line.creditor_id),
            money(line.amount.as_ref()),
            if line.disputed { "disputed" } else { "" }.to_owned(),
            line.receipt_id.clone(),
        ]
    };
    let header = ["time", "what", "debtor", "creditor", "amount", "", "receipt"];
    let text = table(header, lines.iter().map(row).collect());
    Ok(Answer::new(lines.iter().map(line_json).collect(), text))
}

fn line_json(line: &proto::BookLine) -> Value {
    json!({
        "record_id": line.record_id,
        "index": line.index,
        "time": time_json(line.time.as_ref()),
        "type": word(line.r#type().as_str_name(), "BOOK_LINE_TYPE_"),
        "debtor_id": line.debtor_id,
        "creditor_id": line.creditor_id,
        "amount": money_json(line.amount.as_ref()),
        "receipt_id": line.receipt_id,
        "disputed": line.disputed,
    })
}

async fn respond(
    session: &Session,
    args: ReceiptArgs,
    answer: proto::ReceiptAnswer,
) -> anyhow::Result<Answer> {
    let request = proto::RespondToReceiptRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: args.request.or_random(),
        receipt_id: args.receipt,
        answer: answer.into(),
        ..Default::default()
    };
    send_response(session, request).await
}

async fn dispute(session: &Session, args: DisputeArgs) -> anyhow::Result<Answer> {
    let reason = match args.reason {
        Reason::NoPurchase => proto::DisputeReason::NoPurchase,
        Reason::Amount => proto::DisputeReason::Amount,
        Reason::Credit => proto::DisputeReason::Credit,
        Reason::Returned => proto::DisputeReason::Returned,
        Reason::SelfDealing => proto::DisputeReason::SelfDealing,
        Reason::Other => proto::DisputeReason::Other,
    };
    let evidence = match &args.evidence_file {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => Vec::new(),
    };
    let request = proto::RespondToReceiptRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: args.request.or_random(),
        receipt_id: args.receipt,
        answer: proto::ReceiptAnswer::Dispute.into(),
        reason: reason.into(),
        text: args.text,
        evidence_id: args.evidence,
        evidence,
    };
    send_response(session, request).await
}

async fn send_response(session: &Session, request: proto::RespondToReceiptRequest) -> anyhow::Result<Answer> {
    let request_id = request.request_id.clone();
    let record_id = session.client.respond_to_receipt(request).await?.record_id;
    let json = json!({ "request_id": request_id, "record_id": record_id });
    Ok(Answer::new(json, format!("on record as {record_id}")).hint(format!("request id {request_id}")))
}

async fn statement(session: &Session, command: StatementCommand) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    match command {
        StatementCommand::Show { ally, number, end } => {
            let [ally_id] = session.shops([ally.as_str()]).await?;
            let request = proto::GetStatementRequest { alliance_id, ally_id, number, period_end_time: end };
            tell(session, session.client.get_statement(request).await?.statement).await
        }
        StatementCommand::List { ally } => {
            let [ally_id] = session.shops([ally.as_str()]).await?;
            let all = session.client.all_statements(&alliance_id, &ally_id).await?;
            let header = ["number", "until", "state", "opening", "lines", "closing", "disputed"];
            let text = table(header, all.iter().map(statement_row).collect());
            Ok(Answer::new(all.iter().map(statement_json).collect(), text))
        }
        StatementCommand::Sign { ally, end, list_day } => {
            let [ally_id] = session.shops([ally.as_str()]).await?;
            let request =
                proto::SignStatementRequest { alliance_id, ally_id, period_end_time: end, list_day };
            tell(session, session.client.sign_statement(request).await?.statement).await
        }
        StatementCommand::Compare { ally, number } => {
            let [ally_id] = session.shops([ally.as_str()]).await?;
            let request = proto::CompareStatementRequest { alliance_id, ally_id, number };
            Ok(differences(&session.client.compare_statement(request).await?))
        }
    }
}

async fn tell(session: &Session, statement: Option<proto::Statement>) -> anyhow::Result<Answer> {
    let statement = statement.ok_or(Problem::Answer("statement"))?;
    let names = session.names().await;
    let text = fields([
        ("ally", names.label(&statement.ally_id)),
        ("number", statement.number.to_string()),
        ("from", time(statement.period_start_time.as_ref())),
        ("until", time(statement.period_end_time.as_ref())),
        ("state", state(&statement)),
        ("carried over", money(statement.opening.as_ref())),
        ("lines", format!("{} ({})", money(statement.lines.as_ref()), statement.line_count)),
        ("corrections", money(statement.correction.as_ref())),
        ("owed to us", money(statement.closing.as_ref())),
        ("disputed", money(statement.disputed.as_ref())),
        ("digest", statement.digest.clone()),
    ]);
    let answer = Answer::new(statement_json(&statement), text);
    Ok(match statement.state() {
        proto::StatementState::Differs => {
            answer.hint("The ally signed something else: see `hutong settlement statement compare`.")
        }
        proto::StatementState::Offered => answer.hint("The ally has signed; sign it, too, to agree."),
        _ => answer,
    })
}

fn state(statement: &proto::Statement) -> String {
    word(statement.state().as_str_name(), "STATEMENT_STATE_")
}

fn statement_row(statement: &proto::Statement) -> [String; 7] {
    [
        statement.number.to_string(),
        time(statement.period_end_time.as_ref()),
        state(statement),
        money(statement.opening.as_ref()),
        money(statement.lines.as_ref()),
        money(statement.closing.as_ref()),
        money(statement.disputed.as_ref()),
    ]
}

fn statement_json(statement: &proto::Statement) -> Value {
    json!({
        "ally_id": statement.ally_id,
        "number": statement.number,
        "period_start_time": time_json(statement.period_start_time.as_ref()),
        "period_end_time": time_json(statement.period_end_time.as_ref()),
        "state": state(statement),
        "opening": money_json(statement.opening.as_ref()),
        "lines": money_json(statement.lines.as_ref()),
        "line_count": statement.line_count,
        "correction": money_json(statement.correction.as_ref()),
        "closing": money_json(statement.closing.as_ref()),
        "disputed": money_json(statement.disputed.as_ref()),
        "lines_digest": statement.lines_digest,
        "digest": statement.digest,
        "own_record_id": statement.own_record_id,
        "ally_record_id": statement.ally_record_id,
    })
}

fn differences(found: &proto::CompareStatementResponse) -> Answer {
    let line = |line: &proto::LineDifference| {
        json!({
            "record_id": line.record_id,
            "index": line.index,
            "own": money_json(line.own.as_ref()),
            "ally": money_json(line.ally.as_ref()),
        })
    };
    let json = json!({
        "equal": found.equal,
        "fields": found.fields,
        "lines": found.lines.iter().map(line).collect::<Vec<_>>(),
        "days": found.days,
    });
    if found.equal {
        return Answer::new(json, "both have signed the same");
    }
    let row = |line: &proto::LineDifference| {
        let own = |money_of: Option<&proto::Money>| money_of.map_or("-".to_owned(), |m| money(Some(m)));
        [line.record_id.clone(), own(line.own.as_ref()), own(line.ally.as_ref())]
    };
    let lines = table(["record", "ours", "theirs"], found.lines.iter().map(row).collect());
    let text = format!("differ: {}\n\n{lines}", found.fields.join(", "));
    let answer = Answer::new(json, text);
    if found.days.is_empty() {
        return answer;
    }
    let days = found.days.join(", ");
    answer.hint(format!("Days that differ: {days}. Have both sign again with --list-day to see their lines."))
}

async fn pay(session: &Session, args: PayArgs) -> anyhow::Result<Answer> {
    let [ally_id] = session.shops([args.ally.as_str()]).await?;
    let request_id = args.request.or_random();
    let request = proto::RecordPaymentRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        ally_id,
        amount: session.money(Some(args.amount)).await?,
        payment_time: args.time,
        reference: args.reference,
    };
    let payment_id = session.client.record_payment(request).await?.payment_id;
    let json = json!({ "request_id": request_id, "payment_id": payment_id });
    let text = format!("payment {payment_id}: booked when the ally confirms it");
    Ok(Answer::new(json, text).hint(format!("request id {request_id}")))
}

async fn confirm(session: &Session, args: ConfirmArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::ConfirmPaymentRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        payment_id: args.payment,
        denied: args.deny,
        reason: args.reason,
    };
    let record_id = session.client.confirm_payment(request).await?.record_id;
    let json = json!({ "request_id": request_id, "record_id": record_id });
    let text = if args.deny { "denied: nothing is booked" } else { "confirmed: both book it" };
    Ok(Answer::new(json, text).hint(format!("request id {request_id}")))
}

async fn payments(session: &Session, ally: Option<String>) -> anyhow::Result<Answer> {
    let ally_id = match ally.as_deref() {
        Some(ally) => session.shops([ally]).await?.concat(),
        None => String::new(),
    };
    let all = session.client.all_payments(&session.alliance_id, &ally_id).await?;
    let names = session.names().await;
    let payment_state = |p: &proto::SettlementPayment| word(p.state().as_str_name(), "PAYMENT_STATE_");
    let row = |p: &proto::SettlementPayment| {
        [
            time(p.payment_time.as_ref()),
            names.label(&p.payer_id),
            names.label(&p.payee_id),
            money(p.amount.as_ref()),
            payment_state(p),
            p.reference.clone(),
            p.id.clone(),
        ]
    };
    let json = |p: &proto::SettlementPayment| {
        json!({
            "id": p.id,
            "payer_id": p.payer_id,
            "payee_id": p.payee_id,
            "amount": money_json(p.amount.as_ref()),
            "payment_time": time_json(p.payment_time.as_ref()),
            "reference": p.reference,
            "state": payment_state(p),
            "reason": p.reason,
        })
    };
    let header = ["time", "payer", "payee", "amount", "state", "reference", "id"];
    Ok(Answer::new(all.iter().map(json).collect(), table(header, all.iter().map(row).collect())))
}

async fn publish(session: &Session, ally: &str) -> anyhow::Result<Answer> {
    let [ally_id] = session.shops([ally]).await?;
    let request = proto::PublishBalanceRequest { alliance_id: session.alliance_id.clone(), ally_id };
    let told = session.client.publish_balance(request).await?;
    let json = json!({
        "balance": money_json(told.balance.as_ref()),
        "period_end_time": time_json(told.period_end_time.as_ref()),
    });
    Ok(Answer::new(json, format!("disclosed: {} owed to us", money(told.balance.as_ref()))))
}

async fn net(session: &Session, command: NetCommand) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let run = match command {
        NetCommand::Propose { end } => {
            let request = proto::ProposeNettingRequest { alliance_id, period_end_time: end };
            session.client.propose_netting(request).await?.run
        }
        NetCommand::Consent { run } => {
            let request = proto::ConsentToNettingRequest { alliance_id, run_id: run };
            session.client.consent_to_netting(request).await?.run
        }
        NetCommand::Show { run } => find(session, run).await?,
        NetCommand::Export { run, debts, result } => {
            let run = find(session, run).await?.ok_or(Problem::Answer("run"))?;
            return export(&run, &debts, &result);
        }
        NetCommand::List => {
            let runs = session.client.all_nettings(&alliance_id).await?;
            let header = ["period", "total", "cleared", "left", "in effect", "id"];
            let text = table(header, runs.iter().map(run_row).collect());
            return Ok(Answer::new(runs.iter().map(run_json).collect(), text));
        }
        NetCommand::Auto { rule } => {
            let consent_by_itself = rule == Switch::On;
            let request = proto::SetNettingRuleRequest { alliance_id, consent_by_itself };
            session.client.set_netting_rule(request).await?;
            let text =
                if consent_by_itself { "the node consents by itself" } else { "consents are given by hand" };
            return Ok(Answer::new(json!({ "consent_by_itself": consent_by_itself }), text));
        }
    };
    let run = run.ok_or(Problem::Answer("run"))?;
    Ok(Answer::new(run_json(&run), run_text(&run, &session.names().await)))
}

async fn find(session: &Session, run_id: String) -> anyhow::Result<Option<proto::NettingRun>> {
    let request = proto::GetNettingRequest { alliance_id: session.alliance_id.clone(), run_id };
    Ok(session.client.get_netting(request).await?.run)
}

/// The debts and the result as `hutong netting` reads them.
fn export(run: &proto::NettingRun, debts: &PathBuf, result: &PathBuf) -> anyhow::Result<Answer> {
    let minor = |money: Option<&proto::Money>| money.map_or(0, |m| m.minor);
    let mut csv = String::from("debtor,creditor,amount\n");
    for debt in &run.debts {
        csv += &format!("{},{},{}\n", debt.debtor_id, debt.creditor_id, minor(debt.amount.as_ref()));
    }
    let left = run.debts.iter().filter(|debt| minor(debt.left.as_ref()) > 0);
    let obligation = |debt: &proto::NettedDebt| {
        json!({
            "debtor": debt.debtor_id,
            "creditor": debt.creditor_id,
            "amount": minor(debt.left.as_ref()),
        })
    };
    let told = json!({
        "total": minor(run.total.as_ref()),
        "cleared": minor(run.cleared.as_ref()),
        "remainder": minor(run.remainder.as_ref()),
        "obligations": left.map(obligation).collect::<Vec<_>>(),
    });
    for (file, content) in [(debts, csv), (result, told.to_string())] {
        whole_file::write(file, content.as_bytes())?;
    }
    let text = format!("{} debts written to {} and {}", run.debts.len(), debts.display(), result.display());
    Ok(Answer::new(json!({ "debts": debts, "result": result }), text))
}

fn run_row(run: &proto::NettingRun) -> [String; 6] {
    [
        time(run.period_end_time.as_ref()),
        money(run.total.as_ref()),
        money(run.cleared.as_ref()),
        money(run.remainder.as_ref()),
        if run.in_effect { "yes" } else { "no" }.to_owned(),
        run.id.clone(),
    ]
}

fn run_text(run: &proto::NettingRun, names: &Names) -> String {
    let row = |debt: &proto::NettedDebt| {
        [
            names.label(&debt.debtor_id),
            names.label(&debt.creditor_id),
            money(debt.amount.as_ref()),
            money(debt.left.as_ref()),
        ]
    };
    let debts = table(["debtor", "creditor", "owed", "left"], run.debts.iter().map(row).collect());
    let shops = |ids: &[String]| ids.iter().map(|id| names.label(id)).collect::<Vec<_>>().join(", ");
    let rest = fields([
        ("run", run.id.clone()),
        ("proposed by", names.label(&run.proposer_id)),
        ("period until", time(run.period_end_time.as_ref())),
        ("total", money(run.total.as_ref())),
        ("cleared", money(run.cleared.as_ref())),
        ("left", money(run.remainder.as_ref())),
        ("consented", shops(&run.consented_ids)),
        ("missing", shops(&run.missing_ids)),
        ("in effect", if run.in_effect { "yes" } else { "no" }.to_owned()),
    ]);
    format!("{debts}\n\n{rest}")
}

fn run_json(run: &proto::NettingRun) -> Value {
    let debt = |debt: &proto::NettedDebt| {
        json!({
            "debtor_id": debt.debtor_id,
            "creditor_id": debt.creditor_id,
            "amount": money_json(debt.amount.as_ref()),
            "left": money_json(debt.left.as_ref()),
        })
    };
    json!({
        "id": run.id,
        "proposer_id": run.proposer_id,
        "period_end_time": time_json(run.period_end_time.as_ref()),
        "debts": run.debts.iter().map(debt).collect::<Vec<_>>(),
        "total": money_json(run.total.as_ref()),
        "cleared": money_json(run.cleared.as_ref()),
        "remainder": money_json(run.remainder.as_ref()),
        "consented_ids": run.consented_ids,
        "missing_ids": run.missing_ids,
        "in_effect": run.in_effect,
    })
}

async fn exposure(session: &Session, command: ExposureCommand) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let shown = match command {
        ExposureCommand::Set { ally, warn, stop } => {
            let ally_id = match ally.as_deref() {
                Some(ally) => session.shops([ally]).await?.concat(),
                None => String::new(),
            };
            let (warn, stop) = (session.money(warn).await?, session.money(stop).await?);
            let request = proto::SetExposureRequest { alliance_id, ally_id, warn, stop };
            let set = session.client.set_exposure(request).await?.exposure;
            vec![set.ok_or(Problem::Answer("exposure"))?]
        }
        ExposureCommand::List => session.client.all_exposures(&alliance_id).await?,
    };
    let names = session.names().await;
    let level = |one: &proto::Exposure| word(one.state().as_str_name(), "EXPOSURE_STATE_");
    let row = |one: &proto::Exposure| {
        let is_all = one.ally_id.is_empty();
        let ally = if is_all { "all others".to_owned() } else { names.label(&one.ally_id) };
        let owed = if is_all { String::new() } else { money(one.owed.as_ref()) };
        [ally, owed, money(one.warn.as_ref()), money(one.stop.as_ref()), level(one)]
    };
    let json = |one: &proto::Exposure| {
        json!({
            "ally_id": one.ally_id,
            "owed": money_json(one.owed.as_ref()),
            "warn": money_json(one.warn.as_ref()),
            "stop": money_json(one.stop.as_ref()),
            "state": level(one),
        })
    };
    let text = table(["ally", "owes us", "warn", "stop", "state"], shown.iter().map(row).collect());
    Ok(Answer::new(shown.iter().map(json).collect(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cny(minor: i64) -> Option<proto::Money> {
        Some(proto::Money { currency_code: "CNY".to_owned(), minor })
    }

    fn debt(debtor: &str, creditor: &str, minor: i64, left: i64) -> proto::NettedDebt {
        let (debtor_id, creditor_id) = (debtor.to_owned(), creditor.to_owned());
        proto::NettedDebt { debtor_id, creditor_id, amount: cny(minor), left: cny(left) }
    }

    fn run() -> proto::NettingRun {
        proto::NettingRun {
            id: "3f".repeat(32),
            debts: vec![debt("a", "b", 500, 300), debt("b", "c", 200, 0), debt("c", "a", 300, 100)],
            total: cny(1_000),
            cleared: cny(600),
            remainder: cny(400),
            ..Default::default()
        }
    }

    #[test]
    fn an_exported_run_is_what_netting_verify_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (debts, result) = (folder.path().join("debts.csv"), folder.path().join("netting.json"));
        export(&run(), &debts, &result).unwrap();
        let text = |file: &PathBuf| file.to_str().unwrap().to_owned();
        let verified = super::super::netting::verify_files(&text(&debts), &text(&result)).unwrap();
        assert_eq!(verified.json()["cleared"], 600);
        std::fs::write(&debts, "debtor,creditor,amount\na,b,500\n").unwrap();
        assert!(super::super::netting::verify_files(&text(&debts), &text(&result)).is_err());
    }

    #[test]
    fn a_difference_names_the_record_and_the_days() {
        let found = proto::CompareStatementResponse {
            equal: false,
            fields: vec!["closing".to_owned()],
            lines: vec![proto::LineDifference {
                record_id: "ab".repeat(32),
                index: 0,
                own: cny(100),
                ally: None,
            }],
            days: vec!["2026-05-01".to_owned()],
        };
        let answer = differences(&found);
        assert!(answer.text().contains(&"ab".repeat(32)) && answer.text().contains("1.00"));
        assert_eq!(answer.json()["lines"][0]["ally"], Value::Null);
        assert_eq!(answer.json()["days"][0], "2026-05-01");
    }

    #[test]
    fn a_run_is_told_with_who_is_missing() {
        let told = proto::NettingRun { missing_ids: vec!["c".to_owned()], ..run() };
        let text = run_text(&told, &Names::default());
        assert!(text.contains("3.00 CNY") && text.contains("missing"), "{text}");
        assert_eq!(run_json(&told)["debts"][1]["left"]["minor"], 0);
    }
}
