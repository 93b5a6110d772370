//! Reads a trace, or a part of one that is too large to be read as a whole.

use tactus_api::trace_job::TraceJob;
use tactus_model::{
    SpanBatch, TraceId,
    merge::{ChosenSpans, TracePart, gather_traces, merge},
    otlp::{encode_part_while, encode_traces_data_while},
};
use tactus_work::{Held, UNITS_OF_WRITTEN_SPAN, tick};

use super::RecentView;

/// A part of a trace as an OTLP message.
#[derive(Debug, Default)]
pub(crate) struct EncodedPart {
    /// Empty if it would exceed the limit, or if there is no memory; in the latter case the query has ended.
    pub(crate) message: Vec<u8>,
    /// Size of the part in bytes; approximate if it exceeds the limit.
    pub(crate) bytes: u64,
    /// Bytes of columns that were read for it.
    pub(crate) inspected_bytes: usize,
}

/// Why writing a part stopped early.
enum Stopped {
    TooLarge,
    Over,
}

impl RecentView {
    /// How many spans a trace has. Spans that are in two places count twice.
    pub(crate) fn spans_of(&self, id: TraceId) -> usize {
        let live = self.live_batches().filter_map(|batch| {
            let trace = batch.traces.ids.iter().position(|&other| other == id)? as u32;
            Some(batch.spans.trace.iter().filter(|&&of| of == trace).count())
        });
        let in_segments = self.segments.iter().filter_map(|segment| {
            let batch = segment.batch();
            let trace = batch.traces.ids.binary_search(&id).ok()? as u32;
            let of = &batch.spans.trace;
            let first = of.partition_point(|&other| other < trace);
            Some(of.partition_point(|&other| other <= trace) - first)
        });
        live.sum::<usize>() + in_segments.sum::<usize>()
    }

    /// A trace as a whole, each span once. `None` if it has more bytes than the job allows, or if there is no memory for all of
    /// it at once: then it is large.
    ///
    /// Memory: the spans of each place twice, because they are merged, and the message, which is counted as it grows.
    pub(crate) fn encoded_whole(&self, job: &TraceJob) -> Option<EncodedPart> {
        let (mut held, mut held_bytes, mut parts) = (Held::default(), 0, Vec::new());
        let live = self.live_batches().map(|batch| gather_traces(&[batch], |id| id == job.id));
        let in_segments = self.segments.iter().filter_map(|segment| {
            let batch = segment.batch();
            batch.traces.ids.binary_search(&job.id).ok()?;
            Some(segment.slice(&batch, job.id, job.id))
        });
        for part in live.chain(in_segments) {
            held_bytes += 2 * part.heap_bytes();
            if !held.grow_if_free(held_bytes) {
                return None;
            }
            parts.push(part);
        }
        let batch = merge(&parts.iter().collect::<Vec<_>>()).0;
        drop(parts);
        let own = batch.heap_bytes();
        held.shrink_to(2 * own);
        let mut fits = true;
        let message = encode_traces_data_while(&batch, |bytes| {
            fits = bytes as u64 <= job.max_bytes && held.grow_if_free(own + bytes);
            fits && !tick(UNITS_OF_WRITTEN_SPAN)
        });
        // It is empty if the query has ended.
        let message = if fits { message.unwrap_or_default() } else { return None };
        Some(EncodedPart { bytes: message.len() as u64, message, inspected_bytes: own })
    }

    /// The part of a trace that a job asks for. Spans that are in several places are included from each of them;
    /// whoever combines the answers keeps one.
    ///
    /// Memory: what one place has of the part, and the message, which is counted as it grows.
    pub(crate) fn encoded_part(&self, job: &TraceJob) -> EncodedPart {
        let mut writer =
            PartWriter { job, spans: 0, held: Held::default(), encoded: EncodedPart::default() };
        let stopped = self.write_part(&mut writer);
        let PartWriter { spans, mut encoded, .. } = writer;
        encoded.bytes = encoded.message.len() as u64;
        match stopped {
            Ok(()) => return encoded,
            Err(Stopped::Over) => {}
            Err(Stopped::TooLarge) => {
                let all = self.spans_of(job.id) as u64 / slices(&job.part);
                let all_bytes = encoded.bytes.saturating_mul(all) / spans.max(1) as u64;
                encoded.bytes = encoded.bytes.max(all_bytes);
            }
        }
        EncodedPart { message: Vec::new(), ..encoded }
    }

    fn write_part(&self, writer: &mut PartWriter<'_>) -> Result<(), Stopped> {
        let id = writer.job.id;
        for live in self.live_batches().filter(|batch| batch.traces.ids.contains(&id)) {
            writer.add(live, 0)?;
        }
        for segment in &self.segments {
            let batch = segment.batch();
            if batch.traces.ids.binary_search(&id).is_ok() {
                let columns = segment.columns_of(&batch, id, &writer.job.part);
                writer.add(&columns, columns.heap_bytes())?;
            }
        }
        Ok(())
    }
}

struct PartWriter<'a> {
    job: &'a TraceJob,
    spans: usize,
    held: Held,
    encoded: EncodedPart,
}

impl PartWriter<'_> {
    /// `copied_bytes`: memory of the place if it was copied only for this.
    fn add(&mut self, place: &SpanBatch, copied_bytes: usize) -> Result<(), Stopped> {
        let rows = self.job.part.rows(place, self.job.id);
        self.encoded.inspected_bytes += place.heap_bytes() * rows.len() / place.len().max(1);
        let besides = copied_bytes + rows.len() * size_of::<u32>();
        let (before, max_bytes) = (self.spans, self.job.max_part_bytes());
        let mut is_too_large = false;
        let goes_on = |spans: usize, bytes: usize| {
            self.spans = before + spans;
            is_too_large = bytes as u64 > max_bytes;
            !is_too_large && self.held.grow_to(besides + bytes) && !tick(UNITS_OF_WRITTEN_SPAN)
        };
        let message = &mut self.encoded.message;
        match encode_part_while(message, place, &rows, &self.job.part, goes_on) {
            true => Ok(()),
            false if is_too_large => Err(Stopped::TooLarge),
            false => Err(Stopped::Over),
        }
    }
}

fn slices(part: &TracePart) -> u64 {
    match part.spans {
        ChosenSpans::Slice(slice) => slice.number_of().1.into(),
        ChosenSpans::Ids(_) => 1,
    }
}
