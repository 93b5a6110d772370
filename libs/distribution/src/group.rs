//! Groups the spans of one export by replica set, and builds the pushes.
//!
//! Neighbouring spans with the same replicas are one slice of the request. If that would give many small slices, the
//! spans of a run are copied into one buffer instead, because every replica spends more on a run than a copy of some
//! hundred bytes costs.

use std::ops::Range;

use bytes::Bytes;
use tactus_model::walk::{ExportWalk, SpanView};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};
use tactus_ring::TokenHasher;

use crate::placement::Placement;

/// If the slices of a run are smaller than this on average, its spans are copied.
const COPY_BELOW_BYTES: usize = 2048;

/// Consecutive spans of the request that go to the same replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Index into the runs of the walk.
    run: u32,
    start: u32,
    end: u32,
}

/// The valid spans that go to one replica set.
#[derive(Debug)]
struct Gathered {
    /// Index into the sets of the placement.
    set: usize,
    spans: u64,
    pieces: Vec<Piece>,
}

/// Collects spans by their replica set, in the order of the request.
#[derive(Debug)]
pub(crate) struct Grouping<'a> {
    placement: &'a Placement,
    tokens: TokenHasher,
    /// For each set, its index in `gathered` plus 1; 0 if it has no spans yet.
    index_of_set: Vec<u32>,
    gathered: Vec<Gathered>,
    /// The trace of the last span and its index in `gathered`, because spans of a trace are often neighbours.
    last: Option<(&'a [u8], usize)>,
}

/// Spans for one replica set, ready to be sent.
#[derive(Debug)]
pub(crate) struct Group {
    /// Index into the sets of the placement.
    pub(crate) set: usize,
    pub(crate) spans: u64,
    /// Their indices are those of the walk.
    runs: Vec<SpanRun>,
}

/// All groups of an export with what they refer to.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) tenant: String,
    resources: Vec<Bytes>,
    scopes: Vec<Bytes>,
    pub(crate) groups: Vec<Group>,
}

impl<'a> Grouping<'a> {
    pub(crate) fn new(placement: &'a Placement, tokens: TokenHasher) -> Self {
        Self {
            placement,
            tokens,
            index_of_set: vec![0; placement.sets().len()],
            gathered: Vec::new(),
            last: None,
        }
    }

    /// Adds a valid span. Offsets in the request must fit in 32 bits.
    pub(crate) fn add(&mut self, span: &SpanView<'a>) {
        let index = match self.last {
            Some((trace_id, index)) if trace_id == span.trace_id => index,
            _ => {
                let set = self.placement.set_of(self.tokens.token(span.trace_id));
                self.index_of(set)
            }
        };
        self.last = Some((span.trace_id, index));
        let gathered = &mut self.gathered[index];
        gathered.spans += 1;
        let piece = Piece { run: span.run as u32, start: span.start as u32, end: span.end as u32 };
        match gathered.pieces.last_mut() {
            Some(last) if last.run == piece.run && last.end == piece.start => last.end = piece.end,
            _ => gathered.pieces.push(piece),
        }
    }

    fn index_of(&mut self, set: usize) -> usize {
        if self.index_of_set[set] == 0 {
            self.gathered.push(Gathered { set, spans: 0, pieces: Vec::new() });
            self.index_of_set[set] = self.gathered.len() as u32;
        }
        self.index_of_set[set] as usize - 1
    }

    /// The sets that spans go to.
    pub(crate) fn sets(&self) -> impl Iterator<Item = usize> + '_ {
        self.gathered.iter().map(|gathered| gathered.set)
    }

    /// Slices the request, or copies from it. `origin_of` returns the origin for a set's spans.
    pub(crate) fn finish(
        self,
        tenant: &str,
        request: &Bytes,
        walk: &ExportWalk,
        origin_of: impl Fn(usize) -> u64,
    ) -> Export {
        let group = |gathered: Gathered| Group {
            set: gathered.set,
            spans: gathered.spans,
            runs: runs_of(&gathered.pieces, request, walk, origin_of(gathered.set)),
        };
        Export {
            tenant: tenant.to_owned(),
            resources: walk.resources.iter().map(|range| request.slice(range.clone())).collect(),
            scopes: walk.scopes.iter().map(|range| request.slice(range.clone())).collect(),
            groups: self.gathered.into_iter().map(group).collect(),
        }
    }
}

impl Export {
    /// All spans of the push go to one replica set.
    pub(crate) fn whole(push: PushRequest, set: usize, spans: u64, origin: u64) -> Self {
        let runs = push.runs.into_iter().map(|run| SpanRun { origin, ..run }).collect();
        Self {
            tenant: push.tenant,
            resources: push.resources,
            scopes: push.scopes,
            groups: vec![Group { set, spans, runs }],
        }
    }

    /// One push with the groups at these indices. Each resource and scope is in it once.
    pub(crate) fn push_of(&self, groups: impl Iterator<Item = usize> + Clone) -> PushRequest {
        let mut resources = Selected::new(&self.resources);
        let mut scopes = Selected::new(&self.scopes);
        let count = groups.clone().map(|group| self.groups[group].runs.len()).sum();
        let mut runs = Vec::with_capacity(count);
        for group in groups {
            runs.extend(self.groups[group].runs.iter().map(|run| SpanRun {
                resource: resources.index(run.resource),
                scope: scopes.index(run.scope),
                ..run.clone()
            }));
        }
        let (resources, scopes) = (resources.chosen, scopes.chosen);
        PushRequest { tenant: self.tenant.clone(), resources, scopes, runs }
    }
}

impl Group {
    /// Bytes of the spans.
    pub(crate) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.scope_spans.len() as u64).sum()
    }
}

/// The resource and scope messages that a push needs, with new numbers.
struct Selected<'a> {
    all: &'a [Bytes],
    /// By index: 1 + the new index; 0 if not chosen.
    renumbered: Vec<u32>,
    chosen: Vec<Bytes>,
}

impl<'a> Selected<'a> {
    fn new(all: &'a [Bytes]) -> Self {
        Self { all, renumbered: vec![0; all.len()], chosen: Vec::new() }
    }

    fn index(&mut self, index: u32) -> u32 {
        let renumbered = &mut self.renumbered[index as usize];
        if *renumbered == 0 {
            self.chosen.push(self.all[index as usize].clone());
            *renumbered = self.chosen.len() as u32;
        }
        *renumbered - 1
    }
}

/// Where the spans of a run are.
enum Place {
    Request(Range<usize>),
    Copied(Range<usize>),
}

/// The runs of the pieces, which are in the order of the request.
fn runs_of(pieces: &[Piece], request: &Bytes, walk: &ExportWalk, origin: u64) -> Vec<SpanRun> {
    let mut places = Vec::with_capacity(pieces.len());
    let mut copied = Vec::new();
    for of_run in pieces.chunk_by(|left, right| left.run == right.run) {
        let run = of_run[0].run;
        let ranges = of_run.iter().map(|piece| piece.start as usize..piece.end as usize);
        let bytes: usize = ranges.clone().map(|range| range.len()).sum();
        if of_run.len() == 1 || bytes / of_run.len() >= COPY_BELOW_BYTES {
            places.extend(ranges.map(|range| (run, Place::Request(range))));
        } else {
            let start = copied.len();
            ranges.for_each(|range| copied.extend_from_slice(&request[range]));
            places.push((run, Place::Copied(start..copied.len())));
        }
    }
    let copied = Bytes::from(copied);
    let run = |(run, place): (u32, Place)| {
        let run = &walk.runs[run as usize];
        let scope_spans = match place {
            Place::Request(range) => request.slice(range),
            Place::Copied(range) => copied.slice(range),
        };
        SpanRun { resource: run.resource, scope: run.scope, scope_spans, origin }
    };
    places.into_iter().map(run).collect()
}
