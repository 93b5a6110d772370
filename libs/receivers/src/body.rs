//! Reading a request body into one buffer, with a bound and with at most one copy.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

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
}

/// Collects chunks. A single chunk is passed on as it is; several are copied once.
#[derive(Default)]
pub(crate) struct Gather {
    first: Bytes,
    rest: BytesMut,
}

impl Gather {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// Adds a chunk. `expected`: bytes of all chunks together, as far as known.
    pub(crate) fn push(&mut self, chunk: Bytes, expected: usize) {
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

/// Reads a whole body of at most `limit` bytes.
///
/// With a known length memory is allocated once. The limit holds before memory is spent.
pub(crate) async fn read_body<B>(
    body: B,
    limit: usize,
    time_limit: Option<Duration>,
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
        let mut gather = Gather::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(chunk) = frame.into_data() else { continue };
            if chunk.len() > limit - gather.len() {
                return Err(BodyError::TooLarge);
            }
            gather.push(chunk, announced as usize);
        }
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
