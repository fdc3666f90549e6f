//! One method for each call.

use hutong_wire::merchant::v1::*;
use prost_types::Timestamp;
use tonic::{Request, Streaming};

use crate::{Client, Error, JOIN_TIMEOUT, POST_TIMEOUT, random_request_id, retry_unavailable};

/// The largest page that a node gives.
const PAGE_SIZE: i32 = 1_000;
/// Pages followed in one listing. More is a node that goes round in circles.
const PAGES_MAX: usize = 10_000;

/// Calls that may be repeated: they carry a `request_id`, or change nothing.
macro_rules! repeated {
    ($($(#[$doc:meta])* $service:ident.$call:ident($request:ty) -> $response:ty;)*) => {
        impl Client {
            $($(#[$doc])*
            pub async fn $call(&self, request: $request) -> Result<$response, Error> {
                retry_unavailable(|| {
                    let (mut service, request) = (self.$service(), request.clone());
                    async move { service.$call(request).await }
                })
                .await
            })*
        }
    };
}

/// Calls whose request id is optional. They get one here, so that they may be repeated.
macro_rules! named {
    ($($(#[$doc:meta])* $service:ident.$call:ident($request:ty) -> $response:ty;)*) => {
        impl Client {
            $($(#[$doc])*
            pub async fn $call(&self, mut request: $request) -> Result<$response, Error> {
                if request.request_id.is_empty() {
                    request.request_id = random_request_id();
                }
                retry_unavailable(|| {
                    let (mut service, request) = (self.$service(), request.clone());
                    async move { service.$call(request).await }
                })
                .await
            })*
        }
    };
}

/// Calls that are made once: a second one would do it twice.
macro_rules! once {
    ($($(#[$doc:meta])* $service:ident.$call:ident($request:ty) -> $response:ty;)*) => {
        impl Client {
            $($(#[$doc])*
            pub async fn $call(&self, request: $request) -> Result<$response, Error> {
                Ok(self.$service().$call(request).await?.into_inner())
            })*
        }
    };
}

repeated! {
    /// Reports a sale; answers with the vouchers that it earned.
    sales.report_sale(ReportSaleRequest) -> ReportSaleResponse;
    /// Hands a voucher out without a sale.
    vouchers.issue_voucher(IssueVoucherRequest) -> IssueVoucherResponse;
    /// Uses a voucher at this shop.
    vouchers.redeem_voucher(RedeemVoucherRequest) -> RedeemVoucherResponse;
    /// Takes a redemption back.
    vouchers.void_redemption(VoidRedemptionRequest) -> VoidRedemptionResponse;
    /// Tells which vouchers would apply to a purchase, and why others would not.
    vouchers.qualify_vouchers(QualifyVouchersRequest) -> QualifyVouchersResponse;
    /// Passes a voucher on to another shop.
    vouchers.transfer_voucher(TransferVoucherRequest) -> TransferVoucherResponse;
    /// Asks an anywhere voucher's home for the right; what was asked before is not asked twice.
    vouchers.request_voucher(RequestVoucherRequest) -> RequestVoucherResponse;
    /// Takes a voucher back.
    vouchers.revoke_voucher(RevokeVoucherRequest) -> RevokeVoucherResponse;
    /// Keeps a use of a voucher free.
    vouchers.reserve_voucher(ReserveVoucherRequest) -> ReserveVoucherResponse;
    /// Gives up what was kept free.
    vouchers.release_reservation(ReleaseReservationRequest) -> ReleaseReservationResponse;
    /// Notes that this shop sent a customer to another one.
    vouchers.record_touch(RecordTouchRequest) -> RecordTouchResponse;
    /// Tells how a voucher stands.
    vouchers.get_voucher(GetVoucherRequest) -> GetVoucherResponse;
    /// One page of this shop's vouchers.
    vouchers.list_vouchers(ListVouchersRequest) -> ListVouchersResponse;
    /// Publishes a promotion, or with `validate_only` only checks it.
    promotions.create_promotion(CreatePromotionRequest) -> CreatePromotionResponse;
    /// One promotion.
    promotions.get_promotion(GetPromotionRequest) -> GetPromotionResponse;
    /// One page of the alliance's promotions.
    promotions.list_promotions(ListPromotionsRequest) -> ListPromotionsResponse;
    /// Passes numbers of a promotion to another distributor.
    promotions.move_quota(MoveQuotaRequest) -> MoveQuotaResponse;
    /// One page of a promotion's numbers and their owners.
    promotions.list_shares(ListSharesRequest) -> ListSharesResponse;
    /// What going on with new keys after a place of a log would cut off.
    node.plan_override(PlanOverrideRequest) -> PlanOverrideResponse;
    /// One alliance.
    alliances.get_alliance(GetAllianceRequest) -> GetAllianceResponse;
    /// One page of this shop's alliances.
    alliances.list_alliances(ListAlliancesRequest) -> ListAlliancesResponse;
    /// One page of an alliance's shops.
    alliances.list_members(ListMembersRequest) -> ListMembersResponse;
    /// The rules in force.
    governance.get_governance(GetGovernanceRequest) -> GetGovernanceResponse;
    /// One page of motions.
    governance.list_motions(ListMotionsRequest) -> ListMotionsResponse;
    /// Raises a voice on a motion; doing it twice changes nothing.
    governance.vote_on_motion(VoteOnMotionRequest) -> VoteOnMotionResponse;
    /// Appeals against a strike; doing it twice changes nothing.
    governance.appeal_strike(AppealStrikeRequest) -> AppealStrikeResponse;
    /// Says whether this shop goes on; doing it twice changes nothing.
    governance.choose_season(ChooseSeasonRequest) -> ChooseSeasonResponse;
    /// Leaves; doing it twice changes nothing.
    governance.depart_alliance(DepartAllianceRequest) -> DepartAllianceResponse;
    /// This shop's counts.
    reports.get_summary(GetSummaryRequest) -> GetSummaryResponse;
    /// One page of this shop's pairs.
    reports.list_pairs(ListPairsRequest) -> ListPairsResponse;
    /// Digests that are equal wherever the same records are held.
    reports.get_state_digest(GetStateDigestRequest) -> GetStateDigestResponse;
    /// Credit for this shop's own conversions, by shop and channel.
    reports.get_attribution(GetAttributionRequest) -> GetAttributionResponse;
    /// One page of what happened, by ally, promotion, channel or hour of the week.
    reports.list_activity(ListActivityRequest) -> ListActivityResponse;
    /// One page of what this shop and its allies did for each other.
    reports.list_reciprocity(ListReciprocityRequest) -> ListReciprocityResponse;
    /// One page of newcomers by week, and how many came back.
    reports.list_cohorts(ListCohortsRequest) -> ListCohortsResponse;
    /// One page of lines for an accountant.
    reports.list_bookings(ListBookingsRequest) -> ListBookingsResponse;
    /// Notes a channel and gives its link.
    channels.create_channel(CreateChannelRequest) -> CreateChannelResponse;
    /// One page of this shop's channels.
    channels.list_channels(ListChannelsRequest) -> ListChannelsResponse;
    /// One channel.
    channels.get_channel(GetChannelRequest) -> GetChannelResponse;
    /// Reports that a customer scanned a channel's code.
    channels.report_scan(ReportScanRequest) -> ReportScanResponse;
    /// Notes that a card is, or is no more, one of the staff.
    channels.set_staff_card(SetStaffCardRequest) -> SetStaffCardResponse;
    /// Agrees to bear a share of a promotion.
    promotions.consent_to_funding(ConsentToFundingRequest) -> ConsentToFundingResponse;
    /// One page of what shops were proven to have done.
    reports.list_offences(ListOffencesRequest) -> ListOffencesResponse;
    /// One page of the book of this shop and an ally.
    settlements.list_book_lines(ListBookLinesRequest) -> ListBookLinesResponse;
    /// Accepts or disputes a receipt, takes a dispute back, or concedes.
    settlements.respond_to_receipt(RespondToReceiptRequest) -> RespondToReceiptResponse;
    /// How a statement stands.
    settlements.get_statement(GetStatementRequest) -> GetStatementResponse;
    /// One page of the statements with an ally.
    settlements.list_statements(ListStatementsRequest) -> ListStatementsResponse;
    /// Signs the next statement with an ally; what was signed before is not signed twice.
    settlements.sign_statement(SignStatementRequest) -> SignStatementResponse;
    /// What differs between both shops' statements.
    settlements.compare_statement(CompareStatementRequest) -> CompareStatementResponse;
    /// Says that this shop paid an ally.
    settlements.record_payment(RecordPaymentRequest) -> RecordPaymentResponse;
    /// Says that an ally's payment came, or did not.
    settlements.confirm_payment(ConfirmPaymentRequest) -> ConfirmPaymentResponse;
    /// Carries what is open with a shop whose log is closed over to the member that continues it.
    settlements.carry_over(CarryOverRequest) -> CarryOverResponse;
    /// One page of this shop's payments.
    settlements.list_payments(ListPaymentsRequest) -> ListPaymentsResponse;
    /// Discloses the last agreed balance; doing it twice changes nothing.
    settlements.publish_balance(PublishBalanceRequest) -> PublishBalanceResponse;
    /// Proposes a netting; the same one is not proposed twice.
    settlements.propose_netting(ProposeNettingRequest) -> ProposeNettingResponse;
    /// Agrees to a netting run; doing it twice changes nothing.
    settlements.consent_to_netting(ConsentToNettingRequest) -> ConsentToNettingResponse;
    /// One netting run.
    settlements.get_netting(GetNettingRequest) -> GetNettingResponse;
    /// One page of the alliance's netting runs.
    settlements.list_nettings(ListNettingsRequest) -> ListNettingsResponse;
    /// Limits what an ally may owe; the latest limit counts.
    settlements.set_exposure(SetExposureRequest) -> SetExposureResponse;
    /// One page of allies and how they stand to their limits.
    settlements.list_exposures(ListExposuresRequest) -> ListExposuresResponse;
    /// Whether the node consents to netting runs by itself.
    settlements.set_netting_rule(SetNettingRuleRequest) -> SetNettingRuleResponse;
    /// Takes on new debts of an ally, up to a limit; doing it twice changes nothing.
    settlements.offer_credit_line(OfferCreditLineRequest) -> OfferCreditLineResponse;
    /// Agrees to the credit line that an ally offers; doing it twice changes nothing.
    settlements.accept_credit_line(AcceptCreditLineRequest) -> AcceptCreditLineResponse;
    /// Takes this shop's word on credit lines back; doing it twice changes nothing.
    settlements.withdraw_credit_line(WithdrawCreditLineRequest) -> WithdrawCreditLineResponse;
    /// One page of credit lines.
    settlements.list_credit_lines(ListCreditLinesRequest) -> ListCreditLinesResponse;
    /// The node itself.
    node.get_status(GetStatusRequest) -> GetStatusResponse;
    /// The caller's own token.
    tokens.get_current_token(GetCurrentTokenRequest) -> GetCurrentTokenResponse;
    /// One page of all tokens.
    tokens.list_tokens(ListTokensRequest) -> ListTokensResponse;
    /// Takes a token back; doing it twice changes nothing.
    tokens.revoke_token(RevokeTokenRequest) -> RevokeTokenResponse;
    /// One page of what was changed and denied, newest first.
    tokens.list_audit_entries(ListAuditEntriesRequest) -> ListAuditEntriesResponse;
    /// One page of all webhooks.
    webhooks.list_webhooks(ListWebhooksRequest) -> ListWebhooksResponse;
    /// One page of a webhook's messages that were given up.
    webhooks.list_dead_letters(ListDeadLettersRequest) -> ListDeadLettersResponse;
    /// Pauses or resumes the links to other nodes; doing it twice changes nothing.
    node.set_federation(SetFederationRequest) -> SetFederationResponse;
}

named! {
    /// Makes a token for a partner app.
    tokens.create_token(CreateTokenRequest) -> CreateTokenResponse;
    /// Makes a weaker token from the caller's own.
    tokens.attenuate_token(AttenuateTokenRequest) -> AttenuateTokenResponse;
    /// Adds an address that events are sent to.
    webhooks.create_webhook(CreateWebhookRequest) -> CreateWebhookResponse;
    /// Gives a webhook a new signing secret.
    webhooks.rotate_webhook_secret(RotateWebhookSecretRequest) -> RotateWebhookSecretResponse;
}

once! {
    /// Vouches that no record was lost when the shop's disk was set back.
    node.declare_nothing_lost(DeclareNothingLostRequest) -> DeclareNothingLostResponse;
    /// Begins to read an alliance's journal again, to check every record.
    node.scrub_journal(ScrubJournalRequest) -> ScrubJournalResponse;
    /// Has the node go over to the keys that were laid into its data folder.
    node.rotate_key(RotateKeyRequest) -> RotateKeyResponse;
    /// Has the node go on with such keys from places that the recovery key ordered.
    node.override_key(OverrideKeyRequest) -> OverrideKeyResponse;
    /// Stops the hand-out of a promotion.
    promotions.end_promotion(EndPromotionRequest) -> EndPromotionResponse;
    /// Founds an alliance.
    alliances.create_alliance(CreateAllianceRequest) -> CreateAllianceResponse;
    /// Makes an invitation link for one shop.
    alliances.create_invitation(CreateInvitationRequest) -> CreateInvitationResponse;
    /// Votes for a shop that waits for admission.
    alliances.approve_member(ApproveMemberRequest) -> ApproveMemberResponse;
    /// Votes for a shop's removal.
    alliances.remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
    /// Proposes a motion.
    governance.propose_motion(ProposeMotionRequest) -> ProposeMotionResponse;
    /// Removes one.
    webhooks.delete_webhook(DeleteWebhookRequest) -> DeleteWebhookResponse;
    /// Tells the allies this shop's name, trade and address.
    alliances.update_profile(UpdateProfileRequest) -> UpdateProfileResponse;
    /// Says that this shop continues one whose log is closed for good; that again changes nothing.
    alliances.continue_shop(ContinueShopRequest) -> ContinueShopResponse;
}

/// Follows the pages of a listing to the end. `ask` takes a page's token, and gives its items and the next token.
async fn follow_pages<T>(
    mut ask: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Error>,
) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let (page, next) = ask(page_token).await?;
        items.extend(page);
        if next.is_empty() {
            return Ok(items);
        }
        page_token = next;
    }
    Err(Error::Pages(PAGES_MAX))
}

/// Listings that follow the pages to the end.
macro_rules! all_pages {
    ($($(#[$doc:meta])* $all:ident: $list:ident($request:ident { $($field:ident),* }).$items:ident -> $item:ty;)*) => {
        impl Client {
            $($(#[$doc])*
            #[allow(clippy::needless_update, reason = "some requests have no more fields")]
            pub async fn $all(&self, $($field: &str),*) -> Result<Vec<$item>, Error> {
                follow_pages(async |page_token| {
                    let request = $request { $($field: $field.to_owned(),)* page_size: PAGE_SIZE, page_token, ..Default::default() };
                    self.$list(request).await.map(|page| (page.$items, page.next_page_token))
                })
                .await
            })*
        }
    };
}

all_pages! {
    /// All alliances of this shop.
    all_alliances: list_alliances(ListAlliancesRequest {}).alliances -> Alliance;
    /// All shops of an alliance.
    all_members: list_members(ListMembersRequest { alliance_id }).members -> Member;
    /// All motions of an alliance.
    all_motions: list_motions(ListMotionsRequest { alliance_id }).motions -> Motion;
    /// All promotions of an alliance.
    all_promotions: list_promotions(ListPromotionsRequest { alliance_id }).promotions -> Promotion;
    /// All numbers of a promotion, with their owners.
    all_shares: list_shares(ListSharesRequest { alliance_id, promotion_id }).shares -> Share;
    /// All that shops of an alliance were proven to have done.
    all_offences: list_offences(ListOffencesRequest { alliance_id }).offences -> Offence;
    /// All vouchers that this shop hands out, redeems or funds.
    all_vouchers: list_vouchers(ListVouchersRequest { alliance_id }).vouchers -> Voucher;
    /// Those of them that a filter lets through, such as `state = ISSUED`.
    vouchers_where: list_vouchers(ListVouchersRequest { alliance_id, filter }).vouchers -> Voucher;
    /// All tokens, oldest first.
    all_tokens: list_tokens(ListTokensRequest {}).tokens -> Token;
    /// All webhooks, oldest first.
    all_webhooks: list_webhooks(ListWebhooksRequest {}).webhooks -> Webhook;
    /// All messages of a webhook that were given up, oldest first.
    all_dead_letters: list_dead_letters(ListDeadLettersRequest { webhook_id }).dead_letters -> DeadLetter;
    /// All statements with an ally.
    all_statements: list_statements(ListStatementsRequest { alliance_id, ally_id }).statements -> Statement;
    /// All payments with an ally, or with all where the id is empty.
    all_payments: list_payments(ListPaymentsRequest { alliance_id, ally_id }).payments -> SettlementPayment;
    /// All netting runs of an alliance.
    all_nettings: list_nettings(ListNettingsRequest { alliance_id }).runs -> NettingRun;
    /// All credit lines of an alliance.
    all_credit_lines: list_credit_lines(ListCreditLinesRequest { alliance_id }).lines -> LineOfCredit;
    /// All allies and how they stand to their limits.
    all_exposures: list_exposures(ListExposuresRequest { alliance_id }).exposures -> Exposure;
    /// All channels of this shop.
    all_channels: list_channels(ListChannelsRequest { alliance_id }).channels -> crate::proto::Channel;
    /// This shop and each of its allies.
    all_pairs: list_pairs(ListPairsRequest { alliance_id }).pairs -> Pair;
}

impl Client {
    /// All credit lines that this shop is in.
    pub async fn own_credit_lines(&self, alliance_id: &str) -> Result<Vec<LineOfCredit>, Error> {
        follow_pages(async |page_token| {
            let alliance_id = alliance_id.to_owned();
            let request = ListCreditLinesRequest { alliance_id, own: true, page_size: PAGE_SIZE, page_token };
            self.list_credit_lines(request).await.map(|page| (page.lines, page.next_page_token))
        })
        .await
    }
}

/// Listings over a span of time that follow the pages to the end.
macro_rules! all_pages_of_spans {
    ($($(#[$doc:meta])* $all:ident: $list:ident($request:ident { $($field:ident: $type:ty = $value:expr),* }).$items:ident -> $item:ty;)*) => {
        impl Client {
            $($(#[$doc])*
            pub async fn $all(
                &self,
                alliance_id: &str,
                $($field: $type,)*
                from_time: Option<Timestamp>,
                until_time: Option<Timestamp>,
            ) -> Result<Vec<$item>, Error> {
                follow_pages(async |page_token| {
                    let alliance_id = alliance_id.to_owned();
                    let request = $request { alliance_id, $($field: $value,)* from_time, until_time, page_size: PAGE_SIZE, page_token };
                    self.$list(request).await.map(|page| (page.$items, page.next_page_token))
                })
                .await
            })*
        }
    };
}

all_pages_of_spans! {
    /// All that happened in a span of time, by ally, promotion, channel or hour of the week.
    all_activity: list_activity(ListActivityRequest { group: ActivityGroup = group.into() }).rows -> Activity;
    /// All that this shop and its allies did for each other in a span of time.
    all_reciprocity: list_reciprocity(ListReciprocityRequest {}).rows -> Reciprocity;
    /// All lines of the book of this shop and an ally in a span of time.
    all_book_lines: list_book_lines(ListBookLinesRequest { ally_id: &str = ally_id.to_owned() }).lines -> BookLine;
    /// All lines for an accountant in a span of time.
    all_bookings: list_bookings(ListBookingsRequest {}).lines -> Booking;
    /// All newcomers whose first redemption lies in a span of time, with their visits up to a moment; none: now.
    all_cohorts: list_cohorts(ListCohortsRequest { as_of_time: Option<Timestamp> = as_of_time }).cohorts -> Cohort;
}

impl Client {
    /// Joins an alliance by an invitation link; waits up to [`JOIN_TIMEOUT`] for the inviting shop.
    pub async fn join_alliance(&self, request: JoinAllianceRequest) -> Result<JoinAllianceResponse, Error> {
        let mut request = Request::new(request);
        request.set_timeout(JOIN_TIMEOUT);
        Ok(self.alliances().join_alliance(request).await?.into_inner())
    }

    /// Posts a test message to a webhook now; waits up to [`POST_TIMEOUT`] for its receiver.
    pub async fn test_webhook(&self, request: TestWebhookRequest) -> Result<TestWebhookResponse, Error> {
        let mut request = Request::new(request);
        request.set_timeout(POST_TIMEOUT);
        Ok(self.webhooks().test_webhook(request).await?.into_inner())
    }

    /// Posts dead letters again; waits up to [`POST_TIMEOUT`].
    pub async fn replay_dead_letters(
        &self,
        request: ReplayDeadLettersRequest,
    ) -> Result<ReplayDeadLettersResponse, Error> {
        let mut request = Request::new(request);
        request.set_timeout(POST_TIMEOUT);
        Ok(self.webhooks().replay_dead_letters(request).await?.into_inner())
    }

    /// Every event from the token on. Keep the last `resume_token` that was dealt with, and watch again from there
    /// when the stream breaks; [`Client::watch_on`] does that by itself.
    pub async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Error> {
        Ok(self.events().watch(request).await?.into_inner())
    }
}
