use std::io::Write;
use std::path::{Path, PathBuf};

use tactus_config::GoDuration;
use tactus_model::TenantId;
use tactus_telemetry::metrics::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{EnumForm, Provider, Strategies, to_json};

fn write(path: &Path, content: &str) {
    // In one step, as a mounted ConfigMap changes.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.persist(path).unwrap();
}

fn rate(probability: f64) -> String {
    format!(r#"{{"default_strategy": {{"type": "probabilistic", "param": {probability}}}}}"#)
}

fn answered(probability: f64) -> String {
    format!(
        r#"{{"strategyType":"PROBABILISTIC","probabilisticSampling":{{"samplingRate":{probability}}}}}"#
    )
}

fn settings(path: &str) -> SamplingFile {
    SamplingFile { path: path.to_owned(), ..SamplingFile::default() }
}

fn metrics() -> Metrics {
    Metrics::new(&Registry::new())
}

fn of(set: &StrategySet) -> String {
    to_json(&set.of("s"), EnumForm::Text)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[tokio::test]
async fn file_that_is_broken_at_the_start_is_named_with_its_field() {
    let folder = Folder::new();
    let path = folder.path("strategies.json");
    let load = || StrategyFile::load(settings(path.to_str().unwrap()), metrics());
    let shown = path.display().to_string();
    let missing = load().await.unwrap_err().to_string();
    assert_eq!(
        missing,
        format!("sampling.file.path {shown}: No such file or directory (os error 2)")
    );
    write(&path, &rate(7.0));
    let refused = load().await.unwrap_err().to_string();
    let expected = "default_strategy.param: 7 is not between 0 and 1";
    assert_eq!(refused, format!("sampling.file.path {shown}: {expected}"));
}

#[tokio::test]
async fn no_path_is_the_default_probability() {
    let file = StrategyFile::load(settings(""), metrics()).await.unwrap();
    assert_eq!(of(&file.current()), answered(0.001));
}

#[tokio::test]
async fn broken_file_leaves_the_old_strategies() {
    let folder = Folder::new();
    let path = folder.path("strategies.json");
    write(&path, &rate(0.5));
    let metrics = metrics();
    let file = StrategyFile::load(settings(path.to_str().unwrap()), metrics.clone()).await.unwrap();
    assert_eq!(of(&file.current()), answered(0.5));
    assert_eq!(metrics.last_reload_successful.get(), 1.0);
    for broken in ["{", &rate(2.0)] {
        write(&path, broken);
        file.reload().await;
        assert_eq!(of(&file.current()), answered(0.5));
        assert_eq!(metrics.last_reload_successful.get(), 0.0);
    }
    assert_eq!(metrics.reload_failures.get(), 2);
    write(&path, &rate(0.25));
    file.reload().await;
    assert_eq!(of(&file.current()), answered(0.25));
    assert_eq!((metrics.last_reload_successful.get(), metrics.reload_failures.get()), (1.0, 2));
}

#[tokio::test]
async fn same_bytes_are_not_read_again() {
    let folder = Folder::new();
    let path = folder.path("strategies.json");
    write(&path, &rate(0.5));
    let file = StrategyFile::load(settings(path.to_str().unwrap()), metrics()).await.unwrap();
    let before = file.current();
    write(&path, &rate(0.5));
    file.reload().await;
    assert!(Arc::ptr_eq(&before, &file.current()));
}

#[tokio::test(start_paused = true)]
async fn watch_looks_each_interval_and_ends() {
    let folder = Folder::new();
    let path = folder.path("strategies.json");
    write(&path, &rate(0.5));
    let settings = SamplingFile {
        reload_interval: GoDuration::seconds(1),
        ..settings(path.to_str().unwrap())
    };
    let file = StrategyFile::load(settings, metrics()).await.unwrap();
    let stop = CancellationToken::new();
    let watching = {
        let (file, stop) = (Arc::clone(&file), stop.clone());
        tokio::spawn(async move { file.watch(&stop).await })
    };
    write(&path, &rate(0.75));
    while of(&file.current()) != answered(0.75) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn end_does_not_wait_for_a_file_that_hangs() {
    let folder = Folder::new();
    let (path, pipe) = (folder.path("strategies.json"), folder.path("pipe"));
    write(&path, &rate(0.5));
    let settings =
        SamplingFile { reload_interval: GoDuration::millis(1), ..settings(path.to_str().unwrap()) };
    let file = StrategyFile::load(settings, metrics()).await.unwrap();
    // Whoever reads a pipe waits until another opens it, and then until that closes it.
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(&pipe, &path).unwrap();
    let stop = CancellationToken::new();
    let watching = {
        let stop = stop.clone();
        tokio::spawn(async move { file.watch(&stop).await })
    };
    let open = move || std::fs::OpenOptions::new().write(true).open(path);
    let _writer = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), watching).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn tenant_with_a_file_of_its_own_gets_what_that_says() {
    let folder = Folder::new();
    let (own, missing) = (folder.path("own.json"), folder.path("missing.json"));
    write(&own, &rate(0.5));
    let paths = [("a", own.clone()), ("b", missing.clone())];
    let file_of = move |tenant: &TenantId| {
        let found = paths.iter().find(|(name, _)| *name == tenant.as_str());
        found.map(|(_, path)| path.display().to_string()).unwrap_or_default()
    };
    let metrics = metrics();
    let provider = Provider::Uniform(Arc::new(StrategySet::uniform(0.001)));
    let defaults = SamplingFile::default();
    let strategies = Strategies::new(provider, Arc::new(file_of), &defaults, metrics.clone());
    let ask = async |tenant: &str| {
        let tenant = (!tenant.is_empty()).then(|| TenantId::parse(tenant).unwrap());
        to_json(&*strategies.of(tenant.as_ref(), "s").await, EnumForm::Text)
    };
    for (tenant, expected) in [("a", 0.5), ("b", 0.001), ("c", 0.001), ("", 0.001)] {
        assert_eq!(ask(tenant).await, answered(expected), "{tenant}");
    }
    assert_eq!(ask("b").await, answered(0.001));
    assert_eq!(metrics.reload_failures.get(), 1);
    write(&missing, &rate(0.125));
    tokio::time::advance(RETRY_AFTER).await;
    assert_eq!(ask("b").await, answered(0.125));
    let stop = CancellationToken::new();
    let reload = async {
        write(&own, &rate(0.75));
        while ask("a").await != answered(0.75) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stop.cancel();
    };
    tokio::join!(strategies.watch(stop.clone()), reload);
}

/// A server that gives each of `answers` to one request.
async fn serve(answers: Vec<(&'static str, String)>) -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut connection, _) = socket.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await.unwrap();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/strategies")
}

#[tokio::test]
async fn server_that_is_unavailable_says_nothing_and_errors_change_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = serve(vec![
        ("200 OK", rate(0.5)),
        ("500 Internal Server Error", String::new()),
        ("503 Service Unavailable", String::new()),
    ])
    .await;
    let metrics = metrics();
    let file = StrategyFile::load(settings(&url), metrics.clone()).await.unwrap();
    assert_eq!(of(&file.current()), answered(0.5));
    file.reload().await;
    assert_eq!((of(&file.current()), metrics.reload_failures.get()), (answered(0.5), 1));
    file.reload().await;
    assert_eq!((of(&file.current()), metrics.reload_failures.get()), (answered(0.001), 1));
}
