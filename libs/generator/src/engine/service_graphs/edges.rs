//! Calls of which only one side has arrived, and sides that policies excluded.

use foldhash::fast::RandomState;
use lru::LruCache;
use tactus_model::{SpanId, TraceId};

use super::super::interner::{EMPTY, TextId};

/// What both sides of a call know: its trace, and the span of the client. That is zero for a server without a parent.
pub(super) type EdgeKey = (TraceId, SpanId);

/// How a call was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Connection {
    #[default]
    Direct = 0,
    Messaging = 1,
    Database = 2,
    /// The client sent no spans.
    VirtualClient = 3,
    /// The server sent no spans.
    VirtualServer = 4,
}

/// Estimated memory of an edge that waits: its entry in a list, and that in a table.
const EDGE_BYTES: usize = size_of::<(EdgeKey, Edge)>() + 2 * size_of::<usize>() + 24;

/// A call between services.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    pub(super) key: EdgeKey,
    /// Names of services; 0: that side is not known yet.
    pub(super) client: TextId,
    pub(super) server: TextId,
    /// What a side says the other is called.
    pub(super) peer: TextId,
    pub(super) connection: Connection,
    pub(super) failed: bool,
    /// Seconds.
    pub(super) client_latency: f64,
    pub(super) server_latency: f64,
    /// Unix nanoseconds.
    pub(super) client_end: u64,
    pub(super) server_start: u64,
    pub(super) weight: f64,
    /// Unix seconds.
    pub(super) expires: i64,
    /// Texts of the dimensions, as many as there are labels for them; none of an edge of other settings.
    pub(super) dimensions: Box<[TextId]>,
}

impl Edge {
    /// True once both sides are known.
    pub(super) fn is_complete(&self) -> bool {
        self.client != EMPTY && self.server != EMPTY
    }

    /// Numbers of the texts it needs.
    fn texts(&self) -> impl Iterator<Item = TextId> {
        [self.client, self.server, self.peer].into_iter().chain(self.dimensions.iter().copied())
    }
}

/// Calls of which one side was seen: found by key, forgotten in the order in which they began.
#[derive(Debug)]
pub(super) struct EdgeStore(LruCache<EdgeKey, Edge, RandomState>);

impl Default for EdgeStore {
    fn default() -> Self {
        Self(LruCache::unbounded_with_hasher(RandomState::default()))
    }
}

impl EdgeStore {
    /// Edges that wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Estimated memory, if an edge has so many dimensions.
    pub(super) fn bytes(&self, dimensions: usize) -> usize {
        self.len() * (EDGE_BYTES + dimensions * size_of::<TextId>())
    }

    /// The edge of a key.
    pub(super) fn find(&mut self, key: &EdgeKey) -> Option<&mut Edge> {
        self.0.peek_mut(key)
    }

    /// Keeps an edge whose key is not there yet.
    pub(super) fn insert(&mut self, edge: Edge) {
        self.0.put(edge.key, edge);
    }

    /// Takes out the edge of a key.
    pub(super) fn remove(&mut self, key: &EdgeKey) -> Option<Edge> {
        self.0.pop(key)
    }

    /// Takes out the oldest edge if `expired` says so.
    pub(super) fn pop_if(&mut self, expired: impl Fn(&Edge) -> bool) -> Option<Edge> {
        let (_, oldest) = self.0.peek_lru()?;
        if !expired(oldest) {
            return None;
        }
        self.0.pop_lru().map(|(_, edge)| edge)
    }

    /// Numbers of the texts that edges need.
    pub(super) fn texts(&self) -> impl Iterator<Item = TextId> + '_ {
        self.0.iter().flat_map(|(_, edge)| edge.texts())
    }

    /// Forgets the dimensions of all edges: labels are others now.
    pub(super) fn forget_dimensions(&mut self) {
        self.0.iter_mut().for_each(|(_, edge)| edge.dimensions = Box::default());
    }
}

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

/// Sides of calls that policies left out: their other side must not become a virtual node. Bounded.
#[derive(Debug)]
pub(super) struct Filtered {
    /// Unix seconds when each expires, in the order in which they were last seen.
    sides: LruCache<(EdgeKey, Side), i64, RandomState>,
}

impl Default for Filtered {
    fn default() -> Self {
        Self { sides: LruCache::unbounded_with_hasher(RandomState::default()) }
    }
}

impl Filtered {
    /// Remembers a side until a time; false if there are too many.
    pub(super) fn insert(&mut self, key: EdgeKey, side: Side, expires: i64, most: usize) -> bool {
        if self.sides.len() >= most && !self.has(key, side) {
            return false;
        }
        self.sides.put((key, side), expires);
        true
    }

    /// True if no side is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.sides.is_empty()
    }

    /// True if a side was left out.
    pub(super) fn has(&self, key: EdgeKey, side: Side) -> bool {
        !self.is_empty() && self.sides.contains(&(key, side))
    }

    /// Forgets what has expired, and what will only after `latest`.
    pub(super) fn expire(&mut self, now: i64, latest: i64) {
        while let Some((_, expires)) = self.sides.peek_lru() {
            if (now + 1..=latest).contains(expires) {
                return;
            }
            self.sides.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_model::{SpanId, TraceId};

    use super::*;

    fn edge(number: u8, expires: i64) -> Edge {
        Edge { key: (TraceId([number; 16]), SpanId([1; 8])), expires, ..Edge::default() }
    }

    #[test]
    fn oldest_edges_go_first() {
        let mut store = EdgeStore::default();
        [1, 2, 3].into_iter().for_each(|number| store.insert(edge(number, number.into())));
        store.find(&edge(2, 0).key).unwrap();
        store.remove(&edge(2, 0).key).unwrap();
        let numbers: Vec<_> =
            std::iter::from_fn(|| store.pop_if(|edge| edge.expires < 3).map(|e| e.expires))
                .collect();
        assert_eq!((numbers, store.len()), (vec![1], 1));
    }

    proptest! {
        #[test]
        fn store_is_a_map_in_order_of_insertion(
            steps in proptest::collection::vec((0..12_u8, 0..3_u8), 0..120),
        ) {
            let (mut store, mut model) = (EdgeStore::default(), Vec::<u8>::new());
            for (number, action) in steps {
                let known = model.iter().position(|other| *other == number);
                match (action, known) {
                    (0, None) => {
                        store.insert(edge(number, 0));
                        model.push(number);
                    }
                    (1, Some(place)) => {
                        let removed = store.remove(&edge(number, 0).key).unwrap();
                        prop_assert_eq!(removed.key, edge(number, 0).key);
                        model.remove(place);
                    }
                    (2, _) if !model.is_empty() => {
                        let popped = store.pop_if(|_| true).unwrap();
                        prop_assert_eq!(popped.key, edge(model.remove(0), 0).key);
                    }
                    (_, known) => {
                        let found = store.find(&edge(number, 0).key).is_some();
                        prop_assert_eq!(found, known.is_some());
                    }
                }
                prop_assert_eq!(store.len(), model.len());
            }
        }
    }

    #[test]
    fn side_is_remembered_until_it_expires_and_no_more_than_allowed() {
        let key = |number| (TraceId([number; 16]), SpanId([1; 8]));
        let mut filtered = Filtered::default();
        assert!(filtered.insert(key(1), Side::Client, 10, 2));
        assert!(filtered.insert(key(1), Side::Client, 10, 2));
        assert!(filtered.insert(key(1), Side::Client, 12, 2));
        assert!(filtered.insert(key(1), Side::Server, 11, 2));
        assert!(!filtered.insert(key(2), Side::Client, 12, 2), "full");
        assert!(filtered.insert(key(1), Side::Client, 12, 2), "is there");
        filtered.expire(10, 20);
        assert!(filtered.has(key(1), Side::Client), "was seen again");
        filtered.expire(11, 20);
        assert!(!filtered.has(key(1), Side::Server));
        assert!(filtered.has(key(1), Side::Client));
        filtered.expire(12, 20);
        assert!(!filtered.has(key(1), Side::Client));
        assert!(filtered.is_empty());
        assert!(filtered.insert(key(3), Side::Client, 5_000, 2));
        filtered.expire(12, 20);
        assert!(filtered.is_empty(), "from before the clock went back");
    }
}
