//! The `hutong` command line: what there is to say, and how it is answered.
//!
//! A command computes an `Answer`; printing it, as text or as JSON, happens once, here. Exit codes: 0 done, 1 failed
//! or refused, 2 wrong usage.

mod alliance;
mod attribution;
mod backup;
mod bundle;
mod channel;
mod continuing;
mod decimal;
mod doctor;
mod init;
mod key;
mod motion;
mod netting;
mod node;
mod output;
mod output_file;
mod override_key;
mod pages;
mod phrase;
mod plain_file;
mod problem;
mod promotion;
mod record_bundle;
mod report;
mod resolve;
mod right;
mod sale;
mod sale_import;
mod scrub;
mod serving;
mod session;
mod settings;
mod settlement;
mod sheet;
mod show;
mod sim;
mod terms;
mod token;
mod value;
mod voucher;
mod webhook;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use hutong_client::Language;
use serde_json::json;

use crate::{bench, data_folder::DataFolder, demo};
pub(crate) use output::Answer;
use output::Output;

const EXAMPLES: &str = "\
A shop's first day:
  hutong init --name 张记包子 --category food      set the node up; write the 24 words down
  hutong serve                                    run it (keep it running)
  hutong alliance create --name 槐树街             found an alliance, or:
  hutong alliance join hutong:…                   join one by the link that a neighbour gave you
  hutong promotion create --help                  agree on a cross-promotion
  hutong sale report --amount 38.00 --card …      a sale, and the vouchers that it earns
  hutong doctor                                   when something does not work

Amounts: 1250 is minor units (fen), 12.50 is yuan; 500JPY and 12.50USD name another currency.
Times: 2026-05-01T08:00:00+08:00. Durations: 14d, 72h, 30m. Ids: any beginning that only one has.";

/// The command line, parsed.
#[derive(Debug, Parser)]
#[command(name = "hutong", version, about = "A federation of neighbouring shops", after_help = EXAMPLES)]
#[command(arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The node's data folder [default: $XDG_DATA_HOME/hutong or ~/.local/share/hutong].
    #[arg(long, global = true, value_name = "DIR", env = "HUTONG_DATA")]
    data: Option<PathBuf>,
    /// Answer with one JSON value on stdout; errors are JSON on stderr.
    #[arg(long, global = true)]
    json: bool,
    /// Which alliance, by name or the beginning of its id; needed only where the shop is in several.
    #[arg(long, global = true, value_name = "ID")]
    alliance: Option<String>,
    /// Language of messages [default: from LC_ALL, LC_MESSAGES or LANG].
    #[arg(long, global = true, value_enum)]
    lang: Option<Lang>,
    /// Leave out hints.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lang {
    /// 简体中文
    Zh,
    /// English
    En,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up a node: keys, recovery phrase, configuration.
    Init(init::InitArgs),
    /// Run the node until it is told to stop.
    #[command(
        after_help = "Example:\n  hutong serve --data /var/lib/hutong\n\nStop it with Ctrl-C or SIGTERM."
    )]
    Serve,
    /// Found, join and look after alliances.
    #[command(subcommand)]
    Alliance(alliance::AllianceCommand),
    /// Decide together: rules, newcomers, strikes, seasons, splits.
    #[command(subcommand)]
    Motion(motion::MotionCommand),
    /// Cross-promotions: who hands out, who redeems, what it is worth.
    #[command(subcommand)]
    Promotion(promotion::PromotionCommand),
    /// Sales, which earn vouchers.
    #[command(subcommand)]
    Sale(sale::SaleCommand),
    /// Hand out, look up, redeem and take back vouchers.
    #[command(subcommand)]
    Voucher(voucher::VoucherCommand),
    /// Posters, till receipts, group posts: which one brought whom.
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Counts, what allies owe each other, and proof that both see the same.
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// What shops were proven to have done against the rules of vouchers; every member names the same.
    Offences,
    /// Who sent whom: split the conversions of a file of paths; needs no node.
    #[command(subcommand)]
    Attribution(attribution::AttributionCommand),
    /// Cancel debts around the circle; needs no node.
    #[command(subcommand)]
    Netting(netting::NettingCommand),
    /// Tokens for partner apps: what each may do, until when, and what was done with them.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Events sent to an address, signed, for apps that cannot follow them.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// What is owed, line by line: agreed, netted around the circle, paid.
    #[command(subcommand)]
    Settlement(settlement::SettlementCommand),
    /// Follow events as they happen; with --json one object a line.
    Watch(node::WatchArgs),
    /// How the node and its links stand.
    Status,
    /// Pause or resume the links to other nodes.
    #[command(subcommand)]
    Federation(node::FederationCommand),
    /// Check this machine, the data folder and the node, and say what to do.
    #[command(
        after_help = "Exits with 1 if a check fails; warnings do not count.\n\nExample:\n  hutong doctor --lang zh"
    )]
    Doctor,
    /// Read the journal again now, check every record, and fetch from members what is damaged.
    Scrub(scrub::ScrubArgs),
    /// Write an encrypted backup while the node runs.
    Backup(backup::BackupArgs),
    /// Bring a node back from a backup, or from its recovery phrase alone.
    Restore(backup::RestoreArgs),
    /// Carry an alliance's records to a node that has no line, as a file.
    #[command(subcommand)]
    Bundle(record_bundle::RecordBundleCommand),
    /// This shop's keys: go over to new ones.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Check that the recovery phrase on paper is this shop's.
    CheckPhrase(phrase::PhraseArgs),
    /// Gather what somebody who helps needs to see, without secrets.
    SupportBundle(bundle::BundleArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Print a completion script.
    #[command(after_help = "Example:\n  hutong completions bash > /etc/bash_completion.d/hutong")]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages.
    Man(pages::ManArgs),
    /// See a street of shops at work on this machine.
    Demo(demo::DemoArgs),
    /// Measure what this machine can do.
    Bench(bench::BenchArgs),
    /// Simulate streets of shops under faults, and check what must always hold.
    Sim(sim::SimArgs),
}

impl Globals {
    fn data(&self) -> anyhow::Result<DataFolder> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = self
            .data
            .clone()
            .or_else(|| variable("XDG_DATA_HOME").map(|folder| folder.join("hutong")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/share/hutong")))
            .ok_or_else(|| {
                problem::Problem::Usage("name the data folder with --data: there is no HOME".into())
            })?;
        Ok(DataFolder::new(path))
    }

    fn language(&self) -> Language {
        match self.lang {
            Some(Lang::Zh) => Language::Zh,
            Some(Lang::En) => Language::En,
            None => language_of(|name| std::env::var(name).ok()),
        }
    }

    fn output(&self) -> Output {
        Output { json: self.json, quiet: self.quiet, language: self.language() }
    }
}

/// The text, or whatever else it is, in a language.
fn say<T>(language: Language, en: T, zh: T) -> T {
    match language {
        Language::En => en,
        Language::Zh => zh,
    }
}

/// The language that the locale variables ask for.
fn language_of(variable: impl Fn(&str) -> Option<String>) -> Language {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|v| !v.is_empty()));
    if locale.is_some_and(|locale| locale.starts_with("zh")) { Language::Zh } else { Language::En }
}

/// Parses the command line. Help, version and wrong usage are answered here, and end with the exit code.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    Cli::try_parse_from(arguments).map_err(|error| {
        if error.use_stderr() && json {
            let rendered = error.render().to_string();
            let message = rendered.strip_prefix("error: ").unwrap_or(&rendered).trim_end().to_owned();
            return fail_as(
                Output { json, quiet: false, language: Language::En },
                &problem::Problem::Usage(message).into(),
            );
        }
        // Where not even the terminal can be written to, the exit code has to do.
        let _printed = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// Carries the command out.
pub async fn run(cli: Cli) -> ExitCode {
    let output = cli.globals.output();
    match Box::pin(answer(cli)).await {
        Ok(answer) => match output.print(&answer) {
            Ok(()) => answer.exit_code(),
            Err(error) => fail_as(output, &error.into()),
        },
        Err(error) => fail_as(output, &error),
    }
}

/// Says that the command failed.
pub fn fail(cli: &Cli, error: &anyhow::Error) -> ExitCode {
    fail_as(cli.globals.output(), error)
}

fn fail_as(output: Output, error: &anyhow::Error) -> ExitCode {
    output.print_error(error);
    problem::exit_code(error)
}

async fn answer(Cli { globals, command }: Cli) -> anyhow::Result<Answer> {
    match command {
        Command::Init(args) => init::run(&globals, args),
        Command::Serve => serving::run(&globals).await,
        Command::Alliance(command) => Box::pin(alliance::run(&globals, command)).await,
        Command::Motion(command) => Box::pin(motion::run(&globals, command)).await,
        Command::Promotion(command) => Box::pin(promotion::run(&globals, command)).await,
        Command::Sale(command) => Box::pin(sale::run(&globals, command)).await,
        Command::Voucher(command) => Box::pin(voucher::run(&globals, command)).await,
        Command::Report(command) => Box::pin(report::run(&globals, command)).await,
        Command::Channel(command) => Box::pin(channel::run(&globals, command)).await,
        Command::Offences => Box::pin(report::offences(&globals)).await,
        Command::Attribution(command) => attribution::run(command),
        Command::Netting(command) => netting::run(command),
        Command::Token(command) => Box::pin(token::run(&globals, command)).await,
        Command::Webhook(command) => Box::pin(webhook::run(&globals, command)).await,
        Command::Settlement(command) => Box::pin(settlement::run(&globals, command)).await,
        Command::Watch(args) => Box::pin(node::watch(&globals, args)).await,
        Command::Status => Box::pin(node::status(&globals)).await,
        Command::Federation(command) => Box::pin(node::federation(&globals, command)).await,
        Command::Doctor => Box::pin(doctor::run(&globals)).await,
        Command::Scrub(args) => Box::pin(scrub::run(&globals, args)).await,
        Command::Backup(args) => backup::backup(&globals, args),
        Command::Restore(args) => Box::pin(backup::restore(&globals, args)).await,
        Command::Bundle(command) => Box::pin(record_bundle::run(&globals, command)).await,
        Command::Key(command) => Box::pin(key::run(&globals, command)).await,
        Command::CheckPhrase(args) => phrase::run(&globals, &args),
        Command::SupportBundle(args) => Box::pin(bundle::run(&globals, args)).await,
        Command::Man(args) => pages::run(&args),
        Command::Config(command) => settings::run(&globals, command),
        Command::Completions { shell } => Ok(completions(shell)),
        Command::Sim(args) => Box::pin(sim::run(&globals, args)).await,
        Command::Demo(args) => Ok(Answer::done(Box::pin(demo::run(args, globals.json)).await?)),
        Command::Bench(args) => Box::pin(bench::run(args)).await,
    }
}

fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hutong", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Answer::new(json!({ "shell": shell.to_string(), "script": script }), script)
}

#[cfg(test)]
mod fake_node;
#[cfg(test)]
mod tests;
