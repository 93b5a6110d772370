//! Fetches whole traces, several at a time.

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use tactus_api::request::TraceQuery;
use tactus_api::trace::{SharedIds, WhenTooLarge};
use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::{TenantId, TraceId};
use tactus_proto::Shaped as _;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;

use super::{FoundId, WholeTrace, WholeTraces};
use crate::current_query::new_number;
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;
use crate::trace_by_id::{FoundTrace, Large, WaitForRoom};

/// Blocks are looked into that have spans this many seconds before or after those of a trace which the search has seen.
const AROUND_SECONDS: i64 = 600;

/// After a trace with more bytes, those that follow are fetched one at a time: several would wait for each other's memory.
const LARGE_BYTES: u64 = 1 << 20;

/// The error of a trace that does not fit into the memory of queries.
const TOO_LARGE: &str = "the trace needs more memory than a process has for all queries (limit: half of \
                         server.max_inflight_bytes); /api/v2/traces/{id} sends it in slices";

/// What came of traces that were shown one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Visited {
    /// Something could not be read or did not fit.
    pub(crate) partial: bool,
    pub(crate) inspected_bytes: u64,
}

impl Frontend {
    /// A trace with all its spans, and the ids that they were stored with. Errors: [`Error::NotFound`] if nobody has it, [`Error::Internal`] if that cannot be
    /// known because something could not be read.
    pub async fn whole_trace(&self, tenants: &[TenantId], id: TraceId) -> Result<WholeTrace> {
        let limits = (WhenTooLarge::Cut, Large::Whole);
        let found = self.find_part(tenants, id, as_stored(), limits).await.map_err(of_trace)?;
        let message = found.facts.message.clone();
        match whole(id, found).await? {
            Some(trace) => Ok(trace),
            None if message.is_empty() => Err(Error::NotFound),
            None => Err(Error::Internal(message)),
        }
    }

    /// These traces with all their spans, as of [`Self::whole_trace`], and the memory to decode one of them. Those for which there
    /// is none are left out, but for the first, and those that would not fit into the memory of queries or answers by themselves.
    /// Counts as one query of the tenants.
    pub async fn whole_traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &TraceLookups,
    ) -> Result<WholeTraces> {
        if ids.is_empty() {
            return Ok(WholeTraces::default());
        }
        let wanted: Vec<_> = ids.iter().map(|&id| (id, as_stored())).collect();
        let asked = Asked::new(format!("{} traces", ids.len()));
        let run = async {
            let _admitted = self.admit(tenants)?;
            let (mut all, mut too_large) = (WholeTraces::default(), false);
            let fetch = |wanted, number| self.fetch(tenants, wanted, number, Large::Whole, whole);
            let mut fetches = Fetches::new(&wanted, settings, fetch);
            while let Some((id, trace)) = fetches.next().await? {
                let Some(trace) = trace else {
                    all.missing.push(id);
                    continue;
                };
                let needed = trace.memory.bytes().saturating_add(trace.bytes_to_send());
                if needed > self.memory.max_answer_bytes() {
                    // To wait would not help. The others are shown without it.
                    fetches.visited.partial = true;
                    too_large = true;
                    continue;
                }
                let more = trace.bytes_to_send().saturating_sub(all.decoding.bytes());
                match all.decoding.clone().and(&self.memory, more).await {
                    Ok(decoding) => all.decoding = decoding,
                    Err(Error::TooManyBytes) if !all.traces.is_empty() => {
                        fetches.visited.partial = true;
                        break;
                    }
                    // Others that wait for memory may need what this trace takes.
                    Err(error) => {
                        drop(trace);
                        fetches.put_back(error).await?;
                        continue;
                    }
                }
                all.traces.push(trace);
            }
            if too_large && all.traces.is_empty() {
                return Err(Error::TooManyBytes);
            }
            Ok((all, fetches.visited))
        };
        let inspected = |(_, visited): &(_, Visited)| visited.inspected_bytes;
        let (all, visited) = self.counted(tenants, TRACES, asked, run, inspected).await?;
        Ok(WholeTraces { partial: visited.partial, ..all })
    }

    /// Shows what is made of the [`Large::HeadsOfAny`] of these traces, one after the other: of the first always, and of others
    /// as long as they fit into the bytes of an answer. They are looked for near the time at which the search has seen them.
    /// Counts as one query of the tenants.
    pub(crate) async fn visit_heads<T: Send + 'static>(
        &self,
        tenants: &[TenantId],
        found: &[FoundId],
        settings: &TraceLookups,
        asked: Asked,
        make: fn(&FoundTrace) -> Result<T>,
        mut visit: impl FnMut(T),
    ) -> Result<Visited> {
        if found.is_empty() {
            return Ok(Visited::default());
        }
        let wanted: Vec<_> = found.iter().map(|found| (found.id, near(found))).collect();
        let made = move |_, found: FoundTrace| async move {
            offload(found.trace.takes_long(), move || make(&found)).await?
        };
        let run = async {
            let _admitted = self.admit(tenants)?;
            let fetch =
                |wanted, number| self.fetch(tenants, wanted, number, Large::HeadsOfAny, made);
            let mut fetches = Fetches::new(&wanted, settings, fetch);
            while let Some((_, made)) = fetches.next().await? {
                visit(made);
            }
            Ok(fetches.visited)
        };
        self.counted(tenants, TRACES, asked, run, |visited| visited.inspected_bytes).await
    }

    async fn fetch<T, F: Future<Output = Result<T>>>(
        &self,
        tenants: &[TenantId],
        (id, query): (TraceId, TraceQuery),
        number: u64,
        large: Large,
        make: impl Fn(TraceId, FoundTrace) -> F,
    ) -> Result<Fetched<T>> {
        let limits = (WhenTooLarge::Cut, large);
        let find = Box::pin(self.find_admitted(tenants, id, query, limits));
        let found = self.within_limits_of(number, tenants, find).await?;
        let (size, is_partial) = (found.trace.bytes() as u64, found.facts.partial);
        let read = found.facts.inspected_bytes;
        Ok(Fetched { id, made: make(id, found).await?, size, is_partial, read })
    }
}

/// Fetches traces in order: the first alone, as nothing is known of their size, then several at a time, unless they are large.
struct Fetches<'w, R, F: Future> {
    wanted: &'w [(TraceId, TraceQuery)],
    /// So many of them came.
    came: usize,
    run: R,
    /// Of the query that they are to those who count what queries use. It is not the number of the whole, and another one after a
    /// fetch that found no memory, because that ends all that has its number.
    number: u64,
    /// The next ones.
    running: FuturesOrdered<F>,
    /// How many may run at a time.
    places: usize,
    settings: &'w TraceLookups,
    /// Until there is room for the first.
    wait: WaitForRoom,
    /// Bytes of those that came.
    bytes: u64,
    visited: Visited,
    /// Why a trace was left out that does not fit into the memory of queries.
    too_large: Option<Error>,
    /// There was no room for the last one.
    is_short: bool,
}

impl<'w, T, R, F> Fetches<'w, R, F>
where
    R: Fn((TraceId, TraceQuery), u64) -> F,
    F: Future<Output = Result<Fetched<T>>>,
{
    fn new(wanted: &'w [(TraceId, TraceQuery)], settings: &'w TraceLookups, run: R) -> Self {
        let (running, visited) = (FuturesOrdered::new(), Visited::default());
        let wait = WaitForRoom::to_begin();
        Self {
            wanted,
            came: 0,
            run,
            number: new_number(),
            running,
            places: 1,
            settings,
            wait,
            bytes: 0,
            visited,
            too_large: None,
            is_short: false,
        }
    }

    /// What was made of the next trace. `None` after the last, and after the last for which there is room. Errors: also if all that
    /// there are do not fit into the memory of queries.
    async fn next(&mut self) -> Result<Option<(TraceId, T)>> {
        let fetched = loop {
            let new = self.wanted.iter().skip(self.came).take(self.places).skip(self.running.len());
            let (run, number) = (&self.run, self.number);
            self.running.extend(new.map(|&wanted| run(wanted, number)));
            match self.running.next().await {
                None if self.bytes > 0 => return Ok(None),
                None => return self.too_large.take().map_or(Ok(None), Err),
                Some(Ok(fetched)) => break fetched,
                // What they need together may be too much.
                Some(Err(Error::TooManyBytes | Error::NeedsTooMuchMemory(_)))
                    if self.places > 1 =>
                {
                    self.one_at_a_time();
                }
                Some(Err(Error::TooManyBytes)) if self.bytes > 0 => {
                    if self.is_short {
                        return Ok(self.end());
                    }
                    self.is_short = true;
                    self.leave_out();
                }
                // To wait would not help. The others are shown without it.
                Some(Err(error @ Error::NeedsTooMuchMemory(_))) => {
                    self.leave_out();
                    self.too_large = Some(of_trace(error));
                }
                Some(Err(error)) => {
                    self.wait.after(error).await?;
                    self.one_at_a_time();
                }
            }
        };
        self.is_short = false;
        let Fetched { id, made, size, is_partial, read } = fetched;
        self.visited.inspected_bytes = self.visited.inspected_bytes.saturating_add(read);
        // The first one is always shown: else a large trace could not be found at all.
        let is_first = self.bytes == 0;
        self.bytes = self.bytes.saturating_add(size);
        let most = self.settings.max_answer_bytes;
        if most != 0 && self.bytes > most && !is_first {
            return Ok(self.end());
        }
        self.came += 1;
        if size > LARGE_BYTES {
            self.places = 1;
        } else if is_first {
            self.places = self.settings.concurrent_traces.max(1);
        }
        self.visited.partial |= is_partial;
        Ok(Some((id, made)))
    }

    /// Fetches the last trace again, which was the first, after a moment. Errors: as of [`WaitForRoom::after`].
    async fn put_back(&mut self, error: Error) -> Result<()> {
        self.one_at_a_time();
        (self.came, self.bytes) = (self.came.saturating_sub(1), 0);
        self.wait.after(error).await
    }

    /// Begins again with those that did not come, as another query.
    fn one_at_a_time(&mut self) {
        self.running = FuturesOrdered::new();
        (self.places, self.number) = (1, new_number());
    }

    /// Goes on without the next one.
    fn leave_out(&mut self) {
        self.one_at_a_time();
        self.came += 1;
        self.visited.partial = true;
    }

    /// The rest does not fit.
    fn end(&mut self) -> Option<(TraceId, T)> {
        self.visited.partial = true;
        None
    }
}

/// Says what helps if a trace needs too much memory.
fn of_trace(error: Error) -> Error {
    match error {
        Error::NeedsTooMuchMemory(_) => Error::NeedsTooMuchMemory(TOO_LARGE.to_owned()),
        error => error,
    }
}

/// All spans with the ids that they have.
fn as_stored() -> TraceQuery {
    TraceQuery { shared_ids: SharedIds::Kept, ..TraceQuery::default() }
}

/// Where the spans of a trace lie that a search has found.
fn near(found: &FoundId) -> TraceQuery {
    let seconds = |nanos: u64| i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    TraceQuery {
        // 0 would be unbounded.
        start: seconds(found.start).saturating_sub(AROUND_SECONDS).max(1),
        end: seconds(found.end).saturating_add(1 + AROUND_SECONDS),
        ..TraceQuery::default()
    }
}

/// What was made of a trace.
struct Fetched<T> {
    id: TraceId,
    made: T,
    /// Bytes of its messages.
    size: u64,
    is_partial: bool,
    /// Bytes read to find it.
    read: u64,
}

/// The trace that was found; `None` if nobody has it.
async fn whole(id: TraceId, found: FoundTrace) -> Result<Option<WholeTrace>> {
    if found.trace.is_empty() {
        return Ok(None);
    }
    let is_long = found.trace.takes_long();
    let encode = move || {
        let encoded = Bytes::from(found.trace.to_protobuf_v1());
        WholeTrace {
            id,
            spans: found.trace.spans(),
            decoded_bytes: TracesData::decoded_bytes(&encoded),
            truncated: found.trace.truncated,
            message: found.facts.message,
            memory: found.memory,
            encoded,
        }
    };
    offload(is_long, encode).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the traces that come, of 1 up to `last`, and whether that is said to be all. `fetch` is told of the
    /// trace and of the query.
    async fn come(last: u8, fetch: impl Fn(u8, u64) -> Result<()>) -> (Vec<u8>, bool) {
        let wanted: Vec<_> =
            (1..=last).map(|number| (TraceId([number; 16]), as_stored())).collect();
        let run = |(id, _): (TraceId, TraceQuery), query: u64| {
            let fetched = fetch(id.0[0], query);
            let found = move |()| Fetched { id, made: (), size: 1, is_partial: false, read: 0 };
            async move { fetched.map(found) }
        };
        let settings = TraceLookups { concurrent_traces: 4, ..TraceLookups::default() };
        let mut fetches = Fetches::new(&wanted, &settings, run);
        let mut came = Vec::new();
        while let Some((id, ())) = fetches.next().await.unwrap() {
            came.push(id.0[0]);
        }
        (came, fetches.visited.partial)
    }

    #[tokio::test]
    async fn fetches_are_one_query_until_one_ends_it() {
        let asked = std::cell::RefCell::new(Vec::new());
        let all = come(9, |_, query| {
            asked.borrow_mut().push(query);
            Ok(())
        });
        assert_eq!(all.await, ((1..=9).collect(), false));
        let mut queries = asked.take();
        queries.dedup();
        assert_eq!(queries.len(), 1);
        let ended = std::cell::RefCell::new(Vec::new());
        let most = come(9, |number, query| {
            if number == 3 {
                ended.borrow_mut().push(query);
            }
            match ended.borrow().contains(&query) {
                true => Err(Error::NeedsTooMuchMemory(String::new())),
                false => Ok(()),
            }
        });
        assert_eq!(most.await, (vec![1, 2, 4, 5, 6, 7, 8, 9], true));
    }

    #[tokio::test]
    async fn one_trace_without_room_hides_no_other_and_two_end_the_rest() {
        let without = |missing: &'static [u8]| {
            come(7, move |number, _| match missing.contains(&number) {
                true => Err(Error::TooManyBytes),
                false => Ok(()),
            })
        };
        assert_eq!(without(&[3]).await, (vec![1, 2, 4, 5, 6, 7], true));
        assert_eq!(without(&[3, 5]).await, (vec![1, 2, 4, 6, 7], true));
        assert_eq!(without(&[3, 4]).await, (vec![1, 2], true));
    }

    #[tokio::test(start_paused = true)]
    async fn trace_for_which_another_process_has_no_room_is_fetched_again() {
        let failed = std::cell::Cell::new(false);
        let all = come(7, |number, _| match number == 3 && !failed.replace(true) {
            true => Err(Error::Unavailable(tactus_work::memory::TOO_MANY_BYTES.to_owned())),
            false => Ok(()),
        });
        assert_eq!(all.await, ((1..=7).collect(), false));
    }
}
