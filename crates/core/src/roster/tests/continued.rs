//! Who continues whom is a function of the set of voices and forks, too.

use hutong_record::Continuation;

use super::*;

/// Voices with their times, and the same as records.
struct Street {
    shops: Shops,
    charter: Charter,
    council: Council,
    logs: Vec<Vec<Record>>,
    rng: StdRng,
}

impl Street {
    /// Shops 0 to 3 came in one after the other; 4 and 5 did not.
    fn new() -> Self {
        let shops = Shops::new(6);
        let charter = shops.charter(1, 1);
        let logs = vec![Vec::new(); 6];
        let mut street =
            Self { shops, charter, council: Council::default(), logs, rng: StdRng::seed_from_u64(3) };
        for shop in 1..=3 {
            let motion = street.shops.admission(shop, false);
            street.vote(10 * shop as i64, 0, motion);
        }
        street
    }

    fn say(&mut self, ms: i64, shop: usize, kind: Kind, message: &[u8]) {
        let log = &mut self.logs[shop];
        let draft = Draft {
            alliance: self.charter.id,
            shop: self.shops.id(shop),
            key_epoch: 0,
            incarnation: 0,
            sequence: log.len() as u64 + 1,
            previous: log.last().map(Record::id),
            time: UnixMillis::new(ms).unwrap(),
            kind,
            audience: Audience::Alliance,
        };
        let (author, sequence, at) = (draft.shop, draft.sequence, draft.time);
        let payload = Payload::clear(message, &mut self.rng).unwrap();
        log.push(sign(draft, payload, &self.shops.0[shop].1));
        let message = message.to_vec().into();
        let heard = self.council.hear(self.charter.id, kind, at, &message, &self.shops.1, &Afresh);
        self.council.add(author, sequence, heard.unwrap().unwrap());
    }

    fn vote(&mut self, ms: i64, shop: usize, motion: Vec<u8>) {
        let vote = proto::Vote { motion: motion.into(), ..Default::default() };
        self.say(ms, shop, Kind::Vote, &vote.encode_to_vec());
    }

    /// What the phrase of `old` says of `new`.
    fn says(&self, old: usize, new: usize) -> proto::SignedContinuation {
        let seed = RecoverySeed::new(*blake3::hash(&(old + 1).to_be_bytes()).as_bytes());
        let (old, new) = (self.shops.id(old), self.shops.id(new));
        Continuation::create(&seed, self.charter.id, old, new).unwrap().signed().clone()
    }

    /// The motion to take `new` in as the one that continues `old`.
    fn admission(&self, old: usize, new: usize) -> Vec<u8> {
        let identity = Some(self.shops.0[new].0.signed().clone());
        let continuation = Some(self.says(old, new));
        let admission = proto::Admission { identity, continuation, ..Default::default() };
        proto::Motion { motion: Some(proto::motion::Motion::Admission(admission)), round: 0 }.encode_to_vec()
    }

    fn roster(&self, forked: &[usize]) -> Roster {
        let forks = forked.iter().map(|shop| (self.shops.id(*shop), 0)).collect();
        Roster::count(&self.charter, &self.council, &forks)
    }

    fn continues(&self, forked: &[usize], new: usize) -> Vec<ShopId> {
        self.roster(forked).continues(self.shops.id(new)).collect()
    }

    fn continued_by(&self, forked: &[usize], old: usize) -> Option<ShopId> {
        self.roster(forked).continued_by(self.shops.id(old))
    }
}

#[test]
fn a_word_counts_where_a_shop_that_was_ever_in_brings_it() {
    let mut street = Street::new();
    let motion = street.admission(1, 4);
    street.vote(40, 5, motion.clone());
    assert_eq!(street.continues(&[1], 4), [], "who was never in, not all have heard");
    street.vote(50, 2, motion);
    assert_eq!(street.continues(&[1], 4), [street.shops.id(1)], "a member without a vote proposes it");
    assert_eq!(street.continued_by(&[1], 1), None, "it is not in");
    let digest = street.roster(&[1]).digest();
    street.vote(60, 0, street.shops.admission(4, false));
    assert_eq!(street.continued_by(&[1], 1), Some(street.shops.id(4)), "whatever the carried motion says");
    assert_ne!(street.roster(&[1]).digest(), digest);
}

#[test]
fn a_word_counts_once_the_old_log_is_closed_and_for_who_came_in_later() {
    let mut street = Street::new();
    let says = street.says(2, 3).encode_to_vec();
    street.say(40, 3, Kind::Continuation, &says);
    let says = street.says(2, 1).encode_to_vec();
    street.say(50, 1, Kind::Continuation, &says);
    assert_eq!(street.continued_by(&[], 2), None, "its log is open");
    assert_eq!(street.continued_by(&[2], 2), Some(street.shops.id(3)));
    assert_eq!(street.continues(&[2], 1), [], "shop 1 was in before shop 2");
    assert_eq!(street.continued_by(&[2, 3], 2), None, "past the new shop's own fork nothing counts");
    let other_s = street.says(2, 4).encode_to_vec();
    street.say(60, 0, Kind::Continuation, &other_s);
    street.vote(70, 0, street.shops.admission(4, false));
    assert_eq!(street.continues(&[2], 4), [], "a word in another shop's log");
}

#[test]
fn any_order_of_the_records_gives_the_same() {
    let mut street = Street::new();
    let motion = street.admission(1, 4);
    street.vote(40, 2, motion);
    let says = street.says(1, 3).encode_to_vec();
    street.say(45, 3, Kind::Continuation, &says);
    street.vote(50, 0, street.shops.removal(1, 0));
    street.vote(60, 0, street.shops.admission(4, false));
    let says = street.says(1, 4).encode_to_vec();
    street.say(70, 4, Kind::Continuation, &says);
    let first = fold(&street.charter, street.shops.id(0), &street.logs, 0);
    assert_eq!(first.0.continued_by(street.shops.id(1)), Some(street.shops.id(3)), "of two the first in");
    for order in 1..200 {
        let other = fold(&street.charter, street.shops.id(2), &street.logs, order);
        assert_eq!(other, first, "order {order}");
    }
}

#[test]
fn an_admission_with_a_word_that_is_not_its_shop_s_is_no_motion() {
    let street = Street::new();
    let identity = Some(street.shops.0[4].0.signed().clone());
    let mut forged = street.says(1, 4);
    forged.recovery_signature = vec![0; 64].into();
    for continuation in [street.says(1, 5), forged] {
        let continuation = Some(continuation);
        let admission = proto::Admission { identity: identity.clone(), continuation, ..Default::default() };
        let motion = proto::motion::Motion::Admission(admission);
        let bytes = proto::Motion { motion: Some(motion), round: 0 }.encode_to_vec();
        let refused = Motion::parse(&bytes, Some(&street.shops.1)).unwrap_err();
        assert_eq!(refused.fact("field"), Some("continuation"));
    }
}
