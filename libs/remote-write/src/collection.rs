//! One collection while it is written to the queue.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tactus_wal::Position;

use super::CommitError;
use super::entry::{Counts, FrameWriter, label_hash};
use super::metrics::TenantMetrics;
use super::queue::{Limits, Queue};
use crate::series::{Exemplar, NativeHistogram, STALE, Series, Sink};

/// Size of a frame in bytes: what a reader holds at once.
const FRAME_BYTES: usize = 256 << 10;

/// Bytes of a part whose samples are all sent from which it is closed, so that its space comes back.
const SENT_PART_BYTES: u64 = 1 << 20;

/// Milliseconds after its last sample in which a series that ended is not forgotten. Its last time matters no longer than
/// zero samples reach back, which is 61 s.
const REMEMBERED_MS: i64 = 120_000;

/// Milliseconds between searches for series that ended, which look at all series.
const SEARCH_MS: u64 = 60_000;

/// Most characters of an exemplar's label, name and value: receivers refuse longer ones.
const MAX_EXEMPLAR_CHARACTERS: usize = 128;

/// What the queue knows of the series that were written.
pub(super) struct Writer {
    /// Samples up to this time are left out: they are from before this instance, whose series others may have
    /// continued.
    started_ms: i64,
    known: HashMap<u64, Known>,
    /// Last reference of each label set.
    references: HashMap<u64, u64>,
    frame: FrameWriter,
    /// Counts the parts of the log; series are defined anew in each.
    part: u64,
    part_series: u32,
    part_bytes: u64,
    part_definition_bytes: u64,
    part_started_ms: i64,
    collection: u64,
    /// When series that ended were looked for last.
    searched_ms: i64,
}

#[derive(Debug)]
struct Known {
    label_hash: u64,
    part: u64,
    id: u32,
    /// Time of the last sample, and of the last one before this collection.
    last_ms: i64,
    committed_ms: i64,
    collection: u64,
    last_exemplar: u64,
}

impl Writer {
    pub(super) fn new(started_ms: i64) -> Self {
        Self {
            started_ms,
            known: HashMap::new(),
            references: HashMap::new(),
            frame: FrameWriter::new(),
            part: 0,
            part_series: 0,
            part_bytes: 0,
            part_definition_bytes: 0,
            part_started_ms: i64::MAX,
            collection: 0,
            searched_ms: started_ms,
        }
    }

    /// Another instance of the tenant goes on: samples up to this time are left out from now on.
    pub(super) fn restart(&mut self, started_ms: i64) {
        self.started_ms = self.started_ms.max(started_ms);
    }

    pub(super) fn series(&self) -> usize {
        self.known.len()
    }

    /// What follows defines its series anew.
    pub(super) fn next_part(&mut self) {
        self.part += 1;
        self.part_series = 0;
        self.part_bytes = 0;
        self.part_definition_bytes = 0;
        self.part_started_ms = i64::MAX;
    }

    fn part_is_full(&self, now_ms: i64, limits: Limits, drained: bool) -> bool {
        let age = now_ms.saturating_sub(self.part_started_ms);
        let max_age_ms = i64::try_from(limits.max_age.as_millis()).unwrap_or(i64::MAX);
        // Definitions are written again in the next part, which must be worth it.
        let worth = 4 * self.part_definition_bytes;
        // Limits drop whole parts.
        self.part_bytes >= limits.part_bytes.max(worth).min(limits.max_bytes / 3)
            || age >= (max_age_ms / 16).max(1)
            || drained && self.part_bytes >= SENT_PART_BYTES + worth
    }

    /// False if the labels of a series that ended have a sample of this collection, or a later one, under another
    /// reference: receivers refuse a request with a marker beside it.
    fn may_end(&mut self, series: &Series<'_>, timestamp_ms: i64) -> bool {
        let own = self.known.get(&series.reference);
        let (is_known, hash) = (own.is_some(), own.map(|known| known.label_hash));
        let hash = hash.unwrap_or_else(|| label_hash(series));
        let other = self.references.get(&hash).filter(|other| **other != series.reference);
        let goes_on = other.and_then(|other| self.known.get(other)).is_some_and(|other| {
            other.collection == self.collection || other.last_ms >= timestamp_ms
        });
        if !goes_on && is_known {
            // Another marker of these labels is one too many.
            self.references.insert(hash, series.reference);
        }
        !goes_on
    }

    /// Forgets series that are not in this collection and whose last time no longer matters. By time, because minutes may be
    /// between collections.
    fn forget_ended(&mut self, now_ms: i64) {
        if now_ms.abs_diff(self.searched_ms) < SEARCH_MS {
            return;
        }
        self.searched_ms = now_ms;
        let (collection, references) = (self.collection, &mut self.references);
        self.known.retain(|reference, known| {
            if known.collection == collection {
                return true;
            }
            // The last reference of the same labels has taken over the last time.
            let is_last = references.get(&known.label_hash) == Some(reference);
            let keep = is_last && now_ms.saturating_sub(known.last_ms) < REMEMBERED_MS;
            if is_last && !keep {
                references.remove(&known.label_hash);
            }
            keep
        });
    }
}

/// Takes the samples of one collection. Nothing of it is sent before [`commit`](Self::commit); dropped without it,
/// nothing of it ever is.
pub struct Collection<'a> {
    writer: parking_lot::MutexGuard<'a, Writer>,
    queue: Option<&'a Queue>,
    metrics: &'a TenantMetrics,
    now_ms: i64,
    counts: Counts,
    highest_ms: i64,
    out_of_order: u64,
    /// Reference of the series that exemplars belong to; `None`: its sample was left out.
    exemplars_of: Option<(u64, u32)>,
    first: Option<Position>,
    end: Option<Position>,
    error: Option<tactus_wal::Error>,
    done: bool,
}

impl<'a> Collection<'a> {
    pub(super) fn begin(
        mut writer: parking_lot::MutexGuard<'a, Writer>,
        queue: Option<&'a Queue>,
        metrics: &'a TenantMetrics,
        now_ms: i64,
    ) -> Self {
        writer.collection += 1;
        if let Some(queue) = queue
            && writer.part_is_full(now_ms, queue.limits(), queue.is_drained())
        {
            queue.rotate();
            writer.next_part();
        }
        Self {
            writer,
            queue,
            metrics,
            now_ms,
            counts: Counts::default(),
            highest_ms: i64::MIN,
            out_of_order: 0,
            exemplars_of: None,
            first: None,
            end: None,
            error: None,
            done: false,
        }
    }

    /// Hands the collection to the remotes, as a whole. Blocks for a write into the page cache.
    ///
    /// Errors: it could not be written. Nothing of it is sent then, and the next collection may bring the same
    /// exemplars and zero samples again.
    pub fn commit(mut self) -> Result<(), CommitError> {
        if self.first.is_some() || !self.writer.frame.is_empty() {
            self.flush(true);
        }
        if let Some(source) = self.error.take() {
            return Err(CommitError(source));
        }
        self.done = true;
        let Some(queue) = self.queue else { return Ok(()) };
        if let Some(end) = self.end {
            if self.writer.part_started_ms == i64::MAX {
                self.writer.part_started_ms = self.highest_ms;
            }
            self.metrics.committed(self.counts, self.highest_ms);
            queue.commit(end);
        }
        for loss in queue.enforce_limits(std::time::Instant::now()) {
            self.metrics.dropped(&loss);
        }
        self.metrics.appended(self.counts, self.out_of_order, queue.bytes());
        self.writer.forget_ended(self.now_ms);
        self.metrics.set_series(self.writer.series());
        Ok(())
    }

    /// `end`: nothing follows.
    fn flush(&mut self, end: bool) {
        let Some(queue) = self.queue else { return };
        if self.error.is_some() {
            return;
        }
        self.counts.merge(self.writer.frame.counts());
        let appended = self.writer.frame.finish(end, |frame| {
            queue.append(frame).map(|position| (position, frame.len() as u64))
        });
        match appended {
            Ok((position, bytes)) => {
                // Eight bytes of header.
                let offset = position.offset + bytes + 8;
                self.writer.part_bytes = offset;
                self.first.get_or_insert(position);
                self.end = Some(Position { part: position.part, offset });
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Number of the series in the current part if a sample of this time may be written. `ends`: it is a staleness
    /// marker.
    fn admit(&mut self, series: &Series<'_>, timestamp_ms: i64, ends: bool) -> Option<u32> {
        self.exemplars_of = None;
        // Not after a sample, whose exemplars belong into its frame.
        if self.writer.frame.len() >= FRAME_BYTES {
            self.flush(false);
        }
        if self.queue.is_none() || self.error.is_some() || timestamp_ms <= self.writer.started_ms {
            return None;
        }
        let writer = &mut *self.writer;
        if ends && !writer.may_end(series, timestamp_ms) {
            return None;
        }
        let known = match writer.known.entry(series.reference) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let label_hash = label_hash(series);
                let before = writer.references.insert(label_hash, series.reference);
                let _ = vacant.insert(Known {
                    label_hash,
                    part: u64::MAX,
                    id: 0,
                    last_ms: i64::MIN,
                    committed_ms: i64::MIN,
                    collection: 0,
                    last_exemplar: 0,
                });
                // The same labels came under another reference: its last time still counts.
                let last = before.and_then(|before| writer.known.get(&before)).map(|k| k.last_ms);
                let known = writer.known.get_mut(&series.reference)?;
                known.last_ms = last.unwrap_or(i64::MIN);
                known.committed_ms = known.last_ms;
                known
            }
        };
        if known.collection != writer.collection {
            known.collection = writer.collection;
            known.committed_ms = known.last_ms;
        }
        if timestamp_ms <= known.last_ms {
            self.out_of_order += 1;
            return None;
        }
        known.last_ms = timestamp_ms;
        if known.part != writer.part {
            known.part = writer.part;
            known.id = writer.part_series;
            writer.part_series += 1;
            writer.part_definition_bytes += writer.frame.define(series) as u64;
        }
        self.highest_ms = self.highest_ms.max(timestamp_ms);
        self.exemplars_of = Some((series.reference, known.id));
        Some(known.id)
    }
}

impl Sink for Collection<'_> {
    fn float(&mut self, series: &Series<'_>, timestamp_ms: i64, value: f64) {
        let ends = value.to_bits() == STALE.to_bits();
        if let Some(id) = self.admit(series, timestamp_ms, ends) {
            self.writer.frame.float(id, timestamp_ms, value);
            if ends {
                self.exemplars_of = None;
            }
        }
    }

    fn histogram(&mut self, series: &Series<'_>, timestamp_ms: i64, value: &NativeHistogram) {
        let ends = value.sum.to_bits() == STALE.to_bits();
        if let Some(id) = self.admit(series, timestamp_ms, ends) {
            self.writer.frame.histogram(id, timestamp_ms, value);
        }
    }

    fn exemplar(&mut self, _series: &Series<'_>, exemplar: &Exemplar<'_>) {
        let Some((reference, id)) = self.exemplars_of else { return };
        let characters = exemplar.label.chars().count() + exemplar.trace_id.chars().count();
        if self.error.is_some() || characters > MAX_EXEMPLAR_CHARACTERS {
            return;
        }
        let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
        hash.update(exemplar.label.as_bytes());
        hash.update(&[0xff]);
        hash.update(exemplar.trace_id.as_bytes());
        hash.update(&exemplar.value.to_bits().to_le_bytes());
        let hash = hash.digest();
        if let Some(known) = self.writer.known.get_mut(&reference) {
            // Receivers ignore one that repeats the last.
            if std::mem::replace(&mut known.last_exemplar, hash) == hash {
                return;
            }
        }
        self.writer.frame.exemplar(id, exemplar);
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.writer.frame.clear();
        if let Some(queue) = self.queue {
            queue.abandon(self.first);
        }
        self.writer.next_part();
        let collection = self.writer.collection;
        for known in self.writer.known.values_mut() {
            if known.collection == collection {
                known.last_ms = known.committed_ms;
                known.last_exemplar = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn part_is_closed_once_it_has_more_samples_than_definitions() {
        let max_age = Duration::from_secs(3_600);
        let limits = Limits { part_bytes: 100, max_bytes: 3_000, max_age };
        let is_full = |bytes, definitions| {
            let mut writer = Writer::new(0);
            (writer.part_bytes, writer.part_definition_bytes) = (bytes, definitions);
            writer.part_is_full(0, limits, false)
        };
        assert!(!is_full(99, 0) && is_full(100, 25));
        assert!(!is_full(399, 100) && is_full(400, 100));
        assert!(!is_full(999, 900) && is_full(1_000, 900), "the queue has three parts at least");
    }
}
