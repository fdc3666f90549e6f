//! The storm: when which fault strikes, and how.

use hutong_core::charter::CLOCK_AHEAD_MS_MAX;
use hutong_store::disk::Disk as _;
use rand::RngExt as _;

use crate::{
    check::Invariant,
    clock::{DAY_MS, HOUR_MS, MINUTE_MS, SKEW_MS_MAX},
    fault::FaultKind,
    fuse::Step,
    node::{Backup, Node, NodeNumber, Seat, ShopNumber},
    world::{Event, Weather, World},
};

/// How long a clock stays wrong by more than the alliance bears with, ms.
const WRONG_MS_MAX: i64 = 100 * MINUTE_MS;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mishap {
    /// A fault strikes somewhere.
    Strike(FaultKind),
    /// The flash sale begins, and the street is cut.
    FlashSale,
    /// A shop's old backup is put in the place of its disk.
    PutBack(NodeNumber),
}

impl World {
    /// Faults are on from now on until closing time.
    pub(crate) fn brew(&mut self) {
        self.weather = Weather::Storm;
        self.choose_cheats();
        self.set_clocks_wrong();
        if self.config.faults.has(FaultKind::Partition) {
            let at_ms = self.rng.random_range(self.closing_ms / 10..self.closing_ms * 6 / 10);
            self.after(at_ms, Event::Mishap(Mishap::FlashSale));
        }
        for kind in self.config.faults.kinds() {
            for _ in 0..self.strike_count(kind) {
                // A fork or a restored shop leaves time to see what comes of it.
                let share = if is_lasting(kind) { 6 } else { 10 };
                let at_ms = self.rng.random_range(0..self.closing_ms * share / 10);
                self.after(at_ms, Event::Mishap(Mishap::Strike(kind)));
            }
        }
    }

    /// How often a kind strikes: more in a larger street and a longer storm, and a few times in the smallest.
    fn strike_count(&mut self, kind: FaultKind) -> usize {
        let shops = self.shops.len();
        let shop_days = shops * self.config.days as usize;
        let days = self.config.days as usize;
        match kind {
            FaultKind::ProcessKill | FaultKind::PowerCut => 6.max(shop_days / 4),
            FaultKind::SyncFailure | FaultKind::DiskFull | FaultKind::ViewsLost | FaultKind::ClockJump => {
                2.max(shop_days / 12)
            }
            FaultKind::LinkBreak => 6.max(shop_days),
            FaultKind::Partition | FaultKind::OneWay => 2 + 2 * days,
            FaultKind::ShopOff => 2.max(shop_days / 5),
            FaultKind::BitFlip | FaultKind::Restore => 1 + shops / 25,
            FaultKind::Clone | FaultKind::Fork => 1 + shops / 50,
            FaultKind::DoubleSpend | FaultKind::BackDate | FaultKind::Withhold => 3 + shops / 10,
            FaultKind::PassedTwice | FaultKind::MovedIssued => 10 + shops / 5,
            FaultKind::ForgedVoucher | FaultKind::ForeignRecord => 4 + shops / 5,
            FaultKind::ClockSkew | FaultKind::AnswerLost | FaultKind::Repeat => 0, // not struck: see where they act
        }
    }

    fn set_clocks_wrong(&mut self) {
        if !self.config.faults.has(FaultKind::ClockSkew) {
            return;
        }
        for node in 0..self.nodes.len() {
            let most_ms = match self.rng.random_range(0..100) {
                0..70 => 3_000,
                70..94 => 8 * MINUTE_MS,
                _ => SKEW_MS_MAX,
            };
            self.nodes[node].clock.skew_ms = self.rng.random_range(-most_ms..=most_ms);
            self.faults.add(FaultKind::ClockSkew);
            self.plan_set_clock(node);
        }
    }

    pub(crate) fn mishap(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::PutBack(node) => self.put_back(node),
            Mishap::FlashSale => {
                self.trace.event(self.now_ms, "flash sale", &[]);
                let _nothing_to_sell = self.begin_flash_sale();
            }
            Mishap::Strike(kind) => {
                self.trace.event(self.now_ms, kind.name(), &[]);
                if self.strike(kind).is_some() {
                    self.faults.add(kind);
                }
            }
        }
    }

    /// Strikes; `None`: there was nothing to strike, or it counts when its time comes.
    fn strike(&mut self, kind: FaultKind) -> Option<()> {
        match kind {
            FaultKind::ProcessKill => self.fell(false),
            FaultKind::PowerCut => self.fell(true),
            FaultKind::SyncFailure => {
                let node = self.any_running()?;
                self.nodes[node].disk.fail_syncs(1);
                Some(())
            }
            FaultKind::DiskFull => self.fill_disk(),
            FaultKind::BitFlip => self.flip_byte(),
            FaultKind::ViewsLost => {
                let node = self.any_running()?;
                self.stop(node, false);
                self.lose_views(node);
                Some(())
            }
            FaultKind::LinkBreak => {
                let links: Vec<_> = self.network.wires.keys().copied().collect();
                let link = *links.get(self.below(links.len())?)?;
                self.break_link(link);
                Some(())
            }
            FaultKind::Partition => self.part(false),
            FaultKind::OneWay => self.part(true),
            FaultKind::ShopOff => {
                let node = self.any_running()?;
                let away_ms = self.rng.random_range(HOUR_MS..9 * HOUR_MS);
                self.shut_in_order(node, away_ms);
                Some(())
            }
            FaultKind::ClockJump => self.jump_clock(),
            FaultKind::Restore => self.back_up(),
            FaultKind::Clone => {
                let node = self.any_to_spoil()?;
                self.spoil(node, FaultKind::Clone);
                self.copy_node(node).map(|_| ())
            }
            FaultKind::Fork => self.fork_log(),
            FaultKind::DoubleSpend => self.double_spend(),
            FaultKind::ForgedVoucher => self.forge_voucher(),
            FaultKind::PassedTwice => self.pass_twice(),
            FaultKind::MovedIssued => self.move_issued(),
            FaultKind::ForeignRecord => self.write_foreign(),
            FaultKind::Withhold => self.withhold(),
            FaultKind::BackDate => self.date_back(),
            FaultKind::ClockSkew | FaultKind::AnswerLost | FaultKind::Repeat => None,
        }
    }

    /// A number under `bound`; none if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> Option<usize> {
        (bound > 0).then(|| self.rng.random_range(0..bound))
    }

    fn any_running(&mut self) -> Option<NodeNumber> {
        let running: Vec<_> = (0..self.nodes.len()).filter(|n| self.nodes[*n].process.is_some()).collect();
        running.get(self.below(running.len())?).copied()
    }

    /// A process stops at once, or at some step of its work.
    fn fell(&mut self, power_goes: bool) -> Option<()> {
        let node = self.any_running()?;
        match self.rng.random_range(0..=Step::ALL.len()) {
            0 => {
                self.stop(node, power_goes);
                Some(())
            }
            step => {
                self.nodes[node].power_goes = power_goes;
                self.nodes[node].fuse.arm(Some(Step::ALL[step - 1]));
                None
            }
        }
    }

    fn fill_disk(&mut self) -> Option<()> {
        let node = self.any_running()?;
        let space_bytes = self.rng.random_range(0..4_000);
        self.nodes[node].disk.limit_space(Some(space_bytes));
        let full_ms = self.rng.random_range(MINUTE_MS..40 * MINUTE_MS);
        self.after(full_ms, Event::Room(node));
        Some(())
    }

    fn part(&mut self, one_way: bool) -> Option<()> {
        let share = self.rng.random_range(0.05..0.6);
        let inside: Vec<_> = (0..self.nodes.len()).map(|_| self.rng.random_bool(share)).collect();
        let cut = self.network.part(inside, one_way);
        self.doubt_links();
        let lasts_ms = self.rng.random_range(MINUTE_MS..4 * HOUR_MS);
        self.after(lasts_ms, Event::Rejoin(cut));
        Some(())
    }

    fn jump_clock(&mut self) -> Option<()> {
        let node = self.rng.random_range(0..self.nodes.len());
        let most_ms = if self.rng.random_bool(0.3) { SKEW_MS_MAX } else { 20 * MINUTE_MS };
        let jump_ms = self.rng.random_range(-most_ms..=most_ms);
        let skew_ms = &mut self.nodes[node].clock.skew_ms;
        *skew_ms = (*skew_ms + jump_ms).clamp(-SKEW_MS_MAX, SKEW_MS_MAX);
        self.replicate(node, |replica, now| replica.tick(now));
        self.plan_set_clock(node);
        Some(())
    }

    /// A clock that is so wrong that records are held back for it is noticed and set, after a while.
    fn plan_set_clock(&mut self, node: NodeNumber) {
        if self.nodes[node].clock.skew_ms.abs() > CLOCK_AHEAD_MS_MAX {
            let wrong_ms = self.rng.random_range(MINUTE_MS..WRONG_MS_MAX);
            self.after(wrong_ms, Event::SetClock(node));
        }
    }

    /// Somebody sets a clock.
    pub(crate) fn set_clock(&mut self, node: NodeNumber) {
        self.nodes[node].clock.skew_ms = 0;
        self.replicate(node, |replica, now| replica.tick(now));
    }

    /// A byte of a shop's disk changes while it is shut. What can still be read must be what was written, and what
    /// cannot must be named. Its neighbours heal it; but the shop stays shut if it lost records of its own, which nobody
    /// may have.
    fn flip_byte(&mut self) -> Option<()> {
        let node = self.any_to_spoil()?;
        self.stop(node, false);
        let disk = &self.nodes[node].disk;
        let files: Vec<_> = disk.list().ok()?;
        let sizes: Vec<_> =
            files.iter().map(|name| disk.contents(name).map_or(0, |bytes| bytes.len())).collect();
        let file = self.below(files.len())?;
        let offset = self.below(sizes[file])?;
        let mask = 1 << self.rng.random_range(0..8);
        self.nodes[node].disk.flip(&files[file], offset, mask);
        let heals = self.keeps_own_log(node);
        let slot = &mut self.nodes[node];
        (slot.shut, slot.flipped) = (!heals, heals);
        if let Err(what) = self.inspect(node) {
            self.broken(Invariant::Log2, format!("node {node}, {} byte {offset}: {what}", files[file]));
        }
        // What it held of others it may hold no more: they have it.
        self.nodes[node].told.clear();
        Some(())
    }

    /// An image of a shop's disk is made now and put in the disk's place hours later.
    fn back_up(&mut self) -> Option<()> {
        let node = self.any_to_spoil()?;
        let slot = &mut self.nodes[node];
        slot.backup = Some(Backup { disk: slot.disk.image(), flipped: slot.flipped });
        let later_ms = self.rng.random_range(HOUR_MS..8 * HOUR_MS);
        self.after(later_ms, Event::Mishap(Mishap::PutBack(node)));
        None
    }

    fn put_back(&mut self, node: NodeNumber) {
        let Some(backup) = self.nodes[node].backup.take() else { return };
        if self.nodes[node].shut || !self.is_honest(node) || self.weather == Weather::Calm {
            return;
        }
        self.faults.add(FaultKind::Restore);
        self.checks.log1.put_back(self.nodes[node].shop);
        self.spoil(node, FaultKind::Restore);
        self.stop(node, true);
        (self.nodes[node].disk, self.nodes[node].flipped) = (backup.disk, backup.flipped);
        self.lose_views(node);
        self.start(node, Seat::Backup);
    }

    /// A second node of the same shop, from a copy of its disk.
    pub(crate) fn copy_node(&mut self, node: NodeNumber) -> Option<NodeNumber> {
        let shop = self.nodes[node].shop;
        self.shops[shop].cheated = true;
        let mut copy = Node::new(shop, self.nodes[node].disk.image());
        copy.clock = self.nodes[node].clock;
        copy.flipped = self.nodes[node].flipped;
        self.nodes.push(copy);
        let number = self.nodes.len() - 1;
        self.shops[shop].nodes.push(number);
        self.start(number, Seat::Copy);
        Some(number)
    }

    /// From now on nothing is promised of a node's shop.
    pub(crate) fn spoil(&mut self, node: NodeNumber, kind: FaultKind) {
        let shop = self.nodes[node].shop;
        self.shops[shop].faulty.get_or_insert(kind);
    }

    /// An honest shop's node that may be spoilt: not the founder's, and so that most shops stay sound.
    fn any_to_spoil(&mut self) -> Option<NodeNumber> {
        let sound: Vec<_> = self.honest_nodes().filter(|n| *n != 0).collect();
        if (sound.len() + 1) * 2 <= self.shops.len() {
            return None;
        }
        sound.get(self.below(sound.len())?).copied()
    }

    fn choose_cheats(&mut self) {
        use FaultKind::{
            BackDate, DoubleSpend, ForeignRecord, ForgedVoucher, Fork, MovedIssued, PassedTwice, Withhold,
        };
        let kinds =
            [Fork, DoubleSpend, ForgedVoucher, PassedTwice, MovedIssued, ForeignRecord, Withhold, BackDate];
        let Some(kind) = kinds.into_iter().find(|kind| self.config.faults.has(*kind)) else { return };
        for _ in 0..1 + self.shops.len() / 12 {
            let shop: ShopNumber = self.rng.random_range(1..self.shops.len());
            self.shops[shop].faulty.get_or_insert(kind);
        }
    }

    /// The storm is over: lines are whole, clocks right, every shop open. A day passes, so that what was dated ahead
    /// is not ahead any more.
    pub(crate) fn calm(&mut self) {
        self.weather = Weather::Calm;
        self.network.rejoin_all();
        self.queue.keep(|event| !matches!(event, Event::Mishap(_) | Event::Customer(_)));
        self.now_ms += DAY_MS + HOUR_MS;
        for node in 0..self.nodes.len() {
            let slot = &mut self.nodes[node];
            slot.clock.skew_ms = 0;
            slot.fuse.arm(None);
            slot.withheld_from.clear();
            slot.back_off_ms = 0;
            slot.disk.limit_space(None);
            slot.disk.fail_syncs(0);
            self.start(node, Seat::Own);
            self.replicate(node, |replica, now| replica.tick(now));
            self.plan_dial(node);
        }
        self.ask_all_again();
    }
}

/// Whether a fault leaves a shop that nothing is promised of.
const fn is_lasting(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Restore | FaultKind::Clone | FaultKind::Fork | FaultKind::BitFlip)
}
