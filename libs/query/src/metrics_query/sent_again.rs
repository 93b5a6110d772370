//! Finds spans of recent data that are also in a block, because a client sent them again.
//!
//! Ingesters name the spans they count that start within the time range of a block. Usually there are few, and no block
//! has any of them: then the ingesters' answer stands. Otherwise they are asked again, with a list of those spans that
//! blocks have.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use tactus_api::Result;
use tactus_proto::tactus::v1::{
    BlockTime, MetricsResponse, SpansInBlocksRequest, SpansInBlocksResponse, TraceSpans,
};
use tactus_storage::Uuid;
use tactus_storage::blocklist::TenantBlocks;
use tactus_traceql::metrics::Grid;
use tonic::Code;

use super::plan;
use crate::blocks::{QueryBlock, select_sources};
use crate::frontend::Frontend;
use crate::jobs::{Outcome, outcome, run_jobs};

/// Blocks that are looked into, the newest: only spans that came in late, or from a wrong clock, may be in this many.
const MAX_BLOCKS: usize = 1_024;
/// Blocks of one job.
const BLOCKS_PER_JOB: usize = 32;

/// The times of these blocks, as far as they are read.
pub(super) fn block_times(blocks: &[QueryBlock], grid: &Grid) -> Vec<BlockTime> {
    let read = blocks.iter().filter(|block| plan::is_read(block, grid));
    joined(read.map(plan::times_of).collect())
}

/// As [`block_times`], but each block that an ingester made for itself: one that still counts its spans leaves it out.
pub(super) fn times_of_sources(
    listed: &TenantBlocks,
    blocks: &[QueryBlock],
    grid: &Grid,
) -> Vec<BlockTime> {
    let (mut times, mut merged) = (Vec::new(), Vec::new());
    for (meta, block) in select_sources(listed, blocks.iter().map(|block| block.block_id)) {
        let (first_nanos, last_nanos) = plan::times_of(&block);
        if !plan::is_read(&block, grid) {
            continue;
        }
        if meta.compaction_level == 0 {
            let block_id = Bytes::copy_from_slice(block.block_id.as_bytes());
            times.push(BlockTime { first_nanos, last_nanos, block_id });
        } else {
            merged.push((first_nanos, last_nanos));
        }
    }
    times.append(&mut joined(merged));
    times
}

fn joined(mut times: Vec<(u64, u64)>) -> Vec<BlockTime> {
    times.sort_unstable();
    times.dedup_by(|next, known| {
        let touches = next.0 <= known.1;
        if touches {
            known.1 = known.1.max(next.1);
        }
        touches
    });
    let time =
        |(first_nanos, last_nanos)| BlockTime { first_nanos, last_nanos, block_id: Bytes::new() };
    times.into_iter().map(time).collect()
}

impl Frontend {
    /// Those of the spans that ingesters named which `blocks` have; empty if none has any, as usual. False if a block could
    /// not be looked into.
    pub(super) async fn spans_sent_again(
        &self,
        tenant: &str,
        answer: &Outcome<MetricsResponse>,
        blocks: &[QueryBlock],
        grid: &Grid,
    ) -> Result<(Vec<TraceSpans>, bool)> {
        let Outcome::Answer(answer) = answer else { return Ok((Vec::new(), true)) };
        let (first, last) = (answer.shared_first_nanos, answer.shared_last_nanos);
        let may_have = |block: &&QueryBlock| {
            let times = plan::times_of(block);
            plan::is_read(block, grid) && times.0 <= last && times.1 >= first
        };
        let block_ids: Vec<_> = blocks.iter().filter(may_have).collect();
        if answer.shared_traces.is_empty() || block_ids.is_empty() {
            return Ok((Vec::new(), true));
        }
        let mut again = SentAgain::of(&answer.shared_traces);
        let trace_ids: Bytes =
            again.counted.keys().flat_map(|trace_id| trace_id.iter().copied()).collect();
        let newest = &block_ids[..block_ids.len().min(MAX_BLOCKS)];
        let job = |blocks: &[&QueryBlock]| SpansInBlocksRequest {
            tenant: tenant.to_owned(),
            block_ids: blocks.iter().map(|block| block.block_id.to_string()).collect(),
            trace_ids: trace_ids.clone(),
        };
        let run = |job: SpansInBlocksRequest| {
            let queue = self.queue.clone();
            let run = async move {
                match queue.ask(job).await {
                    // A querier of an older release: copies count twice, as they did.
                    Err(status) if status.code() == Code::Unimplemented => {
                        Ok(Outcome::Answer(SpansInBlocksResponse::default()))
                    }
                    answer => outcome(answer),
                }
            };
            run.boxed()
        };
        let take = |again: &mut SentAgain, outcome| {
            match outcome {
                Outcome::Answer(found) => again.take(found),
                _ => again.lacks_blocks = true,
            }
            Ok(ControlFlow::Continue(()))
        };
        let jobs = newest.chunks(BLOCKS_PER_JOB).map(job).collect();
        let in_flight = self.jobs_in_flight(self.settings.section.metrics.concurrent_jobs);
        run_jobs(jobs, in_flight, &mut again, run, take).await?;
        let is_whole = !again.lacks_blocks;
        Ok((again.into_messages(), is_whole))
    }
}

/// What was compared: spans that ingesters counted, with blocks.
#[derive(Debug, Default)]
pub(super) struct LookedUp {
    blocks: HashSet<Uuid>,
    spans: HashMap<Bytes, HashSet<u64>>,
}

impl LookedUp {
    pub(super) fn of(blocks: &[QueryBlock], answer: &Outcome<MetricsResponse>) -> Self {
        let spans = match answer {
            Outcome::Answer(answer) => SentAgain::of(&answer.shared_traces).counted,
            Outcome::Damaged => HashMap::new(),
        };
        Self { blocks: blocks.iter().map(|block| block.block_id).collect(), spans }
    }

    /// True if the answer counts no span that would have to be compared, and that was not compared with each of the blocks.
    pub(super) fn covers(&self, blocks: &[QueryBlock], answer: &Outcome<MetricsResponse>) -> bool {
        let Outcome::Answer(answer) = answer else { return true };
        let is_known = |trace: &TraceSpans| {
            let known = self.spans.get(&trace.trace_id);
            known.is_some_and(|known| trace.spans.iter().all(|span| known.contains(span)))
        };
        answer.shared_traces.iter().all(is_known)
            && (answer.shared_traces.is_empty()
                || blocks.iter().all(|block| self.blocks.contains(&block.block_id)))
    }
}

/// True if `answer` leaves out just those of its spans that blocks have, which are `stored`. It was asked to leave out `left_out`.
pub(super) fn leaves_out(
    left_out: &[TraceSpans],
    stored: &[TraceSpans],
    answer: &Outcome<MetricsResponse>,
) -> bool {
    let Outcome::Answer(answer) = answer else { return true };
    let by_trace = |traces: &[TraceSpans]| SentAgain::of(traces).counted;
    let (left_out, stored) = (by_trace(left_out), by_trace(stored));
    let named = by_trace(&answer.shared_traces);
    let has = |traces: &HashMap<Bytes, HashSet<u64>>, trace_id: &Bytes, span: &u64| {
        traces.get(trace_id).is_some_and(|spans| spans.contains(span))
    };
    let all_left_out = stored
        .iter()
        .all(|(trace_id, spans)| spans.iter().all(|span| has(&left_out, trace_id, span)));
    // What the ingester does not have any more, it cannot have left out.
    let all_stored = left_out.iter().all(|(trace_id, spans)| {
        spans.iter().all(|span| !has(&named, trace_id, span) || has(&stored, trace_id, span))
    });
    all_left_out && all_stored
}

/// Spans that ingesters count, and those of them that blocks have.
#[derive(Debug, Default)]
struct SentAgain {
    counted: HashMap<Bytes, HashSet<u64>>,
    stored: HashMap<Bytes, HashSet<u64>>,
    lacks_blocks: bool,
}

impl SentAgain {
    fn of(counted: &[TraceSpans]) -> Self {
        let mut again = Self::default();
        for trace in counted {
            again.counted.entry(trace.trace_id.clone()).or_default().extend(&trace.spans);
        }
        again
    }

    fn take(&mut self, found: SpansInBlocksResponse) {
        self.lacks_blocks |= found.lacks_blocks;
        for TraceSpans { trace_id, mut spans } in found.traces {
            let Some(counted) = self.counted.get(&trace_id) else { continue };
            spans.retain(|span| counted.contains(span));
            if !spans.is_empty() {
                self.stored.entry(trace_id).or_default().extend(spans);
            }
        }
    }

    fn into_messages(self) -> Vec<TraceSpans> {
        let message = |(trace_id, spans): (Bytes, HashSet<u64>)| TraceSpans {
            trace_id,
            spans: spans.into_iter().collect(),
        };
        self.stored.into_iter().map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tactus_storage::meta::{BlockVersion, Extension};
    use tactus_storage::{BlockMeta, Uuid};

    const SECOND: u64 = 1_000_000_000;

    fn block(start_seconds: i64, end_seconds: i64) -> QueryBlock {
        QueryBlock {
            block_id: Uuid::nil(),
            size: 1,
            row_groups: 1,
            start_seconds,
            end_seconds,
            copy_seconds: (start_seconds, end_seconds),
            max_parts: 1,
        }
    }

    fn seconds(times: &[BlockTime]) -> Vec<(u64, u64)> {
        times.iter().map(|it| (it.first_nanos / SECOND, it.last_nanos / SECOND)).collect()
    }

    #[test]
    fn times_of_read_blocks_are_joined() {
        let blocks = [block(50, 60), block(10, 20), block(15, 30), block(900, 950)];
        let grid = Grid::range(0, 500 * SECOND, 10 * SECOND, None);
        assert_eq!(seconds(&block_times(&blocks, &grid)), [(10, 31), (50, 61)]);
        assert!(block_times(&[], &grid).is_empty());
    }

    #[test]
    fn blocks_of_ingesters_are_named_and_merged_ones_are_joined() {
        let meta = |number, (start, end), level, sources: &[u128]| {
            let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::from_u128(number));
            meta.set_time_range_unix_nanos(start * SECOND, end * SECOND);
            (meta.size, meta.total_records, meta.compaction_level) = (100, 1, level);
            let sources = sources.iter().map(|&number| Uuid::from_u128(number)).collect();
            meta.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
            meta
        };
        // The first two became the third; what the fourth and the fifth were made of is not known any more.
        let metas = [
            meta(1, (50, 60), 0, &[]),
            meta(2, (55, 70), 0, &[]),
            meta(3, (50, 70), 1, &[1, 2]),
            meta(4, (10, 20), 1, &[77]),
            meta(5, (15, 30), 1, &[78]),
        ];
        let listed = TenantBlocks::new(metas.map(Arc::new).to_vec(), Vec::new());
        let selected = [3, 4, 5]
            .map(|number| QueryBlock { block_id: Uuid::from_u128(number), ..block(10, 70) });
        let grid = Grid::range(0, 500 * SECOND, 10 * SECOND, None);
        let times = times_of_sources(&listed, &selected, &grid);
        let ids: Vec<_> = times.iter().map(|it| Uuid::from_slice(&it.block_id).ok()).collect();
        assert_eq!(ids, [Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)), None]);
        assert_eq!(seconds(&times), [(50, 61), (55, 71), (10, 31)]);
    }

    #[test]
    fn spans_that_are_both_counted_and_stored_were_sent_again() {
        let trace = |id: u8, spans: &[u64]| TraceSpans {
            trace_id: Bytes::copy_from_slice(&[id; 16]),
            spans: spans.to_vec(),
        };
        let mut again = SentAgain::of(&[trace(1, &[1, 2]), trace(1, &[2, 3]), trace(2, &[4])]);
        let found = vec![trace(1, &[3, 8]), trace(2, &[9]), trace(3, &[1])];
        again.take(SpansInBlocksResponse { traces: found, lacks_blocks: false });
        assert!(!again.lacks_blocks);
        again.take(SpansInBlocksResponse { traces: vec![trace(1, &[3])], lacks_blocks: true });
        assert!(again.lacks_blocks);
        assert_eq!(again.into_messages(), [trace(1, &[3])]);
    }

    #[test]
    fn answer_stands_that_leaves_out_what_blocks_have() {
        let trace = |id: u8, spans: &[u64]| TraceSpans {
            trace_id: Bytes::copy_from_slice(&[id; 16]),
            spans: spans.to_vec(),
        };
        let naming = |shared_traces| {
            Outcome::Answer(MetricsResponse { shared_traces, ..MetricsResponse::default() })
        };
        // A span that came meanwhile and is in no block does not matter.
        let answer = naming(vec![trace(1, &[1, 2]), trace(2, &[4])]);
        assert!(leaves_out(&[trace(1, &[2])], &[trace(1, &[2])], &answer));
        assert!(leaves_out(&[], &[], &answer));
        // One that a block has would be counted twice, one that no block has would be counted nowhere.
        assert!(!leaves_out(&[trace(1, &[2])], &[trace(1, &[1, 2])], &answer));
        assert!(!leaves_out(&[], &[trace(2, &[4])], &answer));
        assert!(!leaves_out(&[trace(1, &[1, 2])], &[trace(1, &[2])], &answer));
        // The ingester let go of the third span.
        assert!(leaves_out(&[trace(1, &[2, 3])], &[trace(1, &[2])], &answer));
    }
}
