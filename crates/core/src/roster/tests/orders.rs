//! Five hundred shops in many orders: what is heard is a set, and what it comes to is a function of the set.

use super::*;

const SHOPS: usize = 500;
const CORE: usize = 24;
const DAY: i64 = 86_400_000;
/// Orders that are tried in every run; `HUTONG_PERMUTATIONS` names another number.
const ORDERS_DEFAULT: usize = 300;
/// Of so many orders one is counted as a whole, at a random place on the way and at the end.
const COUNTED_EVERY: usize = 64;

/// A record that speaks to the council.
struct Said {
    author: ShopId,
    sequence: u64,
    at: UnixMillis,
    kind: Kind,
    message: bytes::Bytes,
}

/// A street's life in government: admissions with objections, amendments, strikes and appeals, removals, a renewal with
/// everybody's choice, departures; clocks that are days apart; days on which shops were heard.
fn life(shops: &Shops, seed: u64) -> (Vec<Said>, Vec<(ShopId, i64)>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut said = Vec::new();
    let mut sequences = vec![0; SHOPS];
    let mut say = |rng: &mut StdRng, shop: usize, day: i64, kind, message: Vec<u8>| {
        sequences[shop] += 1;
        let at = UnixMillis::new(day * DAY + rng.random_range(0..2 * DAY)).unwrap();
        said.push(Said {
            author: shops.id(shop),
            sequence: sequences[shop],
            at,
            kind,
            message: message.into(),
        });
    };
    let vote = |motion: proto::motion::Motion, against| {
        let motion = proto::Motion { motion: Some(motion), round: 0 }.encode_to_vec().into();
        proto::Vote { motion, against, ..Default::default() }.encode_to_vec()
    };
    let id = |shop: usize| bytes::Bytes::from(shops.id(shop).as_bytes().to_vec());
    let admission = |shop: usize| {
        let identity = Some(shops.0[shop].0.signed().clone());
        let category = if shop.is_multiple_of(5) { String::new() } else { format!("行当{}", shop % 40) };
        proto::motion::Motion::Admission(proto::Admission {
            identity,
            core: shop < CORE,
            category,
            continuation: None,
        })
    };
    for shop in 1..SHOPS {
        let day = shop as i64 / 10;
        say(&mut rng, 0, day, Kind::Vote, vote(admission(shop), false));
        for _ in 0..2 {
            let voter = rng.random_range(0..CORE.min(shop.max(2)));
            let against = rng.random_ratio(1, 8);
            say(&mut rng, voter, day, Kind::Vote, vote(admission(shop), against));
        }
    }
    for n in 0..120 {
        let day = rng.random_range(20..120);
        let shop = rng.random_range(1..SHOPS);
        let motion = match n % 4 {
            0 => proto::motion::Motion::Removal(proto::Removal {
                shop_id: id(rng.random_range(1..CORE)),
                last_sequence: rng.random_range(0..200),
                reason: String::new(),
            }),
            1 => proto::motion::Motion::Strike(proto::Strike {
                shop_id: id(shop % 40),
                cause: proto::StrikeCause::Other.into(),
                reason: format!("第{n}次"),
                ..Default::default()
            }),
            2 => proto::motion::Motion::CoreChange(proto::CoreChange {
                shop_id: id(rng.random_range(0..CORE * 2)),
                core: rng.random(),
                reason: String::new(),
            }),
            _ => proto::motion::Motion::Amendment(proto::Amendment {
                change: Some(proto::Governance {
                    dormancy_days: Some(rng.random_range(7..60)),
                    admission_votes: Some(rng.random_range(1..4)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        };
        let bytes = proto::Motion { motion: Some(motion.clone()), round: 0 }.encode_to_vec();
        for _ in 0..rng.random_range(1..6) {
            let voter = rng.random_range(0..CORE);
            let against = rng.random_ratio(1, 10);
            say(&mut rng, voter, day, Kind::Vote, vote(motion.clone(), against));
        }
        let appeal =
            proto::Appeal { strike_id: motion_id(&bytes).to_vec().into(), statement: "不服".into() };
        say(&mut rng, shop % 40, day, Kind::Appeal, appeal.encode_to_vec());
    }
    let renewal = proto::motion::Motion::Renewal(proto::Renewal { season: 2, ends_unix_ms: 400 * DAY });
    for voter in 0..CORE {
        say(&mut rng, voter, 130, Kind::Vote, vote(renewal.clone(), false));
    }
    for shop in 0..SHOPS {
        let choice = proto::SeasonChoice { season: 2, goes_on: rng.random_ratio(4, 5) };
        say(&mut rng, shop, 140, Kind::SeasonChoice, choice.encode_to_vec());
        if shop % 50 == 7 {
            say(&mut rng, shop, 150, Kind::Departure, proto::Departure::default().encode_to_vec());
        }
    }
    let heard = (0..SHOPS).flat_map(|shop| (0..12).map(move |n| (shop, n)));
    let heard = heard.map(|(shop, n)| (shops.id(shop), n * 14 + rng.random_range(0..9))).collect();
    (said, heard)
}

fn charter(shops: &Shops) -> Charter {
    charter_of(&shops.0[0].0, 2, 3, |charter| {
        charter.governance = Some(proto::Governance {
            objection_ms: Some(3 * DAY),
            dormancy_days: Some(21),
            category_shops: Some(9),
            strike_limit: Some(2),
            amendment_percent: Some(0),
            season_end_unix_ms: Some(160 * DAY),
            ..Default::default()
        });
    })
}

fn shuffle<T>(items: &mut [T], rng: &mut StdRng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

#[test]
fn five_hundred_shops_come_to_the_same_roster_in_any_order() {
    let orders = std::env::var("HUTONG_PERMUTATIONS").map_or(ORDERS_DEFAULT, |n| n.parse().unwrap());
    let shops = Shops::new(SHOPS);
    let charter = charter(&shops);
    let (said, heard) = life(&shops, 7);
    let parsed = {
        let empty = Council::default();
        // Each vote brings its motion; they share it here, so that a hundred thousand orders do not copy it.
        let mut motions = BTreeMap::new();
        let mut hear = |said: &Said| {
            let mut raised =
                empty.hear(ALLIANCE, said.kind, said.at, &said.message, &shops.1, &Afresh).unwrap().unwrap();
            raised.motion =
                raised.motion.map(|(id, motion)| (id, motions.entry(id).or_insert(motion).clone()));
            raised
        };
        said.iter().map(|said| (said.author, said.sequence, hear(said))).collect::<Vec<_>>()
    };
    let take = |places: &[usize], days: &[(ShopId, i64)]| {
        let mut council = Council::default();
        for place in places {
            let (author, sequence, raised) = &parsed[*place];
            assert!(council.add(*author, *sequence, raised.clone()));
        }
        for (shop, day) in days {
            council.heard.insert(*shop, *day, 1);
        }
        council
    };
    let mut places: Vec<_> = (0..parsed.len()).collect();
    let mut days = heard;
    let council = take(&places, &days);
    let roster = Roster::count(&charter, &council, &Cuts::new());
    check_it_is_a_life(&roster);
    let mut rng = StdRng::seed_from_u64(8);
    for order in 0..orders {
        shuffle(&mut places, &mut rng);
        shuffle(&mut days, &mut rng);
        let other = take(&places, &days);
        assert!(other == council, "order {order}: another council");
        if order % COUNTED_EVERY == 0 {
            assert!(Roster::count(&charter, &other, &Cuts::new()) == roster, "order {order}: another roster");
        }
    }
}

/// All that can happen did.
fn check_it_is_a_life(roster: &Roster) {
    let states = |is_it: fn(&MotionState) -> bool| {
        roster.government().motions.values().filter(|tally| is_it(&tally.state)).count()
    };
    assert!(states(|s| matches!(s, MotionState::Carried { .. })) > 300, "motions are carried");
    assert!(states(|s| matches!(s, MotionState::Objected { .. })) > 10, "admissions are objected to");
    assert!(states(|s| matches!(s, MotionState::Lapsed { .. })) > 3, "amendments lapse");
    assert!(roster.government().amendment.is_some() && !roster.government().strikes.is_empty());
    let standings = |standing| roster.iter().filter(|(_, member)| member.standing == standing).count();
    assert!(standings(Standing::Member) > 200 && standings(Standing::Removed) > 1);
    let barred = |cause| roster.iter().filter(|(_, m)| m.bars.iter().any(|bar| bar.cause == cause)).count();
    assert!(barred(BarCause::SeasonOver) > 20 && barred(BarCause::Departed) > 3);
}

/// The same through the fold, which hears one record after the other and recounts at each: a smaller street.
#[test]
fn folding_voices_in_any_order_gives_the_same_roster_and_digest() {
    let shops = Shops::new(12);
    let charter = charter_of(&shops.0[0].0, 2, 2, |charter| {
        charter.governance = Some(proto::Governance {
            objection_ms: Some(2 * DAY),
            dormancy_days: Some(7),
            category_shops: Some(2),
            ..Default::default()
        });
    });
    for seed in 0..6 {
        let logs = small_life(&shops, &charter, seed);
        let first = fold(&charter, shops.id(0), &logs, 0);
        for order in 1..5 {
            let other = fold(&charter, shops.id(1), &logs, order);
            assert!(other == first, "life {seed}, order {order}: set the loops to these two to replay");
        }
    }
}

/// Records of twelve shops over sixty days, with silences.
fn small_life(shops: &Shops, charter: &Charter, seed: u64) -> Vec<Vec<Record>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut logs: Vec<Vec<Record>> = shops.0.iter().map(|_| Vec::new()).collect();
    let count = logs.len();
    for step in 0..70 {
        let author = if step < 12 { rng.random_range(0..2) } else { rng.random_range(0..count) };
        let about = if step < 12 { 1 + step % (count - 1) } else { rng.random_range(1..count) };
        let shop_id = bytes::Bytes::from(shops.id(about).as_bytes().to_vec());
        let motion = match rng.random_range(0..8) {
            _ if step < 12 => shops.admission(about, about < 5),
            0..2 => shops.removal(about, rng.random_range(0..8)),
            2 => proto::Motion {
                motion: Some(proto::motion::Motion::CoreChange(proto::CoreChange {
                    shop_id,
                    core: rng.random(),
                    reason: String::new(),
                })),
                round: 0,
            }
            .encode_to_vec(),
            3 => proto::Motion {
                motion: Some(proto::motion::Motion::Strike(proto::Strike {
                    shop_id,
                    cause: proto::StrikeCause::Other.into(),
                    reason: "一".into(),
                    ..Default::default()
                })),
                round: 0,
            }
            .encode_to_vec(),
            kind => shops.admission(about, kind % 2 == 0),
        };
        let (kind, message) = match rng.random_range(0..10) {
            0 => (
                Kind::Profile,
                proto::Profile { name: format!("店{step}"), ..Default::default() }.encode_to_vec(),
            ),
            1 if step > 50 => (Kind::Departure, proto::Departure::default().encode_to_vec()),
            against => {
                let vote = proto::Vote { motion: motion.into(), against: against == 2, ..Default::default() };
                (Kind::Vote, vote.encode_to_vec())
            }
        };
        let log = &mut logs[author];
        let draft = Draft {
            alliance: charter.id,
            shop: shops.id(author),
            key_epoch: 0,
            incarnation: 0,
            sequence: log.len() as u64 + 1,
            previous: log.last().map(Record::id),
            time: UnixMillis::new(step as i64 * DAY * 6 / 7 + rng.random_range(0..DAY)).unwrap(),
            kind,
            audience: Audience::Alliance,
        };
        let payload = Payload::clear(&message, &mut rng).unwrap();
        log.push(sign(draft, payload, &shops.0[author].1));
    }
    logs
}
