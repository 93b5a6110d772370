//! Splits a metrics query into jobs.

use std::sync::Arc;

use tactus_proto::tactus::v1::{BlockPart, MetricsInBlockRequest, MetricsRequest};
use tactus_storage::Uuid;
use tactus_traceql::Hints;
use tactus_traceql::hints::{CONCURRENT_BLOCKS, JOB_SIZE};
use tactus_traceql::metrics::Grid;

use super::overlaps::{MAX_NAMED, Origins, Overlaps};
use crate::blocks::QueryBlock;

const SECOND: u64 = 1_000_000_000;

/// What the jobs of a tenant have in common.
#[derive(Debug)]
struct Common {
    request: MetricsRequest,
    overlaps: Overlaps,
}

/// Part of a block to count. Waiting jobs may be very many, so they share what is large.
#[derive(Debug)]
pub(super) struct Job {
    common: Arc<Common>,
    /// Place of the block.
    block: usize,
    exemplars: u32,
    part: BlockPart,
    pub(super) block_end_seconds: i64,
}

impl Job {
    /// What a querier is asked.
    pub(super) fn into_request(self) -> MetricsInBlockRequest {
        let Self { common, block, exemplars, part, .. } = self;
        let (others, has_more) = common.overlaps.others(block);
        if has_more {
            tactus_telemetry::log_limited!(
                warn,
                tenant = common.request.tenant,
                block = part.block_id,
                limit = MAX_NAMED,
                "too many blocks of one time: spans that are in several of them may count twice until they are merged"
            );
        }
        MetricsInBlockRequest {
            counted_block_ids: others.map(|id| id.to_string()).collect(),
            metrics: Some(MetricsRequest { exemplars, ..common.request.clone() }),
            part: Some(part),
        }
    }
}

/// The time range of a grid in whole unix seconds, rounded outwards.
pub(super) fn window_seconds(grid: &Grid) -> (i64, i64) {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    // 0 would mean unbounded.
    (seconds(grid.start() / SECOND), seconds(grid.end().div_ceil(SECOND).max(1)))
}

/// Adds the jobs on blocks that may have spans in the intervals, and returns these blocks.
///
/// A job asks for all intervals: spans that arrived late, or with a wrong clock, do not extend the time range of their
/// block, and the row groups' own bounds exclude what is not wanted. A span may be in two blocks, so each job names the
/// other blocks that may have it, and the querier knows which of them counts it. `origins_of` returns the pushes that a
/// block has spans of. Two blocks with a push in common certainly have spans in common, whatever their time ranges: a
/// process with a wrong clock moves the range of its block towards its own time.
pub(super) fn add_jobs(
    jobs: &mut Vec<Job>,
    request: &MetricsRequest,
    blocks: &[QueryBlock],
    grid: &Grid,
    job_bytes: u64,
    origins_of: impl FnMut(Uuid, &mut Vec<Origins>),
) -> Vec<QueryBlock> {
    let read: Vec<QueryBlock> = blocks.iter().filter(|it| is_read(it, grid)).copied().collect();
    let overlaps = Overlaps::new(read.clone(), origins_of);
    let common = Arc::new(Common { request: request.clone(), overlaps });
    for (place, block) in read.iter().enumerate() {
        let (first, last) = intervals_of(block, grid);
        let parts = block.parts(job_bytes);
        let share = (last - first) as f64 / grid.intervals() as f64 / parts.len() as f64;
        let exemplars = exemplars(request.exemplars, share);
        jobs.extend(parts.into_iter().map(|part| Job {
            common: Arc::clone(&common),
            block: place,
            exemplars,
            part,
            block_end_seconds: block.end_seconds,
        }));
    }
    read
}

/// True if a block may have spans in the intervals.
pub(super) fn is_read(block: &QueryBlock, grid: &Grid) -> bool {
    let (first, last) = intervals_of(block, grid);
    first < last
}

/// The time range of the spans of a block in unix nanoseconds, rounded outwards.
pub(super) fn times_of(block: &QueryBlock) -> (u64, u64) {
    (nanos(block.start_seconds), nanos(block.end_seconds.saturating_add(1)))
}

/// The first interval that a span of the block may be in, and the one after the last.
///
/// Times of a block are of the starts and ends of its spans, in seconds; one more at the end, as writers round.
fn intervals_of(block: &QueryBlock, grid: &Grid) -> (u64, u64) {
    let start = nanos(block.start_seconds).saturating_sub(1);
    let first = start.saturating_sub(grid.start()) / grid.step();
    (first, last_interval(block.end_seconds, grid))
}

/// The interval after the last one that can contain a span of a block with this end.
pub(super) fn last_interval(end_seconds: i64, grid: &Grid) -> u64 {
    let end = nanos(end_seconds.saturating_add(1));
    let last = end.saturating_sub(grid.start()).div_ceil(grid.step());
    last.min(grid.intervals() as u64)
}

fn nanos(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND)
}

/// The exemplars of a job with this share of the time and the data: somewhat more, as the best are chosen of all.
fn exemplars(wanted: u32, share: f64) -> u32 {
    if wanted == 0 {
        return 0;
    }
    let own = (f64::from(wanted) * share * 1.2).ceil();
    (own as u32).clamp(1, wanted)
}

/// Compressed bytes of a job: from the query's hint, or else from the settings.
pub(super) fn job_bytes(hints: &Hints, setting: u64) -> u64 {
    let hinted = hints.int(JOB_SIZE).and_then(|bytes| u64::try_from(bytes).ok());
    hinted.filter(|bytes| *bytes > 0).unwrap_or(setting)
}

/// How many jobs of the query run at a time, if a hint says so.
pub(super) fn concurrent_blocks(hints: &Hints) -> Option<usize> {
    let hinted = hints.int(CONCURRENT_BLOCKS)?;
    (1..=99).contains(&hinted).then_some(hinted as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(start_seconds: i64, end_seconds: i64) -> QueryBlock {
        QueryBlock {
            block_id: Uuid::nil(),
            size: 100,
            row_groups: 4,
            start_seconds,
            end_seconds,
            copy_seconds: (start_seconds, end_seconds),
            max_parts: 1_024,
        }
    }

    /// The exemplars that each job of a block is asked for.
    fn jobs(block: &QueryBlock, grid: &Grid, job_bytes: u64) -> Vec<u32> {
        let request = MetricsRequest { exemplars: 50, intervals: 7, ..MetricsRequest::default() };
        let mut jobs = Vec::new();
        let read = add_jobs(&mut jobs, &request, &[*block], grid, job_bytes, |_, _| {});
        assert_eq!(read.is_empty(), jobs.is_empty());
        let job = |job: Job| {
            let request = job.into_request();
            assert_eq!(request.counted_block_ids, [""; 0]);
            let request = request.metrics.unwrap();
            assert_eq!(request.intervals, 7, "all of the query");
            request.exemplars
        };
        jobs.into_iter().map(job).collect()
    }

    #[test]
    fn block_gets_exemplars_by_its_share_of_the_time() {
        // Ten intervals, after 90 to 190.
        let grid = Grid::range(100 * SECOND, 190 * SECOND, 10 * SECOND, None);
        assert_eq!(grid.intervals(), 10);
        for (start, end, expected) in [
            (101, 119, vec![12]),
            // A span at the edge belongs to the interval before it.
            (100, 119, vec![18]),
            (101, 120, vec![18]),
            (0, 500, vec![50]),
            (185, 500, vec![6]),
            (0, 80, vec![]),
            (191, 500, vec![]),
        ] {
            assert_eq!(jobs(&block(start, end), &grid, 1_000), expected, "{start} {end}");
        }
        let grid = Grid::instant(100 * SECOND, 190 * SECOND);
        assert_eq!(jobs(&block(150, 160), &grid, 1_000), [50]);
        assert_eq!(window_seconds(&grid), (100, 190));
        assert!(jobs(&block(191, 192), &grid, 1_000).is_empty());
    }

    #[test]
    fn parts_share_the_exemplars_of_their_block() {
        let grid = Grid::range(100 * SECOND, 190 * SECOND, 10 * SECOND, None);
        assert_eq!(jobs(&block(0, 500), &grid, 25), [15; 4]);
        assert_eq!((exemplars(0, 1.0), exemplars(7, 0.0001)), (0, 1));
    }

    #[test]
    fn job_names_the_other_blocks_that_may_have_its_spans() {
        let grid = Grid::instant(0, 1_000 * SECOND);
        let times = [(500, 600), (600, 700), (100, 200), (150, 650), (2_000, 3_000)];
        let ids = (1..).map(Uuid::from_u128);
        let blocks: Vec<_> = times
            .iter()
            .zip(ids)
            .map(|(&(start, end), block_id)| QueryBlock { block_id, ..block(start, end) })
            .collect();
        let mut jobs = Vec::new();
        let request = MetricsRequest::default();
        let origins = |id: Uuid, out: &mut Vec<_>| {
            if id.as_u128() % 2 == 1 {
                out.push((7, 9));
            }
        };
        let read = add_jobs(&mut jobs, &request, &blocks, &grid, 50, origins);
        assert_eq!(read, blocks[..4]);
        let number = |id: &String| Uuid::parse_str(id).unwrap().as_u128();
        let named: Vec<Vec<_>> = jobs
            .into_iter()
            .map(|job| job.into_request().counted_block_ids.iter().map(number).collect())
            .collect();
        assert_eq!(
            named,
            [
                vec![2, 3, 4],
                vec![2, 3, 4],
                vec![1, 4],
                vec![1, 4],
                vec![1, 4],
                vec![1, 4],
                vec![1, 2, 3],
                vec![1, 2, 3]
            ]
        );
    }

    #[test]
    fn ten_thousand_blocks_of_one_time_are_planned_in_a_moment() {
        let grid = Grid::instant(0, 1_000 * SECOND);
        let blocks: Vec<_> = (1..=10_000)
            .map(|number| QueryBlock { block_id: Uuid::from_u128(number), ..block(500, 600) })
            .collect();
        let request = MetricsRequest { query: "x".repeat(100_000), ..MetricsRequest::default() };
        let mut jobs = Vec::new();
        let began = std::time::Instant::now();
        let origins = |_: Uuid, out: &mut Vec<_>| out.push((7, 9));
        add_jobs(&mut jobs, &request, &blocks, &grid, 50, origins);
        assert_eq!(jobs.len(), 20_000);
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        let named = jobs.pop().unwrap().into_request().counted_block_ids;
        assert_eq!(named.len(), MAX_NAMED);
    }

    #[test]
    fn hints_out_of_range_are_ignored() {
        let root = |hints: &str| {
            tactus_traceql::parse(&format!("{{}} | rate() with ({hints})")).unwrap().hints
        };
        assert_eq!(job_bytes(&root("job_size=5"), 9), 5);
        assert_eq!(job_bytes(&root("job_size=0"), 9), 9);
        assert_eq!(concurrent_blocks(&root("concurrent_blocks=3")), Some(3));
        assert_eq!(concurrent_blocks(&root("concurrent_blocks=100")), None);
        assert_eq!(concurrent_blocks(&root("concurrent_blocks=true")), None);
    }
}
