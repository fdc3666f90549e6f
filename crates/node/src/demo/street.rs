//! The data: thirteen shops of one street and their visits, January to June 2017 (`tests/data/street`).

use std::{io::Read, str::FromStr};

use flate2::read::GzDecoder;
use hutong_record::{DAY_MS, UnixMillis};

/// The visits, gzipped CSV. Small enough (1.8 MB) to travel in the binary, so that the demo needs no download.
const VISITS_GZ: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/street/visits.csv.gz"));

/// 2017-01-01T00:00:00Z, the first day of the data.
pub(super) const FIRST_DAY: i64 = 1_483_228_800_000;

/// Days from the first to the last visit, both included.
pub(super) const DAYS_ALL: u32 = 181;

/// Shops on the street.
pub(super) const SHOP_COUNT: usize = 13;

/// Key in the data and name on the door. The order is the order of all reports.
const SHOPS: [(&str, &str); SHOP_COUNT] = [
    ("grocer", "杂货铺 Grocer"),
    ("greengrocer", "菜店 Greengrocer"),
    ("butcher", "肉铺 Butcher"),
    ("fishmonger", "鱼档 Fishmonger"),
    ("smokehouse", "腊味店 Smokehouse"),
    ("deli", "熟食店 Deli"),
    ("bakery", "面包房 Bakery"),
    ("eatery", "小吃店 Eatery"),
    ("health-foods", "健康食品 Health Foods"),
    ("drugstore", "药店 Drugstore"),
    ("beauty-shop", "美妆店 Beauty Shop"),
    ("florist", "花店 Florist"),
    ("filling-station", "加油站 Filling Station"),
];

/// One of the thirteen shops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Shop(u8);

impl Shop {
    /// All shops, in the order of reports.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0u8..).take(SHOP_COUNT).map(Self)
    }

    /// Position in [`Shop::all`].
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The shop's key in the data; its data folder bears the same name.
    pub(super) fn key(self) -> &'static str {
        SHOPS[self.index()].0
    }

    /// The shop's name.
    pub(super) fn name(self) -> &'static str {
        SHOPS[self.index()].1
    }
}

impl FromStr for Shop {
    type Err = ();

    fn from_str(key: &str) -> Result<Self, ()> {
        Self::all().find(|shop| shop.key() == key).ok_or(())
    }
}

/// One purchase of one customer at one shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visit {
    /// Line in the file; the header is line 1. Names the visit in request ids.
    pub(super) line: u64,
    /// When; the data's local time read as UTC.
    pub(super) at: UnixMillis,
    /// The customer's number in the data.
    pub(super) customer: u32,
    /// Where.
    pub(super) shop: Shop,
    /// What was paid, US cents, more than zero.
    pub(super) amount_cents: i64,
}

/// Why a line is no visit.
#[derive(Debug, thiserror::Error)]
pub(super) enum VisitError {
    /// Not CSV, not gzip, or the wrong number of fields.
    #[error("the visits cannot be read: {0}")]
    Csv(#[from] csv::Error),
    /// A field that does not parse.
    #[error("line {line}: {field} is {value:?}")]
    Field {
        /// Line in the file.
        line: u64,
        /// Column.
        field: &'static str,
        /// What stands there.
        value: String,
    },
}

/// Visits in the order of the file, which is the order of time. Purchases of nothing are left out.
pub(super) struct Visits<R> {
    reader: csv::Reader<R>,
    row: csv::StringRecord,
    before: UnixMillis,
}

/// The visits that the binary carries.
pub(super) type EmbeddedVisits = Visits<GzDecoder<&'static [u8]>>;

impl EmbeddedVisits {
    /// The visits of the first `days` days.
    pub(super) fn embedded(days: u32) -> Self {
        Self::new(GzDecoder::new(VISITS_GZ), days)
    }
}

impl<R: Read> Visits<R> {
    fn new(csv: R, days: u32) -> Self {
        let before = UnixMillis::EPOCH.saturating_add_ms(FIRST_DAY + i64::from(days) * DAY_MS);
        Self { reader: csv::Reader::from_reader(csv), row: csv::StringRecord::new(), before }
    }

    fn parse(&self) -> Result<Visit, VisitError> {
        let line = self.row.position().map_or(0, csv::Position::line);
        let field = |column: usize, field: &'static str| {
            let value = self.row.get(column).unwrap_or_default();
            (value, move || VisitError::Field { line, field, value: value.to_owned() })
        };
        let (at, bad_at) = field(0, "at");
        let (customer, bad_customer) = field(1, "customer");
        let (shop, bad_shop) = field(2, "shop");
        let (amount, bad_amount) = field(4, "amount_cents");
        let visit = Visit {
            line,
            at: parse_local(at).ok_or_else(bad_at)?,
            customer: customer.parse().map_err(|_| bad_customer())?,
            shop: shop.parse().map_err(|()| bad_shop())?,
            amount_cents: amount.parse().map_err(|_| bad_amount())?,
        };
        if visit.amount_cents < 0 { Err(bad_amount()) } else { Ok(visit) }
    }
}

impl<R: Read> Iterator for Visits<R> {
    type Item = Result<Visit, VisitError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.reader.read_record(&mut self.row) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
            match self.parse() {
                Ok(visit) if visit.at >= self.before => return None,
                Ok(visit) if visit.amount_cents == 0 => {}
                visit => return Some(visit),
            }
        }
    }
}

/// `2017-01-31T08:15:00`, read as UTC.
fn parse_local(text: &str) -> Option<UnixMillis> {
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let instant = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?;
    UnixMillis::new(instant.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "at,customer,shop,basket,amount_cents,coupon_cents\n";

    fn read(lines: &str, days: u32) -> Vec<Result<Visit, VisitError>> {
        let csv = format!("{HEADER}{lines}");
        Visits::new(std::io::Cursor::new(csv.into_bytes()), days).collect()
    }

    #[test]
    fn a_line_is_a_visit() {
        let visits = read("2017-01-01T11:53:26,900,bakery,31198570044,50,0\n", 1);
        let expected = Visit {
            line: 2,
            at: UnixMillis::new(FIRST_DAY + (11 * 3600 + 53 * 60 + 26) * 1000).unwrap(),
            customer: 900,
            shop: "bakery".parse().unwrap(),
            amount_cents: 50,
        };
        assert_eq!(visits.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn a_purchase_of_nothing_is_left_out_and_later_days_are_cut_off() {
        let lines = "2017-01-01T10:00:00,1,deli,1,0,0\n2017-01-01T23:59:59,1,deli,1,5,0\n\
                     2017-01-02T00:00:00,1,deli,1,5,0\n";
        let visits = read(lines, 1);
        assert_eq!(visits.len(), 1);
        assert_eq!(visits[0].as_ref().unwrap().line, 3);
    }

    #[test]
    fn a_bad_line_is_named_with_its_field() {
        for (line, field) in [
            ("yesterday,1,deli,1,5,0", "at"),
            ("2017-01-01T10:00:00,-1,deli,1,5,0", "customer"),
            ("2017-01-01T10:00:00,1,casino,1,5,0", "shop"),
            ("2017-01-01T10:00:00,1,deli,1,-5,0", "amount_cents"),
            ("2017-01-01T10:00:00,1,deli,1,1.50,0", "amount_cents"),
        ] {
            let good = "2017-01-01T09:00:00,1,deli,1,5,0\n";
            let visits = read(&format!("{good}{line}\n"), 1);
            match visits.last() {
                Some(Err(VisitError::Field { line: 3, field: named, .. })) => assert_eq!(*named, field),
                other => panic!("{line} gave {other:?}"),
            }
        }
        assert!(matches!(read("2017-01-01T10:00:00,1\n", 1).as_slice(), [Err(VisitError::Csv(_))]));
    }

    #[test]
    fn the_carried_data_is_whole_and_in_order_of_time() {
        let mut last = UnixMillis::EPOCH;
        let mut count = 0;
        for visit in EmbeddedVisits::embedded(DAYS_ALL) {
            let visit = visit.unwrap();
            assert!(visit.at >= last, "line {}", visit.line);
            last = visit.at;
            count += 1;
        }
        assert_eq!(count, 187_481, "as the README of the data says");
    }
}
