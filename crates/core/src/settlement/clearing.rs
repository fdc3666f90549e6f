//! Netting from records. Both shops of a pair disclose their agreed balance; any member nets what is disclosed for a period
//! and proposes the result; each shop of which a debt changes consents, at most once a period. Then it takes effect, for
//! all who hold the same records, in whatever order these came (CON-1).
//!
//! A run may draw on credit lines (`credit`). A new debt arises by the consents of its two shops: each says what it draws on
//! its own lines, and does not count if its words leave no room for that.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::{MINOR_MAX, RecordId, ShopId, UnixMillis, proto};
use serde::{Deserialize, Serialize};

use super::{
    book::sides,
    credit::{DRAWINGS_MAX, Drawing},
    statement::owed,
};
use crate::{
    netting::{self, CreditLine, Debt, Netting},
    table,
    view::{Reader, ViewError},
};

/// Shops in one run: with the debts, what a message of 16 KiB holds.
pub const RUN_SHOPS_MAX: usize = 128;
/// Debts in one run, and its credit lines.
pub const RUN_DEBTS_MAX: usize = 512;
/// Runs that one shop can propose for one period.
pub(crate) const RUNS_MAX: usize = 4;

/// A balance as one shop disclosed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclosed {
    /// Its record.
    pub record: RecordId,
    /// The agreed statement's number.
    pub number: u32,
    /// What the higher shop owes the lower one, minor units.
    pub high_owes_low_minor: i64,
}

/// One debt of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDebt {
    /// Who owes.
    pub debtor: ShopId,
    /// To whom.
    pub creditor: ShopId,
    /// How much, minor units.
    pub minor: i64,
    /// What is left of it.
    pub left_minor: i64,
}

/// One credit line of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLine {
    /// Who can come to owe.
    pub debtor: ShopId,
    /// To whom.
    pub creditor: ShopId,
    /// What it was taken to be open for, minor units.
    pub limit_minor: i64,
    /// What is drawn on it.
    pub drawn_minor: i64,
}

/// What a shop consented to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consent {
    /// The run.
    pub(crate) run: RecordId,
    /// What it draws on this shop's lines.
    pub(crate) drawings: Vec<Drawing>,
}

/// A netting that was proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its record.
    pub id: RecordId,
    /// Who proposed it.
    pub author: ShopId,
    /// Where in its log.
    pub sequence: u64,
    /// When.
    pub proposed: UnixMillis,
    /// The period of its balances.
    pub period: UnixMillis,
    /// The debts, ascending by debtor and creditor.
    pub debts: Vec<RunDebt>,
    /// The credit lines that it could draw on, ascending by debtor and creditor.
    pub lines: Vec<RunLine>,
    /// Names the records behind the debts.
    pub balances_digest: [u8; 32],
    /// Every shop that it touches has consented, and all its balances are there.
    pub in_effect: bool,
}

impl RunDebt {
    /// Whether a shop owes it, or is owed it.
    pub(crate) fn is_of(&self, shop: ShopId) -> bool {
        self.debtor == shop || self.creditor == shop
    }
}

impl Run {
    /// The shops of which a debt changes or arises.
    pub fn touched(&self) -> BTreeSet<ShopId> {
        let changed = self.debts.iter().filter(|debt| debt.left_minor < debt.minor);
        let changed = changed.flat_map(|debt| [debt.debtor, debt.creditor]);
        changed.chain(self.drawings().flat_map(|new| [new.debtor, new.creditor])).collect()
    }

    /// What it draws on credit lines.
    pub fn drawings(&self) -> impl Iterator<Item = Drawing> + '_ {
        let drawn = self.lines.iter().filter(|line| line.drawn_minor > 0);
        drawn.map(|line| Drawing { debtor: line.debtor, creditor: line.creditor, minor: line.drawn_minor })
    }

    /// What it draws on lines that a shop is in.
    pub(crate) fn drawings_of(&self, shop: ShopId) -> Vec<Drawing> {
        self.drawings().filter(|new| new.debtor == shop || new.creditor == shop).collect()
    }

    /// How much more one shop comes to owe another by it, minor units.
    pub(crate) fn adds_minor(&self, debtor: ShopId, creditor: ShopId) -> i128 {
        let signed = |of: (ShopId, ShopId), minor: i64| {
            let same_way = i128::from(of == (debtor, creditor)) - i128::from(of == (creditor, debtor));
            same_way * i128::from(minor)
        };
        let cleared = self.debts.iter().map(|d| signed((d.debtor, d.creditor), d.left_minor - d.minor));
        cleared.chain(self.drawings().map(|new| signed((new.debtor, new.creditor), new.minor))).sum()
    }

    /// The credit lines as netting takes them.
    pub fn lines(&self) -> Vec<CreditLine<ShopId>> {
        let line =
            |l: &RunLine| CreditLine { creditor: l.creditor, debtor: l.debtor, limit_minor: l.limit_minor };
        self.lines.iter().map(line).collect()
    }

    /// The debts as netting takes them.
    pub fn debts(&self) -> Vec<Debt<ShopId>> {
        let debt = |d: &RunDebt| Debt { debtor: d.debtor, creditor: d.creditor, minor: d.minor };
        self.debts.iter().map(debt).collect()
    }

    /// The result as netting tells it. Its sums fit: they were checked when the run came.
    pub fn result(&self) -> Netting<ShopId> {
        let total = self.debts.iter().map(|debt| debt.minor).sum();
        let remainder = self.debts.iter().map(|debt| debt.left_minor).sum();
        let left = self.debts.iter().filter(|debt| debt.left_minor > 0);
        let debt = |d: &RunDebt| Debt { debtor: d.debtor, creditor: d.creditor, minor: d.left_minor };
        let new = |new: Drawing| Debt { debtor: new.debtor, creditor: new.creditor, minor: new.minor };
        let new_debts: Vec<_> = self.drawings().map(new).collect();
        Netting {
            total,
            cleared: total - remainder,
            remainder,
            obligations: left.map(debt).collect(),
            drawn: new_debts.iter().map(|debt| debt.minor).sum(),
            new_debts,
        }
    }

    /// Parses a run's record. Whether it is right and the most that can be cancelled is checked, too; whether its balances
    /// were disclosed is not.
    pub(crate) fn parse(
        message: &proto::NettingRun,
        (id, author, sequence, proposed): (RecordId, ShopId, u64, UnixMillis),
    ) -> Option<Self> {
        let shop = |id: &bytes::Bytes| ShopId::try_from(id.as_ref()).ok();
        let shops: Vec<ShopId> = message.shop_ids.iter().map(shop).collect::<Option<_>>()?;
        let shop = |place: u32| shops.get(usize::try_from(place).ok()?).copied();
        let debt = |debt: &proto::NettedDebt| {
            let (debtor, creditor) = (shop(debt.debtor)?, shop(debt.creditor)?);
            let fits = debt.minor > 0 && (0..=debt.minor).contains(&debt.left_minor);
            fits.then_some(RunDebt { debtor, creditor, minor: debt.minor, left_minor: debt.left_minor })
        };
        let line = |line: &proto::NettedLine| {
            let (debtor, creditor) = (shop(line.debtor)?, shop(line.creditor)?);
            let proto::NettedLine { limit_minor, drawn_minor, .. } = *line;
            let fits = (1..=MINOR_MAX).contains(&limit_minor) && (0..=limit_minor).contains(&drawn_minor);
            fits.then_some(RunLine { debtor, creditor, limit_minor, drawn_minor })
        };
        let bounded = shops.len() <= RUN_SHOPS_MAX
            && message.lines.len() <= DRAWINGS_MAX
            && message.debts.len() + message.lines.len() <= RUN_DEBTS_MAX
            && shops.windows(2).all(|two| two[0] < two[1]);
        if !bounded {
            return None;
        }
        let debts: Vec<RunDebt> = message.debts.iter().map(debt).collect::<Option<_>>()?;
        let ascending = |two: &[RunDebt]| (two[0].debtor, two[0].creditor) < (two[1].debtor, two[1].creditor);
        let total: i128 = debts.iter().map(|debt| i128::from(debt.minor)).sum();
        if !debts.windows(2).all(ascending) || i64::try_from(total).is_err() {
            return None;
        }
        let lines: Vec<RunLine> = message.lines.iter().map(line).collect::<Option<_>>()?;
        let line_key = |line: &RunLine| (line.debtor, line.creditor);
        if !lines.windows(2).all(|two| line_key(&two[0]) < line_key(&two[1])) {
            return None;
        }
        let period = UnixMillis::new(message.period_end_unix_ms).ok()?;
        let balances_digest = message.balances_digest.as_ref().try_into().ok()?;
        let in_effect = false;
        let run = Self { id, author, sequence, proposed, period, debts, lines, balances_digest, in_effect };
        netting::verify_with_lines(&run.debts(), &run.lines(), &run.result()).ok()?;
        (!run.touched().is_empty()).then_some(run)
    }
}

/// A debt that both shops disclosed alike, with the records behind it: debtor's first.
pub type Backed = (Debt<ShopId>, [RecordId; 2]);

/// What was disclosed for one period, by pair: the lower shop's word and the higher one's.
#[derive(Debug, Default)]
pub struct Balances(BTreeMap<(ShopId, ShopId), [Option<Disclosed>; 2]>);

/// What was disclosed for a period.
pub fn balances(view: &(impl Reader + ?Sized), period: UnixMillis) -> Result<Balances, ViewError> {
    let mut all = Balances::default();
    for ([low, high, author], said) in table::collect(view, &table::balances(period), |key, value| {
        let (_, shops) =
            table::parse_balance(key).ok_or_else(|| ViewError::Damaged("table of balances".into()))?;
        Ok((shops, table::decode::<Disclosed>(key, value)?))
    })? {
        all.0.entry((low, high)).or_default()[usize::from(author == high)] = Some(said);
    }
    Ok(all)
}

/// The latest period that a balance was disclosed for.
pub fn latest_period(view: &(impl Reader + ?Sized)) -> Result<Option<UnixMillis>, ViewError> {
    let mut latest = None;
    view.scan(&[table::BALANCE], None, &mut |key, _| {
        latest = table::parse_balance(key).map(|(period, _)| period).or(latest);
        true
    })?;
    Ok(latest)
}

impl Balances {
    /// Debts that both shops of a pair disclosed alike, ascending, each with the records behind it: debtor's first.
    pub fn matching(&self) -> Vec<Backed> {
        let mut debts: Vec<_> = self.0.iter().filter_map(|(pair, said)| matching(*pair, said)).collect();
        debts.sort_unstable_by_key(|(debt, _)| (debt.debtor, debt.creditor));
        debts
    }
}

/// What one shop owes another as both disclosed it alike for a period, with the records behind it: debtor's first.
fn disclosed(
    view: &(impl Reader + ?Sized),
    period: UnixMillis,
    debtor: ShopId,
    creditor: ShopId,
) -> Result<Option<Backed>, ViewError> {
    let (low, high) = sides(debtor, creditor);
    let said = |author| table::read(view, &table::balance(period, low, high, author));
    let found = matching((low, high), &[said(low)?, said(high)?]);
    Ok(found.filter(|(debt, _)| debt.debtor == debtor))
}

fn matching((low, high): (ShopId, ShopId), said: &[Option<Disclosed>; 2]) -> Option<Backed> {
    let [Some(by_low), Some(by_high)] = said else { return None };
    let (debtor, creditor, minor) = owed(low, high, by_low.high_owes_low_minor);
    let same = (by_low.number, by_low.high_owes_low_minor) == (by_high.number, by_high.high_owes_low_minor);
    let records =
        if debtor == low { [by_low.record, by_high.record] } else { [by_high.record, by_low.record] };
    (same && minor > 0).then_some((Debt { debtor, creditor, minor }, records))
}

/// Hash over the records behind some debts.
pub(crate) fn digest<'r>(records: impl Iterator<Item = &'r [RecordId; 2]>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("hutong 2026 v1 netting balances");
    for record in records.flatten() {
        hasher.update(record.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Whether all balances of a run were disclosed by both shops as it says; of one shop: all that this shop is in.
pub(crate) fn is_backed(
    view: &(impl Reader + ?Sized),
    run: &Run,
    of: Option<ShopId>,
) -> Result<bool, ViewError> {
    let mut behind = Vec::new();
    for debt in run.debts.iter().filter(|debt| of.is_none_or(|shop| debt.is_of(shop))) {
        match disclosed(view, run.period, debt.debtor, debt.creditor)? {
            Some((found, records)) if found.minor == debt.minor => behind.push(records),
            _ => return Ok(false),
        }
    }
    Ok(of.is_some() || digest(behind.iter()) == run.balances_digest)
}

/// The run that a shop consented to for a period.
pub fn consent(
    view: &(impl Reader + ?Sized),
    period: UnixMillis,
    shop: ShopId,
) -> Result<Option<RecordId>, ViewError> {
    let given: Option<Consent> = table::read(view, &table::consent(period, shop))?;
    Ok(given.map(|consent| consent.run))
}

/// The shops that a run still needs the consent of, to all that it draws on their lines.
pub fn missing(view: &(impl Reader + ?Sized), run: &Run) -> Result<Vec<ShopId>, ViewError> {
    let mut missing = Vec::new();
    for shop in run.touched() {
        if !is_agreed(view, run, shop)? {
            missing.push(shop);
        }
    }
    Ok(missing)
}

/// Whether a shop has consented to a run, and to all that it draws on its lines.
pub(crate) fn is_agreed(view: &(impl Reader + ?Sized), run: &Run, shop: ShopId) -> Result<bool, ViewError> {
    let given: Option<Consent> = table::read(view, &table::consent(run.period, shop))?;
    Ok(given == Some(Consent { run: run.id, drawings: run.drawings_of(shop) }))
}

/// What consents of a period draw on lines, by who consented.
pub(crate) fn drawings(
    view: &(impl Reader + ?Sized),
    period: UnixMillis,
) -> Result<Vec<(ShopId, Drawing)>, ViewError> {
    let consents = table::collect(view, &table::consents(period), |key, value| {
        let shop = table::parse_consent(key).ok_or_else(|| ViewError::Damaged("table of consents".into()))?;
        Ok((shop, table::decode::<Consent>(key, value)?))
    })?;
    let of = |(shop, consent): (ShopId, Consent)| consent.drawings.into_iter().map(move |new| (shop, new));
    Ok(consents.into_iter().flat_map(of).collect())
}

/// The runs of a period.
pub fn runs_of(view: &(impl Reader + ?Sized), period: UnixMillis) -> Result<Vec<Run>, ViewError> {
    table::collect(view, &table::runs(period), table::decode)
}

/// All runs, by period and id; with them, their places in the list.
pub fn runs(
    view: &(impl Reader + ?Sized),
    after: Option<&[u8]>,
    most: usize,
) -> Result<Vec<(Vec<u8>, Run)>, ViewError> {
    let mut found = Vec::new();
    table::walk(view, &[table::RUN], after, |key, value| {
        found.push((key.to_vec(), table::decode(key, value)?));
        Ok(found.len() < most)
    })?;
    Ok(found)
}

/// The run of a record.
pub fn find(view: &(impl Reader + ?Sized), id: RecordId) -> Result<Option<Run>, ViewError> {
    let mut key = None;
    view.scan(&[table::RUN], None, &mut |found, _| {
        if table::parse_run(found) == Some(id) {
            key = Some(found.to_vec());
        }
        key.is_none()
    })?;
    key.map_or(Ok(None), |key| table::read(view, &key))
}
