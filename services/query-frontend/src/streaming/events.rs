//! A search as server-sent events, for pages: they cannot speak gRPC.

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use ::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::body::Body;
use axum::response::Response;
use futures_util::stream::{StreamExt as _, unfold};
use tactus_api::json;
use tactus_api::request::SearchQuery;
use tactus_model::TenantId;
use tactus_proto::tempopb::SearchResponse;
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::SearchProgress;
use super::outlet::{Answers, Last, start};
use crate::frontend::Frontend;

/// A client that hears nothing for so long may think that we are gone.
const SILENCE: Duration = Duration::from_secs(15);

/// What is left to send of a stream.
enum Left {
    Answers(Answers<SearchResponse>, oneshot::Receiver<SearchResponse>),
    Nothing,
}

/// Runs a search whose answer is a stream of events: `difference` with traces that are new or changed, at the end
/// `complete` with all, or `failed` with the reason. Each holds the JSON of a search's answer.
pub(crate) fn search_events(
    frontend: Arc<Frontend>,
    tenants: Vec<TenantId>,
    query: SearchQuery,
) -> Response {
    let settings = frontend.settings.streaming;
    let (whole, complete) = oneshot::channel();
    let answers = start(settings.interval, async move |outlet| {
        let progress = SearchProgress::new(outlet, settings.max_packet_bytes);
        let found = frontend.search_with(&tenants, &query, Some(progress)).await?;
        // Fails if the client left.
        let _ = whole.send(found.response);
        Ok(Last { packets: Vec::new(), partial: found.partial })
    });
    let events = unfold(Left::Answers(answers, complete), next_event);
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Event = Result<Vec<u8>, std::convert::Infallible>;

async fn next_event(left: Left) -> Option<(Event, Left)> {
    let Left::Answers(mut answers, complete) = left else { return None };
    let status = match tokio::time::timeout(SILENCE, answers.next()).await {
        Err(_) => return Some((Ok(b":\n\n".to_vec()), Left::Answers(answers, complete))),
        Ok(Some(Ok(difference))) => {
            let event = event("difference", &json::search_response(&difference, None));
            return Some((Ok(event), Left::Answers(answers, complete)));
        }
        Ok(Some(Err(status))) => Some(status),
        Ok(None) => None,
    };
    // The stream of a partial answer ends with a status that says so, and is complete nevertheless.
    let failure = status.filter(|status| status.code() != Code::Ok);
    let last = match (failure, complete.await) {
        (None, Ok(response)) => event("complete", &json::search_response(&response, None)),
        (Some(status), _) => failed(&status),
        (None, Err(_)) => failed(&Status::internal("the query broke off")),
    };
    Some((Ok(last), Left::Nothing))
}

fn failed(status: &Status) -> Vec<u8> {
    let body = serde_json::json!({ "message": status.message() });
    event("failed", body.to_string().as_bytes())
}

/// The JSON has no line breaks.
fn event(name: &str, json: &[u8]) -> Vec<u8> {
    [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"].concat()
}
