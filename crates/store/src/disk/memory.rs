//! A disk in memory: deterministic, and it can lose power, space or bits.
//!
//! Its rules are the harsh ones of POSIX: bytes survive a power cut after `sync_data` of their file, names after
//! `sync_folder`, and neither implies the other. What was not made durable may survive in part.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand_core::Rng;

use super::{Disk, DiskFile};

/// How a real disk zeroes or loses what was not synced: in blocks of this many bytes.
const BLOCK_BYTES: usize = 512;

/// A folder in memory. Clones share it, so that a test keeps one while a journal uses the other.
#[derive(Debug, Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Counts power cuts. A file that was opened before the last one is dead.
    boot: u64,
    inodes: BTreeMap<u64, Inode>,
    inodes_made: u64,
    names: Names,
    durable_names: Names,
    /// Changes of names since the last sync of the folder, in order.
    name_changes: Vec<NameChange>,
    space_bytes: Option<usize>,
    failing_syncs: u32,
    syncs: u64,
}

type Names = BTreeMap<String, u64>;

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable_bytes: usize,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, u64),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl MemDisk {
    /// An empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power. Of what was not durable, some survives by chance: the first few changes of names; of each
    /// file a prefix of the new bytes, perhaps followed by blocks of zeros, perhaps with a block of zeros within.
    /// Files that are open are dead from now on, and what was set to fail works again.
    pub fn power_cut(&self, rng: &mut impl Rng) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.boot += 1;
        (state.space_bytes, state.failing_syncs) = (None, 0);
        let surviving = below(rng, state.name_changes.len() + 1);
        for change in state.name_changes.drain(..).take(surviving) {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        let named: Vec<u64> = state.names.values().copied().collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        for inode in state.inodes.values_mut() {
            inode.lose_power(rng);
        }
    }

    /// An independent copy, as of a disk's image. Everything in it is durable.
    #[must_use]
    pub fn image(&self) -> Self {
        let state = self.state();
        let copy = |inode: &Inode| Inode { bytes: inode.bytes.clone(), durable_bytes: inode.bytes.len() };
        Self(Arc::new(Mutex::new(State {
            inodes: state.inodes.iter().map(|(number, inode)| (*number, copy(inode))).collect(),
            inodes_made: state.inodes_made,
            names: state.names.clone(),
            durable_names: state.names.clone(),
            ..State::default()
        })))
    }

    /// Flips the bits of `mask` in one byte, as a failing disk does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        self.with_bytes(name, |bytes| bytes[offset] ^= mask);
    }

    /// Zeroes `length` bytes, or as many as there are.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn zero(&self, name: &str, offset: usize, length: usize) {
        self.with_bytes(name, |bytes| {
            let end = bytes.len().min(offset.saturating_add(length));
            bytes[offset.min(end)..end].fill(0);
        });
    }

    /// Lets the next `count` syncs, of a file or of the folder, fail and do nothing.
    pub fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Leaves room for so many more bytes in all; `None` for any number.
    pub fn limit_space(&self, space_bytes: Option<usize>) {
        self.state().space_bytes = space_bytes;
    }

    /// How many syncs succeeded, of files and of the folder.
    pub fn sync_count(&self) -> u64 {
        self.state().syncs
    }

    /// A copy of a file's bytes, if it is there.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.inodes[state.names.get(name)?].bytes.clone())
    }

    fn with_bytes(&self, name: &str, change: impl FnOnce(&mut [u8])) {
        let mut guard = self.state();
        let state = &mut *guard;
        let inode = state.names.get(name).and_then(|inode| state.inodes.get_mut(inode));
        change(&mut inode.expect("the file to be damaged exists").bytes);
    }
}

/// A number under `bound`, which is not 0. The slight bias of the remainder does not matter here.
fn below(rng: &mut impl Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % bound as u64).expect("the remainder is under a usize")
}

impl Inode {
    fn lose_power(&mut self, rng: &mut impl Rng) {
        let (durable, written) = (self.durable_bytes, self.bytes.len());
        let surviving = match below(rng, 3) {
            0 => durable,
            1 => written,
            _ => durable + below(rng, written - durable + 1),
        };
        if below(rng, 3) == 0 {
            // The length got through, these blocks did not.
            self.bytes[surviving..].fill(0);
        } else {
            self.bytes.truncate(surviving);
        }
        if surviving > durable && below(rng, 3) == 0 {
            let start = durable + below(rng, surviving - durable);
            let end = surviving.min(start + BLOCK_BYTES);
            self.bytes[start..end].fill(0);
        }
        self.durable_bytes = self.bytes.len();
    }
}

impl State {
    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn inode_of(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_owned()))
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Err(io::Error::other("the sync was made to fail"));
        }
        self.syncs += 1;
        Ok(())
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn create(&self, name: &str) -> io::Result<MemFile> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, name.to_owned()));
        }
        state.inodes_made += 1;
        let inode = state.inodes_made;
        state.inodes.insert(inode, Inode::default());
        state.change_name(NameChange::Set(name.to_owned(), inode));
        Ok(MemFile { disk: self.clone(), boot: state.boot, inode })
    }

    fn open(&self, name: &str) -> io::Result<MemFile> {
        let state = self.state();
        Ok(MemFile { disk: self.clone(), boot: state.boot, inode: state.inode_of(name)? })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.inode_of(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.inode_of(name)?;
        state.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut guard = self.state();
        guard.sync()?;
        let state = &mut *guard;
        state.name_changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

/// A file of a [`MemDisk`]. Dead after a power cut.
#[derive(Debug)]
pub struct MemFile {
    disk: MemDisk,
    boot: u64,
    inode: u64,
}

impl MemFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.boot != self.boot {
            return Err(io::Error::other("the power was cut since the file was opened"));
        }
        act(&mut state, self.inode)
    }
}

impl State {
    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes live until the next power cut")
    }
}

impl DiskFile for MemFile {
    fn bytes(&self) -> io::Result<u64> {
        self.with(|state, inode| Ok(state.inode(inode).bytes.len() as u64))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let bytes = &state.inode(inode).bytes;
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(buffer.len());
            buffer.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let room = state.space_bytes.unwrap_or(usize::MAX).min(bytes.len());
            state.inode(inode).bytes.extend_from_slice(&bytes[..room]);
            state.space_bytes = state.space_bytes.map(|space| space - room);
            if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, inode| {
            let inode = state.inode(inode);
            inode.bytes.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
            inode.durable_bytes = inode.durable_bytes.min(inode.bytes.len());
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, inode| {
            state.sync()?;
            let inode = state.inode(inode);
            inode.durable_bytes = inode.bytes.len();
            Ok(())
        })
    }
}
