//! Commands: what this shop's people and tills ask for. Deciding one reads the views and gives drafts of records, or a
//! refusal; it changes nothing. What the records then mean, folding says.

use alloc::{boxed::Box, string::String, vec::Vec};

use bytes::Bytes;
use hutong_record::{
    Audience, CardId, Continuation, KeyOverride, Money, RecordId, ShopId, SigningKey, Succession, UnixMillis,
    proto, proto::Kind,
};
use prost::Message as _;
use rand_core::CryptoRng;

use crate::{
    alliance::Alliance,
    answer::RequestTag,
    bounds,
    duty::Duty,
    fold,
    promotion::Purchase,
    refusal::{Class, Reason, Refusal},
    view::{Reader, ViewError},
    voucher::Presented,
};

mod credit;
mod governance;
mod issue;
mod motion;
mod netting;
mod note;
mod qualify;
mod redeem;
mod right;
mod settlement;
mod stock;
mod touch;
mod void;

pub use credit::{LineCommand, LineSide};
pub use governance::open_invitations;
pub use motion::GovernCommand;
pub use qualify::{Applies, QUALIFY_MAX, Qualified, Qualify};
pub(crate) use right::conflict;
pub use right::{Asked, asked, last_asked};
pub use settlement::{AnswerPaymentCommand, CarryOverCommand, PayCommand, RespondCommand, SignCommand};

/// The most addresses of one shop; each may cost whoever dials it a connection attempt.
pub const ADDRESSES_MAX: usize = 8;
pub(crate) const ADDRESS_BYTES_MAX: usize = 255;
const SHOP_NAME_CHARS_MAX: usize = 80;
const CATEGORY_CHARS_MAX: usize = 40;
const REFERENCE_CHARS_MAX: usize = 64;

/// Who knocks with an open invitation.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The shop that gave the invitation out.
    pub inviter: ShopId,
    /// The guest key that the connection proved.
    pub guest_key: [u8; 32],
    /// Who it is.
    pub identity: proto::SignedIdentity,
    /// Its [`crate::knock::Knock`], signed by the guest key, 64 bytes.
    pub signature: Bytes,
    /// The shop that it says to continue.
    pub continuation: Option<Box<Continuation>>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Command {
    /// The founder's first record.
    Found,
    /// Tell the allies name, trade and addresses.
    Profile(proto::Profile),
    /// Give out an invitation.
    Invite(proto::Invitation),
    /// Vote for the shop that answers an invitation.
    AdmitGuest {
        /// The guest key that its connection proved.
        guest_key: [u8; 32],
        /// Who it is.
        identity: proto::SignedIdentity,
        /// The shop that it says to continue.
        continuation: Option<Box<Continuation>>,
    },
    /// Give out an invitation by which every member lets the guest in.
    InviteOpenly(proto::Invitation),
    /// Let the guest of an open invitation in, with its inviter's voice.
    BringGuest(Box<Guest>),
    /// Vote for a shop that waits, or for a member to become a core member.
    Approve {
        /// Which.
        shop: ShopId,
        /// As a core member.
        core: bool,
    },
    /// Vote for a shop's removal.
    Remove {
        /// Which.
        shop: ShopId,
        /// Its last record that counts; none: what another voter named, or all that this node holds.
        last_sequence: Option<u64>,
        /// How many records of it this node holds.
        held: u64,
        /// Why.
        reason: String,
    },
    /// Motions, voices, appeals, seasons and departures.
    Govern(GovernCommand),
    /// Publish a promotion that this shop funds.
    Publish {
        /// The till's request.
        request: RequestTag,
        /// The terms.
        promotion: Box<proto::Promotion>,
    },
    /// Stop handing out a promotion's vouchers.
    EndPromotion {
        /// Which.
        promotion: RecordId,
    },
    /// Book a sale.
    Sell(SaleCommand),
    /// Hand a voucher out.
    Issue(IssueCommand),
    /// Use a voucher here.
    Redeem(RedeemCommand),
    /// Take a redemption back.
    Void(VoidCommand),
    /// Note a touch.
    Touch(TouchCommand),
    /// Pass the right to redeem a voucher on to another shop.
    Transfer(TransferCommand),
    /// Ask the holder of a voucher's right for it.
    AskRight(AskRightCommand),
    /// Take back a voucher that this shop handed out or pays for.
    Revoke(RevokeCommand),
    /// Keep a use of a voucher free, or give it up again.
    Reserve(ReserveCommand),
    /// Move numbers of a promotion to another distributor.
    MoveQuota(MoveQuotaCommand),
    /// Accept or dispute a receipt, take a dispute back, or concede.
    Respond(RespondCommand),
    /// Sign the next statement with an ally.
    SignStatement(SignCommand),
    /// Say that this shop paid an ally.
    Pay(PayCommand),
    /// Say that an ally's payment came, or not.
    AnswerPayment(AnswerPaymentCommand),
    /// Disclose the balance that was last agreed with an ally.
    PublishBalance(ShopId),
    /// Net what was disclosed for a period; none: for the latest one.
    ProposeNetting(Option<UnixMillis>),
    /// Agree to a netting run.
    ConsentToNetting(RecordId),
    /// Give this shop's word on a credit line, or take it back.
    CreditLine(LineCommand),
    /// Say that no record was lost when this shop's disk was set back.
    DeclareNothingLost,
    /// Go over to the keys of the next epoch. The last record of the one before.
    RotateKey(Box<Succession>),
    /// Go on with the keys of a later epoch from a place of the log, whatever older keys signed past it.
    OverrideKey(Box<OverrideOrder>),
    /// Say that this shop continues one whose log is closed for good.
    ContinueShop(Box<Continuation>),
    /// Carry what is open with such a shop over to the one that continues it.
    CarryOver(CarryOverCommand),
    /// Set how this shop settles.
    SetSettlement(proto::settlement_setting::Setting),
    /// What the node owes others without being asked by a till.
    Fulfil(Duty),
    /// Agree to bear the share that a promotion names for this shop.
    ConsentFunding {
        /// The till's request.
        request: RequestTag,
        /// Which.
        promotion: RecordId,
    },
    /// Note a channel of this shop.
    CreateChannel(ChannelCommand),
    /// Note that a card is, or is no more, one of this shop's staff.
    SetStaffCard {
        /// The till's request.
        request: RequestTag,
        /// Which.
        card: CardId,
        /// It is one no more.
        removed: bool,
    },
}

/// A way by which this shop sends customers to another one.
#[derive(Debug, Clone)]
pub struct ChannelCommand {
    /// The till's request.
    pub request: RequestTag,
    /// What it is called.
    pub name: String,
    /// Where customers are sent; none: to the usual redeemer of the promotion.
    pub to: Option<ShopId>,
    /// What it advertises; none: the shop as such.
    pub promotion: Option<RecordId>,
}

/// A purchase at this shop.
#[derive(Debug, Clone)]
pub struct SaleCommand {
    /// The till's request.
    pub request: RequestTag,
    /// When it took place.
    pub sold: UnixMillis,
    /// The customer's card, if one was shown.
    pub card: Option<CardId>,
    /// How much.
    pub amount: Money,
    /// The till's own reference.
    pub reference: String,
}

/// A voucher to be handed out.
#[derive(Debug, Clone)]
pub struct IssueCommand {
    /// The till's request.
    pub request: RequestTag,
    /// Of which promotion.
    pub promotion: RecordId,
    /// For which card; none: bearer.
    pub card: Option<CardId>,
    /// When.
    pub at: UnixMillis,
    /// Designated: the shop that it is for; none: the promotion's usual one.
    pub redeemer: Option<ShopId>,
}

/// A voucher that a customer presents.
#[derive(Debug, Clone)]
pub struct RedeemCommand {
    /// The till's request.
    pub request: RequestTag,
    /// What the customer shows.
    pub presented: Option<Presented>,
    /// What the customer buys.
    pub purchase: Purchase,
    /// The card that the customer shows.
    pub card: Option<CardId>,
    /// When.
    pub at: UnixMillis,
    /// The till's own reference.
    pub reference: String,
    /// The key under which a use was kept free; empty: none.
    pub reservation: String,
    /// What the voucher's home said, where it has to be asked.
    pub confirmation: Confirmation,
}

/// What came of asking a voucher's home for the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confirmation {
    /// It was not asked yet.
    #[default]
    NotAsked,
    /// It answered this request.
    Answered(RecordId),
    /// It did not answer.
    Unreachable {
        /// When this shop last heard from the alliance.
        heard: UnixMillis,
        /// Whether the staff accept the voucher at the shop's own risk.
        at_risk: bool,
    },
}

/// A voucher whose right goes to another shop.
#[derive(Debug, Clone)]
pub struct TransferCommand {
    /// The till's request.
    pub request: RequestTag,
    /// The voucher.
    pub presented: Option<Presented>,
    /// The new holder.
    pub to: ShopId,
}

/// A voucher whose right is asked for.
#[derive(Debug, Clone)]
pub struct AskRightCommand {
    /// The voucher.
    pub presented: Option<Presented>,
    /// Who shall have the right.
    pub to: ShopId,
}

/// A voucher to be taken back.
#[derive(Debug, Clone)]
pub struct RevokeCommand {
    /// The till's request.
    pub request: RequestTag,
    /// The voucher.
    pub presented: Option<Presented>,
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub reason: String,
}

/// A use of a voucher to be kept free.
#[derive(Debug, Clone)]
pub struct ReserveCommand {
    /// The till's request.
    pub request: RequestTag,
    /// The voucher.
    pub presented: Option<Presented>,
    /// Who comes with it can use it.
    pub key: String,
    /// From when on.
    pub at: UnixMillis,
    /// For how long, milliseconds; 0: what was kept free under the key is given up.
    pub lifetime_ms: i64,
}

/// Numbers of a promotion to be moved.
#[derive(Debug, Clone)]
pub struct MoveQuotaCommand {
    /// The till's request.
    pub request: RequestTag,
    /// Of which promotion.
    pub promotion: RecordId,
    /// To which of its distributors.
    pub to: ShopId,
    /// How many.
    pub count: u32,
    /// The funder takes back what this removed shop held; none: this shop's own numbers go.
    pub reclaimed_from: Option<ShopId>,
}

/// A redemption to be taken back.
#[derive(Debug, Clone)]
pub struct VoidCommand {
    /// The till's request.
    pub request: RequestTag,
    /// The receipt's record.
    pub redemption: RecordId,
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub reason: String,
    /// The part of the purchase that was returned, so that the voucher stays used; none: all of it.
    pub returned: Option<Money>,
}

/// A customer sent to another shop without a voucher.
#[derive(Debug, Clone)]
pub struct TouchCommand {
    /// The till's request.
    pub request: RequestTag,
    /// How.
    pub kind: proto::TouchKind,
    /// Where to.
    pub to: ShopId,
    /// Whose card.
    pub card: CardId,
    /// When.
    pub at: UnixMillis,
    /// Which poster, receipt or post.
    pub channel: String,
}

/// A record to be: kind, readers, message.
#[derive(Debug, Clone)]
pub struct DraftRecord {
    /// What it says.
    pub kind: Kind,
    /// Who can read it.
    pub audience: Audience,
    /// The encoded message.
    pub message: Vec<u8>,
}

/// Why a command gives no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Refused, by the rules.
    #[error("{0}")]
    Refused(Refusal),
    /// The views cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl From<Refusal> for DecideError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

type Decided<T = Vec<DraftRecord>> = Result<T, DecideError>;

impl Command {
    /// The till's request that the command belongs to.
    pub const fn request(&self) -> Option<&RequestTag> {
        match self {
            Self::Publish { request, .. }
            | Self::ConsentFunding { request, .. }
            | Self::CreateChannel(ChannelCommand { request, .. })
            | Self::SetStaffCard { request, .. }
            | Self::Sell(SaleCommand { request, .. })
            | Self::Issue(IssueCommand { request, .. })
            | Self::Redeem(RedeemCommand { request, .. })
            | Self::Void(VoidCommand { request, .. })
            | Self::Touch(TouchCommand { request, .. })
            | Self::Transfer(TransferCommand { request, .. })
            | Self::Revoke(RevokeCommand { request, .. })
            | Self::Reserve(ReserveCommand { request, .. })
            | Self::MoveQuota(MoveQuotaCommand { request, .. })
            | Self::Respond(RespondCommand { request, .. })
            | Self::Pay(PayCommand { request, .. })
            | Self::CarryOver(CarryOverCommand { request, .. })
            | Self::AnswerPayment(AnswerPaymentCommand { request, .. }) => Some(request),
            _ => None,
        }
    }

    /// The facts of the voucher that was shown, unless it is unknown or forged; a typed code does not tell them.
    fn genuine_voucher(&self, reason: Reason) -> proto::VoucherBody {
        match self {
            Self::Redeem(RedeemCommand { presented: Some(Presented::Token(token)), .. })
                if reason != Reason::VoucherUnknown =>
            {
                token.body().without_secret()
            }
            _ => proto::VoucherBody::default(),
        }
    }

    /// The name and time under which a refused attempt is kept; none for commands whose refusals are not.
    const fn attempt(&self, now: UnixMillis) -> Option<(&'static str, UnixMillis)> {
        match self {
            Self::Issue(issue) => Some(("issue", issue.at)),
            Self::Redeem(redeem) => Some(("redeem", redeem.at)),
            Self::Void(void) => Some(("void", void.at)),
            Self::Transfer(_) => Some(("transfer", now)),
            Self::Revoke(revoke) => Some(("revoke", revoke.at)),
            Self::Reserve(reserve) => Some(("reserve", reserve.at)),
            Self::MoveQuota(_) => Some(("move_quota", now)),
            _ => None,
        }
    }
}

/// What [`Command::OverrideKey`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideOrder {
    /// By the recovery key.
    pub key_override: KeyOverride,
    /// The log's last record when whoever gives the order saw what would be cut off; refused where it is another by now.
    pub head: RecordId,
}

/// Decides commands for this shop.
#[derive(Debug)]
pub struct Decider<'a, R: ?Sized> {
    /// The alliance.
    pub alliance: &'a Alliance,
    /// Its views, with all that was decided before.
    pub view: &'a R,
    /// The node's clock.
    pub now: UnixMillis,
    /// What signs vouchers.
    pub key: &'a SigningKey,
    /// Which of this shop's keys that is.
    pub key_epoch: u32,
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    /// The records that carry a command out, oldest first.
    pub fn decide(&self, command: &Command, rng: &mut impl CryptoRng) -> Decided {
        if let Some(request) = command.request() {
            request.check()?;
        }
        self.check_entered(command)?;
        match command {
            Command::Found => self.found(),
            Command::Profile(profile) => self.profile(profile),
            Command::Invite(invitation) => self.invite(invitation),
            Command::AdmitGuest { guest_key, identity, continuation } => {
                self.admit_guest(guest_key, identity, continuation.as_deref())
            }
            Command::InviteOpenly(invitation) => self.invite_openly(invitation),
            Command::BringGuest(guest) => self.bring_guest(guest),
            Command::Approve { shop, core } => self.approve(*shop, *core),
            Command::Remove { shop, last_sequence, held, reason } => {
                self.remove(*shop, *last_sequence, *held, reason)
            }
            Command::Govern(act) => self.govern(act),
            Command::Publish { request, promotion } => self.publish(request, promotion),
            Command::EndPromotion { promotion } => self.end_promotion(*promotion),
            Command::Sell(sale) => self.sell(sale, rng),
            Command::Issue(issue) => self.issue(issue, rng),
            Command::Redeem(redeem) => self.redeem(redeem),
            Command::Void(void) => self.void(void),
            Command::Touch(touch) => self.touch(touch),
            Command::Transfer(transfer) => self.transfer(transfer),
            Command::AskRight(ask) => self.ask_right(ask),
            Command::Revoke(revoke) => self.revoke(revoke),
            Command::Reserve(reserve) => self.reserve(reserve),
            Command::MoveQuota(moved) => self.move_quota(moved),
            Command::Respond(respond) => self.respond(respond),
            Command::SignStatement(sign) => self.sign_statement(sign),
            Command::Pay(pay) => self.pay(pay),
            Command::AnswerPayment(answer) => self.answer_payment(answer),
            Command::PublishBalance(ally) => self.publish_balance(*ally),
            Command::ProposeNetting(period) => self.propose_netting(*period),
            Command::ConsentToNetting(run) => self.consent_to(*run),
            Command::SetSettlement(setting) => self.set(setting),
            Command::CreditLine(line) => self.credit_line(line),
            Command::DeclareNothingLost => self.declare_nothing_lost(),
            Command::RotateKey(succession) => self.rotate_key(succession),
            Command::OverrideKey(order) => self.override_key(order),
            Command::ContinueShop(continuation) => self.continue_shop(continuation),
            Command::CarryOver(carry) => self.carry_over(carry),
            Command::Fulfil(duty) => self.fulfil(duty),
            Command::ConsentFunding { request, promotion } => self.consent(request, *promotion),
            Command::CreateChannel(channel) => self.create_channel(channel),
            Command::SetStaffCard { request, card, removed } => self.set_staff_card(request, *card, *removed),
        }
    }

    /// The records that keep a refused attempt, for attempts that are kept: those of a member's till that were refused
    /// by the rules of trade, and not for their form or for want of an answer. A forged voucher is shown to all.
    pub fn keep_refusal(&self, command: &Command, refusal: &Refusal) -> Result<Vec<DraftRecord>, ViewError> {
        use Reason::{CurrencyMismatch, FieldInvalid, LogFrozen, NotMember, RequestIdReused};
        let Some((operation, at)) = command.attempt(self.now) else { return Ok(Vec::new()) };
        let not_kept = [FieldInvalid, RequestIdReused, NotMember, LogFrozen, CurrencyMismatch];
        if not_kept.contains(&refusal.reason) || refusal.reason.class() == Class::Later {
            return Ok(Vec::new());
        }
        let fact =
            |(name, value): &(String, String)| proto::Fact { name: name.clone(), value: value.clone() };
        let message = proto::Refusal {
            request: command.request().map(RequestTag::message),
            refused_unix_ms: at.ms(),
            reason: refusal.reason.code().into(),
            operation: operation.into(),
            voucher: command.genuine_voucher(refusal.reason).encode_to_vec().into(),
            facts: refusal.facts.iter().map(fact).collect(),
        };
        let mut kept = alloc::vec![self.for_myself(Kind::Refusal, &message)];
        if let (Command::Redeem(redeem), Reason::VoucherUnknown) = (command, refusal.reason) {
            kept.extend(self.proof_of_forgery(redeem.presented.as_ref())?);
        }
        Ok(kept)
    }

    fn me(&self) -> ShopId {
        self.alliance.me()
    }

    /// The time as of which a record of now counts, by the clock of this shop's log: who sets its clock back gains nothing.
    fn log_time(&self) -> Result<UnixMillis, ViewError> {
        Ok(self.now.max(fold::latest(self.view, self.me())?))
    }

    fn for_all(kind: Kind, message: &impl prost::Message) -> DraftRecord {
        DraftRecord { kind, audience: Audience::Alliance, message: message.encode_to_vec() }
    }

    fn for_myself(&self, kind: Kind, message: &impl prost::Message) -> DraftRecord {
        Self::for_parties(kind, [self.me()], message)
    }

    fn for_parties(
        kind: Kind,
        shops: impl IntoIterator<Item = ShopId>,
        message: &impl prost::Message,
    ) -> DraftRecord {
        let audience = Audience::parties(shops).expect("a record has one to five parties");
        DraftRecord { kind, audience, message: message.encode_to_vec() }
    }

    fn check_currency(&self, money: Money) -> Result<(), Refusal> {
        let currency = self.alliance.charter().currency;
        if money.currency() == currency {
            return Ok(());
        }
        Err(Refusal::new(Reason::CurrencyMismatch).with("currency", currency.code()))
    }

    /// An amount that a till reports: the alliance's currency, more than nothing.
    fn check_purchase(&self, field: &str, money: Money) -> Result<(), Refusal> {
        self.check_currency(money)?;
        if money.minor() > 0 { Ok(()) } else { Err(Refusal::field(field, "must be more than nothing")) }
    }

    /// The name by which people know a shop.
    fn shop_name(&self, shop: ShopId) -> Result<String, ViewError> {
        let profile = crate::report::profile(self.view, shop)?;
        Ok(profile.map_or_else(|| shop.short(), |p| p.name))
    }
}

/// Checks what a shop says of itself.
pub fn check_profile(profile: &proto::Profile) -> Result<(), Refusal> {
    bounds::text("name", &profile.name, 1..=SHOP_NAME_CHARS_MAX)?;
    bounds::text("category", &profile.category, 0..=CATEGORY_CHARS_MAX)?;
    bounds::number("addresses", profile.addresses.len(), 0..=ADDRESSES_MAX)?;
    for address in &profile.addresses {
        bounds::number("addresses", address.len(), 1..=ADDRESS_BYTES_MAX)?;
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() || !address.is_ascii() {
            return Err(Refusal::field("addresses", "an address is host:port"));
        }
    }
    Ok(())
}
