//! Getting lost records back from peers: whom to ask for what, and whether what they bring is what was lost.
//!
//! Nobody need be believed. Each record names its predecessor by hash, so the record after the lost ones, which is held,
//! says what the last of them was, and so on down. A peer that brings something else is asked no more.

use std::{collections::BTreeSet, sync::Arc};

use hutong_record::{Record, ShopId, proto};

use crate::journal::{Lost, Survey};

/// What is asked for at once, bytes: some hundreds of records.
pub const QUESTION_BYTES: u32 = 256 << 10;
/// Questions that are open at a time: room is left for those about forks.
pub const QUESTIONS_MAX: usize = 8;
/// The most bytes of records that one repair holds in memory: those of a lost segment of the usual size, and as much again.
/// What is beyond is left to the next repair.
pub const REPAIR_BYTES_MAX: usize = 128 << 20;

/// What a peer is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// For a run of this shop's log.
    pub shop: ShopId,
    /// That begins here.
    pub sequence: u64,
    /// Of about so many bytes.
    pub bytes_max: u32,
}

/// One repair. `P` names a peer.
#[derive(Debug)]
pub struct Repair<P> {
    survey: Arc<Survey>,
    ranges: Vec<Range<P>>,
    bytes: usize,
}

#[derive(Debug)]
struct Range<P> {
    lost: Lost,
    /// The first ones of them, as far as peers brought them. Not verified before they are complete.
    got: Vec<Record>,
    /// Who brought the newest of these.
    brought_by: Option<P>,
    bytes: usize,
    state: State<P>,
    /// Peers that do not have them, or brought something else.
    tried: BTreeSet<P>,
}

#[derive(Debug, PartialEq, Eq)]
enum State<P> {
    Open,
    Asked(P),
    /// All of them are here, and are the ones that were lost.
    Complete,
    /// They do not fit into memory with the others.
    TooLarge,
}

impl<P> Range<P> {
    fn next(&self) -> u64 {
        self.lost.records.from_sequence + self.got.len() as u64
    }

    fn end(&self) -> u64 {
        self.lost.records.to_sequence
    }

    /// The last one is asked for alone: of one record its author sends the signature, by which others take it from here.
    fn question(&self) -> Question {
        let sequence = self.next();
        let bytes_max = if sequence == self.end() { 1 } else { QUESTION_BYTES };
        Question { shop: self.lost.records.shop, sequence, bytes_max }
    }

    /// Takes what continues what is here. False: nothing does, or it is not what was lost.
    fn take(&mut self, runs: Vec<Vec<proto::Record>>) -> bool {
        let before = self.got.len();
        for message in runs.into_iter().flatten() {
            let Ok(record) = Record::parse(message) else { break };
            if self.next() > self.end() || !self.is_next(&record) {
                break;
            }
            let comes_with_others = self.got.len() > before;
            if self.next() == self.end() && record.signature().is_none() && comes_with_others {
                break; // it is asked for alone
            }
            self.bytes += record.header_bytes().len() + record.payload().map_or(0, |p| p.bytes().len());
            self.got.push(record);
        }
        if self.next() <= self.end() {
            return self.got.len() > before;
        }
        let is_it = self.got.last().is_some_and(|last| last.id() == self.lost.pin);
        if !is_it {
            self.give_up();
        }
        is_it
    }

    fn is_next(&self, record: &Record) -> bool {
        let header = record.header();
        let place = header.shop == self.lost.records.shop && header.sequence == self.next();
        let follows = self.got.last().is_none_or(|last| header.previous == Some(last.id()));
        place && follows && record.payload().is_some() && record.check_payload().is_ok()
    }

    fn give_up(&mut self) {
        (self.got, self.bytes) = (Vec::new(), 0);
    }
}

impl<P: Copy + Ord> Repair<P> {
    /// Of what a survey found.
    pub fn new(survey: Arc<Survey>) -> Self {
        let range = |lost: &Lost| Range {
            lost: *lost,
            got: Vec::new(),
            brought_by: None,
            bytes: 0,
            state: State::Open,
            tried: BTreeSet::new(),
        };
        let ranges = survey.lost.iter().map(range).collect();
        Self { survey, ranges, bytes: 0 }
    }

    /// What it is to make good.
    pub const fn survey(&self) -> &Arc<Survey> {
        &self.survey
    }

    /// The next question, and who is to be asked: the records' author if it is among `peers`, else any. One question a
    /// log at a time, and [`QUESTIONS_MAX`] in all.
    pub fn ask(&mut self, peers: &[(P, ShopId)]) -> Option<(P, Question)> {
        let busy: BTreeSet<ShopId> = self
            .ranges
            .iter()
            .filter(|range| matches!(range.state, State::Asked(_)))
            .map(|range| range.lost.records.shop)
            .collect();
        if busy.len() >= QUESTIONS_MAX {
            return None;
        }
        for range in self.ranges.iter_mut().filter(|range| range.state == State::Open) {
            let shop = range.lost.records.shop;
            if busy.contains(&shop) {
                continue;
            }
            let able = peers.iter().filter(|(peer, _)| !range.tried.contains(peer));
            if let Some((peer, _)) = able.min_by_key(|(peer, is)| (*is != shop, *peer)) {
                range.state = State::Asked(*peer);
                return Some((*peer, range.question()));
            }
        }
        None
    }

    /// A peer's answer to a question; empty if it has no such records, is gone, or could not be asked. True: it brought
    /// what was asked for.
    pub fn answered(&mut self, peer: P, shop: ShopId, sequence: u64, runs: Vec<Vec<proto::Record>>) -> bool {
        let asked = |range: &&mut Range<P>| {
            range.state == State::Asked(peer) && range.lost.records.shop == shop && range.next() == sequence
        };
        let Some(range) = self.ranges.iter_mut().find(asked) else { return false };
        let before = range.bytes;
        let taken = range.take(runs);
        if taken {
            range.brought_by = Some(peer);
        } else {
            // What does not go on may be another peer's forgery: that one has had its chance, this one gets its own.
            let others = range.brought_by.take().filter(|by| *by != peer && !range.got.is_empty());
            range.tried.insert(others.unwrap_or(peer));
            range.give_up();
        }
        let complete = taken && range.next() > range.end();
        range.state = if complete { State::Complete } else { State::Open };
        self.bytes = (self.bytes + range.bytes).saturating_sub(before);
        if self.bytes > REPAIR_BYTES_MAX {
            self.bytes -= range.bytes;
            range.give_up();
            range.state = State::TooLarge;
        }
        taken
    }

    /// Asks whoever can be asked. `send` tells whether a question went out; after one that did not, the rest waits.
    pub fn ask_all(&mut self, peers: &[(P, ShopId)], mut send: impl FnMut(P, Question) -> bool) {
        while let Some((peer, question)) = self.ask(peers) {
            let shop = question.shop;
            if !send(peer, question) {
                self.not_asked(peer, shop);
                break;
            }
        }
    }

    /// The peer could not be asked just now.
    fn not_asked(&mut self, peer: P, shop: ShopId) {
        let asked =
            |range: &&mut Range<P>| range.state == State::Asked(peer) && range.lost.records.shop == shop;
        if let Some(range) = self.ranges.iter_mut().find(asked) {
            range.state = State::Open;
        }
    }

    /// A peer is gone: what it was asked is asked elsewhere.
    pub fn lost_peer(&mut self, peer: P) {
        for range in &mut self.ranges {
            range.tried.remove(&peer);
            if range.state == State::Asked(peer) {
                range.state = State::Open;
            }
        }
    }

    /// Whether nothing more is to be expected of these peers.
    pub fn is_settled(&self, peers: &[(P, ShopId)]) -> bool {
        self.ranges.iter().all(|range| match &range.state {
            State::Open => peers.iter().all(|(peer, _)| range.tried.contains(peer)),
            State::Asked(_) => false,
            State::Complete | State::TooLarge => true,
        })
    }

    /// Whether all that is known to be lost was found.
    pub fn is_complete(&self) -> bool {
        self.ranges.iter().all(|range| range.state == State::Complete)
    }

    /// What was found, whole ranges of records, to be put back by [`crate::ledger::Ledger::heal`].
    pub fn into_found(self) -> (Arc<Survey>, Vec<Record>) {
        let complete = self.ranges.into_iter().filter(|range| range.state == State::Complete);
        (self.survey, complete.flat_map(|range| range.got).collect())
    }
}
