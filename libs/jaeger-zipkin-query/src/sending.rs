//! Answers whose parts are made while the client takes them, so that only few parts of a large answer are in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use tactus_api::{Error, Result};
use tactus_model::TenantId;
use tactus_query::{TraceMemory, WholeTrace, as_part_of_query, offload};
use tactus_server::bodies::{Bodies, Outgoing};

/// Parts are made until together they have this many bytes: some milliseconds of work.
const READY_BYTES: usize = 256 << 10;

/// Size of the parts of a body, in bytes.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Traces of more spans, or more bytes, take longer to convert than threads that serve connections have time for.
const MANY_SPANS: usize = 500;
const MANY_BYTES: usize = 256 << 10;

/// Traces that are about to be sent: who asks, where memory is counted, and how much they take.
pub(crate) struct ToSend {
    tenants: Vec<TenantId>,
    bodies: Arc<Bodies>,
    /// To decode one trace after the other.
    memory: TraceMemory,
    /// Bytes of the traces and of `memory`.
    bytes: u64,
    is_long: bool,
}

impl ToSend {
    /// Takes the memory to decode and convert one of the traces at a time, beyond that of `decoding`. Errors:
    /// [`Error::TooManyBytes`].
    pub(crate) async fn new(
        bodies: &Arc<Bodies>,
        tenants: Vec<TenantId>,
        traces: &[WholeTrace],
        decoding: TraceMemory,
    ) -> Result<Self> {
        let largest = traces.iter().map(WholeTrace::bytes_to_send).max().unwrap_or(0);
        let more = largest.saturating_sub(decoding.bytes());
        let memory = decoding.and(bodies, more).await?;
        let held: u64 = traces.iter().map(|trace| trace.memory.bytes()).sum();
        let spans: usize = traces.iter().map(|trace| trace.spans).sum();
        let encoded: usize = traces.iter().map(|trace| trace.encoded.len()).sum();
        Ok(Self {
            tenants,
            bodies: Arc::clone(bodies),
            bytes: held + memory.bytes(),
            memory,
            is_long: spans > MANY_SPANS || encoded > MANY_BYTES,
        })
    }

    /// As [`Self::new`], of traces that take so many bytes decoded and converted.
    pub(crate) async fn decoded(
        bodies: &Arc<Bodies>,
        tenants: Vec<TenantId>,
        bytes: u64,
    ) -> Result<Self> {
        let memory = TraceMemory::default().and(bodies, bytes).await?;
        Ok(Self { tenants, bodies: Arc::clone(bodies), memory, bytes, is_long: true })
    }

    /// The answer of these parts, each with its size in bytes.
    pub(crate) fn parts<T: Send + 'static>(
        self,
        parts: impl Iterator<Item = Result<(T, usize)>> + Send + 'static,
    ) -> Parts<T> {
        let Self { tenants, bodies, memory, bytes, is_long } = self;
        let left = Left { parts: Box::new(parts), ready: VecDeque::new(), _memory: memory };
        let left = Some(Arc::new(Outgoing::owning(&bodies, bytes, left)));
        Parts { left, tenants, is_long }
    }

    /// The body of these pieces, whole if it is small. Errors: that of the first piece; a later one ends the connection, which
    /// shows the client that the answer is incomplete.
    pub(crate) async fn body(
        self,
        pieces: impl Iterator<Item = Result<Vec<u8>>> + Send + 'static,
    ) -> Result<Body> {
        let mut parts = self.parts(Joined(pieces));
        let Some(first) = parts.next().await? else { return Ok(Body::empty()) };
        let Some(second) = parts.next().await? else { return Ok(Body::from(first)) };
        let waiting = VecDeque::from([first, second]);
        Ok(Body::from_stream(unfold((waiting, parts), async |(mut waiting, mut parts)| {
            let next = match waiting.pop_front() {
                Some(next) => Ok(next),
                None => parts.next().await.transpose()?,
            };
            if let Err(error) = &next {
                tracing::warn!(%error, "an answer broke off while it was sent");
            }
            Some((next, (waiting, parts)))
        })))
    }
}

/// The parts of an answer, made some at a time. What is left is dropped when others need its memory.
pub(crate) struct Parts<T> {
    /// `None` after an error.
    left: Option<Arc<Outgoing<Left<T>>>>,
    tenants: Vec<TenantId>,
    is_long: bool,
}

struct Left<T> {
    parts: Box<dyn Iterator<Item = Result<(T, usize)>> + Send>,
    ready: VecDeque<T>,
    _memory: TraceMemory,
}

impl<T> Left<T> {
    /// Makes some parts; none are ready if there are no more.
    fn make(&mut self) -> Result<()> {
        let mut bytes = 0;
        while bytes < READY_BYTES
            && let Some(part) = self.parts.next()
        {
            let (part, size) = part?;
            bytes += size;
            self.ready.push_back(part);
        }
        Ok(())
    }
}

impl<T: Send + 'static> Parts<T> {
    /// The next part; `None` after the last one. Errors: a trace cannot be read; [`Error::TooManyBytes`] if others needed the
    /// memory. There is nothing after an error.
    pub(crate) async fn next(&mut self) -> Result<Option<T>> {
        let next = self.next_or_error().await;
        if next.is_err() {
            self.left = None;
        }
        next
    }

    async fn next_or_error(&mut self) -> Result<Option<T>> {
        let Some(left) = &self.left else { return Ok(None) };
        let ready = |left: &mut Left<T>| left.ready.pop_front();
        if let Some(part) = left.with(ready).ok_or(Error::TooManyBytes)? {
            return Ok(Some(part));
        }
        let (making, _writing) = (Arc::clone(left), left.writing());
        let make = offload(self.is_long, move || making.with(Left::make));
        as_part_of_query(&self.tenants, make).await?.ok_or(Error::TooManyBytes)??;
        left.with(ready).ok_or(Error::TooManyBytes)
    }
}

/// Pieces, small ones joined.
struct Joined<I>(I);

impl<I: Iterator<Item = Result<Vec<u8>>>> Iterator for Joined<I> {
    type Item = Result<(Bytes, usize)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut joined = match self.0.next()? {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        while joined.len() < PIECE_BYTES
            && let Some(piece) = self.0.next()
        {
            match piece {
                Ok(piece) => joined.extend(piece),
                Err(error) => return Some(Err(error)),
            }
        }
        let size = joined.len();
        Some(Ok((Bytes::from(joined), size)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use tactus_work::memory::Budget;

    use super::*;

    async fn to_send(budget: &Arc<Budget>, bytes: u64) -> Result<ToSend> {
        ToSend::decoded(&Bodies::within(budget), Vec::new(), bytes).await
    }

    fn pieces(count: usize, bytes: usize) -> impl Iterator<Item = Result<Vec<u8>>> + Send {
        (0..count).map(move |number| Ok(vec![number as u8; bytes]))
    }

    fn broken() -> Error {
        Error::Internal("damaged".to_owned())
    }

    #[tokio::test]
    async fn small_answer_is_whole_and_a_large_one_comes_in_chunks() {
        let budget = Budget::new(10 << 20);
        for (count, bytes) in [(0, 0), (3, 10), (1, 1 << 20), (40, 100_000)] {
            let sent = to_send(&budget, 1 << 20).await.unwrap();
            let body = sent.body(pieces(count, bytes)).await.unwrap();
            let is_whole = axum::body::HttpBody::size_hint(&body).exact().is_some();
            assert_eq!(is_whole, count < 4, "{count} pieces");
            let expected: Vec<u8> = pieces(count, bytes).flat_map(Result::unwrap).collect();
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
        assert_eq!(budget.used(), 0, "memory is given back");
    }

    #[tokio::test]
    async fn first_error_is_the_answer_and_a_later_one_breaks_it_off() {
        let budget = Budget::new(10 << 20);
        let sent = to_send(&budget, 1).await.unwrap();
        let failed = sent.body(std::iter::once(Err(broken()))).await;
        assert_eq!(failed.unwrap_err(), broken());
        let sent = to_send(&budget, 1).await.unwrap();
        let body = sent.body(pieces(20, 100_000).chain(std::iter::once(Err(broken())))).await;
        assert!(body.unwrap().collect().await.is_err());
        assert_eq!(
            to_send(&budget, 20 << 20).await.map(|_| ()),
            Ok(()),
            "a large one passes alone"
        );
    }

    #[tokio::test]
    async fn parts_are_made_as_they_are_taken() {
        let budget = Budget::new(10 << 20);
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let parts = (0..100).map(move |number| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok((number, READY_BYTES / 4))
        });
        let mut parts = to_send(&budget, 1).await.unwrap().parts(parts);
        for number in 0..4 {
            assert_eq!(parts.next().await, Ok(Some(number)));
            assert_eq!(made.load(Ordering::Relaxed), 4);
        }
        assert_eq!(parts.next().await, Ok(Some(4)));
        assert_eq!(made.load(Ordering::Relaxed), 8);
    }
}
