//! What a count finds out again and again about one moment: which core members have a voice then, and which trades have
//! room. It is kept until the moment passes, or something changes by which it would be found otherwise.

use alloc::{collections::BTreeMap, rc::Rc, string::String, vec::Vec};
use core::cell::RefCell;

use hutong_record::{ShopId, UnixMillis};

/// How a core member stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Voter {
    pub(super) is_in: bool,
    pub(super) is_awake: bool,
    pub(super) is_barred: bool,
}

/// All core members at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Voters {
    /// Ascending.
    core: Vec<(ShopId, Voter)>,
    /// Those who are in and not barred, and how many of them are awake.
    all: usize,
    awake: usize,
}

impl Voters {
    /// From all core members, ascending.
    pub(super) fn new(core: Vec<(ShopId, Voter)>) -> Self {
        let (mut all, mut awake) = (0, 0);
        for (_, voter) in &core {
            all += usize::from(voter.votes());
            awake += usize::from(voter.votes() && voter.is_awake);
        }
        Self { core, all, awake }
    }

    /// How a shop stands; none: it is no core member.
    pub(super) fn of(&self, shop: ShopId) -> Option<Voter> {
        let place = self.core.binary_search_by_key(&shop, |(core, _)| *core).ok()?;
        Some(self.core[place].1)
    }

    /// How many are in and not barred, and how many of them are awake, the subject left out.
    pub(super) fn without(&self, subject: Option<ShopId>) -> (usize, usize) {
        match subject.and_then(|subject| self.of(subject)).filter(|voter| voter.votes()) {
            Some(voter) => (self.all - 1, self.awake - usize::from(voter.is_awake)),
            None => (self.all, self.awake),
        }
    }
}

impl Voter {
    const fn votes(self) -> bool {
        self.is_in && !self.is_barred
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    voters: RefCell<Option<(UnixMillis, Rc<Voters>)>>,
    rooms: RefCell<BTreeMap<String, bool>>,
}

impl Found {
    /// The core members at a moment.
    pub(super) fn voters(&self, at: UnixMillis, find: impl FnOnce() -> Voters) -> Rc<Voters> {
        let mut kept = self.voters.borrow_mut();
        match &*kept {
            Some((then, voters)) if *then == at => voters.clone(),
            _ => kept.insert((at, Rc::new(find()))).1.clone(),
        }
    }

    /// Whether a trade has room.
    pub(super) fn room(&self, category: &str, find: impl FnOnce() -> bool) -> bool {
        if let Some(room) = self.rooms.borrow().get(category) {
            return *room;
        }
        let room = find();
        self.rooms.borrow_mut().insert(category.into(), room);
        room
    }

    /// A shop was heard: it may be awake now.
    pub(super) fn heard(&mut self) {
        *self.voters.get_mut() = None;
    }

    /// Who is in, who votes, or a rule has changed.
    pub(super) fn changed(&mut self) {
        self.heard();
        self.rooms.get_mut().clear();
    }
}
