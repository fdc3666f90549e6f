//! `hutong attribution`: the models, over a plain file.

use std::num::NonZeroU64;

use clap::{Args, Subcommand, ValueEnum};
use hutong_core::attribution::{
    self, Attribution, Chain, Credit, HalfLife, Model, Nulls, Order, Path, ShopIndex, Shops, Tally,
    markov::ORDER_MAX, share_out,
};
use hutong_record::{Currency, Money};
use serde_json::{Map, Value, json};

use super::{
    decimal::Decimal,
    output::{Answer, fields, table},
    plain_file::{Column, FileError, PlainTable, Row},
    problem::Problem,
    value,
};

/// What stands between the shops of a path.
const SEPARATOR: &str = " > ";

/// `hutong attribution …`
#[derive(Debug, Subcommand)]
pub(crate) enum AttributionCommand {
    /// Split the conversions of a file of paths among the shops.
    #[command(after_help = "The file is CSV with a header. Columns:
  path                    shops or channels in order, joined by ` > `: tea > noodles > tea
  total_conversions       how often it ended in a purchase
  total_conversion_value  what these were worth together [default: 0]
  total_null              how often it ended in nothing [default: 0]
  ages                    how long before the end each touch was: 3d > 2h > 0; only for a half-life in time

Examples:
  hutong attribution run --model shapley --input paths.csv
  hutong attribution run --model markov --order 2 --without-null --input paths.csv --json
  hutong attribution run --model decay --half-life 7d --share-out 1200.00 --input - < paths.csv

The result is the same to the last bit on every machine, and for every order of the rows.")]
    Run(RunArgs),
}

/// Which model, over which file.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How to split.
    #[arg(long, value_enum)]
    model: ModelArg,
    /// A CSV file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: String,
    /// For markov: how many shops back the chain remembers [default: 1].
    #[arg(long, value_name = "K", value_parser = order)]
    order: Option<Order>,
    /// For decay: after how much a touch counts half, in touches (2) or in time (7d) [default: 1].
    #[arg(long, value_name = "STEPS|DURATION", value_parser = half_life)]
    half_life: Option<HalfLife>,
    /// For markov: count paths that ended in nothing; the default.
    #[arg(long, conflicts_with = "without_null")]
    with_null: bool,
    /// For markov: look at conversions only.
    #[arg(long)]
    without_null: bool,
    /// Share this much money out by credit, to the minor unit [default currency: CNY].
    #[arg(long, value_name = "MONEY")]
    share_out: Option<value::MoneyArg>,
}

/// The models, over a file and over what a node has on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelArg {
    /// All to the first touch.
    First,
    /// All to the last touch.
    Last,
    /// The same to every touch.
    Linear,
    /// 40 % to the first, 40 % to the last, 20 % between them.
    Position,
    /// The nearer to the end, the more.
    Decay,
    /// The same to every shop or channel of the path: its Shapley value.
    Shapley,
    /// By what would be lost without the shop or channel, in a Markov chain.
    Markov,
}

fn order(text: &str) -> Result<Order, String> {
    let order = text.parse().ok().and_then(Order::new);
    order.ok_or_else(|| format!("an order is 1 to {ORDER_MAX}"))
}

fn half_life(text: &str) -> Result<HalfLife, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let steps = text.parse::<NonZeroU64>();
        return steps.map(HalfLife::Steps).map_err(|_| "a half-life is at least one touch".to_owned());
    }
    let wrong = |why| format!("a half-life is a whole number of touches, or else a duration: {why}");
    let ms = NonZeroU64::new(duration_ms(text).map_err(wrong)?);
    ms.map(HalfLife::Millis).ok_or_else(|| "a half-life is longer than nothing".to_owned())
}

fn duration_ms(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let seconds = u64::try_from(value::duration(text)?.seconds).map_err(|error| error.to_string())?;
    Ok(seconds * 1_000)
}

pub(crate) fn run(command: AttributionCommand) -> anyhow::Result<Answer> {
    let AttributionCommand::Run(args) = command;
    let model = args.model()?;
    let amount = args.share_out.map(money).transpose()?;
    let input = Input::read(&args.input)?;
    let found =
        attribution::attribute(input.shops.len(), &input.paths, model).map_err(Problem::Attribution)?;
    let shares = amount.map(|amount| share_out(amount, &found.conversions)).transpose();
    let shares = shares.map_err(Problem::ShareOut)?;
    let report = Report { name: args.model.name(), model, input, found, shares };
    Ok(Answer::new(report.json(), report.text()))
}

impl RunArgs {
    /// The model with its settings; settings of another model are wrong usage.
    fn model(&self) -> Result<Model, Problem> {
        let is = |model| self.model == model;
        let misplaced = [
            ("--order", self.order.is_some() && !is(ModelArg::Markov)),
            ("--with-null", self.with_null && !is(ModelArg::Markov)),
            ("--without-null", self.without_null && !is(ModelArg::Markov)),
            ("--half-life", self.half_life.is_some() && !is(ModelArg::Decay)),
        ];
        if let Some((option, _)) = misplaced.into_iter().find(|(_, misplaced)| *misplaced) {
            return Err(Problem::Usage(format!("{option} says nothing to this model")));
        }
        Ok(match self.model {
            ModelArg::First => Model::First,
            ModelArg::Last => Model::Last,
            ModelArg::Linear => Model::Linear,
            ModelArg::Position => Model::Position,
            ModelArg::Decay => Model::Decay(self.half_life.unwrap_or(HalfLife::Steps(NonZeroU64::MIN))),
            ModelArg::Shapley => Model::Shapley,
            ModelArg::Markov => {
                let nulls = if self.without_null { Nulls::Without } else { Nulls::With };
                Model::Markov(self.order.unwrap_or_default(), nulls)
            }
        })
    }
}

fn money(typed: value::MoneyArg) -> anyhow::Result<Money> {
    let typed = typed.to_proto(Some(Currency::CNY)).map_err(Problem::Usage)?;
    let code = typed.currency_code;
    let currency = if code.is_empty() { Currency::CNY } else { code.parse()? };
    Ok(Money::new(currency, typed.minor)?)
}

/// A file of paths.
struct Input {
    shops: Shops<String>,
    paths: Vec<Path>,
    conversions: u64,
    /// Value counts in units of 10^-`places`.
    places: u32,
}

/// Where the columns stand.
struct Columns {
    path: Column,
    conversions: Column,
    value: Option<Column>,
    nulls: Option<Column>,
    ages: Option<Column>,
}

/// A row, before all shops and all places are known.
struct RawPath {
    line: u64,
    shops: Vec<String>,
    conversions: u64,
    nulls: u64,
    value: Decimal,
    ages_ms: Option<Vec<u64>>,
}

impl Input {
    fn read(file: &str) -> anyhow::Result<Self> {
        let mut table = PlainTable::open(file)?;
        let columns = Columns {
            path: table.column("path")?,
            conversions: table.column("total_conversions")?,
            value: table.optional_column("total_conversion_value")?,
            nulls: table.optional_column("total_null")?,
            ages: table.optional_column("ages")?,
        };
        let mut rows = Vec::new();
        while let Some(row) = table.next_row()? {
            rows.push(columns.read(&row)?);
        }
        Self::of(file, rows)
    }

    fn of(file: &str, rows: Vec<RawPath>) -> anyhow::Result<Self> {
        let places = rows.iter().map(|row| row.value.places()).max().unwrap_or(0);
        let shops =
            Shops::rank(rows.iter().flat_map(|row| row.shops.iter().cloned())).map_err(Problem::Paths)?;
        let conversions = rows.iter().map(|row| row.conversions).fold(0, u64::saturating_add);
        let wrong = |line, cause: String| FileError::Row { file: file.to_owned(), line, cause };
        let mut paths = Vec::with_capacity(rows.len());
        for RawPath { line, shops: names, conversions, nulls, value, ages_ms } in rows {
            let value = value.in_units(places);
            let value = value.ok_or_else(|| wrong(line, "the value has too many digits".to_owned()))?;
            let touched: Vec<ShopIndex> =
                names.iter().filter_map(|name| shops.index(name.as_str())).collect();
            let path = Path::new(touched, Tally { conversions, nulls, value });
            let path = match ages_ms {
                Some(ages_ms) => path.and_then(|path| path.with_ages(ages_ms)),
                None => path,
            };
            paths.push(path.map_err(|error| wrong(line, error.to_string()))?);
        }
        Ok(Self { shops, paths, conversions, places })
    }
}

impl Columns {
    fn read(&self, row: &Row<'_>) -> Result<RawPath, FileError> {
        let optional = |column: Option<Column>, parse: fn(&str) -> Result<Decimal, String>| match column {
            Some(column) => row.parse(column, parse),
            None => Ok(Decimal::ZERO),
        };
        let ages_ms =
            self.ages.map(|column| row.parse(column, |text| each(text, duration_ms))).transpose()?;
        Ok(RawPath {
            line: row.line,
            shops: row.parse(self.path, |text| each(text, shop))?,
            conversions: row.parse(self.conversions, count)?,
            nulls: self.nulls.map_or(Ok(0), |column| row.parse(column, count))?,
            value: optional(self.value, Decimal::parse)?,
            ages_ms,
        })
    }
}

fn each<T>(text: &str, parse: impl FnMut(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(SEPARATOR).map(str::trim).map(parse).collect()
}

fn shop(name: &str) -> Result<String, String> {
    // Blanks at the ends of the field are gone, and of a separator there only its sign is left.
    let sign = SEPARATOR.trim();
    if name.is_empty() || name.starts_with(sign) || name.ends_with(sign) {
        return Err("a shop's name is missing".to_owned());
    }
    Ok(name.to_owned())
}

/// `3`, or `3.0` as tools write that had gaps in the column.
fn count(text: &str) -> Result<u64, String> {
    let whole = Decimal::parse(text)?.in_units(0).and_then(|count| u64::try_from(count).ok());
    whole.ok_or_else(|| "a count is a whole number".to_owned())
}

/// All that there is to say.
struct Report {
    name: String,
    model: Model,
    input: Input,
    found: Attribution,
    shares: Option<Vec<Money>>,
}

impl Report {
    fn value(&self, credit: &Credit) -> f64 {
        credit.per(10_u128.pow(self.input.places)).to_f64()
    }

    fn all_value(&self) -> f64 {
        self.value(&self.found.values.iter().cloned().sum())
    }

    /// Something of each shop, by name.
    fn by_shop<T>(&self, list: &[T], tell: impl Fn(&T) -> Value) -> Value {
        let named = self.input.shops.iter().cloned().zip(list.iter().map(tell));
        Value::Object(named.collect::<Map<_, _>>())
    }

    fn json(&self) -> Value {
        let mut told = json!({
            "model": self.name,
            "paths": self.input.paths.len(),
            "conversions": self.input.conversions,
            "conversion_value": self.all_value(),
            "credits": self.by_shop(&self.found.conversions, |credit| json!(credit.to_f64())),
            "value_credits": self.by_shop(&self.found.values, |credit| json!(self.value(credit))),
        });
        if let (Model::Markov(order, nulls), Some(chain)) = (self.model, &self.found.chain) {
            told["order"] = order.number().into();
            told["nulls"] = (nulls == Nulls::With).into();
            told["states"] = chain.states.into();
            told["conversion_probability"] = chain.conversion_probability.into();
            told["removal_effects"] = self.by_shop(&chain.removal_effects, |effect| json!(effect));
        }
        if let Some(shares) = &self.shares {
            let currency_code = shares.first().map(|share| share.currency().code().to_owned());
            told["currency_code"] = currency_code.into();
            told["shares"] = self.by_shop(shares, |share| share.minor().into());
        }
        told
    }

    fn text(&self) -> String {
        let chain = self.found.chain.as_ref();
        let row = |(index, name): (usize, &String)| {
            [
                name.clone(),
                format!("{:.4}", self.found.conversions[index].to_f64()),
                format!("{:.4}", self.value(&self.found.values[index])),
                chain.map(|chain| format!("{:.6}", chain.removal_effects[index])).unwrap_or_default(),
                self.shares.as_ref().map(|shares| shares[index].to_string()).unwrap_or_default(),
            ]
        };
        let rows = self.input.shops.iter().enumerate().map(row).collect();
        let listed = table(["shop", "conversions", "value", "removal effect", "share"], rows);
        let probability = |chain: &Chain| format!("{:.12}", chain.conversion_probability);
        let totals = fields([
            ("conversions", self.input.conversions.to_string()),
            ("value", format!("{:.4}", self.all_value())),
            ("P(conversion)", chain.map(probability).unwrap_or_default()),
            ("states", chain.map(|chain| chain.states.to_string()).unwrap_or_default()),
        ]);
        format!("{listed}\n\n{totals}")
    }
}

impl ModelArg {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "attribution_tests.rs"]
mod tests;
