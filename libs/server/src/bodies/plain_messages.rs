//! Decompresses the messages of a gRPC request.
//!
//! The decoder after this would not count the memory of a decompressed message, and would keep it as long as the client
//! does not end its call: a few kilobytes can become megabytes. So it gets messages that are marked as uncompressed.

use std::sync::Arc;

use axum::BoxError;
use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tonic::Status;

use super::counted::COPIES;
use super::frames::{Step, body_of, next_frame};
use super::plain::{DecompressError, Plain, first_capacity};
use super::unfinished_messages::PREFIX_BYTES;
use super::{Bodies, Held, no_room_status};

/// Larger messages are decompressed off the async threads.
const INLINE_BYTES: usize = 4 << 10;

const GRPC_ENCODING: &str = "grpc-encoding";

/// The compression of messages whose flag says that they are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Zstd,
    /// In the framing format. Tempo's services and clients send it, the services after this do not know it.
    Snappy,
}

impl Encoding {
    /// The compression of a call; `None` if there is none, or one that the service has to refuse. The service is not told of
    /// one that it does not know.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let encoding = Self::of(headers);
        if encoding == Some(Self::Snappy) {
            headers.remove(GRPC_ENCODING);
        }
        encoding
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        match headers.get(GRPC_ENCODING)?.as_bytes() {
            b"gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            b"snappy" => Some(Self::Snappy),
            _ => None,
        }
    }
}

/// The source of memory for decompressed messages.
#[derive(Debug, Clone)]
pub(super) enum Memory {
    /// All of them belong to a call.
    Call(Held),
    /// Each is on its own, until the next of them is asked for: from then on it is for the service to count.
    Messages(Arc<Bodies>),
}

/// A body whose messages are made plain one at a time. It ends with a status where there is no memory, or where one is larger than
/// the limit or damaged. `max_bytes`: limit on a message, both as received and decompressed.
pub(super) fn plain_messages(
    body: Body,
    encoding: Encoding,
    max_bytes: usize,
    memory: Memory,
) -> Body {
    let (rest, trailers, passing, held) = (Bytes::new(), None, 0, None);
    let left = Left { body, rest, trailers, encoding, max_bytes, memory, passing, held };
    body_of(left, Left::next)
}

/// What is left of a body.
struct Left {
    body: Body,
    /// Received bytes that have not been processed.
    rest: Bytes,
    /// What came instead of more bytes.
    trailers: Option<Frame<Bytes>>,
    encoding: Encoding,
    max_bytes: usize,
    memory: Memory,
    /// Bytes to come of a message that is passed on as it is.
    passing: usize,
    /// Memory of the message that was passed on.
    held: Option<Held>,
}

impl Left {
    async fn next(mut self) -> Step<Self> {
        // A reader that asks for more has finished with the last message.
        self.held = None;
        if self.passing > 0 {
            let part = self.part(self.passing).await?.ok_or_else(unexpected_end)?;
            self.passing -= part.len();
            return Ok(Some((Frame::data(part), self)));
        }
        let Some(prefix) = self.whole(PREFIX_BYTES).await? else {
            let trailers = self.trailers.take();
            return Ok(trailers.map(|trailers| (trailers, self)));
        };
        let [flag, length @ ..] = <[u8; PREFIX_BYTES]>::try_from(&prefix[..])?;
        let (is_compressed, bytes) = (flag == 1, u32::from_be_bytes(length) as usize);
        // The service refuses messages that are too large.
        if is_compressed && bytes <= self.max_bytes {
            let message = self.whole(bytes).await?.ok_or_else(unexpected_end)?;
            let held = match &self.memory {
                Memory::Call(held) => held.clone(),
                Memory::Messages(bodies) => bodies.nothing(),
            };
            let (plain, held) = make_plain(self.encoding, message, self.max_bytes, held).await?;
            self.held = Some(held);
            return Ok(Some((Frame::data(plain), self)));
        }
        if is_compressed && self.encoding == Encoding::Snappy {
            return Err(too_large(self.max_bytes).into());
        }
        self.passing = bytes;
        Ok(Some((Frame::data(prefix), self)))
    }

    /// This many bytes; `None` at the end. Errors: the body ends within them.
    async fn whole(&mut self, bytes: usize) -> Result<Option<Bytes>, BoxError> {
        let mut gathered = BytesMut::new();
        while gathered.len() < bytes {
            match self.part(bytes - gathered.len()).await? {
                Some(part) => gathered.extend_from_slice(&part),
                None if gathered.is_empty() => return Ok(None),
                None => return Err(unexpected_end().into()),
            }
        }
        Ok(Some(gathered.freeze()))
    }

    /// Of the bytes that are there at most this many; `None` at the end.
    async fn part(&mut self, most: usize) -> Result<Option<Bytes>, BoxError> {
        while self.rest.is_empty() && self.trailers.is_none() {
            let Some(frame) = next_frame(&mut self.body).await? else { return Ok(None) };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => self.trailers = Some(trailers),
            }
        }
        let part = self.rest.split_to(self.rest.len().min(most));
        Ok((!part.is_empty()).then_some(part))
    }
}

fn unexpected_end() -> Status {
    Status::internal("grpc: unexpected end of the request message")
}

/// A message with its prefix, and what it takes.
async fn make_plain(
    encoding: Encoding,
    message: Bytes,
    max_bytes: usize,
    held: Held,
) -> Result<(Bytes, Held), Status> {
    // The first allocation may wait for memory. Later ones must not.
    let first = first_capacity(message.len(), max_bytes);
    held.take_for_work(COPIES * first).await.map_err(|_| no_room_status())?;
    let (of_work, is_small) = (held.clone(), message.len() <= INLINE_BYTES);
    let work = move || {
        let mut taken = first;
        let room = |bytes| match taken.checked_sub(bytes) {
            Some(left) => {
                taken = left;
                true
            }
            None => of_work.try_take_for_work(COPIES * bytes),
        };
        decompress(encoding, &message, max_bytes, room)
    };
    let plain = if is_small {
        work()
    } else {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(DecompressError::Corrupt(error.to_string())))
    };
    plain.map(|plain| (plain, held)).map_err(|error| match error {
        DecompressError::TooLarge { limit } => too_large(limit),
        DecompressError::NoRoom(_) => no_room_status(),
        DecompressError::Corrupt(reason) => {
            Status::internal(format!("grpc: failed to decompress the received message: {reason}"))
        }
    })
}

fn too_large(limit: usize) -> Status {
    let text = format!("grpc: received message after decompression larger than max {limit}");
    Status::resource_exhausted(text)
}

fn decompress(
    encoding: Encoding,
    message: &[u8],
    max_bytes: usize,
    room: impl FnMut(usize) -> bool,
) -> Result<Bytes, DecompressError> {
    let mut plain = Plain::new(message.len(), max_bytes, room)?;
    match encoding {
        Encoding::Gzip => plain.read_gzip(message),
        Encoding::Zstd => plain.read_zstd(message),
        Encoding::Snappy => plain.read(snap::read::FrameDecoder::new(message)),
    }?;
    let bytes = u32::try_from(plain.bytes.len())
        .map_err(|_| DecompressError::TooLarge { limit: max_bytes })?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + plain.bytes.len());
    framed.put_u8(0);
    framed.put_u32(bytes);
    framed.put_slice(&plain.bytes);
    Ok(framed.freeze())
}

#[cfg(test)]
mod tests;
