//! Credit lines: new debts that two shops agreed to beforehand, so that those between them can be left out.

use alloc::collections::BTreeSet;

use hutong_record::MINOR_MAX;

use super::NettingError;

/// Credit lines in one netting.
pub const LINES_MAX: usize = 1_000_000;

/// A creditor takes on new debts of a debtor, up to a limit, and the debtor agreed to owe them to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditLine<S> {
    /// To whom a new debt would be owed.
    pub creditor: S,
    /// Who would owe it; another shop.
    pub debtor: S,
    /// The most that may come new, minor units, 1 to [`MINOR_MAX`].
    pub limit_minor: i64,
}

/// Looks at each line by itself, and that no pair has two.
pub(super) fn check<S: Ord>(lines: &[CreditLine<S>]) -> Result<(), NettingError> {
    if lines.len() > LINES_MAX {
        return Err(NettingError::TooManyLines);
    }
    let mut known = BTreeSet::new();
    for (line, CreditLine { creditor, debtor, limit_minor }) in lines.iter().enumerate() {
        match *limit_minor {
            minor @ ..=0 => return Err(NettingError::LimitNotPositive { line, minor }),
            minor if minor > MINOR_MAX => return Err(NettingError::LimitTooLarge { line, minor }),
            _ if creditor == debtor => return Err(NettingError::LineToItself { line }),
            _ if !known.insert((debtor, creditor)) => return Err(NettingError::LineTwice { line }),
            _ => {}
        }
    }
    Ok(())
}
