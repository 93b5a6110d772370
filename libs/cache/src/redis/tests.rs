use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tactus_config::GoDuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn settings(endpoint: &str) -> Section {
    let timeout = GoDuration::millis(50);
    Section { endpoint: endpoint.to_owned(), timeout, ..Section::default() }
}

/// A server that says the same to everybody, or nothing.
async fn server(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(answer).await;
            open.push(stream);
        }
    });
    (address, connections)
}

#[tokio::test]
async fn server_that_misbehaves_costs_a_bounded_time_and_is_then_left_alone() {
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$99999999\r\nabc"] {
        let (address, connections) = server(answer).await;
        let redis = Redis::new(&settings(&address)).unwrap();
        let started = Instant::now();
        for _ in 0..3 {
            let fetched = redis.get(&["a", "b"]).await;
            assert_eq!(fetched.values, [None, None]);
            assert!(!matches!(fetched.error, None | Some(Error::Unavailable)), "{answer:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{answer:?}");
        let before = connections.load(Ordering::Relaxed);
        for _ in 0..1000 {
            let error = redis.set("a", Bytes::new()).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable), "{error}");
        }
        assert_eq!(connections.load(Ordering::Relaxed), before);
    }
}

/// A server that refuses whatever it is asked, as one that became a replica refuses writes.
async fn replica() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    // Each command begins with one.
                    let commands = bytes[..count].iter().filter(|byte| **byte == b'*').count();
                    let answers = b"-READONLY a replica\r\n".repeat(commands);
                    if stream.write_all(&answers).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn server_that_became_a_replica_is_connected_to_anew_and_not_with_each_write() {
    let (address, connections) = replica().await;
    let section = Section { pool_size: 1, timeout: GoDuration::seconds(5), ..settings(&address) };
    let redis = Redis::new(&section).unwrap();
    for _ in 0..2 {
        let error = redis.set("a", Bytes::new()).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    for _ in 0..10 {
        redis.set("a", Bytes::new()).await.unwrap_err();
    }
    assert!(connections.load(Ordering::Relaxed) < 5);
}

#[tokio::test]
async fn server_that_is_away_is_an_error_of_each_call() {
    let redis = Redis::new(&settings("127.0.0.1:1")).unwrap();
    assert!(redis.check().await.is_err());
    assert!(matches!(redis.set("a", Bytes::new()).await, Err(Error::Redis(_))));
}

#[test]
fn endpoints_decide_what_is_asked() {
    let with = |endpoints: &str, master: &str| {
        source(&Section { master_name: master.to_owned(), ..settings(endpoints) })
    };
    assert!(matches!(with("a:1", ""), Ok(Source::Single(..))));
    assert!(matches!(with("[::1]:1", ""), Ok(Source::Single(..))));
    assert!(matches!(with("a:1, b:1", ""), Ok(Source::Cluster(_))));
    assert!(matches!(with("a:1", "primary"), Ok(Source::Sentinels(_))));
    for wrong in ["", " ,", "a", "a:0", "a:x", ":1"] {
        assert!(matches!(with(wrong, ""), Err(Error::Invalid(_))), "{wrong:?}");
    }
}

#[test]
fn values_live_as_long_as_either_key_says() {
    let ttl = |expiration, ttl| {
        let (expiration, ttl) = (GoDuration::seconds(expiration), GoDuration::seconds(ttl));
        Redis::new(&Section { expiration, ttl, ..settings("a:1") }).unwrap().ttl.as_secs()
    };
    assert_eq!((ttl(0, 5), ttl(1, 5), ttl(0, 0)), (5, 1, 0));
}
