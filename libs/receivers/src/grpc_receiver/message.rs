//! The one message of a unary gRPC request.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;
use tactus_server::bodies::Held;
use tactus_server::grpc::message_too_large;
use tonic::Code;

use crate::body::{BodyError, Gather, within};
use crate::refusal::Refusal;

/// Bytes before a message: compression flag and big-endian length.
pub(super) const PREFIX_BYTES: usize = 5;

/// A message as sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawMessage {
    pub(super) is_compressed: bool,
    pub(super) payload: Bytes,
}

/// Reads a request body that holds exactly one message of at most `limit` bytes, which `held` takes memory for.
pub(super) async fn read_message<B>(
    body: B,
    limit: usize,
    time_limit: Option<Duration>,
    held: &Held,
) -> Result<RawMessage, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let read = async {
        let mut body = pin!(body);
        let mut gather = Gather::new(held.clone());
        let mut expected = None;
        while let Some(frame) = gather.frame(&mut body).await? {
            let Ok(chunk) = frame.into_data() else { continue };
            gather.add(chunk, expected.unwrap_or(0), body.is_end_stream()).await?;
            if expected.is_none() {
                match parse_prefix(gather.bytes(), limit) {
                    Ok(total) => expected = total,
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            if expected.is_some_and(|expected| gather.len() > expected) {
                return Ok(Err(internal("grpc: more than one message in a unary request")));
            }
        }
        if expected != Some(gather.len()) {
            return Ok(Err(internal("grpc: unexpected end of the request message")));
        }
        held.arrived();
        let mut payload = gather.finish();
        let is_compressed = payload.get_u8() == 1;
        payload.advance(PREFIX_BYTES - 1);
        Ok(Ok(RawMessage { is_compressed, payload }))
    };
    within(time_limit, read).await.unwrap_or_else(|error| {
        Err(match error {
            BodyError::NoRoom(no_room) => no_room.into(),
            BodyError::TimedOut => Refusal::new(Code::DeadlineExceeded, error.to_string()),
            _ => Refusal::new(Code::Cancelled, error.to_string()),
        })
    })
}

/// Bytes of prefix and message together, once the prefix is complete.
fn parse_prefix(start: &[u8], limit: usize) -> Result<Option<usize>, Refusal> {
    let Some(&[flag, a, b, c, d]) = start.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    if flag > 1 {
        return Err(internal(&format!("grpc: invalid compression flag {flag}")));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > limit {
        return Err(Refusal::new(Code::ResourceExhausted, message_too_large(length, limit)));
    }
    Ok(Some(PREFIX_BYTES + length))
}

fn internal(text: &str) -> Refusal {
    Refusal::new(Code::Internal, text)
}
