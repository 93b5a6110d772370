//! Reading a request body into one buffer, with a bound and with at most one copy.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tactus_server::bodies::{Held, NoRoom};

/// Most bytes allocated because of an announced length alone: a client that announces much and
/// sends nothing must not cost memory.
const MAX_TRUSTED_BYTES: usize = 1 << 20;

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Longer than the limit.
    #[error("http: request body too large")]
    TooLarge,
    /// The connection broke, or the body is shorter than announced.
    #[error("cannot read the request body: {0}")]
    Broken(String),
    /// The time for reading is over.
    #[error("the request body did not arrive in time")]
    TimedOut,
    /// It is not compressed as its header claims, or damaged.
    #[error("{0}")]
    Corrupt(String),
    /// There is no memory for it; it may be sent again.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Collects chunks. A single chunk is passed on as it is; several are copied once.
pub(crate) struct Gather {
    first: Bytes,
    rest: BytesMut,
    held: Held,
    /// Bytes taken of the budget.
    taken: usize,
}

impl Gather {
    /// Nothing yet; memory is taken as `held`.
    pub(crate) fn new(held: Held) -> Self {
        Self { first: Bytes::new(), rest: BytesMut::new(), held, taken: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// The next frame of a body. Errors: the connection broke, or others need the memory.
    pub(crate) async fn frame<B>(
        &self,
        body: &mut Pin<&mut B>,
    ) -> Result<Option<Frame<Bytes>>, BodyError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = self.held.cut_off() => return Err(NoRoom.into()),
        };
        frame.transpose().map_err(|error| BodyError::Broken(error.to_string()))
    }

    /// Adds a chunk. `expected`: bytes of all chunks together, as far as known. `is_last`: no further one is to come.
    ///
    /// Errors: there is no memory for it.
    pub(crate) async fn add(
        &mut self,
        chunk: Bytes,
        expected: usize,
        is_last: bool,
    ) -> Result<(), BodyError> {
        if !is_last && self.len() == 0 {
            self.held.unfinished();
        }
        let more = self.room_with(chunk.len(), expected).saturating_sub(self.taken);
        if more > 0 {
            self.held.take(more).await?;
            self.taken += more;
        }
        self.push(chunk, expected);
        Ok(())
    }

    /// Bytes of memory that are held once a chunk is pushed.
    fn room_with(&self, chunk: usize, expected: usize) -> usize {
        let length = self.len() + chunk;
        match self.rest.capacity() {
            _ if length == chunk => chunk,
            0 => expected.min(MAX_TRUSTED_BYTES).max(length),
            capacity if length <= capacity => capacity,
            // A buffer that grows is doubled.
            capacity => expected.max(length).max(2 * capacity),
        }
    }

    fn push(&mut self, chunk: Bytes, expected: usize) {
        let length = self.len() + chunk.len();
        if length == chunk.len() {
            self.first = chunk;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(expected.min(MAX_TRUSTED_BYTES).max(length));
            let first = std::mem::take(&mut self.first);
            self.rest.extend_from_slice(&first);
        } else if length > self.rest.capacity() {
            self.rest.reserve(expected.max(length) - self.rest.len());
        }
        self.rest.extend_from_slice(&chunk);
    }

    /// The bytes so far, if they lie in one chunk or are copied together already.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    pub(crate) fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

/// Reads a whole body of at most `limit` bytes, which `held` takes memory for as they come.
///
/// With a known length memory is allocated once. The limit holds before memory is spent.
pub(crate) async fn read_body<B>(
    body: B,
    limit: usize,
    time_limit: Option<Duration>,
    held: &Held,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let read = async {
        let mut body = pin!(body);
        let mut gather = Gather::new(held.clone());
        while let Some(frame) = gather.frame(&mut body).await? {
            let Ok(chunk) = frame.into_data() else { continue };
            if chunk.len() > limit - gather.len() {
                return Err(BodyError::TooLarge);
            }
            gather.add(chunk, announced as usize, body.is_end_stream()).await?;
        }
        held.arrived();
        Ok(gather.finish())
    };
    within(time_limit, read).await
}

/// Runs a read under a time limit.
pub(crate) async fn within<T>(
    time_limit: Option<Duration>,
    read: impl Future<Output = Result<T, BodyError>>,
) -> Result<T, BodyError> {
    match time_limit {
        None => read.await,
        Some(time) => tokio::time::timeout(time, read).await.unwrap_or(Err(BodyError::TimedOut)),
    }
}

#[cfg(test)]
mod tests;
