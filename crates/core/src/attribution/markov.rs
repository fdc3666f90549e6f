//! Removal effects in a Markov chain of order k.
//!
//! A state is the last k shops that a customer touched (fewer at the beginning of a path). Touches of one shop in a row
//! count as one, at every order: what does not lead on is not a step, and no shop changes anybody's credit by repeating
//! itself. How often a state was followed by another, by a conversion or by nothing is counted over all paths, and makes
//! the chain. A shop's removal effect is the part of the conversions that is lost when every customer who would touch the
//! shop leaves instead:
//!
//! 1 - P(conversion without touching the shop) / P(conversion)
//!
//! Credit is in proportion to these effects. See Anderl, Becker, von Wangenheim and Schumann, "Mapping the customer journey"
//! (International Journal of Research in Marketing 33, 2016).
//!
//! P(conversion) needs no solving: the counts are a flow that enters at the start and leaves at the ends, so the chain that
//! is estimated from them passes through each state as often, on average, as the paths did, and ends in a conversion
//! exactly as often as they did. Without a shop that no longer holds, and the chain is solved once for each
//! (`elimination.rs`). That is shared: what the chains without each of two shops have in common, the states with
//! neither, is taken out once, and so on with halves of all shops.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};
use core::{num::NonZeroUsize, ops::Range};

use super::{
    AttributionError, Path, ShopIndex,
    elimination::{Graph, Node, Work},
};

/// States of a chain. Higher orders have more, but few ways between them.
pub const STATES_MAX: usize = 50_000;
/// Ways looked at while solving: some seconds' work.
pub const UPDATES_MAX: u64 = 2_000_000_000;
/// The longest memory of a chain. Beyond it a state is all but the whole path.
pub const ORDER_MAX: usize = 16;

/// How many shops back a chain remembers, 1 to [`ORDER_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order(NonZeroUsize);

impl Order {
    /// Nothing if it is zero or above [`ORDER_MAX`].
    pub fn new(order: usize) -> Option<Self> {
        NonZeroUsize::new(order).filter(|order| order.get() <= ORDER_MAX).map(Self)
    }

    /// The number.
    pub const fn number(self) -> usize {
        self.0.get()
    }
}

impl Default for Order {
    /// A chain that remembers one shop.
    fn default() -> Self {
        Self(NonZeroUsize::MIN)
    }
}

/// Whether paths that ended in nothing are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// They are: what a shop loses matters.
    With,
    /// Only conversions are looked at.
    Without,
}

/// What the chain says, beside credit.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// States, the start left out.
    pub states: usize,
    /// The part of counted paths that ended in a conversion; zero where none was counted.
    pub conversion_probability: f64,
    /// By shop: the part of conversions that is lost without it, 0 to 1.
    pub removal_effects: Vec<f64>,
}

/// A counted path, with no shop twice in a row.
struct Walk {
    shops: Vec<ShopIndex>,
    conversions: u64,
    nulls: u64,
}

/// Estimates the chain from the paths, and solves it without each of the shops.
pub(super) fn solve(
    shops: usize,
    paths: &[Path],
    order: Order,
    nulls: Nulls,
) -> Result<Chain, AttributionError> {
    let walks: Vec<Walk> = paths.iter().filter_map(|path| walk(path, nulls)).collect();
    let states = states(&walks, order)?;
    let conversions: u64 = walks.iter().map(|walk| walk.conversions).sum();
    let ends: u64 = conversions + walks.iter().map(|walk| walk.nulls).sum::<u64>();
    let mut removal = Removal {
        states: &states,
        work: Work::new(UPDATES_MAX),
        conversion_probability: ratio(conversions, ends),
        effects: vec![0.0; shops],
    };
    if conversions > 0 {
        let all = 0..u32::try_from(shops).expect("shops are numbered in 32 bits");
        removal.within(all, &(0..node(states.len())).collect::<Vec<_>>(), graph(&walks, &states, order))?;
    }
    Ok(Chain {
        states: states.len(),
        conversion_probability: removal.conversion_probability,
        removal_effects: removal.effects,
    })
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn walk(path: &Path, nulls: Nulls) -> Option<Walk> {
    let tally = path.tally();
    let nulls = if nulls == Nulls::With { tally.nulls } else { 0 };
    if tally.conversions + nulls == 0 {
        return None;
    }
    let mut shops = path.shops().to_vec();
    shops.dedup();
    Some(Walk { shops, conversions: tally.conversions, nulls })
}

/// What a customer's last touches are after each touch of a walk.
fn windows(walk: &Walk, order: Order) -> impl Iterator<Item = &[ShopIndex]> {
    (1..=walk.shops.len()).map(move |end| &walk.shops[end.saturating_sub(order.number())..end])
}

/// All states, in the order of their shops: their numbers do not depend on arrival.
fn states(walks: &[Walk], order: Order) -> Result<Vec<&[ShopIndex]>, AttributionError> {
    let states: BTreeSet<&[ShopIndex]> = walks.iter().flat_map(|walk| windows(walk, order)).collect();
    if states.len() > STATES_MAX {
        return Err(AttributionError::TooManyStates { states: states.len() });
    }
    Ok(states.into_iter().collect())
}

fn node(index: usize) -> Node {
    Node::try_from(index).expect("states are few")
}

/// Nodes are the states by number, then the start, a conversion, and a walk that ended in nothing.
fn graph(walks: &[Walk], states: &[&[ShopIndex]], order: Order) -> Graph {
    let [start, converted, lost] = [0, 1, 2].map(|more| node(states.len() + more));
    let mut ways: BTreeMap<(Node, Node), u64> = BTreeMap::new();
    for walk in walks {
        let mut from = start;
        for window in windows(walk, order) {
            let to = node(states.binary_search(&window).expect("all windows are states"));
            *ways.entry((from, to)).or_default() += walk.conversions + walk.nulls;
            from = to;
        }
        *ways.entry((from, converted)).or_default() += walk.conversions;
        *ways.entry((from, lost)).or_default() += walk.nulls;
    }
    Graph::new(states.len() + 3, ways.into_iter())
}

/// Solving the chain without each shop in turn.
struct Removal<'a> {
    states: &'a [&'a [ShopIndex]],
    work: Work,
    conversion_probability: f64,
    effects: Vec<f64>,
}

impl Removal<'_> {
    /// Finds the effects of a range of shops. `left` are the states that are still in the graph.
    fn within(&mut self, shops: Range<u32>, left: &[Node], mut graph: Graph) -> Result<(), AttributionError> {
        let mut others = Vec::new();
        let mut still_left = Vec::new();
        for &state in left {
            match self.shops_among(&shops, state) {
                0 => others.push(state),
                found => {
                    still_left.push(state);
                    // Whichever of the shops is removed, nobody gets beyond here.
                    if found == shops.len() {
                        graph.end_at(state);
                    }
                }
            }
        }
        graph.take_out(&others, &mut self.work)?;
        if shops.len() == 1 {
            self.effects[shops.start as usize] = self.effect(&graph);
            return Ok(());
        }
        let middle = shops.start + (shops.end - shops.start) / 2;
        self.within(shops.start..middle, &still_left, graph.clone())?;
        self.within(middle..shops.end, &still_left, graph)
    }

    /// How many of a range of shops a state remembers.
    fn shops_among(&self, shops: &Range<u32>, state: Node) -> usize {
        let state = self.states[state as usize];
        let mut found: Vec<_> = state.iter().filter(|shop| shops.contains(&shop.0)).collect();
        found.sort_unstable();
        found.dedup();
        found.len()
    }

    /// The removed shop's effect, when only its own states are left beside the start and the ends.
    fn effect(&self, graph: &Graph) -> f64 {
        let start = self.states.len();
        let without = graph.probability(node(start), node(start + 1));
        // A shop that nobody touched may come out a rounding error below zero.
        (1.0 - without / self.conversion_probability).max(0.0)
    }
}
