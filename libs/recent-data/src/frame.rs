//! The content of a frame of the write-ahead log: which spans of a push were refused, then the encoded PushRequest.
//!
//! ```text
//! refused: u32  refused x { position in the push: u32 }  PushRequest protobuf
//! ```
//!
//! The positions ascend. One that is there once was refused because its trace was too large, one that is there twice
//! because there were too many traces. Only the former makes its trace one that was cut. Releases that do not know the
//! difference list each position once, and leave out the spans of both kinds.

use bytes::{Buf, Bytes};
use prost::Message;
use tactus_model::wire::{put_bytes_field, put_fixed64_field, put_varint, put_varint_field};
use tactus_proto::tactus::v1::PushRequest;

/// The slices of a frame. Large parts of the push are referred to, not copied.
pub(crate) struct FrameSlices<'a> {
    /// Headers of all parts, one after the other.
    headers: Vec<u8>,
    /// The end of each header, and the payload that follows it.
    parts: Vec<(usize, &'a [u8])>,
}

impl<'a> FrameSlices<'a> {
    /// Lays out the frame of a push. `refused`: as in `Appended::refused_spans`.
    pub(crate) fn new(push: &'a PushRequest, refused: &[u32]) -> Self {
        let mut headers = Vec::with_capacity(256 + 16 * push.runs.len());
        let mut parts = Vec::with_capacity(push.runs.len() + 1);
        headers.extend_from_slice(&(refused.len() as u32).to_le_bytes());
        for position in refused {
            headers.extend_from_slice(&position.to_le_bytes());
        }
        put_bytes_field(&mut headers, 1, push.tenant.as_bytes());
        for resource in &push.resources {
            put_varint(&mut headers, 2 << 3 | 2);
            put_varint(&mut headers, resource.len() as u64);
            parts.push((headers.len(), &resource[..]));
        }
        for scope in &push.scopes {
            put_varint(&mut headers, 3 << 3 | 2);
            put_varint(&mut headers, scope.len() as u64);
            parts.push((headers.len(), &scope[..]));
        }
        let mut run_header = Vec::with_capacity(32);
        for run in &push.runs {
            run_header.clear();
            put_varint_field(&mut run_header, 1, u64::from(run.resource));
            put_varint_field(&mut run_header, 2, u64::from(run.scope));
            put_fixed64_field(&mut run_header, 4, run.origin);
            put_varint(&mut run_header, 3 << 3 | 2);
            put_varint(&mut run_header, run.scope_spans.len() as u64);
            put_varint(&mut headers, 4 << 3 | 2);
            put_varint(&mut headers, (run_header.len() + run.scope_spans.len()) as u64);
            headers.extend_from_slice(&run_header);
            parts.push((headers.len(), &run.scope_spans[..]));
        }
        Self { headers, parts }
    }

    /// The slices in order.
    pub(crate) fn slices(&self) -> Vec<&[u8]> {
        let mut slices = Vec::with_capacity(2 * self.parts.len() + 1);
        let mut start = 0;
        for &(end, payload) in &self.parts {
            slices.push(&self.headers[start..end]);
            slices.push(payload);
            start = end;
        }
        slices.push(&self.headers[start..]);
        slices
    }
}

/// Decodes a frame. `None` if it is malformed, which its checksum should have shown before.
pub(crate) fn decode(mut frame: Bytes) -> Option<(PushRequest, Vec<u32>)> {
    if frame.len() < 4 {
        return None;
    }
    let refused = frame.get_u32_le() as usize;
    if frame.len() / 4 < refused {
        return None;
    }
    let positions = (0..refused).map(|_| frame.get_u32_le()).collect();
    Some((PushRequest::decode(frame).ok()?, positions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::tactus::v1::SpanRun;

    #[test]
    fn frame_reads_back() {
        let run = |resource, scope, origin, bytes: &'static [u8]| SpanRun {
            resource,
            scope,
            scope_spans: Bytes::from_static(bytes),
            origin,
        };
        let push = PushRequest {
            tenant: "t1".into(),
            resources: vec![Bytes::from_static(b"r0"), Bytes::new()],
            scopes: vec![Bytes::new()],
            runs: vec![run(0, 0, 0, b"spans"), run(1, 300, 1 << 63 | 5, &[0; 200])],
        };
        let refused = [0, 700, 700];
        let frame = FrameSlices::new(&push, &refused).slices().concat();
        assert_eq!(decode(frame.into()), Some((push, refused.to_vec())));
        assert_eq!(decode(Bytes::from_static(b"\xff\xff\xff\xff")), None);
    }
}
