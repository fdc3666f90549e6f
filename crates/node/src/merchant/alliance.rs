//! Alliances: founded, joined, shown, governed.

use hutong_core::{
    command::Command,
    fold,
    refusal::{Reason, Refusal},
    report,
    roster::{Member as RosterMember, Standing},
    view::ViewError,
};
use hutong_record::{Continuation, DAY_MS, ShopId, UnixMillis, proto};
use hutong_wire::{
    merchant::v1::{
        Alliance, ApproveMemberRequest, ApproveMemberResponse, ContinueShopRequest, ContinueShopResponse,
        CreateAllianceRequest, CreateAllianceResponse, CreateInvitationRequest, CreateInvitationResponse,
        GetAllianceRequest, GetAllianceResponse, JoinAllianceRequest, JoinAllianceResponse,
        ListAlliancesRequest, ListAlliancesResponse, ListMembersRequest, ListMembersResponse, Member,
        MemberBar, MemberState, Origin, RemoveMemberRequest, RemoveMemberResponse, UpdateProfileRequest,
        UpdateProfileResponse, alliance_service_server::AllianceService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{
    MerchantPort,
    filter::{Filter, Value},
    mask::{self, Mask},
    page, respond,
};
use crate::{
    alliance::Hosted,
    clock,
    join::{self, Founding},
};

const LATE_ENTRY_MS_DEFAULT: i64 = 3 * DAY_MS;
const ATTRIBUTION_WINDOW_MS_DEFAULT: i64 = 30 * DAY_MS;
const INVITATION_MS_DEFAULT: i64 = 7 * DAY_MS;
/// What a filter of members can ask about.
const MEMBER_FIELDS: [&str; 4] = ["name", "category", "state", "core"];

#[tonic::async_trait]
impl AllianceService for MerchantPort {
    async fn create_alliance(
        &self,
        request: Request<CreateAllianceRequest>,
    ) -> Result<Response<CreateAllianceResponse>, Status> {
        respond(request, async |request| {
            let origin = self.origin(request.origin.as_ref())?;
            let hosted = join::found(&self.node, founding(request, origin)?).await?;
            Ok(CreateAllianceResponse { alliance: Some(describe(&hosted)) })
        })
        .await
    }

    async fn join_alliance(
        &self,
        request: Request<JoinAllianceRequest>,
    ) -> Result<Response<JoinAllianceResponse>, Status> {
        respond(request, async |request| {
            let continuation = match request.continuation.as_slice() {
                [] => None,
                bytes => Some(continuation(bytes)?),
            };
            let hosted = join::join(&self.node, &request.link, continuation).await?;
            Ok(JoinAllianceResponse { alliance: Some(describe(&hosted)) })
        })
        .await
    }

    async fn create_invitation(
        &self,
        request: Request<CreateInvitationRequest>,
    ) -> Result<Response<CreateInvitationResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let validity =
                request.validity.as_ref().map(|v| trade::duration_ms("validity", v)).transpose()?;
            let expires = clock::now().saturating_add_ms(validity.unwrap_or(INVITATION_MS_DEFAULT));
            let CreateInvitationRequest { core, note, category, .. } = request;
            let link = join::invite(&self.node, &hosted, expires, core, note, category).await?;
            Ok(CreateInvitationResponse { link, expire_time: Some(trade::timestamp(expires)) })
        })
        .await
    }

    async fn get_alliance(
        &self,
        request: Request<GetAllianceRequest>,
    ) -> Result<Response<GetAllianceResponse>, Status> {
        respond(request, async |request| {
            let mask = Mask::read(request.read_mask.as_ref(), "Alliance")?;
            let hosted = self.hosted(&request.alliance_id)?;
            Ok(GetAllianceResponse { alliance: Some(mask.keep(describe(&hosted))?) })
        })
        .await
    }

    async fn list_alliances(
        &self,
        request: Request<ListAlliancesRequest>,
    ) -> Result<Response<ListAlliancesResponse>, Status> {
        respond(request, async |request| {
            let mask = Mask::read(request.read_mask.as_ref(), "Alliance")?;
            let all = self.node.all().into_iter().map(|(hosted, _)| describe(&hosted));
            let (alliances, next_page_token) =
                page(all, |a| a.id.clone(), request.page_size, &request.page_token)?;
            let alliances = alliances.into_iter().map(|a| mask.keep(a)).collect::<Result<_, _>>()?;
            Ok(ListAlliancesResponse { alliances, next_page_token })
        })
        .await
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let mask = Mask::read(request.read_mask.as_ref(), "Member")?;
            let filter = Filter::parse(&request.filter, &MEMBER_FIELDS)?;
            let shops: Vec<_> = hosted.alliance().roster().iter().map(|(shop, _)| shop).collect();
            // A charter bounds the roster, so a filter may look at all of it.
            let mut found = members(&hosted, shops).await?;
            found.retain(|member| filter.holds(|field| member_value(member, field)));
            let (found, next_page_token) =
                page(found, |member| member.shop_id.clone(), request.page_size, &request.page_token)?;
            let members = found.into_iter().map(|member| mask.keep(member)).collect::<Result<_, _>>()?;
            Ok(ListMembersResponse { members, next_page_token })
        })
        .await
    }

    async fn approve_member(
        &self,
        request: Request<ApproveMemberRequest>,
    ) -> Result<Response<ApproveMemberResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let shop = trade::shop("shop_id", &request.shop_id)?;
            hosted.execute(Command::Approve { shop, core: request.core }).await?;
            Ok(ApproveMemberResponse { member: members(&hosted, vec![shop]).await?.pop() })
        })
        .await
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let shop = trade::shop("shop_id", &request.shop_id)?;
            let held = hosted.reader().head_of(shop).map_or(0, |head| head.sequence);
            let RemoveMemberRequest { last_sequence, reason, .. } = request;
            hosted.execute(Command::Remove { shop, last_sequence, held, reason }).await?;
            Ok(RemoveMemberResponse { member: members(&hosted, vec![shop]).await?.pop() })
        })
        .await
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<UpdateProfileResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let changed = mask::update(request.update_mask.as_ref(), &["name", "category"])?;
            let me = hosted.me();
            let before = hosted.query(move |view| report::profile(view, me)).await?;
            let shop = &self.node.config().shop;
            let (name, category) = before.map_or_else(
                || (shop.name.clone(), shop.category.clone()),
                |before| (before.name, before.category),
            );
            let profile = proto::Profile {
                name: if changed.contains(&"name") { request.name } else { name },
                category: if changed.contains(&"category") { request.category } else { category },
                addresses: self.node.advertised(),
            };
            hosted.execute(Command::Profile(profile)).await?;
            Ok(UpdateProfileResponse { member: members(&hosted, vec![hosted.me()]).await?.pop() })
        })
        .await
    }

    async fn continue_shop(
        &self,
        request: Request<ContinueShopRequest>,
    ) -> Result<Response<ContinueShopResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let continuation = Box::new(continuation(&request.continuation)?);
            hosted.execute(Command::ContinueShop(continuation)).await?;
            Ok(ContinueShopResponse { member: members(&hosted, vec![hosted.me()]).await?.pop() })
        })
        .await
    }
}

fn continuation(bytes: &[u8]) -> Result<Continuation, Refusal> {
    Continuation::read(bytes).map_err(|error| Refusal::field("continuation", error))
}

impl MerchantPort {
    /// What the charter of a new alliance says of the one before, in which this shop is.
    fn origin(&self, origin: Option<&Origin>) -> Result<Option<proto::Origin>, Refusal> {
        let Some(origin) = origin else { return Ok(None) };
        let (alliance, split) = trade::origin(origin)?;
        self.node.hosted(Some(alliance))?.alliance().origin(split, clock::now()).map(Some)
    }
}

fn founding(request: CreateAllianceRequest, origin: Option<proto::Origin>) -> Result<Founding, Refusal> {
    let span = |field: &str, duration: &Option<prost_types::Duration>, default| {
        duration.as_ref().map_or(Ok(default), |d| trade::duration_ms(field, d))
    };
    let or_one = |votes| if votes == 0 { 1 } else { votes };
    Ok(Founding {
        late_entry_ms_max: span("late_entry_max", &request.late_entry_max, LATE_ENTRY_MS_DEFAULT)?,
        attribution_window_ms: span(
            "attribution_window",
            &request.attribution_window,
            ATTRIBUTION_WINDOW_MS_DEFAULT,
        )?,
        attribution: request.attribution.as_ref().map(trade::attribution_rules).transpose()?,
        settlement: request.settlement.map(trade::settlement_rules),
        governance: request.governance.as_ref().map(trade::governance).transpose()?,
        origin,
        category: request.category,
        name: request.name,
        purpose: request.purpose,
        currency_code: if request.currency_code.is_empty() { "CNY".into() } else { request.currency_code },
        utc_offset_minutes: request.utc_offset_minutes,
        admission_votes: or_one(request.admission_votes),
        removal_votes: or_one(request.removal_votes),
    })
}

fn describe(hosted: &Hosted) -> Alliance {
    let alliance = hosted.alliance();
    let charter = alliance.charter();
    let settings = &alliance.government().settings;
    let own = alliance.roster().shop(hosted.me());
    let members = alliance.roster().iter().filter(|(_, m)| m.standing == Standing::Member).count();
    Alliance {
        id: charter.id.to_string(),
        name: charter.name.clone(),
        purpose: charter.purpose.clone(),
        currency_code: charter.currency.code().into(),
        utc_offset_minutes: charter.utc_offset_minutes,
        admission_votes: settings.admission_votes,
        removal_votes: settings.removal_votes,
        late_entry_max: Some(trade::duration(charter.late_entry_ms_max)),
        attribution_window: Some(trade::duration(charter.attribution_window_ms)),
        create_time: Some(trade::timestamp(charter.created)),
        own_state: own.map_or(MemberState::Pending, state).into(),
        member_count: u32::try_from(members).unwrap_or(u32::MAX),
        attribution: Some(trade::attribution_rules_message(&charter.attribution)),
        settlement: Some(trade::settlement_rules_message(charter.settlement)),
        origin: charter.origin.as_ref().map(trade::origin_message),
    }
}

const fn state(member: &RosterMember) -> MemberState {
    match member.standing {
        Standing::Pending => MemberState::Pending,
        Standing::Member => MemberState::Member,
        Standing::Removed => MemberState::Removed,
        Standing::Frozen => MemberState::Frozen,
    }
}

/// What a filter sees of a member.
fn member_value<'a>(member: &'a Member, field: &str) -> Value<'a> {
    match field {
        "name" => Value::Text(&member.name),
        "category" => Value::Text(&member.category),
        "state" => Value::word(member.state().as_str_name(), "MEMBER_STATE_"),
        _ => Value::Text(if member.core { "true" } else { "false" }),
    }
}

/// The given shops, as the roster and their profiles have them.
async fn members(hosted: &Hosted, shops: Vec<ShopId>) -> Result<Vec<Member>, Refusal> {
    let wanted = shops.clone();
    let said = hosted
        .query(move |view| {
            let said = |shop: &ShopId| Ok((report::profile(view, *shop)?, fold::forked_at(view, *shop)?));
            wanted.iter().map(said).collect::<Result<Vec<_>, ViewError>>()
        })
        .await?;
    let (alliance, now) = (hosted.alliance(), clock::now());
    let member = |(shop, (profile, forked)): (ShopId, (Option<proto::Profile>, Option<UnixMillis>))| {
        let roster = alliance.roster();
        let member = roster.shop(shop).ok_or(Refusal::new(Reason::MemberUnknown))?;
        let profile = profile.unwrap_or_default();
        let bar = member.bar_at(now);
        Ok(Member {
            shop_id: shop.to_string(),
            name: profile.name,
            category: profile.category,
            addresses: profile.addresses,
            state: state(member).into(),
            core: member.core,
            record_count: hosted.reader().head_of(shop).map_or(0, |head| head.sequence),
            votes: member.votes,
            admitted_category: member.category.clone(),
            effective_time: member.since.map(trade::timestamp),
            strikes: u32::try_from(alliance.government().strikes_of(shop, now)).unwrap_or(u32::MAX),
            bar: bar.map_or(MemberBar::Unspecified, |bar| trade::bar_message(bar.cause)).into(),
            bar_until_time: bar.and_then(|bar| bar.until).map(trade::timestamp),
            dormant: member.core && alliance.is_dormant(shop, now),
            continues_shop_ids: roster.continues(shop).map(|old| old.to_string()).collect(),
            continued_by_shop_id: roster.continued_by(shop).map(|new| new.to_string()).unwrap_or_default(),
            frozen_time: forked.filter(|_| member.standing == Standing::Frozen).map(trade::timestamp),
        })
    };
    shops.into_iter().zip(said).map(member).collect()
}
