use ::http::HeaderMap;
use proptest::prelude::*;
use tactus_server::bodies::{Bodies, NoRoom};

use super::*;
use crate::testing::compress;

const ALL: [Encoding; 7] = [
    Encoding::Gzip,
    Encoding::Zlib,
    Encoding::Deflate,
    Encoding::Zstd,
    Encoding::Snappy,
    Encoding::SnappyFramed,
    Encoding::Lz4,
];

const LIMIT: usize = 1 << 20;

/// Decompresses with as much memory as there is.
fn decompress_now(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    super::decompress_now(encoding, body, limit, |_| true)
}

#[test]
fn memory_is_asked_for_before_it_is_taken() {
    let plain = sample();
    for encoding in ALL {
        let body = compress(encoding, &plain);
        let (mut taken, mut out) = (0, None);
        for room in [plain.len() / 2, 4 * plain.len()] {
            taken = 0;
            out = Some(super::decompress_now(encoding, &body, 1 << 30, |bytes| {
                taken += bytes;
                taken <= room
            }));
            if room < plain.len() {
                assert_eq!(out, Some(Err(NoRoom.into())), "{encoding:?}");
            }
        }
        let out = out.unwrap().unwrap();
        assert!(taken >= out.capacity() && out.capacity() < 3 * plain.len(), "{encoding:?}");
        assert_eq!(out, plain);
    }
}

fn sample() -> Vec<u8> {
    (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
}

#[test]
fn every_encoding_round_trips() {
    for encoding in ALL {
        for plain in [sample(), b"x".to_vec(), Vec::new()] {
            let body = compress(encoding, &plain);
            assert_eq!(decompress_now(encoding, &body, LIMIT), Ok(plain), "{encoding:?}");
        }
    }
}

#[test]
fn limit_is_the_largest_size_that_passes() {
    let plain = sample();
    for encoding in ALL {
        let body = compress(encoding, &plain);
        assert!(decompress_now(encoding, &body, plain.len()).is_ok(), "{encoding:?}");
        let limit = plain.len() - 1;
        let too_large = Err(DecompressError::TooLarge { limit });
        assert_eq!(decompress_now(encoding, &body, limit), too_large, "{encoding:?}");
    }
}

#[test]
fn bomb_is_refused_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    for encoding in ALL {
        let body = compress(encoding, &zeros);
        let too_large = Err(DecompressError::TooLarge { limit: LIMIT });
        assert_eq!(decompress_now(encoding, &body, LIMIT), too_large, "{encoding:?}");
    }
}

#[test]
fn raw_snappy_that_claims_gigabytes_is_refused_before_allocating() {
    let claim = b"\xff\xff\xff\xff\x0f\x00x";
    let too_large = Err(DecompressError::TooLarge { limit: LIMIT });
    assert_eq!(decompress_now(Encoding::Snappy, claim, LIMIT), too_large);
}

#[test]
fn zstd_window_larger_than_the_limit_is_refused() {
    // Frame header: magic, no single segment, window of 2^31 bytes.
    let frame = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    assert!(matches!(
        decompress_now(Encoding::Zstd, frame, LIMIT),
        Err(DecompressError::Corrupt(_))
    ));
}

#[test]
fn body_that_is_cut_off_is_corrupt() {
    let plain = sample();
    for encoding in [
        Encoding::Gzip,
        Encoding::Zlib,
        Encoding::Deflate,
        Encoding::Zstd,
        Encoding::Snappy,
        Encoding::Lz4,
    ] {
        let body = compress(encoding, &plain);
        for length in [1, 5, 9, body.len() / 2, body.len() - 1] {
            let result = decompress_now(encoding, &body[..length], LIMIT);
            assert!(matches!(result, Err(DecompressError::Corrupt(_))), "{encoding:?} {length}");
        }
    }
    // The framing format has no end mark: only a cut inside of a chunk shows.
    let body = compress(Encoding::SnappyFramed, &plain);
    let result = decompress_now(Encoding::SnappyFramed, &body[..body.len() - 1], LIMIT);
    assert!(matches!(result, Err(DecompressError::Corrupt(_))));
}

#[test]
fn deflate_of_http_is_read_with_and_without_its_wrapper() {
    let plain = sample();
    let (wrapped, raw) = (compress(Encoding::Zlib, &plain), compress(Encoding::Deflate, &plain));
    for (body, format) in [(&wrapped, "zlib"), (&raw, "deflate")] {
        assert_eq!(decompress_now(Encoding::Deflate, body, LIMIT), Ok(plain.clone()));
        let result = decompress_now(Encoding::Deflate, &body[..body.len() / 2], LIMIT);
        assert_eq!(result, Err(corrupt(&format!("{format}: unexpected end of body"))));
    }
    assert!(decompress_now(Encoding::Zlib, &raw, LIMIT).is_err());
    let result = decompress_now(Encoding::Deflate, b"not compressed at all", LIMIT);
    assert!(matches!(result, Err(DecompressError::Corrupt(_))), "{result:?}");
}

#[test]
fn gzip_of_two_members_is_read_to_the_end() {
    let body = [compress(Encoding::Gzip, b"one "), compress(Encoding::Gzip, b"two")].concat();
    assert_eq!(decompress_now(Encoding::Gzip, &body, LIMIT), Ok(b"one two".to_vec()));
}

#[test]
fn lz4_of_several_frames_is_read_to_the_end() {
    let frame = |plain: &[u8]| compress(Encoding::Lz4, plain);
    let body = [frame(b"one "), frame(b""), frame(&[b'x'; 100_000]), frame(b" two")].concat();
    let plain = [b"one ", &[b'x'; 100_000][..], b" two"].concat();
    assert_eq!(decompress_now(Encoding::Lz4, &body, LIMIT), Ok(plain.clone()));
    let limit = plain.len() - 1;
    let too_large = Err(DecompressError::TooLarge { limit });
    assert_eq!(decompress_now(Encoding::Lz4, &body, limit), too_large);
}

/// A frame of a hundred bytes, of independent blocks of 4 MiB, which are filled with zeros for each frame.
fn large_block() -> Vec<u8> {
    let mut settings = lz4_flex::frame::FrameInfo::new();
    settings.block_size = lz4_flex::frame::BlockSize::Max4MB;
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(settings, Vec::new());
    std::io::Write::write_all(&mut encoder, &[7; 100]).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lz4_of_more_blocks_than_their_bytes_can_fill_is_refused_before_it_is_decoded() {
    let began = std::time::Instant::now();
    for (frames, limit) in [(10, LIMIT), (100_000, 1 << 30)] {
        let body = large_block().repeat(frames);
        let text = decompress_now(Encoding::Lz4, &body, limit).unwrap_err().to_string();
        assert!(text.contains("too many frames"), "{text}");
    }
    assert!(began.elapsed().as_secs() < 5);
    let body = large_block().repeat(8);
    assert_eq!(decompress_now(Encoding::Lz4, &body, LIMIT), Ok(vec![7; 800]));
    // Small blocks leave room for more frames.
    let body = compress(Encoding::Lz4, &[7; 10]).repeat(500);
    assert_eq!(decompress_now(Encoding::Lz4, &body, LIMIT), Ok(vec![7; 5_000]));
}

#[test]
fn lz4_is_decoded_at_once_only_if_its_blocks_are_small() {
    let small = compress(Encoding::Lz4, &[7; 1_000]);
    assert!(!has_large_blocks(&small));
    assert!(has_large_blocks(&small.repeat(2)));
    assert!(has_large_blocks(&large_block()));
}

#[test]
fn empty_blocks_of_lz4_are_passed_over() {
    let frame = compress(Encoding::Lz4, b"spans");
    // After the descriptor: a block of nothing but a token without literals.
    let body = [&frame[..7], &[1_u8, 0, 0, 0, 0].repeat(1_000)[..], &frame[7..]].concat();
    let plain = decompress_now(Encoding::Lz4, &body, LIMIT);
    assert_eq!(plain, Ok(b"spans".to_vec()));
}

#[test]
fn raw_snappy_that_claims_more_than_it_can_hold_takes_no_memory() {
    let zeros = vec![0; LIMIT];
    let body = compress(Encoding::Snappy, &zeros);
    assert_eq!(decompress_now(Encoding::Snappy, &body, LIMIT), Ok(zeros), "as dense as can be");
    for length in [0, 100, body.len() / 2] {
        let mut taken = 0;
        let result = super::decompress_now(Encoding::Snappy, &body[..3 + length], LIMIT, |bytes| {
            taken += bytes;
            true
        });
        assert!(matches!(result, Err(DecompressError::Corrupt(_))), "{result:?}");
        assert!(taken <= first_capacity(length + 3, LIMIT), "{taken}");
    }
}

#[test]
fn snappy_tells_framed_from_raw_by_the_stream_identifier() {
    let framed = compress(Encoding::SnappyFramed, b"spans");
    assert_eq!(framed[..10], [0xff, 0x06, 0, 0, 0x73, 0x4e, 0x61, 0x50, 0x70, 0x59]);
    assert_eq!(decompress_now(Encoding::Snappy, &framed, LIMIT), Ok(b"spans".to_vec()));
    let raw = compress(Encoding::Snappy, b"spans");
    assert!(decompress_now(Encoding::SnappyFramed, &raw, LIMIT).is_err());
}

#[test]
fn content_encodings_are_known_in_any_case() {
    assert_eq!(Encoding::from_content_encoding("GZip"), Some(Encoding::Gzip));
    assert_eq!(Encoding::from_content_encoding("deflate"), Some(Encoding::Deflate));
    assert_eq!(Encoding::from_content_encoding("br"), None);
}

#[tokio::test]
async fn large_body_is_decompressed_off_the_thread_with_the_same_result() {
    let plain: Vec<u8> = (0..2_000_000_u64).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let body = Bytes::from(compress(Encoding::Zstd, &plain));
    assert!(body.len() > INLINE_BYTES);
    let held = Bodies::unbounded().begin(&HeaderMap::new()).await.unwrap();
    assert_eq!(decompress(Encoding::Zstd, body, 4 << 20, &held, || 1).await.unwrap(), plain);
}

#[tokio::test]
async fn small_body_of_a_large_one_waits_for_a_turn_of_its_tenant() {
    let plain = vec![0; 1 << 20];
    let large = Bytes::from(compress(Encoding::Gzip, &plain));
    let small = Bytes::from(compress(Encoding::Gzip, &plain[..INLINE_PLAIN_BYTES]));
    assert!(large.len() < INLINE_BYTES);
    let held = Bodies::unbounded().begin(&HeaderMap::new()).await.unwrap();
    // All turns, and a line of others.
    let mut turns = Vec::new();
    for _ in 0..cores() {
        turns.push(turn(1).await.unwrap());
    }
    let mut others: Vec<_> = (0..100).map(|_| Box::pin(turn(1))).collect();
    for other in &mut others {
        assert!(poll_once(other.as_mut()).is_pending());
    }
    let mut waiting = Box::pin(decompress(Encoding::Gzip, large, 4 << 20, &held, || 2));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let at_once = decompress(Encoding::Gzip, small, 4 << 20, &held, || 2).await.unwrap();
    assert_eq!(at_once.len(), INLINE_PLAIN_BYTES);
    drop(turns);
    // One of the others may go first; the rest keep their turns.
    let first = others.remove(0);
    let (decompressed, ()) = tokio::join!(waiting, async { drop(first.await) });
    assert_eq!(decompressed.unwrap(), plain);
}

/// Polls a future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_nor_pass_the_limit(body: Vec<u8>, which in 0..ALL.len()) {
        if let Ok(plain) = decompress_now(ALL[which], &body, 4096) {
            prop_assert!(plain.len() <= 4096);
        }
    }

    #[test]
    fn damaged_body_never_panics(
        which in 0..ALL.len(),
        plain in proptest::collection::vec(any::<u8>(), 0..2000),
        position: proptest::sample::Index,
        value: u8,
    ) {
        let mut body = compress(ALL[which], &plain);
        if !body.is_empty() {
            let position = position.index(body.len());
            body[position] = value;
        }
        let _ = decompress_now(ALL[which], &body, 4096);
    }
}
