//! Reports over a span of time, each as a sheet.

use clap::Args;
use hutong_client::{Duration, Timestamp, proto};

use crate::cli::{
    attribution::ModelArg,
    output::Answer,
    problem::Problem,
    session::{Books, Session},
    sheet::{Cell, Kind, Sheet, SheetArgs},
    show, value,
};

/// The names of the week's days, Monday's first.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A column's name, and what it holds.
type Column = (&'static str, Kind);

/// Of `report attribution`.
const ATTRIBUTION: &[Column] = &[
    ("shop_id", Kind::Text),
    ("shop", Kind::Text),
    ("channel", Kind::Text),
    ("conversions", Kind::Number),
    ("value_minor", Kind::Number),
];

/// Of `report reciprocity`.
const RECIPROCITY: &[Column] = &[
    ("shop_id", Kind::Text),
    ("shop", Kind::Text),
    ("touches_given", Kind::Count),
    ("customers_given", Kind::Count),
    ("value_given", Kind::Money),
    ("touches_received", Kind::Count),
    ("customers_received", Kind::Count),
    ("value_received", Kind::Money),
    ("bounties_earned", Kind::Money),
    ("bounties_caused", Kind::Money),
];

/// Of `report cohorts`.
const COHORTS: &[Column] = &[
    ("week", Kind::Day),
    ("newcomers", Kind::Count),
    ("newcomers_7_days", Kind::Count),
    ("returned_7_days", Kind::Count),
    ("newcomers_30_days", Kind::Count),
    ("returned_30_days", Kind::Count),
    ("newcomers_90_days", Kind::Count),
    ("returned_90_days", Kind::Count),
];

/// Of `report bookings`.
const BOOKINGS: &[Column] = &[
    ("time", Kind::Time),
    ("redemption_id", Kind::Text),
    ("promotion_id", Kind::Text),
    ("promotion", Kind::Text),
    ("kind", Kind::Text),
    ("from_shop_id", Kind::Text),
    ("from_shop", Kind::Text),
    ("to_shop_id", Kind::Text),
    ("to_shop", Kind::Text),
    ("amount", Kind::Money),
    ("share_basis_points", Kind::Count),
    ("purchase", Kind::Money),
];

/// Of `report pairs`.
const PAIRS: &[Column] = &[
    ("shop_id", Kind::Text),
    ("shop", Kind::Text),
    ("vouchers_given", Kind::Count),
    ("customers_sent", Kind::Count),
    ("vouchers_received", Kind::Count),
    ("customers_received", Kind::Count),
    ("balance", Kind::Money),
    ("state_digest", Kind::Text),
];

/// From when to when, and how it comes out.
#[derive(Debug, Args)]
pub(crate) struct SpanArgs {
    /// From this moment on, RFC 3339 [default: from the beginning].
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    from: Option<Timestamp>,
    /// Before this moment, RFC 3339 [default: to the end].
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    sheet: SheetArgs,
}

/// Which credit, over which time.
#[derive(Debug, Args)]
pub(crate) struct CreditArgs {
    /// How credit is split [default: the model that pays under the charter].
    #[arg(long, value_enum)]
    model: Option<ModelArg>,
    /// For markov: how many touches back the chain remembers [default: 1].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=6))]
    order: Option<u32>,
    /// For decay: after how long a touch counts half [default: 7d].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    half_life: Option<Duration>,
    #[command(flatten)]
    span: SpanArgs,
}

const fn credit_model(model: ModelArg) -> proto::CreditModel {
    match model {
        ModelArg::First => proto::CreditModel::First,
        ModelArg::Last => proto::CreditModel::Last,
        ModelArg::Linear => proto::CreditModel::Linear,
        ModelArg::Position => proto::CreditModel::Position,
        ModelArg::Decay => proto::CreditModel::Decay,
        ModelArg::Shapley => proto::CreditModel::Shapley,
        ModelArg::Markov => proto::CreditModel::Markov,
    }
}

/// `hutong report attribution`.
pub(super) async fn attribution(session: &Session, args: CreditArgs) -> anyhow::Result<Answer> {
    let request = proto::GetAttributionRequest {
        alliance_id: session.alliance_id.clone(),
        model: args.model.map_or(0, |model| credit_model(model).into()),
        markov_order: args.order.unwrap_or(0),
        half_life: args.half_life,
        from_time: args.span.from,
        until_time: args.span.to,
    };
    let found = session.client.get_attribution(request).await?;
    let mut sheet = Sheet::new("attribution", session.books().await?, ATTRIBUTION);
    for line in &found.lines {
        sheet.push(vec![
            Cell::text(&line.shop_id),
            Cell::text(&line.shop_name),
            Cell::text(&line.channel),
            Cell::Number(line.conversions),
            Cell::Number(line.value_minor),
        ]);
    }
    let model = show::word(found.model().as_str_name(), "CREDIT_MODEL_");
    let answer = sheet.answer(args.span.sheet)?.hint(format!(
        "{model}: {} conversions ({} redemptions), {} with no touch that counts; value {}",
        found.conversions,
        found.redemptions,
        found.unattributed,
        show::money(found.value.as_ref())
    ));
    Ok(answer.hint(format!(
        "not counted: {} out of their window, {} twice, {} too many at once, {} late",
        found.stale_touches, found.duplicate_touches, found.hasty_touches, found.late_touches
    )))
}

/// `hutong report shops|promotions|channels|hours`.
pub(super) async fn activity(
    session: &Session,
    group: proto::ActivityGroup,
    args: SpanArgs,
) -> anyhow::Result<Answer> {
    let rows = session.client.all_activity(&session.alliance_id, group, args.from, args.to).await?;
    let mut sheet = Sheet::new(name(group), session.books().await?, columns(group));
    rows.iter().for_each(|row| sheet.push(cells(group, row)));
    sheet.answer(args.sheet)
}

const fn name(group: proto::ActivityGroup) -> &'static str {
    match group {
        proto::ActivityGroup::Promotion => "promotions",
        proto::ActivityGroup::Channel => "channels",
        proto::ActivityGroup::Hour => "hours",
        proto::ActivityGroup::Shop | proto::ActivityGroup::Unspecified => "shops",
    }
}

const fn columns(group: proto::ActivityGroup) -> &'static [Column] {
    use Kind::{Count, Money, Text};
    match group {
        proto::ActivityGroup::Promotion => &[
            ("promotion_id", Text),
            ("promotion", Text),
            ("vouchers", Count),
            ("redemptions", Count),
            ("purchases", Money),
            ("discounts", Money),
            ("bounties", Money),
        ],
        proto::ActivityGroup::Channel => &[
            ("shop_id", Text),
            ("shop", Text),
            ("channel", Text),
            ("to_shop_id", Text),
            ("to_shop", Text),
            ("touches", Count),
            ("redemptions", Count),
            ("purchases", Money),
            ("discounts", Money),
            ("bounties", Money),
        ],
        proto::ActivityGroup::Hour => &[
            ("weekday", Text),
            ("hour", Count),
            ("touches", Count),
            ("sales", Count),
            ("sales_amount", Money),
            ("redemptions", Count),
            ("purchases", Money),
            ("discounts", Money),
            ("bounties", Money),
        ],
        proto::ActivityGroup::Shop | proto::ActivityGroup::Unspecified => &[
            ("shop_id", Text),
            ("shop", Text),
            ("touches", Count),
            ("vouchers", Count),
            ("redemptions", Count),
            ("purchases", Money),
            ("discounts", Money),
            ("bounties", Money),
        ],
    }
}

fn cells(group: proto::ActivityGroup, row: &proto::Activity) -> Vec<Cell> {
    let mut cells = match group {
        proto::ActivityGroup::Promotion => {
            vec![Cell::text(&row.promotion_id), Cell::text(&row.promotion_title), Cell::count(row.vouchers)]
        }
        proto::ActivityGroup::Channel => vec![
            Cell::text(&row.shop_id),
            Cell::text(&row.shop_name),
            Cell::text(&row.channel),
            Cell::text(&row.to_shop_id),
            Cell::text(&row.to_shop_name),
            Cell::count(row.touches),
        ],
        proto::ActivityGroup::Hour => vec![
            Cell::text(DAYS.get(row.weekday as usize).copied().unwrap_or_default()),
            Cell::count(row.hour.into()),
            Cell::count(row.touches),
            Cell::count(row.sales),
            money(row.sales_amount.as_ref()),
        ],
        proto::ActivityGroup::Shop | proto::ActivityGroup::Unspecified => vec![
            Cell::text(&row.shop_id),
            Cell::text(&row.shop_name),
            Cell::count(row.touches),
            Cell::count(row.vouchers),
        ],
    };
    cells.extend([
        Cell::count(row.redemptions),
        money(row.purchases.as_ref()),
        money(row.discounts.as_ref()),
        money(row.bounties.as_ref()),
    ]);
    cells
}

fn money(money: Option<&proto::Money>) -> Cell {
    Cell::Money(money.map_or(0, |money| money.minor))
}

/// `hutong report reciprocity`.
pub(super) async fn reciprocity(session: &Session, args: SpanArgs) -> anyhow::Result<Answer> {
    let rows = session.client.all_reciprocity(&session.alliance_id, args.from, args.to).await?;
    let mut sheet = Sheet::new("reciprocity", session.books().await?, RECIPROCITY);
    for row in &rows {
        sheet.push(vec![
            Cell::text(&row.ally_id),
            Cell::text(&row.ally_name),
            Cell::count(row.touches_given),
            Cell::count(row.customers_given),
            money(row.value_given.as_ref()),
            Cell::count(row.touches_received),
            Cell::count(row.customers_received),
            money(row.value_received.as_ref()),
            money(row.bounties_earned.as_ref()),
            money(row.bounties_caused.as_ref()),
        ]);
    }
    sheet.answer(args.sheet)
}

/// `hutong report cohorts`.
pub(super) async fn cohorts(
    session: &Session,
    args: SpanArgs,
    as_of: Option<Timestamp>,
) -> anyhow::Result<Answer> {
    let rows = session.client.all_cohorts(&session.alliance_id, as_of, args.from, args.to).await?;
    let mut sheet = Sheet::new("cohorts", session.books().await?, COHORTS);
    for row in &rows {
        let counts = [
            row.newcomers,
            row.newcomers_7_days,
            row.returned_7_days,
            row.newcomers_30_days,
            row.returned_30_days,
            row.newcomers_90_days,
            row.returned_90_days,
        ];
        let week = row.week.parse().map_err(|_| Problem::Answer("week"))?;
        sheet.push([Cell::Day(week)].into_iter().chain(counts.map(Cell::count)).collect());
    }
    sheet.answer(args.sheet)
}

/// `hutong report bookings`.
pub(super) async fn bookings(session: &Session, args: SpanArgs) -> anyhow::Result<Answer> {
    let rows = session.client.all_bookings(&session.alliance_id, args.from, args.to).await?;
    let mut sheet = Sheet::new("bookings", session.books().await?, BOOKINGS);
    for row in &rows {
        sheet.push(vec![
            Cell::Time(row.redeem_time),
            Cell::text(&row.redemption_id),
            Cell::text(&row.promotion_id),
            Cell::text(&row.promotion_title),
            Cell::Text(show::word(row.kind().as_str_name(), "BOOKING_KIND_")),
            Cell::text(&row.from_shop_id),
            Cell::text(&row.from_shop_name),
            Cell::text(&row.to_shop_id),
            Cell::text(&row.to_shop_name),
            money(row.amount.as_ref()),
            Cell::count(row.basis_points.into()),
            money(row.purchase.as_ref()),
        ]);
    }
    sheet.answer(args.sheet)
}

/// `hutong report pairs`, as a sheet.
pub(super) fn pairs(pairs: &[proto::Pair], books: Books) -> Sheet {
    let mut sheet = Sheet::new("pairs", books, PAIRS);
    for pair in pairs {
        sheet.push(vec![
            Cell::text(&pair.ally_id),
            Cell::text(&pair.ally_name),
            Cell::count(pair.vouchers_given),
            Cell::count(pair.customers_sent),
            Cell::count(pair.vouchers_received),
            Cell::count(pair.customers_received),
            money(pair.balance.as_ref()),
            Cell::text(&pair.state_digest),
        ]);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sheet;

    #[test]
    fn every_column_has_a_heading_in_every_language() {
        use proto::ActivityGroup as G;
        let activity = [G::Shop, G::Promotion, G::Channel, G::Hour].map(columns);
        let sheets = activity.into_iter().chain([ATTRIBUTION, RECIPROCITY, COHORTS, BOOKINGS, PAIRS]);
        for (name, _) in sheets.flatten().chain([&("currency", Kind::Text)]) {
            assert!(sheet::is_named(name), "{name}");
        }
    }
}
