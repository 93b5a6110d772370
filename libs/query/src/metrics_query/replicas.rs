//! Counts recent data of which ingesters and blocks have several copies.
//!
//! First the ingesters report which origins they have. Then the block list is read, so that it has every block whose
//! spans an ingester had released by then. Each ingester is told what the others and the blocks have, and counts the
//! rest. If an ingester has meanwhile released spans that it would have to count, it says so, and all ingesters are
//! asked again. If one does not answer, the others are asked again without it.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::try_join_all;
use tactus_api::Result;
use tactus_model::OriginSet;
use tactus_proto::tactus::v1::{
    HoldingsRequest, HoldingsResponse, MetricsRequest, MetricsResponse,
};
use tactus_storage::Uuid;
use tactus_storage::blocklist::{ListGaps, TenantBlocks};
use tactus_storage::meta::block_origin;
use tactus_traceql::metrics::Grid;
use tonic::Code;

use super::overlaps::Origins;
use super::sent_again::LookedUp;
use super::{State, kept, plan, sent_again};
use crate::blocks::{QueryBlock, add_with_sources, select};
use crate::frontend::Frontend;
use crate::jobs::{Outcome, outcome};

/// How often ingesters are asked at most. They keep spans for minutes after these are in a block, so once is enough
/// unless the query takes as long.
const MAX_ROUNDS: usize = 3;

/// The request to the ingesters of a tenant, and the blocks that go with it.
struct Round {
    /// Without holders, no ingester is asked.
    request: MetricsRequest,
    blocks: Vec<QueryBlock>,
    /// Spans may be missing because an ingester refused them, or the block list lacks what one has released.
    partial: bool,
}

impl Frontend {
    /// Counts recent data; returns the blocks to read, for each request.
    pub(super) async fn count_replicas(
        &self,
        requests: &[MetricsRequest],
        window: (i64, i64),
        grid: &Grid,
        state: &mut State,
    ) -> Result<Vec<Vec<QueryBlock>>> {
        state.work.metrics.total_jobs += requests.len() as u32;
        let mut blocks = vec![Vec::new(); requests.len()];
        let mut partial = vec![false; requests.len()];
        let mut waiting: Vec<usize> = (0..requests.len()).collect();
        let mut silent = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let held = self.ask_holdings(requests, &waiting, &silent).await?;
            let (mut numbers, mut asked) = (Vec::new(), Vec::new());
            for (number, held) in std::mem::take(&mut waiting).into_iter().zip(held) {
                let round = self.plan_round(&requests[number], held, window, grid);
                partial[number] = round.partial;
                blocks[number] = round.blocks;
                if round.request.holders.is_empty() {
                    state.work.metrics.total_jobs -= 1;
                } else {
                    numbers.push(number);
                    asked.push(round.request);
                }
            }
            let answers = self.ask_holders(&asked).await?;
            for ((number, mut request), mut outcome) in numbers.into_iter().zip(asked).zip(answers)
            {
                let (read, mut looked_up) = (&blocks[number], LookedUp::default());
                for round in 1.. {
                    let Some(answer) = &outcome else { break };
                    // A client may send spans again while they are compared.
                    if looked_up.covers(read, answer) {
                        break;
                    }
                    let (stored, is_whole) =
                        self.spans_sent_again(&request.tenant, answer, read, grid).await?;
                    state.work.partial |= !is_whole;
                    if sent_again::leaves_out(&request.stored_traces, &stored, answer) {
                        break;
                    }
                    if round > MAX_ROUNDS {
                        state.work.partial = true;
                        break;
                    }
                    looked_up = LookedUp::of(read, answer);
                    request.stored_traces = stored;
                    let requests = std::slice::from_ref(&request);
                    outcome = self.ask_holders(requests).await?.pop().flatten();
                }
                match outcome {
                    None => waiting.push(number),
                    Some(Outcome::Answer(answer)) if !answer.silent_ingesters.is_empty() => {
                        silent.extend(answer.silent_ingesters);
                        waiting.push(number);
                    }
                    Some(outcome) => {
                        let outcome = state.sum.clone().add(outcome).await?;
                        let _ = self.take_work(state, outcome)?;
                    }
                }
            }
            if waiting.is_empty() {
                state.work.partial |= partial.contains(&true);
                return Ok(blocks);
            }
        }
        tracing::warn!(
            "ingesters released spans or failed each time a metrics query asked for them: the answer lacks recent data"
        );
        state.work.partial = true;
        Ok(blocks)
    }

    /// Asks ingesters to count what they hold. `None`: they have to be asked again.
    async fn ask_holders(
        &self,
        requests: &[MetricsRequest],
    ) -> Result<Vec<Option<Outcome<MetricsResponse>>>> {
        let ask = |request: &MetricsRequest| {
            let (queue, request) = (self.queue.clone(), request.clone());
            async move {
                match queue.ask(request).await {
                    Err(status) if status.code() == Code::Aborted => Ok(None),
                    answer => outcome(answer).map(Some),
                }
            }
        };
        try_join_all(requests.iter().map(ask)).await
    }

    async fn ask_holdings(
        &self,
        requests: &[MetricsRequest],
        waiting: &[usize],
        silent: &BTreeSet<String>,
    ) -> Result<Vec<Outcome<HoldingsResponse>>> {
        let request = |&number: &usize| HoldingsRequest {
            tenant: requests[number].tenant.clone(),
            without_ingesters: silent.iter().cloned().collect(),
            ..HoldingsRequest::default()
        };
        let asked: Vec<_> = waiting.iter().map(request).collect();
        self.ask_all(&asked).await
    }

    fn plan_round(
        &self,
        request: &MetricsRequest,
        held: Outcome<HoldingsResponse>,
        window: (i64, i64),
        grid: &Grid,
    ) -> Round {
        let (mut holders, mut partial) = match held {
            Outcome::Answer(held) => (held.holders, held.partial),
            Outcome::Damaged => (Vec::new(), true),
        };
        // Before the list is read: it may get older, and also newer.
        let is_lacking = ListGaps::of(&self.blocklist, [request.tenant.as_str()]).any();
        let listed = self.blocklist.tenant(&request.tenant);
        let blocks = select(&listed, window, self.settings.blocklist_poll);
        let read = blocks.iter().filter(|block| plan::is_read(block, grid));
        let stored = Stored::of(&listed, read.map(|block| block.block_id));
        let complete = all_of(holders.iter().map(|holder| &holder.complete));
        // Others refused spans of the same push, too, or have what is missing in the block.
        let is_refused = stored.incomplete.intersects(&complete);
        let mut held = all_of(holders.iter().map(|holder| &holder.incomplete));
        held.unite(&complete);
        // Of too many traces an ingester names none: then all go by the first that has an origin.
        if partial {
            holders.iter_mut().for_each(|holder| holder.kept.clear());
        }
        kept::leave_differing(&mut holders);
        partial |= is_refused || is_lacking;
        let request = MetricsRequest {
            holders,
            stored_origins: stored.among(&held).bounds(),
            thinned_origins: stored.thinned.intersection(&held).bounds(),
            block_times: sent_again::block_times(&blocks, grid),
            ..request.clone()
        };
        Round { request, blocks, partial }
    }
}

/// Adds the origins of which a block has spans. Blocks that have spans of one origin have copies of the same spans.
pub(super) fn add_origins(listed: &TenantBlocks, block: Uuid, out: &mut Vec<Origins>) {
    if let Some(meta) = listed.meta(block) {
        let (complete, incomplete) = meta.origins();
        out.extend_from_slice(complete.ranges());
        out.extend_from_slice(incomplete.ranges());
    }
}

/// The origins of all ingesters together. Invalid bounds count as nothing; the ingester refuses them.
fn all_of<'h>(holders: impl Iterator<Item = &'h Vec<u64>>) -> OriginSet {
    let mut ranges = Vec::new();
    for bounds in holders {
        ranges.extend_from_slice(OriginSet::from_bounds(bounds).unwrap_or_default().ranges());
    }
    OriginSet::from_ranges(ranges)
}

/// The origins of blocks.
#[derive(Debug, Default)]
struct Stored {
    complete: OriginSet,
    /// Of these an ingester refused spans that others may have taken. They count as stored: replicas refuse about the same.
    incomplete: OriginSet,
    /// Of the complete ones, those that no block has without a trace dropped by tail sampling.
    thinned: OriginSet,
    /// Those that stand for spans without one, of the blocks and all that they were made of.
    of_blocks: OriginSet,
}

impl Stored {
    fn of(listed: &TenantBlocks, read: impl Iterator<Item = Uuid>) -> Self {
        let (mut complete, mut incomplete) = (Vec::new(), Vec::new());
        let (mut thinned, mut whole) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for meta in read.filter_map(|id| listed.meta(id)) {
            complete.extend_from_slice(meta.origins().0.ranges());
            incomplete.extend_from_slice(meta.origins().1.ranges());
            thinned.extend_from_slice(meta.thinned_origins().ranges());
            whole.extend_from_slice(meta.origins().0.without(meta.thinned_origins()).ranges());
            add_with_sources(listed, meta.block_id, &mut seen);
        }
        let complete = OriginSet::from_ranges(complete);
        Self {
            incomplete: OriginSet::from_ranges(incomplete).without(&complete),
            thinned: OriginSet::from_ranges(thinned).without(&OriginSet::from_ranges(whole)),
            complete,
            of_blocks: seen.into_iter().map(block_origin).collect(),
        }
    }

    /// As far as an ingester may have them.
    fn among(&self, held: &OriginSet) -> OriginSet {
        let mut stored = self.complete.clone();
        stored.unite(&self.incomplete);
        let mut stored = stored.intersection(held);
        stored.unite(&self.of_blocks);
        stored
    }
}
