//! Evidence: the touches on record, and which of them led to a conversion.
//!
//! What counts depends on what the records say alone, never on when they came:
//!
//! | rule | what does not count |
//! | --- | --- |
//! | window | a touch longer before the conversion than its kind's window, or after it |
//! | self-referral | a shop's touch for itself (refused), and any touch of a card of the redeemer's own staff |
//! | duplicates | of touches by one shop of one card, kind, channel and minute, all but the first |
//! | velocity | touches of a card by one shop beyond the first few of an hour; all of a shop's ten minutes with too many |
//! | late | a touch whose record was signed after the conversion was entered, by more than clocks may differ |
//!
//! What a receipt has credited stays so, whatever turns up afterwards: evidence that was signed in time and arrives late
//! shows in reports and pays nobody. Hand-outs are limited by quotas, so neither duplicates nor velocity apply to them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use hutong_record::{CardId, RecordId, ShopId, UnixMillis, proto};
use serde::{Deserialize, Serialize};

use crate::{
    alliance::Alliance,
    attribution::PAID_TOUCHES_MAX,
    charter::{AttributionRules, CLOCK_AHEAD_MS_MAX, PayingModel},
    table,
    view::{Reader, ViewError},
};

/// Characters of a channel's name.
pub const CHANNEL_CHARS_MAX: usize = 64;
/// Touches of one path; of more, the oldest fall out.
pub const PATH_TOUCHES_MAX: usize = 256;
/// Touches in memory at once, however many a card has.
const PAGE_TOUCHES: usize = 1_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const TEN_MINUTES_MS: i64 = 10 * MINUTE_MS;

/// How a customer was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TouchKind {
    /// Was given a voucher.
    HandOut,
    /// Scanned a code.
    Scan,
    /// Was recommended the shop by the staff.
    Invite,
    /// Came by and was shown the offer.
    Visit,
    /// Used a voucher at another shop, by a receipt that this shop is a party of.
    Redemption,
}

/// A touch on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// Its record.
    pub id: RecordId,
    /// Whose customer it was.
    pub card: CardId,
    /// When.
    pub at: UnixMillis,
    /// Who sent.
    pub from: ShopId,
    /// Where to.
    pub to: ShopId,
    /// How.
    pub kind: TouchKind,
    /// Which poster, receipt or post; empty: none is named.
    pub channel: String,
    /// When its record was signed.
    pub entered: UnixMillis,
}

/// What touches may have led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// When.
    pub at: UnixMillis,
    /// When its record was, or will be, signed.
    pub entered: UnixMillis,
    /// Whose; none: nothing but the voucher is known.
    pub card: Option<CardId>,
    /// The voucher's hand-out: when and by whom; none: a purchase without a voucher.
    pub hand_out: Option<(UnixMillis, ShopId)>,
}

/// A touch that counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// When.
    pub at: UnixMillis,
    /// Who sent.
    pub shop: ShopId,
    /// How.
    pub kind: TouchKind,
    /// By which channel.
    pub channel: String,
}

/// The touches of a conversion: those that count, the oldest first, and how many others do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trail {
    /// Those that count.
    pub steps: Vec<Step>,
    /// Out of their kind's window, though within the longest.
    pub stale: u64,
    /// The same once more.
    pub duplicate: u64,
    /// More than the charter lets count.
    pub hasty: u64,
    /// Signed too late.
    pub late: u64,
}

impl TouchKind {
    /// The kind that a record names; hand-outs have records of their own.
    pub(crate) fn parse(kind: i32) -> Option<Self> {
        match proto::TouchKind::try_from(kind) {
            Ok(proto::TouchKind::Scan) => Some(Self::Scan),
            Ok(proto::TouchKind::Invite) => Some(Self::Invite),
            Ok(proto::TouchKind::Visit) => Some(Self::Visit),
            Ok(proto::TouchKind::Unspecified) | Err(_) => None,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::HandOut => 0,
            Self::Scan => 1,
            Self::Invite => 2,
            Self::Visit => 3,
            Self::Redemption => 4,
        }
    }

    const fn window_ms(self, rules: &AttributionRules) -> i64 {
        match self {
            Self::HandOut => rules.hand_out_window_ms,
            Self::Scan => rules.scan_window_ms,
            Self::Invite => rules.invite_window_ms,
            Self::Visit => rules.visit_window_ms,
            Self::Redemption => rules.redemption_window_ms,
        }
    }
}

/// The ten minutes that a moment lies in.
pub(crate) const fn ten_minutes(at: UnixMillis) -> i64 {
    at.ms().div_euclid(TEN_MINUTES_MS)
}

/// Whether a card belongs to this shop's own staff.
pub fn is_staff(view: &(impl Reader + ?Sized), card: Option<CardId>) -> Result<bool, ViewError> {
    card.map_or(Ok(false), |card| Ok(view.get(&table::staff(card))?.is_some()))
}

/// The touches on record that led to a conversion at this shop.
pub fn trail(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    conversion: &Conversion,
) -> Result<Trail, ViewError> {
    let mut sieve = Sieve::new(alliance, conversion);
    let Some(card) = conversion.card else { return Ok(sieve.finish()) };
    if is_staff(view, Some(card))? {
        return Ok(Trail::default());
    }
    let earliest = conversion.at.saturating_add_ms(-alliance.charter().attribution.window_ms_max());
    let mut after = table::touches_from(card, earliest);
    loop {
        let page = table::collect_while(view, &table::touches(card), &after, page_until(conversion.at))?;
        let Some(last) = page.last() else { return Ok(sieve.finish()) };
        after = table::touch(last);
        for touch in page {
            sieve.take(view, touch)?;
        }
    }
}

/// Reads one page of touches up to a moment.
fn page_until(at: UnixMillis) -> impl FnMut(&[u8], &[u8]) -> Result<Option<Touch>, ViewError> {
    let mut left = PAGE_TOUCHES;
    move |key, value| {
        let touch: Touch = table::decode(key, value)?;
        let more = left > 0 && touch.at <= at;
        left = left.saturating_sub(1);
        Ok(more.then_some(touch))
    }
}

/// Sorts touches out, the oldest first.
struct Sieve<'a> {
    me: ShopId,
    rules: &'a AttributionRules,
    conversion: &'a Conversion,
    trail: Trail,
    /// The minute looked at, and what it has had.
    minute: (i64, BTreeSet<(ShopId, u8, String)>),
    /// The hour looked at, and how many touches of each shop it has had.
    hour: (i64, BTreeMap<ShopId, u32>),
}

impl<'a> Sieve<'a> {
    fn new(alliance: &'a Alliance, conversion: &'a Conversion) -> Self {
        Self {
            me: alliance.me(),
            rules: &alliance.charter().attribution,
            conversion,
            trail: Trail::default(),
            minute: (i64::MIN, BTreeSet::new()),
            hour: (i64::MIN, BTreeMap::new()),
        }
    }

    fn take(&mut self, view: &(impl Reader + ?Sized), touch: Touch) -> Result<(), ViewError> {
        if touch.to != self.me || touch.from == self.me {
            return Ok(());
        }
        if touch.kind == TouchKind::HandOut && self.conversion.hand_out == Some((touch.at, touch.from)) {
            return Ok(()); // the voucher's own, which counts anyway
        }
        if touch.entered.ms_since(self.conversion.entered) > CLOCK_AHEAD_MS_MAX {
            self.trail.late += 1;
        } else if self.conversion.at.ms_since(touch.at) > self.window_ms(touch.kind) {
            self.trail.stale += 1;
        } else if matches!(touch.kind, TouchKind::HandOut | TouchKind::Redemption) {
            self.count(touch); // each cost a voucher
        } else if self.is_duplicate(&touch) {
            self.trail.duplicate += 1;
        } else if self.is_hasty(view, &touch)? {
            self.trail.hasty += 1;
        } else {
            self.count(touch);
        }
        Ok(())
    }

    fn window_ms(&self, kind: TouchKind) -> i64 {
        let window_ms = kind.window_ms(self.rules);
        match self.conversion.hand_out {
            Some(_) => window_ms,
            None => window_ms.min(self.rules.purchase_window_ms),
        }
    }

    fn is_duplicate(&mut self, touch: &Touch) -> bool {
        let minute = touch.at.ms().div_euclid(MINUTE_MS);
        if self.minute.0 != minute {
            self.minute = (minute, BTreeSet::new());
        }
        !self.minute.1.insert((touch.from, touch.kind.number(), touch.channel.clone()))
    }

    fn is_hasty(&mut self, view: &(impl Reader + ?Sized), touch: &Touch) -> Result<bool, ViewError> {
        let hour = touch.at.ms().div_euclid(HOUR_MS);
        if self.hour.0 != hour {
            self.hour = (hour, BTreeMap::new());
        }
        let count = self.hour.1.entry(touch.from).or_default();
        *count += 1;
        if *count > self.rules.card_touches_per_hour_max {
            return Ok(true);
        }
        let burst: u64 = table::read(view, &table::burst(touch.from, ten_minutes(touch.at)))?.unwrap_or(0);
        Ok(burst > u64::from(self.rules.shop_touches_per_ten_minutes_max))
    }

    fn count(&mut self, touch: Touch) {
        let Touch { at, from, kind, channel, .. } = touch;
        self.trail.steps.push(Step { at, shop: from, kind, channel });
    }

    fn finish(mut self) -> Trail {
        if let Some((at, shop)) = self.conversion.hand_out.filter(|(_, shop)| *shop != self.me) {
            self.trail.steps.push(Step { at, shop, kind: TouchKind::HandOut, channel: String::new() });
        }
        self.trail.steps.sort();
        let excess = self.trail.steps.len().saturating_sub(PATH_TOUCHES_MAX);
        self.trail.steps.drain(..excess);
        self.trail
    }
}

/// Whom a redemption is credited to.
pub(crate) struct Credited {
    /// When the touch took place.
    pub(crate) touched: UnixMillis,
    /// Whose it was; the redeemer: nobody's.
    pub(crate) shop: ShopId,
    /// Where all shops of the path share the bounty: their touches, the oldest first.
    pub(crate) paid_touches: Vec<(UnixMillis, ShopId)>,
}

/// Whom a redemption is credited to, and since when: the model that pays picks among the touches that count and the
/// voucher's own hand-out, which stands for nobody where the redeemer itself handed it out. A redemption at another shop
/// shows where a customer has been; nobody sent anybody by it, so it pays nobody.
pub(crate) fn credited(trail: &Trail, hand_out: (UnixMillis, ShopId), model: PayingModel) -> Credited {
    let sent = trail.steps.iter().filter(|step| step.kind != TouchKind::Redemption);
    let steps: Vec<_> = sent.map(|step| (step.at, step.shop)).collect();
    let all = steps.iter().copied().chain([hand_out]);
    let paid_touches = match model.shared_by() {
        Some(_) => steps[steps.len().saturating_sub(PAID_TOUCHES_MAX)..].to_vec(),
        None => Vec::new(),
    };
    let (touched, shop) = match model {
        PayingModel::First => all.min(),
        PayingModel::Last => all.max(),
        PayingModel::Linear | PayingModel::Position | PayingModel::Decay(_) => steps.last().copied(),
    }
    .unwrap_or(hand_out);
    Credited { touched, shop, paid_touches }
}
