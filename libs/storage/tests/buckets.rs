//! What every bucket must do, whatever store it is in.
//!
//! The local store always takes part; the others do when `TACTUS_TEST_BUCKETS` describes them, as
//! the black-box tests do with the servers that they start: a JSON list of `{"store", "bucket",
//! "endpoint", "prefix", "account", "key", "secret"}`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test fail it by panicking")]

use std::io::Write;

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::Deserialize;
use tactus_config::sections::object_store::{Azure, Gcs, S3};
use tactus_config::{GoDuration, Secret};
use tactus_storage::bucket::ObjectInfo;
use tactus_storage::{Bucket, BucketSettings};

/// One remote bucket of the environment; it must be empty.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Described {
    store: String,
    bucket: String,
    endpoint: String,
    prefix: String,
    account: String,
    key: String,
    secret: String,
}

impl Default for Described {
    fn default() -> Self {
        let empty = String::new;
        Self {
            store: empty(),
            bucket: empty(),
            endpoint: empty(),
            prefix: empty(),
            account: empty(),
            key: empty(),
            secret: empty(),
        }
    }
}

const PART: usize = 5 << 20;

fn settings(described: Described) -> BucketSettings {
    let hedge_requests_at = GoDuration::millis(200);
    let Described { store, bucket, endpoint, prefix, account, key, secret } = described;
    match store.as_str() {
        "s3" => BucketSettings::S3(Box::new(S3 {
            bucket,
            endpoint,
            prefix,
            insecure: true,
            access_key: key,
            secret_key: Secret::new(secret),
            part_size: PART as u64,
            retry_max_attempts: 2,
            hedge_requests_at,
            ..S3::default()
        })),
        "gcs" => BucketSettings::Gcs(Box::new(Gcs {
            bucket_name: bucket,
            endpoint,
            prefix,
            insecure: true,
            chunk_buffer_size: PART as u64,
            max_retries: 1,
            hedge_requests_at,
            ..Gcs::default()
        })),
        "azure" => BucketSettings::Azure(Box::new(Azure {
            container_name: bucket,
            endpoint_suffix: endpoint,
            prefix,
            storage_account_name: account,
            storage_account_key: Secret::new(secret),
            buffer_size: PART as u64,
            hedge_requests_at,
            ..Azure::default()
        })),
        other => panic!("no such store: {other:?}"),
    }
}

#[tokio::test]
async fn every_bucket_keeps_its_promises() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let mut all = vec![BucketSettings::Local { path: directory.path().join("bucket") }];
    if let Ok(text) = std::env::var("TACTUS_TEST_BUCKETS") {
        let described: Vec<Described> = serde_json::from_str(&text).unwrap();
        all.extend(described.into_iter().map(settings));
    }
    for settings in all {
        let bucket = Bucket::open(&settings).unwrap();
        println!("checking {bucket:?}");
        bucket.check().await.unwrap();
        assert_eq!(keys(&bucket, "").await, Vec::<String>::new(), "the check leaves nothing");
        objects_are_read_back(&bucket).await;
        conditional_writes_have_one_winner(&bucket).await;
        streamed_objects_appear_at_once_or_not_at_all(&bucket).await;
        large_files_are_put(&bucket).await;
        odd_names_are_kept_apart(&bucket).await;
        listings_begin_after_a_key(&bucket).await;
        assert_eq!(keys(&bucket, "").await, Vec::<String>::new(), "all is deleted");
    }
}

async fn keys(bucket: &Bucket, prefix: &str) -> Vec<String> {
    let mut keys: Vec<_> =
        bucket.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect();
    keys.sort_unstable();
    keys
}

/// Directories with something in them; a disk keeps empty ones.
async fn directories(bucket: &Bucket, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in bucket.list_directories(prefix).await.unwrap() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if !keys(bucket, &path).await.is_empty() {
            found.push(name);
        }
    }
    found
}

async fn objects_are_read_back(bucket: &Bucket) {
    bucket.put("t/x", Bytes::from_static(b"other")).await.unwrap();
    bucket.put("t/x", Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(bucket.get("t/x").await.unwrap(), "0123456789");
    assert_eq!(bucket.get_range("t/x", 2..5).await.unwrap(), "234");
    assert_eq!(bucket.get_ranges("t/x", &[8..10, 0..1]).await.unwrap(), ["89", "0"]);
    let ObjectInfo { key, size, .. } = bucket.head("t/x").await.unwrap();
    assert_eq!((key.as_str(), size), ("t/x", 10));
    assert!(bucket.get_range("t/x", 5..20).await.is_err());
    bucket.put("t/empty", Bytes::new()).await.unwrap();
    assert_eq!(bucket.get("t/empty").await.unwrap(), "");
    for _ in 0..2 {
        bucket.delete_all(vec!["t/x".into(), "t/empty".into()]).await.unwrap();
    }
    for missing in [bucket.get("t/x").await.map(drop), bucket.head("t/x").await.map(drop)] {
        assert!(missing.unwrap_err().is_not_found());
    }
}

async fn conditional_writes_have_one_winner(bucket: &Bucket) {
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let (bucket, bytes) = (bucket.clone(), Bytes::from(format!("{number}")));
            tokio::spawn(async move { bucket.put_if_version("t/one", bytes, None).await.unwrap() })
        })
        .collect();
    let mut winners = Vec::new();
    for (number, writer) in writers.into_iter().enumerate() {
        if writer.await.unwrap().is_some() {
            winners.push(number.to_string());
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(bucket.get("t/one").await.unwrap(), winners[0].as_bytes());
    bucket.delete("t/one").await.unwrap();
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at >> 16) as u8).collect()
}

async fn streamed_objects_appear_at_once_or_not_at_all(bucket: &Bucket) {
    for length in [0, 1, PART, 2 * PART + 17] {
        let (there, runtime) = (bucket.clone(), tokio::runtime::Handle::current());
        let written = tokio::task::spawn_blocking(move || {
            let mut dropped = there.writer("t/dropped", 0, &runtime).unwrap();
            dropped.write_all(&bytes(length)).unwrap();
            dropped.abort();
            let mut writer = there.writer("t/streamed", 0, &runtime).unwrap();
            bytes(length).chunks(100_000).for_each(|piece| writer.write_all(piece).unwrap());
            assert!(runtime.block_on(there.head("t/streamed")).unwrap_err().is_not_found());
            writer.finish().unwrap()
        });
        assert_eq!(written.await.unwrap(), length as u64);
        assert!(bucket.get("t/streamed").await.unwrap() == bytes(length), "{length} bytes");
        assert_eq!(keys(bucket, "t").await, ["t/streamed"]);
        bucket.delete("t/streamed").await.unwrap();
    }
}

async fn large_files_are_put(bucket: &Bucket) {
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    std::fs::write(&from, bytes(3 * PART + 1)).unwrap();
    bucket.put_file("t/file", &from).await.unwrap();
    assert!(bucket.get("t/file").await.unwrap() == std::fs::read(&from).unwrap());
    bucket.delete("t/file").await.unwrap();
}

async fn odd_names_are_kept_apart(bucket: &Bucket) {
    let tenants = ["!", "'", "(", ")", "*", "-", ".x", "_", "aZ09!-_.*'()"];
    for tenant in tenants {
        bucket.put(&format!("{tenant}/x"), Bytes::from(tenant)).await.unwrap();
    }
    assert_eq!(directories(bucket, "").await, tenants);
    for tenant in tenants {
        let key = format!("{tenant}/x");
        assert_eq!(keys(bucket, tenant).await, [key.as_str()]);
        assert_eq!(bucket.get(&key).await.unwrap(), tenant);
        bucket.delete(&key).await.unwrap();
    }
}

async fn listings_begin_after_a_key(bucket: &Bucket) {
    for key in ["a/1", "a/2", "a/b/3", "ab/4"] {
        bucket.put(key, Bytes::new()).await.unwrap();
    }
    let later = bucket.list_stream("a", Some("a/1")).unwrap();
    let mut later: Vec<_> = later.map_ok(|object| object.key).try_collect().await.unwrap();
    later.sort_unstable();
    assert_eq!(later, ["a/2", "a/b/3"]);
    assert_eq!(keys(bucket, "a").await, ["a/1", "a/2", "a/b/3"]);
    assert_eq!(directories(bucket, "").await, ["a", "ab"]);
    assert_eq!(directories(bucket, "a").await, ["b"]);
    assert!(bucket.list("none").await.unwrap().is_empty());
    let all = bucket.list("").await.unwrap().into_iter().map(|object| object.key).collect();
    bucket.delete_all(all).await.unwrap();
}
