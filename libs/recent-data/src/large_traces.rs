//! Sizes of traces that came near the size limit in an earlier generation, so that a cut does not reset them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tactus_model::TraceId;

/// Most traces of a tenant whose sizes are remembered. Beyond it, the oldest and smallest are forgotten early.
const MAX_TRACES: usize = 50_000;

type Sizes = HashMap<TraceId, Size>;

#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    /// When the last generation that took spans of the trace was cut.
    noted: Instant,
}

/// What a tenant remembers of generations that were cut.
#[derive(Debug, Default)]
pub(crate) struct LargeTraces {
    /// Shared with heads, which only read it.
    sizes: Arc<Sizes>,
    /// No size was noted before this.
    oldest: Option<Instant>,
}

/// What a head knows of earlier generations. It stays the same as long as the head lives.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sizes: Arc<Sizes>,
    /// Sizes that were noted before this were forgotten when the head was made.
    since: Option<Instant>,
    /// Sizes in generations that were being cut when the head was made.
    being_cut: HashMap<TraceId, u64>,
}

impl LargeTraces {
    /// Remembers the sizes of traces that took spans since the cut before.
    pub(crate) fn note(&mut self, seen: Vec<(TraceId, u64)>, memory: Duration) {
        self.forget(memory);
        if seen.is_empty() {
            return;
        }
        let noted = Instant::now();
        self.oldest.get_or_insert(noted);
        let sizes = Arc::make_mut(&mut self.sizes);
        sizes.extend(seen.into_iter().map(|(trace, bytes)| (trace, Size { bytes, noted })));
        self.bound(MAX_TRACES);
    }

    /// Forgets each trace this long after it was noted last.
    pub(crate) fn forget(&mut self, memory: Duration) {
        let since = Instant::now().checked_sub(memory);
        if self.oldest.is_none_or(|oldest| since.is_none_or(|since| oldest >= since)) {
            return;
        }
        let sizes = Arc::make_mut(&mut self.sizes);
        sizes.retain(|_, size| since.is_none_or(|since| size.noted >= since));
        sizes.shrink_to(2 * sizes.len());
        self.oldest = sizes.values().map(|size| size.noted).min();
    }

    fn bound(&mut self, max: usize) {
        let Some(surplus) = self.sizes.len().checked_sub(max).filter(|surplus| *surplus > 0) else {
            return;
        };
        let mut order: Vec<_> =
            self.sizes.iter().map(|(trace, size)| (size.noted, size.bytes, *trace)).collect();
        order.sort_unstable_by_key(|&(noted, bytes, _)| (noted, bytes));
        let sizes = Arc::make_mut(&mut self.sizes);
        for (_, _, trace) in &order[..surplus] {
            sizes.remove(trace);
        }
        sizes.shrink_to(2 * max);
    }

    /// For a new head. `being_cut` are sizes of traces in older heads that are not noted yet.
    pub(crate) fn inherited(
        &self,
        being_cut: HashMap<TraceId, u64>,
        memory: Duration,
    ) -> Inherited {
        let since = Instant::now().checked_sub(memory);
        Inherited { sizes: Arc::clone(&self.sizes), since, being_cut }
    }

    /// Bytes of memory. Heads that still have an older version are not counted.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.sizes.capacity() * (size_of::<(TraceId, Size)>() + 1)
    }
}

impl Inherited {
    /// The bytes of a trace in earlier generations, or 0.
    pub(crate) fn bytes(&self, trace: TraceId) -> u64 {
        if let Some(bytes) = self.being_cut.get(&trace) {
            return *bytes;
        }
        let is_known = |size: &&Size| self.since.is_none_or(|since| size.noted >= since);
        self.sizes.get(&trace).filter(is_known).map_or(0, |size| size.bytes)
    }

    /// How many sizes this head alone holds.
    pub(crate) fn own_len(&self) -> usize {
        self.being_cut.len()
    }
}

#[cfg(test)]
impl Inherited {
    pub(crate) fn of(trace: TraceId, bytes: u64) -> Self {
        Self { being_cut: HashMap::from([(trace, bytes)]), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn id(byte: u8) -> TraceId {
        TraceId([byte; 16])
    }

    fn bytes(large: &LargeTraces, trace: u8, memory: Duration) -> u64 {
        large.inherited(HashMap::new(), memory).bytes(id(trace))
    }

    #[test]
    fn each_trace_is_forgotten_after_its_own_last_spans() {
        let memory = Duration::from_millis(100);
        let mut large = LargeTraces::default();
        large.note(vec![(id(1), 10), (id(2), 20)], memory);
        let head = large.inherited(HashMap::from([(id(2), 25)]), LONG);
        sleep(2 * memory);
        assert_eq!((bytes(&large, 1, LONG), bytes(&large, 1, memory)), (10, 0));
        large.note(vec![(id(2), 30)], memory);
        assert_eq!((bytes(&large, 1, LONG), bytes(&large, 2, LONG)), (0, 30));
        assert_eq!(large.sizes.len(), 1);
        sleep(2 * memory);
        large.forget(memory);
        assert!(large.sizes.is_empty() && large.oldest.is_none());
        // A head keeps what it began with.
        assert_eq!([1, 2, 3].map(|trace| head.bytes(id(trace))), [10, 25, 0]);
    }

    #[test]
    fn number_of_traces_is_bounded() {
        let mut large = LargeTraces::default();
        large.note((1..=4).map(|trace| (id(trace), u64::from(trace))).collect(), LONG);
        large.note(vec![(id(1), 9)], LONG);
        large.bound(2);
        assert_eq!([1, 2, 3, 4].map(|trace| bytes(&large, trace, LONG)), [9, 0, 0, 4]);
    }

    #[test]
    fn sizes_are_shared_with_heads() {
        let mut large = LargeTraces::default();
        large.note(vec![(id(1), 10)], LONG);
        let head = large.inherited(HashMap::new(), LONG);
        assert!(Arc::ptr_eq(&head.sizes, &large.sizes));
        assert_eq!(head.own_len(), 0);
    }
}
