//! Counts the live traces of a tenant and their bytes, to enforce the limits.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher,
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::{fast::RandomState, quality};
use parking_lot::Mutex;
use tactus_model::TraceId;

use crate::{large_traces::Inherited, settings::Limits};

/// The map is divided by trace id, so that concurrent pushes rarely wait for each other.
const PARTS: usize = 16;

/// Estimated memory of a trace in a map: a map that has just grown is half empty.
const TRACE_BYTES: usize = 2 * size_of::<(TraceId, u64)>();

/// Divisor: a trace that takes this fraction of the byte limit in one generation is remembered beyond its cut.
const LARGE: u64 = 8;

/// Traces of one generation of a tenant.
#[derive(Debug)]
pub(crate) struct LiveTraces {
    limits: Limits,
    parts: Vec<Mutex<HashMap<TraceId, u64, RandomState>>>,
    count: AtomicUsize,
    /// Sizes from earlier generations.
    inherited: Inherited,
    /// Draws small traces to remember. Each generation draws others.
    draw: quality::RandomState,
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
        let draw = quality::RandomState::default();
        Self { limits, parts, count: AtomicUsize::new(0), inherited, draw }
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

    /// Traces whose sizes must be known after the cut, because they took spans in this generation: those that are known
    /// from earlier generations, those of at least an eighth of the byte limit, and some of the others.
    ///
    /// A trace may take little in each generation and yet become large. To remember all small traces would take too much
    /// memory, so each is drawn with a chance that grows with its bytes. Once drawn it is counted. On average a trace has
    /// an eighth of the limit by then, and few have half of it: one in 50. So a trace may become larger than the limit by
    /// that much, and the memory grows with the bytes of a tenant, not with the number of its traces.
    pub(crate) fn large(&self) -> Vec<(TraceId, u64)> {
        let threshold = self.limits.max_bytes_per_trace / LARGE;
        if threshold == 0 {
            return Vec::new();
        }
        let mut large = Vec::new();
        for part in &self.parts {
            for (&id, &bytes) in part.lock().iter() {
                let before = self.inherited(id);
                // The same result for each call.
                let is_drawn = || self.draw.hash_one(id) % threshold < bytes;
                if bytes > before && (before > 0 || is_drawn()) {
                    large.push((id, bytes));
                }
            }
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
        assert_eq!(live.large(), [(id(1), 100)]);
        assert_eq!(live.admit(id(2), 1), Verdict::Admitted);
    }

    /// A trace that takes `bytes` in each generation; returns its bytes when a span is refused.
    fn grown_by(bytes: u64, limits: Limits) -> u64 {
        let (mut total, mut known) = (0, 0);
        for _ in 0..10_000 {
            let live = LiveTraces::new(limits, Inherited::of(id(1), known));
            if live.admit(id(1), bytes) == Verdict::TooLarge {
                break;
            }
            total += bytes;
            let large = live.large();
            assert_eq!(large, live.large(), "a trace that was drawn stays drawn");
            known = large.first().map_or(known, |&(_, bytes)| bytes);
        }
        total
    }

    #[test]
    fn trace_that_takes_little_in_each_generation_is_refused_all_the_same() {
        let limits = Limits { max_bytes_per_trace: 1 << 20, ..Limits::default() };
        let mut sum = 0;
        for _ in 0..100 {
            let total = grown_by((1 << 20) / 64, limits);
            // That a trace is not drawn until it has four times the limit has a chance of less than 1e-13.
            assert!((1 << 20..5 << 20).contains(&total), "{total}");
            sum += total;
        }
        assert!(sum / 100 < (1 << 20) * 3 / 2, "{sum}");
    }

    #[test]
    fn few_small_traces_are_remembered() {
        let limits = Limits { max_bytes_per_trace: 1 << 20, ..Limits::default() };
        let live = LiveTraces::new(limits, Inherited::default());
        for number in 0..10_000_u32 {
            let mut bytes = [0; 16];
            bytes[12..].copy_from_slice(&number.to_be_bytes());
            assert_eq!(live.admit(TraceId(bytes), 1_000), Verdict::Admitted);
        }
        // About 10 000 000 bytes / 128 KiB.
        let large = live.large().len();
        assert!((20..200).contains(&large), "{large}");
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
