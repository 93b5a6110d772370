//! Counts recent data of which there is one copy.
//!
//! The blocks to read are those of the list before the ingesters were asked, without those that an ingester names because
//! it still counted their spans itself. A block that appears in the list meanwhile has spans that an ingester counted,
//! unless the ingester names it as one whose spans it had already released; or it is of an ingester that has left and was
//! not asked. So the others are asked again, for what they count now beside the new list.

use std::collections::HashSet;

use tactus_api::{Error, Result};
use tactus_proto::tactus::v1::{BlockTime, MetricsRequest, MetricsResponse};
use tactus_storage::Uuid;
use tactus_storage::blocklist::TenantBlocks;
use tactus_traceql::metrics::Grid;

use super::{State, sent_again};
use crate::blocks::{QueryBlock, select, select_new, select_uncounted};
use crate::frontend::Frontend;
use crate::jobs::{Outcome, ask};

/// How often ingesters are asked at most because blocks appeared. It is once, but for the moment in which one writes a block.
const MAX_ROUNDS: usize = 3;

/// What the ingesters of a tenant reported about its blocks.
#[derive(Debug, Default)]
struct RecentBlocks {
    /// Blocks whose spans they counted.
    counted: HashSet<Uuid>,
    /// Blocks whose spans they released a short time ago and did not count.
    released: HashSet<Uuid>,
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
        for ((request, mut known), mut outcome) in requests.iter_mut().zip(known).zip(outcomes) {
            let mut recent = RecentBlocks::of(&outcome)?;
            for _ in 1..MAX_ROUNDS {
                let listed = self.blocklist.tenant(&request.tenant);
                if !has_other_new_blocks(&listed, &known, &recent) {
                    break;
                }
                request.block_times = self.block_times(&listed, window, grid);
                known = listed;
                outcome = ask(&self.queue, request.clone()).await?;
                recent = RecentBlocks::of(&outcome)?;
            }
            let mut uncounted = self.uncounted_blocks(&known, request, window, &recent);
            let (stored, is_whole) =
                self.spans_sent_again(&request.tenant, &outcome, &uncounted, grid).await?;
            request.stored_traces = stored;
            state.work.partial |= !is_whole;
            // The spans that they share with blocks are known by now.
            request.block_times.clear();
            if !request.stored_traces.is_empty() {
                outcome = ask(&self.queue, request.clone()).await?;
                recent = RecentBlocks::of(&outcome)?;
                uncounted = self.uncounted_blocks(&known, request, window, &recent);
            }
            counted += recent.counted.iter().filter(|&&id| known.has_live(id)).count();
            blocks.push(uncounted);
            let outcome = state.sum.clone().add(outcome).await?;
            let _ = self.take_work(state, outcome)?;
        }
        state.work.skip_blocks("counted by an ingester", counted);
        Ok(blocks)
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

/// True if ingesters wrote blocks since `known` that the recent data does not tell of.
fn has_other_new_blocks(
    listed: &TenantBlocks,
    known: &TenantBlocks,
    recent: &RecentBlocks,
) -> bool {
    if std::ptr::eq(listed, known) {
        return false;
    }
    let compacted = listed.compacted().iter().map(|block| &block.meta);
    let is_other = |id| {
        known.meta(id).is_none() && !recent.counted.contains(&id) && !recent.released.contains(&id)
    };
    let mut written = listed
        .live()
        .iter()
        .map(|meta| &**meta)
        .chain(compacted)
        .filter(|meta| meta.compaction_level == 0);
    written.any(|meta| is_other(meta.block_id))
}
