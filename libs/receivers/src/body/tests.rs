use std::convert::Infallible;

use ::http::HeaderMap;
use http_body_util::{Full, StreamBody};
use proptest::prelude::*;
use tactus_server::bodies::Bodies;
use tactus_work::memory::Budget;
use tokio_stream::StreamExt as _;
use tokio_stream::iter;

use super::*;

async fn held() -> Held {
    Bodies::unbounded().begin(&HeaderMap::new()).await.unwrap()
}

/// Reads with as much memory as there is.
async fn read_body<B>(
    body: B,
    limit: usize,
    time_limit: Option<Duration>,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    super::read_body(body, limit, time_limit, &held().await).await
}

fn chunked(chunks: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
    let frames: Vec<_> =
        chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))).collect();
    StreamBody::new(iter(frames))
}

#[tokio::test]
async fn single_chunk_is_passed_on_without_a_copy() {
    let chunk = Bytes::from_static(b"spans");
    let body = read_body(Full::new(chunk.clone()), 5, None).await.unwrap();
    assert_eq!(body.as_ptr(), chunk.as_ptr());
}

#[tokio::test]
async fn chunks_are_joined() {
    assert_eq!(read_body(chunked(&[b"a", b"", b"bc", b"d"]), 4, None).await.unwrap(), "abcd");
}

#[tokio::test]
async fn body_over_the_limit_is_refused_whether_announced_or_not() {
    let announced = read_body(Full::new(Bytes::from_static(b"12345")), 4, None).await;
    assert_eq!(announced, Err(BodyError::TooLarge));
    assert_eq!(read_body(chunked(&[b"123", b"45"]), 4, None).await, Err(BodyError::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn body_that_never_ends_times_out() {
    let body = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let result = read_body(body, 4, Some(Duration::from_secs(30))).await;
    assert_eq!(result, Err(BodyError::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn body_counts_from_its_first_byte_and_is_cut_off_when_memory_is_needed() {
    let all = Budget::new(4_000);
    let bodies = Bodies::within(&all);
    let begun = iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 1_500])))]);
    let body = StreamBody::new(begun.chain(tokio_stream::pending()));
    let slow = bodies.begin(&HeaderMap::new()).await.unwrap();
    let slow = tokio::spawn(async move {
        super::read_body(body, 10_000, Some(Duration::from_secs(60)), &slow).await
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(all.used(), 1_500);
    let quick = bodies.begin(&HeaderMap::new()).await.unwrap();
    let body = chunked(&[&[0; 500], &[0; 500]]);
    assert_eq!(super::read_body(body, 10_000, None, &quick).await.unwrap().len(), 1_000);
    assert_eq!(slow.await.unwrap(), Err(NoRoom.into()));
    assert!((1_000..=1_500).contains(&all.used()), "{}", all.used());
}

#[tokio::test]
async fn announced_length_alone_allocates_little() {
    let mut gather = Gather::new(held().await);
    gather.push(Bytes::from_static(b"a"), 1 << 30);
    gather.push(Bytes::from_static(b"b"), 1 << 30);
    assert!(gather.rest.capacity() <= 2 * MAX_TRUSTED_BYTES);
}

proptest! {
    #[test]
    fn gather_joins_chunks_whatever_was_expected(chunks: Vec<Vec<u8>>, expected in 0_usize..5000) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut gather = Gather::new(runtime.block_on(held()));
        for chunk in &chunks {
            gather.push(Bytes::from(chunk.clone()), expected);
        }
        let joined = chunks.concat();
        prop_assert_eq!(gather.len(), joined.len());
        prop_assert_eq!(gather.bytes(), &joined[..]);
        prop_assert_eq!(gather.finish(), joined);
    }
}
