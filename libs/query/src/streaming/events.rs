//! Queries as server-sent events, for pages: they cannot speak gRPC.
//!
//! A stream has events `difference` with what is new or changed, at the end `complete` with the whole answer, or
//! `failed` with the reason. Each holds the JSON of an answer to the query.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, unfold};
use prost::Message;
use tactus_api::json;
use tactus_api::metrics::{instant_response, range_response};
use tactus_api::request::{MetricsQuery, RequestedTag, SearchQuery, TagValuesQuery, TagsQuery};
use tactus_api::{Error, Result};
use tactus_model::TenantId;
use tactus_server::bodies::{AnswerMemory, NoRoom, held_bytes};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::outlet::{Answers, Last, Outlet, start};
use super::{MetricsProgress, SearchProgress, tags};
use crate::event_stream::{self, event, keep_alive};
use crate::frontend::Frontend;
use crate::metrics_query::SeriesAnswer;
use crate::offload::offload;
use crate::tags::{TagValuesAnswer, TagsAnswer};

/// A client that hears nothing for so long may think that we are gone.
const SILENCE: Duration = Duration::from_secs(15);

/// Answers with more points, or more traces, are encoded away from the threads that serve connections.
const INLINE_POINTS: usize = 10_000;
const INLINE_TRACES: usize = 200;

/// A query of somebody, to be answered as events.
pub(crate) struct EventCall {
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) tenants: Vec<TenantId>,
}

/// The whole answer to a query.
struct Whole {
    json: Vec<u8>,
    /// Something could not be read.
    partial: bool,
}

impl EventCall {
    fn packet_bytes(&self) -> usize {
        self.frontend.settings.streaming.max_packet_bytes
    }

    /// Runs a search. Differences hold traces that are new or changed.
    pub(crate) fn search(self, query: SearchQuery) -> Response {
        let write = |answer: &_| json::search_response(answer, None);
        self.events(write, async move |call, outlet| {
            let progress = SearchProgress::new(outlet, call.packet_bytes());
            let found = call.frontend.search_with(&call.tenants, &query, Some(progress)).await?;
            let (response, partial) = (found.response, found.partial);
            let is_long = response.traces.len() > INLINE_TRACES;
            let json = offload(is_long, move || json::search_response(&response, None)).await?;
            Ok(Whole { json, partial })
        })
    }

    /// Runs a query for tag names. Differences hold names that are new; `make` and `write` are the form of the answer.
    pub(crate) fn tags<M: Message + 'static>(
        self,
        query: TagsQuery,
        make: impl Fn(TagsAnswer) -> M + Copy + Send + Sync + 'static,
        write: impl Fn(&M) -> Vec<u8> + Copy + Send + Sync + 'static,
    ) -> Response {
        self.events(write, async move |call, outlet| {
            let observer = tags::tags(outlet, move |found| vec![make(found)]);
            let found = call.frontend.tags_with(&call.tenants, &query, Some(observer)).await?;
            Ok(Whole { partial: found.partial, json: write(&make(found)) })
        })
    }

    /// Runs a query for the values of a tag, as [`Self::tags`]. `typed`: see [`Frontend::tag_values`].
    pub(crate) fn tag_values<M: Message + 'static>(
        self,
        (tag, query): (RequestedTag, TagValuesQuery),
        typed: bool,
        make: impl Fn(TagValuesAnswer) -> M + Copy + Send + Sync + 'static,
        write: impl Fn(&M) -> Vec<u8> + Copy + Send + Sync + 'static,
    ) -> Response {
        self.events(write, async move |call, outlet| {
            let observer = tags::values(outlet, move |found| vec![make(found)]);
            let values =
                call.frontend.tag_values_with(&call.tenants, &tag, &query, typed, Some(observer));
            let found = values.await?;
            Ok(Whole { partial: found.partial, json: write(&make(found)) })
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
                call.series(&query, progress, |found| {
                    let SeriesAnswer { answer, facts, explanation, .. } = found;
                    json::instant_response(&instant_response(answer, facts), explanation.as_deref())
                })
                .await
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
        let points: usize = found.answer.series.iter().map(|series| series.points.len()).sum();
        Ok(Whole { json: offload(points > INLINE_POINTS, move || write(found)).await?, partial })
    }

    /// The events of a query that `run` starts; `write` makes the JSON of a difference.
    fn events<M, F>(
        self,
        write: impl Fn(&M) -> Vec<u8> + Send + 'static,
        run: impl FnOnce(Self, Outlet<M>) -> F,
    ) -> Response
    where
        M: Message + 'static,
        F: Future<Output = Result<Whole>> + Send + 'static,
    {
        let every = self.frontend.settings.streaming.interval;
        let memory = Arc::clone(&self.frontend.memory);
        let (whole, complete) = oneshot::channel();
        let tenants = self.tenants.clone();
        let answers = start(&tenants, every, &memory, |outlet| {
            let mut held = AnswerMemory::of(&memory);
            let query = run(self, outlet);
            async move {
                let Whole { json, partial } = query.await?;
                held.add(json.len() as u64).await.map_err(|NoRoom| Error::TooManyBytes)?;
                // Fails if the client left.
                let _ = whole.send((json, held));
                Ok(Last { packets: Vec::new(), partial })
            }
        });
        let events = unfold(Some((answers, complete, write)), async |left| {
            let (answers, complete, write) = left?;
            Some(next_event(answers, complete, write).await)
        });
        event_stream::response(events)
    }
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

type Event = std::result::Result<Bytes, std::convert::Infallible>;

/// The JSON of the whole answer, and the memory that it takes until it is sent.
type Complete = (Vec<u8>, AnswerMemory);

/// What is left of a stream: what comes, where the whole answer comes, and how differences are written.
type Left<M, W> = Option<(Answers<M>, oneshot::Receiver<Complete>, W)>;

async fn next_event<M: Message + 'static, W: Fn(&M) -> Vec<u8>>(
    mut answers: Answers<M>,
    complete: oneshot::Receiver<Complete>,
    write: W,
) -> (Event, Left<M, W>) {
    let status = match tokio::time::timeout(SILENCE, answers.next()).await {
        Err(_) => return (Ok(keep_alive().into()), Some((answers, complete, write))),
        Ok(Some(Ok(difference))) => {
            let event = event("difference", &write(&difference));
            return (Ok(event.into()), Some((answers, complete, write)));
        }
        Ok(Some(Err(status))) => Some(status),
        Ok(None) => None,
    };
    // The stream of a partial answer ends with a status that says so, and is complete nevertheless.
    let failure = status.filter(|status| status.code() != Code::Ok);
    let last = match (failure, complete.await) {
        (None, Ok((json, held))) => held_bytes(event("complete", &json), held),
        (Some(status), _) => failed(&status).into(),
        (None, Err(_)) => failed(&Status::internal("the query broke off")).into(),
    };
    (Ok(last), None)
}

fn failed(status: &Status) -> Vec<u8> {
    let body = serde_json::json!({ "message": status.message() });
    event("failed", body.to_string().as_bytes())
}
