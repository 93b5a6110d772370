//! Feeds the decoders of Jaeger's protocols arbitrary bytes and damaged real requests, like the fuzz targets but on
//! stable Rust. Neither causes a panic, and what can be decoded can be written as OTLP.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use tactus_proto::otlp::ExportTraceServiceRequest;

use crate::agent::call_to_otlp;
use crate::span::batch_to_otlp;
use crate::testing::{BINARY, COMPACT, PROTOBUF, STRICT_CALL, ZIPKIN, bytes, zipkin_spans};
use crate::to_otlp::{ModelError, post_spans_to_otlp};

fn check_request(made: Result<Bytes, ModelError>) {
    if let Ok(request) = made {
        assert!(ExportTraceServiceRequest::decode(request).is_ok());
    }
}

/// Every decoder of bytes from outside.
fn check(input: Vec<u8>) {
    let input = Bytes::from(input);
    check_request(call_to_otlp(input.clone()));
    let _damage = zipkin_spans(input.clone());
    check_request(batch_to_otlp(input.clone()));
    check_request(post_spans_to_otlp(&input));
}

fn sample() -> impl Strategy<Value = Vec<u8>> {
    let strict = format!("{STRICT_CALL}{BINARY}00");
    let samples = [COMPACT, BINARY, &strict, ZIPKIN, PROTOBUF].map(|hex| bytes(hex).to_vec());
    prop::sample::select(samples.to_vec())
}

#[test]
fn truncated_calls_are_errors() {
    let strict = format!("{STRICT_CALL}{BINARY}00");
    for sample in [COMPACT, &strict, ZIPKIN].map(bytes) {
        for length in 0..sample.len() {
            assert!(call_to_otlp(sample.slice(..length)).is_err(), "{length}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_no_panic(input: Vec<u8>) {
        check(input);
    }

    #[test]
    fn truncated_samples_are_no_panic(sample in sample(), length: Index) {
        check(sample[..length.index(sample.len())].to_vec());
    }

    #[test]
    fn changed_bytes_are_no_panic(
        mut sample in sample(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        for (place, byte) in changes {
            let place = place.index(sample.len());
            sample[place] = byte;
        }
        check(sample);
    }

    #[test]
    fn inserted_bytes_are_no_panic(
        mut sample in sample(),
        place: Index,
        inserted in prop::collection::vec(any::<u8>(), 1..12),
    ) {
        let place = place.index(sample.len());
        sample.splice(place..place, inserted);
        check(sample);
    }

    #[test]
    fn huge_declared_lengths_are_no_panic(
        mut sample in sample(),
        place: Index,
        huge in prop::sample::select(vec![
            vec![0x7f, 0xff, 0xff, 0xff],
            vec![0xff, 0xff, 0xff, 0xff],
            vec![0xff, 0xff, 0xff, 0xff, 0x07],
            vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ]),
    ) {
        let start = place.index(sample.len());
        let end = (start + huge.len()).min(sample.len());
        sample.splice(start..end, huge);
        check(sample);
    }
}
