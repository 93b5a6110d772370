//! Sends a trace piece by piece, so that of a large trace only one slice is in memory.
//!
//! The first slice is read before the response begins, so errors up to then have a status. A later error ends the
//! connection, which shows the client that the answer is incomplete.

use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::CONTENT_TYPE;
use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use tactus_api::request::TraceQuery;
use tactus_api::trace::{CombinedTrace, TraceFacts, WhenTooLarge};
use tactus_api::{Error, Result};
use tactus_model::{TenantId, TraceId};
use tactus_server::bodies::{NoRoom, Outgoing, next_piece};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::call::{Answered, Call, PARTIAL};
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;
use crate::trace_by_id::FoundTrace;

/// Size of the pieces in which spans are written. One takes some milliseconds of work.
const PIECE_BYTES: usize = 512 << 10;

/// The format of a trace that is written piece by piece.
pub(super) trait TraceForm: Send + 'static {
    /// The text before the spans.
    fn begin(&mut self) -> Result<Vec<u8>>;

    /// The next spans.
    fn piece(&mut self, piece: &CombinedTrace) -> Result<Vec<u8>>;

    /// The text after all spans.
    fn end(&mut self, facts: &TraceFacts) -> Result<Vec<u8>>;
}

/// Writes a trace in one piece.
pub(super) fn written(
    form: &mut impl TraceForm,
    trace: CombinedTrace,
    facts: &TraceFacts,
) -> Result<Vec<u8>> {
    let mut out = form.begin()?;
    for piece in trace.into_pieces(PIECE_BYTES) {
        out.extend(form.piece(&piece)?);
    }
    out.extend(form.end(facts)?);
    Ok(out)
}

/// The trace to send.
pub(super) enum Sent {
    /// A trace that is in memory.
    Known(CombinedTrace, TraceFacts),
    /// A trace of about `bytes` bytes, which is too large to be read at once.
    Large { id: TraceId, query: TraceQuery, when_too_large: WhenTooLarge, bytes: u64 },
}

/// The answer with a trace in this form. Errors: those of the query, until there is something to send.
pub(super) async fn send(
    call: &Call,
    sent: Sent,
    form: impl TraceForm,
    content_type: &'static str,
) -> Answered<Response> {
    let (head, is_partial) = oneshot::channel();
    let (pieces, receiver) = mpsc::channel(1);
    let sender = Sender { frontend: Arc::clone(&call.frontend), form, pieces };
    let tenants = call.tenants.clone();
    let task = AbortOnDropHandle::new(tokio::spawn(sender.run(tenants, sent, head)));
    let partial = match is_partial.await {
        Ok(partial) => partial,
        // The task ended before.
        Err(_) => return Err(ended(task.await).err().unwrap_or(Error::NotFound).into()),
    };
    let sending = Sending { piece: None, receiver, task: Some(task) };
    let body = unfold(sending, async |mut sending| Some((sending.next().await?, sending)));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if partial {
        response.headers_mut().insert(PARTIAL, HeaderValue::from_static("true"));
    }
    Ok(response)
}

type Ended = std::result::Result<Result<()>, tokio::task::JoinError>;

fn ended(ended: Ended) -> Result<()> {
    ended.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
}

/// The body of the response. Its pieces are counted while they wait to be read, and are dropped when others need their
/// memory.
struct Sending {
    piece: Option<Outgoing<Bytes>>,
    receiver: mpsc::Receiver<Outgoing<Bytes>>,
    /// `None` once the body has ended.
    task: Option<AbortOnDropHandle<Result<()>>>,
}

impl Sending {
    async fn next(&mut self) -> Option<std::result::Result<Bytes, BoxError>> {
        loop {
            if let Some(piece) = &self.piece {
                match piece.with(next_piece) {
                    Some(bytes) if bytes.is_empty() => self.piece = None,
                    Some(bytes) => return Some(Ok(bytes)),
                    None => {
                        (self.piece, self.task) = (None, None);
                        return Some(Err(NoRoom.into()));
                    }
                }
            }
            if self.task.is_some()
                && let Some(piece) = self.receiver.recv().await
            {
                self.piece = Some(piece);
                continue;
            }
            let result = ended(self.task.take()?.await);
            return result.err().map(|error| {
                tracing::warn!(%error, "a trace broke off while it was sent");
                Err(error.into())
            });
        }
    }
}

struct Sender<F> {
    frontend: Arc<Frontend>,
    form: F,
    pieces: mpsc::Sender<Outgoing<Bytes>>,
}

impl<F: TraceForm> Sender<F> {
    async fn run(
        self,
        tenants: Vec<TenantId>,
        sent: Sent,
        head: oneshot::Sender<bool>,
    ) -> Result<()> {
        match sent {
            Sent::Known(trace, facts) => {
                let send = self.send_known(trace, facts, head);
                crate::current_query::as_part_of_query(&tenants, send).await
            }
            Sent::Large { id, query, when_too_large, bytes } => {
                let frontend = Arc::clone(&self.frontend);
                let large = (id, query, when_too_large, bytes);
                let send = self.send_large(&tenants, large, head);
                let asked = Asked::new(id.to_hex());
                frontend.counted_while_sent(&tenants, TRACES, asked, send).await
            }
        }
    }

    async fn send_known(
        mut self,
        trace: CombinedTrace,
        facts: TraceFacts,
        head: oneshot::Sender<bool>,
    ) -> Result<()> {
        let begin = self.form.begin()?;
        let _ = head.send(facts.partial);
        self.send(begin).await?;
        let mut sender = self.send_trace(trace).await?;
        let end = sender.form.end(&facts)?;
        sender.send(end).await
    }

    /// Sends a trace slice by slice. Returns the bytes that were read for it.
    async fn send_large(
        mut self,
        tenants: &[TenantId],
        (id, query, when_too_large, bytes): (TraceId, TraceQuery, WhenTooLarge, u64),
        head: oneshot::Sender<bool>,
    ) -> Result<u64> {
        let frontend = Arc::clone(&self.frontend);
        let _admitted = frontend.admit(tenants)?;
        let mut slices = frontend.slices_of_large(tenants, id, query, bytes);
        let (mut head, mut facts) = (Some(head), TraceFacts::default());
        while let Some(found) = frontend.step(slices.next_trace(when_too_large)).await? {
            let FoundTrace { trace, facts: of_slice, memory, .. } = found;
            facts.inspected_bytes += of_slice.inspected_bytes;
            let is_cut = trace.truncated;
            if let Some(head) = head.take() {
                let begin = self.form.begin()?;
                (facts.partial, facts.message) = (of_slice.partial, of_slice.message);
                let _ = head.send(facts.partial);
                self.send(begin).await?;
            } else if of_slice.partial && !facts.partial && !is_cut {
                // The answer would not say that it is incomplete, so it must not look complete.
                return Err(Error::Internal(of_slice.message));
            } else if is_cut {
                (facts.partial, facts.message) = (true, of_slice.message);
            }
            // From now on it counts as memory of an answer that is being sent.
            drop(memory);
            self = self.send_trace(trace).await?;
            if is_cut {
                break;
            }
        }
        if head.is_some() {
            return Err(Error::NotFound);
        }
        let end = self.form.end(&facts)?;
        self.send(end).await?;
        Ok(facts.inspected_bytes)
    }

    async fn send_trace(mut self, trace: CombinedTrace) -> Result<Self> {
        let bytes = trace.bytes() as u64;
        let pieces = trace.into_pieces(PIECE_BYTES);
        let mut pieces =
            Outgoing::hold(&self.frontend.memory, bytes, pieces).await.map_err(no_room)?;
        loop {
            let mut form = self.form;
            let write = offload(true, move || {
                let piece = pieces.with(Iterator::next);
                let written = match &piece {
                    None => Err(Error::TooManyBytes),
                    Some(None) => Ok(None),
                    Some(Some(piece)) => form.piece(piece).map(Some),
                };
                (form, pieces, written)
            });
            let (form, left, written) = write.await?;
            (self.form, pieces) = (form, left);
            match written? {
                None => return Ok(self),
                Some(written) => self.send(written).await?,
            }
        }
    }

    /// Errors: [`Error::TooManyBytes`], and [`Error::Cancelled`] if the client left.
    async fn send(&mut self, mut bytes: Vec<u8>) -> Result<()> {
        bytes.shrink_to_fit();
        let (length, bytes) = (bytes.len() as u64, Bytes::from(bytes));
        let piece = Outgoing::hold(&self.frontend.memory, length, bytes).await.map_err(no_room)?;
        self.pieces.send(piece).await.map_err(|_| Error::Cancelled)
    }
}

fn no_room(NoRoom: NoRoom) -> Error {
    Error::TooManyBytes
}
