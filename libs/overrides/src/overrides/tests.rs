use std::path::Path;

use tactus_config::Secret;
use tactus_config::sections::object_store::S3;
use tactus_storage::BucketSettings;

use super::*;

fn settings(yaml: &str) -> Settings {
    Settings::new(Arc::new(tactus_config::from_yaml(yaml).unwrap()))
}

async fn load(settings: Settings) -> (Arc<Overrides>, Registry) {
    let registry = Registry::new();
    (Overrides::load(settings, &registry).await.unwrap(), registry)
}

fn bucket(directory: &Path) -> Bucket {
    Bucket::open(&BucketSettings::Local { path: directory.to_owned() }).unwrap()
}

fn with_file(path: &Path) -> Settings {
    settings(&format!(
        "overrides: {{per_tenant_override_config: \"{}\", per_tenant_override_period: 1ms}}",
        path.display()
    ))
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[tokio::test]
async fn own_entry_then_wildcard_then_defaults_hold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limits.yaml");
    let entry =
        "a: {ingestion: {max_traces_per_user: 7, rate_limit_bytes: 1, burst_size_bytes: 2}}";
    std::fs::write(&path, format!("overrides:\n  {entry}\n")).unwrap();
    let (overrides, registry) = load(with_file(&path)).await;
    let a = overrides.of(&tenant("a"));
    assert_eq!((a.ingestion.max_traces_per_user, a.global.max_bytes_per_trace), (7, 0));
    assert_eq!(a.ingestion.rate_strategy, "local");
    assert_eq!(*overrides.of(&tenant("b")), *overrides.snapshot().defaults);
    let text = registry.encode();
    for line in [
        "tempo_limits_defaults{limit_name=\"ingestion_rate_limit_bytes\"} 15000000",
        "tempo_limits_overrides{limit_name=\"max_local_traces_per_user\",user=\"a\"} 7",
        "tempo_runtime_config_last_reload_successful{config=\"overrides\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let with_wildcard =
        format!("overrides:\n  {entry}\n  \"*\": {{global: {{max_bytes_per_trace: 9}}}}\n");
    std::fs::write(&path, with_wildcard).unwrap();
    assert!(overrides.read_file().await.unwrap());
    assert_eq!(overrides.of(&tenant("b")).global.max_bytes_per_trace, 9);
    // What did not change is the same allocation.
    assert!(Arc::ptr_eq(&a, &overrides.of(&tenant("a"))));
    assert!(!overrides.read_file().await.unwrap());
}

#[tokio::test]
async fn without_a_file_no_reload_can_have_failed() {
    let (_overrides, registry) = load(settings("overrides: {}")).await;
    let text = registry.encode();
    assert!(text.contains("tempo_limits_defaults{") && !text.contains("last_reload_successful"));
}

#[tokio::test]
async fn broken_file_keeps_the_limits_and_a_good_one_replaces_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limits.yaml");
    std::fs::write(&path, "overrides: {a: {global: {max_bytes_per_trace: 5}}}").unwrap();
    let (overrides, registry) = load(with_file(&path)).await;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&overrides).watch(stop.clone()));
    let successful = |value: u8| {
        let line = format!(
            "tempo_runtime_config_last_reload_successful{{config=\"overrides\"}} {value}\n"
        );
        registry.encode().contains(&line)
    };
    std::fs::write(&path, "overrides: {a: {nope: 1}}").unwrap();
    until(|| successful(0)).await;
    assert_eq!(overrides.of(&tenant("a")).global.max_bytes_per_trace, 5);
    std::fs::write(&path, "overrides: {a: {max_bytes_per_trace: 6}}").unwrap();
    until(|| overrides.of(&tenant("a")).global.max_bytes_per_trace == 6).await;
    until(|| successful(1)).await;
    std::fs::remove_file(&path).unwrap();
    until(|| successful(0)).await;
    assert_eq!(overrides.of(&tenant("a")).global.max_bytes_per_trace, 6);
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn missing_refused_and_checked_files_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limits.yaml");
    let registry = Registry::new();
    let error = Overrides::load(with_file(&path), &registry).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to load runtime config"), "{error}");
    let check: LimitsCheck = Arc::new(|limits| match limits.forwarders.is_empty() {
        true => Ok(()),
        false => Err("forwarders: no".to_owned()),
    });
    std::fs::write(&path, "overrides: {a: {forwarders: [x]}}").unwrap();
    let settings = Settings { check, ..with_file(&path) };
    let error = Overrides::load(settings, &registry).await.unwrap_err().to_string();
    assert!(error.ends_with("validating overrides for a failed: forwarders: no"), "{error}");
}

#[tokio::test]
async fn limits_that_do_not_go_with_the_configuration_hold_back_no_other_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limits.yaml");
    std::fs::write(
        &path,
        "overrides: {a: {forwarders: [x]}, b: {global: {max_bytes_per_trace: 6}}}",
    )
    .unwrap();
    let fits: LimitsCheck = Arc::new(|limits| match limits.forwarders.is_empty() {
        true => Ok(()),
        false => Err("forwarders: no".to_owned()),
    });
    let settings = Settings { fits, ..with_file(&path) };
    let overrides = Overrides::load(settings, &Registry::new()).await.unwrap();
    assert_eq!(overrides.of(&tenant("b")).global.max_bytes_per_trace, 6);
    let Warnings { mistakes, advice } = overrides.file_warnings();
    assert_eq!(mistakes, ["overrides of tenant a: forwarders: no"]);
    // Both leave out the rate limit and its burst.
    assert_eq!(advice.len(), 2, "{advice:?}");
}

#[tokio::test]
async fn defaults_that_are_of_no_use_start_with_a_warning() {
    let fits: LimitsCheck = Arc::new(|limits| {
        if limits.metrics_generator.trace_id_label_name == "x" {
            return Err("metrics_generator: no".to_owned());
        }
        if !limits.forwarders.is_empty() {
            return Err("forwarders: no".to_owned());
        }
        if limits.global.max_bytes_per_trace == 7 { Err("global: no".to_owned()) } else { Ok(()) }
    });
    let with = |defaults: &str| {
        let fits = Arc::clone(&fits);
        Settings { fits, ..settings(&format!("overrides: {{defaults: {{{defaults}}}}}")) }
    };
    let (overrides, _) = load(with("")).await;
    assert_eq!(overrides.unusable_defaults(), None);
    let generator = "metrics_generator: {trace_id_label_name: x}";
    let (overrides, _) = load(with(generator)).await;
    assert_eq!(overrides.unusable_defaults(), Some("overrides.defaults.metrics_generator: no"));
    let (overrides, _) = load(with("forwarders: [x]")).await;
    assert_eq!(overrides.unusable_defaults(), Some("overrides.defaults.forwarders: no"));
    for further in ["", &format!(", {generator}"), ", forwarders: [x]"] {
        let defaults = format!("global: {{max_bytes_per_trace: 7}}{further}");
        let error = Overrides::load(with(&defaults), &Registry::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "overrides.defaults.global: no", "{defaults}");
    }
}

#[tokio::test]
async fn gzipped_file_with_variables_is_read() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limits.yaml.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let text = "# not ${EXPANDED-1}\noverrides: {a: {forwarders: [\"${NO_SUCH_VARIABLE:-x}\"]}}";
    packed.write_all(text.as_bytes()).unwrap();
    std::fs::write(&path, packed.finish().unwrap()).unwrap();
    let (overrides, _) = load(Settings { expand_env: true, ..with_file(&path) }).await;
    assert_eq!(overrides.of(&tenant("a")).forwarders, ["x"]);
}

#[tokio::test]
async fn stored_documents_come_over_the_file_and_go_with_the_object() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket(directory.path());
    let put = |tenant: &str, text: &'static str| {
        let (bucket, key) = (bucket.clone(), format!("overrides/{tenant}/overrides.json"));
        async move { bucket.put(&key, bytes::Bytes::from_static(text.as_bytes())).await.unwrap() }
    };
    // As Tempo wrote it, with a key of a later release.
    put("a", r#"{"forwarders":["f"],"cost_attribution":{},"metrics_generator":{"processors":["span-metrics"],"collection_interval":"30s","new":1,"processor":{"service_graphs":{},"span_metrics":{},"host_info":{}}}}"#).await;
    put("broken", "{").await;
    let settings = Settings { bucket: Some(bucket.clone()), ..settings("") };
    let (overrides, registry) = load(settings).await;
    let a = overrides.of(&tenant("a"));
    assert_eq!(a.forwarders, ["f"]);
    assert_eq!(a.metrics_generator.processors, ["span-metrics"]);
    assert_eq!(a.metrics_generator.collection_interval, tactus_config::GoDuration::seconds(30));
    assert_eq!(a.global.max_bytes_per_trace, 5_000_000);
    let text = registry.encode();
    let failed = "tempo_overrides_user_configurable_overrides_reload_failed_total 1";
    assert!(text.contains(failed), "{text}");
    // A document that is damaged later stays as it was; one that is gone is gone.
    put("a", "{").await;
    put("b", r#"{"forwarders":["g"]}"#).await;
    overrides.read_stored().await;
    assert_eq!(overrides.of(&tenant("a")).forwarders, ["f"]);
    assert_eq!(overrides.of(&tenant("b")).forwarders, ["g"]);
    bucket.delete("overrides/a/overrides.json").await.unwrap();
    overrides.read_stored().await;
    assert_eq!(*overrides.of(&tenant("a")), *overrides.snapshot().defaults);
}

#[tokio::test]
async fn change_during_a_round_of_reading_is_not_undone() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { bucket: Some(bucket(directory.path())), ..settings("") };
    let (overrides, _) = load(settings).await;
    let store = overrides.store.as_ref().unwrap();
    let started = Instant::now();
    let seen = store.read_all(&BTreeMap::new(), 0, &overrides.metrics).await.unwrap();
    let user = crate::user::UserLimits { forwarders: Some(vec!["f".into()]), ..Default::default() };
    let stored = store.write("a", user, None).await.unwrap();
    overrides.change_user(store, "a", Some(stored));
    overrides.take_over(store, started, seen);
    assert_eq!(overrides.of(&tenant("a")).forwarders, ["f"]);
    let seen = store.read_all(&BTreeMap::new(), 0, &overrides.metrics).await.unwrap();
    overrides.take_over(store, Instant::now(), seen);
    assert_eq!(overrides.of(&tenant("a")).forwarders, ["f"]);
}

/// Answers each request with the next of these texts, the last one for ever.
async fn serve(texts: Vec<&'static str>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut connection, _) = server.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await.unwrap();
            let answer = texts[number.min(texts.len() - 1)];
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/limits.yaml")
}

#[tokio::test]
async fn file_behind_a_url_is_read_and_read_again() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = serve(vec![
        "HTTP/1.0 200 OK\r\n\r\noverrides: {a: {forwarders: [x]}}",
        "HTTP/1.0 503 Busy\r\n\r\noverrides: {}",
        "HTTP/1.0 200 OK\r\n\r\noverrides: {a: {forwarders: [y]}}",
    ])
    .await;
    let (overrides, _) =
        load(settings(&format!("overrides: {{per_tenant_override_config: \"{url}\"}}"))).await;
    assert_eq!(overrides.of(&tenant("a")).forwarders, ["x"]);
    assert!(overrides.read_file().await.unwrap_err().contains("503"));
    assert!(overrides.read_file().await.unwrap());
    assert_eq!(overrides.of(&tenant("a")).forwarders, ["y"]);
}

#[tokio::test]
async fn end_does_not_wait_for_a_file_that_hangs() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = format!(
        "overrides: {{per_tenant_override_config: \"http://{}/l\", per_tenant_override_period: 1ms}}",
        server.local_addr().unwrap()
    );
    let first_answer = async {
        let (mut connection, _) = server.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = connection.read(&mut request).await.unwrap();
        connection.write_all(b"HTTP/1.0 200 OK\r\n\r\noverrides: {}").await.unwrap();
    };
    let ((overrides, _), ()) = tokio::join!(load(settings(&yaml)), first_answer);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(overrides.watch(stop.clone()));
    let _unanswered = server.accept().await.unwrap();
    stop.cancel();
    // A request for the file may take 30 seconds.
    tokio::time::timeout(Duration::from_secs(20), watching).await.unwrap().unwrap();
}

/// Takes connections and answers nothing, until somebody accepts them.
async fn hanging_bucket() -> (Bucket, tokio::net::TcpListener) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let s3 = S3 {
        bucket: "limits".into(),
        endpoint: server.local_addr().unwrap().to_string(),
        insecure: true,
        access_key: "key".into(),
        secret_key: Secret::new("secret"),
        ..S3::default()
    };
    (Bucket::open(&BucketSettings::S3(Box::new(s3))).unwrap(), server)
}

/// Answers requests for the list of tenants, which is `a`, and for its document.
async fn answer_late(server: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    loop {
        let (mut connection, _) = server.accept().await.unwrap();
        let mut request = [0; 4096];
        let Ok(read) = connection.read(&mut request).await else { continue };
        let tenants = "<CommonPrefixes><Prefix>overrides/a/</Prefix></CommonPrefixes>";
        let body = match String::from_utf8_lossy(&request[..read]).contains("list-type=2") {
            true => format!("<ListBucketResult>{tenants}</ListBucketResult>"),
            false => r#"{"forwarders":["f"]}"#.to_owned(),
        };
        let length = format!("Content-Length: {}", body.len());
        let answer = format!(
            "HTTP/1.1 200 OK\r\nETag: \"1\"\r\n{length}\r\nConnection: close\r\n\r\n{body}"
        );
        // A client that has given up asks again.
        let _ = connection.write_all(answer.as_bytes()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn end_does_not_wait_for_a_bucket_that_hangs_since_the_start() {
    let (bucket, _server) = hanging_bucket().await;
    let started = tokio::time::Instant::now();
    let (overrides, _) = load(Settings { bucket: Some(bucket), ..settings("") }).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let reading = overrides.first_read.lock().as_ref().unwrap().abort_handle();
    let stop = CancellationToken::new();
    let watching = tokio::spawn(overrides.watch(stop.clone()));
    // While a task can run, the paused clock stands.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    watching.await.unwrap();
    until(|| reading.is_finished()).await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_read_after_the_start_come_into_effect_without_polls() {
    let (bucket, server) = hanging_bucket().await;
    let without_polls = "overrides: {user_configurable_overrides: {poll_interval: 0s}}";
    let (overrides, registry) =
        load(Settings { bucket: Some(bucket), ..settings(without_polls) }).await;
    assert!(overrides.of(&tenant("a")).forwarders.is_empty());
    tokio::time::resume();
    let stop = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&overrides).watch(stop.clone()));
    let answering = tokio::spawn(answer_late(server));
    until(|| overrides.of(&tenant("a")).forwarders == ["f"]).await;
    // The first read was not begun anew.
    let listings = "tempo_overrides_user_configurable_overrides_list_total 1\n";
    assert!(registry.encode().contains(listings));
    stop.cancel();
    watching.await.unwrap();
    answering.abort();
}
