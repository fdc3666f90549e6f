//! Reports over a span of time: credit, activity, reciprocity, cohorts, bookings.

use std::collections::{BTreeMap, btree_map::Entry};

use hutong_core::{
    attribution::AttributionError,
    promotion::Promotion,
    refusal::Refusal,
    report::{
        self, ActivityKey, AttributionReport, Booking as BookingLine, Cohort as CohortRow,
        CreditLine as Credited, Group, ReceiptPlace, ReportError,
    },
    view::ViewError,
};
use hutong_record::{Currency, RecordId, ShopId, UnixMillis};
use hutong_store::views::SledViews;
use hutong_wire::{
    merchant::v1::{
        Activity, ActivityGroup, Booking, Cohort, CreditLine, GetAttributionRequest, GetAttributionResponse,
        ListActivityRequest, ListActivityResponse, ListBookingsRequest, ListBookingsResponse,
        ListCohortsRequest, ListCohortsResponse, ListReciprocityRequest, ListReciprocityResponse,
        Reciprocity,
    },
    trade,
};

use super::{
    MerchantPort,
    calendar::day_text,
    names::{shop_name, shop_names},
    page, page_size,
};
use crate::{alliance::internal, clock};

impl MerchantPort {
    pub(super) async fn attribution(
        &self,
        request: GetAttributionRequest,
    ) -> Result<GetAttributionResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let alliance = hosted.alliance();
        let charter = alliance.charter();
        let (model, name) = trade::credit_model(
            request.model,
            request.markov_order,
            request.half_life.as_ref(),
            charter.attribution.paying_model,
        )?;
        let span = trade::span(request.from_time.as_ref(), request.until_time.as_ref())?;
        let currency = charter.currency;
        let read = move |view: &SledViews| match report::attribution(view, &alliance, &span, model) {
            Err(ReportError::View(error)) => Err(error),
            other => {
                let shops = other.iter().flat_map(|found| &found.lines).map(|line| line.shop);
                let names = shop_names(view, shops)?;
                Ok(other.map(|found| (found, names)))
            }
        };
        let (found, names) = hosted.query(read).await?.map_err(|error| no_credit(&error))?;
        Ok(GetAttributionResponse { model: name.into(), ..credit_message(&found, &names, currency) })
    }

    pub(super) async fn activity(
        &self,
        request: ListActivityRequest,
    ) -> Result<ListActivityResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let group = match request.group() {
            ActivityGroup::Shop => Group::Shop,
            ActivityGroup::Promotion => Group::Promotion,
            ActivityGroup::Channel => Group::Channel,
            ActivityGroup::Hour => Group::Hour,
            ActivityGroup::Unspecified => return Err(Refusal::field("group", "is none of the groups")),
        };
        let span = trade::span(request.from_time.as_ref(), request.until_time.as_ref())?;
        let alliance = hosted.alliance();
        let currency = alliance.charter().currency;
        let all = hosted.query(move |view| report::activity(view, &alliance, &span, group)).await?;
        let (shown, next_page_token) =
            page(all, |(key, _)| activity_token(key), request.page_size, &request.page_token)?;
        let mut rows: Vec<Activity> =
            shown.iter().map(|(key, row)| trade::activity_message(key, row, currency)).collect();
        let name = move |view: &SledViews| {
            for row in &mut rows {
                name_activity(view, row, currency)?;
            }
            Ok(rows)
        };
        Ok(ListActivityResponse { rows: hosted.query(name).await?, next_page_token })
    }

    pub(super) async fn reciprocity(
        &self,
        request: ListReciprocityRequest,
    ) -> Result<ListReciprocityResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let span = trade::span(request.from_time.as_ref(), request.until_time.as_ref())?;
        let (me, currency) = (hosted.me(), hosted.alliance().charter().currency);
        let read = move |view: &SledViews| {
            let all = report::reciprocity(view, me, &span)?;
            let names = shop_names(view, all.keys().copied())?;
            Ok((all, names))
        };
        let (all, names) = hosted.query(read).await?;
        let (shown, next_page_token) =
            page(all, |(ally, _)| ally.to_string(), request.page_size, &request.page_token)?;
        let row = |(ally, row)| Reciprocity {
            ally_id: ShopId::to_string(&ally),
            ally_name: names.get(&ally).cloned().unwrap_or_default(),
            ..trade::reciprocity_message(&row, currency)
        };
        Ok(ListReciprocityResponse { rows: shown.into_iter().map(row).collect(), next_page_token })
    }

    pub(super) async fn cohorts(&self, request: ListCohortsRequest) -> Result<ListCohortsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let span = trade::span(request.from_time.as_ref(), request.until_time.as_ref())?;
        let as_of = trade::time_or("as_of_time", request.as_of_time.as_ref(), clock::now())?;
        let alliance = hosted.alliance();
        let all = hosted.query(move |view| report::cohorts(view, &alliance, &span, as_of)).await?;
        let cohorts = all.into_iter().map(|(monday, row)| cohort_message(monday, &row));
        let (cohorts, next_page_token) =
            page(cohorts, |cohort| cohort.week.clone(), request.page_size, &request.page_token)?;
        Ok(ListCohortsResponse { cohorts, next_page_token })
    }

    pub(super) async fn bookings(
        &self,
        request: ListBookingsRequest,
    ) -> Result<ListBookingsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let span = trade::span(request.from_time.as_ref(), request.until_time.as_ref())?;
        let most = page_size(request.page_size)?;
        let after = parse_place(&request.page_token)?;
        let (me, currency) = (hosted.me(), hosted.alliance().charter().currency);
        let read = move |view: &SledViews| {
            let (lines, next) = report::bookings(view, me, &span, after, most)?;
            let names = shop_names(view, lines.iter().flat_map(|line| [line.from, line.to]))?;
            let titles = titles(view, lines.iter().map(|line| line.promotion), currency)?;
            let message = |line: &BookingLine| booking_message(line, &names, &titles);
            Ok((lines.iter().map(message).collect(), next))
        };
        let (lines, next) = hosted.query(read).await?;
        let next_page_token = next.map(|(at, id)| format!("{}-{id}", at.ms())).unwrap_or_default();
        Ok(ListBookingsResponse { lines, next_page_token })
    }
}

/// Why a model gives no credit: the caller asked for too much at once.
fn no_credit(error: &ReportError) -> Refusal {
    match error {
        ReportError::TooMany => Refusal::field("from_time", error),
        ReportError::Model(AttributionError::TooManyStates { .. } | AttributionError::TooMuchWork) => {
            Refusal::field("markov_order", error)
        }
        other => internal(other),
    }
}

fn credit_message(
    found: &AttributionReport,
    names: &BTreeMap<ShopId, String>,
    currency: Currency,
) -> GetAttributionResponse {
    let line = |line: &Credited| CreditLine {
        shop_id: line.shop.to_string(),
        shop_name: names.get(&line.shop).cloned().unwrap_or_default(),
        channel: line.channel.clone(),
        conversions: line.conversions.to_f64(),
        value_minor: line.value.to_f64(),
    };
    GetAttributionResponse {
        model: 0,
        conversions: found.redemptions + found.purchases,
        redemptions: found.redemptions,
        unattributed: found.unattributed,
        value: Some(trade::minor_message(i128::try_from(found.value_minor).unwrap_or(i128::MAX), currency)),
        lines: found.lines.iter().map(line).collect(),
        stale_touches: found.stale,
        duplicate_touches: found.duplicate,
        hasty_touches: found.hasty,
        late_touches: found.late,
    }
}

/// Tokens in the order of keys, whatever stands in a channel's name.
fn activity_token(key: &ActivityKey) -> String {
    match key {
        ActivityKey::Shop(shop) => shop.to_string(),
        ActivityKey::Promotion(id) => id.to_string(),
        ActivityKey::Channel { from, to, name } => format!("{from}-{to}-{name}"),
        ActivityKey::Hour { weekday, hour } => format!("{weekday}-{hour:02}"),
    }
}

fn name_activity(view: &SledViews, row: &mut Activity, currency: Currency) -> Result<(), ViewError> {
    let name = |id: &str| id.parse().map_or(Ok(String::new()), |shop| shop_name(view, shop));
    (row.shop_name, row.to_shop_name) = (name(&row.shop_id)?, name(&row.to_shop_id)?);
    if let Ok(id) = row.promotion_id.parse::<RecordId>() {
        row.promotion_title = Promotion::load(view, id, currency)?.map(|p| p.title).unwrap_or_default();
    }
    Ok(())
}

/// The name of a shop by its hex id; empty where there is none.
fn titles(
    view: &SledViews,
    promotions: impl Iterator<Item = RecordId>,
    currency: Currency,
) -> Result<BTreeMap<RecordId, String>, ViewError> {
    let mut titles = BTreeMap::new();
    for id in promotions {
        if let Entry::Vacant(place) = titles.entry(id) {
            let promotion = Promotion::load(view, id, currency)?;
            place.insert(promotion.map(|promotion| promotion.title).unwrap_or_default());
        }
    }
    Ok(titles)
}

fn cohort_message(monday: i64, row: &CohortRow) -> Cohort {
    let week = day_text(monday).unwrap_or_default();
    let [newcomers_7_days, newcomers_30_days, newcomers_90_days] = row.observed;
    let [returned_7_days, returned_30_days, returned_90_days] = row.returned;
    Cohort {
        week,
        newcomers: row.newcomers,
        newcomers_7_days,
        returned_7_days,
        newcomers_30_days,
        returned_30_days,
        newcomers_90_days,
        returned_90_days,
    }
}

fn booking_message(
    line: &BookingLine,
    names: &BTreeMap<ShopId, String>,
    titles: &BTreeMap<RecordId, String>,
) -> Booking {
    let name = |shop: &ShopId| names.get(shop).cloned().unwrap_or_default();
    Booking {
        redemption_id: line.redemption.to_string(),
        redeem_time: Some(trade::timestamp(line.at)),
        promotion_id: line.promotion.to_string(),
        promotion_title: titles.get(&line.promotion).cloned().unwrap_or_default(),
        kind: trade::booking_kind(line.kind).into(),
        from_shop_id: line.from.to_string(),
        from_shop_name: name(&line.from),
        to_shop_id: line.to.to_string(),
        to_shop_name: name(&line.to),
        amount: Some(trade::money_message(line.amount)),
        basis_points: line.basis_points,
        purchase: Some(trade::money_message(line.purchase)),
    }
}

/// A place among receipts, as a page token says it.
fn parse_place(token: &str) -> Result<Option<ReceiptPlace>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Refusal::field("page_token", "is not one of this node's");
    let (at, id) = token.split_once('-').ok_or_else(wrong)?;
    let at = at.parse().ok().and_then(|ms| UnixMillis::new(ms).ok()).ok_or_else(wrong)?;
    Ok(Some((at, id.parse().map_err(|_| wrong())?)))
}

/// Which co-funders of a promotion have agreed.
pub(super) fn agreed(view: &SledViews, promotion: &Promotion) -> Result<Vec<bool>, ViewError> {
    let mut agreed = Vec::with_capacity(promotion.funding.len());
    for share in &promotion.funding {
        let own = share.shop == promotion.funder;
        agreed.push(own || report::consent(view, promotion.id, share.shop)?.is_some());
    }
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_none_names_the_token() {
        let id = RecordId::new([7; 32]);
        assert_eq!(parse_place(""), Ok(None));
        assert_eq!(parse_place(&format!("5-{id}")), Ok(Some((UnixMillis::new(5).unwrap(), id))));
        for bad in ["x", "5", "5-", "-5-aa", &format!("-1-{id}"), &format!("999999999999999999-{id}")] {
            assert_eq!(parse_place(bad).unwrap_err().fact("field"), Some("page_token"), "{bad}");
        }
    }

    #[test]
    fn a_cohort_is_named_by_its_monday() {
        assert_eq!(cohort_message(4, &CohortRow::default()).week, "1970-01-05");
        assert_eq!(cohort_message(-3, &CohortRow::default()).week, "1969-12-29");
    }

    #[test]
    fn tokens_are_in_the_order_of_the_rows() {
        let hour = |weekday, hour| activity_token(&ActivityKey::Hour { weekday, hour });
        assert!(hour(0, 9) < hour(0, 10) && hour(0, 23) < hour(1, 0));
    }
}
