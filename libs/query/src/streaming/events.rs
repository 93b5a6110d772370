//! Queries as server-sent events, for pages: they cannot speak gRPC.
//!
//! A stream has events `difference` with what is new or changed, at the end `complete` with the whole answer, or
//! `failed` with the reason. Each holds the JSON of an answer to the query.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, unfold};
use tactus_api::json;
use tactus_api::metrics::{instant_response, range_response};
use tactus_api::request::{MetricsQuery, RequestedTag, SearchQuery, TagValuesQuery, TagsQuery};
use tactus_api::{Encoding, Error, Result};
use tactus_model::TenantId;
use tactus_server::bodies::{Bodies, NoRoom, Outgoing, next_piece};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::{names_shown, values_shown};
use crate::current_query::as_part_of_query;
use crate::event_stream::{self, event, keep_alive, long_event};
use crate::frontend::Frontend;
use crate::metrics_query::SeriesAnswer;
use crate::offload::offload;
use crate::progress::outlet::{Answers, Last, Outlet, start, status};
use crate::progress::{MetricsProgress, SearchProgress, Weight};
use crate::query_line::QueryLine;
use crate::search::SearchAnswer;
use crate::tags::{TagValuesAnswer, TagsAnswer, written};

/// A client that hears nothing for this long may think that we are gone.
const SILENCE: Duration = Duration::from_secs(15);

/// Longer differences are encoded away from the threads that serve connections.
const SHORT_BYTES: usize = 64 << 10;

/// What a partial answer says.
const UNREAD: &str = "Some data could not be read, a partial response is returned.";

/// A query of somebody, to be answered as events.
pub(crate) struct EventCall {
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) tenants: Vec<TenantId>,
    /// Ends with the query.
    pub(crate) _line: Option<Arc<QueryLine>>,
}

/// The whole answer to a query, which says itself that it is partial.
struct Whole {
    json: Vec<u8>,
    /// Something could not be read.
    partial: bool,
}

impl Whole {
    /// Of an answer that over HTTP has a header for that.
    fn of_unmarked(mut json: Vec<u8>, partial: bool) -> Self {
        if partial && json.pop_if(|last| *last == b'}').is_some() {
            let comma = if json.ends_with(b"{") { "" } else { "," };
            let mark = format!(r#"{comma}"status":"PARTIAL","message":"{UNREAD}"}}"#);
            json.extend_from_slice(mark.as_bytes());
        }
        Self { json, partial }
    }
}

impl EventCall {
    fn packet_bytes(&self) -> usize {
        self.frontend.settings.section.max_grpc_streaming_packet_size
    }

    /// Runs a search. Differences hold traces that are new or changed.
    pub(crate) fn search(self, query: SearchQuery) -> Response {
        let write = |answer: &_| json::search_response(answer, None);
        self.events(write, async move |call, outlet| {
            let progress = SearchProgress::new(outlet, call.packet_bytes(), false);
            let search = call.frontend.search_with(&call.tenants, &query, Some(progress));
            let found = search.await?;
            let memory = &call.frontend.memory;
            let _written = found.memory_of_written(memory, Encoding::Json).await?;
            let is_long = found.is_long();
            let SearchAnswer { response, partial, explanation, memory: _held } = found;
            let json = move || json::search_response(&response, explanation.as_deref());
            Ok(Whole::of_unmarked(offload(is_long, json).await?, partial))
        })
    }

    /// Runs a query for tag names. Differences hold names that are new; `make` and `write` are the form of the answer.
    pub(crate) fn tags<M: Weight + 'static>(
        self,
        query: TagsQuery,
        make: impl Fn(TagsAnswer) -> M + Copy + Send + Sync + 'static,
        write: impl Fn(&M) -> Vec<u8> + Copy + Send + Sync + 'static,
    ) -> Response {
        self.events(write, async move |call, outlet| {
            let observer = names_shown(outlet, move |found| vec![make(found)]);
            let found = call.frontend.tags_with(&call.tenants, &query, Some(observer)).await?;
            let (bytes, partial) = (found.bytes_to_write(), found.partial);
            let json = written(&call.frontend.memory, bytes, move || write(&make(found)));
            Ok(Whole::of_unmarked(json.await?, partial))
        })
    }

    /// Runs a query for the values of a tag, as [`Self::tags`]. `typed`: see [`Frontend::tag_values`].
    pub(crate) fn tag_values<M: Weight + 'static>(
        self,
        (tag, query): (RequestedTag, TagValuesQuery),
        typed: bool,
        make: impl Fn(TagValuesAnswer) -> M + Copy + Send + Sync + 'static,
        write: impl Fn(&M) -> Vec<u8> + Copy + Send + Sync + 'static,
    ) -> Response {
        self.events(write, async move |call, outlet| {
            let observer = values_shown(outlet, move |found| vec![make(found)]);
            let values =
                call.frontend.tag_values_with(&call.tenants, &tag, &query, typed, Some(observer));
            let found = values.await?;
            let (bytes, partial) = (found.bytes_to_write(), found.partial);
            let json = written(&call.frontend.memory, bytes, move || write(&make(found)));
            Ok(Whole::of_unmarked(json.await?, partial))
        })
    }

    /// Runs a metrics query. Differences hold points of steps that no job counts in any more, of an instant query all
    /// series as they are. `compact`: as [`json::compact_series`], if it is no instant query.
    pub(crate) fn metrics(self, query: MetricsQuery, compact: bool) -> Response {
        let packet_bytes = self.packet_bytes();
        if query.is_instant {
            let write = |answer: &_| json::instant_response(answer, None);
            return self.events(write, async move |call, outlet| {
                let progress = MetricsProgress::of_instant(&query.root, outlet, packet_bytes);
                call.series(&query, progress, instant_json).await
            });
        }
        let step = query.step;
        let write = move |answer: &_| match compact {
            true => json::compact_series(answer, step, None),
            false => json::range_response(answer, None),
        };
        self.events(write, async move |call, outlet| {
            let progress = MetricsProgress::of_range(&query.root, outlet, packet_bytes);
            call.series(&query, progress, move |found| range_json(found, compact)).await
        })
    }

    async fn series(
        &self,
        query: &MetricsQuery,
        progress: MetricsProgress,
        write: impl FnOnce(SeriesAnswer) -> Vec<u8> + Send + 'static,
    ) -> Result<Whole> {
        let found = self.frontend.query_metrics_with(&self.tenants, query, Some(progress)).await?;
        let partial = found.partial;
        Ok(Whole { json: found.written(&self.frontend.memory, write).await?, partial })
    }

    /// The events of a query that `run` starts; `write` makes the JSON of a difference.
    fn events<M, F>(
        self,
        write: impl Fn(&M) -> Vec<u8> + Send + Sync + 'static,
        run: impl FnOnce(Self, Outlet<M>) -> F,
    ) -> Response
    where
        M: Weight + 'static,
        F: Future<Output = Result<Whole>> + Send + 'static,
    {
        let every = self.frontend.settings.section.streaming_interval.as_std();
        let memory = Arc::clone(&self.frontend.memory);
        let (whole, complete) = oneshot::channel();
        let tenants = self.tenants.clone();
        let answers = start(&tenants, every, &memory, |outlet| {
            let memory = Arc::clone(&memory);
            let query = run(self, outlet);
            async move {
                let Whole { json, partial } = query.await?;
                let (bytes, parts) = parts("complete", json);
                let last = Outgoing::hold(&memory, bytes, parts).await;
                // Fails if the client left.
                let _ = whole.send(last.map_err(|NoRoom| Error::TooManyBytes)?);
                Ok(Last { packets: Vec::new(), partial })
            }
        });
        let complete = Some(complete);
        let events =
            Events { tenants, memory, answers, complete, write: Arc::new(write), sending: None };
        event_stream::response(unfold(events, async |mut events| {
            let next = events.next().await?;
            Some((next, events))
        }))
    }
}

/// An instant query's answer as JSON.
pub(crate) fn instant_json(found: SeriesAnswer) -> Vec<u8> {
    let SeriesAnswer { answer, facts, explanation, .. } = found;
    json::instant_response(&instant_response(answer, facts), explanation.as_deref())
}

/// A range query's answer as JSON; `compact`: as [`json::compact_series`].
pub(crate) fn range_json(found: SeriesAnswer, compact: bool) -> Vec<u8> {
    let SeriesAnswer { answer, grid, facts, explanation, .. } = found;
    let response = range_response(answer, &grid, facts);
    match compact {
        true => json::compact_series(&response, grid.step(), explanation.as_deref()),
        false => json::range_response(&response, explanation.as_deref()),
    }
}

/// An event that waits for its reader, in small pieces. It is dropped when others need its memory.
struct SentEvent {
    parts: Outgoing<VecDeque<Bytes>>,
    is_begun: bool,
}

/// The parts of an event, and their bytes.
fn parts(name: &str, mut json: Vec<u8>) -> (u64, VecDeque<Bytes>) {
    let bytes = json.len() as u64;
    if json.len() < SHORT_BYTES {
        return (bytes, VecDeque::from([event(name, &json).into()]));
    }
    // What was reserved in vain is not counted.
    json.shrink_to_fit();
    (bytes, VecDeque::from(long_event(name, json)))
}

fn next_of_parts(parts: &mut VecDeque<Bytes>) -> Option<Bytes> {
    while parts.front().is_some_and(Bytes::is_empty) {
        parts.pop_front();
    }
    parts.front_mut().map(next_piece)
}

/// The events of a stream.
struct Events<M, W> {
    tenants: Vec<TenantId>,
    memory: Arc<Bodies>,
    answers: Answers<M>,
    /// Where the whole answer comes; `None` once there is no further event.
    complete: Option<oneshot::Receiver<Outgoing<VecDeque<Bytes>>>>,
    write: Arc<W>,
    sending: Option<SentEvent>,
}

impl<M, W> Events<M, W>
where
    M: Weight + 'static,
    W: Fn(&M) -> Vec<u8> + Send + Sync + 'static,
{
    /// What is to be sent next; `None` at the end. Errors: others needed the memory of an event of which a part was sent.
    async fn next(&mut self) -> Option<std::result::Result<Bytes, NoRoom>> {
        loop {
            if let Some(sending) = &mut self.sending {
                match sending.parts.with(next_of_parts) {
                    Some(Some(piece)) => {
                        sending.is_begun = true;
                        return Some(Ok(piece));
                    }
                    Some(None) => self.sending = None,
                    None => {
                        let is_begun = sending.is_begun;
                        (self.sending, self.complete) = (None, None);
                        let last = failed(&status(&Error::TooManyBytes)).into();
                        return Some(if is_begun { Err(NoRoom) } else { Ok(last) });
                    }
                }
            }
            let complete = self.complete.as_mut()?;
            let status = match tokio::time::timeout(SILENCE, self.answers.next()).await {
                Err(_) => return Some(Ok(keep_alive().into())),
                Ok(Some(Ok(difference))) => {
                    self.sending = self.difference(difference).await;
                    continue;
                }
                Ok(Some(Err(status))) => Some(status),
                Ok(None) => None,
            };
            // The stream of a partial answer ends with a status that says so, and is complete nevertheless.
            let failure = status.filter(|status| status.code() != Code::Ok);
            let last = (failure, complete.await);
            self.complete = None;
            match last {
                (None, Ok(parts)) => self.sending = Some(SentEvent { parts, is_begun: false }),
                (Some(status), _) => return Some(Ok(failed(&status).into())),
                (None, Err(_)) => {
                    let status = Status::internal("the query broke off");
                    return Some(Ok(failed(&status).into()));
                }
            }
        }
    }

    /// An event with what is new. None if there is no memory for it: the complete answer has everything.
    async fn difference(&self, message: M) -> Option<SentEvent> {
        let is_long = message.heap_bytes() > SHORT_BYTES;
        let write = Arc::clone(&self.write);
        let made = offload(is_long, move || parts("difference", write(&message)));
        let (bytes, parts) = as_part_of_query(&self.tenants, made).await.ok()?;
        let parts = Outgoing::try_hold(&self.memory, bytes, parts).ok()?;
        Some(SentEvent { parts, is_begun: false })
    }
}

fn failed(status: &Status) -> Vec<u8> {
    let body = serde_json::json!({ "message": status.message() });
    event("failed", body.to_string().as_bytes())
}
