//! Refusals: the closed list of reasons for which a command is not carried out. Each has a stable name, facts, and a
//! text in Chinese and English.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

mod why;

/// A command that was not carried out, and why. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The facts behind it, as name and value: amounts, times, ids. Never a secret.
    pub facts: Vec<(String, String)>,
}

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// 简体中文.
    Chinese,
    /// English.
    #[default]
    English,
}

/// Whose turn it is after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The request itself is wrong.
    Invalid,
    /// What it names does not exist here.
    NotFound,
    /// The caller or this shop may not do that.
    Forbidden,
    /// The rules or the state of things speak against it.
    State,
    /// Something of that name exists already.
    Exists,
    /// Nothing is wrong; another time it may work.
    Later,
    /// The caller did not say who it is.
    Unauthenticated,
    /// This node is at fault.
    Internal,
    /// The caller asks for more than it may in this time.
    Exhausted,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $class:ident, $zh:literal, $en:literal;)*) => {
        /// Why a command was not carried out. Names never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable name, as in `ErrorInfo.reason`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The reason of that stable name.
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.code() == code)
            }

            /// Whose turn it is.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class),* }
            }

            const fn template(self, language: Language) -> &'static str {
                match (self, language) {
                    $((Self::$name, Language::Chinese) => $zh, (Self::$name, Language::English) => $en),*
                }
            }

            /// The facts that its texts name, each once.
            pub fn fact_names(self) -> Vec<&'static str> {
                let templates = [Language::Chinese, Language::English].map(|language| self.template(language));
                let named = templates.into_iter().flat_map(|text| text.split('{').skip(1));
                let mut names: Vec<_> = named.filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
                names.sort_unstable();
                names.dedup();
                names
            }
        }
    };
}

reasons! {
    /// A field is missing, malformed or out of bounds.
    FieldInvalid, "FIELD_INVALID", Invalid, "字段 {field} 有误：{why}", "field {field}: {why}";
    /// The request id was used for another request.
    RequestIdReused, "REQUEST_ID_REUSED", Exists, "请求号已用于另一笔请求", "this request id was used for another request";
    /// The time lies more than ten minutes ahead of the node's clock.
    TimeAhead, "TIME_AHEAD", Invalid, "时间超前于本店时钟", "the time lies ahead of this node's clock";
    /// Too long ago to be entered now.
    TimeTooOld, "TIME_TOO_OLD", State, "补录超过章程允许的时限", "too long ago to be entered under the charter";
    /// Not the alliance's currency.
    CurrencyMismatch, "CURRENCY_MISMATCH", Invalid, "联盟只用 {currency} 记账", "the alliance keeps its books in {currency}";
    /// This shop is no member of the alliance, or not any more.
    NotMember, "NOT_MEMBER", Forbidden, "本店不是联盟成员", "this shop is not a member of the alliance";
    /// Only core members may do that.
    NotCore, "NOT_CORE", Forbidden, "只有核心成员可以这样做", "only core members may do that";
    /// This shop's log forked, and is frozen.
    LogFrozen, "LOG_FROZEN", Forbidden, "本店的日志已被永久冻结：请用新数据目录另立新店，凭本店恢复词接续（hutong alliance join --continues，或 hutong key continue）", "this shop's log is frozen for good: it comes back as a new shop, from a new data folder, that continues this one by its phrase (hutong alliance join --continues, or hutong key continue)";
    /// It is not known yet how far this shop's log goes elsewhere, so nothing may be signed (LOG-1).
    HeadUnconfirmed, "HEAD_UNCONFIRMED", Later, "尚未确认本店日志的末端，暂不能签发（{why}）", "nothing is signed until members have told how far this shop's log goes ({why})";
    /// This shop could use it before its disk was set back, and records from then may be lost by which it did.
    RecordsMayBeLost, "RECORDS_MAY_BE_LOST", State, "本店硬盘曾被恢复，最后的记录可能已丢失，其中可能已经用过它", "this shop's disk was set back, and it may be used up by records that were lost";
    /// No disk of this shop was set back, or somebody has vouched for it.
    NothingInDoubt, "NOTHING_IN_DOUBT", State, "没有存疑的记录", "no record of this shop is in doubt";
    /// The keys are not those of the epoch after the present one.
    KeyEpochWrong, "KEY_EPOCH_WRONG", State, "下一个密钥应是第 {epoch} 期", "the next keys of this shop are those of epoch {epoch}";
    /// This shop's log stands in a key epoch whose keys this node has not got.
    KeyMissing, "KEY_MISSING", State, "本店已换用第 {epoch} 期密钥，而本机没有：请用恢复词执行 hutong key recover", "this shop has gone over to its keys of epoch {epoch}, which this node has not got: run hutong key recover with the phrase";
    /// The last incarnation that this shop's key may name is used up, which takes no honest shop less than sixty years.
    IncarnationsSpent, "INCARNATIONS_SPENT", State, "本店密钥的编号已被用尽，可能有人盗用：请用恢复词执行 hutong key override", "every incarnation of this shop's key is used up, so somebody else may be signing with it: run hutong key override with the phrase";
    /// The record after which older keys are to be cut off is not in this shop's log as it is held here.
    OverridePlaceUnknown, "OVERRIDE_PLACE_UNKNOWN", State, "本机的日志中没有第 {sequence} 条记录，或已是另一条", "record {sequence} is not in this shop's log here, or is another one now";
    /// The log has another end than the one that the caller was shown.
    LogWentOn, "LOG_WENT_ON", Later, "日志已有新的记录，请重试", "the log has got more records meanwhile: try again";
    /// The recovery key that ordered a continuation is not that of the shop that is to be continued.
    ContinuationNotOrdered, "CONTINUATION_NOT_ORDERED", Forbidden, "恢复词不是要接续的那家店的", "the recovery phrase is not that of the shop that is to be continued";
    /// Another shop continues it.
    ShopContinued, "SHOP_CONTINUED", Exists, "已有另一家店接续它（{shop_id}）", "another shop continues it: {shop_id}";
    /// No member continues the shop.
    NotContinued, "NOT_CONTINUED", State, "没有成员接续这家店", "no member continues that shop";
    /// Nothing is open with the shop that would have to be carried over.
    NothingToCarry, "NOTHING_TO_CARRY", State, "与这家店没有未结的账，或已全部转出", "nothing is open with that shop, or all of it was carried over";
    /// The voucher's key was revoked, and no record from before shows that it was handed out.
    VoucherKeyRevoked, "VOUCHER_KEY_REVOKED", State, "发券店的这把密钥已作废，且没有作废前的发放记录", "the key that signed it was revoked, and no record from before shows that it was handed out";
    /// The shop that handed a voucher out signed it with a new key, of which nothing has come here.
    IssuerKeyUnknown, "ISSUER_KEY_UNKNOWN", Later, "发券店已换密钥，本店尚未收到消息，请联网后再试", "the shop that gave it has a new key, and the news has not come here: try again once linked";
    /// The node is in no such alliance.
    AllianceUnknown, "ALLIANCE_UNKNOWN", NotFound, "本店不在这个联盟（用 hutong alliance list 查看；用 hutong alliance create 创建，或凭邀请链接 hutong alliance join 加入）", "this node is in no such alliance: see hutong alliance list; found one with hutong alliance create, or join one by its link with hutong alliance join";
    /// The node is in several alliances, and the request names none.
    AllianceUnnamed, "ALLIANCE_UNNAMED", Invalid, "本店在多个联盟，请指明一个", "this node is in several alliances: name one";
    /// The node is in the alliance already.
    AllianceExists, "ALLIANCE_EXISTS", Exists, "本店已在这个联盟", "this node is in the alliance already";
    /// The shop that sent the invitation does not answer.
    InviterUnreachable, "INVITER_UNREACHABLE", Later, "联系不上邀请方：{why}", "the inviting shop does not answer: {why}";
    /// This shop has no address to give to a guest, and no link to a member that has one.
    AddressUnknown, "ADDRESS_UNKNOWN", State, "本店没有地址，也没有连着有地址的成员：请连上后再邀请，或在配置 peer.advertise 中写明本店地址", "this node knows no address of its own and has no link to a member that has one: invite again once it has, or set peer.advertise";
    /// The node's queue is full.
    Busy, "BUSY", Later, "本店节点繁忙，请稍候", "the node is busy";
    /// The node is stopping, or its disk failed.
    Stopped, "STOPPED", Later, "本店节点正在停止", "the node is stopping";
    /// The caller did not show a valid token.
    TokenInvalid, "TOKEN_INVALID", Unauthenticated, "令牌无效", "a valid token is needed";
    /// Something failed that is nobody's request's fault.
    Internal, "INTERNAL", Internal, "本店节点内部错误", "the node failed; its log says why";
    /// No such shop in the roster.
    MemberUnknown, "MEMBER_UNKNOWN", NotFound, "名册中没有这家店", "no such shop in the roster";
    /// The shop is a member already.
    MemberExists, "MEMBER_EXISTS", Exists, "这家店已是成员", "the shop is a member already";
    /// The invitation does not exist, was used by another shop, or is past its time.
    InvitationInvalid, "INVITATION_INVALID", Forbidden, "邀请无效或已过期", "the invitation is not valid any more";
    /// No such promotion.
    PromotionUnknown, "PROMOTION_UNKNOWN", NotFound, "没有这个活动", "no such promotion";
    /// The promotion has not begun.
    PromotionNotStarted, "PROMOTION_NOT_STARTED", State, "活动尚未开始", "the promotion has not begun";
    /// The promotion is over, or was ended by its funder.
    PromotionEnded, "PROMOTION_ENDED", State, "活动已结束", "the promotion is over";
    /// Only the funder may do that.
    NotFunder, "NOT_FUNDER", Forbidden, "只有出资方可以这样做", "only the promotion's funder may do that";
    /// This shop does not hand out vouchers of the promotion.
    NotDistributor, "NOT_DISTRIBUTOR", Forbidden, "本店不是该活动的发券店", "this shop does not hand out vouchers of that promotion";
    /// The distributor's quota is used up.
    QuotaUsedUp, "QUOTA_USED_UP", State, "配额已发完（{quota} 张）", "the quota of {quota} vouchers is used up";
    /// The day's vouchers are all handed out.
    DayLimitReached, "DAY_LIMIT_REACHED", State, "今日已发完（{limit} 张）", "the day's {limit} vouchers are handed out";
    /// The card has its vouchers of the promotion.
    CardLimitReached, "CARD_LIMIT_REACHED", State, "该会员已领满（{limit} 张）", "this card has had its {limit} vouchers";
    /// The promotion is for cards alone.
    CardRequired, "CARD_REQUIRED", State, "请出示会员号", "a card is needed";
    /// The voucher belongs to another card.
    CardMismatch, "CARD_MISMATCH", State, "此券属于另一位会员", "the voucher belongs to another card";
    /// Unknown, forged or mistyped: one answer for all.
    VoucherUnknown, "VOUCHER_UNKNOWN", NotFound, "查无此券", "no such voucher";
    /// The voucher is for another shop.
    VoucherWrongShop, "VOUCHER_WRONG_SHOP", State, "此券须在 {redeemer_name} 使用", "the voucher is for {redeemer_name}";
    /// Past its time.
    VoucherExpired, "VOUCHER_EXPIRED", State, "券已过期", "the voucher is past its time";
    /// Used before.
    VoucherAlreadyRedeemed, "VOUCHER_ALREADY_REDEEMED", State, "此券已使用", "the voucher was used before";
    /// Handed out after the moment at which it is presented.
    VoucherNotYetValid, "VOUCHER_NOT_YET_VALID", State, "此券尚未生效", "the voucher is not valid yet";
    /// The shop that handed it out was removed, and its hand-out is not on record here.
    DistributorRemoved, "DISTRIBUTOR_REMOVED", State, "发券店已离开联盟", "the shop that handed it out has left the alliance";
    /// The purchase is below the voucher's least.
    PurchaseTooLow, "PURCHASE_TOO_LOW", State, "消费未满 {minimum}", "the purchase is below {minimum}";
    /// Taken back by its issuer or funder.
    VoucherRevoked, "VOUCHER_REVOKED", State, "此券已被收回", "the voucher was taken back by the shop that gave it";
    /// Its uses are kept free for another purchase.
    VoucherReserved, "VOUCHER_RESERVED", State, "此券正被另一笔交易占用", "the voucher is kept for another purchase";
    /// No use is kept free under that key.
    ReservationUnknown, "RESERVATION_UNKNOWN", NotFound, "没有这笔预留", "nothing is kept under this key";
    /// Outside the days on which vouchers of the promotion are redeemed.
    OutsideWindow, "OUTSIDE_WINDOW", State, "不在可用日期内", "outside the days on which it can be used";
    /// Not at this hour of this weekday.
    OutsideHours, "OUTSIDE_HOURS", State, "现在不在可用时段", "it cannot be used at this hour";
    /// None of the goods are those that it is for.
    CategoryNotCovered, "CATEGORY_NOT_COVERED", State, "只适用于：{categories}", "it is for {categories} alone";
    /// The customer was here before.
    NotFirstVisit, "NOT_FIRST_VISIT", State, "仅限首次到店的顾客", "it is for first visits alone";
    /// Not for orders from afar.
    InPersonOnly, "IN_PERSON_ONLY", State, "须到店使用", "it is for customers in the shop alone";
    /// The card has used as many as it may.
    CardUseLimitReached, "CARD_USE_LIMIT_REACHED", State, "该会员已用满（{limit} 次）", "this card has used its {limit}";
    /// The card has used as many today as it may.
    CardDayUseLimitReached, "CARD_DAY_USE_LIMIT_REACHED", State, "该会员今日已用满（{limit} 次）", "this card has used its {limit} today";
    /// The shop has redeemed as many today as it may.
    DayUseLimitReached, "DAY_USE_LIMIT_REACHED", State, "本店今日已核销满（{limit} 次）", "the {limit} of today are used";
    /// The shop has redeemed as many as it may.
    ShopUseLimitReached, "SHOP_USE_LIMIT_REACHED", State, "本店已核销满（{limit} 次）", "the {limit} of this shop are used";
    /// The shop's share of the budget is used up.
    ShopBudgetUsedUp, "SHOP_BUDGET_USED_UP", State, "本店的活动预算（{budget}）已用完", "this shop's budget of {budget} is used up";
    /// Not in one purchase with another voucher.
    NotStackable, "NOT_STACKABLE", State, "不能与“{title}”同时使用", "it cannot be used together with {title}";
    /// Of a group of which one purchase takes one.
    ExcludedByOther, "EXCLUDED_BY_OTHER", State, "与“{title}”互斥", "it and {title} exclude each other";
    /// The shop does not redeem the promotion.
    NotRedeemer, "NOT_REDEEMER", State, "这家店不核销该活动的券", "that shop does not redeem this promotion";
    /// The right went through too many hands.
    PassedTooOften, "PASSED_TOO_OFTEN", State, "转让次数已达上限（{limit} 次）", "it was passed on {limit} times, which is the most";
    /// The voucher's home has to be asked first.
    ConfirmationNeeded, "CONFIRMATION_NEEDED", Later, "须先向发券店确认", "the shop that gave it must be asked first";
    /// The voucher's home does not answer.
    HomeUnreachable, "HOME_UNREACHABLE", Later, "联系不上发券店，暂不能使用", "the shop that gave it does not answer";
    /// More would be at risk than is allowed.
    RiskCapReached, "RISK_CAP_REACHED", State, "超过离线受理上限（{most}）", "more than {most} would be at risk";
    /// Cut off for too long to accept anything at risk.
    OfflineTooLong, "OFFLINE_TOO_LONG", State, "离线时间过长，不能受理", "this shop has been cut off for too long";
    /// Too many unknown codes: typed codes are not looked at for a while.
    TooManyTries, "TOO_MANY_TRIES", Later, "错误次数过多，请稍后再试", "too many unknown codes: try again later";
    /// The shop is still in, so that what it holds is its own.
    MemberStays, "MEMBER_STAYS", State, "该店仍是成员，或其日志尚未到齐", "that shop is still a member, or its log is not complete here";
    /// No such redemption at this shop.
    RedemptionUnknown, "REDEMPTION_UNKNOWN", NotFound, "本店没有这笔核销", "no such redemption at this shop";
    /// The promotion names no share for this shop.
    NotCoFunder, "NOT_CO_FUNDER", Forbidden, "该活动未列本店出资", "the promotion names no share for this shop";
    /// The card belongs to this shop's own staff.
    StaffCard, "STAFF_CARD", State, "这是本店员工的会员号", "the card belongs to this shop's own staff";
    /// This shop has no such channel.
    ChannelUnknown, "CHANNEL_UNKNOWN", NotFound, "本店没有这个渠道", "this shop has no such channel";
    /// The code belongs to a channel of another shop.
    ChannelOfOther, "CHANNEL_OF_OTHER", State, "这是其他店的渠道码", "the code is a channel of another shop";
    /// The redemption was taken back before.
    RedemptionAlreadyVoided, "REDEMPTION_ALREADY_VOIDED", State, "这笔核销已撤销", "the redemption was taken back before";
    /// The token was good once.
    TokenExpired, "TOKEN_EXPIRED", Unauthenticated, "令牌已过期", "the token is past its time";
    /// The token, or one that it was made from, was taken back.
    TokenRevoked, "TOKEN_REVOKED", Unauthenticated, "令牌已被收回", "the token was taken back";
    /// The token does not cover the call.
    ScopeMissing, "SCOPE_MISSING", Forbidden, "令牌没有权限：{scope}", "the token does not have the scope {scope}";
    /// The token's calls of this moment are used up.
    RateLimited, "RATE_LIMITED", Exhausted, "调用过于频繁，请稍候", "too many calls with this token: wait a little";
    /// No token of that id.
    TokenUnknown, "TOKEN_UNKNOWN", NotFound, "没有这个令牌", "no such token";
    /// The node keeps as many tokens as it can.
    TokenLimitReached, "TOKEN_LIMIT_REACHED", State, "令牌数已达上限（{limit}）", "there are {limit} tokens, which is the most";
    /// No webhook of that id.
    WebhookUnknown, "WEBHOOK_UNKNOWN", NotFound, "没有这个推送地址", "no such webhook";
    /// The node keeps as many webhooks as it can.
    WebhookLimitReached, "WEBHOOK_LIMIT_REACHED", State, "推送地址数已达上限（{limit}）", "there are {limit} webhooks, which is the most";
    /// The receipt books nothing for or against this shop, or is its own.
    NotReceiptParty, "NOT_RECEIPT_PARTY", Forbidden, "这张凭证与本店账目无关，或由本店开出", "the receipt books nothing for this shop, or is its own";
    /// The receipt was accepted, disputed or conceded before.
    ReceiptAnswered, "RECEIPT_ANSWERED", State, "对这张凭证已经表态", "this shop has answered the receipt before";
    /// The time to dispute a receipt is over.
    DisputeTooLate, "DISPUTE_TOO_LATE", State, "已过 {days} 天异议期", "a receipt can be disputed for {days} days";
    /// This shop has no open dispute of the receipt.
    NoDispute, "NO_DISPUTE", NotFound, "本店对这张凭证没有异议", "this shop does not dispute the receipt";
    /// The ally's statement covers records that have not arrived.
    StatementWaits, "STATEMENT_WAITS", Later, "对方对账单所含的记录尚未到齐（{what}）", "the ally's statement covers records that are not here yet ({what})";
    /// The two shops have agreed on no statement.
    StatementNotAgreed, "STATEMENT_NOT_AGREED", State, "双方尚未签认对账单", "no statement is agreed with that shop";
    /// No such payment to this shop.
    PaymentUnknown, "PAYMENT_UNKNOWN", NotFound, "没有这笔付款", "no such payment to this shop";
    /// The payment was confirmed or denied before.
    PaymentAnswered, "PAYMENT_ANSWERED", State, "这笔付款已确认或已否认", "the payment was confirmed or denied before";
    /// No such netting run.
    NettingUnknown, "NETTING_UNKNOWN", NotFound, "没有这次轧差", "no such netting run";
    /// The disclosed balances of the period cancel nothing.
    NothingToNet, "NOTHING_TO_NET", State, "没有可以轧差的余额", "no disclosed balances cancel";
    /// This shop consented to another run of the period.
    ConsentGiven, "CONSENT_GIVEN", State, "本店已同意该期的另一次轧差", "this shop has consented to another run of that period";
    /// The run takes other balances than both shops disclosed.
    BalanceDiffers, "BALANCE_DIFFERS", State, "轧差所用余额与双方公布的不符", "the run takes other balances than were disclosed";
    /// The shop offers no credit line, or none any more; or this shop has given no word on one that it could take back.
    LineUnknown, "LINE_UNKNOWN", NotFound, "与这家店之间没有这样的信用额度", "there is no such credit line with that shop";
    /// A word on the credit line is missing, past its time, or leaves too little.
    LineNotOpen, "LINE_NOT_OPEN", State, "与 {ally} 之间的信用额度未获双方同意、已到期或余额不足", "the credit line with {ally} is not agreed to by both, past its time, or too small by now";
    /// By the credit line an ally would come to owe more than this shop's limit.
    LineOverLimit, "LINE_OVER_LIMIT", State, "{ally} 将欠本店 {owed}，超过上限 {stop}", "{ally} would come to owe this shop {owed}, more than the limit of {stop}";
    /// An ally owes more than this shop's limit.
    ExposureStop, "EXPOSURE_STOP", State, "{ally} 已欠本店 {owed}，超过上限 {stop}，暂停发券", "{ally} owes this shop {owed}, more than the limit of {stop}";
    /// No such motion.
    MotionUnknown, "MOTION_UNKNOWN", NotFound, "没有这项动议", "no such motion";
    /// The motion was decided, or has lapsed.
    MotionClosed, "MOTION_CLOSED", State, "该动议已有结果或已失效", "the motion was decided or has lapsed";
    /// This shop's admission is open to objections.
    AdmissionOpen, "ADMISSION_OPEN", Later, "本店的加入尚在异议期", "this shop's admission is still open to objections";
    /// There are as many members of the trade as there may be.
    CategoryTaken, "CATEGORY_TAKEN", State, "本联盟的“{category}”已满（{limit} 家）", "the alliance has its {limit} of the trade {category}";
    /// This shop has too many strikes.
    MemberSuspended, "MEMBER_SUSPENDED", Forbidden, "本店因违规被暂停", "this shop is suspended for its strikes";
    /// The season is over, and this shop is in no next one.
    SeasonOver, "SEASON_OVER", State, "本届已结束，只能核销和结算", "the season is over: vouchers are redeemed and debts settled, nothing new begins";
    /// This shop has left the alliance.
    MemberDeparted, "MEMBER_DEPARTED", Forbidden, "本店已退出联盟，只能核销和结算", "this shop has left: vouchers are redeemed and debts settled, nothing new begins";
    /// The time for an appeal is over.
    AppealTooLate, "APPEAL_TOO_LATE", State, "已过申诉期", "the time to appeal is over";
    /// The strike was not appealed against in time.
    NotAppealed, "NOT_APPEALED", State, "被处分的店没有按期申诉", "the shop did not appeal against the strike in time";
    /// No split that was carried names this shop, and no season is over.
    OriginUnproven, "ORIGIN_UNPROVEN", State, "原联盟没有通过让本店分出的决议，也未到期", "the alliance before has decided on no split for this shop, and its season is not over";
    /// The file is no bundle, or what is in it is none.
    BundleInvalid, "BUNDLE_INVALID", Invalid, "这不是有效的记录包：{why}", "this is no valid bundle: {why}";
    /// The bundle is of a newer program.
    BundleVersion, "BUNDLE_VERSION", Invalid, "记录包由更新的版本写成", "the bundle was written by a newer program";
    /// The bundle ends before its end.
    BundleTruncated, "BUNDLE_TRUNCATED", Invalid, "记录包不完整；断开之前的记录已保留（新 {new} 条）", "the bundle is cut off; the records before that are kept ({new} were new)";
    /// The bundle's bytes are not what was written.
    BundleDamaged, "BUNDLE_DAMAGED", Invalid, "记录包已损坏；损坏处之前的记录已保留（新 {new} 条）", "the bundle is damaged; the records before that are kept ({new} were new)";
    /// What is done between two shops was asked for with this shop itself.
    OwnShop, "OWN_SHOP", Invalid, "不能对本店自己这样做", "that is this shop itself: name another one";
    /// The statement after the last agreed one is for a period that has not ended.
    PeriodNotOver, "PERIOD_NOT_OVER", State, "下一期对账单的期间尚未结束（可用 --end 提前截止）", "the period of the next statement is not over; an earlier end can be named";
}

impl Refusal {
    /// A reason that needs no facts.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, facts: Vec::new() }
    }

    /// A field that is wrong, and how.
    pub fn field(field: &str, why: impl fmt::Display) -> Self {
        Self::new(Reason::FieldInvalid).with("field", field).with("why", why)
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.push((name.into(), value.to_string()));
        self
    }

    /// The value of a fact.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What to tell a person.
    pub fn text(&self, language: Language) -> String {
        let fill = |text: String, (name, value): &(String, String)| {
            let place = format!("{{{name}}}");
            match (name.as_str(), language) {
                ("why", Language::Chinese) => text.replace(&place, &why::chinese(value)),
                _ => text.replace(&place, value),
            }
        };
        self.facts.iter().fold(self.reason.template(language).into(), fill)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.text(Language::English))
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_two_texts() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(Reason::ALL.len() > 20);
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            let refusal = Refusal::new(*reason);
            assert_ne!(refusal.text(Language::Chinese), refusal.text(Language::English));
        }
    }

    #[test]
    fn facts_fill_the_text() {
        let refusal = Refusal::new(Reason::QuotaUsedUp).with("quota", 40);
        assert_eq!(refusal.text(Language::English), "the quota of 40 vouchers is used up");
        assert_eq!(refusal.text(Language::Chinese), "配额已发完（40 张）");
        assert_eq!(refusal.fact("quota"), Some("40"));
        assert_eq!(Reason::LineOverLimit.fact_names(), ["ally", "owed", "stop"]);
        assert!(Reason::Busy.fact_names().is_empty());
    }
}
