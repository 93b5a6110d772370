//! Span names without their variable parts: clusters of names by their tokens, as the DRAIN algorithm makes them.

mod tokens;

use std::collections::HashMap;

use tokens::{is_likely_data, tokens_of};

/// Replaces a variable part.
const VARIABLE: &str = "<_>";

const MAX_DEPTH: usize = 28;
const MAX_CHILDREN: usize = 1000;
/// Most clusters of one path. A name is compared with each of them, so without this limit names that share only their number of
/// tokens, such as percent-encoded ones, would make each span cost more than the one before.
const MAX_ALIKE: usize = 256;
const MIN_SIMILARITY: f64 = 0.3;
/// Most memory of a tenant's clusters. Names of random symbols share no path: each would take several KiB for good.
const MAX_BYTES: usize = 8 << 20;

type Child = (Box<str>, Node);

/// A node of the tree of tokens. The leaves have clusters.
#[derive(Debug, Default)]
struct Node {
    /// By token, in order. Most nodes have one, for which a hash table would take several times the memory.
    children: Vec<Child>,
    clusters: Vec<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    tokens: Box<[Box<str>]>,
    used_ms: i64,
}

/// What a tree takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    clusters: usize,
    /// Estimated memory.
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Drain {
    /// The roots, by number of tokens.
    roots: HashMap<usize, Node>,
    size: Size,
    changed: bool,
}

impl Drain {
    /// The name with `<_>` for its variable parts; `None` if it has none, or resembles no name before. Remembers the
    /// latter unless it `may_grow` no more.
    pub(super) fn sanitized(&mut self, name: &str, now_ms: i64, may_grow: bool) -> Option<String> {
        let tokens = tokens_of(name)?;
        let leaf = self.roots.get_mut(&tokens.len()).and_then(|root| root.search(&tokens));
        if let Some(cluster) = leaf.and_then(|leaf| leaf.most_similar(&tokens)) {
            cluster.used_ms = now_ms;
            for (own, token) in cluster.tokens.iter_mut().zip(&tokens) {
                if **own != **token && &**own != VARIABLE {
                    self.size.bytes += text_bytes(VARIABLE);
                    self.size.bytes -= text_bytes(own);
                    *own = VARIABLE.into();
                    self.changed = true;
                }
            }
            let without_end = &cluster.tokens[..tokens.len() - 1];
            let sanitized: String = without_end.iter().map(|token| &**token).collect();
            return (sanitized != name).then_some(sanitized);
        }
        if may_grow {
            self.insert(&tokens, now_ms);
        }
        None
    }

    /// Adds a cluster, for which the oldest may have to go.
    fn insert(&mut self, tokens: &[&str], now_ms: i64) {
        let most = most_bytes(tokens);
        if self.size.bytes + most > MAX_BYTES {
            self.drop_oldest_half();
            if self.size.bytes + most > MAX_BYTES {
                return;
            }
        }
        let root = self.roots.entry(tokens.len()).or_default();
        if root.is_empty() {
            self.size.bytes += ROOT_BYTES;
        }
        self.changed |= root.insert(tokens, now_ms, &mut self.size);
    }

    /// Estimated memory.
    pub(super) fn bytes(&self) -> u64 {
        self.size.bytes as u64
    }

    /// True if earlier results may be outdated. Then resets itself.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Forgets clusters that were not used since.
    pub(super) fn prune(&mut self, oldest_ms: i64) {
        let mut size = Size::default();
        self.roots.retain(|_, root| {
            root.prune(oldest_ms, &mut size);
            !root.is_empty()
        });
        size.bytes += self.roots.len() * ROOT_BYTES;
        self.size = size;
    }

    /// Removes several at once, because each search for the oldest goes through all.
    fn drop_oldest_half(&mut self) {
        let mut used = Vec::with_capacity(self.size.clusters);
        self.roots.values().for_each(|root| root.times(&mut used));
        if used.is_empty() {
            return;
        }
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        let (median, before) = (*median, self.size.clusters);
        self.prune(median);
        if self.size.clusters == before {
            self.prune(median.saturating_add(1));
        }
    }
}

/// Memory of a root in the table of them.
const ROOT_BYTES: usize = 2 * size_of::<(usize, Node)>();

/// Memory of a text of its own, as an allocator rounds it.
fn text_bytes(text: &str) -> usize {
    text.len().next_multiple_of(16)
}

/// Memory of a cluster besides its place.
fn cluster_bytes<T: AsRef<str>>(tokens: &[T]) -> usize {
    let texts: usize = tokens.iter().map(|token| text_bytes(token.as_ref())).sum();
    size_of_val(tokens) + texts
}

/// What a name may take if no other shares its path. What a list of nodes takes in advance comes on top.
fn most_bytes(tokens: &[&str]) -> usize {
    let key = |token: &&str| text_bytes(token).max(text_bytes(VARIABLE));
    let path: usize = tokens.iter().take(MAX_DEPTH).map(key).sum();
    let nodes = tokens.len().min(MAX_DEPTH) * size_of::<Child>();
    ROOT_BYTES + nodes + path + size_of::<Cluster>() + cluster_bytes(tokens)
}

/// Makes room for one more: exactly one at first, since most nodes need no other. Returns the bytes that it takes.
fn room_for_one<T>(all: &mut Vec<T>) -> usize {
    let before = all.capacity();
    if all.len() == before {
        all.reserve_exact(before.max(1));
    }
    (all.capacity() - before) * size_of::<T>()
}

impl Node {
    fn place(&self, token: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(own, _)| (**own).cmp(token))
    }

    fn search(&mut self, tokens: &[&str]) -> Option<&mut Node> {
        let mut node = self;
        for token in &tokens[..tokens.len().min(MAX_DEPTH)] {
            let place = node.place(VARIABLE).or_else(|_| node.place(token)).ok()?;
            node = &mut node.children[place].1;
        }
        Some(node)
    }

    fn most_similar(&mut self, tokens: &[&str]) -> Option<&mut Cluster> {
        let similarity = |cluster: &Cluster| {
            let pairs = cluster.tokens.iter().zip(tokens);
            let equal = pairs.filter(|(own, token)| ***own == ***token).count();
            let variable = cluster.tokens.iter().filter(|own| &***own == VARIABLE).count();
            (equal, variable)
        };
        let best = self.clusters.iter_mut().max_by_key(|cluster| similarity(cluster))?;
        let (equal, _) = similarity(best);
        (equal as f64 / tokens.len() as f64 >= MIN_SIMILARITY).then_some(best)
    }

    /// Adds a cluster, or replaces the oldest of too many, and the change to `size`. True if names that were inserted
    /// before may now meet another cluster than their own.
    fn insert(&mut self, tokens: &[&str], now_ms: i64, size: &mut Size) -> bool {
        let (mut node, mut diverts) = (self, false);
        for token in &tokens[..tokens.len().min(MAX_DEPTH)] {
            let known = node.place(token).is_ok();
            let full = !known && node.children.len() >= MAX_CHILDREN - 1;
            let key = if is_likely_data(token) || full { VARIABLE } else { *token };
            let place = match node.place(key) {
                Ok(place) => place,
                Err(place) => {
                    diverts |= key == VARIABLE && !node.children.is_empty();
                    size.bytes += room_for_one(&mut node.children) + text_bytes(key);
                    node.children.insert(place, (key.into(), Node::default()));
                    place
                }
            };
            node = &mut node.children[place].1;
        }
        let tokens: Box<[Box<str>]> = tokens.iter().map(|token| (*token).into()).collect();
        size.bytes += cluster_bytes(&tokens);
        let cluster = Cluster { tokens, used_ms: now_ms };
        diverts |= !node.clusters.is_empty();
        let full = node.clusters.len() >= MAX_ALIKE;
        match node.clusters.iter_mut().min_by_key(|cluster| cluster.used_ms).filter(|_| full) {
            Some(oldest) => {
                size.bytes -= cluster_bytes(&oldest.tokens);
                *oldest = cluster;
            }
            None => {
                size.bytes += room_for_one(&mut node.clusters);
                node.clusters.push(cluster);
                size.clusters += 1;
            }
        }
        diverts
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.clusters.is_empty()
    }

    /// Adds what is left to `size`. At most [`MAX_DEPTH`] deep.
    fn prune(&mut self, oldest_ms: i64, size: &mut Size) {
        self.clusters.retain(|cluster| cluster.used_ms >= oldest_ms);
        self.clusters.shrink_to_fit();
        self.children.retain_mut(|(_, child)| {
            child.prune(oldest_ms, size);
            !child.is_empty()
        });
        self.children.shrink_to_fit();
        size.clusters += self.clusters.len();
        let clusters = self.clusters.iter().map(|cluster| cluster_bytes(&cluster.tokens));
        let keys = self.children.iter().map(|(token, _)| text_bytes(token));
        size.bytes += self.clusters.capacity() * size_of::<Cluster>()
            + self.children.capacity() * size_of::<Child>()
            + clusters.chain(keys).sum::<usize>();
    }

    fn times(&self, used: &mut Vec<i64>) {
        used.extend(self.clusters.iter().map(|cluster| cluster.used_ms));
        self.children.iter().for_each(|(_, child)| child.times(used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_name_of_a_pattern_is_generalised() {
        let mut drain = Drain::default();
        assert_eq!(drain.sanitized("GET /api/users/123", 0, true), None);
        let expected = Some("GET /api/users/<_>".to_owned());
        assert_eq!(drain.sanitized("GET /api/users/456", 0, true), expected);
        assert_eq!(drain.sanitized("GET /api/users/789", 0, true), expected);
        assert_eq!(drain.sanitized("POST /other/path/one", 0, true), None);
    }

    #[test]
    fn pattern_that_was_not_used_is_forgotten() {
        let mut drain = Drain::default();
        drain.sanitized("GET /api/users/123", 5, true);
        drain.prune(6);
        assert_eq!(drain.size, Size::default());
        assert_eq!(drain.sanitized("GET /api/users/456", 7, true), None);
    }

    #[test]
    fn names_without_a_pattern_do_not_pile_up() {
        let mut drain = Drain::default();
        let name = |number: usize| {
            let bytes = [0x81 + number % 61, 0x81 + number / 61 % 61, 0x81 + number / 3721 % 61];
            bytes.map(|byte| format!("%e3%{byte:x}")).concat()
        };
        for number in 0..2_000 {
            drain.sanitized(&name(number), number as i64, true);
        }
        assert!(drain.size.clusters <= MAX_ALIKE, "{}", drain.size.clusters);
        drain.prune(i64::MIN);
        assert!(drain.size.clusters <= MAX_ALIKE, "{}", drain.size.clusters);
    }

    #[test]
    fn oldest_half_goes_when_there_are_too_many() {
        let mut drain = Drain::default();
        for number in 0..1000 {
            let name = format!("{} x y", "abcdefghij".repeat(1 + number % 30));
            drain.sanitized(&name, number as i64, true);
        }
        drain.drop_oldest_half();
        assert!(drain.size.clusters <= 600, "{}", drain.size.clusters);
    }

    /// A name of 30 symbols that shares its beginning with few others.
    fn symbols(number: u64) -> String {
        let mut state = number;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b"!@#$&*()_+=[]{};:,.<>?|~^-"[(state >> 33) as usize % 26])
        };
        (0..30).map(|_| next()).collect()
    }

    #[test]
    fn names_of_symbols_take_bounded_memory() {
        // All at one time, and one after the other.
        for step_ms in [0, 1] {
            let (mut drain, mut most) = (Drain::default(), 0);
            for number in 0..6_000 {
                drain.sanitized(&symbols(number), number as i64 * step_ms, true);
                most = most.max(drain.size.bytes);
            }
            assert!((MAX_BYTES / 2..MAX_BYTES + (128 << 10)).contains(&most), "{most}");
            // What comes later is recognised all the same.
            assert_eq!(drain.sanitized("GET /api/users/123", 6_000, true), None);
            let expected = Some("GET /api/users/<_>".to_owned());
            assert_eq!(drain.sanitized("GET /api/users/456", 6_000, true), expected);
        }
    }

    #[test]
    fn estimate_follows_what_is_there() {
        let mut drain = Drain::default();
        let names = |drain: &mut Drain, number: u64| {
            for name in
                [symbols(number), format!("GET /api/users/{number}/cart"), format!("a b{number} c")]
            {
                drain.sanitized(&name, number as i64, true);
            }
        };
        (0..200).for_each(|number| names(&mut drain, number));
        let counted = drain.size;
        drain.prune(i64::MIN);
        assert_eq!(drain.size.clusters, counted.clusters);
        // Lists that had room in advance have none now.
        let left = drain.size.bytes;
        assert!((counted.bytes / 2..=counted.bytes).contains(&left), "{left} of {counted:?}");
        (200..400).for_each(|number| names(&mut drain, number));
        drain.prune(400);
        assert_eq!(drain.size, Size::default());
    }

    #[test]
    fn without_room_names_stay_and_what_is_known_counts() {
        let mut drain = Drain::default();
        for number in [123, 456] {
            assert_eq!(drain.sanitized(&format!("POST /api/carts/{number}"), 0, false), None);
        }
        assert_eq!(drain.size, Size::default());
        drain.sanitized("GET /api/users/123", 0, true);
        let expected = Some("GET /api/users/<_>".to_owned());
        assert_eq!(drain.sanitized("GET /api/users/456", 0, false), expected);
    }
}
