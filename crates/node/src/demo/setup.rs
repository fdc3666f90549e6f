//! The street before it opens: one shop founds the alliance, twelve join, and all publish their promotions.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures::future::try_join_all;
use hutong_wire::merchant::v1::{
    self as pb, alliance_service_client::AllianceServiceClient, node_service_client::NodeServiceClient,
    promotion_service_client::PromotionServiceClient,
};
use tokio::time::{Instant, sleep};

use super::{
    link::{Answer, Link},
    plan::{CURRENCY, Offer, duration_days},
    street::SHOP_COUNT,
};

/// How long the nodes may take to hear of each other, or of all promotions.
const HEAR_MAX: Duration = Duration::from_secs(60);

/// How often the driver looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Visits of 2017 are entered years later.
const LATE_ENTRY_DAYS: u32 = 20 * 365;

/// How long a shop's evidence for having sent a customer counts.
const ATTRIBUTION_DAYS: u32 = 30;

/// The shops' hex ids, in the order of [`super::street::Shop::all`].
pub(super) async fn shop_ids(links: &[Arc<Link>]) -> anyhow::Result<Vec<String>> {
    try_join_all(links.iter().map(|link| async move { Ok(status(link).await?.shop_id) })).await
}

/// How a node is.
pub(super) async fn status(link: &Link) -> anyhow::Result<pb::GetStatusResponse> {
    link.call("GetStatus", |carrier| async move {
        NodeServiceClient::new(carrier).get_status(pb::GetStatusRequest {}).await
    })
    .await?
    .done()
}

/// The first shop founds 胡同街, the others join by a link each. Returns when every node knows all members.
pub(super) async fn found_alliance(links: &[Arc<Link>]) -> anyhow::Result<()> {
    let (founder, guests) = links.split_first().context("a street has shops")?;
    create_alliance(founder).await?;
    try_join_all(guests.iter().map(|guest| async move {
        let invitation = invite(founder, guest).await?;
        join(guest, invitation).await
    }))
    .await?;
    try_join_all(links.iter().map(|link| hear_of_all("members", link, SHOP_COUNT, move || members(link))))
        .await?;
    Ok(())
}

async fn create_alliance(founder: &Link) -> anyhow::Result<()> {
    let request = pb::CreateAllianceRequest {
        name: "胡同街".to_owned(),
        purpose: "Thirteen shops of one street send each other customers.".to_owned(),
        currency_code: CURRENCY.to_owned(),
        utc_offset_minutes: 0,
        admission_votes: 1,
        removal_votes: 0,
        late_entry_max: duration_days(LATE_ENTRY_DAYS),
        attribution_window: duration_days(ATTRIBUTION_DAYS),
        ..Default::default()
    };
    let ask = |carrier| {
        let request = request.clone();
        async move { AllianceServiceClient::new(carrier).create_alliance(request).await }
    };
    founder.call("CreateAlliance", ask).await?.done().context("the alliance was not founded")?;
    Ok(())
}

async fn invite(founder: &Link, guest: &Link) -> anyhow::Result<String> {
    let request = pb::CreateInvitationRequest { note: guest.shop().name().to_owned(), ..Default::default() };
    let ask = |carrier| {
        let request = request.clone();
        async move { AllianceServiceClient::new(carrier).create_invitation(request).await }
    };
    Ok(founder.call("CreateInvitation", ask).await?.done()?.link)
}

async fn join(guest: &Link, invitation: String) -> anyhow::Result<()> {
    let request = pb::JoinAllianceRequest { link: invitation, ..Default::default() };
    let ask = |carrier| {
        let request = request.clone();
        async move { AllianceServiceClient::new(carrier).join_alliance(request).await }
    };
    let answer = guest.call("JoinAlliance", ask).await?.done();
    answer.with_context(|| format!("{} could not join", guest.shop().key()))?;
    Ok(())
}

async fn members(link: &Link) -> anyhow::Result<usize> {
    let ask = |carrier| async move {
        let request = pb::ListMembersRequest { page_size: 1_000, ..Default::default() };
        AllianceServiceClient::new(carrier).list_members(request).await
    };
    // A node that has only just joined may not know its alliance yet.
    let Answer::Done(page) = link.call("ListMembers", ask).await? else { return Ok(0) };
    Ok(page.members.iter().filter(|m| m.state() == pb::MemberState::Member).count())
}

/// Each funder publishes its offers. Returns the promotions' hex ids and the offers' positions when every node knows
/// them all.
pub(super) async fn publish(
    links: &[Arc<Link>],
    shop_ids: &[String],
    offers: &[Offer],
    days: u32,
) -> anyhow::Result<HashMap<String, usize>> {
    let numbered = offers.iter().enumerate();
    let ids = try_join_all(numbered.map(|(number, offer)| async move {
        let promotion = offer.promotion(shop_ids, days);
        let id = create_promotion(&links[offer.to.index()], number, promotion).await?;
        anyhow::Ok((id, number))
    }))
    .await?;
    let all = offers.len();
    try_join_all(links.iter().map(|link| hear_of_all("promotions", link, all, move || promotions(link))))
        .await?;
    Ok(ids.into_iter().collect())
}

async fn create_promotion(link: &Link, number: usize, promotion: pb::Promotion) -> anyhow::Result<String> {
    let title = promotion.title.clone();
    let request = pb::CreatePromotionRequest {
        promotion: Some(promotion),
        request_id: format!("promotion-{number}"),
        ..Default::default()
    };
    let ask = |carrier| {
        let request = request.clone();
        async move { PromotionServiceClient::new(carrier).create_promotion(request).await }
    };
    let answer = link.call("CreatePromotion", ask).await?.done();
    let created = answer.with_context(|| format!("{title:?} was not published"))?.promotion;
    Ok(created.context("CreatePromotion answers without a promotion")?.id)
}

async fn promotions(link: &Link) -> anyhow::Result<usize> {
    let ask = |carrier| async move {
        let request = pb::ListPromotionsRequest { page_size: 1_000, ..Default::default() };
        PromotionServiceClient::new(carrier).list_promotions(request).await
    };
    Ok(link.call("ListPromotions", ask).await?.done()?.promotions.len())
}

/// Asks until there are `all` of them.
async fn hear_of_all<C, A>(what: &str, link: &Link, all: usize, count: C) -> anyhow::Result<()>
where
    C: Fn() -> A,
    A: Future<Output = anyhow::Result<usize>>,
{
    let give_up = Instant::now() + HEAR_MAX;
    loop {
        let known = count().await?;
        if known == all {
            return Ok(());
        }
        if Instant::now() > give_up {
            bail!("{} knows {known} of {all} {what} after {HEAR_MAX:?}", link.shop().key());
        }
        sleep(LOOK_EVERY).await;
    }
}
