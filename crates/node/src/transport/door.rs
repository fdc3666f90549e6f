//! The door: who may connect, as of now.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hutong_record::{PublicKey, ShopId, Succession, proto::SignedKeySuccession};

use super::{
    connections::{Connections, Direction, Registration},
    pin::KnownShop,
};

/// How long the live connections of a shop that is no member any more are left to it: long enough to hear why, or it would
/// go on giving out vouchers that nobody honours.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A shop of an alliance of ours.
    Member(ShopId),
    /// Whoever holds an invitation's link, and may do nothing but join.
    Guest(GuestKey),
}

/// The public key that an invitation made for its guest; it says which invitation is being used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestKey([u8; 32]);

impl GuestKey {
    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<PublicKey> for GuestKey {
    fn from(key: PublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl fmt::Debug for GuestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestKey(..)")
    }
}

/// The list of keys that may connect (TRA-1). It changes while the node runs; whom it drops, or sees in a new role,
/// loses every live connection (TRA-3), a shop that is no member any more after [`FAREWELL`]. Its length is that of the
/// rosters and open invitations behind it, both bounded there.
#[derive(Debug)]
pub struct Door {
    listed: RwLock<Listed>,
    connections: Arc<Connections>,
}

/// Who may connect.
#[derive(Debug, Default)]
struct Listed {
    callers: Callers,
    /// Members, of whom later keys may turn up before their rotation is known here.
    shops: HashMap<ShopId, KnownShop>,
    /// Such keys, by shop, with their epochs; one a shop, the newest.
    proven: HashMap<ShopId, ([u8; 32], u32)>,
}

type Callers = HashMap<[u8; 32], Caller>;

impl Listed {
    fn caller(&self, key: &[u8; 32]) -> Option<Caller> {
        let proven = || self.proven.iter().find(|(_, (proven, _))| proven == key);
        self.callers.get(key).copied().or_else(|| proven().map(|(shop, _)| Caller::Member(*shop)))
    }
}

impl Door {
    /// A door that lets nobody in yet.
    pub fn new(connections: Arc<Connections>) -> Arc<Self> {
        Arc::new(Self { listed: RwLock::default(), connections })
    }

    /// Lets a key in.
    pub fn admit(&self, key: PublicKey, caller: Caller) {
        let before = self.write(|listed| listed.callers.insert(*key.as_bytes(), caller));
        if before.is_some_and(|before| before != caller) {
            self.connections.cut(key.as_bytes());
        }
    }

    /// Keeps a key out from now on. Says whether it was let in before.
    pub fn remove(&self, key: &[u8; 32]) -> bool {
        let was_in = self.write(|listed| {
            let was_in = listed.caller(key).is_some();
            listed.callers.remove(key);
            listed.proven.retain(|_, (proven, _)| proven != key);
            was_in
        });
        self.connections.cut(key);
        was_in
    }

    /// Lets in these keys and no others, at once. An empty list, and then
    /// [`Connections::cut_all`] for what was dialled to keys not on it, pauses the federation.
    pub fn replace(&self, callers: impl IntoIterator<Item = (PublicKey, Caller)>) {
        self.cut_off(&self.replace_all(callers, []));
    }

    /// The same; of these shops, later keys are let in, too, if they are shown to be theirs. Gives the keys of shops that
    /// are no members any more, whose live connections the caller is to [cut off](Self::cut_off) after [`FAREWELL`].
    #[must_use = "their connections live on"]
    pub fn replace_all(
        &self,
        callers: impl IntoIterator<Item = (PublicKey, Caller)>,
        shops: impl IntoIterator<Item = KnownShop>,
    ) -> Vec<[u8; 32]> {
        let after: Callers = callers.into_iter().map(|(key, caller)| (*key.as_bytes(), caller)).collect();
        let shops: HashMap<_, _> = shops.into_iter().map(|known| (known.shop(), known)).collect();
        let members: HashSet<Caller> = after.values().copied().collect();
        // Another key of a shop that stays, or another role, is none to wait for.
        let has_left = |caller| matches!(caller, Caller::Member(_)) && !members.contains(&caller);
        let (left, others): (Vec<_>, Vec<_>) = self.write(|listed| {
            let before = std::mem::take(listed);
            let proven = before.proven.iter();
            let proven_callers = proven.map(|(shop, (key, _))| (*key, Caller::Member(*shop)));
            let callers: Vec<_> = before.callers.into_iter().chain(proven_callers).collect();
            let is_later = |shop: &ShopId, epoch: u32| shops.get(shop).is_some_and(|s| s.epoch() < epoch);
            let proven =
                before.proven.into_iter().filter(|(shop, (_, epoch))| is_later(shop, *epoch)).collect();
            *listed = Listed { callers: after, shops, proven };
            let dropped = callers.into_iter().filter(|(key, caller)| listed.caller(key) != Some(*caller));
            dropped.partition(|(key, caller)| has_left(*caller) && listed.caller(key).is_none())
        });
        for (key, _) in &others {
            self.connections.cut(key);
        }
        left.into_iter().map(|(key, _)| key).collect()
    }

    /// Cuts the live connections of these keys, unless they have been let in again.
    pub fn cut_off(&self, keys: &[[u8; 32]]) {
        for key in keys.iter().filter(|key| self.caller(key).is_none()) {
            self.connections.cut(key);
        }
    }

    /// Who a key is, if it may connect.
    pub fn caller(&self, key: &[u8; 32]) -> Option<Caller> {
        self.listed.read().unwrap_or_else(PoisonError::into_inner).caller(key)
    }

    /// Lets a key in that a succession shows to be a later one of a member's. Of several the newest epoch's stays.
    pub(super) fn prove(&self, key: &PublicKey, succession: &SignedKeySuccession) -> Option<Caller> {
        let shop = Succession::parse(succession).ok()?.shop();
        let known = self.listed.read().unwrap_or_else(PoisonError::into_inner).shops.get(&shop).cloned()?;
        let epoch = known.later_epoch(key, succession)?;
        let before = self.write(|listed| {
            // The list may have changed meanwhile.
            let still = listed.shops.get(&shop).is_some_and(|known| known.epoch() < epoch);
            let newer = listed.proven.get(&shop).is_none_or(|(_, proven)| *proven <= epoch);
            (still && newer).then(|| listed.proven.insert(shop, (*key.as_bytes(), epoch)))
        })?;
        if let Some((older, _)) = before.filter(|(older, _)| older != key.as_bytes()) {
            self.connections.cut(&older);
        }
        Some(Caller::Member(shop))
    }

    /// Takes in a connection whose handshake is done. Registered first and looked up after, so that a removal in
    /// between either is seen here or cuts the registration (TRA-3).
    pub(super) fn enter(&self, key: &PublicKey) -> Option<(Caller, Registration)> {
        let registration = self.connections.register(*key.as_bytes(), Direction::Accepted);
        self.caller(key.as_bytes()).map(|caller| (caller, registration))
    }

    /// A poisoned lock is taken over: each change is one map operation, so the map is whole.
    fn write<T>(&self, change: impl FnOnce(&mut Listed) -> T) -> T {
        change(&mut self.listed.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::SigningKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).public()
    }

    const NOBODY: Vec<[u8; 32]> = Vec::new();

    fn member(seed: u8) -> Caller {
        Caller::Member(ShopId::new([seed; 32]))
    }

    #[test]
    fn who_is_not_admitted_does_not_enter() {
        let door = Door::new(Connections::new());
        assert!(door.enter(&key(1)).is_none());
        door.admit(key(1), member(1));
        assert_eq!(door.enter(&key(1)).unwrap().0, member(1));
    }

    #[test]
    fn replace_cuts_whom_it_drops_or_changes_and_nobody_else() {
        let door = Door::new(Connections::new());
        door.replace((1..=3).map(|seed| (key(seed), member(seed))));
        let held: Vec<_> = (1..=3).map(|seed| door.enter(&key(seed)).unwrap().1).collect();
        door.replace([(key(1), member(1)), (key(2), Caller::Guest(key(2).into())), (key(4), member(4))]);
        let cut: Vec<bool> = held.iter().map(|held| held.token().is_cancelled()).collect();
        assert_eq!(cut, [false, true, true]);
        assert_eq!((door.caller(key(3).as_bytes()), door.caller(key(4).as_bytes())), (None, Some(member(4))));
    }

    #[test]
    fn who_left_may_hear_why_but_not_come_back() {
        let door = Door::new(Connections::new());
        door.replace((1..=2).map(|seed| (key(seed), member(seed))));
        door.admit(key(3), Caller::Guest(key(3).into()));
        let held: Vec<_> = (1..=3).map(|seed| door.enter(&key(seed)).unwrap().1).collect();
        let left = door.replace_all([(key(1), member(1))], []);
        assert_eq!(left, [*key(2).as_bytes()], "guests have nothing to hear");
        let cut = || held.iter().map(|held| held.token().is_cancelled()).collect::<Vec<_>>();
        assert_eq!(cut(), [false, false, true]);
        assert!(door.enter(&key(2)).is_none());
        door.cut_off(&left);
        assert_eq!(cut(), [false, true, true]);
        // Let in again meanwhile it keeps what it has.
        let left = door.replace_all([], []);
        door.admit(key(1), member(1));
        door.cut_off(&left);
        assert_eq!(cut(), [false, true, true]);
    }

    #[test]
    fn admit_again_cuts_only_on_a_new_role() {
        let door = Door::new(Connections::new());
        door.admit(key(1), member(1));
        let (_, held) = door.enter(&key(1)).unwrap();
        door.admit(key(1), member(1));
        assert!(!held.token().is_cancelled());
        door.admit(key(1), member(2));
        assert!(held.token().is_cancelled());
    }

    /// A shop's first and later keys, and the later ones' successions.
    struct Rotating {
        known: KnownShop,
        later: Vec<Succession>,
    }

    fn rotating(seed: u8, epochs: u32) -> Rotating {
        let seed = hutong_record::RecoverySeed::new([seed; 32]);
        let mut rng = rand::rand_core::UnwrapErr(rand::rngs::SysRng);
        let identity = hutong_record::Identity::create(&seed, hutong_record::UnixMillis::EPOCH, &mut rng);
        let later = (1..=epochs).map(|epoch| Succession::create(&seed, &identity, epoch).unwrap()).collect();
        Rotating { known: KnownShop::new(identity), later }
    }

    #[test]
    fn a_member_s_later_key_is_let_in_by_its_proof_and_leaves_with_the_member() {
        let (shop, other) = (rotating(1, 2), rotating(2, 1));
        let door = Door::new(Connections::new());
        let member = Caller::Member(shop.known.shop());
        let listed = || [(shop.known.key(), member)];
        assert_eq!(door.replace_all(listed(), [shop.known.clone()]), NOBODY);
        let (first, second) = (&shop.later[0], &shop.later[1]);
        assert_eq!(door.caller(first.signing_key().as_bytes()), None);
        let strange = other.later[0].signing_key();
        assert_eq!(door.prove(strange, other.later[0].signed()), None, "not a member");
        assert_eq!(door.prove(strange, first.signed()), None, "another key than the proof names");
        assert_eq!(door.prove(first.signing_key(), first.signed()), Some(member));
        let held = door.enter(first.signing_key()).unwrap();
        assert_eq!(held.0, member);
        assert_eq!(door.replace_all(listed(), [shop.known.clone()]), NOBODY);
        assert!(!held.1.token().is_cancelled(), "a review of the list changes nothing");
        assert_eq!(door.prove(second.signing_key(), second.signed()), Some(member));
        assert!(held.1.token().is_cancelled(), "the newer key takes the place of the older");
        assert_eq!(door.prove(first.signing_key(), first.signed()), None, "and does not give it back");
        let held = door.enter(second.signing_key()).unwrap().1;
        door.replace([]);
        assert!(held.token().is_cancelled() && door.enter(second.signing_key()).is_none());
    }

    #[test]
    fn a_key_that_the_rotation_has_replaced_is_cut_and_the_proven_one_stays() {
        let shop = rotating(1, 1);
        let door = Door::new(Connections::new());
        let member = Caller::Member(shop.known.shop());
        assert_eq!(door.replace_all([(shop.known.key(), member)], [shop.known.clone()]), NOBODY);
        let old = door.enter(&shop.known.key()).unwrap().1;
        let new_key = shop.later[0].signing_key();
        door.prove(new_key, shop.later[0].signed()).unwrap();
        let new = door.enter(new_key).unwrap().1;
        let known = KnownShop { key: *new_key, epoch: 1, ..shop.known.clone() };
        assert_eq!(door.replace_all([(*new_key, member)], [known]), NOBODY, "the shop is still a member");
        assert!(old.token().is_cancelled() && !new.token().is_cancelled());
        assert!(door.enter(&shop.known.key()).is_none(), "the old key is no key any more");
    }

    #[test]
    fn remove_cuts() {
        let door = Door::new(Connections::new());
        door.admit(key(1), member(1));
        let (_, held) = door.enter(&key(1)).unwrap();
        assert!(door.remove(key(1).as_bytes()) && held.token().is_cancelled());
        assert!(!door.remove(key(1).as_bytes()));
    }

    #[test]
    fn whoever_enters_while_being_removed_is_cut() {
        const ROUNDS: usize = 20_000;
        let door = Door::new(Connections::new());
        let (key_1, together) = (key(1), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                for _ in 0..ROUNDS {
                    door.admit(key_1, member(1));
                    together.wait();
                    door.remove(key_1.as_bytes());
                    together.wait();
                }
            });
            let mut survivors = 0;
            for _ in 0..ROUNDS {
                together.wait();
                let entered = door.enter(&key_1);
                together.wait();
                survivors += usize::from(entered.is_some_and(|(_, held)| !held.token().is_cancelled()));
            }
            remover.join().unwrap();
            assert_eq!(survivors, 0);
        });
    }
}
