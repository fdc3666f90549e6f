//! Fork proofs that somebody changed, mixed or made up. What each proves is decided here by what the street's shops truly
//! signed, and compared with what verifying says: nobody is accused who did not fork its log, and no fork is denied.
//!
//! `HUTONG_MUTATIONS` tries so many instead of a share; a failure names the case, and `HUTONG_MUTATION=CASE` replays it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use hutong_record::{
    AllianceId, Audience, Draft, ForkProof, ForkProofError, PROOF_CHAIN_BYTES_MAX, Payload, PublicKey,
    RUN_RECORDS_MAX, Record, ShopId, SigningKey, UnixMillis, proto, proto::Kind, sign,
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// How many are tried in every run.
const MUTATIONS_DEFAULT: u64 = 40_000;
/// Keys that each shop has.
const EPOCHS: u32 = 3;

/// The shops: one that forked its log, one that never did, and one that nobody knows.
const FORKER: u8 = 1;
const HONEST: u8 = 2;
const STRANGER: u8 = 3;

/// A record that a shop truly signed, and the one before it in its log.
struct Truth {
    record: Record,
    parent: Option<usize>,
}

/// Everything that was ever signed on this street, and what a forger can take parts from.
struct Street {
    truths: Vec<Truth>,
    by_header: HashMap<Bytes, usize>,
    /// Proofs of forks that happened.
    genuine: Vec<proto::ForkProof>,
    /// What looks like a proof, and is none: of honest logs, as anybody can put them together.
    empty: Vec<proto::ForkProof>,
    /// Signed headers that no shop signed: each in the name of a shop, by another key.
    forged: Vec<proto::SignedHeader>,
}

fn shop(number: u8) -> ShopId {
    ShopId::new([number; 32])
}

fn signing_key(shop: u8, epoch: u32) -> SigningKey {
    SigningKey::from_seed(&[shop * 16 + u8::try_from(epoch).expect("few"); 32])
}

fn known_keys() -> BTreeMap<(ShopId, u32), PublicKey> {
    let keys = [FORKER, HONEST].into_iter().flat_map(|s| (0..EPOCHS).map(move |epoch| (s, epoch)));
    keys.map(|(s, epoch)| ((shop(s), epoch), signing_key(s, epoch).public())).collect()
}

/// Where a log goes on: alliance, key epoch, incarnation, and what makes its records differ.
#[derive(Clone, Copy)]
struct Branch {
    shop: u8,
    alliance: u8,
    epoch: u32,
    incarnation: u32,
    text: u8,
}

impl Street {
    fn new() -> Self {
        let mut street = Self {
            truths: Vec::new(),
            by_header: HashMap::new(),
            genuine: Vec::new(),
            empty: Vec::new(),
            forged: Vec::new(),
        };
        street.fork();
        street.honest_logs();
        street.forge();
        street
    }

    fn draft(&self, branch: Branch, parent: Option<usize>) -> Draft {
        let before = parent.map(|parent| &self.truths[parent].record);
        Draft {
            alliance: AllianceId::new([branch.alliance; 32]),
            shop: shop(branch.shop),
            key_epoch: branch.epoch,
            incarnation: branch.incarnation,
            sequence: before.map_or(1, |before| before.header().sequence + 1),
            previous: before.map(Record::id),
            time: UnixMillis::EPOCH,
            kind: Kind::Profile,
            audience: Audience::Alliance,
        }
    }

    /// So many records more after one; answers with the places of all.
    fn write(&mut self, branch: Branch, after: Option<usize>, count: usize) -> Vec<usize> {
        let (mut parent, mut places) = (after, Vec::new());
        for _ in 0..count {
            let draft = self.draft(branch, parent);
            let record = sign(draft, payload(branch.text), &signing_key(branch.shop, branch.epoch));
            let place = self.truths.len();
            self.by_header.insert(record.header_bytes().clone(), place);
            self.truths.push(Truth { record, parent });
            places.push(place);
            parent = Some(place);
        }
        places
    }

    /// The records at these places; only the last one keeps its signature.
    fn branch(&self, places: &[usize]) -> Vec<Record> {
        let last = places.len() - 1;
        let record = |(n, place): (usize, &usize)| {
            let record = self.truths[*place].record.clone();
            if n == last { record } else { record.without_signature() }
        };
        places.iter().enumerate().map(record).collect()
    }

    fn proof(&self, one: &[usize], other: &[usize]) -> proto::ForkProof {
        ForkProof::from_branches(&self.branch(one), &self.branch(other)).expect("short enough")
    }

    /// A log that goes on in two ways from place 5, in one of them over two key epochs; and an incarnation that began at
    /// two places.
    fn fork(&mut self) {
        let at = |epoch, incarnation, text| Branch { shop: FORKER, alliance: 1, epoch, incarnation, text };
        let common = self.write(at(0, 0, 0), None, 4);
        let after = common.last().copied();
        let one = self.write(at(0, 0, 1), after, 9);
        let mut other = self.write(at(0, 0, 2), after, 3);
        other.extend(self.write(at(1, 0, 2), other.last().copied(), 4));
        for (a, b) in [(1, 1), (1, 4), (5, 3), (9, 7), (2, 7)] {
            self.genuine.push(self.proof(&one[..a], &other[..b]));
        }
        let late = self.write(at(1, 1, 3), Some(one[2]), 3);
        let early = self.write(at(2, 1, 4), Some(common[1]), 5);
        let late: Vec<_> = common[2..].iter().chain(&one[..3]).chain(&late).copied().collect();
        self.genuine.push(self.proof(&late, &early));
    }

    /// A log that was restored from a backup after its last records were lost, and the same shop's log in another
    /// alliance.
    fn honest_logs(&mut self) {
        let at = |alliance, incarnation, text| Branch { shop: HONEST, alliance, epoch: 0, incarnation, text };
        let log = self.write(at(1, 0, 5), None, 9);
        let restored = self.write(at(1, 1, 6), Some(log[5]), 6);
        let again = self.write(at(1, 2, 7), Some(restored[1]), 4);
        let elsewhere = self.write(at(2, 0, 8), None, 9);
        let pairs: [(&[usize], &[usize]); 6] = [
            (&log[6..8], &restored[..2]),
            (&log[6..7], &restored[..1]),
            (&restored[2..4], &again[..2]),
            (&log[2..5], &elsewhere[2..6]),
            (&log[3..7], &log[3..5]),
            (&log[1..2], &log[2..3]),
        ];
        for (one, other) in pairs {
            self.empty.push(self.proof(one, other));
        }
    }

    /// In the name of each shop and at each place: by a stranger's key, by another shop's, by another epoch's.
    fn forge(&mut self) {
        let alien = Branch { shop: STRANGER, alliance: 1, epoch: 0, incarnation: 0, text: 9 };
        let strangers = self.write(alien, None, 6);
        for place in 0..self.truths.len() {
            let header = self.truths[place].record.header().clone();
            let claimed = header.shop.as_bytes()[0];
            let others = [
                signing_key(STRANGER, 0),
                signing_key(FORKER + HONEST - claimed.min(HONEST), header.key_epoch),
                signing_key(claimed, (header.key_epoch + 1) % EPOCHS),
            ];
            for (n, key) in others.iter().enumerate() {
                // The very record, signed again by another key; and one that was never written, in its place.
                for text in [None, Some(20 + u8::try_from(n).expect("few"))] {
                    let draft = Draft {
                        alliance: header.alliance,
                        shop: header.shop,
                        key_epoch: header.key_epoch,
                        incarnation: header.incarnation,
                        sequence: header.sequence,
                        previous: header.previous,
                        time: header.time,
                        kind: header.kind,
                        audience: header.audience.clone(),
                    };
                    let record = match text {
                        None => self.truths[place].record.clone().signed_again(key),
                        Some(text) => sign(draft, payload(text), key),
                    };
                    self.forged.extend(record.signed_header());
                }
            }
        }
        // Nobody's key is known for it, so it is no truth.
        for place in strangers {
            self.by_header.remove(self.truths[place].record.header_bytes());
        }
    }

    /// What a message truly proves: the two records at the forked place. Both sides must be chains of records that their
    /// shop signed, and no honest log holds both of these.
    fn meaning(&self, proof: &proto::ForkProof) -> Option<[usize; 2]> {
        let chains = [&proof.first_chain, &proof.second_chain];
        let bytes: usize = chains.iter().flat_map(|chain| chain.iter()).map(Bytes::len).sum();
        if bytes > PROOF_CHAIN_BYTES_MAX || chains.iter().any(|chain| chain.len() >= RUN_RECORDS_MAX) {
            return None;
        }
        let [a, a_signed] = self.side(proof.first.as_ref()?, &proof.first_chain)?;
        let [b, b_signed] = self.side(proof.second.as_ref()?, &proof.second_chain)?;
        let header = |place: usize| self.truths[place].record.header();
        let claim = |place: usize| (header(place).alliance, header(place).shop, header(place).sequence);
        let one_incarnation = header(a).incarnation == header(b).incarnation
            || header(a_signed).incarnation == header(b_signed).incarnation;
        (a != b && claim(a) == claim(b) && one_incarnation).then_some([a, b])
    }

    /// The place that a side leads to, and the one that is signed.
    fn side(&self, signed: &proto::SignedHeader, chain: &[Bytes]) -> Option<[usize; 2]> {
        let start = *self.by_header.get(&signed.header)?;
        if self.truths[start].record.signature().map(|s| &s[..]) != Some(&signed.signature[..]) {
            return None;
        }
        let mut place = start;
        for bytes in chain {
            let before = *self.by_header.get(bytes)?;
            if self.truths[place].parent != Some(before) {
                return None;
            }
            place = before;
        }
        Some([place, start])
    }

    /// Two chains of any records that were truly signed: honest ones mostly, forks now and then.
    fn composed(&self, rng: &mut StdRng) -> proto::ForkProof {
        let mut side = || {
            let start = rng.random_range(0..self.truths.len());
            let (mut place, mut chain) = (start, Vec::new());
            for _ in 0..rng.random_range(0..5) {
                let Some(parent) = self.truths[place].parent else { break };
                chain.push(self.truths[parent].record.header_bytes().clone());
                place = parent;
            }
            (self.truths[start].record.signed_header(), chain)
        };
        let ((first, first_chain), (second, second_chain)) = (side(), side());
        proto::ForkProof { first, second, first_chain, second_chain }
    }

    /// A proof to begin with.
    fn base(&self, rng: &mut StdRng) -> proto::ForkProof {
        match rng.random_range(0..4) {
            0 | 1 => self.genuine.choose(rng).expect("there are some").clone(),
            2 => self.empty.choose(rng).expect("there are some").clone(),
            _ => self.composed(rng),
        }
    }

    /// Any header that somebody has seen.
    fn any_header(&self, rng: &mut StdRng) -> Bytes {
        if rng.random_ratio(1, 5) {
            return self.forged.choose(rng).expect("there are some").header.clone();
        }
        self.truths.choose(rng).expect("there are some").record.header_bytes().clone()
    }

    fn any_signed(&self, rng: &mut StdRng) -> Option<proto::SignedHeader> {
        if rng.random() {
            return self.forged.choose(rng).cloned();
        }
        self.truths.choose(rng).expect("there are some").record.signed_header()
    }

    /// The header before the one that a side leads to.
    fn parent_of(&self, signed: Option<&proto::SignedHeader>, chain: &[Bytes]) -> Option<Bytes> {
        let end = chain.last().or(signed.map(|signed| &signed.header))?;
        let parent = self.truths[*self.by_header.get(end)?].parent?;
        Some(self.truths[parent].record.header_bytes().clone())
    }

    /// One change. None: there is nothing to change in this way.
    fn change(&self, proof: &mut proto::ForkProof, rng: &mut StdRng) -> Option<()> {
        // Most changes are made on either side.
        let mirrored = rng.random();
        if mirrored {
            mirror(proof);
        }
        let done = self.change_first(proof, rng);
        if mirrored && rng.random() {
            mirror(proof);
        }
        done
    }

    fn change_first(&self, proof: &mut proto::ForkProof, rng: &mut StdRng) -> Option<()> {
        let chain_length = proof.first_chain.len();
        match rng.random_range(0..26) {
            0..4 => flip(part_of(proof, rng)?, rng),
            4 => std::mem::swap(&mut proof.first, &mut proof.second),
            5 => std::mem::swap(&mut proof.first_chain, &mut proof.second_chain),
            6 => {
                let (Some(first), Some(second)) = (&mut proof.first, &mut proof.second) else { return None };
                std::mem::swap(&mut first.signature, &mut second.signature);
            }
            7 => proof.first = self.any_signed(rng),
            8 => {
                let other = self.any_signed(rng)?;
                proof.first.as_mut()?.signature = other.signature;
            }
            9 => {
                // The same header, signed by a key that is not its author's at that time.
                let header = &proof.first.as_ref()?.header;
                proof.first = self.forged.iter().find(|forged| forged.header == header).cloned();
            }
            10 => drop(proof.first_chain.pop()?),
            11 if chain_length > 0 => drop(proof.first_chain.remove(rng.random_range(0..chain_length))),
            12 if chain_length > 0 => {
                proof.first_chain[rng.random_range(0..chain_length)] = self.any_header(rng);
            }
            13 => {
                let header = self.any_header(rng);
                proof.first_chain.insert(rng.random_range(0..=chain_length), header);
            }
            14 if chain_length > 1 => {
                let (one, other) = (rng.random_range(0..chain_length), rng.random_range(0..chain_length));
                proof.first_chain.swap(one, other);
            }
            15 => {
                // The same record twice, by whatever way.
                proof.second = proof.first.clone();
                proof.second_chain = proof.first_chain.clone();
            }
            16 => {
                // Both sides go on to what came before; at last that is the same record.
                for _ in 0..rng.random_range(1..4) {
                    let one = self.parent_of(proof.first.as_ref(), &proof.first_chain)?;
                    let other = self.parent_of(proof.second.as_ref(), &proof.second_chain)?;
                    proof.first_chain.push(one);
                    proof.second_chain.push(other);
                }
            }
            17 => {
                let before = self.parent_of(proof.first.as_ref(), &proof.first_chain)?;
                proof.first_chain.push(before);
            }
            18 => {
                let other = self.base(rng);
                (proof.second, proof.second_chain) = (other.second, other.second_chain);
            }
            19 => {
                let header = proof.second.as_ref()?.header.clone();
                proof.first_chain.insert(rng.random_range(0..=chain_length), header);
            }
            // Said the other way round: as true as before.
            20..23 => mirror(proof),
            23 => proof.first = None,
            24 => {
                // Longer than any chain may be, in bytes or in headers.
                let header = self.any_header(rng);
                proof.first_chain.extend(std::iter::repeat_n(header, rng.random_range(60..300)));
            }
            25 => {
                let mut bytes = proof.encode_to_vec().into();
                flip(&mut bytes, rng);
                *proof = proto::ForkProof::decode(bytes).ok()?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The changed proof of a case. The same number gives the same one, always.
    fn mutated(&self, case: u64) -> (proto::ForkProof, proto::ForkProof) {
        let mut rng = StdRng::seed_from_u64(case);
        loop {
            let base = self.base(&mut rng);
            let mut proof = base.clone();
            let changes = if rng.random_ratio(3, 4) { 1 } else { rng.random_range(2..5) };
            let changed = (0..changes).filter_map(|_| self.change(&mut proof, &mut rng)).count();
            if changed > 0 {
                return (base, proof);
            }
        }
    }
}

fn payload(text: u8) -> Payload {
    Payload::clear(&[text; 8], &mut StdRng::seed_from_u64(u64::from(text))).expect("short")
}

fn mirror(proof: &mut proto::ForkProof) {
    std::mem::swap(&mut proof.first, &mut proof.second);
    std::mem::swap(&mut proof.first_chain, &mut proof.second_chain);
}

/// A header or a signature of a proof.
fn part_of<'p>(proof: &'p mut proto::ForkProof, rng: &mut StdRng) -> Option<&'p mut Bytes> {
    let mut parts: Vec<&mut Bytes> = Vec::new();
    for signed in [&mut proof.first, &mut proof.second].into_iter().flatten() {
        parts.extend([&mut signed.header, &mut signed.signature]);
    }
    parts.extend(proof.first_chain.iter_mut().chain(&mut proof.second_chain));
    let at = (!parts.is_empty()).then(|| rng.random_range(0..parts.len()))?;
    parts.into_iter().nth(at)
}

/// Bits turned, bytes replaced, cut off or put on.
fn flip(part: &mut Bytes, rng: &mut StdRng) {
    let mut bytes = part.to_vec();
    if bytes.is_empty() {
        bytes.push(rng.random());
    }
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..8) {
            0..5 => bytes[at] ^= 1 << rng.random_range(0..8),
            5 => bytes[at] = rng.random(),
            6 => bytes.truncate(at.max(1)),
            _ => bytes.push(rng.random()),
        }
    }
    *part = bytes.into();
}

/// Why proofs are refused, in the order of the checks.
const REASONS: [&str; 7] =
    ["malformed", "same record", "length", "header", "chain", "other place", "signature"];

const fn reason(error: &ForkProofError) -> usize {
    match error {
        ForkProofError::Malformed => 0,
        ForkProofError::SameRecord => 1,
        ForkProofError::Length => 2,
        ForkProofError::Header(_) => 3,
        ForkProofError::Chain => 4,
        ForkProofError::OtherPlace => 5,
        ForkProofError::Signature(_) => 6,
    }
}

/// What all cases came to.
#[derive(Debug, Default)]
struct Tally {
    /// By reason.
    refused: [AtomicU64; REASONS.len()],
    /// Accepted, and true.
    still_true: AtomicU64,
    /// Of these, proofs of another pair of records than the one that was changed.
    true_of_others: AtomicU64,
    /// Not changed at all in the end.
    same: AtomicU64,
}

fn try_case(street: &Street, keys: &BTreeMap<(ShopId, u32), PublicKey>, case: u64, tally: &Tally) {
    let (base, proof) = street.mutated(case);
    let truth = street.meaning(&proof);
    let verdict = ForkProof::verify(&proof, |shop, epoch| keys.get(&(shop, epoch)).copied());
    match (&truth, &verdict) {
        (None, Err(error)) => &tally.refused[reason(error)],
        (Some(places), Ok(verified)) => {
            let ids = places.map(|place| street.truths[place].record.id());
            assert_eq!(verified.record_ids(), ids, "case {case}: another fork than the one that is proven");
            assert_eq!(verified.shop(), shop(FORKER), "case {case}: an honest shop is accused");
            if proof == base {
                &tally.same
            } else if street.meaning(&base).is_none_or(|[a, b]| *places != [a, b] && *places != [b, a]) {
                &tally.true_of_others
            } else {
                &tally.still_true
            }
        }
        (None, Ok(_)) => panic!("case {case}: a false accusation is accepted: {proof:?}"),
        (Some(_), Err(error)) => panic!("case {case}: a true proof is refused ({error}): {proof:?}"),
    }
    .fetch_add(1, Ordering::Relaxed);
}

#[test]
fn proofs_that_nobody_changed_are_accepted_and_those_of_honest_logs_are_not() {
    let (street, keys) = (Street::new(), known_keys());
    let key_of = |shop, epoch| keys.get(&(shop, epoch)).copied();
    for proof in &street.genuine {
        let verified = ForkProof::verify(proof, key_of).expect("a fork that happened");
        assert!(street.meaning(proof).is_some());
        assert_eq!(verified.shop(), shop(FORKER));
    }
    for proof in &street.empty {
        assert_eq!(street.meaning(proof), None);
        ForkProof::verify(proof, key_of).expect_err("no fork");
    }
    let genuine = &street.genuine[0];
    for forged in &street.forged {
        let proof = proto::ForkProof { first: Some(forged.clone()), ..genuine.clone() };
        ForkProof::verify(&proof, key_of).expect_err("signed by another key");
    }
}

#[test]
fn a_changed_proof_is_accepted_exactly_where_it_is_true() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let (street, keys, tally) = (Street::new(), known_keys(), Tally::default());
    if let Some(case) = number("HUTONG_MUTATION") {
        return try_case(&street, &keys, case, &tally);
    }
    let cases = number("HUTONG_MUTATIONS").unwrap_or(MUTATIONS_DEFAULT);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (street, keys, tally) = (&street, &keys, &tally);
            scope.spawn(move || {
                (thread..cases)
                    .step_by(usize::try_from(threads).expect("few"))
                    .for_each(|case| try_case(street, keys, case, tally));
            });
        }
    });
    let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let refused = tally.refused.each_ref().map(counted);
    let accepted = [&tally.still_true, &tally.true_of_others, &tally.same].map(counted);
    println!(
        "{cases} changed proofs in {:?}, no false accept and no false refusal. Refused: {:?}. True: as before {}, of \
         other records {}, unchanged in the end {}",
        started.elapsed(),
        REASONS.iter().zip(refused).collect::<Vec<_>>(),
        accepted[0],
        accepted[1],
        accepted[2]
    );
    assert_eq!(refused.iter().chain(&accepted).sum::<u64>(), cases);
    if cases >= MUTATIONS_DEFAULT {
        assert!(refused.iter().chain(&accepted).all(|count| *count > 0), "changes of every kind occur");
    }
}
