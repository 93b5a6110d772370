//! The output of a merge.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::UNMAPPED;
use crate::merge::MergeStats;
use crate::{Dictionary, DictionaryBuilder, SpanBatch, SpanId};

/// The batch that a [`TraceMerger`] fills. It outlives the merger, so that the next one can have other inputs.
#[derive(Default)]
pub struct MergeOutput {
    pub(super) out: SpanBatch,
    pub(super) strings: DictionaryBuilder,
    pub(super) maps: Vec<InputMap>,
    pub(super) resource_index: RowIndex,
    pub(super) scope_index: RowIndex,
    /// Input and row.
    pub(super) candidates: Vec<(u32, u32)>,
    /// Span id and number of each candidate.
    pub(super) keys: Vec<(SpanId, u32)>,
    pub(super) duplicate: Vec<bool>,
    /// Input, row and origin of spans that have a duplicate with a higher origin.
    pub(super) higher_origins: Vec<(u32, u32, u64)>,
    /// Spans of the output, in order, that have only their trace and origin so far.
    pub(super) runs: Vec<Run>,
    /// Reused memory for the positions of list entries.
    pub(super) entries: Vec<Run>,
    pub(super) stats: MergeStats,
}

/// Consecutive spans or list entries of one input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) input: u32,
    pub(super) first: u32,
    pub(super) end: u32,
}

impl Run {
    pub(super) fn new(input: usize, rows: &Range<usize>) -> Self {
        Self { input: input as u32, first: rows.start as u32, end: rows.end as u32 }
    }

    pub(super) fn input(self) -> usize {
        self.input as usize
    }

    pub(super) fn rows(self) -> Range<usize> {
        self.first as usize..self.end as usize
    }

    pub(super) fn len(self) -> usize {
        (self.end - self.first) as usize
    }
}

/// Maps row numbers and codes of one input to those of the output.
#[derive(Default)]
pub(super) struct InputMap {
    /// Codes of strings, 0 if not mapped yet. Zeroed memory costs nothing until it is touched, and a row group uses
    /// only a small part of the dictionaries of its segments.
    pub(super) codes: Vec<u32>,
    pub(super) resources: Vec<u32>,
    pub(super) scopes: Vec<u32>,
}

impl InputMap {
    pub(super) fn of(batch: &SpanBatch) -> Self {
        Self {
            codes: vec![0; batch.strings.len()],
            resources: vec![UNMAPPED; batch.resources.len()],
            scopes: vec![UNMAPPED; batch.scopes.len()],
        }
    }
}

impl MergeOutput {
    /// Call this when another batch takes the place of an input, before making the next merger.
    pub fn forget_input(&mut self, input: usize) {
        if let Some(map) = self.maps.get_mut(input) {
            *map = InputMap::default();
        }
    }

    /// The spans so far. Their strings are in [`Self::strings`].
    pub fn batch(&self) -> &SpanBatch {
        &self.out
    }

    /// The strings so far.
    pub fn strings(&self) -> &Dictionary {
        self.strings.dictionary()
    }

    /// Returns the sorted batch, and what was left out. The next spans go into a new batch.
    pub fn take(&mut self) -> (SpanBatch, MergeStats) {
        let mut taken = std::mem::take(self);
        taken.out.strings = taken.strings.finish();
        let spans = &mut taken.out.spans;
        if !spans.origin.is_empty() {
            spans.origin.make_mut().resize(spans.trace.len(), 0);
        }
        (taken.out, taken.stats)
    }

    /// Bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        let map = |map: &InputMap| map.codes.len() + map.resources.len() + map.scopes.len();
        let maps = self.maps.iter().map(map).sum::<usize>() * size_of::<u32>();
        self.out.heap_bytes() + self.strings.heap_bytes() + maps
    }
}

impl std::fmt::Debug for MergeOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MergeOutput").field("spans", &self.out.len()).finish()
    }
}

/// Finds rows by their content, for tables that keep equal rows once.
#[derive(Default)]
pub(super) struct RowIndex {
    rows: HashTable<(u32, Box<[u64]>)>,
    hasher: RandomState,
}

impl RowIndex {
    pub(super) fn find(&self, content: &[u64]) -> Option<u32> {
        let hash = self.hasher.hash_one(content);
        self.rows.find(hash, |(_, other)| **other == *content).map(|found| found.0)
    }

    pub(super) fn insert(&mut self, content: &[u64], row: u32) {
        let (hash, hasher) = (self.hasher.hash_one(content), &self.hasher);
        self.rows.insert_unique(hash, (row, content.into()), |(_, c)| hasher.hash_one(&**c));
    }
}
