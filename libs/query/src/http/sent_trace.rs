//! Sends a trace piece by piece, so that only one slice of a large trace is in memory.
//!
//! The first slice is read before the response begins, so that errors up to then have a status. Where that must tell whether the
//! trace is above the limit of its tenants, all slices up to the limit are. A later error ends the connection, which shows the client
//! that the answer is incomplete. An answer that has begun waits if there is no memory. Meanwhile it holds only what its reader has
//! not taken yet. It takes all memory that it needs to send a slice together with the slice itself, so two answers never wait for
//! each other.

use std::collections::VecDeque;
use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::CONTENT_TYPE;
use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use tactus_api::request::TraceQuery;
use tactus_api::trace::{CombinedTrace, Pieces, TraceFacts, WhenTooLarge};
use tactus_api::{Error, Result};
use tactus_model::{TenantId, TraceId};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom, Outgoing, next_piece};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::call::{Answered, Call, PARTIAL};
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;
use crate::trace_by_id::{FoundTrace, Slices, TraceMemory, WaitForRoom};
use crate::work::check_inspected;

/// Size of the pieces in which spans are written. One takes some milliseconds of work.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// Written pieces of an answer that may wait: one for the connection, the next one after it, and one that is being
/// written.
const WAITING_PIECES: u64 = 3;
/// A written piece has at most this many times the bytes of its spans; a larger one waits for memory of its own.
const WRITTEN_EXPANSION: u64 = 4;
const WRITTEN_BYTES: u64 = PIECE_BYTES as u64 * WRITTEN_EXPANSION;

/// A trace is in fewer places. So one of which no place has this part of the limit is below it.
const MOST_PLACES: u64 = 16;

/// The format of a trace that is written piece by piece.
pub(super) trait TraceForm: Send + Sync + 'static {
    /// True if the text after all spans tells that some are missing.
    fn tells_at_the_end(&self) -> bool;

    /// The trace in the pieces that are written. Called where connections are served: work belongs into the pieces.
    fn pieces(&self, trace: CombinedTrace) -> Pieces {
        trace.into_pieces(PIECE_BYTES)
    }

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
    for piece in form.pieces(trace) {
        out.extend(form.piece(&piece)?);
    }
    out.extend(form.end(facts)?);
    Ok(out)
}

/// The trace to send.
pub(super) enum Sent {
    /// A trace that is in memory.
    Known(FoundTrace),
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
    let sending = Sending { written: None, receiver, task: Some(task) };
    let body = unfold(sending, async |mut sending| Some((sending.next().await?, sending)));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if partial {
        response.headers_mut().insert(PARTIAL, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What is not sent yet of a slice, written or not, with its memory. All of it goes when others need the memory.
///
/// It is one value so that the slice does not stand still while a reader takes what is written of it.
struct Unsent {
    pieces: VecDeque<Bytes>,
    /// `None` once all of it is written.
    slice: Option<(Pieces, TraceMemory)>,
    _memory: Option<AnswerMemory>,
}

type Written = Arc<Outgoing<Unsent>>;

impl Unsent {
    fn of_slice(slice: Pieces, held: TraceMemory, memory: AnswerMemory) -> Self {
        Self { pieces: VecDeque::new(), slice: Some((slice, held)), _memory: Some(memory) }
    }

    /// Without memory of its own.
    fn of(piece: Bytes) -> Self {
        Self { pieces: VecDeque::from([piece]), slice: None, _memory: None }
    }

    /// The next spans to write. Gives the memory of the slice back after the last.
    fn next_spans(&mut self) -> Option<CombinedTrace> {
        let spans = self.slice.as_mut()?.0.next();
        if spans.is_none() {
            self.slice = None;
        }
        spans
    }

    /// The next bytes for the connection.
    fn next(&mut self) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        let piece = next_piece(first);
        if first.is_empty() {
            self.pieces.pop_front();
        }
        Some(piece)
    }
}

type Ended = std::result::Result<Result<()>, tokio::task::JoinError>;

fn ended(ended: Ended) -> Result<()> {
    ended.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
}

/// The body of the response. Its pieces are counted while they wait to be read, and are dropped when others need their
/// memory.
struct Sending {
    written: Option<Written>,
    /// Each once for every piece.
    receiver: mpsc::Receiver<Written>,
    /// `None` once the body has ended.
    task: Option<AbortOnDropHandle<Result<()>>>,
}

impl Sending {
    async fn next(&mut self) -> Option<std::result::Result<Bytes, BoxError>> {
        loop {
            if let Some(written) = &self.written {
                match written.with(Unsent::next) {
                    Some(None) => self.written = None,
                    Some(Some(bytes)) => return Some(Ok(bytes)),
                    None => {
                        (self.written, self.task) = (None, None);
                        return Some(Err(NoRoom.into()));
                    }
                }
            }
            if self.task.is_some()
                && let Some(written) = self.receiver.recv().await
            {
                self.written = Some(written);
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
    pieces: mpsc::Sender<Written>,
}

impl<F: TraceForm> Sender<F> {
    async fn run(
        self,
        tenants: Vec<TenantId>,
        sent: Sent,
        head: oneshot::Sender<bool>,
    ) -> Result<()> {
        match sent {
            Sent::Known(found) => {
                let send = self.send_known(found, head);
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

    async fn send_known(mut self, found: FoundTrace, head: oneshot::Sender<bool>) -> Result<()> {
        let FoundTrace { trace, facts, memory, .. } = found;
        let room = self.room().await?;
        let begin = self.form.begin()?;
        let _ = head.send(facts.partial);
        self.send(begin, None).await?;
        let mut sender = self.send_trace(trace, memory, room).await?;
        let end = sender.form.end(&facts)?;
        sender.send(end, None).await
    }

    /// Reads a large trace without sending it, up to the limit of its tenants, if that must be known before it is sent: it is
    /// refused above the limit, or only the head of the answer can tell that it is cut. Errors: it is refused.
    async fn look_ahead(
        &self,
        tenants: &[TenantId],
        (id, query, when_too_large, bytes): (TraceId, TraceQuery, WhenTooLarge, u64),
    ) -> Result<TraceFacts> {
        let mut facts = TraceFacts::default();
        let limit = self.frontend.limits_of(tenants).max_bytes_per_trace;
        let is_told = when_too_large == WhenTooLarge::Cut && self.form.tells_at_the_end();
        if is_told || limit == 0 || bytes.saturating_mul(MOST_PLACES) < limit {
            return Ok(facts);
        }
        let mut slices = self.frontend.slices_of_large(tenants, id, query, bytes);
        loop {
            let next = self.next_slice(tenants, &mut slices, when_too_large, false);
            let (Some(found), _) = self.frontend.step(next).await? else { return Ok(facts) };
            let read = found.facts.inspected_bytes;
            facts.inspected_bytes = facts.inspected_bytes.saturating_add(read);
            facts.partial |= found.facts.partial;
            if found.trace.truncated {
                return Ok(facts);
            }
        }
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
        let mut facts = self.look_ahead(tenants, (id, query, when_too_large, bytes)).await?;
        // The same is read again. An answer that has begun would break off at the limit.
        let ahead = std::mem::take(&mut facts.inspected_bytes);
        let most = frontend.limits_of(tenants).max_inspected_bytes;
        check_inspected(ahead.saturating_mul(2), most)?;
        let mut slices = frontend.slices_of_large(tenants, id, query, bytes);
        let mut head = Some(head);
        loop {
            let next = self.next_slice(tenants, &mut slices, when_too_large, head.is_none());
            let (Some(found), room) = frontend.step(next).await? else { break };
            let FoundTrace { trace, facts: of_slice, memory, .. } = found;
            facts.inspected_bytes = facts.inspected_bytes.saturating_add(of_slice.inspected_bytes);
            let is_cut = trace.truncated;
            if let Some(head) = head.take() {
                let begin = self.form.begin()?;
                facts.partial |= of_slice.partial;
                facts.message = of_slice.message;
                let _ = head.send(facts.partial);
                self.send(begin, None).await?;
            } else if of_slice.partial && !facts.partial && !is_cut {
                // The answer would not say that it is incomplete, so it must not look complete.
                return Err(Error::Internal(of_slice.message));
            } else if is_cut {
                (facts.partial, facts.message) = (true, of_slice.message);
            }
            self = self.send_trace(trace, memory, room).await?;
            if is_cut {
                break;
            }
        }
        if head.is_some() {
            return Err(Error::NotFound);
        }
        let end = self.form.end(&facts)?;
        self.send(end, None).await?;
        Ok(facts.inspected_bytes.saturating_add(ahead))
    }

    /// The next slice, with memory for what is written of it. It waits for memory for both: `has_begun`, as long as a step may take.
    async fn next_slice(
        &self,
        tenants: &[TenantId],
        slices: &mut Slices<'_>,
        when_too_large: WhenTooLarge,
        has_begun: bool,
    ) -> Result<(Option<FoundTrace>, AnswerMemory)> {
        let mut wait = match has_begun {
            true => WaitForRoom::to_go_on(),
            false => WaitForRoom::to_begin(),
        };
        loop {
            let next = async {
                let room = self.room().await?;
                Ok((slices.next_trace(when_too_large).await?, room))
            };
            match self.frontend.slice(tenants, next).await {
                Err(error) => wait.after(error).await?,
                found => return found,
            }
        }
    }

    /// Memory for what is written of a trace and not sent yet. Errors: [`Error::TooManyBytes`].
    async fn room(&self) -> Result<AnswerMemory> {
        AnswerMemory::ahead(&self.frontend.memory, WAITING_PIECES * WRITTEN_BYTES)
            .await
            .map_err(no_room)
    }

    async fn send_trace(
        mut self,
        trace: CombinedTrace,
        held: TraceMemory,
        room: AnswerMemory,
    ) -> Result<Self> {
        let bytes = held.bytes() + WAITING_PIECES * WRITTEN_BYTES;
        let unsent = Unsent::of_slice(self.form.pieces(trace), held, room);
        let unsent = Arc::new(Outgoing::owning(&self.frontend.memory, bytes, unsent));
        loop {
            let (mut form, slice) = (self.form, Arc::clone(&unsent));
            let writing = unsent.writing();
            let write = offload(true, move || {
                let written = match slice.with(Unsent::next_spans) {
                    None => Err(Error::TooManyBytes),
                    Some(None) => Ok(None),
                    Some(Some(spans)) => form.piece(&spans).map(Some),
                };
                (form, written)
            });
            let (form, written) = write.await?;
            drop(writing);
            self.form = form;
            match written? {
                None => return Ok(self),
                Some(written) => self.send(written, Some(&unsent)).await?,
            }
        }
    }

    /// `room`: memory that there is for it. Errors: [`Error::TooManyBytes`], also if others needed that memory before it was sent, and
    /// [`Error::Cancelled`] if the client left.
    async fn send(&self, mut bytes: Vec<u8>, room: Option<&Written>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        bytes.shrink_to_fit();
        let (length, bytes) = (bytes.len() as u64, Bytes::from(bytes));
        let written = match room.filter(|_| length <= WRITTEN_BYTES) {
            Some(room) => {
                let added = room.with(|unsent| unsent.pieces.push_back(bytes));
                added.ok_or(Error::TooManyBytes).map(|()| Arc::clone(room))?
            }
            None => Arc::new(self.frontend.step(hold(&self.frontend.memory, length, bytes)).await?),
        };
        tokio::select! {
            sent = self.pieces.send(Arc::clone(&written)) => sent.map_err(|_| Error::Cancelled),
            () = written.cut_off() => Err(Error::TooManyBytes),
        }
    }
}

/// Memory for a piece of an answer that has begun: it waits until there is some.
async fn hold(memory: &Arc<Bodies>, length: u64, bytes: Bytes) -> Result<Outgoing<Unsent>> {
    let mut wait = WaitForRoom::to_go_on();
    loop {
        match Outgoing::hold(memory, length, Unsent::of(bytes.clone())).await {
            Ok(piece) => return Ok(piece),
            Err(NoRoom) => wait.after(Error::TooManyBytes).await?,
        }
    }
}

fn no_room(NoRoom: NoRoom) -> Error {
    Error::TooManyBytes
}

#[cfg(test)]
mod tests;
