//! Properties of whole networks, over many seeds.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod net;

use hutong_record::ShopId;
use hutong_sync::{Frame, LinkId, Output};
use net::{
    Net, Place, for_seeds,
    liar::{Liar, Lie},
    node::{Node, Store, chain, read, shop_of},
};
use rand::RngExt as _;

const SETTLE_MS: i64 = 600_000;

fn write_some(net: &mut Net, records_max: usize) {
    for number in net.honest() {
        let count = net.rng.random_range(0..=records_max);
        net.write(number, count);
    }
}

/// CON-2, with no fault: nothing is ingested twice, and little crosses a wire in vain.
#[test]
fn every_connected_graph_converges_and_ingests_nothing_twice() {
    let (mut wires, mut needed) = (0, 0);
    let totals = std::cell::RefCell::new((0u64, 0u64));
    for_seeds("every_connected_graph_converges", 60, |seed| {
        let mut net = Net::new(seed, 2 + (seed as usize * 7) % 29);
        let nodes = net.places.len();
        write_some(&mut net, 20);
        for (a, b) in net.random_edges(nodes) {
            net.connect(a, b);
        }
        for _ in 0..nodes * 3 {
            for _ in 0..net.rng.random_range(0..60) {
                net.step();
            }
            let author = net.rng.random_range(0..nodes);
            net.write(author, 1);
        }
        net.settle(SETTLE_MS);
        net.assert_converged();
        assert_eq!(net.stats.duplicates_ingested, 0, "{:?}", net.stats);
        let mut totals = totals.borrow_mut();
        totals.0 += net.stats.records_on_wires;
        totals.1 += net.stats.records_ingested;
    });
    wires += totals.borrow().0;
    needed += totals.borrow().1;
    println!("records on wires {wires}, ingested {needed}");
    assert!(wires * 100 <= needed * 105, "at most 5 % cross a wire in vain: {wires} for {needed}");
}

#[test]
fn faults_delay_convergence_and_do_not_prevent_it() {
    for_seeds("faults_delay_convergence", 40, |seed| {
        let mut net = Net::new(seed, 2 + (seed as usize * 5) % 19);
        let nodes = net.places.len();
        let edges = net.random_edges(nodes);
        for round in 0..25 {
            for (a, b) in edges.clone() {
                if !net.connected(a, b) && net.rng.random_bool(0.4) {
                    net.connect(a, b);
                }
            }
            if round % 3 == 0 {
                write_some(&mut net, 3);
            }
            for _ in 0..net.rng.random_range(0..200) {
                net.step();
            }
            let cut: Vec<_> = net.wires.keys().copied().filter(|link| link.0 % 3 == round % 3).collect();
            for link in cut {
                if net.rng.random_bool(0.5) {
                    net.cut(link);
                }
            }
            let ms = net.rng.random_range(0..15_000);
            net.pass(ms);
        }
        for (a, b) in edges {
            if !net.connected(a, b) {
                net.connect(a, b);
            }
        }
        net.settle(SETTLE_MS);
        net.assert_converged();
        assert_eq!(net.stats.duplicates_ingested, 0);
    });
}

#[test]
fn a_line_stores_and_forwards() {
    for_seeds("a_line_stores_and_forwards", 20, |seed| {
        let mut net = Net::new(seed, 5);
        for n in 1..5 {
            net.connect(n - 1, n);
        }
        net.settle(SETTLE_MS);
        for end in [0, 4] {
            net.write(end, 3);
            net.settle(SETTLE_MS);
            net.assert_converged();
        }
    });
}

#[test]
fn a_star_converges_through_its_middle() {
    for_seeds("a_star_converges", 10, |seed| {
        let mut net = Net::new(seed, 25);
        write_some(&mut net, 10);
        for n in 1..25 {
            net.connect(0, n);
        }
        net.settle(SETTLE_MS);
        net.assert_converged();
        write_some(&mut net, 10);
        net.settle(SETTLE_MS);
        net.assert_converged();
    });
}

/// Records travel although the two that hold and want them never meet at the same time.
#[test]
fn a_middle_that_meets_one_side_at_a_time_carries_records() {
    let mut net = Net::new(1, 3);
    net.write(0, 40);
    let first = net.connect(0, 1);
    net.settle(SETTLE_MS);
    net.cut(first);
    net.connect(1, 2);
    net.settle(SETTLE_MS);
    assert_eq!(net.heads(2), net.heads(0));
}

#[test]
fn equal_nodes_say_hello_and_nothing_else() {
    let mut net = Net::new(3, 4);
    write_some(&mut net, 9);
    for n in 1..4 {
        net.connect(0, n);
    }
    net.settle(SETTLE_MS);
    net.wires.keys().copied().collect::<Vec<_>>().into_iter().for_each(|link| net.cut(link));
    net.trace.clear();
    net.connect(1, 2);
    net.settle(SETTLE_MS);
    assert_eq!(net.trace.len(), 2);
    assert!(net.trace.iter().all(|(_, frame)| matches!(frame, Frame::Hello { .. })));
}

/// The catch-up of one long log: many wants, one at a time, within the byte budget.
#[test]
fn a_long_log_is_caught_up_want_by_want() {
    let mut net = Net::new(4, 2);
    net.with(0, |node, _| node.text_bytes = 4_000);
    net.write(0, 300);
    net.connect(0, 1);
    net.settle(SETTLE_MS);
    net.assert_converged();
    let wants = net.trace.iter().filter(|(_, frame)| matches!(frame, Frame::Want { .. })).count();
    assert!((4..=6).contains(&wants), "1.2 MB in wants of 256 KiB: {wants}");
    assert_eq!(net.stats.records_on_wires, 300);
}

/// A burst beyond the push window is announced, and still arrives.
#[test]
fn a_burst_beyond_the_push_window_arrives() {
    for_seeds("a_burst_beyond_the_push_window", 10, |seed| {
        let mut net = Net::new(seed, 3);
        net.with(0, |node, _| node.text_bytes = 30_000);
        net.connect(0, 1);
        net.connect(0, 2);
        net.settle(SETTLE_MS);
        net.write(0, 60);
        net.settle(SETTLE_MS);
        net.assert_converged();
        assert_eq!(net.stats.duplicates_ingested, 0);
    });
}

#[test]
fn live_records_of_ones_own_are_pushed_without_being_asked_for() {
    let mut net = Net::new(5, 2);
    net.connect(0, 1);
    net.settle(SETTLE_MS);
    net.trace.clear();
    net.write(0, 1);
    net.settle(SETTLE_MS);
    net.assert_converged();
    let frames: Vec<_> = net.trace.iter().map(|(_, frame)| frame).collect();
    assert!(matches!(frames[..], [Frame::Records { pushed: true, .. }, Frame::Have { .. }]), "{frames:?}");
}

#[test]
fn a_shop_s_records_are_wanted_only_once_it_is_a_member() {
    for_seeds("a_shop_s_records_are_wanted_only_once", 10, |seed| {
        let mut net = Net::new(seed, 3);
        let newcomer = shop_of(2);
        for number in 0..2 {
            net.with(number, |node, now| node.replica.members_changed([shop_of(0), shop_of(1)], now));
        }
        net.write(2, 10);
        net.connect(0, 1);
        net.connect(1, 2);
        net.settle(SETTLE_MS);
        net.write(2, 3);
        net.settle(SETTLE_MS);
        assert!(!net.heads(1).contains_key(&newcomer), "no member yet");
        for number in 0..2 {
            net.with(number, |node, now| {
                node.replica.members_changed([shop_of(0), shop_of(1), newcomer], now);
            });
            net.settle(SETTLE_MS);
        }
        net.assert_converged();
    });
}

/// A node that lost its disk gets its own log back, and is told before it signs anything.
#[test]
fn a_lost_log_comes_back_from_peers() {
    let mut net = Net::new(6, 3);
    net.write(0, 30);
    net.connect(0, 1);
    net.connect(1, 2);
    net.settle(SETTLE_MS);
    let before = net.heads(0);
    net.cut(LinkId(0));
    net.places[0] = Place::Honest(Box::new(Node::new(0, Store::new())));
    net.with(0, |node, now| node.replica.members_changed((0..3).map(shop_of), now));
    let link = net.connect(0, 1);
    net.settle(SETTLE_MS);
    assert_eq!(net.heads(0), before);
    let ahead = Output::OwnLogAhead { link, sequence: 30 };
    assert_eq!(net.node(0).notes, [ahead]);
    let own = net.node(0).replica.own_log();
    assert_eq!((own.peers_heard, own.sequence_max), (1, 30));
}

/// A shop went on in new incarnations from earlier places, several times; each node has heard of some branch of its log.
#[test]
fn every_node_comes_to_the_latest_incarnation() {
    for_seeds("every_node_comes_to_the_latest_incarnation", 60, |seed| {
        let mut net = Net::new(seed, 2 + (seed as usize) % 7);
        let nodes = net.places.len();
        let (shop, key) = (shop_of(nodes), net::node::key_of(shop_of(nodes)));
        let mut log = chain(shop, 1 + (seed as usize * 13) % 60, 10, 1);
        let mut branches = vec![log.clone()];
        for incarnation in 1..=3 {
            log.truncate(net.rng.random_range(0..=log.len()));
            for _ in 0..net.rng.random_range(1..40) {
                let salt = u64::from(incarnation);
                log.push(net::node::next_record_in(incarnation, shop, &log, b"x", salt, &key));
            }
            branches.push(log.clone());
        }
        for number in 0..nodes {
            // The last one holds the latest.
            let branch = if number + 1 == nodes { 3 } else { net.rng.random_range(0..4) };
            let branch = &branches[branch];
            let heard =
                if number + 1 == nodes { branch.len() } else { net.rng.random_range(0..=branch.len()) };
            let store =
                if heard == 0 { Store::new() } else { Store::from([(shop, branch[..heard].to_vec())]) };
            net.places[number] = Place::Honest(Box::new(Node::new(number, store)));
            net.with(number, |node, now| {
                node.replica.members_changed((0..nodes).map(shop_of).chain([shop]), now);
            });
        }
        write_some(&mut net, 5);
        for (a, b) in net.random_edges(nodes) {
            net.connect(a, b);
            for _ in 0..net.rng.random_range(0..30) {
                net.step();
            }
        }
        write_some(&mut net, 3);
        net.settle(SETTLE_MS);
        net.assert_converged();
        assert_eq!(net.heads(0)[&shop].incarnation, 3);
        assert!(net.node(0).store[&shop].iter().zip(&log).all(|(held, latest)| held.id() == latest.id()));
    });
}

/// The author itself goes on from an earlier place, while its peers hold more.
#[test]
fn an_author_s_new_incarnation_reaches_peers_that_hold_more_of_the_old_one() {
    let mut net = Net::new(8, 4);
    net.write(0, 20);
    for number in 1..4 {
        net.connect(0, number);
    }
    net.settle(SETTLE_MS);
    let mut log = net.node(0).store[&shop_of(0)][..12].to_vec();
    for link in 0..3 {
        net.cut(LinkId(link));
    }
    let key = net::node::key_of(shop_of(0));
    log.push(net::node::next_record_in(5, shop_of(0), &log, b"back", 0, &key));
    net.places[0] = Place::Honest(Box::new(Node::new(0, Store::from([(shop_of(0), log)]))));
    net.with(0, |node, now| node.replica.members_changed((0..4).map(shop_of), now));
    for number in 1..4 {
        net.connect(0, number);
    }
    net.write(0, 3);
    net.settle(SETTLE_MS);
    net.write(0, 3);
    net.settle(SETTLE_MS);
    net.assert_converged();
    assert_eq!(net.heads(3)[&shop_of(0)].sequence, 19);
    let diverged = |n: usize| net.node(n).notes.iter().any(|note| matches!(note, Output::Diverged { .. }));
    assert!(!(0..4).any(diverged), "no divergence is reported");
}

/// Node 0 holds a shop's own log, which comes to the incarnation that counts with its last record alone; the others hold what
/// a thief of its key made of it before.
fn stolen(own: usize, text: &[u8]) -> (Net, ShopId) {
    let mut net = Net::new(9, 3);
    let shop = shop_of(9);
    let key = net::node::key_of(shop);
    let common = chain(shop, 10, 10, 1);
    let branch = |incarnation: u32, length: usize, salt: u64| {
        let mut log = common.clone();
        for _ in 0..length {
            log.push(net::node::next_record_in(incarnation, shop, &log, text, salt, &key));
        }
        log
    };
    let mut whole = branch(0, own, 2);
    whole.push(net::node::next_record_in(100, shop, &whole, b"mine", 2, &key));
    for (number, log) in [(0, whole), (1, branch(50, 30, 3)), (2, branch(50, 30, 3))] {
        net.places[number] = Place::Honest(Box::new(Node::new(number, Store::from([(shop, log)]))));
        net.with(number, |node, now| {
            node.replica.members_changed((0..3).map(shop_of).chain([shop]), now);
        });
    }
    net.connect(0, 1);
    net.connect(1, 2);
    (net, shop)
}

#[test]
fn a_branch_that_outranks_a_thief_s_only_at_its_end_reaches_those_who_hold_that() {
    let (mut net, shop) = stolen(60, b"x");
    net.settle(SETTLE_MS);
    net.assert_converged();
    for number in 0..3 {
        let head = net.heads(number)[&shop];
        assert_eq!((head.sequence, head.incarnation), (71, 100), "node {number}");
    }
}

#[test]
fn a_branch_that_no_answer_holds_as_a_whole_is_not_asked_for_again_and_again() {
    let (mut net, shop) = stolen(600, &[b'x'; 3_000]);
    net.settle(SETTLE_MS);
    assert_eq!(net.heads(1)[&shop].incarnation, 50);
    net.write(0, 3);
    net.settle(SETTLE_MS);
    assert_eq!(net.heads(1)[&shop_of(0)].sequence, 3, "the other logs go on");
}

fn branches(length_a: usize, length_b: usize) -> (Net, ShopId) {
    let mut net = Net::new(7, 2);
    let shop = shop_of(9);
    let common = chain(shop, 5, 10, 1);
    let branch = |length: usize, salt: u64| {
        let mut log = common.clone();
        while log.len() < length {
            log.push(net::node::next_record(shop, &log, b"branch", salt, &net::node::key_of(shop)));
        }
        log
    };
    for (number, log) in [(0, branch(length_a, 2)), (1, branch(length_b, 3))] {
        net.places[number] = Place::Honest(Box::new(Node::new(number, Store::from([(shop, log)]))));
        net.with(number, |node, now| node.replica.members_changed([shop_of(0), shop_of(1), shop], now));
    }
    (net, shop)
}

#[test]
fn a_fork_is_reported_once_a_link_and_stops_neither_side() {
    for (length_a, length_b, at) in [(8, 8, 8), (8, 12, 8), (12, 8, 8)] {
        let (mut net, shop) = branches(length_a, length_b);
        let link = net.connect(0, 1);
        net.settle(SETTLE_MS);
        net.write(0, 2);
        net.write(1, 2);
        net.settle(SETTLE_MS);
        net.assert_converged();
        let said = |n: usize| {
            net.node(n).notes.iter().filter(|note| matches!(note, Output::Diverged { .. })).count()
        };
        assert!(said(0) <= 1 && said(1) <= 1 && said(0) + said(1) > 0);
        let diverged = Output::Diverged { link, shop, sequence: at };
        assert!((0..2).any(|n| net.node(n).notes.contains(&diverged)));
    }
}

#[test]
fn the_owner_can_fetch_the_peer_s_record_at_a_place() {
    let (mut net, shop) = branches(8, 8);
    let link = net.connect(0, 1);
    net.settle(SETTLE_MS);
    assert!(net.with(0, |node, now| node.replica.want_exact(link, shop, 6, now)));
    net.settle(SETTLE_MS);
    let theirs = read(&net.node(1).store[&shop], 6, usize::MAX);
    let evidence = Output::Evidence { link, shop, sequence: 6, runs: theirs };
    assert!(net.node(0).notes.contains(&evidence));
    assert_eq!(net.node(0).store[&shop].len(), 8);
}

#[test]
fn lost_records_are_fetched_from_their_author_and_live_push_goes_on() {
    let mut net = Net::new(11, 2);
    let link = net.connect(0, 1);
    net.write(1, 20);
    net.settle(SETTLE_MS);
    net.assert_converged();
    let author = shop_of(1);
    assert!(net.with(0, |node, now| node.replica.want_lost(link, author, 6, 1, now)));
    assert!(!net.with(0, |node, now| node.replica.want_lost(LinkId(99), author, 6, 1, now)));
    net.settle(SETTLE_MS);
    let theirs = read(&net.node(1).store[&author], 6, 1);
    assert!(net.node(0).notes.contains(&Output::Found { link, shop: author, sequence: 6, runs: theirs }));
    // Whoever was asked for an old record has heard that the later ones are here: it does not send them again.
    let known = |net: &Net| net.node(1).replica.link_status(link).map(|status| status.logs_ahead);
    assert_eq!(known(&net), Some(0));
    net.write(1, 3);
    net.settle(SETTLE_MS);
    net.assert_converged();
}

#[test]
fn a_peer_that_has_no_such_record_says_so() {
    let mut net = Net::new(12, 2);
    let link = net.connect(0, 1);
    net.write(0, 3);
    net.settle(SETTLE_MS);
    let own = shop_of(0);
    assert!(net.with(0, |node, now| node.replica.want_lost(link, own, 9, 1, now)));
    net.settle(SETTLE_MS);
    let nothing = Output::Found { link, shop: own, sequence: 9, runs: Vec::new() };
    assert!(net.node(0).notes.contains(&nothing));
}

/// Liars anywhere, reconnecting again and again; the honest nodes have a connected graph of their own.
#[test]
fn liars_cannot_stop_honest_nodes() {
    for_seeds("liars_cannot_stop_honest_nodes", 40, |seed| {
        let honest = 2 + (seed as usize) % 8;
        let mut net = Net::new(seed, honest);
        let edges = net.random_edges(honest);
        for lie in [Lie::Claims, Lie::Withholds, Lie::Forges, Lie::Stalls, Lie::Babbles] {
            net.places.push(Place::Liar(Liar::new(lie, honest)));
        }
        write_some(&mut net, 30);
        for round in 0..6 {
            for liar in honest..honest + 5 {
                for node in 0..honest {
                    if !net.connected(liar, node) {
                        net.connect(liar, node);
                    }
                }
            }
            if round == 2 {
                for &(a, b) in &edges {
                    net.connect(a, b);
                }
            }
            for _ in 0..300 {
                net.step();
            }
            let ms = net.rng.random_range(0..12_000);
            net.pass(ms);
        }
        write_some(&mut net, 5);
        net.settle(SETTLE_MS);
        net.assert_converged();
    });
}
