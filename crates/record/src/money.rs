//! Money: integer minor units of one currency (MON-1). No floats anywhere.

use alloc::{format, string::String};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::proto;

/// The largest amount either way, minor units: ten trillion yuan, so that sums of nine thousand still fit an `i64`.
pub const MINOR_MAX: i64 = 1_000_000_000_000_000;

/// Currencies without minor units (ISO 4217).
const NO_DECIMALS: [&str; 16] = [
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF",
    "XPF",
];
/// Currencies whose minor unit is a thousandth (ISO 4217).
const THREE_DECIMALS: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Currency([u8; 3]);

impl Currency {
    /// 人民币.
    pub const CNY: Self = Self(*b"CNY");

    /// The code.
    pub fn code(&self) -> &str {
        core::str::from_utf8(&self.0).expect("only capital letters are let in")
    }

    /// Digits that the minor unit lies below the major one.
    pub fn decimals(&self) -> usize {
        match self.code() {
            code if NO_DECIMALS.contains(&code) => 0,
            code if THREE_DECIMALS.contains(&code) => 3,
            _ => 2,
        }
    }

    /// An amount as people write it: `12.50 CNY`. Sums beyond [`MINOR_MAX`] are written, too.
    pub fn amount_text(&self, minor: i128) -> String {
        let decimals = self.decimals();
        let sign = if minor < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let point = if decimals == 0 { "" } else { "." };
        format!("{sign}{whole}{point}{fraction} {}", self.code())
    }

    /// The code's three bytes.
    pub const fn as_bytes(&self) -> &[u8; 3] {
        &self.0
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        match *code.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z', c @ b'A'..=b'Z'] => Ok(Self([a, b, c])),
            _ => Err(MoneyError::Currency),
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units of a currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    currency: Currency,
    minor: i64,
}

/// Why an amount is not one, or two amounts do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("a currency is three capital letters (ISO 4217)")]
    Currency,
    /// Beyond [`MINOR_MAX`].
    #[error("the amount is beyond 10^15 minor units")]
    Range,
    /// Below zero where that makes no sense.
    #[error("the amount is negative")]
    Negative,
    /// Two currencies in one sum.
    #[error("{0:?} and {1:?} do not add up")]
    Mixed(Currency, Currency),
}

impl Money {
    /// An amount within ±[`MINOR_MAX`].
    pub const fn new(currency: Currency, minor: i64) -> Result<Self, MoneyError> {
        if minor < -MINOR_MAX || minor > MINOR_MAX {
            return Err(MoneyError::Range);
        }
        Ok(Self { currency, minor })
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { currency, minor: 0 }
    }

    /// From a message; an amount below zero is refused.
    pub fn non_negative(message: &proto::Money) -> Result<Self, MoneyError> {
        let money = Self::new(message.currency_code.parse()?, message.minor)?;
        if money.minor < 0 { Err(MoneyError::Negative) } else { Ok(money) }
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The sum of two amounts of one currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        Self::new(self.currency, self.minor + other.minor)
    }

    /// `basis_points` ten-thousandths of the amount, rounded towards zero.
    pub fn basis_points(self, basis_points: u32) -> Result<Self, MoneyError> {
        let share = i128::from(self.minor) * i128::from(basis_points) / 10_000;
        Self::new(self.currency, i64::try_from(share).map_err(|_| MoneyError::Range)?)
    }
}

impl From<Money> for proto::Money {
    fn from(money: Money) -> Self {
        Self { currency_code: money.currency.code().into(), minor: money.minor }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.currency.amount_text(self.minor.into()))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.minor, self.currency.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cny(minor: i64) -> Money {
        Money::new(Currency::CNY, minor).unwrap()
    }

    #[test]
    fn amounts_beyond_the_bound_and_negative_ones_are_refused() {
        assert_eq!(Money::new(Currency::CNY, MINOR_MAX + 1), Err(MoneyError::Range));
        assert_eq!(Money::new(Currency::CNY, i64::MIN), Err(MoneyError::Range));
        let message = proto::Money { currency_code: "CNY".into(), minor: -1 };
        assert_eq!(Money::non_negative(&message), Err(MoneyError::Negative));
        assert_eq!(cny(MINOR_MAX).checked_add(cny(1)), Err(MoneyError::Range));
    }

    #[test]
    fn currencies_are_three_capitals_and_do_not_mix() {
        for bad in ["", "cny", "CNYY", "C1Y", "元元元"] {
            assert_eq!(bad.parse::<Currency>(), Err(MoneyError::Currency), "{bad}");
        }
        let usd: Currency = "USD".parse().unwrap();
        assert_eq!(cny(1).checked_add(Money::zero(usd)), Err(MoneyError::Mixed(Currency::CNY, usd)));
    }

    #[test]
    fn amounts_are_written_with_their_currency_s_decimals() {
        let text = |code: &str, minor| code.parse::<Currency>().unwrap().amount_text(minor);
        assert_eq!(text("CNY", 5), "0.05 CNY");
        assert_eq!(text("CNY", -1_250), "-12.50 CNY");
        assert_eq!(text("JPY", 500), "500 JPY");
        assert_eq!(text("KWD", 1), "0.001 KWD");
        assert_eq!(cny(1_250).to_string(), "12.50 CNY");
    }

    #[test]
    fn shares_round_towards_zero_and_never_overflow() {
        assert_eq!(cny(999).basis_points(1_000), Ok(cny(99)));
        assert_eq!(cny(MINOR_MAX).basis_points(10_000), Ok(cny(MINOR_MAX)));
        assert_eq!(cny(MINOR_MAX).basis_points(u32::MAX), Err(MoneyError::Range));
    }
}
