//! kill -9 under load, again and again: what was acknowledged is there afterwards (LOG-2), what is asked again gets the
//! same answer, and no voucher is used twice (VOU-1).
//!
//! Two shops hand out vouchers for each other. In each round some tills sell, hand out and redeem at one of them until
//! it is killed, at a moment drawn from the seed. After its restart every request of the round is made again, so that
//! the books can be compared with what the tills know, to the unit.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::future::{join_all, try_join_all};
use hutong_client::{Client, Error, proto};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::Notify;

use crate::{
    harness::{Shop, Street, converged, soon},
    trade::{DISCOUNT_MINOR, EARN_MINOR, arrived, issue, publish, redemption, sale, terms, two_shops},
};

const STREETS: u64 = 3;
const ROUNDS: usize = 35;
const TILLS: usize = 6;
/// The kill comes at most so late. Tens of acknowledgements are some groups of the writer.
const ACKNOWLEDGED_MAX: usize = 40;
const TURNS_MAX: usize = 300;
/// Enough to be asking still when the kill comes.
const ASKS_PER_TILL: usize = 60;
const QUOTA: u32 = 100_000;

/// What a till asks.
#[derive(Debug, Clone)]
enum Ask {
    Sell(proto::ReportSaleRequest),
    Issue(proto::IssueVoucherRequest),
    Redeem(proto::RedeemVoucherRequest),
}

/// What it hears.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Sold(proto::ReportSaleResponse),
    Issued(Box<proto::IssueVoucherResponse>),
    Redeemed(Box<proto::RedeemVoucherResponse>),
    Refused(String),
}

impl Ask {
    /// One attempt; an error is a node that is gone.
    async fn make(&self, client: &Client) -> Result<Answer, Error> {
        let answer = match self.clone() {
            Self::Sell(request) => {
                client.sales().report_sale(request).await.map(|a| Answer::Sold(a.into_inner()))
            }
            Self::Issue(request) => client
                .vouchers()
                .issue_voucher(request)
                .await
                .map(|a| Answer::Issued(Box::new(a.into_inner()))),
            Self::Redeem(request) => {
                let answer = client.vouchers().redeem_voucher(request).await;
                answer.map(|a| Answer::Redeemed(Box::new(a.into_inner())))
            }
        };
        answer.or_else(|status| {
            let error = Error::from(status);
            error.reason().map(|reason| Answer::Refused(reason.to_owned())).ok_or(error)
        })
    }
}

/// What was asked, and the answer unless the kill came first.
type Asked = Vec<(Ask, Option<Answer>)>;

/// One shop, and what its tills know.
#[derive(Debug)]
struct Side {
    shop: Shop,
    /// The promotion that it hands out.
    promotion: String,
    /// QR texts that its customers have not shown yet.
    unused: Vec<String>,
    sales: u64,
    /// Ids of vouchers that it handed out.
    issued: BTreeSet<String>,
    /// Ids of vouchers that were used here.
    used: BTreeSet<String>,
}

/// The moment of the kill.
#[derive(Debug)]
struct Moment {
    /// Comes after so many acknowledgements,
    after: usize,
    /// and so many turns of the scheduler.
    turns: usize,
    acknowledged: AtomicUsize,
    reached: Notify,
}

impl Moment {
    fn draw(rng: &mut StdRng) -> Self {
        let (after, turns) = (rng.random_range(1..=ACKNOWLEDGED_MAX), rng.random_range(0..=TURNS_MAX));
        Self { after, turns, acknowledged: AtomicUsize::new(0), reached: Notify::new() }
    }

    fn acknowledge(&self) {
        if self.acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == self.after {
            self.reached.notify_one();
        }
    }

    async fn wait(&self) {
        soon("enough is acknowledged", self.reached.notified()).await;
        for _ in 0..self.turns {
            tokio::task::yield_now().await;
        }
    }
}

/// Asks one after the other until the node is gone.
async fn till(client: Client, asks: Vec<Ask>, moment: &Moment) -> Asked {
    let mut asked = Asked::new();
    for ask in asks {
        let answer = ask.make(&client).await.ok();
        let gone = answer.is_none();
        asked.push((ask, answer));
        if gone {
            break;
        }
        moment.acknowledge();
    }
    asked
}

impl Side {
    fn new(shop: Shop, promotion: String) -> Self {
        let (unused, issued, used) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { shop, promotion, unused, sales: 0, issued, used }
    }

    /// What each till will ask, mixed. Every voucher is shown at two tills at about the same time.
    fn asks(&mut self, rng: &mut StdRng) -> Vec<Vec<Ask>> {
        let mut tills: Vec<Vec<Ask>> = vec![Vec::new(); TILLS];
        for _ in 0..ASKS_PER_TILL {
            for at in 0..TILLS {
                match (rng.random_range(0..3), self.unused.pop()) {
                    (0, Some(code)) => {
                        tills[(at + 1) % TILLS].push(Ask::Redeem(redemption(&code)));
                        tills[at].push(Ask::Redeem(redemption(&code)));
                    }
                    (choice, kept) => {
                        self.unused.extend(kept);
                        let amount = if choice == 1 { EARN_MINOR } else { EARN_MINOR - 1 };
                        let hand_out = Ask::Issue(issue(&self.promotion));
                        tills[at].push(if choice == 2 { hand_out } else { Ask::Sell(sale(amount)) });
                    }
                }
            }
        }
        tills
    }

    /// Load, a kill in the midst of it, a restart, and all of the round asked again. Answers with the vouchers that
    /// were handed out.
    async fn round(&mut self, rng: &mut StdRng) -> Vec<proto::Voucher> {
        let (tills, moment) = (self.asks(rng), Moment::draw(rng));
        let client = self.shop.client().await;
        let load = join_all(tills.into_iter().map(|asks| till(client.clone(), asks, &moment)));
        let kill = async {
            moment.wait().await;
            self.shop.kill().await;
        };
        let (asked, ()) = tokio::join!(load, kill);
        self.shop.serve().await;

        let asked: Asked = asked.into_iter().flatten().collect();
        let client = self.shop.client().await;
        let answers = try_join_all(asked.iter().map(|(ask, _)| ask.make(&client))).await.expect("it is back");
        let mut handed_out = Vec::new();
        for ((ask, before), after) in asked.iter().zip(answers) {
            if let Some(before) = before {
                assert_eq!(*before, after, "another answer to {ask:?}");
            }
            match after {
                Answer::Sold(sold) => {
                    self.sales += 1;
                    handed_out.extend(sold.vouchers);
                }
                Answer::Issued(issued) => handed_out.extend(issued.voucher),
                Answer::Redeemed(redeemed) => {
                    let voucher = redeemed.voucher.expect("a voucher");
                    assert!(self.used.insert(voucher.id), "used twice: {ask:?}");
                }
                Answer::Refused(reason) => assert_eq!(reason, "VOUCHER_ALREADY_REDEEMED", "{ask:?}"),
            }
        }
        for voucher in &handed_out {
            assert!(self.issued.insert(voucher.id.clone()), "two vouchers with the id {}", voucher.id);
        }
        self.check_books().await;
        handed_out
    }

    /// The node's books are what the tills know, to the unit.
    async fn check_books(&self) {
        let summary = self.shop.summary().await;
        assert_eq!(summary.sales, self.sales);
        assert_eq!(summary.vouchers_issued, self.issued.len() as u64);
        assert_eq!(summary.redemptions, self.used.len() as u64);
        assert_eq!(summary.discounts.unwrap().minor, DISCOUNT_MINOR * self.used.len() as i64);
        assert_eq!(summary.double_redemptions, 0);
    }

    /// Every voucher is listed, and as used exactly where a till was told so.
    async fn check_vouchers(&self, other: &Self) {
        let listed = self.shop.client().await.all_vouchers("").await.unwrap();
        let redeemed = listed.iter().filter(|voucher| voucher.state() == proto::VoucherState::Redeemed);
        let redeemed: BTreeSet<_> = redeemed.map(|voucher| voucher.id.clone()).collect();
        assert_eq!(redeemed, self.used.union(&other.used).cloned().collect());
        let listed: BTreeSet<_> = listed.into_iter().map(|voucher| voucher.id).collect();
        assert_eq!(listed, self.issued.union(&other.issued).cloned().collect());
        assert_eq!(self.shop.summary().await.vouchers_used, other.used.len() as u64);
    }
}

async fn street(seed: u64) {
    println!("street {seed}: {ROUNDS} rounds");
    let mut rng = StdRng::seed_from_u64(seed);
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, QUOTA).await;
    let back = publish(&baozi, terms(&teahouse, &baozi, QUOTA)).await;
    arrived(&teahouse, &back).await;
    let (mut one, mut other) = (Side::new(baozi, promotion), Side::new(teahouse, back));
    for round in 0..ROUNDS {
        let handed_out = one.round(&mut rng).await;
        other.unused.extend(handed_out.into_iter().map(|voucher| voucher.qr_text));
        println!("street {seed}, round {round}: {} issued, {} used", one.issued.len(), one.used.len());
        std::mem::swap(&mut one, &mut other);
    }
    converged(&[&one.shop, &other.shop]).await;
    one.check_vouchers(&other).await;
    other.check_vouchers(&one).await;
    assert!(!one.used.is_empty() && !other.used.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_hundred_kills_and_nothing_is_used_twice() {
    join_all((1..=STREETS).map(street)).await;
}
