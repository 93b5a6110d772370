use std::os::unix::fs::{MetadataExt, symlink};

use tactus_config::sections::object_store::{Azure, Gcs, S3};
use tactus_config::{GoDuration, Secret};

use super::*;

fn local() -> (tempfile::TempDir, Bucket) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    (directory, bucket)
}

fn keys(objects: &[ObjectInfo]) -> Vec<&str> {
    let mut keys: Vec<_> = objects.iter().map(|object| object.key.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn object_is_read_back_whole_and_in_ranges() {
    let (_directory, bucket) = local();
    bucket.put("t/x", Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(bucket.get("t/x").await.unwrap(), "0123456789");
    assert_eq!(bucket.get_range("t/x", 2..5).await.unwrap(), "234");
    assert_eq!(bucket.get_range("t/x", 3..3).await.unwrap(), "");
    assert_eq!(bucket.get_ranges("t/x", &[8..10, 0..1]).await.unwrap(), ["89", "0"]);
    let info = bucket.head("t/x").await.unwrap();
    assert_eq!((info.key.as_str(), info.size), ("t/x", 10));
    assert!(bucket.exists("t/x").await.unwrap());
}

#[tokio::test]
async fn object_larger_than_is_asked_for_is_not_read() {
    let (directory, bucket) = local();
    bucket.put("x", Bytes::from_static(b"0123")).await.unwrap();
    assert_eq!(bucket.get_at_most("x", 4).await.unwrap(), "0123");
    let file = std::fs::File::create(directory.path().join("a/b/huge")).unwrap();
    file.set_len(1 << 40).unwrap();
    for (key, max_bytes) in [("x", 3), ("huge", 1 << 20)] {
        let error = bucket.get_at_most(key, max_bytes).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { what: "object size", .. }), "{error:?}");
    }
}

#[tokio::test]
async fn range_past_the_end_is_corrupt_and_missing_object_not_found() {
    let (_directory, bucket) = local();
    bucket.put("x", Bytes::from_static(b"0123")).await.unwrap();
    let error = bucket.get_range("x", 2..9).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset: 4, .. }), "{error:?}");
    for error in [
        bucket.get("y").await.map(drop).unwrap_err(),
        bucket.get_range("x/y", 0..1).await.map(drop).unwrap_err(),
        bucket.head("y").await.map(drop).unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error:?}");
    }
    assert!(!bucket.exists("y").await.unwrap());
    // Not an answer.
    assert!(bucket.exists("/y").await.is_err());
}

#[tokio::test]
async fn file_is_put() {
    let (directory, bucket) = local();
    let source = directory.path().join("source");
    std::fs::write(&source, b"content").unwrap();
    assert_eq!(bucket.put_file("t/data", &source).await.unwrap(), 7);
    std::fs::write(&source, b"changed").unwrap();
    assert_eq!(bucket.get("t/data").await.unwrap(), "content");
    let missing = bucket.put_file("t/none", &directory.path().join("none")).await.unwrap_err();
    assert!(missing.is_not_found());
    assert_eq!(keys(&bucket.list("").await.unwrap()), ["t/data"]);
}

#[tokio::test]
async fn stale_temporary_file_is_never_listed() {
    let (_directory, bucket) = local();
    bucket.put("t/meta.json", Bytes::from_static(b"{}")).await.unwrap();
    let leftover = bucket.local_path("t/meta.json").unwrap().with_file_name("meta.json#123");
    std::fs::write(leftover, b"{").unwrap();
    assert_eq!(keys(&bucket.list("t").await.unwrap()), ["t/meta.json"]);
}

#[tokio::test]
async fn listing_stays_below_its_prefix_and_offset() {
    let (_directory, bucket) = local();
    for key in ["a/1", "a/2", "a/b/3", "ab/4"] {
        bucket.put(key, Bytes::new()).await.unwrap();
    }
    assert_eq!(keys(&bucket.list("a").await.unwrap()), ["a/1", "a/2", "a/b/3"]);
    assert_eq!(keys(&bucket.list("a/").await.unwrap()), ["a/1", "a/2", "a/b/3"]);
    assert!(bucket.list("none").await.unwrap().is_empty());
    assert_eq!(bucket.list_directories("").await.unwrap(), ["a", "ab"]);
    assert_eq!(bucket.list_directories("a").await.unwrap(), ["b"]);
    let later: Vec<_> = bucket.list_stream("a", Some("a/1")).unwrap().try_collect().await.unwrap();
    assert_eq!(keys(&later), ["a/2", "a/b/3"]);
}

#[tokio::test]
async fn delete_of_a_missing_object_is_fine() {
    let (_directory, bucket) = local();
    bucket.put("t/x", Bytes::new()).await.unwrap();
    bucket.delete_all(vec!["t/x".into(), "t/y".into(), "u/z".into()]).await.unwrap();
    assert!(bucket.get("t/x").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn every_allowed_tenant_character_round_trips() {
    let (_directory, bucket) = local();
    let key = "aZ09!-_.*'()/x";
    bucket.put(key, Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(bucket.get(key).await.unwrap(), "1");
    assert_eq!(keys(&bucket.list("").await.unwrap()), [key]);
    assert_eq!(bucket.list_directories("").await.unwrap(), ["aZ09!-_.*'()"]);
}

#[tokio::test]
async fn keys_that_leave_the_root_are_invalid() {
    let (_directory, bucket) = local();
    for key in ["", "/x", "x/", "../x", "a/../../x", "a//b", "a/./b", "a\0b"] {
        let error = bucket.put(key, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{key:?}: {error:?}");
    }
    assert_eq!(bucket.local_path("../x"), None);
}

#[tokio::test]
async fn local_file_is_read_without_async() {
    let (_directory, bucket) = local();
    bucket.put("t/x", Bytes::from_static(b"0123456789")).await.unwrap();
    let file = bucket.open_local_file("t/x").unwrap().unwrap();
    assert_eq!(file.size(), 10);
    assert_eq!(file.read_range(4..6).unwrap(), "45");
    assert!(file.read_range(4..11).is_err());
    assert!(bucket.open_local_file("t/y").unwrap().unwrap_err().is_not_found());
    let directory = bucket.open_local_file("t").unwrap();
    assert!(matches!(directory, Err(Error::Corrupt { what: "type of file", .. })));
}

fn s3(change: impl FnOnce(&mut S3)) -> Result<Bucket> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = S3 {
        bucket: "traces".into(),
        access_key: "a".into(),
        secret_key: Secret::new("s"),
        ..S3::default()
    };
    change(&mut settings);
    Bucket::open(&BucketSettings::S3(Box::new(settings)))
}

#[test]
fn s3_clients_for_https_and_http_are_built() {
    let bucket = s3(|_| {}).unwrap();
    assert_eq!(bucket.local_path("x"), None);
    s3(|settings| {
        settings.endpoint = "localhost:9000".into();
        settings.insecure = true;
        settings.prefix = "/p/".into();
        settings.sse.type_ = "SSE-KMS".into();
    })
    .unwrap();
    s3(|settings| {
        settings.sse.type_ = "SSE-C".into();
        settings.sse.encryption_key = Secret::new("x".repeat(32));
    })
    .unwrap();
    s3(|settings| settings.tls.tls_min_version = "VersionTLS13".into()).unwrap();
    for endpoint in ["[::1]:9000", "127.0.0.1:9000", "minio"] {
        s3(|settings| settings.endpoint = endpoint.into()).unwrap();
    }
}

#[test]
fn prefix_that_no_object_can_have_is_invalid() {
    for prefix in ["a//b", "../x", "a/./b"] {
        let error = s3(|settings| settings.prefix = prefix.into()).unwrap_err();
        assert!(error.to_string().contains("s3 prefix"), "{error}");
    }
    for prefix in ["/a/b/", "a b", "a%2Fb", "/", "..."] {
        s3(|settings| settings.prefix = prefix.into()).unwrap();
    }
}

#[test]
fn bad_s3_settings_are_invalid() {
    let cases: [fn(&mut S3); 16] = [
        |settings| settings.bucket = "my bucket".into(),
        |settings| settings.endpoint = "127.0.0.1:99000".into(),
        |settings| settings.endpoint = "::1:9000".into(),
        |settings| settings.region = "eu\nwest".into(),
        |settings| settings.access_key = "a\nb".into(),
        |settings| settings.session_token = Secret::new("a\nb"),
        |settings| settings.metadata = [("a b".to_owned(), "c".to_owned())].into(),
        |settings| {
            settings.tls.tls_cert_path = "/nonexistent/a".into();
            settings.tls.tls_key_path = "/nonexistent/b".into();
        },
        |settings| {
            settings.sse.type_ = "SSE-KMS".into();
            settings.sse.kms_encryption_context = "[1]".into();
        },
        |settings| settings.bucket.clear(),
        |settings| settings.secret_key = Secret::default(),
        |settings| settings.part_size = 1024,
        |settings| settings.endpoint = "a/b".into(),
        |settings| {
            settings.sse.type_ = "SSE-C".into();
            settings.sse.encryption_key = Secret::new("short");
        },
        |settings| settings.sse.type_ = "SSE-X".into(),
        |settings| settings.tls.tls_ca_path = "/nonexistent/ca.pem".into(),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let error = s3(change).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{number}: {error:?}");
    }
}

#[test]
fn gcs_and_azure_clients_are_built_and_bad_settings_refused() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let gcs = |change: fn(&mut Gcs)| {
        let (bucket_name, insecure) = ("traces".into(), true);
        let mut settings = Gcs { bucket_name, insecure, ..Gcs::default() };
        change(&mut settings);
        Bucket::open(&BucketSettings::Gcs(Box::new(settings)))
    };
    assert_eq!(gcs(|_| {}).unwrap().local_path("x"), None);
    let azure = |change: fn(&mut Azure)| {
        let mut settings = Azure {
            container_name: "traces".into(),
            storage_account_name: "acme".into(),
            storage_account_key: Secret::new("a2V5"),
            ..Azure::default()
        };
        change(&mut settings);
        Bucket::open(&BucketSettings::Azure(Box::new(settings)))
    };
    let shown = format!("{:?}", azure(|_| {}).unwrap());
    assert!(shown.contains("acme") && !shown.contains("a2V5"), "{shown}");
    azure(|settings| settings.use_managed_identity = true).unwrap();
    for refused in [
        gcs(|settings| settings.bucket_name.clear()),
        gcs(|settings| settings.endpoint = "ftp://x".into()),
        gcs(|settings| settings.endpoint = "http://127.0.0.1:99000".into()),
        azure(|settings| settings.container_name.clear()),
        azure(|settings| settings.storage_account_key = Secret::new("not base64!")),
    ] {
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn check_of_a_directory_writes_and_leaves_nothing() {
    let (directory, bucket) = local();
    bucket.check().await.unwrap();
    assert!(bucket.list("").await.unwrap().is_empty());
    let file = directory.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let error = Bucket::open(&BucketSettings::Local { path: file }).unwrap_err().to_string();
    assert!(error.contains("storage.trace.local.path: ") && error.contains("not a directory"));
    std::fs::remove_dir_all(bucket.local_path("x").unwrap().parent().unwrap()).unwrap();
    assert!(bucket.check().await.is_err());
}

#[tokio::test]
async fn local_store_whose_volume_is_away_is_unavailable_until_it_is_back() {
    let (directory, bucket) = local();
    let (root, volume) = (directory.path().join("a/b"), directory.path().join("volume"));
    bucket.put("t/x", Bytes::from_static(b"1")).await.unwrap();
    let opened = bucket.open_local_file("t/x").unwrap().unwrap();
    let runtime = tokio::runtime::Handle::current();
    bucket.inner.root.as_ref().unwrap().note_above(std::fs::metadata("/proc/self").unwrap().dev());
    // Of a volume at the directory itself, and of one above it.
    for away in [root.clone(), directory.path().join("a")] {
        let streamed = bucket.writer("t/streamed", 1, &runtime).unwrap();
        std::fs::rename(&away, &volume).unwrap();
        symlink("/proc/self", &away).unwrap();
        let bytes = || Bytes::from_static(b"2");
        for result in [
            bucket.get("t/x").await.map(drop),
            bucket.get_range("t/x", 0..1).await.map(drop),
            bucket.get_ranges("t/x", &[0..1, 0..1]).await.map(drop),
            bucket.get_with_version("t/x", 9).await.map(drop),
            bucket.exists("t/x").await.map(drop),
            bucket.is_obstructed("t/x").await.map(drop),
            bucket.open_local_file("t/x").unwrap().map(drop),
            bucket.list("t").await.map(drop),
            bucket.list_files("t", "").await.map(drop),
            bucket.list_directories("").await.map(drop),
            bucket.put("t/x", bytes()).await,
            bucket.put_if_version("t/x", bytes(), None).await.map(drop),
            bucket.writer("t/x", 1, &runtime).map(drop),
            streamed.finish().map(drop),
            bucket.delete("t/x").await,
            bucket.delete_if_version("t/x", "v").await.map(drop),
            bucket.rename_local_as_new("t/x", "t/y").await.map(drop),
            bucket.remove_local_directory("t").await,
            bucket.check_reading().await,
        ] {
            assert!(result.unwrap_err().is_retryable());
        }
        assert_eq!(opened.read_range(0..1).unwrap(), "1");
        std::fs::remove_file(&away).unwrap();
        std::fs::rename(&volume, &away).unwrap();
        assert_eq!(bucket.get("t/x").await.unwrap(), "1");
        assert_eq!(keys(&bucket.list("").await.unwrap()), ["t/x"]);
    }
    // A directory that somebody deleted is made anew by the next write, and is no empty store until then.
    std::fs::remove_dir_all(&root).unwrap();
    assert!(bucket.list("").await.unwrap_err().is_retryable());
    bucket.put("t/y", Bytes::from_static(b"3")).await.unwrap();
    assert_eq!(keys(&bucket.list("").await.unwrap()), ["t/y"]);
}

#[tokio::test]
async fn local_volume_may_be_mounted_later_or_with_another_device_number() {
    let (directory, bucket) = local();
    let (root, mount_point) = (directory.path().join("a/b"), directory.path().join("below"));
    for _ in 0..2 {
        std::fs::rename(&root, &mount_point).unwrap();
        // On a device of its own.
        symlink("/proc/self", &root).unwrap();
        assert!(!bucket.exists("t/x").await.unwrap());
        std::fs::remove_file(&root).unwrap();
        std::fs::rename(&mount_point, &root).unwrap();
        assert!(bucket.exists("t/x").await.unwrap_err().is_retryable());
        assert!(bucket.put("t/x", Bytes::new()).await.unwrap_err().is_retryable());
    }
}

#[tokio::test]
async fn pauses_that_grow_the_wrong_way_end_in_an_error() {
    for (first, longest) in [(3, 1), (0, 1), (0, 0)] {
        let bucket = unreachable(GoDuration::millis(first), GoDuration::millis(longest));
        assert!(bucket.get("t/x").await.unwrap_err().is_retryable());
    }
}

#[test]
fn secrets_are_not_shown() {
    let settings = S3 { secret_key: Secret::new("hush"), ..S3::default() };
    let text = format!("{:?}", BucketSettings::S3(Box::new(settings)));
    assert!(!text.contains("hush"), "{text}");
    let bucket = s3(|settings| settings.secret_key = Secret::new("hush")).unwrap();
    assert_eq!(format!("{bucket:?}"), "Bucket(AmazonS3(traces))");
}

fn unreachable(first_pause: GoDuration, longest_pause: GoDuration) -> Bucket {
    // Nothing listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    s3(|settings| {
        settings.endpoint = format!("127.0.0.1:{port}");
        settings.insecure = true;
        settings.retry_max_attempts = 2;
        settings.retry_backoff_initial = first_pause;
        settings.retry_backoff_max = longest_pause;
    })
    .unwrap()
}

#[tokio::test]
async fn store_that_does_not_answer_is_unavailable_within_the_bounds() {
    let bucket = unreachable(GoDuration::millis(1), GoDuration::millis(2));
    let error = bucket.get("t/x").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(bucket.check().await.unwrap_err().is_retryable());
}
