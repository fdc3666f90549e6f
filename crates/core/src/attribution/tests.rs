use core::num::NonZeroU64;

use num_bigint::BigUint;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;

fn path(shops: &[u32], conversions: u64, nulls: u64) -> Path {
    let tally = Tally { conversions, nulls, value: u128::from(conversions) * 250 };
    Path::new(shops.iter().copied().map(ShopIndex).collect(), tally).unwrap()
}

fn credits(shops: usize, paths: &[Path], model: Model) -> Vec<f64> {
    attribute(shops, paths, model).unwrap().conversions.iter().map(Credit::to_f64).collect()
}

fn steps(length: u64) -> Model {
    Model::Decay(HalfLife::Steps(NonZeroU64::new(length).unwrap()))
}

fn markov(order: usize, nulls: Nulls) -> Model {
    Model::Markov(Order::new(order).unwrap(), nulls)
}

fn all_models() -> Vec<Model> {
    let mut models =
        vec![Model::First, Model::Last, Model::Linear, Model::Position, Model::Shapley, steps(1), steps(7)];
    for order in 1..4 {
        models.extend([markov(order, Nulls::With), markov(order, Nulls::Without)]);
    }
    models
}

#[test]
fn each_model_splits_a_path_as_it_says() {
    let paths = [path(&[0, 1, 0, 2], 30, 5)];
    assert_eq!(credits(3, &paths, Model::First), [30.0, 0.0, 0.0]);
    assert_eq!(credits(3, &paths, Model::Last), [0.0, 0.0, 30.0]);
    assert_eq!(credits(3, &paths, Model::Linear), [15.0, 7.5, 7.5]);
    assert_eq!(credits(3, &paths, Model::Position), [15.0, 3.0, 12.0]);
    assert_eq!(credits(3, &paths, steps(1)), [10.0, 4.0, 16.0]);
    assert_eq!(credits(3, &paths, Model::Shapley), [10.0, 10.0, 10.0]);
}

#[test]
fn short_paths_by_position_get_all_or_half() {
    let paths = [path(&[0], 1, 0), path(&[0, 1], 1, 0)];
    assert_eq!(credits(2, &paths, Model::Position), [1.5, 0.5]);
}

#[test]
fn decay_in_time_goes_by_ages() {
    let model = Model::Decay(HalfLife::Millis(NonZeroU64::new(1_000).unwrap()));
    let timed = path(&[0, 1], 1, 0).with_ages(vec![2_000, 0]).unwrap();
    assert_eq!(credits(2, &[timed], model), [0.2, 0.8]);
    assert_eq!(attribute(2, &[path(&[0, 1], 1, 0)], model), Err(AttributionError::NoAges));
}

#[test]
fn removal_effects_by_hand() {
    let paths = [path(&[0, 1, 2], 1, 0), path(&[0], 0, 1), path(&[1, 2], 0, 1)];
    let found = attribute(3, &paths, markov(1, Nulls::With)).unwrap();
    let chain = found.chain.unwrap();
    assert_eq!(chain.conversion_probability, 1.0 / 3.0);
    assert_eq!(chain.removal_effects, [0.5, 1.0, 1.0]);
    let fifth = |parts: u32| Credit::new(parts, 5_u32);
    assert_eq!(found.conversions, [fifth(1), fifth(2), fifth(2)]);
}

#[test]
fn without_nulls_only_conversions_count() {
    let paths = [path(&[0], 2, 7), path(&[1], 1, 0), path(&[2], 0, 9)];
    assert_eq!(credits(3, &paths, markov(1, Nulls::Without)), [2.0, 1.0, 0.0]);
}

#[test]
fn no_conversion_no_credit() {
    for model in all_models() {
        assert_eq!(credits(2, &[path(&[0, 1], 0, 4)], model), [0.0, 0.0], "{model:?}");
        assert_eq!(credits(2, &[], model), [0.0, 0.0], "{model:?}");
    }
}

#[test]
fn an_order_beyond_all_paths_solves_them_one_by_one() {
    // Each path is a branch of its own, so the removal effect is the part of conversions on paths with the shop.
    let paths = [path(&[0, 1, 2], 3, 1), path(&[0, 2], 1, 2), path(&[1, 0, 1], 4, 0)];
    let chain = attribute(3, &paths, markov(5, Nulls::With)).unwrap().chain.unwrap();
    for (effect, expected) in chain.removal_effects.iter().zip([1.0, 7.0 / 8.0, 4.0 / 8.0]) {
        assert!((effect - expected).abs() < 1e-15, "{effect} {expected}");
    }
}

#[test]
fn bad_paths_are_refused() {
    let tally = Tally::default();
    let touches = |count| vec![ShopIndex(0); count];
    assert_eq!(Path::new(vec![], tally), Err(PathError::Empty));
    assert_eq!(Path::new(touches(TOUCHES_MAX + 1), tally), Err(PathError::Touches));
    let many = Tally { nulls: COUNT_MAX + 1, ..tally };
    assert_eq!(Path::new(touches(1), many), Err(PathError::Count));
    let two = || Path::new(touches(2), tally).unwrap();
    assert_eq!(two().with_ages(vec![1]), Err(PathError::AgeCount { ages: 1, touches: 2 }));
    assert_eq!(two().with_ages(vec![1, 2]), Err(PathError::AgeOrder));
    assert_eq!(Shops::rank(0..=SHOPS_MAX), Err(PathError::Shops));

    let unknown = AttributionError::UnknownShop { shop: ShopIndex(1), shops: 1 };
    assert_eq!(attribute(1, &[path(&[1], 1, 0)], Model::First), Err(unknown));
    let full = path(&[0], COUNT_MAX, 0);
    assert_eq!(attribute(1, &[full.clone(), full], Model::First), Err(AttributionError::TooMany));
    assert!(Order::new(0).is_none() && Order::new(markov::ORDER_MAX + 1).is_none());
}

#[test]
fn a_chain_of_too_many_states_is_refused() {
    // At random, hardly any sixteen touches come twice.
    let mut random = StdRng::seed_from_u64(1);
    let mut wander = || -> Vec<u32> { (0..10_000).map(|_| random.random_range(0..7)).collect() };
    let paths: Vec<Path> = (0..8).map(|_| path(&wander(), 1, 0)).collect();
    let found = attribute(7, &paths, markov(markov::ORDER_MAX, Nulls::With));
    assert!(matches!(found, Err(AttributionError::TooManyStates { states: 50_001.. })), "{found:?}");
}

/// Shops are few, so that paths meet.
fn paths(shops: u32) -> impl Strategy<Value = Vec<Path>> {
    let touches = prop::collection::vec(0..shops, 1..8);
    let one = (touches, 0..5_u64, 0..5_u64)
        .prop_map(|(touches, conversions, nulls)| path(&touches, conversions, nulls));
    prop::collection::vec(one, 0..20)
}

fn exactly(n: u64) -> Credit {
    Credit::new(n, 1_u32)
}

/// The Shapley value from its definition: a shop's mean contribution over all coalitions of the others, by size.
fn shapley_by_definition(shops: usize, paths: &[Path]) -> Vec<Credit> {
    let of = |coalition: u32| -> u64 {
        let inside = |path: &&Path| path.shops().iter().all(|shop| coalition & (1 << shop.0) != 0);
        paths.iter().filter(inside).map(|path| path.tally().conversions).sum()
    };
    let earned: Vec<u64> = (0..1_u32 << shops).map(of).collect();
    let factorial = |n: usize| (1..=n).map(BigUint::from).product::<BigUint>();
    let one = |shop: usize| {
        let coalitions = (0..1_usize << shops).filter(|coalition| coalition & (1 << shop) == 0);
        coalitions
            .map(|coalition| {
                let size = coalition.count_ones() as usize;
                let more = earned[coalition | 1 << shop] - earned[coalition];
                Credit::new(factorial(size) * factorial(shops - size - 1) * more, factorial(shops))
            })
            .sum()
    };
    (0..shops).map(one).collect()
}

/// P(conversion) by Gaussian elimination with pivoting on (I - Q)x = r, states kept as lists of shops, and paths as given:
/// nothing is shared with the solver but the definition. `without` is removed.
fn converts_densely(paths: &[Path], order: usize, without: Option<u32>) -> f64 {
    let mut states: Vec<Vec<u32>> = vec![vec![]];
    let mut steps: Vec<(usize, Option<usize>, f64)> = Vec::new();
    for path in paths {
        let mut shops: Vec<u32> = path.shops().iter().map(|shop| shop.0).collect();
        shops.dedup();
        let ends = (path.tally().conversions + path.tally().nulls) as f64;
        let mut from = 0;
        for end in 1..=shops.len() {
            let state = shops[end.saturating_sub(order)..end].to_vec();
            let to = states.iter().position(|known| *known == state).unwrap_or_else(|| {
                states.push(state);
                states.len() - 1
            });
            steps.push((from, Some(to), ends));
            from = to;
        }
        steps.push((from, None, path.tally().conversions as f64));
        // Nulls leave, too: they only add to the sum.
        steps.push((from, Some(usize::MAX), path.tally().nulls as f64));
    }
    let n = states.len();
    let mut system = vec![vec![0.0; n + 1]; n];
    for (row, equation) in system.iter_mut().enumerate() {
        equation[row] = 1.0;
        let all: f64 = steps.iter().filter(|step| step.0 == row).map(|step| step.2).sum();
        for &(_, to, count) in steps.iter().filter(|step| step.0 == row && step.2 > 0.0) {
            let removed = |to: usize| without.is_some_and(|shop| states[to].contains(&shop));
            match to {
                None => equation[n] += count / all,
                Some(to) if to < n && !removed(to) => equation[to] -= count / all,
                Some(_) => {}
            }
        }
    }
    solve_densely(system)
}

fn solve_densely(mut system: Vec<Vec<f64>>) -> f64 {
    let n = system.len();
    for column in (0..n).rev() {
        let pivot = (0..=column)
            .max_by(|&a, &b| system[a][column].abs().total_cmp(&system[b][column].abs()))
            .unwrap();
        system.swap(column, pivot);
        let row = system[column].clone();
        for other in &mut system[..column] {
            let factor = other[column] / row[column];
            other.iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
        }
    }
    // Lower triangular now; the start is unknown number 0.
    system[0][n] / system[0][0]
}

proptest! {
    #[test]
    fn credits_add_up_to_the_conversions_and_their_value(paths in paths(6)) {
        for model in all_models() {
            let found = attribute(6, &paths, model).unwrap();
            let conversions: u64 = paths.iter().map(|path| path.tally().conversions).sum();
            prop_assert_eq!(found.conversions.into_iter().sum::<Credit>(), exactly(conversions), "{:?}", model);
            prop_assert_eq!(found.values.into_iter().sum::<Credit>(), exactly(conversions * 250), "{:?}", model);
        }
    }

    #[test]
    fn neither_order_nor_grouping_of_paths_changes_a_bit(
        (paths, shuffled) in paths(6).prop_flat_map(|paths| (Just(paths.clone()), Just(paths).prop_shuffle())),
    ) {
        // Every path's ends one by one.
        let single: Vec<Path> = shuffled.iter().flat_map(|path| {
            let tally = path.tally();
            let one = |conversions, nulls| {
                let tally = Tally { conversions, nulls, value: u128::from(conversions) * 250 };
                Path::new(path.shops().to_vec(), tally).unwrap()
            };
            (0..tally.conversions).map(move |_| one(1, 0)).chain((0..tally.nulls).map(move |_| one(0, 1))).collect::<Vec<_>>()
        }).collect();
        for model in all_models() {
            let found = attribute(6, &paths, model).unwrap();
            prop_assert_eq!(&attribute(6, &shuffled, model).unwrap(), &found, "{:?}", model);
            prop_assert_eq!(&attribute(6, &single, model).unwrap(), &found, "{:?}", model);
        }
    }

    #[test]
    fn repeated_touches_do_not_change_a_chain_s_credit(paths in paths(5), order in 1..4_usize, times in 1..4_usize) {
        let repeated: Vec<Path> = paths.iter().map(|path| {
            let shops = path.shops().iter().flat_map(|&shop| core::iter::repeat_n(shop, times));
            Path::new(shops.collect(), path.tally()).unwrap()
        }).collect();
        let model = markov(order, Nulls::With);
        prop_assert_eq!(attribute(5, &repeated, model), attribute(5, &paths, model));
    }

    #[test]
    fn removal_effects_solve_the_chain_s_equations(paths in paths(5), order in 1..5_usize) {
        let chain = attribute(5, &paths, markov(order, Nulls::With)).unwrap().chain.unwrap();
        let counted: Vec<Path> =
            paths.into_iter().filter(|path| path.tally().conversions + path.tally().nulls > 0).collect();
        prop_assume!(counted.iter().any(|path| path.tally().conversions > 0));
        let base = converts_densely(&counted, order, None);
        prop_assert!((chain.conversion_probability - base).abs() < 1e-12);
        for (shop, effect) in (0..).zip(chain.removal_effects) {
            let expected = 1.0 - converts_densely(&counted, order, Some(shop)) / base;
            prop_assert!((effect - expected).abs() < 1e-11, "{} {} {}", shop, effect, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shapley_values_are_those_of_the_definition(
        (shops, paths) in (1..=12_u32).prop_flat_map(|shops| (Just(shops as usize), paths(shops))),
    ) {
        let found = attribute(shops, &paths, Model::Shapley).unwrap();
        prop_assert_eq!(found.conversions, shapley_by_definition(shops, &paths));
    }
}
