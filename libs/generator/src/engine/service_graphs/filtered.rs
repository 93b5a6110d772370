//! Sides of calls that policies left out: their other side must not become a virtual node.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::edges::EdgeKey;

/// One side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// See the module. Bounded.
#[derive(Debug, Default)]
pub(super) struct Filtered {
    sides: HashMap<(EdgeKey, Side), i64, RandomState>,
    /// In the order in which they expire, in unix seconds; a time that is not that of `sides` means nothing.
    order: VecDeque<(EdgeKey, Side, i64)>,
}

impl Filtered {
    /// Remembers a side until a time; false if there are too many.
    pub(super) fn insert(&mut self, key: EdgeKey, side: Side, expires: i64, most: usize) -> bool {
        if self.sides.get(&(key, side)) == Some(&expires) {
            return true;
        }
        if self.order.len() >= most {
            return false;
        }
        self.sides.insert((key, side), expires);
        self.order.push_back((key, side, expires));
        true
    }

    /// True if a side was left out.
    pub(super) fn has(&self, key: EdgeKey, side: Side) -> bool {
        !self.sides.is_empty() && self.sides.contains_key(&(key, side))
    }

    /// Forgets what has expired, and what will only after `latest`.
    pub(super) fn expire(&mut self, now: i64, latest: i64) {
        while let Some((key, side, expires)) = self.order.front().copied() {
            if (now + 1..=latest).contains(&expires) {
                return;
            }
            self.order.pop_front();
            if self.sides.get(&(key, side)) == Some(&expires) {
                self.sides.remove(&(key, side));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_model::{SpanId, TraceId};

    use super::*;

    #[test]
    fn side_is_remembered_until_it_expires_and_no_more_than_allowed() {
        let key = |number| (TraceId([number; 16]), SpanId([1; 8]));
        let mut filtered = Filtered::default();
        assert!(filtered.insert(key(1), Side::Client, 10, 2));
        assert!(filtered.insert(key(1), Side::Client, 10, 2));
        assert!(filtered.insert(key(1), Side::Client, 12, 2));
        assert!(!filtered.insert(key(2), Side::Client, 12, 2), "full");
        filtered.expire(10, 20);
        assert!(filtered.has(key(1), Side::Client), "was seen again");
        assert!(!filtered.has(key(1), Side::Server));
        filtered.expire(12, 20);
        assert!(!filtered.has(key(1), Side::Client));
        assert!(filtered.order.is_empty());
        assert!(filtered.insert(key(3), Side::Client, 5_000, 2));
        filtered.expire(12, 20);
        assert!(filtered.order.is_empty(), "from before the clock went back");
    }
}
