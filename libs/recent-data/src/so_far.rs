//! What running queries have found so far, for streams that show matches before a query is done.
//!
//! If its request asks for it, a query has a board while it runs. Further requests of the same query take new entries
//! from the board. The number of entries is bounded; anything found beyond that is shown only at the end.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prost::Message;
use tactus_model::TenantId;
use tactus_proto::{
    tactus::v1::{SoFar, TagScope, TagValue},
    tempopb::TraceSearchMetadata,
};

/// Most bytes of the entries on a board.
const MAX_BYTES: usize = 1 << 20;
/// Memory of an entry besides its text.
const ENTRY_BYTES: usize = 96;
/// How often a growing set is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The boards of running queries.
#[derive(Debug, Default)]
pub(crate) struct FoundSoFar {
    pub(crate) traces: Boards<TraceSearchMetadata>,
    /// Each entry has one name.
    pub(crate) tags: Boards<TagScope>,
    pub(crate) values: Boards<TagValue>,
}

/// Boards by query. Clones are the same boards.
#[derive(Debug)]
pub(crate) struct Boards<T>(Arc<Mutex<HashMap<Key, SharedBoard<T>>>>);

/// The tenant and the number of a query.
type Key = (TenantId, u64);

type SharedBoard<T> = Arc<Mutex<Board<T>>>;

#[derive(Debug)]
struct Board<T> {
    new: Vec<T>,
    /// Put on it so far, taken or not.
    count: usize,
    bytes: usize,
}

/// The board of a running query. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    boards: Boards<T>,
    key: Key,
    board: SharedBoard<T>,
    /// Most entries; 0: limited by memory only.
    most: usize,
}

impl<T> Default for Boards<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Boards<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Message> Boards<T> {
    /// The board of a query that begins to run, for `most` entries; `None` if nobody will ask for it.
    pub(crate) fn open(
        &self,
        so_far: SoFar,
        (tenant, query): (TenantId, u64),
        most: u32,
    ) -> Option<Kept<T>> {
        if so_far != SoFar::Kept || query == 0 {
            return None;
        }
        let (key, most) = ((tenant, query), most as usize);
        let board = Arc::new(Mutex::new(Board { new: Vec::new(), count: 0, bytes: 0 }));
        self.0.lock().insert(key.clone(), Arc::clone(&board));
        Some(Kept { boards: self.clone(), key, board, most })
    }

    /// What a query has found since the last call; nothing if it does not run.
    pub(crate) fn take(&self, tenant: TenantId, query: u64) -> Vec<T> {
        let board = self.0.lock().get(&(tenant, query)).map(Arc::clone);
        board.map(|board| std::mem::take(&mut board.lock().new)).unwrap_or_default()
    }
}

impl<T: Message> Kept<T> {
    /// Puts an entry on the board. False if it is full.
    pub(crate) fn add(&self, entry: impl FnOnce() -> T) -> bool {
        let mut board = self.board.lock();
        if board.bytes >= MAX_BYTES || (self.most > 0 && board.count >= self.most) {
            return false;
        }
        let entry = entry();
        board.count += 1;
        board.bytes += entry.encoded_len() + ENTRY_BYTES;
        board.new.push(entry);
        true
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let mut boards = self.boards.0.lock();
        // A second attempt may have a board of its own.
        if boards.get(&self.key).is_some_and(|board| Arc::ptr_eq(board, &self.board)) {
            boards.remove(&self.key);
        }
    }
}

/// Puts the new elements of a growing set on a board.
#[derive(Debug)]
pub(crate) struct Growing<T> {
    board: Option<Kept<T>>,
    told: HashSet<T>,
    looked: Instant,
}

impl<T: Message + Clone + Eq + Hash> Growing<T> {
    pub(crate) fn on(board: Option<Kept<T>>) -> Self {
        Self { board, told: HashSet::new(), looked: Instant::now() }
    }

    /// Call this whenever the set may have grown.
    pub(crate) fn look_at<I: Iterator<Item = T>>(&mut self, all: impl FnOnce() -> I) {
        let Some(board) = self.board.as_ref().filter(|_| self.looked.elapsed() >= LOOK_EVERY)
        else {
            return;
        };
        for entry in all() {
            if !self.told.contains(&entry) {
                if !board.add(|| entry.clone()) {
                    self.board = None;
                    return;
                }
                self.told.insert(entry);
            }
        }
        self.looked = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: impl Into<String>) -> TagValue {
        TagValue { r#type: "string".to_owned(), value: text.into() }
    }

    fn query(number: u64) -> (TenantId, u64) {
        (TenantId::single(), number)
    }

    fn texts(values: Vec<TagValue>) -> Vec<String> {
        values.into_iter().map(|value| value.value).collect()
    }

    #[test]
    fn what_is_new_is_taken_once_while_the_query_runs() {
        let boards = Boards::default();
        let take = |number| texts(boards.take(TenantId::single(), number));
        let kept = boards.open(SoFar::Kept, query(1), 0).unwrap();
        assert!(kept.add(|| value("a")));
        assert_eq!((take(1), take(2)), (vec!["a".to_owned()], Vec::new()));
        assert!(kept.add(|| value("b")));
        assert_eq!((take(1), take(1)), (vec!["b".to_owned()], Vec::new()));
        assert!(kept.add(|| value("c")));
        drop(kept);
        assert_eq!(take(1), [""; 0]);
        assert!(boards.0.lock().is_empty());
    }

    #[test]
    fn nothing_is_kept_that_nobody_asks_for() {
        let boards = Boards::<TagValue>::default();
        assert!(boards.open(SoFar::NotKept, query(1), 0).is_none());
        assert!(boards.open(SoFar::Kept, query(0), 0).is_none(), "whose is not known");
    }

    #[test]
    fn board_of_a_second_attempt_outlives_the_first() {
        let boards = Boards::default();
        let first = boards.open(SoFar::Kept, query(1), 0).unwrap();
        let second = boards.open(SoFar::Kept, query(1), 0).unwrap();
        drop(first);
        assert!(second.add(|| value("a")));
        assert_eq!(boards.take(TenantId::single(), 1).len(), 1);
    }

    #[test]
    fn board_is_bounded_by_entries_and_bytes_taken_or_not() {
        let boards = Boards::default();
        let few = boards.open(SoFar::Kept, query(1), 2).unwrap();
        let added = ["a", "b", "c"].map(|text| few.add(|| value(text)));
        assert_eq!(added, [true, true, false]);
        boards.take(TenantId::single(), 1);
        assert!(!few.add(|| value("d")));
        let large = boards.open(SoFar::Kept, query(2), 0).unwrap();
        assert!(large.add(|| value("x".repeat(MAX_BYTES))));
        assert!(!large.add(|| value("y")));
    }

    #[test]
    fn set_that_grows_is_told_by_what_is_new() {
        let boards = Boards::default();
        let mut growing = Growing::on(boards.open(SoFar::Kept, query(1), 0));
        let mut tell = |all: &[&str]| {
            growing.looked -= LOOK_EVERY;
            growing.look_at(|| all.iter().map(|text| value(*text)));
            texts(boards.take(TenantId::single(), 1))
        };
        assert_eq!(tell(&["a"]), ["a"]);
        assert_eq!(tell(&["b", "a", "c"]), ["b", "c"]);
        assert_eq!(tell(&["b", "a", "c"]), [""; 0]);
    }
}
