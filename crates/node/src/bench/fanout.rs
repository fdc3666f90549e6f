//! How long until every shop of a street holds a new record: the replication of all shops in one process, joined as the
//! dialler joins them, over simulated lines. Time on the lines is simulated and exact; the computing is measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use hutong_record::{
    AllianceId, Audience, Draft, Payload, Record, ShopId, SigningKey, UnixMillis, proto::Kind, sign,
};
use hutong_sync::{Frame, Head, IngestOutcome, LinkId, Output, RawRun, Replica, Side, neighbours};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Map, Value, json};

use super::{Plan, figures::Series};

const SHOPS: [usize; 3] = [20, 100, 500];
/// From one shop to another, one way: two lines of one city.
const LINE_MS: i64 = 10;
/// Until a record is durable where it came.
const DURABLE_MS: i64 = 2;
const START_MS: i64 = 1_760_000_000_000;
/// Steps after which a street that does not come to rest is given up.
const STEPS_MAX: usize = 5_000_000;
const ALLIANCE: AllianceId = AllianceId::new([7; 32]);

pub(super) fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let mut figures = Map::new();
    for shops in SHOPS {
        let (mut seconds, mut spread) = (Series::default(), Spread::default());
        for _ in 0..plan.runs {
            let start = Instant::now();
            spread = one_record(shops)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        figures.insert(
            format!("shops_{shops}"),
            json!({
                "ms_until_all_hold_it": spread.ms,
                "ms_until_half_hold_it": spread.half_ms,
                "hops": spread.hops,
                "frames": spread.frames,
                "times_each_shop_got_it": spread.copies_per_shop,
                "links_per_shop": spread.links_per_shop,
                "cpu_s_of_all_shops": seconds.json(),
            }),
        );
    }
    figures.insert("line_one_way_ms".into(), json!(LINE_MS));
    figures.insert("until_durable_ms".into(), json!(DURABLE_MS));
    Ok(figures.into())
}

/// How one record spread.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pub(super) ms: i64,
    half_ms: i64,
    hops: usize,
    frames: usize,
    copies_per_shop: f64,
    links_per_shop: f64,
}

/// Writes one record at one shop of a street at rest, and follows it.
pub(super) fn one_record(shops: usize) -> anyhow::Result<Spread> {
    let mut street = Street::new(shops);
    street.run()?;
    anyhow::ensure!(street.replicas.iter().all(|r| r.heads().count() == 0), "the street is not at rest");
    (street.frames, street.copies) = (0, 0);
    let begin = street.now_ms;
    street.write(0)?;
    street.run()?;
    let mut arrivals: Vec<i64> = street.arrived.values().map(|ms| ms - begin).collect();
    anyhow::ensure!(arrivals.len() == shops, "{} of {shops} shops hold the record", arrivals.len());
    arrivals.sort_unstable();
    Ok(Spread {
        ms: arrivals[shops - 1],
        half_ms: arrivals[shops / 2],
        hops: street.hops.values().copied().max().unwrap_or_default(),
        frames: street.frames,
        copies_per_shop: ratio(street.copies, shops - 1),
        links_per_shop: ratio(2 * street.ends.len(), shops),
    })
}

#[allow(clippy::cast_precision_loss)]
fn ratio(of: usize, to: usize) -> f64 {
    super::figures::round(of as f64 / to as f64)
}

/// What is to happen.
enum Event {
    Frame { link: LinkId, to: usize, frame: Frame },
    Durable { link: LinkId, at: usize, shop: ShopId, runs: Vec<RawRun> },
    Wakeup { at: usize },
}

struct Street {
    replicas: Vec<Replica>,
    /// The shops at both ends of each link.
    ends: BTreeMap<LinkId, [usize; 2]>,
    events: BTreeMap<(i64, u64), Event>,
    next_event: u64,
    now_ms: i64,
    /// The one record there is.
    record: Option<RawRun>,
    arrived: BTreeMap<usize, i64>,
    /// Over how many links it came to each shop.
    hops: BTreeMap<usize, usize>,
    /// When each shop was last promised a wakeup.
    wakeups: Vec<Option<i64>>,
    frames: usize,
    copies: usize,
}

impl Street {
    /// So many shops, linked as each one's dialler chooses, the ids in a row.
    fn new(shops: usize) -> Self {
        let replicas = (0..shops).map(|shop| Replica::new(ALLIANCE, id(shop), BTreeMap::new())).collect();
        let mut street = Self {
            replicas,
            ends: BTreeMap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            now_ms: START_MS,
            record: None,
            arrived: BTreeMap::new(),
            hops: BTreeMap::new(),
            wakeups: vec![None; shops],
            frames: 0,
            copies: 0,
        };
        for shop in 0..shops {
            street.replicas[shop].members_changed((0..shops).map(id), time(START_MS));
        }
        let mut linked = BTreeSet::new();
        for shop in 0..shops {
            let others: Vec<_> = (0..shops).filter(|other| *other != shop).map(id).collect();
            for other in neighbours(id(shop), &others) {
                let other = number(other);
                if linked.insert([shop.min(other), shop.max(other)]) {
                    street.link(shop, other);
                }
            }
        }
        street
    }

    fn link(&mut self, one: usize, other: usize) {
        let link = LinkId(self.ends.len() as u64);
        self.ends.insert(link, [one, other]);
        for (me, peer, side) in [(one, other, Side::Dialling), (other, one, Side::Dialled)] {
            self.replicas[me].link_up(link, id(peer), side, time(self.now_ms));
            self.drain(me);
        }
    }

    /// A shop signs its first record.
    fn write(&mut self, shop: usize) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(3);
        let draft = Draft {
            alliance: ALLIANCE,
            shop: id(shop),
            key_epoch: 0,
            incarnation: 0,
            sequence: 1,
            previous: None,
            time: time(self.now_ms),
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        let record = sign(draft, Payload::clear(&[b'x'; 128], &mut rng)?, &SigningKey::from_seed(&[1; 32]));
        self.record = Some(vec![record.to_message()]);
        self.hops.insert(shop, 0);
        self.hold(shop, &record);
        Ok(())
    }

    fn hold(&mut self, shop: usize, record: &Record) {
        self.arrived.entry(shop).or_insert(self.now_ms);
        let head = Head { sequence: 1, id: record.id(), incarnation: 0 };
        self.replicas[shop].committed([(record.header().shop, head)], time(self.now_ms));
        self.drain(shop);
    }

    /// Until nothing is left to happen.
    fn run(&mut self) -> anyhow::Result<()> {
        for _ in 0..STEPS_MAX {
            let Some(((at, _), event)) = self.events.pop_first() else { return Ok(()) };
            self.now_ms = at;
            self.happen(event)?;
        }
        anyhow::bail!("the street does not come to rest")
    }

    fn happen(&mut self, event: Event) -> anyhow::Result<()> {
        let now = time(self.now_ms);
        match event {
            Event::Frame { link, to, frame } => {
                self.frames += 1;
                self.copies += usize::from(matches!(&frame, Frame::Records { runs, .. } if !runs.is_empty()));
                self.replicas[to].frame_received(link, frame, now);
                self.drain(to);
            }
            Event::Durable { link, at, shop, runs } => {
                let message = runs.into_iter().flatten().last();
                let message = message.ok_or_else(|| anyhow::anyhow!("an empty answer was handed on"))?;
                let record = Record::parse(message)?;
                let from = self.ends[&link].into_iter().find(|end| *end != at).unwrap_or(at);
                let hops = self.hops.get(&from).map_or(0, |hops| hops + 1);
                self.hops.entry(at).or_insert(hops);
                self.hold(at, &record);
                let head = Head { sequence: 1, id: record.id(), incarnation: 0 };
                self.replicas[at].ingested(link, shop, IngestOutcome::Accepted(head), now);
                self.drain(at);
            }
            Event::Wakeup { at } => {
                self.wakeups[at] = None;
                if self.replicas[at].next_wakeup().is_some_and(|due| due <= now) {
                    self.replicas[at].tick(now);
                }
                self.drain(at);
            }
        }
        Ok(())
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.replicas[at].next_output() {
            match output {
                Output::Send { link, frame } => {
                    let to = self.ends[&link].into_iter().find(|end| *end != at).unwrap_or(at);
                    self.later(LINE_MS, Event::Frame { link, to, frame });
                }
                Output::Ingest { link, shop, runs } => {
                    self.later(DURABLE_MS, Event::Durable { link, at, shop, runs });
                }
                Output::Read(read) => {
                    let runs = self.record.clone().filter(|_| self.arrived.contains_key(&at));
                    self.replicas[at].served(read, runs.into_iter().collect(), time(self.now_ms));
                }
                Output::Evidence { .. }
                | Output::Found { .. }
                | Output::Diverged { .. }
                | Output::OwnLogAhead { .. }
                | Output::Alarm { .. }
                | Output::Close { .. } => {}
            }
        }
        let due = self.replicas[at].next_wakeup().map(|due| due.ms().max(self.now_ms + 1));
        if let Some(due) = due.filter(|due| self.wakeups[at].is_none_or(|promised| *due < promised)) {
            self.wakeups[at] = Some(due);
            self.later(due - self.now_ms, Event::Wakeup { at });
        }
    }

    fn later(&mut self, ms: i64, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now_ms + ms, self.next_event), event);
    }
}

/// Ids ascend with the number, so that the row of shops is the order of ids.
fn id(shop: usize) -> ShopId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(shop as u64).to_be_bytes());
    ShopId::new(bytes)
}

/// The number of an id.
fn number(shop: ShopId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&shop.as_bytes()[..8]);
    usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

fn time(ms: i64) -> UnixMillis {
    UnixMillis::new(ms).unwrap_or(UnixMillis::EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reaches_all_of_500_shops_within_a_second() {
        let spread = one_record(500).unwrap();
        assert!((LINE_MS..1_000).contains(&spread.ms), "{spread:?}");
        assert!(spread.links_per_shop <= 7.2 && spread.half_ms <= spread.ms, "{spread:?}");
        assert!(spread.hops <= 5, "{spread:?}");
    }
}
