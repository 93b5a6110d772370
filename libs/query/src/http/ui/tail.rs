//! A live tail as server-sent events.

use axum::extract::{Extension, State};
use axum::response::Response;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tactus_api::Error;
use tactus_model::bytes_to_hex;
use tactus_proto::tactus::v1::TailSpan;
use tonic::Code;

use crate::current_query::as_part_of_query;
use crate::event_stream;
use crate::http::{Answered, Asked};
use crate::live_tail::{LiveTails, News, Update, filter};
use crate::offload::offload;

/// An update of more bytes is not written on a thread that serves connections.
const LONG_UPDATE: usize = 64 << 10;

/// `q`: a filter of single spans; `rate`: spans shown a second. The answer is a stream of events: `spans` with those that
/// came and the numbers since the tail began, at the end `ended` or `failed` with a `message`.
pub(super) async fn tail(
    State(tails): State<LiveTails>,
    Extension(call): Asked,
) -> Answered<Response> {
    let params = call.params();
    let query = params.get("q").unwrap_or_default();
    let limit = call.frontend.settings.section.max_query_expression_size_bytes;
    if limit > 0 && query.len() > limit {
        return Err(Error::Invalid(format!("the query is longer than {limit} bytes")).into());
    }
    let rate = params.get("rate").map(str::parse).transpose();
    let rate = rate.map_err(|error| Error::Invalid(format!("invalid rate: {error}")))?;
    let text = query.to_owned();
    let filter = call.frontend.parse(&call.tenants, query, move || filter(&text)).await?;
    let news = tails.start(&call.tenants, filter, rate)?;
    let events = unfold((news, call.tenants.clone()), |(mut news, tenants)| async move {
        let next = news.recv().await?;
        let is_long = matches!(&next, News::Update(update) if update.bytes > LONG_UPDATE);
        let write = offload(is_long, move || event(&next));
        Some((as_part_of_query(&tenants, write).await, (news, tenants)))
    });
    Ok(event_stream::response(events))
}

fn event(news: &News) -> Vec<u8> {
    let (name, data) = match news {
        News::Update(update) => ("spans", update_json(update)),
        News::Expired => {
            ("ended", json!({ "message": "it was open for as long as a live tail may be" }))
        }
        News::Stopping => ("ended", json!({ "message": "the server stops", "again": true })),
        News::Failed(status) => {
            let limit = status.code() == Code::ResourceExhausted;
            ("failed", json!({ "message": status.message(), "isLimit": limit }))
        }
    };
    event_stream::event(name, data.to_string().as_bytes())
}

fn update_json(update: &Update) -> Value {
    let counts = &update.counts;
    json!({
        "spans": update.spans.iter().map(span_json).collect::<Vec<_>>(),
        "matched": counts.matched,
        "shown": counts.shown,
        "dropped": counts.dropped,
        "skipped": counts.skipped,
        "ingesters": counts.followed,
        "ingestersExpected": counts.expected,
    })
}

/// Times are strings: JSON's numbers do not hold them in browsers.
fn span_json(span: &TailSpan) -> Value {
    let attributes = span.attributes.iter().map(|it| json!([it.key, it.value]));
    json!({
        "traceId": bytes_to_hex(&span.trace_id),
        "spanId": bytes_to_hex(&span.span_id),
        "start": span.start_nanos.to_string(),
        "duration": span.duration_nanos.to_string(),
        "service": span.service,
        "name": span.name,
        "kind": span.kind,
        "status": span.status,
        "message": span.status_message,
        "attributes": attributes.collect::<Vec<_>>(),
    })
}
