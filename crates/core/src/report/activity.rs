//! What happened in a span of time, by ally, promotion, channel or hour of the week.

use alloc::{collections::BTreeMap, string::String};

use hutong_record::{RecordId, ShopId, UnixMillis, day_start_ms};

use super::{
    span::{self, Promotions, Span},
    *,
};
use crate::{alliance::Alliance, evidence::Touch, voucher::Use};

const HOUR_MS: i64 = 3_600_000;

/// By what activity is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Whom allies sent here.
    Shop,
    /// What this shop handed out, redeemed, or is otherwise a party to.
    Promotion,
    /// By which channel customers came and went.
    Channel,
    /// When in the week, local time.
    Hour,
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActivityKey {
    /// An ally.
    Shop(ShopId),
    /// A promotion.
    Promotion(RecordId),
    /// A channel.
    Channel {
        /// Whose.
        from: ShopId,
        /// Where it sends customers.
        to: ShopId,
        /// Empty: none was named, or a hand-out.
        name: String,
    },
    /// An hour of the week.
    Hour {
        /// 0 is Monday.
        weekday: u8,
        /// 0 to 23.
        hour: u8,
    },
}

/// Counts and sums, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Scans, invitations and visits.
    pub touches: u64,
    /// Handed out.
    pub vouchers: u64,
    /// By right, not taken back.
    pub redemptions: u64,
    /// What was bought with them.
    pub purchases_minor: i128,
    /// What they took off.
    pub discounts_minor: i128,
    /// What is owed for them.
    pub bounties_minor: i128,
    /// Sales reported here.
    pub sales: u64,
    /// Their sum.
    pub sales_minor: i128,
}

/// The rows of a group that are not all zero, in the order of their keys.
pub fn activity(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    span: &Span,
    group: Group,
) -> Result<BTreeMap<ActivityKey, Activity>, ViewError> {
    let mut rows = Rows { alliance, group, rows: BTreeMap::new() };
    span::each_touch(view, span, |touch| rows.touch(&touch))?;
    span::each_use(view, span, |voucher, used| rows.used(view, voucher, used))?;
    match group {
        Group::Shop | Group::Promotion => rows.vouchers(view, span)?,
        Group::Hour => rows.sales(view, span)?,
        Group::Channel => {}
    }
    Ok(rows.rows)
}

struct Rows<'a> {
    alliance: &'a Alliance,
    group: Group,
    rows: BTreeMap<ActivityKey, Activity>,
}

impl Rows<'_> {
    fn row(&mut self, key: ActivityKey) -> &mut Activity {
        self.rows.entry(key).or_default()
    }

    fn hour(&self, at: UnixMillis) -> ActivityKey {
        let offset = self.alliance.charter().utc_offset_minutes;
        let day = at.day(offset);
        let hour = (at.ms() - day_start_ms(day, offset)) / HOUR_MS;
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7);
        ActivityKey::Hour {
            weekday: u8::try_from(weekday).unwrap_or(0),
            hour: u8::try_from(hour).unwrap_or(0),
        }
    }

    fn touch(&mut self, touch: &Touch) {
        let here = touch.to == self.alliance.me();
        let key = match self.group {
            Group::Shop if here => ActivityKey::Shop(touch.from),
            Group::Hour if here => self.hour(touch.at),
            Group::Channel => {
                ActivityKey::Channel { from: touch.from, to: touch.to, name: touch.channel.clone() }
            }
            _ => return,
        };
        self.row(key).touches += 1;
    }

    fn used(
        &mut self,
        view: &(impl Reader + ?Sized),
        voucher: &Voucher,
        used: &Use,
    ) -> Result<(), ViewError> {
        let me = self.alliance.me();
        let here = used.redeemer == me;
        let sent = used.credited != used.redeemer;
        let key = match self.group {
            Group::Shop if here && sent => ActivityKey::Shop(used.credited),
            Group::Promotion => ActivityKey::Promotion(voucher.token.body().key.promotion),
            Group::Hour if here => self.hour(used.at),
            Group::Channel if sent && (here || used.credited == me) => {
                let name = channel_of(view, used)?;
                ActivityKey::Channel { from: used.credited, to: used.redeemer, name }
            }
            _ => return Ok(()),
        };
        // What it cost where it was redeemed or paid for; what it earned where it was credited.
        let earned = !here && used.is_credited(me) && matches!(self.group, Group::Channel);
        let bounty = if earned { used.fee_of(me) } else { used.bounty };
        let row = self.row(key);
        row.redemptions += 1;
        row.purchases_minor += i128::from(used.purchase.minor());
        row.discounts_minor += i128::from(used.discount.minor());
        row.bounties_minor += i128::from(bounty.minor());
        Ok(())
    }

    fn vouchers(&mut self, view: &(impl Reader + ?Sized), span: &Span) -> Result<(), ViewError> {
        let mut promotions = Promotions::new(self.alliance.charter().currency);
        span::each_voucher(view, span, |voucher| {
            let body = voucher.token.body();
            let Some(promotion) = promotions.of(view, body.key.promotion)? else { return Ok(()) };
            let issuer = promotion.distributor(body.issuer).map(|distributor| distributor.shop);
            let me = self.alliance.me();
            let for_me = promotion.redeemers.get(usize::from(body.redeemer)) == Some(&me);
            let key = match (self.group, issuer) {
                (Group::Shop, Some(issuer)) if issuer != me && for_me => ActivityKey::Shop(issuer),
                (Group::Promotion, Some(issuer)) if issuer == me => ActivityKey::Promotion(promotion.id),
                _ => return Ok(()),
            };
            self.row(key).vouchers += 1;
            Ok(())
        })
    }

    fn sales(&mut self, view: &(impl Reader + ?Sized), span: &Span) -> Result<(), ViewError> {
        span::each_sale(view, span, |at, sale| {
            let key = self.hour(at);
            let row = self.row(key);
            row.sales += 1;
            row.sales_minor += i128::from(sale.minor);
            Ok(())
        })
    }
}

/// The channel of the touch that a redemption is credited for; empty: a hand-out, or a touch that is not on record here.
fn channel_of(view: &(impl Reader + ?Sized), used: &Use) -> Result<String, ViewError> {
    let Some(card) = used.card else { return Ok(String::new()) };
    let after = table::touches_from(card, used.touched);
    let found = table::collect_while(view, &table::touches(card), &after, |key, value| {
        let touch: Touch = table::decode(key, value)?;
        Ok((touch.at == used.touched).then_some(touch))
    })?;
    let fits = |touch: &Touch| touch.from == used.credited && touch.to == used.redeemer;
    Ok(found.into_iter().filter(fits).map(|touch| touch.channel).max().unwrap_or_default())
}
