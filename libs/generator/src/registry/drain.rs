//! Span names without their variable parts: clusters of names by their tokens, as the DRAIN algorithm makes them.

mod tokens;

use std::collections::HashMap;

use tokens::{is_likely_data, tokens_of};

/// Replaces a variable part.
const VARIABLE: &str = "<_>";

const MAX_DEPTH: usize = 28;
const MAX_CHILDREN: usize = 1000;
const MAX_CLUSTERS: usize = 100_000;
/// Most clusters of one path. A name is compared with each of them, so without this limit names that share only their number of
/// tokens, such as percent-encoded ones, would make each span cost more than the one before.
const MAX_ALIKE: usize = 256;
const MIN_SIMILARITY: f64 = 0.3;

/// A node of the tree of tokens. The leaves have clusters.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    clusters: Vec<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    tokens: Vec<Box<str>>,
    used_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Drain {
    /// The roots, by number of tokens.
    roots: HashMap<usize, Node>,
    clusters: usize,
    changed: bool,
}

impl Drain {
    /// The name with `<_>` for its variable parts; `None` if it has none.
    pub(super) fn sanitized(&mut self, name: &str, now_ms: i64) -> Option<String> {
        let tokens = tokens_of(name)?;
        let root = self.roots.entry(tokens.len()).or_default();
        if let Some(cluster) = root.search(&tokens).and_then(|leaf| leaf.most_similar(&tokens)) {
            cluster.used_ms = now_ms;
            for (own, token) in cluster.tokens.iter_mut().zip(&tokens) {
                if **own != **token && &**own != VARIABLE {
                    *own = VARIABLE.into();
                    self.changed = true;
                }
            }
            let without_end = &cluster.tokens[..tokens.len() - 1];
            let sanitized: String = without_end.iter().map(|token| &**token).collect();
            return (sanitized != name).then_some(sanitized);
        }
        self.clusters += usize::from(root.insert(&tokens, now_ms));
        if self.clusters > MAX_CLUSTERS {
            self.drop_oldest_half();
        }
        None
    }

    /// True if earlier results may be outdated. Then resets itself.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Forgets clusters that were not used since.
    pub(super) fn prune(&mut self, oldest_ms: i64) {
        self.clusters = self.roots.values_mut().map(|root| root.prune(oldest_ms)).sum();
        self.roots.retain(|_, root| !root.is_empty());
    }

    /// Removes several at once, because each search for the oldest goes through all.
    fn drop_oldest_half(&mut self) {
        let mut used = Vec::with_capacity(self.clusters);
        self.roots.values().for_each(|root| root.times(&mut used));
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        let median = *median;
        self.prune(median);
        if self.clusters > MAX_CLUSTERS {
            self.prune(median.saturating_add(1));
        }
    }
}

impl Node {
    fn search(&mut self, tokens: &[&str]) -> Option<&mut Node> {
        let mut node = self;
        for token in &tokens[..tokens.len().min(MAX_DEPTH)] {
            let key = if node.children.contains_key(VARIABLE) { VARIABLE } else { token };
            node = node.children.get_mut(key)?;
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

    /// False if another cluster was removed for it.
    fn insert(&mut self, tokens: &[&str], now_ms: i64) -> bool {
        let mut node = self;
        for token in &tokens[..tokens.len().min(MAX_DEPTH)] {
            let known = node.children.contains_key(*token);
            let full = !known && node.children.len() >= MAX_CHILDREN - 1;
            let key = if is_likely_data(token) || full { VARIABLE } else { token };
            node = node.children.entry(key.into()).or_default();
        }
        let tokens = tokens.iter().map(|token| (*token).into()).collect();
        let cluster = Cluster { tokens, used_ms: now_ms };
        let full = node.clusters.len() >= MAX_ALIKE;
        match node.clusters.iter_mut().min_by_key(|cluster| cluster.used_ms).filter(|_| full) {
            Some(oldest) => *oldest = cluster,
            None => node.clusters.push(cluster),
        }
        !full
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.clusters.is_empty()
    }

    /// Returns the clusters left. At most [`MAX_DEPTH`] deep.
    fn prune(&mut self, oldest_ms: i64) -> usize {
        self.clusters.retain(|cluster| cluster.used_ms >= oldest_ms);
        let below: usize = self.children.values_mut().map(|child| child.prune(oldest_ms)).sum();
        self.children.retain(|_, child| !child.is_empty());
        self.clusters.len() + below
    }

    fn times(&self, used: &mut Vec<i64>) {
        used.extend(self.clusters.iter().map(|cluster| cluster.used_ms));
        self.children.values().for_each(|child| child.times(used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_name_of_a_pattern_is_generalised() {
        let mut drain = Drain::default();
        assert_eq!(drain.sanitized("GET /api/users/123", 0), None);
        let expected = Some("GET /api/users/<_>".to_owned());
        assert_eq!(drain.sanitized("GET /api/users/456", 0), expected);
        assert_eq!(drain.sanitized("GET /api/users/789", 0), expected);
        assert_eq!(drain.sanitized("POST /other/path/one", 0), None);
    }

    #[test]
    fn pattern_that_was_not_used_is_forgotten() {
        let mut drain = Drain::default();
        drain.sanitized("GET /api/users/123", 5);
        drain.prune(6);
        assert_eq!(drain.clusters, 0);
        assert_eq!(drain.sanitized("GET /api/users/456", 7), None);
    }

    #[test]
    fn names_without_a_pattern_do_not_pile_up() {
        let mut drain = Drain::default();
        let name = |number: usize| {
            let bytes = [0x81 + number % 61, 0x81 + number / 61 % 61, 0x81 + number / 3721 % 61];
            bytes.map(|byte| format!("%e3%{byte:x}")).concat()
        };
        for number in 0..2_000 {
            drain.sanitized(&name(number), number as i64);
        }
        assert!(drain.clusters <= MAX_ALIKE, "{}", drain.clusters);
        drain.prune(i64::MIN);
        assert!(drain.clusters <= MAX_ALIKE, "{}", drain.clusters);
    }

    #[test]
    fn oldest_half_goes_when_there_are_too_many() {
        let mut drain = Drain::default();
        for number in 0..1000 {
            drain
                .sanitized(&format!("{} x y", "abcdefghij".repeat(1 + number % 30)), number as i64);
        }
        drain.drop_oldest_half();
        assert!(drain.clusters <= 600, "{}", drain.clusters);
    }
}
