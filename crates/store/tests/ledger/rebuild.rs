//! Views are lost, processes die, power fails: what was acknowledged stays, with the same answers.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use hutong_core::{
    answer::Answer,
    command::Command,
    refusal::{Reason, Refusal},
    view::{Batch, Reader, ViewError},
};
use hutong_store::{
    journal::{Lsn, SegmentJournal},
    ledger::{Ledger, Seat},
    views::{MemViews, Views},
};

use crate::{
    street::{CONFIG, DAY_MS, Street},
    till::{card, yuan},
};

/// At which shop, what was asked, and what the till was told.
type Asked = (usize, Command, Result<Option<Answer>, Refusal>);

/// A street that has traded, and what its tills were told.
fn traded() -> (Street, Vec<Asked>) {
    let mut street = Street::new(20, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let mut told = Vec::new();
    let mut ask = |street: &mut Street, shop: usize, command: Command| {
        let answer = street.run(shop, &command).map(|executed| executed.answer);
        told.push((shop, command, answer.clone()));
        answer
    };
    for n in 0..4 {
        let sale = street.sale(yuan(30), Some(card(n)));
        let Ok(Some(Answer::HandedOut { tokens, .. })) = ask(&mut street, 1, sale) else { panic!("a sale") };
        let redemption = street.redemption(&tokens[0].qr_text(), yuan(40), Some(card(n % 3)));
        let _refused_for_the_last_card = ask(&mut street, 2, redemption);
        let again = street.redemption(&tokens[0].qr_text(), yuan(40), Some(card(n)));
        let _refused_for_most = ask(&mut street, 2, again);
        let unknown = street.redemption("nonsense", yuan(40), None);
        assert_eq!(ask(&mut street, 2, unknown).unwrap_err().reason, Reason::VoucherUnknown);
    }
    street.meet();
    (street, told)
}

fn check_answers(street: &mut Street, told: &[Asked]) {
    for (shop, command, answer) in told {
        street.ask_all(*shop); // after a torn tail, that begins an incarnation
        let head = street.shops[*shop].ledger.head(street.id(*shop));
        assert_eq!(&street.run(*shop, command).map(|executed| executed.answer), answer);
        assert_eq!(street.shops[*shop].ledger.head(street.id(*shop)), head, "nothing is written again");
    }
}

#[test]
fn a_request_is_answered_alike_for_the_vouchers_whole_life() {
    let (mut street, told) = traded();
    street.pass(400 * DAY_MS);
    check_answers(&mut street, &told);
}

#[test]
fn lost_views_are_folded_anew_to_the_same_state_and_answers() {
    let (mut street, told) = traded();
    for index in 0..3 {
        let before = street.shops[index].state();
        street.shops[index].reopen(Arc::new(MemViews::new()));
        assert_eq!(street.shops[index].state(), before);
        street.shops[index].ledger.views().reset().unwrap();
        let emptied = street.shops[index].ledger.views();
        street.shops[index].reopen(emptied);
        assert_eq!(street.shops[index].state(), before);
    }
    check_answers(&mut street, &told);
    street.check_agreement("folded anew");
}

#[test]
fn a_power_cut_takes_what_was_not_committed_and_nothing_else() {
    let (mut street, told) = traded();
    let before = street.shops[1].state();
    let sale = street.sale(yuan(30), None);
    let now = street.now;
    let shop = &mut street.shops[1];
    let staged = shop.ledger.execute(&sale, now, &mut street.rng).unwrap();
    assert_eq!((staged.records.len(), shop.ledger.staged_count()), (2, 2));
    shop.disk.power_cut(&mut street.rng);
    shop.reopen(Arc::new(MemViews::new()));
    assert_eq!(shop.state(), before, "never acknowledged, so never there");
    check_answers(&mut street, &told);
    let again = street.run(1, &sale).unwrap();
    assert_eq!(again.records.len(), 2, "asked again, it is carried out");
}

#[test]
fn a_commit_that_fails_acknowledges_nothing_and_loses_nothing() {
    for seed in 0..20 {
        let (mut street, told) = traded();
        street.rng = rand::SeedableRng::seed_from_u64(seed);
        let sale = street.sale(yuan(30), None);
        let now = street.now;
        let shop = &mut street.shops[1];
        let before = shop.state();
        shop.disk.fail_syncs(1);
        shop.ledger.execute(&sale, now, &mut street.rng).unwrap();
        shop.ledger.commit().unwrap_err();
        shop.ledger.execute(&sale, now, &mut street.rng).unwrap();
        shop.ledger.commit().unwrap_err();
        let views = shop.ledger.views();
        shop.disk.power_cut(&mut street.rng);
        shop.reopen(views);
        let sales = shop.state().summary.sales;
        assert!((before.summary.sales..=before.summary.sales + 1).contains(&sales), "seed {seed}");
        check_answers(&mut street, &told);
        street.run(1, &sale).unwrap();
        assert_eq!(street.shops[1].state().summary.sales, before.summary.sales + 1, "once, seed {seed}");
        street.meet();
        street.check_agreement("after the power cut");
    }
}

/// Views of a process that dies: after so many batches nothing is stored any more.
struct Dying {
    stored: Arc<MemViews>,
    batches_left: AtomicU32,
}

impl Dying {
    fn live(&self) -> Result<(), ViewError> {
        match self.batches_left.load(Ordering::Relaxed) {
            0 => Err(ViewError::Io("the process died".into())),
            _ => Ok(()),
        }
    }
}

impl Reader for Dying {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        self.stored.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        self.stored.scan(prefix, after, visit)
    }
}

impl Views for Dying {
    fn apply(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
        self.live()?;
        self.batches_left.fetch_sub(1, Ordering::Relaxed);
        self.stored.apply(batch, position)
    }

    fn position(&self) -> Result<Lsn, ViewError> {
        self.stored.position()
    }

    fn reset(&self) -> Result<(), ViewError> {
        self.live()?;
        self.stored.reset()
    }

    fn flush(&self) -> Result<(), ViewError> {
        Ok(())
    }

    fn bytes_on_disk(&self) -> Result<u64, ViewError> {
        Ok(0)
    }
}

#[test]
fn a_log_that_was_set_going_goes_on_after_the_process_died_in_between() {
    let (street, _) = Street::with_a_redemption(21);
    let mut fresh = street.fresh(1);
    for author in [0, 1, 2] {
        fresh.take(&street.shops[author].log(street.id(author), 0), street.now).unwrap();
    }
    // The promotion sets two logs going; the process dies after the promotion's own batch.
    let stored = fresh.ledger.views();
    let dying = Arc::new(Dying { stored: stored.clone(), batches_left: AtomicU32::new(u32::MAX) });
    let journal = || Box::new(SegmentJournal::open(fresh.disk.clone(), CONFIG).unwrap());
    let (id, keys) = (fresh.id(), fresh.keys.clone());
    let mut ledger =
        Ledger::open(street.charter.clone(), id, keys, Seat::Kept, journal(), dying.clone(), &mut |_, _| {})
            .unwrap();
    dying.batches_left.store(1, Ordering::Relaxed);
    let run = street.shops[3].log(street.id(3), 0);
    ledger.ingest(run.iter().map(|r| r.to_message()).collect(), street.now).unwrap().unwrap();
    ledger.commit().unwrap_err();
    drop(ledger);
    fresh.reopen(stored);
    assert_eq!(fresh.state(), street.shops[1].state());
}
