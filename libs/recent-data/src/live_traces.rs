//! Counts the live traces of a tenant and their bytes, to enforce the limits.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tactus_model::TraceId;

use crate::{large_traces::Inherited, settings::Limits};

/// The map is divided by trace id, so that concurrent pushes rarely wait for each other.
const PARTS: usize = 16;

/// Estimated memory of a trace in a map: a map that has just grown is half empty.
const TRACE_BYTES: usize = 2 * size_of::<(TraceId, u64)>();

/// Divisor: a trace with this fraction of the byte limit is remembered beyond a cut.
const LARGE: u64 = 8;

/// Traces of one generation of a tenant.
#[derive(Debug)]
pub(crate) struct LiveTraces {
    limits: Limits,
    parts: Vec<Mutex<HashMap<TraceId, u64, RandomState>>>,
    count: AtomicUsize,
    /// Sizes from earlier generations.
    inherited: Inherited,
}

/// Whether a span is accepted, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    TooLarge,
    TooMany,
}

impl LiveTraces {
    pub(crate) fn new(limits: Limits, inherited: Inherited) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { limits, parts, count: AtomicUsize::new(0), inherited }
    }

    /// Counts a span of this many bytes, or refuses it. Only new traces are refused at the limit of traces.
    pub(crate) fn admit(&self, id: TraceId, bytes: u64) -> Verdict {
        let mut part = self.part(id).lock();
        let known = match part.get_mut(&id) {
            Some(known) => known,
            None => {
                let limit = self.limits.max_live_traces;
                if limit > 0 && self.count.load(Ordering::Relaxed) >= limit {
                    return Verdict::TooMany;
                }
                self.count.fetch_add(1, Ordering::Relaxed);
                part.entry(id).or_insert(self.inherited(id))
            }
        };
        let limit = self.limits.max_bytes_per_trace;
        if limit > 0 && *known + bytes > limit {
            return Verdict::TooLarge;
        }
        *known += bytes;
        Verdict::Admitted
    }

    /// Takes back the spans of a push that failed. A trace of which nothing is left is not live.
    pub(crate) fn undo(&self, admitted: &[(TraceId, u64)]) {
        for &(id, bytes) in admitted {
            let mut part = self.part(id).lock();
            let Entry::Occupied(mut known) = part.entry(id) else { continue };
            let rest = known.get().saturating_sub(bytes);
            if rest <= self.inherited(id) {
                known.remove();
                self.count.fetch_sub(1, Ordering::Relaxed);
            } else {
                known.insert(rest);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Traces of at least an eighth of the byte limit that took spans in this generation.
    pub(crate) fn large(&self) -> Vec<(TraceId, u64)> {
        let threshold = self.limits.max_bytes_per_trace / LARGE;
        if threshold == 0 {
            return Vec::new();
        }
        let mut large = Vec::new();
        for part in &self.parts {
            let part = part.lock();
            let has_grown = |id: TraceId, bytes: u64| bytes > self.inherited(id);
            let sizes = part.iter().map(|(id, bytes)| (*id, *bytes));
            large.extend(sizes.filter(|&(id, bytes)| bytes >= threshold && has_grown(id, bytes)));
        }
        large
    }

    /// Bytes of memory that the counts take.
    pub(crate) fn heap_bytes(&self) -> usize {
        let parts = PARTS * size_of::<Mutex<HashMap<TraceId, u64, RandomState>>>();
        parts + (self.len() + self.inherited.own_len()) * TRACE_BYTES
    }

    fn inherited(&self, id: TraceId) -> u64 {
        self.inherited.bytes(id)
    }

    fn part(&self, id: TraceId) -> &Mutex<HashMap<TraceId, u64, RandomState>> {
        // The last byte is used because some senders fill only the lower half of an id.
        &self.parts[usize::from(id.0[15]) % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> TraceId {
        TraceId([byte; 16])
    }

    #[test]
    fn traces_and_bytes_are_limited() {
        let limits = Limits { max_bytes_per_trace: 100, max_live_traces: 2, ..Limits::default() };
        let live = LiveTraces::new(limits, Inherited::of(id(1), 90));
        assert_eq!(live.admit(id(1), 20), Verdict::TooLarge, "90 bytes came before");
        assert_eq!(live.admit(id(1), 10), Verdict::Admitted);
        assert_eq!(live.admit(id(2), 100), Verdict::Admitted);
        assert_eq!(live.admit(id(3), 1), Verdict::TooMany);
        assert_eq!(live.admit(id(2), 1), Verdict::TooLarge);
        live.undo(&[(id(2), 100)]);
        assert_eq!(live.admit(id(2), 1), Verdict::Admitted);
        assert_eq!(live.large(), [(id(1), 100)]);
    }

    #[test]
    fn trace_that_took_no_span_is_not_noted_anew() {
        let limits = Limits { max_bytes_per_trace: 100, ..Limits::default() };
        let live = LiveTraces::new(limits, Inherited::of(id(1), 90));
        assert_eq!(live.admit(id(1), 20), Verdict::TooLarge);
        assert!(live.large().is_empty());
        assert_eq!(live.admit(id(1), 5), Verdict::Admitted);
        assert_eq!(live.large(), [(id(1), 95)]);
    }

    #[test]
    fn trace_of_which_all_spans_are_taken_back_is_not_live() {
        let limits = Limits { max_bytes_per_trace: 100, max_live_traces: 2, ..Limits::default() };
        let live = LiveTraces::new(limits, Inherited::of(id(1), 90));
        assert_eq!(live.admit(id(1), 10), Verdict::Admitted);
        assert_eq!(live.admit(id(2), 30), Verdict::Admitted);
        assert_eq!(live.admit(id(2), 20), Verdict::Admitted);
        live.undo(&[(id(1), 10), (id(2), 30)]);
        assert_eq!(live.len(), 1, "another push has spans of trace 2");
        assert_eq!(live.admit(id(3), 1), Verdict::Admitted);
        live.undo(&[(id(2), 20), (id(3), 1)]);
        assert_eq!(live.len(), 0);
        assert_eq!(live.admit(id(1), 20), Verdict::TooLarge, "90 bytes came before");
    }
}
