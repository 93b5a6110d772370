//! Traces as the messages of a stream, made while the client takes them.

use futures_util::{StreamExt as _, stream};
use tactus_api::Result;
use tactus_jaeger::adjust::{replace_invalid_text, warn_on_root};
use tactus_jaeger::from_otlp;
use tactus_model::TenantId;
use tactus_proto::jaeger::api_v2;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_query::{Frontend, error_status, partial_status};
use tonic::Response;

use super::answering::{Answer, Messages};
use crate::chunks::{self, MESSAGE_BYTES, MESSAGE_SPANS};
use crate::jaeger::{FoundTraces, JaegerQueries, ShownTrace};
use crate::sending::ToSend;

/// The traces of an answer, before they are messages.
pub(super) struct TracesToSend {
    pub(super) queries: JaegerQueries,
    pub(super) tenants: Vec<TenantId>,
    pub(super) found: FoundTraces,
}

/// Messages of a trace, each with its size in bytes.
type Converted<M> = Box<dyn Iterator<Item = (M, usize)> + Send>;

impl TracesToSend {
    /// Messages of OTLP. Errors: there is no memory.
    pub(super) async fn otlp_messages(self) -> Answer<Messages<TracesData>> {
        self.stream(|trace| {
            let messages = chunks::of_otlp(trace.data, MESSAGE_BYTES);
            Box::new(messages.map(|(mut message, bytes)| {
                replace_invalid_text(&mut message.resource_spans);
                (message, bytes)
            }))
        })
        .await
    }

    /// Messages of spans of Jaeger's model, each with its process. Errors: there is no memory.
    pub(super) async fn model_messages<M: Send + 'static>(
        self,
        message: impl Fn(Vec<api_v2::Span>) -> M + Copy + Send + Sync + 'static,
    ) -> Answer<Messages<M>> {
        self.stream(move |trace| {
            let spans = from_otlp::spans(trace.data.resource_spans);
            Box::new(chunks::in_groups(spans, MESSAGE_SPANS, message))
        })
        .await
    }

    async fn stream<M: Send + 'static>(
        self,
        convert: impl Fn(ShownTrace) -> Converted<M> + Send + 'static,
    ) -> Answer<Messages<M>> {
        let Self { queries, tenants, found } = self;
        let FoundTraces { traces, raw, partial, decoding, .. } = found;
        let bodies = &AsRef::<Frontend>::as_ref(&queries).memory;
        let to_send = ToSend::new(bodies, tenants, &traces, decoding).await;
        let to_send = to_send.map_err(|error| error_status(&error))?;
        let converted =
            queries.shown(traces, raw).flat_map(move |trace| messages_of(trace, &convert));
        let messages = stream::unfold(to_send.parts(converted), async |mut parts| {
            let next = parts.next().await.map_err(|error| error_status(&error)).transpose()?;
            Some((next, parts))
        });
        let end = partial.then(|| Err(partial_status()));
        Ok(Response::new(Box::pin(messages.chain(stream::iter(end)))))
    }
}

fn messages_of<M: Send + 'static>(
    trace: Result<ShownTrace>,
    convert: impl Fn(ShownTrace) -> Converted<M>,
) -> Box<dyn Iterator<Item = Result<(M, usize)>> + Send> {
    match trace {
        Ok(mut trace) => {
            warn_on_root(&mut trace.data.resource_spans, &trace.warnings);
            Box::new(convert(trace).map(Ok))
        }
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}
