//! The roster is a function of the set of votes: here they are given in many orders.

use hutong_record::{
    Afresh, AllianceId, Audience, Draft, Payload, Record, RecoverySeed, SigningKey, UnixMillis, motion_id,
    proto, proto::Kind, sign,
};
use proptest::prelude::*;
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    alliance::Alliance,
    view::{Overlay, tests::Map},
};

/// No matter which.
const ALLIANCE: AllianceId = AllianceId::new([5; 32]);

/// Shops 0, 1, 2, ...; shop 0 founded the alliance. Then a roster that knows them all, so that nobody's identity is
/// verified a thousand times.
struct Shops(Vec<(Identity, SigningKey)>, Roster);

/// A vote: who, and for what.
#[derive(Debug, Clone)]
struct Ballot {
    voter: usize,
    sequence: u64,
    motion: Vec<u8>,
}

impl Shops {
    fn new(count: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let shop = |n: usize| {
            let seed = RecoverySeed::new(*blake3::hash(&n.to_be_bytes()).as_bytes());
            let key = SigningKey::from_seed(&seed.signing_seed());
            (Identity::create(&seed, UnixMillis::EPOCH, &mut rng), key)
        };
        let shops: Vec<_> = (1..=count).map(shop).collect();
        let member = |identity: &Identity| Member {
            identity: identity.clone(),
            standing: Standing::Pending,
            core: false,
            votes: 0,
            counts_up_to: None,
            since: None,
            category: String::new(),
            bars: Vec::new(),
        };
        let members = shops.iter().map(|(identity, _)| (identity.id(), member(identity))).collect();
        let charter = charter_of(&shops[0].0, 1, 1, |_| {});
        Self(shops, Roster { members, ..Roster::founding(&charter) })
    }

    fn id(&self, shop: usize) -> ShopId {
        self.0[shop].0.id()
    }

    fn charter(&self, admission_votes: u32, removal_votes: u32) -> Charter {
        charter_of(&self.0[0].0, admission_votes, removal_votes, |_| {})
    }

    fn admission(&self, shop: usize, core: bool) -> Vec<u8> {
        let identity = Some(self.0[shop].0.signed().clone());
        let motion =
            proto::motion::Motion::Admission(proto::Admission { identity, core, ..Default::default() });
        proto::Motion { motion: Some(motion), round: 0 }.encode_to_vec()
    }

    fn removal(&self, shop: usize, last_sequence: u64) -> Vec<u8> {
        let shop_id = self.id(shop).as_bytes().to_vec().into();
        let removal = proto::Removal { shop_id, last_sequence, reason: String::new() };
        proto::Motion { motion: Some(proto::motion::Motion::Removal(removal)), round: 0 }.encode_to_vec()
    }

    /// The roster that votes and forks come to, counted at once.
    fn count(&self, charter: &Charter, ballots: &[Ballot], forks: Cuts) -> Roster {
        Roster::count(charter, &self.council(ballots), &forks)
    }

    fn council(&self, ballots: &[Ballot]) -> Council {
        let mut council = Council::default();
        for ballot in ballots {
            let vote = proto::Vote { motion: ballot.motion.clone().into(), ..Default::default() };
            let message = vote.encode_to_vec().into();
            let raised = council
                .hear(ALLIANCE, Kind::Vote, UnixMillis::EPOCH, &message, &self.1, &Afresh)
                .unwrap()
                .unwrap();
            assert!(
                council.add(self.id(ballot.voter), ballot.sequence, raised),
                "each place holds one voice"
            );
        }
        council
    }

    fn standing(&self, roster: &Roster, shop: usize) -> Option<Standing> {
        roster.shop(self.id(shop)).map(|member| member.standing)
    }

    /// The votes as records, in each voter's own order.
    fn records(&self, charter: &Charter, ballots: &[Ballot]) -> Vec<Vec<Record>> {
        let mut logs: Vec<Vec<Record>> = self.0.iter().map(|_| Vec::new()).collect();
        let mut rng = StdRng::seed_from_u64(2);
        for ballot in ballots {
            let log = &mut logs[ballot.voter];
            let draft = Draft {
                alliance: charter.id,
                shop: self.id(ballot.voter),
                key_epoch: 0,
                incarnation: 0,
                sequence: log.len() as u64 + 1,
                previous: log.last().map(Record::id),
                time: UnixMillis::EPOCH,
                kind: Kind::Vote,
                audience: Audience::Alliance,
            };
            assert_eq!(draft.sequence, ballot.sequence);
            let vote = proto::Vote { motion: ballot.motion.clone().into(), ..Default::default() };
            let payload = Payload::clear(&vote.encode_to_vec(), &mut rng).unwrap();
            log.push(sign(draft, payload, &self.0[ballot.voter].1));
        }
        logs
    }
}

fn charter_of(
    founder: &Identity,
    admission_votes: u32,
    removal_votes: u32,
    change: impl FnOnce(&mut proto::Charter),
) -> Charter {
    let mut message = proto::Charter {
        name: "街坊".into(),
        currency_code: "CNY".into(),
        admission_votes,
        removal_votes,
        founder: Some(founder.signed().clone()),
        salt: vec![0; 16].into(),
        ..Default::default()
    };
    change(&mut message);
    Charter::write(&message).unwrap()
}

/// Random votes: early ones let shops in, later ones put some out.
fn ballots(shops: &Shops, seed: u64, votes: usize) -> Vec<Ballot> {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = shops.0.len();
    let mut sequences = vec![0; count];
    let cast = |_| {
        let voter = if rng.random_bool(0.4) { 0 } else { rng.random_range(0..count) };
        let shop = rng.random_range(0..count);
        let motion = match rng.random_range(0..10) {
            0..3 => shops.removal(shop, rng.random_range(0..4)),
            kind => shops.admission(shop, kind % 2 == 0),
        };
        sequences[voter] += 1;
        Ballot { voter, sequence: sequences[voter], motion }
    };
    (0..votes).map(cast).collect()
}

/// Folds logs in a random interleaving, refusing nobody (the ladder is left out), and again from the start where the
/// fold asks for it, as a ledger does.
fn fold(charter: &Charter, me: ShopId, logs: &[Vec<Record>], seed: u64) -> (Roster, [u8; 32]) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut order: Vec<Record> = Vec::new();
    let mut next = vec![0; logs.len()];
    while order.len() < logs.iter().map(Vec::len).sum() {
        let log = rng.random_range(0..logs.len());
        if let Some(record) = logs[log].get(next[log]) {
            next[log] += 1;
            order.push(record.clone());
        }
    }
    let mut alliance = Alliance::load(charter.clone(), me, &Map::default()).unwrap();
    let mut view = Map::default();
    for _round in 0..20 {
        let mut rebuild = false;
        let mut left = order.clone();
        // Logs that wait go on when what they wait for is there: here, by going over the rest again.
        loop {
            let before = left.len();
            left.retain(|record| {
                let mut overlay = Overlay::new(&view);
                let message = record.payload().map(hutong_record::Payload::message);
                let effects = alliance.fold(&mut overlay, record, message).unwrap();
                let writes = overlay.into_writes();
                view.apply(writes);
                rebuild |= effects.rebuild;
                !effects.folded
            });
            if left.len() == before {
                break;
            }
        }
        if alliance.settle() && !rebuild {
            return (alliance.roster().clone(), Alliance::public_digest(&view).unwrap());
        }
        alliance = alliance.from_the_start();
        view = Map::default();
    }
    panic!("the roster does not settle, seed {seed}");
}

#[test]
fn any_order_of_votes_gives_the_same_roster() {
    let shops = Shops::new(5);
    for seed in 0..100u64 {
        let charter = shops.charter(1 + (seed % 3) as u32, 1 + (seed / 3 % 2) as u32);
        let logs = shops.records(&charter, &ballots(&shops, seed, 12));
        let first = fold(&charter, shops.id(0), &logs, 0);
        for order in 1..12 {
            let other = fold(&charter, shops.id(1), &logs, order);
            assert_eq!(other, first, "votes {seed}, order {order}: set the loops to these two to replay");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Counting looks at the set alone, and what it comes to is sound: nobody counts past a cut, whoever is in was let
    /// in by enough core members, and enough others put out whoever is out.
    #[test]
    fn the_count_is_sound_whatever_was_voted(seed in any::<u64>(), needed in 1u32..4, removal in 1u32..3) {
        static SHOPS: std::sync::LazyLock<Shops> = std::sync::LazyLock::new(|| Shops::new(5));
        let shops = &*SHOPS;
        let charter = shops.charter(needed, removal);
        let mut votes = ballots(shops, seed, 14);
        let roster = shops.count(&charter, &votes, Cuts::new());
        votes.reverse();
        prop_assert_eq!(&shops.count(&charter, &votes, Cuts::new()), &roster);
        for (id, member) in roster.iter() {
            let founder = id == shops.id(0);
            let removed = member.standing == Standing::Removed;
            prop_assert!(member.counts_up_to.is_some() || !removed);
            if member.standing == Standing::Member && !founder && !member.core {
                prop_assert!(member.votes >= needed);
            }
        }
        let frozen = shops.count(&charter, &votes, Cuts::from([(shops.id(1), 0)]));
        prop_assert!(frozen.member(shops.id(1)).is_none(), "a shop that forked is not in good standing");
    }
}

fn ballot(voter: usize, sequence: u64, motion: Vec<u8>) -> Ballot {
    Ballot { voter, sequence, motion }
}

#[test]
fn as_many_core_members_as_the_charter_wants_let_a_shop_in() {
    let shops = Shops::new(5);
    for needed in 1..=3u32 {
        let charter = shops.charter(needed, 1);
        // The founder names shops 1 and 2 as core members; then shops 0, 1 and 2 vote for shop 3, one after another.
        let mut votes = vec![ballot(0, 1, shops.admission(1, true)), ballot(0, 2, shops.admission(2, true))];
        if needed == 3 {
            votes.push(ballot(1, 1, shops.admission(2, true)));
        }
        for voter in 0..3 {
            let roster = shops.count(&charter, &votes, Cuts::new());
            let enough = voter >= needed as usize;
            let expected = if enough { Some(Standing::Member) } else { Some(Standing::Pending) };
            if voter > 0 {
                assert_eq!(shops.standing(&roster, 3), expected, "{voter} of {needed}");
            }
            votes.push(ballot(voter, 9, shops.admission(3, false)));
        }
        // Shop 2 votes only where it is a core member: with two votes wanted, the founder alone names one.
        let roster = shops.count(&charter, &votes, Cuts::new());
        let expected = if needed == 2 { 2 } else { 3 };
        assert_eq!(roster.shop(shops.id(3)).unwrap().votes, expected, "{needed} wanted");
        assert_eq!(shops.standing(&roster, 3), Some(Standing::Member), "{needed} wanted");
    }
}

#[test]
fn a_removal_needs_its_votes_and_never_the_shops_own() {
    let shops = Shops::new(4);
    let charter = shops.charter(1, 2);
    let mut votes: Vec<_> = (1..4).map(|shop| ballot(0, shop as u64, shops.admission(shop, true))).collect();
    votes.push(ballot(1, 1, shops.removal(3, 5)));
    votes.push(ballot(3, 1, shops.removal(3, 5)));
    let roster = shops.count(&charter, &votes, Cuts::new());
    assert_eq!(shops.standing(&roster, 3), Some(Standing::Member));
    votes.push(ballot(2, 1, shops.removal(3, 5)));
    let roster = shops.count(&charter, &votes, Cuts::new());
    assert_eq!(shops.standing(&roster, 3), Some(Standing::Removed));
    assert_eq!(roster.counts_up_to(shops.id(3)), Some(5));
    // Another motion with an earlier seal, with enough votes of its own, holds; a later one changes nothing.
    for (seal, expected) in [(9, 5), (2, 2)] {
        votes.extend([1, 2].map(|voter| ballot(voter, 7 + seal, shops.removal(3, seal))));
        let roster = shops.count(&charter, &votes, Cuts::new());
        assert_eq!(roster.counts_up_to(shops.id(3)), Some(expected));
    }
}

#[test]
fn a_removal_lets_nobody_in() {
    let shops = Shops::new(3);
    let charter = shops.charter(3, 1);
    let votes = [ballot(0, 1, shops.admission(1, false)), ballot(0, 2, shops.removal(1, u64::MAX))];
    let roster = shops.count(&charter, &votes, Cuts::new());
    let member = roster.shop(shops.id(1)).unwrap();
    assert_eq!((member.standing, member.was_admitted()), (Standing::Pending, false));
}

#[test]
fn votes_past_a_seal_or_a_fork_neither_let_in_nor_put_out() {
    let shops = Shops::new(4);
    let charter = shops.charter(1, 1);
    let votes = [
        ballot(0, 1, shops.admission(1, true)),
        ballot(0, 2, shops.removal(1, 5)),
        ballot(1, 5, shops.admission(2, false)),
        ballot(1, 6, shops.admission(3, false)),
        ballot(1, 7, shops.removal(0, 2)),
    ];
    let roster = shops.count(&charter, &votes, Cuts::new());
    let standings: Vec<_> = (0..4).map(|shop| shops.standing(&roster, shop).unwrap()).collect();
    let expected = [Standing::Member, Standing::Removed, Standing::Member, Standing::Pending];
    assert_eq!(standings, expected);
    let frozen = shops.count(&charter, &votes[..1], Cuts::from([(shops.id(1), 4)]));
    assert_eq!(shops.standing(&frozen, 1), Some(Standing::Frozen));
    let forked = [&votes[..1], &votes[2..]].concat();
    let frozen = shops.count(&charter, &forked, Cuts::from([(shops.id(1), 4)]));
    assert_eq!(shops.standing(&frozen, 2), Some(Standing::Pending));
    assert_eq!(shops.standing(&frozen, 0), Some(Standing::Member));
}

#[test]
fn two_shops_that_seal_each_other_before_the_others_vote_are_both_out() {
    let shops = Shops::new(3);
    let charter = shops.charter(1, 1);
    let votes = [
        ballot(0, 1, shops.admission(1, true)),
        ballot(0, 2, shops.admission(2, true)),
        ballot(1, 4, shops.removal(2, 3)),
        ballot(2, 4, shops.removal(1, 3)),
    ];
    let roster = shops.count(&charter, &votes, Cuts::new());
    assert_eq!(shops.standing(&roster, 1), Some(Standing::Removed));
    assert_eq!(shops.standing(&roster, 2), Some(Standing::Removed));
    // Where a third one's vote seals one of the two before its vote, that one's vote is gone, and the other stays.
    let votes = [&votes[..], &[ballot(0, 3, shops.removal(1, 2))]].concat();
    let roster = shops.count(&charter, &votes, Cuts::new());
    assert_eq!(shops.standing(&roster, 1), Some(Standing::Removed));
    assert_eq!(shops.standing(&roster, 2), Some(Standing::Member));
}

#[test]
fn a_fork_before_a_seal_and_a_seal_before_a_fork_both_hold() {
    let shops = Shops::new(2);
    let charter = shops.charter(1, 1);
    let votes = [ballot(0, 1, shops.admission(1, false)), ballot(0, 2, shops.removal(1, 5))];
    for (fork, expected) in [(3, 3), (8, 5)] {
        let roster = shops.count(&charter, &votes, Cuts::from([(shops.id(1), fork)]));
        let member = roster.shop(shops.id(1)).unwrap();
        assert_eq!((member.standing, member.counts_up_to), (Standing::Removed, Some(expected)));
    }
}

mod continued;
mod invited;
mod orders;
mod rules;
