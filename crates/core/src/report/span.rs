//! A span of time, and what lies in it.

use alloc::{collections::BTreeMap, vec::Vec};

use hutong_record::{Currency, RecordId, UnixMillis};

use crate::{
    evidence::Touch,
    promotion::Promotion,
    report::SaleEntry,
    table,
    view::{Reader, ViewError},
    voucher::{Use, UseStanding, Voucher, VoucherKey},
};

/// Entries in memory at once.
const PAGE: usize = 1_000;

/// From a moment on, and before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: UnixMillis,
    /// The first moment after it.
    pub until: UnixMillis,
}

impl Span {
    /// All time.
    pub const ALWAYS: Self = Self { from: UnixMillis::EPOCH, until: UnixMillis::MAX };

    /// Whether a moment lies in it.
    pub fn contains(&self, at: UnixMillis) -> bool {
        self.from <= at && at < self.until
    }
}

/// Entries of one of the tables that go by time, those of a span, page by page.
fn each_timed(
    view: &(impl Reader + ?Sized),
    tables: u8,
    span: &Span,
    mut each: impl FnMut(UnixMillis, RecordId, &[u8]) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    let mut after = table::timed_from(tables, span.from);
    loop {
        let mut left = PAGE;
        let page = table::collect_while(view, &[tables], &after, |key, value| {
            let place = table::parse_timed(key).ok_or_else(|| ViewError::Damaged("table by time".into()))?;
            let more = left > 0 && place.0 < span.until;
            left = left.saturating_sub(1);
            Ok(more.then(|| (place, value.to_vec())))
        })?;
        let Some(((at, id), _)) = page.last() else { return Ok(()) };
        after = table::timed(tables, *at, *id);
        for ((at, id), value) in &page {
            each(*at, *id, value)?;
        }
    }
}

/// Sales at this shop, the oldest first.
pub(super) fn each_sale(
    view: &(impl Reader + ?Sized),
    span: &Span,
    mut each: impl FnMut(UnixMillis, SaleEntry) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    each_timed(view, table::SALE, span, |at, _, value| each(at, table::decode(&[table::SALE], value)?))
}

/// Touches from or for this shop that are no hand-outs, the oldest first.
pub(super) fn each_touch(
    view: &(impl Reader + ?Sized),
    span: &Span,
    mut each: impl FnMut(Touch),
) -> Result<(), ViewError> {
    each_timed(view, table::TOUCH_AT, span, |_, _, value| {
        let key: Vec<u8> = table::decode(&[table::TOUCH_AT], value)?;
        table::read(view, &key)?.into_iter().for_each(&mut each);
        Ok(())
    })
}

/// Redemptions by right that this shop is a party to, the oldest first.
pub(super) fn each_use(
    view: &(impl Reader + ?Sized),
    span: &Span,
    mut each: impl FnMut(&Voucher, &Use) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    each_timed(view, table::RECEIPT, span, |_, id, value| match receipt(view, id, value)? {
        Some((voucher, used)) => each(&voucher, &used),
        None => Ok(()),
    })
}

fn receipt(
    view: &(impl Reader + ?Sized),
    id: RecordId,
    value: &[u8],
) -> Result<Option<(Voucher, Use)>, ViewError> {
    let key: VoucherKey = table::decode(&[table::RECEIPT], value)?;
    let Some(voucher) = super::voucher(view, &key)? else { return Ok(None) };
    let used = voucher.use_of(id).filter(|used| used.standing == UseStanding::ByRight).cloned();
    Ok(used.map(|used| (voucher, used)))
}

/// Receipts with their vouchers, and where the next page begins.
type Page = (Vec<(Voucher, Use)>, Option<(UnixMillis, RecordId)>);

/// Redemptions by right among the next `most` receipts of a span after a place, and the place of the last one if there
/// are more.
pub(super) fn receipts_after(
    view: &(impl Reader + ?Sized),
    span: &Span,
    after: Option<(UnixMillis, RecordId)>,
    most: usize,
) -> Result<Page, ViewError> {
    let start = match after {
        Some((at, id)) if at >= span.from => table::receipt(at, id),
        _ => table::timed_from(table::RECEIPT, span.from),
    };
    let mut left = most + 1;
    let mut page = table::collect_while(view, &[table::RECEIPT], &start, |key, value| {
        let place = table::parse_timed(key).ok_or_else(|| ViewError::Damaged("table of receipts".into()))?;
        let more = left > 0 && place.0 < span.until;
        left = left.saturating_sub(1);
        Ok(more.then(|| (place, value.to_vec())))
    })?;
    let more = page.len() > most;
    page.truncate(most);
    let next = page.last().map(|(place, _)| *place).filter(|_| more);
    let mut found = Vec::with_capacity(page.len());
    for ((_, id), value) in page {
        found.extend(receipt(view, id, &value)?);
    }
    Ok((found, next))
}

/// Vouchers on record here that were handed out in a span, in the order of keys.
pub(super) fn each_voucher(
    view: &(impl Reader + ?Sized),
    span: &Span,
    mut each: impl FnMut(&Voucher) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    let mut after = None;
    loop {
        let page = super::vouchers(view, after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.token.body().key);
        let handed_out = page.iter().filter(|voucher| voucher.issue.is_some());
        for voucher in handed_out.filter(|voucher| span.contains(voucher.token.body().issued)) {
            each(voucher)?;
        }
    }
}

/// Promotions, each read once.
pub(super) struct Promotions {
    currency: Currency,
    known: BTreeMap<RecordId, Option<Promotion>>,
}

impl Promotions {
    pub(super) const fn new(currency: Currency) -> Self {
        Self { currency, known: BTreeMap::new() }
    }

    pub(super) fn of(
        &mut self,
        view: &(impl Reader + ?Sized),
        id: RecordId,
    ) -> Result<Option<&Promotion>, ViewError> {
        if !self.known.contains_key(&id) {
            self.known.insert(id, Promotion::load(view, id, self.currency)?);
        }
        Ok(self.known.get(&id).and_then(Option::as_ref))
    }
}
