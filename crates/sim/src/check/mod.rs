//! What must hold, checked from outside: by what tills were told, what nodes made durable, and what their views say.
//! One module an invariant; the ids are the design's.
//!
//! REQ-1 (a repeat is told what the first was told) and LIVE-1 (when all is calm, everything is answered and trade
//! goes on) are the simulator's own names for two promises that the design makes without one.

pub(crate) mod aut1;
mod con1;
mod con2;
pub(crate) mod lease;
mod live1;
mod log1;
mod log2;
pub(crate) mod mon1;
mod req1;
mod risk;
mod vou1;
mod vou2;

use std::{collections::BTreeSet, fmt};

use hutong_core::{
    answer::Answer,
    promotion::Mode,
    refusal::Refusal,
    voucher::{Token, VoucherKey},
};
use hutong_record::{Record, RecordId};
use serde::Serialize;

use crate::{
    action::Action,
    node::{RequestNumber, ShopNumber},
    offers::Offer,
    tills::Request,
    workload::Purpose,
    world::World,
};

/// Which promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Invariant {
    /// A voucher is redeemed at most once.
    #[serde(rename = "VOU-1")]
    Vou1,
    /// No quota or limit is passed.
    #[serde(rename = "VOU-2")]
    Vou2,
    /// No two records with one sequence number.
    #[serde(rename = "LOG-1")]
    Log1,
    /// What was acknowledged, sent or published is durable.
    #[serde(rename = "LOG-2")]
    Log2,
    /// The same records give the same state.
    #[serde(rename = "CON-1")]
    Con1,
    /// Honest nodes end with the same records.
    #[serde(rename = "CON-2")]
    Con2,
    /// A record counts only if its author was entitled.
    #[serde(rename = "AUT-1")]
    Aut1,
    /// Balances are what was traded, and the same seen from both sides.
    #[serde(rename = "MON-1")]
    Mon1,
    /// A repeat is told what the first was told.
    #[serde(rename = "REQ-1")]
    Req1,
    /// When all is calm, everything is answered and trade goes on.
    #[serde(rename = "LIVE-1")]
    Live1,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vou1 => "VOU-1",
            Self::Vou2 => "VOU-2",
            Self::Log1 => "LOG-1",
            Self::Log2 => "LOG-2",
            Self::Con1 => "CON-1",
            Self::Con2 => "CON-2",
            Self::Aut1 => "AUT-1",
            Self::Mon1 => "MON-1",
            Self::Req1 => "REQ-1",
            Self::Live1 => "LIVE-1",
        })
    }
}

/// How it broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise.
    pub invariant: Invariant,
    /// What was found.
    pub what: String,
    /// When, milliseconds after the street opened.
    pub at_ms: i64,
    /// After how many events.
    pub event: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, what, at_ms, event } = self;
        write!(f, "{invariant} broke after {event} events, {at_ms} ms: {what}")
    }
}

/// The outcome of one check.
pub(crate) type Checked = Result<(), (Invariant, String)>;

/// Redemptions by right, by the mode of their promotions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ByMode {
    pub(crate) designated: u64,
    pub(crate) leased: u64,
    pub(crate) confirmed: u64,
}

/// What the observers remember.
pub(crate) struct Checks {
    pub(crate) vou1: vou1::Uses,
    pub(crate) vou2: vou2::HandedOut,
    pub(crate) log1: log1::Signed,
    pub(crate) aut1: aut1::Forbidden,
    pub(crate) mon1: mon1::Books,
    pub(crate) risk: risk::Risks,
    pub(crate) lease: lease::Moves,
    pub(crate) modes: ByMode,
    /// Vouchers with which a cheat dealt double, or two copies of a shop may have.
    pub(crate) crooked: BTreeSet<VoucherKey>,
    /// Numbers that a cheat moved on after it had handed them out: promotion, distributor, number.
    pub(crate) crooked_numbers: BTreeSet<(RecordId, u8, u32)>,
    /// Rights that a cheat passed on twice.
    pub(crate) passed_twice: Vec<(VoucherKey, ShopNumber)>,
    /// Vouchers that somebody asked to pass on, to revoke or to keep free.
    pub(crate) touched: BTreeSet<VoucherKey>,
    /// Second uses that cheats wrote.
    pub(crate) second_uses: Vec<(Record, VoucherKey)>,
    /// Vouchers shown at tills.
    pub(crate) presented: u64,
    /// Repeats that were compared with the first answer.
    pub(crate) repeats: u64,
    /// Nodes whose digests were compared.
    pub(crate) compared: u64,
    /// Refusals told to tills.
    pub(crate) refused: u64,
}

impl Checks {
    pub(crate) fn new(shops: usize) -> Self {
        Self {
            vou1: vou1::Uses::default(),
            vou2: vou2::HandedOut::default(),
            log1: log1::Signed::new(shops),
            aut1: aut1::Forbidden::default(),
            mon1: mon1::Books::default(),
            risk: risk::Risks::default(),
            lease: lease::Moves::default(),
            modes: ByMode::default(),
            crooked: BTreeSet::new(),
            crooked_numbers: BTreeSet::new(),
            passed_twice: Vec::new(),
            touched: BTreeSet::new(),
            second_uses: Vec::new(),
            presented: 0,
            repeats: 0,
            compared: 0,
            refused: 0,
        }
    }

    /// A request reaches a running node of a shop.
    pub(crate) fn asked(&mut self, request: &Request, honest: bool) {
        if let (Action::Void { redemption, returned_minor: None }, true) = (&request.action, honest) {
            self.vou1.maybe_voided(*redemption);
        }
    }

    /// A till is told something, perhaps again.
    pub(crate) fn repeat(&mut self, request: &Request, told: &Result<Answer, Refusal>) -> Checked {
        if request.told.is_some() {
            self.repeats += 1;
        }
        req1::check(request, told)
    }
}

impl World {
    /// An honest shop's till is told something, perhaps for the second time.
    pub(crate) fn observe_answer(&mut self, number: RequestNumber, told: &Result<Answer, Refusal>) {
        let Request { shop, purpose, .. } = &self.requests[number];
        let (shop, purpose) = (*shop, purpose.clone());
        let outcome = match told {
            Ok(Answer::Redeemed { .. }) => self.observe_use(shop, &purpose, told),
            Ok(Answer::HandedOut { tokens, .. }) => {
                tokens.iter().try_for_each(|token| self.observe_hand_out(shop, token))
            }
            Ok(Answer::Voided { discount, .. }) => {
                match purpose {
                    Purpose::Void { redemption, .. } => self.checks.mon1.voided(redemption),
                    Purpose::VoidPart { redemption } => {
                        self.checks.mon1.lowered(redemption, discount.minor());
                    }
                    _ => {}
                }
                Ok(())
            }
            Ok(Answer::Moved { count }) => {
                if let Purpose::Supply { offer, to } = purpose {
                    let supplied = lease::Supplied { offer, from: shop, to, count: *count };
                    self.checks.lease.moved(number, supplied);
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(_) => {
                self.checks.refused += 1;
                Ok(())
            }
        };
        self.expect(outcome);
        if let Purpose::Otherwise { earlier } = purpose {
            let outcome = req1::check_other_body(&self.requests[earlier], told);
            self.expect(outcome);
        }
    }

    fn observe_use(&mut self, shop: usize, purpose: &Purpose, told: &Result<Answer, Refusal>) -> Checked {
        let Ok(Answer::Redeemed { redemption, token, discount, credited, bounty, at_risk, .. }) = told else {
            return Ok(());
        };
        let key = token.body().key;
        let offer = self.offers.iter().find(|offer| offer.id == Some(key.promotion));
        let Some(offer) = offer.cloned() else {
            return Err((Invariant::Aut1, format!("{key:?} of no promotion was redeemed")));
        };
        aut1::check_use(shop, &offer, purpose)?;
        vou2::check_use(&offer, token)?;
        let booked = mon1::Booked {
            funder: self.shops[offer.funder].id(),
            redeemer: self.shops[shop].id(),
            credited: *credited,
            discount_minor: discount.minor(),
            bounty_minor: bounty.minor(),
        };
        if *at_risk {
            let accepted = risk::Accepted { voucher: key, shop, booked };
            return self.accept_risk(*redemption, accepted, &offer);
        }
        if !self.checks.mon1.booked(*redemption, booked) {
            return Ok(()); // told again
        }
        let modes = &mut self.checks.modes;
        match offer.mode {
            Mode::Designated => modes.designated += 1,
            Mode::Leased => modes.leased += 1,
            Mode::Anywhere => modes.confirmed += 1,
        }
        let dealt_double = self.is_dealt_double(&key);
        if self.may_copies_pass_on(&offer, token) {
            self.checks.crooked.insert(key);
        }
        let crooked = self.checks.crooked.contains(&key) || dealt_double;
        let most = if crooked { u32::MAX } else { offer.uses() };
        self.checks.vou1.redeemed(key, *redemption, shop, most)?;
        if dealt_double { Ok(()) } else { self.checks.vou2.used(key) }
    }

    /// Whether a cheat has moved a voucher's number on after it had handed it out.
    pub(super) fn is_dealt_double(&self, key: &VoucherKey) -> bool {
        self.checks.crooked_numbers.contains(&(key.promotion, key.distributor, key.number))
    }

    /// Whether a voucher's home, which passes the right on when it is asked to, runs in two copies: while they cannot hear of
    /// each other, each may pass it on.
    fn may_copies_pass_on(&self, offer: &Offer, token: &Token) -> bool {
        let home = offer.distributors.get(usize::from(token.body().issuer));
        offer.mode == Mode::Anywhere && home.is_some_and(|shop| self.shops[*shop].nodes.len() > 1)
    }

    fn observe_hand_out(&mut self, shop: usize, token: &Token) -> Checked {
        let promotion = token.body().key.promotion;
        let Some(offer) = self.offers.iter().find(|offer| offer.id == Some(promotion)) else { return Ok(()) };
        let dealt_double = self.is_dealt_double(&token.body().key);
        let checks = &mut self.checks;
        checks.vou2.handed_out(shop, offer, token, &checks.vou1, dealt_double)
    }

    /// The slow checks, at intervals and at the end.
    pub(crate) fn slow_checks(&mut self) {
        self.check_same_state();
        self.check_forbidden();
        self.check_mirrored_balances();
    }

    /// The checks that hold once everything is calm and has come to rest.
    pub(crate) fn final_checks(&mut self) {
        self.check_everything_answered();
        self.check_same_records();
        self.check_healed();
        self.slow_checks();
        self.check_forbidden_anywhere();
        self.check_folded_anew();
        let verdicts = self.all_verdicts();
        self.check_risks(&verdicts);
        self.check_proofs(&verdicts);
        self.check_leases();
        self.check_no_duties();
        self.check_books();
    }
}
