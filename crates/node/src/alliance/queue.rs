//! What waits for the writer: tills in one line, peers in another, each bounded. Tills go first, so that no member's flood of
//! records keeps a customer waiting; peers get their turn after so many of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::writer::Job;

/// Jobs that wait in each line. Full: tills are told to come again (`BUSY`), peers likewise.
pub(super) const JOBS_MAX: usize = 1_024;
/// After so long who waits for room looks again.
const ROOM_WAIT: Duration = Duration::from_millis(10);
/// After so many tills in a row one job of a peer is taken: a busy till does not cut its shop off.
const TILLS_IN_A_ROW: usize = 64;

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Its line is full.
    Full,
    /// The writer has stopped, or is about to.
    Stopped,
}

#[derive(Debug)]
struct Lines<T> {
    tills: VecDeque<T>,
    peers: VecDeque<T>,
    tills_in_a_row: usize,
    /// No more are put.
    closed: bool,
    /// No more are taken.
    stopped: bool,
}

#[derive(Debug)]
struct Shared<T> {
    lines: Mutex<Lines<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    /// Each change is one step, so a poisoned lock's lines are whole.
    fn lock(&self) -> MutexGuard<'_, Lines<T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which line a job stands in.
pub(super) trait Lined {
    /// Whether somebody waits at a till for it.
    fn is_of_till(&self) -> bool;
}

impl Lined for Job {
    fn is_of_till(&self) -> bool {
        matches!(self, Self::Execute { .. } | Self::Confirm { .. } | Self::Tick)
    }
}

/// Where jobs are put.
#[derive(Debug)]
pub(super) struct Door<T>(Arc<Shared<T>>);

/// Where the writer takes them.
#[derive(Debug)]
pub(super) struct Counter<T>(Arc<Shared<T>>);

/// Two empty lines.
pub(super) fn lines<T>() -> (Door<T>, Counter<T>) {
    let (tills, peers) = (VecDeque::new(), VecDeque::new());
    let lines = Lines { tills, peers, tills_in_a_row: 0, closed: false, stopped: false };
    let shared = Arc::new(Shared { lines: Mutex::new(lines), changed: Condvar::new() });
    (Door(shared.clone()), Counter(shared))
}

impl<T: Lined> Door<T> {
    /// Puts a job at the end of its line.
    pub(super) fn put(&self, job: T) -> Result<(), NotTaken> {
        self.offer(job).map_err(|(why, _)| why)
    }

    /// Puts a job at the end of its line once there is room. None: the writer has stopped.
    pub(super) async fn put_when_room(&self, mut job: T) -> Option<()> {
        loop {
            match self.offer(job) {
                Ok(()) => return Some(()),
                Err((NotTaken::Stopped, _)) => return None,
                Err((NotTaken::Full, back)) => job = back,
            }
            tokio::time::sleep(ROOM_WAIT).await;
        }
    }

    /// Puts a job at the end of its line, or gives it back.
    fn offer(&self, job: T) -> Result<(), (NotTaken, T)> {
        let mut lines = self.0.lock();
        if lines.closed || lines.stopped {
            return Err((NotTaken::Stopped, job));
        }
        let line = if job.is_of_till() { &mut lines.tills } else { &mut lines.peers };
        if line.len() >= JOBS_MAX {
            return Err((NotTaken::Full, job));
        }
        line.push_back(job);
        drop(lines);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Door<T> {
    /// Lets no more jobs in; the writer ends after those that wait.
    pub(super) fn close(&self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }

    /// Whether the writer has stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// Jobs that wait, and the most that may.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let lines = self.0.lock();
        (lines.tills.len() + lines.peers.len(), 2 * JOBS_MAX)
    }
}

impl<T> Drop for Door<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Lines<T> {
    fn next(&mut self) -> Option<T> {
        let peers_turn = self.tills_in_a_row >= TILLS_IN_A_ROW && !self.peers.is_empty();
        if let Some(till) = if peers_turn { None } else { self.tills.pop_front() } {
            self.tills_in_a_row += 1;
            return Some(till);
        }
        self.tills_in_a_row = 0;
        self.peers.pop_front()
    }
}

impl<T> Counter<T> {
    /// The next job; waits for one. None: nobody can put one any more.
    pub(super) fn wait(&self) -> Option<T> {
        let mut lines = self.0.lock();
        loop {
            if let Some(job) = lines.next() {
                return Some(job);
            }
            if lines.closed {
                return None;
            }
            lines = self.0.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next job of the same group, if one waits. Once a till is in the group no more of peers' jobs are added, which it
    /// would wait for.
    pub(super) fn next(&self, till_in_group: bool) -> Option<T> {
        let mut lines = self.0.lock();
        if till_in_group { lines.tills.pop_front() } else { lines.next() }
    }
}

impl<T> Drop for Counter<T> {
    fn drop(&mut self) {
        let mut lines = self.0.lock();
        lines.stopped = true;
        // Whoever waits for these jobs' outcomes hears at once that none will come.
        let left = (std::mem::take(&mut lines.tills), std::mem::take(&mut lines.peers));
        drop(lines);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Ask {
        Till(usize),
        Peer(usize),
    }

    impl Lined for Ask {
        fn is_of_till(&self) -> bool {
            matches!(self, Self::Till(_))
        }
    }

    #[test]
    fn a_flood_of_records_neither_keeps_a_till_out_nor_makes_it_wait() {
        let (door, counter) = lines();
        for n in 0..JOBS_MAX {
            door.put(Ask::Peer(n)).unwrap();
        }
        assert_eq!(door.put(Ask::Peer(0)), Err(NotTaken::Full));
        door.put(Ask::Till(1)).unwrap();
        door.put(Ask::Till(2)).unwrap();
        assert_eq!(counter.wait(), Some(Ask::Till(1)));
        assert_eq!(counter.next(true), Some(Ask::Till(2)));
        assert_eq!(counter.next(true), None, "the group ends where only peers wait");
        assert_eq!(counter.wait(), Some(Ask::Peer(0)));
        assert_eq!(counter.next(false), Some(Ask::Peer(1)));
    }

    #[test]
    fn tills_without_end_leave_peers_their_turn() {
        let (door, counter) = lines();
        for n in 0..TILLS_IN_A_ROW + 1 {
            door.put(Ask::Till(n)).unwrap();
        }
        door.put(Ask::Peer(7)).unwrap();
        let taken: Vec<_> = (0..TILLS_IN_A_ROW + 2).map(|_| counter.wait().unwrap()).collect();
        assert_eq!(taken[TILLS_IN_A_ROW], Ask::Peer(7));
        assert_eq!(taken[TILLS_IN_A_ROW + 1], Ask::Till(TILLS_IN_A_ROW));
    }

    #[test]
    fn each_end_hears_that_the_other_is_gone() {
        let (door, counter) = lines();
        door.put(Ask::Till(1)).unwrap();
        drop(door);
        assert_eq!((counter.wait(), counter.wait()), (Some(Ask::Till(1)), None));
        let (door, counter) = lines();
        door.put(Ask::Peer(1)).unwrap();
        door.close();
        assert_eq!((door.put(Ask::Till(2)), door.is_stopped()), (Err(NotTaken::Stopped), false));
        assert_eq!((counter.wait(), counter.wait()), (Some(Ask::Peer(1)), None));
        let (door, counter) = lines();
        drop(counter);
        assert_eq!((door.put(Ask::Till(1)), door.is_stopped()), (Err(NotTaken::Stopped), true));
    }
}
