use proptest::prelude::*;

use super::*;

fn debt(debtor: u32, creditor: u32, minor: i64) -> Debt<u32> {
    Debt { debtor, creditor, minor }
}

/// By shop: what it is owed less what it owes.
fn positions(debts: &[Debt<u32>]) -> BTreeMap<u32, i64> {
    let mut positions = BTreeMap::new();
    for debt in debts {
        *positions.entry(debt.debtor).or_default() -= debt.minor;
        *positions.entry(debt.creditor).or_default() += debt.minor;
    }
    positions.retain(|_, position| *position != 0);
    positions
}

/// The most that cancels, by trying every reduction of every debt.
fn most_by_trying(debts: &[Debt<u32>]) -> i64 {
    fn rest(debts: &[Debt<u32>], balance: &mut BTreeMap<u32, i64>, so_far: i64) -> i64 {
        let Some((first, others)) = debts.split_first() else {
            return if balance.values().all(|balance| *balance == 0) { so_far } else { 0 };
        };
        let mut most = 0;
        for off in 0..=first.minor {
            *balance.entry(first.debtor).or_default() += off;
            *balance.entry(first.creditor).or_default() -= off;
            most = most.max(rest(others, balance, so_far + off));
            *balance.entry(first.debtor).or_default() -= off;
            *balance.entry(first.creditor).or_default() += off;
        }
        most
    }
    rest(debts, &mut BTreeMap::new(), 0)
}

fn line(creditor: u32, debtor: u32, limit_minor: i64) -> CreditLine<u32> {
    CreditLine { creditor, debtor, limit_minor }
}

/// The most that cancels less what is drawn, and the least drawn for it, by trying everything.
fn best_by_trying(debts: &[Debt<u32>], lines: &[CreditLine<u32>]) -> (i64, i64) {
    type Step = (u32, u32, i64, i64);
    fn rest(steps: &[Step], balance: &mut BTreeMap<u32, i64>, (gain, drawn): (i64, i64)) -> (i64, i64) {
        let Some((&(from, to, most, worth), others)) = steps.split_first() else {
            // Less drawn is better, where as much is gained.
            return if balance.values().all(|balance| *balance == 0) { (gain, -drawn) } else { (0, 0) };
        };
        let mut best = (0, 0);
        for units in 0..=most {
            *balance.entry(from).or_default() += units * worth;
            *balance.entry(to).or_default() -= units * worth;
            let so_far = (gain + units * worth, if worth < 0 { drawn + units } else { drawn });
            best = best.max(rest(others, balance, so_far));
            *balance.entry(from).or_default() -= units * worth;
            *balance.entry(to).or_default() += units * worth;
        }
        best
    }
    let debts = debts.iter().map(|debt| (debt.debtor, debt.creditor, debt.minor, 1));
    let lines = lines.iter().map(|line| (line.debtor, line.creditor, line.limit_minor, -1));
    let (gain, drawn) = rest(&debts.chain(lines).collect::<Vec<_>>(), &mut BTreeMap::new(), (0, 0));
    (gain, -drawn)
}

#[test]
fn a_circle_cancels_down_to_its_smallest_debt() {
    let netting = net(&[debt(1, 2, 500), debt(2, 3, 300), debt(3, 1, 700)]).unwrap();
    assert_eq!((netting.total, netting.cleared, netting.remainder), (1_500, 900, 600));
    assert_eq!(netting.obligations, [debt(1, 2, 200), debt(3, 1, 400)]);
}

#[test]
fn of_overlapping_circles_the_larger_sum_wins() {
    // The debt from 1 to 2 lies on a circle of two and on one of four, and is enough for one of them alone.
    let debts = [debt(1, 2, 10), debt(2, 1, 10), debt(2, 3, 10), debt(3, 4, 10), debt(4, 1, 10)];
    let netting = net(&debts).unwrap();
    assert_eq!(netting.cleared, 40);
    assert_eq!(netting.obligations, [debt(2, 1, 10)]);
}

#[test]
fn debts_that_form_no_circle_stay() {
    let debts = [debt(1, 2, 5), debt(2, 3, 5), debt(1, 3, 5)];
    let netting = net(&debts).unwrap();
    assert_eq!((netting.cleared, netting.obligations.as_slice()), (0, &debts[..]));
    let nothing =
        Netting { total: 0, cleared: 0, remainder: 0, obligations: vec![], drawn: 0, new_debts: vec![] };
    assert_eq!(net::<u32>(&[]).unwrap(), nothing);
}

#[test]
fn debts_of_one_pair_are_cleared_in_the_order_given() {
    let debts = [debt(1, 2, 30), debt(2, 1, 45), debt(1, 2, 30)];
    assert_eq!(net(&debts).unwrap().obligations, [debt(1, 2, 15)]);
    let debts = [debt(1, 2, 30), debt(1, 2, 30), debt(2, 1, 15)];
    assert_eq!(net(&debts).unwrap().obligations, [debt(1, 2, 15), debt(1, 2, 30)]);
}

#[test]
fn bad_debts_are_refused_by_number() {
    let second = |bad| net(&[debt(1, 2, 1), bad]).unwrap_err();
    assert_eq!(second(debt(1, 2, 0)), NettingError::NotPositive { debt: 1, minor: 0 });
    assert_eq!(second(debt(1, 2, -5)), NettingError::NotPositive { debt: 1, minor: -5 });
    let minor = MINOR_MAX + 1;
    assert_eq!(second(debt(1, 2, minor)), NettingError::TooLarge { debt: 1, minor });
    assert_eq!(second(debt(3, 3, 1)), NettingError::OwesItself { debt: 1 });
    let most = vec![debt(1, 2, MINOR_MAX); 9_224];
    assert_eq!(net(&most), Err(NettingError::Overflow));
    assert_eq!(net(&most[1..]).unwrap().remainder, 9_223 * MINOR_MAX);
    let shops: Vec<_> = (0..2_048).map(|shop| debt(shop, shop + 1, 1)).collect();
    assert_eq!(net(&shops), Err(NettingError::TooManyShops));
    assert_eq!(net(&shops[1..]).unwrap().remainder, 2_047);
}

#[test]
fn what_is_wrong_with_a_result_is_named() {
    let debts = [debt(1, 2, 500), debt(2, 3, 300), debt(3, 1, 700)];
    let right = net(&debts).unwrap();
    assert_eq!(verify(&debts, &right), Ok(()));
    let wrong = |change: fn(&mut Netting<u32>)| {
        let mut netting = right.clone();
        change(&mut netting);
        verify(&debts, &netting).unwrap_err()
    };
    assert_eq!(wrong(|n| n.obligations[0].minor = 501), Discrepancy::MoreThanOwed { obligation: 0 });
    assert_eq!(wrong(|n| n.obligations.push(debt(2, 1, 1))), Discrepancy::MoreThanOwed { obligation: 2 });
    assert_eq!(wrong(|n| n.obligations.push(debt(8, 9, 1))), Discrepancy::MoreThanOwed { obligation: 2 });
    assert_eq!(wrong(|n| n.obligations[0].minor -= 1), Discrepancy::NetPosition);
    assert_eq!(wrong(|n| n.obligations.clear()), Discrepancy::NetPosition);
    assert_eq!(wrong(|n| n.cleared += 1), Discrepancy::Sums);
    assert_eq!(wrong(|n| n.total += 1), Discrepancy::Sums);
    assert_eq!(wrong(|n| n.remainder += 1), Discrepancy::Sums);
    let nothing_done = |n: &mut Netting<u32>| {
        *n = Netting {
            total: 1_500,
            cleared: 0,
            remainder: 1_500,
            obligations: vec![debt(1, 2, 500), debt(2, 3, 300), debt(3, 1, 700)],
            drawn: 0,
            new_debts: vec![],
        };
    };
    assert_eq!(wrong(nothing_done), Discrepancy::NotMaximal);
    let refused = NettingError::NotPositive { debt: 0, minor: 0 };
    assert_eq!(wrong(|n| n.obligations[0].minor = 0), Discrepancy::Obligations(refused));
    assert_eq!(verify(&[debt(1, 2, 0)], &right), Err(Discrepancy::Debts(refused)));
}

#[test]
fn a_line_takes_the_shop_between_out() {
    let chain = [debt(1, 2, 10), debt(2, 3, 10)];
    let netting = net_with_lines(&chain, &[line(3, 1, 10)]).unwrap();
    assert_eq!((netting.total, netting.cleared, netting.remainder, netting.drawn), (20, 20, 0, 10));
    assert_eq!((netting.obligations, netting.new_debts), (vec![], vec![debt(1, 3, 10)]));
    let netting = net_with_lines(&chain, &[line(3, 1, 4)]).unwrap();
    assert_eq!((netting.cleared, netting.drawn), (8, 4), "no more than the limit");
    assert_eq!(netting.obligations, [debt(1, 2, 6), debt(2, 3, 6)]);
    assert_eq!(netting.new_debts, [debt(1, 3, 4)]);
    assert_eq!(net_with_lines(&chain, &[line(1, 3, 10)]).unwrap().cleared, 0, "a line has a direction");
}

#[test]
fn no_line_is_drawn_on_where_a_circle_of_debts_does() {
    let circle = [debt(1, 2, 10), debt(2, 3, 10), debt(3, 1, 10)];
    let every: Vec<_> =
        (1..4).flat_map(|c| (1..4).filter(move |d| *d != c).map(move |d| line(c, d, 50))).collect();
    let netting = net_with_lines(&circle, &every).unwrap();
    assert_eq!((netting.cleared, netting.drawn, netting.new_debts), (30, 0, vec![]));
    // A debt cleared by a new one of the same shops gains nothing.
    let netting = net_with_lines(&[debt(1, 2, 10)], &[line(2, 1, 10), line(1, 2, 10)]).unwrap();
    assert_eq!((netting.cleared, netting.drawn), (0, 0));
    // Two ways gain twenty: a circle of debts clears twenty, a chain with a line clears thirty and draws ten.
    let debts = [debt(1, 2, 10), debt(2, 1, 10), debt(2, 3, 10), debt(3, 4, 10)];
    let netting = net_with_lines(&debts, &[line(4, 1, 10)]).unwrap();
    assert_eq!((netting.cleared, netting.drawn), (20, 0));
    assert_eq!(netting.obligations, [debt(2, 3, 10), debt(3, 4, 10)]);
}

#[test]
fn bad_lines_are_refused_by_number() {
    let second = |bad| net_with_lines(&[debt(1, 2, 1)], &[line(1, 2, 1), bad]).unwrap_err();
    assert_eq!(second(line(2, 1, 0)), NettingError::LimitNotPositive { line: 1, minor: 0 });
    let minor = MINOR_MAX + 1;
    assert_eq!(second(line(2, 1, minor)), NettingError::LimitTooLarge { line: 1, minor });
    assert_eq!(second(line(3, 3, 5)), NettingError::LineToItself { line: 1 });
    assert_eq!(second(line(1, 2, 5)), NettingError::LineTwice { line: 1 });
    let many = vec![line(1, 2, 1); LINES_MAX + 1];
    assert_eq!(net_with_lines::<u32>(&[], &many), Err(NettingError::TooManyLines));
    let shops: Vec<_> = (0..2_048).map(|shop| line(shop, shop + 1, 1)).collect();
    assert_eq!(net_with_lines(&[], &shops), Err(NettingError::TooManyShops));
}

#[test]
fn what_is_wrong_with_a_result_by_lines_is_named() {
    let (debts, lines) = ([debt(1, 2, 500), debt(2, 3, 300)], [line(3, 1, 200)]);
    let right = net_with_lines(&debts, &lines).unwrap();
    assert_eq!(right.new_debts, [debt(1, 3, 200)]);
    assert_eq!(verify_with_lines(&debts, &lines, &right), Ok(()));
    assert_eq!(verify(&debts, &right), Err(Discrepancy::MoreThanLine { new_debt: 0 }), "no such line");
    let wrong = |change: fn(&mut Netting<u32>)| {
        let mut netting = right.clone();
        change(&mut netting);
        verify_with_lines(&debts, &lines, &netting).unwrap_err()
    };
    assert_eq!(wrong(|n| n.new_debts[0].minor = 201), Discrepancy::MoreThanLine { new_debt: 0 });
    assert_eq!(wrong(|n| n.new_debts.push(debt(1, 3, 1))), Discrepancy::MoreThanLine { new_debt: 1 });
    assert_eq!(wrong(|n| n.new_debts.push(debt(3, 1, 1))), Discrepancy::MoreThanLine { new_debt: 1 });
    assert_eq!(wrong(|n| n.new_debts[0].minor = 199), Discrepancy::NetPosition);
    assert_eq!(wrong(|n| n.drawn = 0), Discrepancy::Sums);
    let negative = NettingError::NotPositive { debt: 0, minor: -1 };
    assert_eq!(wrong(|n| n.new_debts[0].minor = -1), Discrepancy::NewDebts(negative));
    let unused = |n: &mut Netting<u32>| {
        *n = Netting {
            cleared: 0,
            remainder: 800,
            obligations: vec![debt(1, 2, 500), debt(2, 3, 300)],
            drawn: 0,
            new_debts: vec![],
            ..n.clone()
        };
    };
    assert_eq!(wrong(unused), Discrepancy::NotMaximal);
    let refused = NettingError::LineTwice { line: 1 };
    let twice = [lines[0].clone(), lines[0].clone()];
    assert_eq!(verify_with_lines(&debts, &twice, &right), Err(Discrepancy::Debts(refused)));
    // A debt turned into a new one between the same shops.
    let (debts, lines) = ([debt(1, 2, 5)], [line(2, 1, 5)]);
    let needless = Netting {
        total: 5,
        cleared: 5,
        remainder: 0,
        obligations: vec![],
        drawn: 5,
        new_debts: vec![debt(1, 2, 5)],
    };
    assert_eq!(verify_with_lines(&debts, &lines, &needless), Err(Discrepancy::NeedlessLine));
}

fn lines(shops: u32, limit_max: i64, count_max: usize) -> impl Strategy<Value = Vec<CreditLine<u32>>> {
    let one = ((0..shops, 1..shops), 1..=limit_max);
    let many = prop::collection::btree_map(one.0, one.1, 0..=count_max);
    many.prop_map(move |lines| {
        let line = |((creditor, further), limit)| line(creditor, (creditor + further) % shops, limit);
        lines.into_iter().map(line).collect()
    })
}

fn debts(shops: u32, minor_max: i64, count_max: usize) -> impl Strategy<Value = Vec<Debt<u32>>> {
    let one = (0..shops, 1..shops, 1..=minor_max)
        .prop_map(move |(debtor, further, minor)| debt(debtor, (debtor + further) % shops, minor));
    prop::collection::vec(one, 0..=count_max)
}

proptest! {
    #[test]
    fn no_reduction_of_debts_cancels_more(debts in debts(4, 3, 7)) {
        prop_assert_eq!(net(&debts).unwrap().cleared, most_by_trying(&debts));
    }

    #[test]
    fn positions_are_kept_and_the_sums_add_up(debts in debts(30, 1_000_000_000, 300)) {
        let netting = net(&debts).unwrap();
        prop_assert_eq!(positions(&netting.obligations), positions(&debts));
        prop_assert_eq!(netting.total, debts.iter().map(|debt| debt.minor).sum::<i64>());
        prop_assert_eq!(netting.remainder, netting.obligations.iter().map(|debt| debt.minor).sum::<i64>());
        prop_assert_eq!(netting.total, netting.cleared + netting.remainder);
        prop_assert_eq!(verify(&debts, &netting), Ok(()));
        // What is left has nothing more to cancel.
        prop_assert_eq!(net(&netting.obligations).unwrap().cleared, 0);
    }

    #[test]
    fn what_each_pair_is_left_with_does_not_depend_on_the_order_of_debts(
        (debts, shuffled) in debts(8, 50, 40).prop_flat_map(|debts| (Just(debts.clone()), Just(debts).prop_shuffle())),
    ) {
        let by_pair = |debts: &[Debt<u32>]| {
            let mut pairs: BTreeMap<(u32, u32), i64> = BTreeMap::new();
            for debt in net(debts).unwrap().obligations {
                *pairs.entry((debt.debtor, debt.creditor)).or_default() += debt.minor;
            }
            pairs
        };
        prop_assert_eq!(by_pair(&debts), by_pair(&shuffled));
    }

    #[test]
    fn nothing_gains_more_than_what_is_found_and_nothing_as_good_draws_less(
        debts in debts(4, 2, 5),
        lines in lines(4, 2, 3),
    ) {
        let netting = net_with_lines(&debts, &lines).unwrap();
        prop_assert_eq!((netting.cleared - netting.drawn, netting.drawn), best_by_trying(&debts, &lines));
    }

    #[test]
    fn with_lines_positions_are_kept_and_limits_too(
        debts in debts(30, 1_000_000_000, 200),
        lines in lines(30, 1_000_000_000, 60),
    ) {
        let netting = net_with_lines(&debts, &lines).unwrap();
        let after = [netting.obligations.clone(), netting.new_debts.clone()].concat();
        prop_assert_eq!(positions(&after), positions(&debts));
        prop_assert_eq!(netting.drawn, netting.new_debts.iter().map(|debt| debt.minor).sum::<i64>());
        prop_assert_eq!(netting.total, netting.cleared + netting.remainder);
        prop_assert_eq!(verify_with_lines(&debts, &lines, &netting), Ok(()));
        prop_assert!(netting.cleared - netting.drawn >= net(&debts).unwrap().cleared);
        for new in &netting.new_debts {
            let within = |line: &CreditLine<u32>| {
                (line.debtor, line.creditor) == (new.debtor, new.creditor) && new.minor <= line.limit_minor
            };
            prop_assert!(lines.iter().any(within));
        }
    }

    #[test]
    fn a_result_by_lines_does_not_depend_on_their_order(
        debts in debts(8, 50, 30),
        (lines, shuffled) in lines(8, 50, 20).prop_flat_map(|l| (Just(l.clone()), Just(l).prop_shuffle())),
    ) {
        prop_assert_eq!(net_with_lines(&debts, &lines), net_with_lines(&debts, &shuffled));
    }
}
