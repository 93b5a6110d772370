//! What an ingester finds on its disk when it starts.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use tactus_model::TenantId;
use tactus_model::walk::walk_export;
use tactus_proto::tactus::v1::{PushRequest, SpanRun};
use tactus_recent_data::fuzzing;

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

/// The first byte: whether what follows is the file of a cut, or one segment whose checksums are right.
pub(crate) fn feed_segments(input: &[u8]) {
    let Some((&choice, content)) = input.split_first() else { return };
    let path = file_of_thread();
    if choice & 1 == 0 {
        fs::write(&path, content).expect("a temporary file is written");
        let _ = fuzzing::open_cut(&path);
    } else {
        let _ = fuzzing::open_segment(&path, &mut content.to_vec());
    }
    // One that was opened may have deleted itself.
    let _ = fs::remove_file(&path);
}

fn file_of_thread() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
    folder.path().join(format!("{:?}", std::thread::current().id()))
}

pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let tenants = ["team-a", "team-b"].map(|name| TenantId::parse(name).expect("a tenant's name"));
    let path = file_of_thread();
    let sorted = sample::sorted(3);
    fuzzing::write_cut(&path, &tenants, &sorted).expect("a temporary file is written");
    assert_eq!(fuzzing::open_cut(&path).expect("a sound file"), tenants.len());
    let file = fs::read(&path).expect("a temporary file is read");
    // The first segment of the file, as one of its own.
    let magic = b"TACTSEG2";
    let starts: Vec<_> = (0..file.len()).filter(|&at| file[at..].starts_with(magic)).collect();
    let (first, second) = (starts[0], starts[1]);
    vec![[&[0][..], &file].concat(), [&[1][..], &file[first..second]].concat()]
}
