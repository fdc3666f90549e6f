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
    assert_eq!(net::<u32>(&[]).unwrap(), Netting { total: 0, cleared: 0, remainder: 0, obligations: vec![] });
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
        };
    };
    assert_eq!(wrong(nothing_done), Discrepancy::NotMaximal);
    let refused = NettingError::NotPositive { debt: 0, minor: 0 };
    assert_eq!(wrong(|n| n.obligations[0].minor = 0), Discrepancy::Obligations(refused));
    assert_eq!(verify(&[debt(1, 2, 0)], &right), Err(Discrepancy::Debts(refused)));
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
}
