//! What tills ask of their nodes, and the commands that nodes make of it.

use hutong_core::{
    answer::RequestTag,
    command::{
        AskRightCommand, Command, Confirmation, IssueCommand, MoveQuotaCommand, RedeemCommand,
        ReserveCommand, RevokeCommand, SaleCommand, TouchCommand, TransferCommand, VoidCommand,
    },
    promotion::Purchase,
    refusal::{Class, Reason},
    voucher::{Presented, Token},
};
use hutong_record::{CardId, Currency, Money, RecordId, ShopId, UnixMillis, proto};

/// What a till asks of its node.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Publish { promotion: Box<proto::Promotion> },
    Sell { card: Option<CardId>, amount_minor: i64 },
    Issue { promotion: RecordId, card: Option<CardId> },
    Redeem { presented: Presented, purchase_minor: i64, card: Option<CardId>, reservation: String },
    Void { redemption: RecordId, returned_minor: Option<i64> },
    Touch { to: ShopId, card: CardId },
    AskRight { token: Box<Token>, to: ShopId },
    Transfer { token: Box<Token>, to: ShopId },
    Revoke { token: Box<Token> },
    Reserve { token: Box<Token>, key: String, lifetime_ms: i64 },
    MoveQuota { promotion: RecordId, to: ShopId, count: u32 },
    DeclareNothingLost,
}

impl Action {
    /// A customer shows a voucher and has kept nothing free.
    pub(crate) const fn redeem(presented: Presented, purchase_minor: i64, card: Option<CardId>) -> Self {
        Self::Redeem { presented, purchase_minor, card, reservation: String::new() }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Sell { .. } => "sell",
            Self::Issue { .. } => "issue",
            Self::Redeem { .. } => "redeem",
            Self::Void { .. } => "void",
            Self::Touch { .. } => "touch",
            Self::AskRight { .. } => "ask right",
            Self::Transfer { .. } => "transfer",
            Self::Revoke { .. } => "revoke",
            Self::Reserve { .. } => "reserve",
            Self::MoveQuota { .. } => "move quota",
            Self::DeclareNothingLost => "declare nothing lost",
        }
    }

    /// The command, as the node makes it of the request that has arrived and of what the voucher's home said.
    pub(crate) fn command(
        &self,
        request: RequestTag,
        now: UnixMillis,
        confirmation: Confirmation,
    ) -> Command {
        match self.clone() {
            Self::Publish { promotion } => Command::Publish { request, promotion },
            Self::Sell { card, amount_minor } => Command::Sell(SaleCommand {
                request,
                sold: now,
                card,
                amount: yuan(amount_minor),
                reference: String::new(),
            }),
            Self::Issue { promotion, card } => {
                Command::Issue(IssueCommand { request, promotion, card, at: now, redeemer: None })
            }
            Self::Redeem { presented, purchase_minor, card, reservation } => Command::Redeem(RedeemCommand {
                request,
                presented: Some(presented),
                purchase: Purchase::of(yuan(purchase_minor)),
                card,
                at: now,
                reference: String::new(),
                reservation,
                confirmation,
            }),
            Self::Void { redemption, returned_minor } => {
                let (reason, returned) = ("退货".into(), returned_minor.map(yuan));
                Command::Void(VoidCommand { request, redemption, at: now, reason, returned })
            }
            Self::Touch { to, card } => Command::Touch(TouchCommand {
                request,
                kind: proto::TouchKind::Scan,
                to,
                card,
                at: now,
                channel: "海报".into(),
            }),
            Self::MoveQuota { promotion, to, count } => {
                Command::MoveQuota(MoveQuotaCommand { request, promotion, to, count, reclaimed_from: None })
            }
            Self::DeclareNothingLost => Command::DeclareNothingLost,
            Self::AskRight { .. } | Self::Transfer { .. } | Self::Revoke { .. } | Self::Reserve { .. } => {
                self.manage(request, now)
            }
        }
    }

    /// What is done with a voucher, other than to use it.
    fn manage(&self, request: RequestTag, at: UnixMillis) -> Command {
        let presented = |token: &Token| Some(Presented::Token(token.clone()));
        match self {
            Self::Transfer { token, to } => {
                Command::Transfer(TransferCommand { request, presented: presented(token), to: *to })
            }
            Self::Revoke { token } => {
                let reason = "误发".into();
                Command::Revoke(RevokeCommand { request, presented: presented(token), at, reason })
            }
            Self::Reserve { token, key, lifetime_ms } => Command::Reserve(ReserveCommand {
                request,
                presented: presented(token),
                key: key.clone(),
                at,
                lifetime_ms: *lifetime_ms,
            }),
            Self::AskRight { token, to } => {
                Command::AskRight(AskRightCommand { presented: presented(token), to: *to })
            }
            _ => unreachable!("the others are made in `command`"),
        }
    }
}

fn yuan(minor: i64) -> Money {
    Money::new(Currency::CNY, minor).expect("amounts of the street are small")
}

/// Whether a refusal is kept, so that a repeat is told the same; the others say something about this moment only.
pub(crate) fn is_kept(action: &Action, reason: Reason) -> bool {
    let kept_kind = matches!(action, Action::Issue { .. } | Action::Redeem { .. } | Action::Void { .. });
    let not_kept = matches!(
        reason,
        Reason::FieldInvalid
            | Reason::RequestIdReused
            | Reason::NotMember
            | Reason::LogFrozen
            | Reason::CurrencyMismatch
            | Reason::Internal
    );
    kept_kind && !not_kept && reason.class() != Class::Later
}
