//! Search over recent data and blocks.

mod answer;
mod selection;
mod state;

use std::cmp::Reverse;
use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_api::explain::{ExplainedWindow, Plan};
use tactus_api::request::{SearchKind, SearchQuery, TagConditions};
use tactus_api::search::SearchCombiner;
use tactus_api::{Error, Result, Window};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::{
    BlockPart, SearchBlockRequest, SearchRequest, SearchResponse as JobAnswer, SoFar,
};
use tactus_storage::Uuid;
use tactus_traceql::eval::CompiledQuery;
use tactus_traceql::is_short;
use tactus_work::Held;
use tokio::time::sleep;

use crate::blocks::{KnownBlocks, QueryBlock};
use crate::frontend::Frontend;
use crate::jobs::{Jobs, Running, ask};
use crate::metrics::SEARCH;
use crate::offload::offload;
use crate::progress::SearchProgress;
use crate::query_log::Asked;
use crate::so_far::{HEAD_START, Looks, TELL_EVERY};
use crate::work::{Cost, Work};
pub use answer::SearchAnswer;
use selection::Selection;
use state::State;

/// Jobs of a search for the newest traces that run at first. With each answer that does not have them all there are twice
/// as many.
const FIRST_JOBS: usize = 2;

struct Job {
    /// Waiting jobs may be very many, and the text of a query long.
    search: Arc<SearchRequest>,
    part: BlockPart,
    block_id: Uuid,
    /// No span of the block starts later; unix nanoseconds.
    block_end: u64,
}

impl Frontend {
    /// Answers a search for these tenants.
    pub async fn search(&self, tenants: &[TenantId], query: &SearchQuery) -> Result<SearchAnswer> {
        self.search_with(tenants, query, None).await
    }

    /// Answers a search, and shows intermediate results.
    pub(crate) async fn search_with(
        &self,
        tenants: &[TenantId],
        query: &SearchQuery,
        progress: Option<SearchProgress>,
    ) -> Result<SearchAnswer> {
        let inspected = |answer: &SearchAnswer| {
            answer.response.metrics.as_ref().map_or(0, |metrics| metrics.inspected_bytes)
        };
        let run = self.run_search(tenants, query, progress);
        let mut asked = asked(query);
        if let Ok(window) = query.range.window(&self.window_rules()) {
            asked = asked.within(window.start, window.end);
        }
        self.counted(tenants, SEARCH, asked, run, inspected).await
    }

    /// What a search may read at most. Errors: the search would be refused.
    pub(crate) fn search_cost(&self, tenants: &[TenantId], query: &SearchQuery) -> Result<Cost> {
        let (window, _) = self.checked_window(tenants, &query.range)?;
        let seconds = (window.start_seconds().into(), window.end_seconds().into());
        Ok(self.cost(tenants, seconds, self.settings.section.search.target_bytes_per_job))
    }

    async fn run_search(
        &self,
        tenants: &[TenantId],
        query: &SearchQuery,
        progress: Option<SearchProgress>,
    ) -> Result<SearchAnswer> {
        let (window, limits) = self.checked_window(tenants, &query.range)?;
        let _admitted = self.admit(tenants)?;
        let combiner = SearchCombiner::new(query.limit)
            .pads_ids(limits.left_pad_trace_ids)
            .shows_spans(query.spans_per_span_set);
        let combiner = match &progress {
            None => combiner,
            Some(progress) if progress.adds_up => combiner.watches_changes().keeps_what_was_shown(),
            Some(_) => combiner.watches_changes(),
        };
        let mut state = State {
            combiner,
            held: Held::default(),
            held_bytes: 0,
            work: self.new_work(tenants),
            most_recent: false,
            progress,
        };
        if let SearchKind::TraceQl { text, root } = &query.kind {
            let root = root.clone();
            let look = move || {
                let compiled = CompiledQuery::compile(&root);
                compiled.map(|query| (query.most_recent(), query.is_never()))
            };
            let (most_recent, is_never) = offload(!is_short(text), look)
                .await?
                .map_err(|error| Error::NotImplemented(error.to_string()))?;
            state.most_recent = most_recent;
            if is_never {
                return Ok(self.finish_search(state, query, &window));
            }
        }
        if window.is_empty() {
            return Ok(self.finish_search(state, query, &window));
        }
        let searches: Vec<_> =
            tenants.iter().map(|tenant| request(tenant, query, &window, &state)).collect();
        let seconds = (window.start_seconds().into(), window.end_seconds().into());
        if state.progress.is_some() {
            let bytes = self.settings.section.search.target_bytes_per_job;
            state.work.expect_jobs(self.jobs_on_blocks(tenants, seconds, bytes));
        }
        let known: Vec<_> =
            searches.iter().map(|search| self.known_blocks(&search.tenant, seconds, 0)).collect();
        let is_selective = matches!(query.kind, SearchKind::TraceQl { .. }) && !query.explain;
        let in_flight = self.jobs_in_flight(self.settings.section.search.concurrent_jobs);
        let selection = Selection::new(&self.queue, in_flight, is_selective);
        self.search_all(&searches, &known, selection, &mut state).await?;
        if query.explain {
            let read = state.work.metrics.total_blocks as usize;
            let all = self.count_blocks(tenants);
            state.work.skip_blocks("outside the time range", all.saturating_sub(read));
        }
        Ok(self.finish_search(state, query, &window))
    }

    /// Searches the ingesters and the blocks.
    ///
    /// After the ingesters have answered, all blocks are known, because spans that an ingester released meanwhile are
    /// in a block by then. Blocks that were known before are read whatever the ingesters say. So a stream, whose client
    /// waits for the first result, reads these blocks without waiting for the ingesters. Other searches wait, because
    /// recent data alone may be enough.
    async fn search_all(
        &self,
        searches: &[SearchRequest],
        known: &[KnownBlocks],
        mut selection: Selection,
        state: &mut State,
    ) -> Result<()> {
        let is_stream = state.progress.is_some();
        let pending = state.progress.as_ref().map(|progress| progress.pending.clone());
        let run = |Job { search, part, block_end, .. }| {
            let (search, part) = (Some(SearchRequest::clone(&search)), Some(part));
            let running = self.run_on_block(SearchBlockRequest { search, part });
            match &pending {
                Some(pending) => pending.track(block_end, running),
                None => running,
            }
        };
        let most = self.jobs_in_flight(self.settings.section.search.concurrent_jobs);
        // The newest blocks may have all that is wanted: those behind them would be read for nothing.
        let first = if state.most_recent { most.min(FIRST_JOBS) } else { most };
        let mut jobs = Jobs::new(first, run);
        state.work.metrics.total_jobs += searches.len() as u32;
        let mut recent = self.search_recent(searches, known, state.shows_as_found());
        let mut looks = self.looks(searches, state.shows_as_found());
        let mut head_start = pin!(sleep(HEAD_START));
        let mut reads_known = false;
        loop {
            jobs.start(|job| state.wants(job));
            selection.start(jobs.left(|job| state.wants(job)), |job| state.wants(job));
            let is_recent_left = !recent.is_empty();
            let outcome = tokio::select! {
                biased;
                Some(outcome) = recent.next(), if is_recent_left => outcome?,
                Some(outcome) = jobs.next(), if !jobs.is_idle() => {
                    jobs.double_in_flight(most);
                    outcome?
                }
                Some(selected) = selection.next(), if !selection.is_idle() => {
                    if let Some(pending) = &pending {
                        pending.leave_out(selected.needless.iter().map(|job| job.block_end));
                    }
                    state.leave_out(&selected)?;
                    jobs.add(selected.jobs);
                    if selected.is_futile {
                        jobs.add(selection.give_up());
                    }
                    jobs.sort_by_key(|job| Reverse(job.block_end));
                    continue;
                }
                () = &mut head_start, if is_stream && is_recent_left && !reads_known => {
                    reads_known = true;
                    let blocks = known.iter().map(|known| known.selected().to_vec());
                    let new = self.search_jobs(searches, blocks, is_stream, &mut state.work);
                    if let Some(pending) = &pending {
                        pending.add(new.iter().map(|job| job.block_end));
                    }
                    jobs.add(selection.take(new));
                    continue;
                }
                found = looks.next(), if is_recent_left => {
                    state.show(found.traces).await?;
                    continue;
                }
                () = sleep(TELL_EVERY), if is_stream
                    && (is_recent_left || !jobs.is_idle() || !selection.is_idle()) =>
                {
                    state.tell();
                    continue;
                }
                else => return Ok(()),
            };
            let flow = state.take(outcome).await?;
            state.work.check()?;
            if is_recent_left && recent.is_empty() {
                state.work.partial |= self.lacks_blocks(known);
                let blocks = known.iter().map(|known| self.blocks_left(known, reads_known));
                let is_awaited = is_stream && !reads_known && state.combiner.is_empty();
                let new = self.search_jobs(searches, blocks, is_awaited, &mut state.work);
                if let Some(pending) = &pending {
                    pending.plan(new.iter().map(|job| job.block_end));
                }
                jobs.add(selection.take(new));
                jobs.sort_by_key(|job| Reverse(job.block_end));
            }
            // The traces of ingesters are part of the answer, however many blocks have.
            if flow.is_break() {
                jobs.cancel();
                selection.cancel();
            }
        }
    }

    /// Has ingesters search what is in none of the known blocks. `is_shown`: as they find it.
    fn search_recent(
        &self,
        searches: &[SearchRequest],
        known: &[KnownBlocks],
        is_shown: bool,
    ) -> FuturesUnordered<Running<JobAnswer>> {
        let so_far = if is_shown { SoFar::Kept } else { SoFar::NotKept };
        let start = |(search, known): (&SearchRequest, &KnownBlocks)| {
            let stored_block_ids = known.ids();
            let search =
                SearchRequest { stored_block_ids, so_far: so_far.into(), ..search.clone() };
            ask(&self.queue, search)
        };
        searches.iter().zip(known).map(start).collect()
    }

    /// Asks ingesters what they have found so far, if it `is_shown`.
    fn looks(&self, searches: &[SearchRequest], is_shown: bool) -> Looks<SearchRequest> {
        let so_far = SoFar::Asked.into();
        let look = |search: &SearchRequest| SearchRequest { so_far, ..search.clone() };
        let searches = searches.iter().filter(|_| is_shown).map(look).collect();
        Looks::new(&self.queue, searches)
    }

    /// The jobs on these blocks of each search, the newest first. `is_awaited`: nothing was found yet and somebody waits for
    /// it, so the newest block is begun with small jobs.
    fn search_jobs(
        &self,
        searches: &[SearchRequest],
        blocks: impl Iterator<Item = Vec<QueryBlock>>,
        is_awaited: bool,
        work: &mut Work,
    ) -> Vec<Job> {
        let bytes = self.settings.section.search.target_bytes_per_job;
        let mut jobs = Vec::new();
        for (search, blocks) in searches.iter().zip(blocks) {
            work.plan_blocks(&blocks);
            let search = Arc::new(search.clone());
            for (number, block) in blocks.into_iter().enumerate() {
                let (block_id, block_end) = (block.block_id, block.last_nanosecond());
                let job = |part| Job { search: Arc::clone(&search), part, block_id, block_end };
                let parts = match is_awaited && number == 0 {
                    true => block.parts_that_grow(bytes),
                    false => block.parts(bytes),
                };
                jobs.extend(parts.into_iter().map(job));
            }
        }
        // Stable: the parts of a block stay in order. With one tenant the jobs are sorted already.
        jobs.sort_by_key(|job| Reverse(job.block_end));
        work.plan_jobs(jobs.len());
        jobs
    }

    fn finish_search(&self, state: State, query: &SearchQuery, window: &Window) -> SearchAnswer {
        let State { combiner, work, held, .. } = state;
        let response = combiner.finish(work.metrics);
        let partial = work.partial;
        let explanation = query.explain.then(|| {
            let (text, plan) = match &query.kind {
                SearchKind::TraceQl { root, .. } => (root.to_string(), Plan::of(root)),
                SearchKind::Tags(tags) => (String::new(), Plan::of_tags(conditions(tags))),
            };
            let window = ExplainedWindow { start: window.start, end: window.end, steps: None };
            let limits = vec![
                ("traces", query.limit.into()),
                ("spansPerSpanSet", query.spans_per_span_set.into()),
                ("bytesPerJob", self.settings.section.search.target_bytes_per_job),
                ("inspectedBytes", work.max_inspected_bytes()),
            ];
            work.explain(text, plan, window, limits)
        });
        SearchAnswer { response, partial, explanation, memory: Arc::new(held) }
    }
}

/// The search in the form that people are shown.
fn asked(query: &SearchQuery) -> Asked {
    match &query.kind {
        SearchKind::TraceQl { text, .. } => Asked::new(text.clone()),
        SearchKind::Tags(tags) => Asked::new(conditions(tags).join(" && ")),
    }
}

/// The conditions of a search by tags, in the words of the client.
fn conditions(tags: &TagConditions) -> Vec<String> {
    let mut texts: Vec<_> =
        tags.tags.iter().map(|(name, value)| format!(".{name} = {value:?}")).collect();
    for (bound, millis) in [(">=", tags.min_duration_ms), ("<=", tags.max_duration_ms)] {
        if millis > 0 {
            texts.push(format!("traceDuration {bound} {millis}ms"));
        }
    }
    texts
}

fn request(
    tenant: &TenantId,
    query: &SearchQuery,
    window: &Window,
    state: &State,
) -> SearchRequest {
    let mut request = SearchRequest {
        tenant: tenant.to_string(),
        start: window.start_seconds(),
        end: window.end_seconds(),
        limit: query.limit,
        spans_per_span_set: query.spans_per_span_set,
        most_recent: state.most_recent,
        explain: query.explain,
        ..SearchRequest::default()
    };
    match &query.kind {
        SearchKind::TraceQl { text, .. } => request.query.clone_from(text),
        SearchKind::Tags(conditions) => {
            request.tags.clone_from(&conditions.tags);
            request.min_duration_ms = conditions.min_duration_ms;
            request.max_duration_ms = conditions.max_duration_ms;
        }
    }
    request
}
