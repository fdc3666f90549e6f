//! The charter's rules of government: thresholds, periods and limits. Votes amend them.

use hutong_record::{UnixMillis, proto};
use serde::Serialize;

use super::VOTES_MAX;
use crate::{bounds, refusal::Refusal};

/// How long an admission may be open to objections.
const OBJECTION_MS_MAX: i64 = 90 * 86_400_000;
/// A week is the least after which silence says anything: shops close for holidays.
const DORMANCY_DAYS_MIN: u32 = 7;
const DAYS_MAX: u32 = 3_650;
const APPEAL_DAYS_MAX: u32 = 365;
const CATEGORY_SHOPS_MAX: u32 = 512;

const AMENDMENT_PERCENT_DEFAULT: u32 = 50;
const STRIKE_LIMIT_DEFAULT: u32 = 3;
const STRIKE_DAYS_DEFAULT: u32 = 365;
const SUSPENSION_DAYS_DEFAULT: u32 = 30;
const APPEAL_DAYS_DEFAULT: u32 = 14;

/// How an alliance decides about itself at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Votes of core members that admit a shop.
    pub admission_votes: u32,
    /// Votes of core members that remove a shop.
    pub removal_votes: u32,
    /// Votes of core members that change the rules.
    pub amendment_votes: u32,
    /// Share of the core members who are awake that must be for a change of the rules.
    pub amendment_percent: u32,
    /// Members, core or not, who must have voted for an admission in all.
    pub admission_sponsors: u32,
    /// How long an admission is open to objections after its last vote, milliseconds; 0: not at all.
    pub objection_ms: i64,
    /// Objections of core members that stop an admission.
    pub objection_votes: u32,
    /// Days without a record after which a core member's voice is not waited for; 0: never.
    pub dormancy_days: u32,
    /// Members of one trade; 0: as many as come.
    pub category_shops: u32,
    /// Votes of core members that give or annul a strike.
    pub strike_votes: u32,
    /// Strikes that suspend a member.
    pub strike_limit: u32,
    /// Days for which a strike counts.
    pub strike_days: u32,
    /// Days for which a member is suspended.
    pub suspension_days: u32,
    /// Days within which a member can appeal against a strike.
    pub appeal_days: u32,
}

impl Settings {
    /// The rules with which a charter begins, and the end of its first season.
    pub(super) fn founding(charter: &proto::Charter) -> Result<(Self, Option<UnixMillis>), Refusal> {
        let message = charter.governance.unwrap_or_default();
        if message.admission_votes.is_some() || message.removal_votes.is_some() {
            return Err(Refusal::field(
                "governance",
                "the charter itself says how many votes admit and remove",
            ));
        }
        let (admission_votes, removal_votes) = (charter.admission_votes, charter.removal_votes);
        let defaults = Self {
            admission_votes,
            removal_votes,
            amendment_votes: admission_votes.max(removal_votes),
            amendment_percent: AMENDMENT_PERCENT_DEFAULT,
            admission_sponsors: 0,
            objection_ms: 0,
            objection_votes: 1,
            dormancy_days: 0,
            category_shops: 0,
            strike_votes: removal_votes,
            strike_limit: STRIKE_LIMIT_DEFAULT,
            strike_days: STRIKE_DAYS_DEFAULT,
            suspension_days: SUSPENSION_DAYS_DEFAULT,
            appeal_days: APPEAL_DAYS_DEFAULT,
        };
        check(&message)?;
        let season_end = message.season_end_unix_ms.filter(|end| *end != 0);
        let season_end =
            season_end.map(|end| bounds::time("governance.season_end_unix_ms", end)).transpose()?;
        Ok((defaults.amended(&message), season_end))
    }

    /// Checks what an amendment changes.
    pub(crate) fn check_change(change: &proto::Governance) -> Result<(), Refusal> {
        if *change == proto::Governance::default() {
            return Err(Refusal::field("change", "changes nothing"));
        }
        if change.season_end_unix_ms.is_some() {
            return Err(Refusal::field("governance.season_end_unix_ms", "is changed by renewals alone"));
        }
        check(change)
    }

    /// The rules after a change that was checked.
    #[must_use]
    pub(crate) fn amended(self, change: &proto::Governance) -> Self {
        Self {
            admission_votes: change.admission_votes.unwrap_or(self.admission_votes),
            removal_votes: change.removal_votes.unwrap_or(self.removal_votes),
            amendment_votes: change.amendment_votes.unwrap_or(self.amendment_votes),
            amendment_percent: change.amendment_percent.unwrap_or(self.amendment_percent),
            admission_sponsors: change.admission_sponsors.unwrap_or(self.admission_sponsors),
            objection_ms: change.objection_ms.unwrap_or(self.objection_ms),
            objection_votes: change.objection_votes.unwrap_or(self.objection_votes),
            dormancy_days: change.dormancy_days.unwrap_or(self.dormancy_days),
            category_shops: change.category_shops.unwrap_or(self.category_shops),
            strike_votes: change.strike_votes.unwrap_or(self.strike_votes),
            strike_limit: change.strike_limit.unwrap_or(self.strike_limit),
            strike_days: change.strike_days.unwrap_or(self.strike_days),
            suspension_days: change.suspension_days.unwrap_or(self.suspension_days),
            appeal_days: change.appeal_days.unwrap_or(self.appeal_days),
        }
    }
}

/// The bounds of each field that is there.
fn check(message: &proto::Governance) -> Result<(), Refusal> {
    let count = |field, value: Option<u32>, range| match value {
        Some(value) => bounds::number(field, value, range),
        None => Ok(()),
    };
    count("governance.admission_votes", message.admission_votes, 1..=VOTES_MAX)?;
    count("governance.removal_votes", message.removal_votes, 1..=VOTES_MAX)?;
    count("governance.amendment_votes", message.amendment_votes, 1..=VOTES_MAX)?;
    count("governance.amendment_percent", message.amendment_percent, 0..=100)?;
    count("governance.admission_sponsors", message.admission_sponsors, 0..=VOTES_MAX)?;
    bounds::number("governance.objection_ms", message.objection_ms.unwrap_or(0), 0..=OBJECTION_MS_MAX)?;
    count("governance.objection_votes", message.objection_votes, 1..=VOTES_MAX)?;
    let dormancy = message.dormancy_days.filter(|days| *days != 0);
    count("governance.dormancy_days", dormancy, DORMANCY_DAYS_MIN..=DAYS_MAX)?;
    count("governance.category_shops", message.category_shops, 0..=CATEGORY_SHOPS_MAX)?;
    count("governance.strike_votes", message.strike_votes, 1..=VOTES_MAX)?;
    count("governance.strike_limit", message.strike_limit, 1..=VOTES_MAX)?;
    count("governance.strike_days", message.strike_days, 1..=DAYS_MAX)?;
    count("governance.suspension_days", message.suspension_days, 1..=DAYS_MAX)?;
    count("governance.appeal_days", message.appeal_days, 1..=APPEAL_DAYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding(governance: proto::Governance) -> Result<(Settings, Option<UnixMillis>), Refusal> {
        Settings::founding(&proto::Charter {
            admission_votes: 2,
            removal_votes: 3,
            governance: Some(governance),
            ..Default::default()
        })
    }

    #[test]
    fn a_charter_that_says_nothing_has_the_old_rules() {
        let (settings, end) = founding(proto::Governance::default()).unwrap();
        assert_eq!((settings.admission_votes, settings.amendment_votes, settings.strike_votes), (2, 3, 3));
        assert_eq!(
            (settings.objection_ms, settings.dormancy_days, settings.category_shops, end),
            (0, 0, 0, None)
        );
    }

    #[test]
    fn rules_out_of_bounds_name_the_field() {
        let none = proto::Governance::default();
        let cases = [
            ("governance", proto::Governance { removal_votes: Some(1), ..none }),
            ("governance.amendment_votes", proto::Governance { amendment_votes: Some(0), ..none }),
            ("governance.amendment_percent", proto::Governance { amendment_percent: Some(101), ..none }),
            ("governance.objection_ms", proto::Governance { objection_ms: Some(-1), ..none }),
            ("governance.objection_ms", proto::Governance { objection_ms: Some(i64::MAX), ..none }),
            ("governance.objection_votes", proto::Governance { objection_votes: Some(0), ..none }),
            ("governance.dormancy_days", proto::Governance { dormancy_days: Some(6), ..none }),
            ("governance.category_shops", proto::Governance { category_shops: Some(513), ..none }),
            ("governance.strike_limit", proto::Governance { strike_limit: Some(0), ..none }),
            ("governance.appeal_days", proto::Governance { appeal_days: Some(366), ..none }),
            ("governance.season_end_unix_ms", proto::Governance { season_end_unix_ms: Some(-1), ..none }),
        ];
        for (name, message) in cases {
            assert_eq!(founding(message).unwrap_err().fact("field"), Some(name));
        }
    }

    #[test]
    fn an_amendment_changes_what_it_names_and_nothing_else() {
        let (before, _) = founding(proto::Governance::default()).unwrap();
        let change = proto::Governance { dormancy_days: Some(30), ..Default::default() };
        Settings::check_change(&change).unwrap();
        assert_eq!(before.amended(&change), Settings { dormancy_days: 30, ..before });
        Settings::check_change(&proto::Governance::default()).unwrap_err();
        let season = proto::Governance { season_end_unix_ms: Some(1), ..Default::default() };
        Settings::check_change(&season).unwrap_err();
    }
}
