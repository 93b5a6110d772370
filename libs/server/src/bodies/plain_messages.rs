//! Decompresses the messages of a gRPC request.
//!
//! The decoder after this would not count the memory of a decompressed message, and would keep it as long as the client
//! does not end its call: a few kilobytes can become megabytes. So it gets messages that are marked as uncompressed.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};

use axum::BoxError;
use axum::body::Body;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::counted::COPIES;
use super::data::{Part, poll_part};
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
/// the limit or damaged.
pub(super) struct PlainMessages {
    body: Body,
    encoding: Encoding,
    /// Limit on a message, both as received and decompressed.
    max_bytes: usize,
    memory: Memory,
    /// Received bytes that have not been processed.
    rest: Bytes,
    place: Place,
    /// Memory of the message that was passed on.
    held: Option<Held>,
}

enum Place {
    /// Within the bytes before a message.
    Prefix(BytesMut),
    /// Within a message that is passed on as it is, this many bytes before its end.
    Passing(usize),
    /// Within a compressed one that has this many bytes.
    Gathering(BytesMut, usize),
    Working(BoxFuture<'static, Result<(Bytes, Held), Status>>),
    Ended,
}

type Next = Option<Result<Frame<Bytes>, BoxError>>;

impl PlainMessages {
    pub(super) fn new(body: Body, encoding: Encoding, max_bytes: usize, memory: Memory) -> Self {
        let (rest, place) = (Bytes::new(), Place::Prefix(BytesMut::new()));
        Self { body, encoding, max_bytes, memory, rest, place, held: None }
    }

    /// Goes on over what came. What of it is to be passed on, if anything.
    fn step(&mut self) -> Option<Bytes> {
        match &mut self.place {
            Place::Prefix(prefix) => {
                let part = self.rest.len().min(PREFIX_BYTES - prefix.len());
                prefix.extend_from_slice(&self.rest.split_to(part));
                let &[flag, a, b, c, d] = prefix.first_chunk()?;
                let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
                // The service refuses messages that are too large.
                if flag == 1 && bytes <= self.max_bytes {
                    self.place = Place::Gathering(BytesMut::new(), bytes);
                    self.work_if_whole();
                    return None;
                }
                if flag == 1 && self.encoding == Encoding::Snappy {
                    let error = too_large(self.max_bytes);
                    self.place = Place::Working(ready(Err(error)).boxed());
                    return None;
                }
                let prefix = std::mem::take(prefix).freeze();
                self.pass(bytes);
                Some(prefix)
            }
            Place::Passing(left) => {
                let part = self.rest.split_to(self.rest.len().min(*left));
                let left = *left - part.len();
                self.pass(left);
                Some(part)
            }
            Place::Gathering(gathered, bytes) => {
                let part = self.rest.len().min(*bytes - gathered.len());
                gathered.extend_from_slice(&self.rest.split_to(part));
                self.work_if_whole();
                None
            }
            Place::Working(_) | Place::Ended => None,
        }
    }

    fn pass(&mut self, left: usize) {
        self.place = match left {
            0 => Place::Prefix(BytesMut::new()),
            left => Place::Passing(left),
        };
    }

    fn work_if_whole(&mut self) {
        let Place::Gathering(gathered, bytes) = &mut self.place else { return };
        if gathered.len() == *bytes {
            let message = std::mem::take(gathered).freeze();
            let held = match &self.memory {
                Memory::Call(held) => held.clone(),
                Memory::Messages(bodies) => bodies.nothing(),
            };
            let plain = make_plain(self.encoding, message, self.max_bytes, held);
            self.place = Place::Working(plain.boxed());
        }
    }

    /// Ends the body, and gives back what it took.
    fn refuse(&mut self, status: Status) -> Poll<Next> {
        (self.held, self.rest, self.place) = (None, Bytes::new(), Place::Ended);
        self.body = Body::empty();
        Poll::Ready(Some(Err(status.into())))
    }
}

impl http_body::Body for PlainMessages {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = self.get_mut();
        // A reader that asks for more has finished with the last message.
        this.held = None;
        loop {
            match &mut this.place {
                Place::Working(work) => match task::ready!(work.as_mut().poll(cx)) {
                    Ok((message, held)) => {
                        (this.held, this.place) = (Some(held), Place::Prefix(BytesMut::new()));
                        return Poll::Ready(Some(Ok(Frame::data(message))));
                    }
                    Err(status) => return this.refuse(status),
                },
                Place::Ended => return Poll::Ready(None),
                _ => {}
            }
            if this.rest.has_remaining() {
                if let Some(part) = this.step() {
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                continue;
            }
            match task::ready!(poll_part(&mut this.body, cx)) {
                Part::Data(chunk) => this.rest = chunk,
                Part::Other(None) if !this.is_between_messages() => {
                    let text = "grpc: unexpected end of the request message";
                    return this.refuse(Status::internal(text));
                }
                Part::Other(None) => {
                    this.place = Place::Ended;
                    return Poll::Ready(None);
                }
                Part::Other(other) => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_ended = matches!(self.place, Place::Ended) || self.body.is_end_stream();
        is_ended && self.rest.is_empty() && self.is_between_messages()
    }

    fn size_hint(&self) -> SizeHint {
        // The size of the rest is unknown.
        SizeHint::default()
    }
}

impl PlainMessages {
    fn is_between_messages(&self) -> bool {
        match &self.place {
            Place::Prefix(prefix) => prefix.is_empty(),
            Place::Ended => true,
            _ => false,
        }
    }
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
