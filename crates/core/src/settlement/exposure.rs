//! How much an ally may come to owe this shop: above one limit there is a warning, above another no voucher is handed out
//! that makes it owe more. Each shop's own affair, kept in records sealed to itself, so that a restore has them.

use hutong_record::{ShopId, proto};
use serde::{Deserialize, Serialize};

use crate::{
    duty::Duty,
    pair, table,
    view::{Overlay, Reader, ViewError},
};

/// Limits of what an ally may owe, minor units; none: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limit {
    /// Above this there is a warning.
    pub warn_minor: Option<i64>,
    /// Above this nothing is handed out that makes it owe more.
    pub stop_minor: Option<i64>,
}

/// How an ally stands to its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Within them.
    Within,
    /// Above the limit for warnings.
    Warned,
    /// Above the limit at which hand-outs stop.
    Stopped,
}

impl Limit {
    pub(crate) const fn of(message: &proto::ExposureLimit) -> Self {
        Self { warn_minor: message.warn_minor, stop_minor: message.stop_minor }
    }

    /// How who owes so much stands.
    pub fn level(self, owed_minor: i128) -> Level {
        let above = |limit: Option<i64>| limit.is_some_and(|limit| owed_minor > limit.into());
        match (above(self.warn_minor), above(self.stop_minor)) {
            (_, true) => Level::Stopped,
            (true, false) => Level::Warned,
            (false, false) => Level::Within,
        }
    }
}

/// The limits of an ally: its own, else those of all. `None`: those of all.
pub fn limit(view: &(impl Reader + ?Sized), ally: Option<ShopId>) -> Result<Limit, ViewError> {
    let own = match ally {
        Some(ally) => table::read(view, &table::exposure(Some(ally)))?,
        None => None,
    };
    match own {
        Some(own) => Ok(own),
        None => Ok(table::read(view, &table::exposure(None))?.unwrap_or_default()),
    }
}

/// What an ally owes this shop, and how it stands.
pub fn standing(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    ally: ShopId,
) -> Result<(i128, Limit, Level), ViewError> {
    let owed = pair::report(view, me, ally)?.balance_minor;
    let limit = limit(view, Some(ally))?;
    Ok((owed, limit, limit.level(owed)))
}

/// After a debt changed: has the node note it when the limit for warnings is passed, once each time.
pub(crate) fn watch<R: Reader + ?Sized>(
    view: &mut Overlay<'_, R>,
    ally: ShopId,
    owed_minor: i128,
) -> Result<(), ViewError> {
    let Some(warn_minor) = limit(view, Some(ally))?.warn_minor else { return Ok(()) };
    let noted = view.get(&table::exposure_noted(ally))?.is_some();
    let duty = Duty::NoteExposure(ally);
    match (owed_minor > warn_minor.into(), noted) {
        (true, false) => table::write(view, duty.key(), &duty),
        (false, _) => {
            view.remove(duty.key());
            view.remove(table::exposure_noted(ally));
        }
        (true, true) => {}
    }
    Ok(())
}
