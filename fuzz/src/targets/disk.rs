//! What an ingester finds on its disk when it starts.

use bytes::Bytes;
use prost::Message;
use tactus_ingester::fuzzing;
use tactus_model::walk::walk_export;
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

use super::otlp;
use crate::sample;

/// The first byte: whether what follows is a part of the log, or the payload of a frame whose checksum is right.
pub(crate) fn feed_log(input: &[u8]) {
    let Some((&choice, content)) = input.split_first() else { return };
    let payloads = match choice & 1 {
        0 => tactus_wal::fuzzing::payloads(content),
        _ => vec![Bytes::copy_from_slice(content)],
    };
    for payload in payloads {
        if let Some(batch) = fuzzing::replayed(payload) {
            otlp::check(&batch);
        }
    }
}

pub(crate) fn log_seeds() -> Vec<Vec<u8>> {
    let request = Bytes::from(sample::request(2).encode_to_vec());
    let walk = walk_export(&request, |_| {}).expect("the sample is sound");
    let slice = |range: &std::ops::Range<usize>| request.slice(range.clone());
    let runs = walk.runs.iter().enumerate().map(|(number, run)| SpanRun {
        resource: run.resource,
        scope: run.scope,
        scope_spans: slice(&run.scope_spans),
        origin: number as u64,
    });
    let push = PushRequest {
        tenant: "team-a".to_owned(),
        resources: walk.resources.iter().map(slice).collect(),
        scopes: walk.scopes.iter().map(slice).collect(),
        runs: runs.collect(),
    };
    let payload = fuzzing::log_payload(&push, &[1, 4]);
    let frame = tactus_wal::fuzzing::frame(&payload).expect("a short payload");
    let part = [frame.as_slice(), frame.as_slice()].concat();
    vec![[&[0][..], &part].concat(), [&[1][..], &payload].concat()]
}
