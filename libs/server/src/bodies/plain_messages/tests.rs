use std::io::Write as _;

use futures_util::stream;
use http_body_util::BodyExt as _;
use tactus_work::memory::Budget;
use tonic::Code;

use super::*;

const MAX_BYTES: usize = 1 << 20;

fn compressed(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
        Encoding::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Encoding::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.into_inner().unwrap()
        }
    }
}

const ALL: [Encoding; 3] = [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy];

fn message(flag: u8, payload: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

/// The messages in chunks of this size, made plain.
fn body(encoding: Encoding, messages: &[u8], chunk: usize, memory: Memory) -> Body {
    let chunks: Vec<_> =
        messages.chunks(chunk).map(|it| Ok::<_, BoxError>(Bytes::copy_from_slice(it))).collect();
    plain_messages(Body::from_stream(stream::iter(chunks)), encoding, MAX_BYTES, memory)
}

async fn next(body: &mut Body) -> Option<Result<Bytes, Status>> {
    let frame = body.frame().await?;
    let status = |error: axum::Error| *error.into_inner().downcast::<Status>().unwrap();
    Some(frame.map(|frame| frame.into_data().unwrap()).map_err(status))
}

/// All that the body has, or how it ends.
async fn read(body: &mut Body) -> Result<Vec<u8>, Status> {
    let mut all = Vec::new();
    while let Some(part) = next(body).await {
        all.extend_from_slice(&part?);
    }
    Ok(all)
}

fn unbounded() -> Memory {
    Memory::Messages(Bodies::unbounded())
}

#[tokio::test]
async fn compressed_messages_become_plain_and_others_stay_however_they_are_cut_into_chunks() {
    let plain = [vec![7; 100_000], b"short".to_vec(), Vec::new(), vec![9; 30_000]];
    for encoding in ALL {
        let mut sent = Vec::new();
        for (at, plain) in plain.iter().enumerate() {
            sent.extend(message(1, &compressed(encoding, plain)));
            sent.extend(message(0, &plain[..plain.len() / (at + 1)]));
        }
        let of_plain = |(at, plain): (usize, &Vec<u8>)| {
            [message(0, plain), message(0, &plain[..plain.len() / (at + 1)])].concat()
        };
        let wanted: Vec<u8> = plain.iter().enumerate().flat_map(of_plain).collect();
        for chunk in [1, 3, 7, 1_000, 1_000_000] {
            let found = read(&mut body(encoding, &sent, chunk, unbounded())).await.unwrap();
            assert!(found == wanted, "{encoding:?} {chunk}");
        }
    }
}

#[tokio::test]
async fn bomb_and_damage_end_the_call_with_a_status() {
    for encoding in ALL {
        let largest = compressed(encoding, &vec![0; MAX_BYTES]);
        let bomb = compressed(encoding, &vec![0; MAX_BYTES + 1]);
        let cut = &largest[..largest.len() - 1];
        assert!(read(&mut body(encoding, &message(1, &largest), 999, unbounded())).await.is_ok());
        for (payload, code, text) in [
            (&bomb[..], Code::ResourceExhausted, "larger than max 1048576"),
            (cut, Code::Internal, "failed to decompress"),
            (b"other", Code::Internal, "failed to decompress"),
        ] {
            let mut body = body(encoding, &message(1, payload), 999, unbounded());
            let status = read(&mut body).await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(text), "{status}");
            assert!(next(&mut body).await.is_none());
        }
        let unfinished = message(1, &largest);
        let mut body = body(encoding, &unfinished[..unfinished.len() - 1], 999, unbounded());
        assert_eq!(read(&mut body).await.unwrap_err().code(), Code::Internal);
    }
}

#[tokio::test]
async fn plain_message_counts_as_long_as_its_call() {
    let all = Budget::new(64 << 20);
    let bodies = Bodies::within(&all);
    let call = bodies.nothing();
    let sent = message(1, &compressed(Encoding::Zstd, &vec![0; MAX_BYTES]));
    let mut body = body(Encoding::Zstd, &sent, 999, Memory::Call(call.clone()));
    read(&mut body).await.unwrap();
    drop(body);
    assert!(all.used() >= 2 * MAX_BYTES as u64, "{}", all.used());
    drop(call);
    assert_eq!(all.used(), 0);
}

#[tokio::test]
async fn plain_message_of_a_call_that_lasts_counts_until_the_next_is_asked_for() {
    let all = Budget::new(64 << 20);
    let memory = Memory::Messages(Bodies::within(&all));
    let sent = message(1, &compressed(Encoding::Gzip, &vec![0; MAX_BYTES]));
    let mut body = body(Encoding::Gzip, &sent.repeat(2), 1 << 20, memory);
    for _ in 0..2 {
        assert_eq!(next(&mut body).await.unwrap().unwrap().len(), MAX_BYTES + 5);
        let used = all.used();
        assert!((2 * MAX_BYTES as u64..5 * MAX_BYTES as u64).contains(&used), "{used}");
    }
    assert!(next(&mut body).await.is_none());
    assert_eq!(all.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn message_without_room_ends_the_call_and_leaves_nothing_behind() {
    let all = Budget::new(MAX_BYTES as u64);
    let others = all.reserve(MAX_BYTES as u64 / 2).unwrap();
    let memory = Memory::Messages(Bodies::within(&all));
    for encoding in ALL {
        let sent = message(1, &compressed(encoding, &vec![0; MAX_BYTES]));
        let status = read(&mut body(encoding, &sent, 1 << 20, memory.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("server.max_inflight_bytes"), "{status}");
        assert_eq!(all.used(), others.bytes());
    }
}

#[tokio::test]
async fn snappy_message_that_is_too_large_as_it_comes_is_refused_before_it_is_read() {
    let prefix = [&[1][..], &(MAX_BYTES as u32 + 1).to_be_bytes()].concat();
    let status = read(&mut body(Encoding::Snappy, &prefix, 9, unbounded())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[test]
fn service_is_not_told_of_snappy() {
    for (name, encoding, left) in [
        ("snappy", Some(Encoding::Snappy), None),
        ("gzip", Some(Encoding::Gzip), Some("gzip")),
        ("other", None, Some("other")),
    ] {
        let mut headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(GRPC_ENCODING),
            http::HeaderValue::from_static(name),
        )]);
        assert_eq!(Encoding::take(&mut headers), encoding);
        assert_eq!(headers.get(GRPC_ENCODING).map(|left| left.to_str().unwrap()), left);
    }
}
