//! Chooses exemplars: at most one span of each trace, spread over the time range, at random.

use std::collections::HashSet;

use fastrand::Rng;
use tactus_model::TraceId;
use tactus_work::tick;

use super::labels::label;
use super::rows::{Divider, Rows};
use crate::eval::operand::{Operand, Place};
use crate::eval::view::BatchView;
use crate::metrics::{Exemplar, Grid, LabelValue};
use crate::{Attribute, Intrinsic};

/// Most exemplars of one part of the time range.
const PER_PART: usize = 2;
/// Most spans of a batch that are considered. If there are more, every n-th one is.
const OFFERED_PER_BATCH: usize = 2_048;
/// Estimated bytes of a label without its texts.
const LABEL_BYTES: usize = 64;

/// The exemplars of one function while its batches are processed. `K`: which series an exemplar belongs to.
#[derive(Debug)]
pub(super) struct Exemplars<K> {
    parts: Vec<Part<K>>,
    capacity: usize,
    start: u64,
    part_length: Divider,
    traces: HashSet<TraceId>,
    random: Rng,
    /// Estimated bytes of the labels of all.
    bytes: usize,
    memory: tactus_work::Held,
}

/// A reservoir of spans that start in one part of the time range.
#[derive(Debug)]
struct Part<K> {
    seen: u64,
    /// Spans that are passed over, up to this one.
    next: u64,
    /// Shrinks as more spans are considered; see [`skip`].
    level: f64,
    held: Vec<Held<K>>,
}

/// A span of a batch that its part may take.
struct Candidate {
    place: usize,
    part: usize,
    /// Spans of the part up to this one.
    seen: u64,
}

#[derive(Debug)]
struct Held<K> {
    trace: TraceId,
    /// Spans of the trace among which this one was chosen.
    offered: usize,
    choice: Choice<K>,
    /// Estimated bytes of its labels.
    bytes: usize,
}

#[derive(Debug)]
enum Choice<K> {
    /// Its row is at this index of the current batch.
    Place(usize),
    /// The exemplar was made; its batch is not needed any more.
    Done(Exemplar, K),
}

impl<K> Exemplars<K> {
    /// At most `most` exemplars; `None` if that is 0.
    pub(super) fn new(most: usize, grid: Grid) -> Option<Self> {
        if most == 0 {
            return None;
        }
        let parts = (most / PER_PART).max(1);
        let length = (grid.end() - grid.start()).div_ceil(parts as u64);
        let part = |_| Part { seen: 0, next: 0, level: 1.0, held: Vec::new() };
        Some(Self {
            parts: (0..parts).map(part).collect(),
            capacity: PER_PART.min(most),
            start: grid.start(),
            part_length: Divider::by(length),
            traces: HashSet::new(),
            random: Rng::new(),
            bytes: 0,
            memory: tactus_work::Held::default(),
        })
    }

    /// Chooses among the counted spans of a batch. Call [`Self::look_at`] afterwards.
    pub(super) fn choose(&mut self, rows: &Rows, view: &BatchView<'_>) {
        let starts = view.batch.spans.start.as_slice();
        let last = self.parts.len() - 1;
        let stride = (rows.len() / OFFERED_PER_BATCH).max(1);
        // Usually few spans of a batch get far enough for their traces to matter.
        let (mut candidates, mut candidate_rows) = (Vec::new(), Vec::new());
        for place in (self.random.usize(..stride)..rows.len()).step_by(stride) {
            let row = rows.at(place);
            let since = starts[row].saturating_sub(self.start).saturating_sub(1);
            let number = (self.part_length.divide(since) as usize).min(last);
            let part = &mut self.parts[number];
            part.seen += 1;
            if part.seen >= part.next {
                candidates.push(Candidate { place, part: number, seen: part.seen });
                candidate_rows.push(row as u32);
            }
        }
        let traces = view.batch.spans.trace.pick(&candidate_rows);
        for (Candidate { place, part, seen }, of_trace) in candidates.into_iter().zip(traces) {
            let part = &mut self.parts[part];
            if seen < part.next {
                continue;
            }
            let trace = view.batch.traces.ids[of_trace as usize];
            if !self.traces.insert(trace) {
                // Each span of the trace is as likely to stand for it, within the part that has the trace.
                if let Some(held) = part.held.iter_mut().find(|held| held.trace == trace) {
                    held.offered += 1;
                    if self.random.usize(..held.offered) == 0 {
                        held.choice = Choice::Place(place);
                        self.bytes -= std::mem::take(&mut held.bytes);
                    }
                }
                continue;
            }
            let held = Held { trace, offered: 1, choice: Choice::Place(place), bytes: 0 };
            if part.held.len() < self.capacity {
                part.held.push(held);
            } else {
                let replaced = self.random.usize(..part.held.len());
                let old = std::mem::replace(&mut part.held[replaced], held);
                self.traces.remove(&old.trace);
                self.bytes -= old.bytes;
            }
            if part.held.len() == self.capacity {
                part.next = seen + skip(&mut self.random, &mut part.level, self.capacity);
            }
        }
    }

    /// Reads the details of the spans that were chosen from a batch, until the query is over. `describe` returns the
    /// value and the series of the span at an index, `copies` how many series get a copy of the exemplar.
    pub(super) fn look_at(
        &mut self,
        rows: &Rows,
        view: &BatchView<'_>,
        shown: &[Attribute],
        mut describe: impl FnMut(usize) -> (Option<f64>, K),
        copies: impl Fn(&K) -> usize,
    ) {
        let mut operands = None;
        for held in self.parts.iter_mut().flat_map(|part| &mut part.held) {
            let Choice::Place(place) = held.choice else { continue };
            let operands: &Vec<(String, Operand<'_>)> = operands.get_or_insert_with(|| {
                let bind =
                    |attribute: &Attribute| (attribute.to_string(), Operand::bind(attribute, view));
                shown.iter().filter(|attribute| !is_trace_id(attribute)).map(bind).collect()
            });
            let row = rows.at(place);
            let mut labels: Vec<(Box<str>, LabelValue)> = Vec::with_capacity(operands.len() + 1);
            for (name, operand) in operands {
                if tick(8) {
                    return;
                }
                match label(operand.value(Place::of_span(row))) {
                    LabelValue::Nil => {}
                    value => labels.push((name.as_str().into(), value)),
                }
            }
            let id = held.trace.to_hex_trimmed();
            labels.push((Intrinsic::TraceId.text().into(), LabelValue::String(id.into())));
            let (value, series) = describe(place);
            held.bytes = labels.iter().map(bytes_of).sum::<usize>() * copies(&series);
            self.bytes += held.bytes;
            if !self.memory.grow_to(self.bytes) {
                return;
            }
            let start_unix_nanos = view.batch.spans.start[row];
            held.choice = Choice::Done(
                Exemplar { labels, value, of_series: false, start_unix_nanos },
                series,
            );
        }
    }

    /// Its memory, which counts until this is dropped.
    pub(super) fn take_held(&mut self) -> tactus_work::Held {
        std::mem::take(&mut self.memory)
    }

    /// The exemplars and their series, in no order.
    pub(super) fn finish(self) -> impl Iterator<Item = (K, Exemplar)> {
        self.parts.into_iter().flat_map(|part| part.held).filter_map(|held| match held.choice {
            Choice::Place(_) => None,
            Choice::Done(exemplar, series) => Some((series, exemplar)),
        })
    }
}

fn bytes_of((name, value): &(Box<str>, LabelValue)) -> usize {
    let text = match value {
        LabelValue::String(text) => text.len(),
        _ => 0,
    };
    LABEL_BYTES + name.len() + text
}

fn is_trace_id(attribute: &Attribute) -> bool {
    *attribute == Attribute::Intrinsic(Intrinsic::TraceId)
}

/// How many spans until the next one that a full reservoir of `size` takes, at least 1 (Li's algorithm L).
fn skip(random: &mut Rng, level: &mut f64, size: usize) -> u64 {
    // Not 0, of which there is no logarithm.
    let mut logarithm = || (1.0 - random.f64()).ln();
    *level *= (logarithm() / size as f64).exp();
    let passed = (logarithm() / (1.0 - *level).ln()).floor();
    (passed as u64).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservoir_takes_each_span_equally_often() {
        let mut random = Rng::with_seed(0x1234_5678_9abc_def1);
        let mut taken = [0u32; 50];
        for _ in 0..20_000 {
            let (mut held, mut level, mut next) = (Vec::new(), 1.0, 0);
            for seen in 1..=50u64 {
                if seen < next {
                    continue;
                }
                if held.len() < 2 {
                    held.push(seen);
                } else {
                    let replaced = random.usize(..2);
                    held[replaced] = seen;
                }
                if held.len() == 2 {
                    next = seen + skip(&mut random, &mut level, 2);
                }
            }
            held.iter().for_each(|&span| taken[span as usize - 1] += 1);
        }
        // 800 expected, standard deviation about 28.
        assert!(taken.iter().all(|count| (650..950).contains(count)), "{taken:?}");
    }
}
