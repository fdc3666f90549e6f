//! Decimal numbers as tools write them, read exactly.

/// Places behind the point: as many as a float of seventeen digits needs that is a little above 10^-7.
pub(super) const PLACES_MAX: u32 = 24;

/// A number, not below zero: `digits` over 10 to the power of `places`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: u128,
    places: u32,
}

impl Decimal {
    pub(super) const ZERO: Self = Self { digits: 0, places: 0 };

    /// Reads `12`, `12.50`, `.5`, `1.25e-05`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "a number is like 12 or 12.50".to_owned();
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.starts_with('-') {
            return Err("it must not be below zero".to_owned());
        }
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let digits: u128 = digits.parse().map_err(|_| too_long())?;
        let places = i64::try_from(fraction.len()).map_err(|_| too_long())? - i64::from(exponent);
        Self::normal(digits, places).ok_or_else(too_long)
    }

    /// With no zeros at the end of the fraction.
    fn normal(mut digits: u128, mut places: i64) -> Option<Self> {
        while places > 0 && digits.is_multiple_of(10) {
            if digits == 0 {
                return Some(Self::ZERO);
            }
            digits /= 10;
            places -= 1;
        }
        if places < 0 {
            let power = 10_u128.checked_pow(u32::try_from(-places).ok()?)?;
            return Some(Self { digits: digits.checked_mul(power)?, places: 0 });
        }
        let places = u32::try_from(places).ok().filter(|places| *places <= PLACES_MAX)?;
        Some(Self { digits, places })
    }

    /// Places behind the point.
    pub(super) const fn places(self) -> u32 {
        self.places
    }

    /// The number in units of 10^-`places`, if it is a whole number of them.
    pub(super) fn in_units(self, places: u32) -> Option<u128> {
        self.digits.checked_mul(10_u128.checked_pow(places.checked_sub(self.places)?)?)
    }
}

fn too_long() -> String {
    format!("a number has at most {PLACES_MAX} digits after the point, and few enough before it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly() {
        let read = |text| Decimal::parse(text).map(|number| (number.digits, number.places));
        assert_eq!(read("12"), Ok((12, 0)));
        assert_eq!(read("12.50"), Ok((125, 1)));
        assert_eq!(read("2.4019999999999997"), Ok((24_019_999_999_999_997, 16)));
        assert_eq!(read("1.25e-05"), Ok((125, 7)));
        assert_eq!(read("1.25E+3"), Ok((1_250, 0)));
        assert_eq!(
            (read("0.000"), read("0e-99"), read(".5"), read("5.")),
            (Ok((0, 0)), Ok((0, 0)), Ok((5, 1)), Ok((5, 0)))
        );
        for bad in ["", ".", "-1", "1,5", "nan", "inf", "1e", "1e99", "1e-25", "0x10", "1_000", "+1", "٣"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&"9".repeat(40)).is_err());
    }

    #[test]
    fn units_are_shared() {
        let number = Decimal::parse("2.5").unwrap();
        assert_eq!(
            (number.in_units(3), number.in_units(1), number.in_units(0)),
            (Some(2_500), Some(25), None)
        );
        assert_eq!(Decimal::parse(&"9".repeat(38)).unwrap().in_units(1), None);
    }
}
