//! Counts recent data of which there is one copy.
//!
//! The blocks to read are those of the list before the ingesters were asked, without those that an ingester names because
//! it still counted their spans itself. A block that appears in the list meanwhile has spans that an ingester counted,
//! unless the ingester names it as one whose spans it had already released; or it is of an ingester that has left and was
//! not asked. So the others are asked again, for what they count now beside the new list. Likewise if an ingester released a
//! block, or a client sent spans again, after their spans were compared with those of the blocks.

use std::collections::HashSet;
use std::sync::Arc;

use tactus_api::{Error, Result};
use tactus_proto::tactus::v1::{BlockTime, MetricsRequest, MetricsResponse};
use tactus_storage::Uuid;
use tactus_storage::blocklist::{ListGaps, TenantBlocks};
use tactus_traceql::metrics::Grid;

use super::sent_again::LookedUp;
use super::{State, sent_again};
use crate::blocks::{QueryBlock, select, select_new, select_uncounted};
use crate::frontend::Frontend;
use crate::jobs::{Outcome, ask};

/// How often ingesters are asked at most. It is once, or twice if blocks have some of the spans that they count; more in the moment
/// in which that changes.
const MAX_ROUNDS: usize = 6;

/// What the ingesters of a tenant reported about its blocks.
#[derive(Debug, Default)]
struct RecentBlocks {
    /// Blocks whose spans they counted.
    counted: HashSet<Uuid>,
    /// Blocks whose spans they released a short time ago and did not count.
    released: HashSet<Uuid>,
}

/// The recent data of a tenant, and the blocks that have the rest.
struct Settled {
    outcome: Outcome<MetricsResponse>,
    /// Blocks that ingesters counted.
    counted: usize,
    uncounted: Vec<QueryBlock>,
    /// No span is known to be in both, and the block list lacked no block when they had answered.
    is_exact: bool,
}

impl Frontend {
    /// Counts recent data of which there is only one copy. Returns the blocks to read for each request.
    pub(super) async fn count_unreplicated(
        &self,
        requests: &[MetricsRequest],
        window: (i64, i64),
        grid: &Grid,
        state: &mut State,
    ) -> Result<Vec<Vec<QueryBlock>>> {
        state.work.metrics.total_jobs += requests.len() as u32;
        let mut requests = requests.to_vec();
        let mut known = Vec::with_capacity(requests.len());
        for request in &mut requests {
            let listed = self.blocklist.tenant(&request.tenant);
            request.block_times = self.block_times(&listed, window, grid);
            known.push(listed);
        }
        let outcomes = self.ask_all(&requests).await?;
        let mut blocks = Vec::with_capacity(requests.len());
        let mut counted = 0;
        for ((request, known), outcome) in requests.iter_mut().zip(known).zip(outcomes) {
            let settled = self.settle(request, known, outcome, window, grid).await?;
            counted += settled.counted;
            state.work.partial |= !settled.is_exact;
            blocks.push(settled.uncounted);
            let outcome = state.sum.clone().add(settled.outcome).await?;
            let _ = self.take_work(state, outcome)?;
        }
        state.work.skip_blocks("counted by an ingester", counted);
        Ok(blocks)
    }

    /// Asks the ingesters of a tenant again, until they and the blocks to read share no span. `known`: the block list before
    /// they gave `outcome`.
    async fn settle(
        &self,
        request: &mut MetricsRequest,
        mut known: Arc<TenantBlocks>,
        mut outcome: Outcome<MetricsResponse>,
        window: (i64, i64),
        grid: &Grid,
    ) -> Result<Settled> {
        let mut looked_up = LookedUp::default();
        let (mut rounds, mut is_exact) = (1, true);
        loop {
            let recent = RecentBlocks::of(&outcome)?;
            let is_lacking = ListGaps::of(&self.blocklist, [request.tenant.as_str()]).any();
            let listed = self.blocklist.tenant(&request.tenant);
            let is_outdated = has_other_new_blocks(&listed, &known, &recent);
            if is_outdated && rounds < MAX_ROUNDS {
                known = listed;
                looked_up = LookedUp::default();
                request.stored_traces.clear();
                request.block_times = self.block_times(&known, window, grid);
            } else {
                let uncounted = self.uncounted_blocks(&known, request, window, &recent);
                let mut is_settled = looked_up.covers(&uncounted, &outcome);
                if !is_settled {
                    let (stored, is_whole) =
                        self.spans_sent_again(&request.tenant, &outcome, &uncounted, grid).await?;
                    is_exact &= is_whole;
                    is_settled = sent_again::leaves_out(&request.stored_traces, &stored, &outcome);
                    request.stored_traces = stored;
                }
                if is_settled || rounds == MAX_ROUNDS {
                    is_exact &= is_settled && !is_outdated && !is_lacking;
                    let counted = recent.counted.iter().filter(|&&id| known.has_live(id)).count();
                    return Ok(Settled { outcome, counted, uncounted, is_exact });
                }
                looked_up = LookedUp::of(&uncounted, &outcome);
            }
            rounds += 1;
            outcome = ask(&self.queue, request.clone()).await?;
        }
    }

    /// What ingesters are told of the blocks that may be read.
    fn block_times(
        &self,
        listed: &TenantBlocks,
        window: (i64, i64),
        grid: &Grid,
    ) -> Vec<BlockTime> {
        let selected = select(listed, window, self.settings.blocklist_poll);
        sent_again::times_of_sources(listed, &selected, grid)
    }

    /// The blocks to read for a request. `known`: the block list before the ingesters were asked.
    ///
    /// A block that appeared meanwhile is read itself, even if a compactor has already merged it into another one. Of
    /// that merged block, the older inputs are read.
    fn uncounted_blocks(
        &self,
        known: &TenantBlocks,
        request: &MetricsRequest,
        window: (i64, i64),
        recent: &RecentBlocks,
    ) -> Vec<QueryBlock> {
        let poll = self.settings.blocklist_poll;
        let mut blocks = select_uncounted(known, &recent.counted, window, poll);
        let listed = self.blocklist.tenant(&request.tenant);
        blocks.append(&mut select_new(recent.released.iter().copied(), known, &listed, window));
        blocks
    }
}

impl RecentBlocks {
    fn of(outcome: &Outcome<MetricsResponse>) -> Result<Self> {
        let Outcome::Answer(answer) = outcome else { return Ok(Self::default()) };
        let parse = |ids: &[String]| -> Result<HashSet<Uuid>> {
            let wrong = |id| Error::Internal(format!("not a block id: {id}"));
            ids.iter().map(|id| Uuid::parse_str(id).map_err(|_| wrong(id))).collect()
        };
        Ok(Self {
            counted: parse(&answer.counted_block_ids)?,
            released: parse(&answer.released_block_ids)?,
        })
    }
}

/// True if ingesters wrote blocks since `known` whose spans they do not count.
fn has_other_new_blocks(
    listed: &TenantBlocks,
    known: &TenantBlocks,
    recent: &RecentBlocks,
) -> bool {
    if std::ptr::eq(listed, known) {
        return false;
    }
    let compacted = listed.compacted().iter().map(|block| &block.meta);
    let is_other = |id| known.meta(id).is_none() && !recent.counted.contains(&id);
    let mut written = listed
        .live()
        .iter()
        .map(|meta| &**meta)
        .chain(compacted)
        .filter(|meta| meta.compaction_level == 0);
    written.any(|meta| is_other(meta.block_id))
}
