//! What the fuzz targets feed: bytes of an ingester's log, without the log. Not an interface.

use bytes::Bytes;
use tactus_model::{BatchBuilder, BuilderLimits, SpanBatch};
use tactus_proto::tactus::v1::PushRequest;

use crate::{frame, head};

/// The payload of a frame of the log that holds a push.
pub fn log_payload(push: &PushRequest, refused: &[u32]) -> Vec<u8> {
    frame::FrameSlices::new(push, refused).slices().concat()
}

/// What a replay makes of the payload of a frame of the log: spans in order of arrival; `None` if it holds no push.
pub fn replayed(payload: Bytes) -> Option<SpanBatch> {
    let (push, refused) = frame::decode(payload)?;
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    head::append_replayed(&mut builder, &push, &refused, |_| false).ok()?;
    Some(builder.finish())
}
