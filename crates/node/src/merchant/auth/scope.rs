//! What each call takes: the one table that is asked before a call is heard.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident, $text:literal;)*) => {
        /// One right that a token can have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub(crate) enum Scope {
            $($(#[$doc])* $name,)*
        }

        impl Scope {
            /// Every scope, in the order of the table in the documents.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As apps and people write it.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

scopes! {
    /// Report sales.
    SaleWrite, "sale.write";
    /// Look vouchers up, and ask which would apply.
    VoucherRead, "voucher.read";
    /// Hand vouchers out without a sale.
    VoucherIssue, "voucher.issue";
    /// Use vouchers at this shop, and keep uses free.
    VoucherRedeem, "voucher.redeem";
    /// Take redemptions back.
    VoucherVoid, "voucher.void";
    /// Take vouchers back.
    VoucherRevoke, "voucher.revoke";
    /// Pass vouchers on to other shops.
    VoucherTransfer, "voucher.transfer";
    /// Note that a customer was sent to another shop.
    TouchWrite, "touch.write";
    /// See promotions and who hands them out.
    PromotionRead, "promotion.read";
    /// Publish and end promotions, pass quota on.
    PromotionWrite, "promotion.write";
    /// See alliances and their members.
    AllianceRead, "alliance.read";
    /// Found and join alliances, invite, vote.
    AllianceWrite, "alliance.write";
    /// See counts and what is owed.
    ReportRead, "report.read";
    /// See books, statements, payments, nettings and limits.
    SettlementRead, "settlement.read";
    /// Sign statements, answer receipts, say what was paid, net, and set limits.
    SettlementWrite, "settlement.write";
    /// See channels and their links.
    ChannelRead, "channel.read";
    /// Note channels and the cards of staff.
    ChannelWrite, "channel.write";
    /// Follow events.
    EventRead, "event.read";
    /// See how the node stands.
    NodeRead, "node.read";
    /// Pause and resume the node's links.
    NodeWrite, "node.write";
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<Scope> for &'static str {
    fn from(scope: Scope) -> Self {
        scope.text()
    }
}

/// The text names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a scope: there are {}", Scope::ALL.iter().map(|s| s.text()).collect::<Vec<_>>().join(", "))]
pub(crate) struct ScopeError {
    text: String,
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::ALL
            .iter()
            .copied()
            .find(|scope| scope.text() == text)
            .ok_or_else(|| ScopeError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Whoever shows any valid token.
    AnyToken,
    /// A token with at least one of these scopes. The first is named where none is there.
    OneOf(&'static [Scope]),
    /// The owner alone.
    Owner,
}

/// Whether a call can change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only tells.
    Reads,
    /// It is noted in the audit log.
    Changes,
}

/// One call, and what it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    /// As in the address of a call.
    pub(crate) path: &'static str,
    /// Who may make it.
    pub(crate) need: Need,
    /// Whether it is noted.
    pub(crate) effect: Effect,
}

macro_rules! methods {
    ($($service:literal / $call:literal, $effect:ident, $need:expr;)*) => {
        /// Every call of the merchant port. One that is not here is answered with UNIMPLEMENTED, whoever makes it.
        pub(crate) const METHODS: &[Method] = &[$(Method {
            path: concat!("/hutong.merchant.v1.", $service, "/", $call),
            need: $need,
            effect: Effect::$effect,
        }),*];
    };
}

use Need::{AnyToken, OneOf, Owner};

methods! {
    "SaleService" / "ReportSale", Changes, OneOf(&[Scope::SaleWrite]);
    "VoucherService" / "IssueVoucher", Changes, OneOf(&[Scope::VoucherIssue]);
    "VoucherService" / "RedeemVoucher", Changes, OneOf(&[Scope::VoucherRedeem]);
    "VoucherService" / "VoidRedemption", Changes, OneOf(&[Scope::VoucherVoid]);
    "VoucherService" / "QualifyVouchers", Reads, OneOf(&[Scope::VoucherRead, Scope::VoucherRedeem]);
    "VoucherService" / "TransferVoucher", Changes, OneOf(&[Scope::VoucherTransfer]);
    "VoucherService" / "RequestVoucher", Changes, OneOf(&[Scope::VoucherRedeem]);
    "VoucherService" / "RevokeVoucher", Changes, OneOf(&[Scope::VoucherRevoke]);
    "VoucherService" / "ReserveVoucher", Changes, OneOf(&[Scope::VoucherRedeem]);
    "VoucherService" / "ReleaseReservation", Changes, OneOf(&[Scope::VoucherRedeem]);
    "VoucherService" / "GetVoucher", Reads, OneOf(&[Scope::VoucherRead, Scope::VoucherRedeem]);
    "VoucherService" / "ListVouchers", Reads, OneOf(&[Scope::VoucherRead]);
    "VoucherService" / "RecordTouch", Changes, OneOf(&[Scope::TouchWrite]);
    "PromotionService" / "CreatePromotion", Changes, OneOf(&[Scope::PromotionWrite]);
    "PromotionService" / "GetPromotion", Reads, OneOf(&[Scope::PromotionRead]);
    "PromotionService" / "ListPromotions", Reads, OneOf(&[Scope::PromotionRead]);
    "PromotionService" / "EndPromotion", Changes, OneOf(&[Scope::PromotionWrite]);
    "PromotionService" / "MoveQuota", Changes, OneOf(&[Scope::PromotionWrite]);
    "PromotionService" / "ListShares", Reads, OneOf(&[Scope::PromotionRead]);
    "PromotionService" / "ConsentToFunding", Changes, OneOf(&[Scope::PromotionWrite]);
    "AllianceService" / "CreateAlliance", Changes, OneOf(&[Scope::AllianceWrite]);
    "AllianceService" / "JoinAlliance", Changes, OneOf(&[Scope::AllianceWrite]);
    "AllianceService" / "CreateInvitation", Changes, OneOf(&[Scope::AllianceWrite]);
    "AllianceService" / "GetAlliance", Reads, OneOf(&[Scope::AllianceRead]);
    "AllianceService" / "ListAlliances", Reads, OneOf(&[Scope::AllianceRead]);
    "AllianceService" / "ListMembers", Reads, OneOf(&[Scope::AllianceRead]);
    "AllianceService" / "ApproveMember", Changes, OneOf(&[Scope::AllianceWrite]);
    "AllianceService" / "RemoveMember", Changes, OneOf(&[Scope::AllianceWrite]);
    "AllianceService" / "UpdateProfile", Changes, OneOf(&[Scope::AllianceWrite]);
    "AllianceService" / "ContinueShop", Changes, Owner;
    "GovernanceService" / "GetGovernance", Reads, OneOf(&[Scope::AllianceRead]);
    "GovernanceService" / "ListMotions", Reads, OneOf(&[Scope::AllianceRead]);
    "GovernanceService" / "ProposeMotion", Changes, OneOf(&[Scope::AllianceWrite]);
    "GovernanceService" / "VoteOnMotion", Changes, OneOf(&[Scope::AllianceWrite]);
    "GovernanceService" / "AppealStrike", Changes, OneOf(&[Scope::AllianceWrite]);
    "GovernanceService" / "ChooseSeason", Changes, OneOf(&[Scope::AllianceWrite]);
    "GovernanceService" / "DepartAlliance", Changes, OneOf(&[Scope::AllianceWrite]);
    "ReportService" / "GetSummary", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "ListPairs", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "GetStateDigest", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "ListOffences", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "GetAttribution", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "ListActivity", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "ListReciprocity", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "ListCohorts", Reads, OneOf(&[Scope::ReportRead]);
    "ReportService" / "ListBookings", Reads, OneOf(&[Scope::ReportRead]);
    "SettlementService" / "ListBookLines", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "RespondToReceipt", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "GetStatement", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "ListStatements", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "SignStatement", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "CompareStatement", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "RecordPayment", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "ConfirmPayment", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "CarryOver", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "ListPayments", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "PublishBalance", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "ProposeNetting", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "ConsentToNetting", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "GetNetting", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "ListNettings", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "SetExposure", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "ListExposures", Reads, OneOf(&[Scope::SettlementRead]);
    "SettlementService" / "SetNettingRule", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "OfferCreditLine", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "AcceptCreditLine", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "WithdrawCreditLine", Changes, OneOf(&[Scope::SettlementWrite]);
    "SettlementService" / "ListCreditLines", Reads, OneOf(&[Scope::SettlementRead]);
    "ChannelService" / "CreateChannel", Changes, OneOf(&[Scope::ChannelWrite]);
    "ChannelService" / "ListChannels", Reads, OneOf(&[Scope::ChannelRead]);
    "ChannelService" / "GetChannel", Reads, OneOf(&[Scope::ChannelRead]);
    "ChannelService" / "ReportScan", Changes, OneOf(&[Scope::TouchWrite]);
    "ChannelService" / "SetStaffCard", Changes, OneOf(&[Scope::ChannelWrite]);
    "EventService" / "Watch", Reads, OneOf(&[Scope::EventRead]);
    "NodeService" / "GetStatus", Reads, OneOf(&[Scope::NodeRead]);
    "NodeService" / "SetFederation", Changes, OneOf(&[Scope::NodeWrite]);
    "NodeService" / "DeclareNothingLost", Changes, Owner;
    "NodeService" / "ScrubJournal", Changes, OneOf(&[Scope::NodeWrite]);
    "NodeService" / "RotateKey", Changes, Owner;
    "NodeService" / "PlanOverride", Reads, Owner;
    "NodeService" / "OverrideKey", Changes, Owner;
    "NodeService" / "ExportBundle", Reads, Owner;
    "NodeService" / "ImportBundle", Changes, Owner;
    "TokenService" / "CreateToken", Changes, Owner;
    "TokenService" / "AttenuateToken", Changes, AnyToken;
    "TokenService" / "GetCurrentToken", Reads, AnyToken;
    "TokenService" / "ListTokens", Reads, Owner;
    "TokenService" / "RevokeToken", Changes, Owner;
    "TokenService" / "ListAuditEntries", Reads, Owner;
    "WebhookService" / "CreateWebhook", Changes, Owner;
    "WebhookService" / "ListWebhooks", Reads, Owner;
    "WebhookService" / "RotateWebhookSecret", Changes, Owner;
    "WebhookService" / "DeleteWebhook", Changes, Owner;
    "WebhookService" / "TestWebhook", Changes, Owner;
    "WebhookService" / "ListDeadLetters", Reads, Owner;
    "WebhookService" / "ReplayDeadLetters", Changes, Owner;
}

/// What the call at a path takes; none: there is no such call.
pub(crate) fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

impl Need {
    /// Which scope is missing; `owner` where no scope would do.
    pub(crate) fn missing(self, scopes: &BTreeSet<Scope>) -> Option<&'static str> {
        match self {
            AnyToken => None,
            OneOf(any) if any.iter().any(|scope| scopes.contains(scope)) => None,
            OneOf(any) => Some(any.first().map_or("owner", |scope| scope.text())),
            Owner => Some("owner"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hutong_wire::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_call_of_the_protos_is_in_the_table_once() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let merchant = set.file.iter().filter(|file| file.package() == "hutong.merchant.v1");
        let mut told: Vec<_> = merchant
            .flat_map(|file| &file.service)
            .flat_map(|service| service.method.iter().map(move |call| (service.name(), call.name())))
            .map(|(service, call)| format!("/hutong.merchant.v1.{service}/{call}"))
            .collect();
        let mut known: Vec<_> = METHODS.iter().map(|method| method.path.to_owned()).collect();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known);
    }

    #[test]
    fn every_scope_opens_something_and_reads_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.text().parse(), Ok(*scope));
            let opens = |method: &Method| matches!(method.need, OneOf(any) if any.contains(scope));
            assert!(METHODS.iter().any(opens), "{scope}");
        }
        for bad in ["", "sale", "sale.write ", "SALE.WRITE", "owner", "*"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let till = BTreeSet::from([Scope::SaleWrite, Scope::VoucherRedeem]);
        let missing =
            |call: &str| method(&format!("/hutong.merchant.v1.{call}")).unwrap().need.missing(&till);
        assert_eq!(missing("SaleService/ReportSale"), None);
        assert_eq!(missing("VoucherService/QualifyVouchers"), None);
        assert_eq!(missing("TokenService/GetCurrentToken"), None);
        assert_eq!(missing("ReportService/GetSummary"), Some("report.read"));
        assert_eq!(missing("TokenService/CreateToken"), Some("owner"));
        assert!(method("/hutong.merchant.v1.SaleService/reportSale").is_none());
    }
}
