//! Records what a job does, for queries with `explain=true`.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tactus_model::{AttributeSelection, Projection, SpanBatch};
use tactus_proto::tactus::v1::{self as proto, JobExplanation, Pruned};

tactus_model::words! {
    /// A step of a job.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Phase: name {
        /// Deciding which row groups need not be read.
        Prune = "prune",
        /// Reading the columns of the filters.
        Filter = "filter",
        /// Filtering and counting.
        Evaluate = "evaluate",
        /// Reading the columns that the answer shows, and writing the answer.
        Results = "results",
    }
}

/// Collects the records of a job's threads.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    parts: u32,
    pruned: BTreeMap<String, u32>,
    decoded_bytes: u64,
    filter_columns: BTreeSet<String>,
    result_columns: BTreeSet<String>,
    phases: BTreeMap<Phase, u64>,
    inspected_spans: u64,
    matched_spans: u64,
}

impl Recorder {
    /// Runs a step of this thread, and adds its processor time.
    pub(crate) fn timed<T>(&self, phase: Phase, step: impl FnOnce() -> T) -> T {
        let before = thread_nanos();
        let result = step();
        let nanos = thread_nanos().saturating_sub(before);
        *self.facts.lock().phases.entry(phase).or_default() += nanos;
        result
    }

    /// Notes a row group that was looked at.
    pub(crate) fn part(&self) {
        self.facts.lock().parts += 1;
    }

    /// Notes a row group that cannot match, with the reason.
    pub(crate) fn pruned(&self, reason: String) {
        *self.facts.lock().pruned.entry(reason).or_default() += 1;
    }

    /// Columns that a filter read.
    pub(crate) fn filter_read(&self, columns: &Projection, batch: &SpanBatch) {
        let mut facts = self.facts.lock();
        facts.decoded_bytes += batch.heap_bytes() as u64;
        facts.filter_columns.extend(column_names(columns));
    }

    /// Columns that were read for the answer.
    pub(crate) fn results_read(&self, columns: &Projection, batch: &SpanBatch) {
        let mut facts = self.facts.lock();
        facts.decoded_bytes += batch.heap_bytes() as u64;
        facts.result_columns.extend(column_names(columns));
    }

    /// Spans that were evaluated, and those of them that matched.
    pub(crate) fn spans(&self, inspected: u64, matched: u64) {
        let mut facts = self.facts.lock();
        facts.inspected_spans += inspected;
        facts.matched_spans += matched;
    }

    /// The explanation from the records so far.
    pub(crate) fn explanation(
        &self,
        source: String,
        read_bytes: u64,
        cached_bytes: u64,
    ) -> JobExplanation {
        let facts = self.facts.lock();
        let pruned = facts.pruned.iter();
        let phase =
            |(phase, &nanos): (&Phase, _)| proto::Phase { name: phase.name().into(), nanos };
        JobExplanation {
            source,
            parts: facts.parts,
            pruned: pruned
                .map(|(reason, &parts)| Pruned { reason: reason.clone(), parts })
                .collect(),
            read_bytes,
            decoded_bytes: facts.decoded_bytes,
            cached_bytes,
            filter_columns: facts.filter_columns.iter().cloned().collect(),
            result_columns: facts
                .result_columns
                .difference(&facts.filter_columns)
                .cloned()
                .collect(),
            phases: facts.phases.iter().map(phase).collect(),
            inspected_spans: facts.inspected_spans,
            matched_spans: facts.matched_spans,
            shared_cache_bytes: 0,
        }
    }
}

/// Processor time of this thread in nanoseconds.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The columns of a projection, as TraceQL names them where it does.
fn column_names(columns: &Projection) -> Vec<String> {
    let flags = [
        (true, "trace:id"),
        (columns.span_id, "span:id"),
        (columns.parent_span_id, "span:parentID"),
        (columns.start, "start time"),
        (columns.duration, "duration"),
        (columns.name, "name"),
        (columns.kind, "kind"),
        (columns.status, "status"),
        (columns.status_message, "statusMessage"),
        (columns.trace_state, "trace state"),
        (columns.dropped_counts, "dropped counts"),
        (columns.nested_left || columns.nested_right || columns.nested_parent, "nested set"),
        (columns.scope_name, "instrumentation:name"),
        (columns.scope_name, "instrumentation:version"),
        (columns.trace_summary, "trace:duration"),
        (columns.trace_roots, "trace:rootName"),
        (columns.trace_roots, "trace:rootService"),
        (columns.service_stats, "service statistics"),
        (columns.events, "event times"),
        (columns.event_name, "event:name"),
        (columns.links, "links"),
    ];
    let wanted = flags.into_iter().filter(|(wanted, _)| *wanted);
    let mut names: Vec<_> = wanted.map(|(_, name)| name.to_owned()).collect();
    let scopes = [
        ("span", &columns.span_attributes),
        ("resource", &columns.resource_attributes),
        ("instrumentation", &columns.scope_attributes),
        ("event", &columns.event_attributes),
        ("link", &columns.link_attributes),
    ];
    for (scope, selection) in scopes {
        let name_of = |key: &Vec<u8>| format!("{scope}.{}", String::from_utf8_lossy(key));
        match selection {
            AttributeSelection::None => {}
            AttributeSelection::Names(valued) => {
                names.push(format!("names of {scope}.*"));
                names.extend(valued.iter().map(&name_of));
            }
            AttributeSelection::All => names.push(format!("{scope}.*")),
            AttributeSelection::Keys(keys) => names.extend(keys.iter().map(&name_of)),
        }
    }
    names
}
