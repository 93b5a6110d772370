//! Finds blocks that need not be read because other blocks hold all their spans.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::meta::BlockMeta;

/// The most blocks with a common source that are compared with each other. Compactors do not write more.
const MAX_COMPARED: usize = 16;

/// The most sources of a block that is compared with others.
const MAX_COMPARED_SOURCES: usize = 256;

/// A map by block id. Its hash is seeded, because ids may come from an attacker.
pub(super) type ById<T> = HashMap<Uuid, T, RandomState>;

/// A map that takes `capacity` entries without growing.
pub(super) fn by_id<T>(capacity: usize) -> ById<T> {
    HashMap::with_capacity_and_hasher(capacity, RandomState::default())
}

struct Node<'a> {
    meta: &'a BlockMeta,
    /// May be read, so that it may cover others.
    is_top: bool,
    /// Reached from a top.
    is_reached: bool,
    /// A block that is read holds it.
    covered_by: Option<u32>,
    /// Nodes all of whose spans are in this one.
    holds: Vec<u32>,
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    places: ById<u32>,
}

/// Every covered block, with a block of `tops` that covers it and is not covered itself.
///
/// `tops` are the blocks that may be read. `others` are known but not read: the blocks that they name as sources are
/// covered only if a top covers them. `find` returns any known block. Linear in the number of blocks and sources.
pub(super) fn covered<'a>(
    tops: impl Iterator<Item = &'a BlockMeta>,
    others: impl Iterator<Item = &'a BlockMeta>,
    find: impl Fn(Uuid) -> Option<&'a BlockMeta>,
) -> ById<Uuid> {
    let mut graph = Graph { nodes: Vec::new(), places: by_id(0) };
    for meta in tops.filter(|meta| names_sources(meta)) {
        let place = graph.place(meta);
        graph.nodes[place as usize].is_top = true;
    }
    if graph.nodes.is_empty() {
        return by_id(0);
    }
    for meta in others.filter(|meta| names_sources(meta)) {
        graph.place(meta);
    }
    graph.link_sources(find);
    graph.link_alike();
    graph.cover()
}

/// True if the block has sources and this release can read it. A block that cannot be read does not replace its
/// sources.
pub(super) fn names_sources(meta: &BlockMeta) -> bool {
    !meta.sources().is_empty() && meta.is_readable()
}

impl<'a> Graph<'a> {
    fn place(&mut self, meta: &'a BlockMeta) -> u32 {
        *self.places.entry(meta.block_id).or_insert_with(|| {
            let (is_top, is_reached, covered_by) = (false, false, None);
            self.nodes.push(Node { meta, is_top, is_reached, covered_by, holds: Vec::new() });
            (self.nodes.len() - 1) as u32
        })
    }

    /// Links each node to its sources that are known.
    fn link_sources(&mut self, find: impl Fn(Uuid) -> Option<&'a BlockMeta>) {
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let (id, sources) = (node.meta.block_id, sources(node));
            let known = sources.iter().filter(|source| **source != id).filter_map(|id| find(*id));
            let holds = known.map(|known| self.place(known)).collect();
            self.nodes[at].holds = holds;
            at += 1;
        }
    }

    /// Links blocks all of whose sources are sources of another one as well: two processes did the
    /// same. A block holds nothing but what its sources held.
    fn link_alike(&mut self) {
        let names: usize = self.nodes.iter().map(|node| sources(node).len()).sum();
        let mut first: ById<u32> = by_id(names);
        let mut shared: ById<Vec<u32>> = by_id(0);
        for (place, node) in (0u32..).zip(&self.nodes) {
            for source in sources(node) {
                let before = *first.entry(*source).or_insert(place);
                if before != place {
                    let namers = shared.entry(*source).or_insert_with(|| vec![before]);
                    if namers.len() < MAX_COMPARED && namers.last() != Some(&place) {
                        namers.push(place);
                    }
                }
            }
        }
        if shared.is_empty() {
            return;
        }
        for place in 0..self.nodes.len() as u32 {
            let Some(source) = sources(&self.nodes[place as usize]).first() else { continue };
            for &other in shared.get(source).into_iter().flatten() {
                if other != place && self.is_made_of_less(place, other) {
                    self.nodes[other as usize].holds.push(place);
                }
            }
        }
    }

    /// True if the first was made of nothing but what the second was made of.
    fn is_made_of_less(&self, place: u32, other: u32) -> bool {
        let [one, two] = [place, other].map(|place| &self.nodes[place as usize]);
        let (few, many) = (sources(one), sources(two));
        let within = |these: &[Uuid], those: &[Uuid]| these.iter().all(|id| those.contains(id));
        few.len().max(many.len()) <= MAX_COMPARED_SOURCES
            && within(few, many)
            && (!within(many, few) || rank(one) < rank(two))
    }

    fn cover(mut self) -> ById<Uuid> {
        let mut todo: Vec<u32> = self.places_of(|node| node.is_top);
        for &place in &todo {
            self.nodes[place as usize].is_reached = true;
        }
        // A block is held by one that is read, not by one that is only remembered.
        let mut is_held = vec![false; self.nodes.len()];
        while let Some(place) = todo.pop() {
            for held in std::mem::take(&mut self.nodes[place as usize].holds) {
                is_held[held as usize] = true;
                self.nodes[place as usize].holds.push(held);
                let node = &mut self.nodes[held as usize];
                if !std::mem::replace(&mut node.is_reached, true) {
                    todo.push(held);
                }
            }
        }
        let is_free = |place: &u32| !is_held[*place as usize];
        let free: Vec<_> = self.places_of(|node| node.is_top).into_iter().filter(is_free).collect();
        let mut is_kept = vec![false; self.nodes.len()];
        for place in free {
            self.keep(place, &mut is_kept);
        }
        // The remaining blocks name each other in a circle: the one with the highest rank stays.
        let mut circle = self.places_of(|node| node.is_top && node.covered_by.is_none());
        circle.retain(|place| !is_kept[*place as usize]);
        circle.sort_by_key(|place| std::cmp::Reverse(rank(&self.nodes[*place as usize])));
        for place in circle {
            if self.nodes[place as usize].covered_by.is_none() {
                self.keep(place, &mut is_kept);
            }
        }
        let id = |place: u32| self.nodes[place as usize].meta.block_id;
        let covered = self.nodes.iter().filter_map(|node| Some((node, node.covered_by?)));
        covered.map(|(node, top)| (node.meta.block_id, id(top))).collect()
    }

    /// Notes that `top` is read, and so all that it holds is not.
    fn keep(&mut self, top: u32, is_kept: &mut [bool]) {
        is_kept[top as usize] = true;
        let mut todo = vec![top];
        while let Some(place) = todo.pop() {
            for index in 0..self.nodes[place as usize].holds.len() {
                let held = self.nodes[place as usize].holds[index];
                let node = &mut self.nodes[held as usize];
                if node.covered_by.is_none() && !is_kept[held as usize] {
                    node.covered_by = Some(top);
                    todo.push(held);
                }
            }
        }
    }

    fn places_of(&self, wanted: impl Fn(&Node<'_>) -> bool) -> Vec<u32> {
        (0u32..).zip(&self.nodes).filter(|(_, node)| wanted(node)).map(|(place, _)| place).collect()
    }
}

fn sources<'a>(node: &Node<'a>) -> &'a [Uuid] {
    if names_sources(node.meta) { node.meta.sources() } else { &[] }
}

/// Of blocks that hold each other the one with the highest rank is read.
fn rank(node: &Node<'_>) -> (u32, Uuid) {
    (node.meta.compaction_level, node.meta.block_id)
}
