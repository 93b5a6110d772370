//! Traces as the messages of a stream. A trace is turned into messages when the client has taken the one before.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tactus_api::Error;
use tactus_jaeger::adjust::{replace_invalid_text, warn_on_root};
use tactus_jaeger::from_otlp;
use tactus_model::TenantId;
use tactus_proto::jaeger::api_v2;
use tactus_proto::opentelemetry::proto::trace::v1::{Span, TracesData};
use tactus_query::{TraceMemory, as_part_of_query, error_status, offload, partial_status};
use tactus_server::bodies::{Bodies, NoRoom, Outgoing};
use tonic::{Response, Status};

use super::answering::{Answer, Messages};
use super::chunks::{self, MESSAGE_BYTES, MESSAGE_SPANS};
use crate::jaeger::{FoundTrace, FoundTraces};
use crate::long_work::takes_long;

/// The traces of an answer, before they are messages.
pub(super) struct TracesToSend {
    /// Memory of answers until they are sent.
    pub(super) memory: Arc<Bodies>,
    pub(super) tenants: Vec<TenantId>,
    pub(super) found: FoundTraces,
}

impl TracesToSend {
    /// Messages of OTLP. Errors: there is no memory.
    pub(super) async fn otlp_messages(self) -> Answer<Messages<TracesData>> {
        self.stream(|mut trace| {
            replace_invalid_text(&mut trace.data.resource_spans);
            chunks::of_otlp(trace.data, MESSAGE_BYTES)
        })
        .await
    }

    /// Messages of spans of Jaeger's model, each with its process. Errors: there is no memory.
    pub(super) async fn model_messages<M: Send + 'static>(
        self,
        message: impl Fn(Vec<api_v2::Span>) -> M + Copy + Send + Sync + 'static,
    ) -> Answer<Messages<M>> {
        let convert = move |trace: FoundTrace| {
            let spans = from_otlp::spans(&trace.data.resource_spans);
            chunks::in_groups(spans, MESSAGE_SPANS, message)
        };
        self.stream(convert).await
    }

    async fn stream<M: Send + 'static>(
        self,
        convert: impl Fn(FoundTrace) -> Vec<M> + Copy + Send + Sync + 'static,
    ) -> Answer<Messages<M>> {
        let Self { memory, tenants, found: FoundTraces { mut traces, partial, .. } } = self;
        let bytes = traces.iter().map(bytes_of).sum();
        // From now on the answer as a whole is counted, and dropped if nobody reads it and others need its memory.
        traces.iter_mut().for_each(|trace| trace.memory = TraceMemory::default());
        let waiting = Outgoing::hold(&memory, bytes, traces.into_iter()).await;
        let waiting = waiting.map_err(|NoRoom| error_status(&Error::TooManyBytes))?;
        let sending = Sending { memory, waiting: Some(waiting), current: None, convert };
        let messages = stream::unfold((sending, tenants), async |(mut sending, tenants)| {
            let next = as_part_of_query(&tenants, sending.next()).await.transpose()?;
            if next.is_err() {
                (sending.waiting, sending.current) = (None, None);
            }
            Some((next, (sending, tenants)))
        });
        let end = partial.then(|| Err(partial_status()));
        Ok(Response::new(Box::pin(messages.chain(stream::iter(end)))))
    }
}

/// The answer with one trace. Where there is something to be known of it, spans may be missing.
pub(super) fn one(trace: FoundTrace) -> FoundTraces {
    let partial = !trace.warnings.is_empty();
    FoundTraces { traces: vec![trace], missing: Vec::new(), partial }
}

/// Estimated memory that a trace takes.
fn bytes_of(trace: &FoundTrace) -> u64 {
    (trace.data.encoded_len() + chunks::spans(&trace.data) * size_of::<Span>()) as u64
}

/// An answer on its way.
struct Sending<M, C> {
    memory: Arc<Bodies>,
    waiting: Option<Outgoing<std::vec::IntoIter<FoundTrace>>>,
    /// The messages of a trace.
    current: Option<Outgoing<std::vec::IntoIter<M>>>,
    convert: C,
}

impl<M, C> Sending<M, C>
where
    M: Send + 'static,
    C: Fn(FoundTrace) -> Vec<M> + Copy + Send + Sync + 'static,
{
    /// The next message. Errors: what is left was dropped for others; a trace cannot be converted.
    async fn next(&mut self) -> Result<Option<M>, Status> {
        let dropped = || error_status(&Error::TooManyBytes);
        loop {
            if let Some(current) = &self.current {
                if let Some(message) = current.with(Iterator::next).ok_or_else(dropped)? {
                    return Ok(Some(message));
                }
                self.current = None;
            }
            let Some(waiting) = &self.waiting else { return Ok(None) };
            let next = waiting.with(|traces| (traces.next(), traces.len() == 0));
            let (next, is_last) = next.ok_or_else(dropped)?;
            if is_last {
                self.waiting = None;
            }
            let Some(mut trace) = next else { return Ok(None) };
            let (bytes, convert) = (bytes_of(&trace), self.convert);
            warn_on_root(&mut trace.data.resource_spans, &trace.warnings);
            let is_large = takes_long(&trace.data.resource_spans);
            let messages = offload(is_large, move || convert(trace)).await;
            let messages = messages.map_err(|error| error_status(&error))?.into_iter();
            let held = Outgoing::hold(&self.memory, bytes, messages).await;
            self.current = Some(held.map_err(|NoRoom| dropped())?);
        }
    }
}
