//! Codecs of gRPC: that of calls between services refuses a message that would take many times its length before it is decoded;
//! two others leave requests as their bytes, on the side that answers and on the side that asks.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::shape::Shaped;

/// What any message may take besides: a short one may name many members of a large cluster.
const FREE_BYTES: u64 = 64 << 10;

/// The codec.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Shaped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::default())
    }
}

/// Its decoder.
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Shaped> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        check::<U>(message.chunk())?;
        self.0.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Errors: the message is not to be decoded.
fn check<U: Shaped>(message: &[u8]) -> Result<(), Status> {
    let (length, most) = (message.len() as u64, U::MOST_TIMES);
    if U::decoded_bytes(message) > most * length + FREE_BYTES {
        let text = format!("a message of {length} bytes would take more than {most} times as many");
        return Err(Status::internal(text));
    }
    Ok(())
}

/// A server's codec that leaves requests as they came, and answers with `A`.
#[derive(Debug)]
pub struct RawRequests<A>(PhantomData<A>);

/// A client's codec that sends requests that are encoded already, and reads answers of `A`.
#[derive(Debug)]
pub struct RawCalls<A>(PhantomData<A>);

impl<A> Default for RawRequests<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A> Default for RawCalls<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A: Message + Send + 'static> Codec for RawRequests<A> {
    type Encode = A;
    type Decode = Bytes;
    type Encoder = ProstEncoder<A>;
    type Decoder = RawBytes;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> RawBytes {
        RawBytes
    }
}

impl<A: Message + Default + Send + 'static> Codec for RawCalls<A> {
    type Encode = Bytes;
    type Decode = A;
    type Encoder = RawBytes;
    type Decoder = ProstDecoder<A>;

    fn encoder(&mut self) -> RawBytes {
        RawBytes
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

/// Messages as their bytes.
#[derive(Debug)]
pub struct RawBytes;

impl Encoder for RawBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for RawBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tactus::v1::{PushRequest, SpanRun};

    #[test]
    fn message_that_would_take_many_times_its_length_is_refused() {
        let push = |runs| {
            let runs = vec![SpanRun::default(); runs];
            check::<PushRequest>(&PushRequest { runs, ..PushRequest::default() }.encode_to_vec())
        };
        assert!(push(500).is_ok(), "few enough whatever they take");
        let refused = push(500_000).unwrap_err();
        assert!(
            refused.message().starts_with("a message of 1000000 bytes would take"),
            "{refused}"
        );
        let run = SpanRun { scope_spans: vec![0; 100].into(), ..SpanRun::default() };
        let push = PushRequest { runs: vec![run; 500_000], ..PushRequest::default() };
        check::<PushRequest>(&push.encode_to_vec()).unwrap();
    }
}
