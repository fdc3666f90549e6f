//! Credit for this shop's own conversions, by shop and channel.
//!
//! A conversion is a redemption here, or a purchase of a known card without a voucher that touches led to. A purchase
//! within ten minutes of a redemption by the same card is that redemption's own.

use alloc::{string::String, vec::Vec};

use hutong_record::{CardId, ShopId, UnixMillis};

use super::{
    span::{self, Promotions, Span},
    *,
};
use crate::{
    alliance::Alliance,
    attribution::{self, AttributionError, Credit, Model, Path, PathError, ShopIndex, Shops, Tally},
    evidence::{self, Conversion, Trail},
};

/// Conversions of one report; a longer span is two reports.
pub const CONVERSIONS_MAX: usize = 500_000;
/// Two records of one purchase lie no further apart at a till.
const SAME_PURCHASE_MS: i64 = 10 * 60_000;

/// Who is credited with what.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttributionReport {
    /// Redemptions here.
    pub redemptions: u64,
    /// Purchases without a voucher that touches led to.
    pub purchases: u64,
    /// Of both, those that no touch of another shop led to.
    pub unattributed: u64,
    /// What the others were worth, minor units.
    pub value_minor: u128,
    /// By shop and channel. Their conversions add up to all that are attributed.
    pub lines: Vec<CreditLine>,
    /// Touches that did not count: out of their window.
    pub stale: u64,
    /// Likewise: the same once more.
    pub duplicate: u64,
    /// Likewise: too many.
    pub hasty: u64,
    /// Likewise: signed too late.
    pub late: u64,
}

/// What one channel of one shop is credited with.
#[derive(Debug, Clone, PartialEq)]
pub struct CreditLine {
    /// Which shop.
    pub shop: ShopId,
    /// Its channel; empty: a hand-out, or none was named.
    pub channel: String,
    /// Of the conversions.
    pub conversions: Credit,
    /// Of their value, minor units.
    pub value: Credit,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The views cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The model has no result.
    #[error(transparent)]
    Model(#[from] AttributionError),
    /// Touches make no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// More than [`CONVERSIONS_MAX`].
    #[error("there are more than {CONVERSIONS_MAX} conversions: take a shorter span")]
    TooMany,
}

type Node = (ShopId, String);

/// A conversion's path: nodes with their ages, and its value.
struct Walked {
    nodes: Vec<(Node, u64)>,
    value_minor: u64,
}

/// Splits the conversions of a span.
pub fn attribution(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    span: &Span,
    model: Model,
) -> Result<AttributionReport, ReportError> {
    let mut report = AttributionReport::default();
    let mut walked = redemptions(view, alliance, span, &mut report)?;
    walked.extend(purchases(view, alliance, span, &mut report)?);
    if walked.len() > CONVERSIONS_MAX {
        return Err(ReportError::TooMany);
    }
    report.unattributed = (report.redemptions + report.purchases) - walked.len() as u64;
    report.value_minor = walked.iter().map(|one| u128::from(one.value_minor)).sum();
    report.lines = credit(walked, model)?;
    Ok(report)
}

fn redemptions(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    span: &Span,
    report: &mut AttributionReport,
) -> Result<Vec<Walked>, ViewError> {
    let mut walked = Vec::new();
    let mut promotions = Promotions::new(alliance.charter().currency);
    span::each_use(view, span, |voucher, used| {
        if used.redeemer != alliance.me() {
            return Ok(());
        }
        report.redemptions += 1;
        let body = voucher.token.body();
        let promotion = promotions.of(view, body.key.promotion)?;
        let issuer = promotion.and_then(|promotion| promotion.distributor(body.issuer));
        let hand_out = issuer.map(|issuer| (body.issued, issuer.shop));
        let conversion = Conversion { at: used.at, entered: used.entered, card: used.card, hand_out };
        let trail = evidence::trail(view, alliance, &conversion)?;
        report.note(&trail);
        if walked.len() <= CONVERSIONS_MAX {
            walked.extend(Walked::of(trail, used.at, used.purchase.minor()));
        }
        Ok(())
    })?;
    Ok(walked)
}

fn purchases(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    span: &Span,
    report: &mut AttributionReport,
) -> Result<Vec<Walked>, ViewError> {
    let mut walked = Vec::new();
    span::each_sale(view, span, |at, sale| {
        let Some(card) = sale.card else { return Ok(()) };
        let conversion = Conversion { at, entered: sale.entered, card: sale.card, hand_out: None };
        let trail = evidence::trail(view, alliance, &conversion)?;
        if trail.steps.is_empty() || redeemed_about(view, card, at)? {
            return Ok(());
        }
        report.purchases += 1;
        report.note(&trail);
        if walked.len() <= CONVERSIONS_MAX {
            walked.extend(Walked::of(trail, at, sale.minor));
        }
        Ok(())
    })?;
    Ok(walked)
}

/// Whether a card redeemed something at this shop about a moment.
fn redeemed_about(view: &(impl Reader + ?Sized), card: CardId, at: UnixMillis) -> Result<bool, ViewError> {
    let after = table::visits_from(card, at.saturating_add_ms(-SAME_PURCHASE_MS));
    let visits = table::collect_while(view, &table::visits(card), &after, |key, value| {
        let when = table::parse_visit(key).map(|(_, when)| when);
        let near = when.is_some_and(|when| when.ms_since(at) <= SAME_PURCHASE_MS);
        if near { table::decode::<bool>(key, value).map(Some) } else { Ok(None) }
    })?;
    Ok(visits.contains(&true))
}

fn credit(walked: Vec<Walked>, model: Model) -> Result<Vec<CreditLine>, ReportError> {
    let nodes = |walked: &[Walked]| {
        Shops::rank(walked.iter().flat_map(|one| one.nodes.iter().map(|(node, _)| node.clone())))
    };
    let mut walked = walked;
    let ranked = match nodes(&walked) {
        Err(PathError::Shops) => {
            // More channels than can be told apart, as a shop that makes them up would have: by shop, then.
            walked.iter_mut().flat_map(|one| &mut one.nodes).for_each(|((_, channel), _)| channel.clear());
            nodes(&walked)?
        }
        ranked => ranked?,
    };
    let paths = walked.into_iter().map(|one| one.path(&ranked)).collect::<Result<Vec<_>, _>>()?;
    let found = attribution::attribute(ranked.len(), &paths, model)?;
    let credits = found.conversions.into_iter().zip(found.values);
    let line = |((shop, channel), (conversions, value)): (&Node, (Credit, Credit))| CreditLine {
        shop: *shop,
        channel: channel.clone(),
        conversions,
        value,
    };
    let mut lines: Vec<CreditLine> = ranked.iter().zip(credits).map(line).collect();
    // A stable sort: among equals the rank stays.
    lines.sort_by(|one, other| other.conversions.cmp(&one.conversions));
    Ok(lines)
}

impl AttributionReport {
    fn note(&mut self, trail: &Trail) {
        self.stale += trail.stale;
        self.duplicate += trail.duplicate;
        self.hasty += trail.hasty;
        self.late += trail.late;
    }
}

impl Walked {
    /// None: no touch led there.
    fn of(trail: Trail, at: UnixMillis, value_minor: i64) -> Option<Self> {
        let age = |touched: UnixMillis| u64::try_from(at.ms_since(touched)).unwrap_or(0);
        let node = |step: evidence::Step| ((step.shop, step.channel), age(step.at));
        let nodes: Vec<_> = trail.steps.into_iter().map(node).collect();
        let value_minor = u64::try_from(value_minor).unwrap_or(0);
        (!nodes.is_empty()).then_some(Self { nodes, value_minor })
    }

    fn path(self, ranked: &Shops<Node>) -> Result<Path, PathError> {
        let place = |node: &Node| ranked.index(node).unwrap_or(ShopIndex(u32::MAX));
        let places = self.nodes.iter().map(|(node, _)| place(node)).collect();
        let tally = Tally { conversions: 1, nulls: 0, value: self.value_minor.into() };
        Path::new(places, tally)?.with_ages(self.nodes.iter().map(|(_, age)| *age).collect())
    }
}
