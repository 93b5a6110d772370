use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use prost::Message;
use tactus_overrides::Settings;
use tactus_proto::otlp::{ResourceSpans, ScopeSpans, Span};

use super::*;
use crate::convert::push_of;

const BUDGET: u64 = 1 << 20;

/// A generator whose remote nobody listens at. `limits`: more keys of `overrides.defaults.metrics_generator`.
async fn generator(directory: &Path, limits: &str) -> Arc<Generator> {
    generator_within(directory, 0, limits).await
}

/// With memory for series of so many bytes; 0 is no limit.
async fn generator_within(directory: &Path, max_bytes: u64, limits: &str) -> Arc<Generator> {
    generator_of(directory, max_bytes, limits, &Registry::new()).await
}

/// With these metrics of its own.
async fn generator_of(
    directory: &Path,
    max_bytes: u64,
    limits: &str,
    registry: &Registry,
) -> Arc<Generator> {
    let yaml = format!(
        "{{metrics_generator: {{registry: {{collection_interval: 1h, max_bytes: {max_bytes}}}, \
           storage: {{path: {}, remote_write: [{{url: 'http://127.0.0.1:1/'}}]}}}}, \
           overrides: {{defaults: {{metrics_generator: {{processors: [span-metrics], {limits}}}}}}}}}",
        directory.display()
    );
    let config: Arc<Config> = Arc::new(tactus_config::from_yaml(&yaml).unwrap());
    let overrides = Overrides::load(Settings::new(Arc::clone(&config)), registry).await.unwrap();
    Generator::open(config, overrides, registry, BUDGET).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// So many samples of the tenant were handed to remote write.
fn sent_samples(registry: &Registry, of: &str) -> u64 {
    let begin =
        format!("prometheus_agent_samples_appended_total{{tenant=\"{of}\",type=\"float\"}} ");
    let page = registry.encode();
    let value = page.lines().find_map(|line| line.strip_prefix(&begin));
    value.map_or(0, |value| value.parse().unwrap())
}

/// A span that ends `seconds` before now.
fn push(seconds: u64) -> PushRequest {
    let end = now_ms() as u64 * 1_000_000 - seconds * 1_000_000_000;
    let span = Span {
        trace_id: vec![1; 16].into(),
        span_id: vec![2; 8].into(),
        name: "work".into(),
        start_time_unix_nano: end - 5_000_000,
        end_time_unix_nano: end,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let batch = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    push_of(&TenantId::single(), &[Bytes::from(batch.encode_to_vec())]).unwrap()
}

/// The value of `traces_spanmetrics_calls_total` on the page of a tenant; 0 without one.
async fn calls(generator: &Generator, of: &str) -> f64 {
    let page = generator.page(&tenant(of)).await.unwrap();
    assert!(page.ends_with("# EOF\n"));
    let line = page.lines().find(|line| line.starts_with("traces_spanmetrics_calls_total{"));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn first_pushes_at_once_make_one_instance() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    let pushes = (0..20).map(|_| generator.push(tenant("a"), push(1), false));
    join_all(pushes).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    generator.push(tenant("b"), push(1), true).await.unwrap();
    assert_eq!(calls(&generator, "a").await, 20.0);
    assert_eq!((calls(&generator, "b").await, calls(&generator, "c").await), (0.0, 0.0));
    assert_eq!(generator.shared.metrics.tenants.get(), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_beyond_the_slack_count_as_received_alone() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "ingestion_time_range_slack: 10s").await;
    for seconds in [1, 60, 5] {
        generator.push(tenant("a"), push(seconds), false).await.unwrap();
    }
    let counted = generator.shared.metrics.of_tenant("a");
    assert_eq!((counted.spans.get(), counted.outside.get()), (3, 1));
    assert_eq!(calls(&generator, "a").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_past_the_budget_are_refused_and_their_bytes_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    let taken = generator.budget.try_acquire_many(generator.units).unwrap();
    let refused = generator.push(tenant("a"), push(1), false).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    assert_eq!(generator.shared.metrics.overloads.get(), 1);
    drop(taken);
    generator.push(tenant("a"), push(1), false).await.unwrap();
    assert_eq!(generator.budget.available_permits(), generator.units as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_that_cannot_start_is_not_tried_at_each_push() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "remote_write_headers: {'a b': c}").await;
    let first = generator.push(tenant("a"), push(1), false).await;
    assert!(matches!(first, Err(Error::Tenant { .. })), "{first:?}");
    let second = generator.push(tenant("a"), push(1), false).await;
    assert!(matches!(second, Err(Error::BackOff)), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_whose_queue_was_in_use_starts_with_the_next_push() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    let remote_write = &generator.shared.remote_write;
    let handle = remote_write.tenant(&tenant("a"), &BTreeMap::new(), now_ms()).unwrap();
    let refused = generator.push(tenant("a"), push(1), false).await;
    assert!(matches!(refused, Err(Error::Tenant { .. })), "{refused:?}");
    drop(handle);
    generator.push(tenant("a"), push(1), false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_that_could_not_start_is_tried_again_once_its_limits_are_others() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("overrides.yaml");
    let write = |mapping: &str| {
        let dimensions = format!("dimension_mappings: [{{name: {mapping}, source_labels: [c]}}]");
        let processor = format!("processor: {{span_metrics: {{{dimensions}}}}}");
        let limits = format!("metrics_generator: {{processors: [span-metrics], {processor}}}");
        std::fs::write(&file, format!("overrides: {{a: {{{limits}}}}}")).unwrap();
    };
    write("a-b");
    let yaml = format!(
        "{{metrics_generator: {{registry: {{collection_interval: 1h}}, \
           processor: {{span_metrics: {{dimensions: [a.b]}}}}, \
           storage: {{path: {}, remote_write: [{{url: 'http://127.0.0.1:1/'}}]}}}}, \
           overrides: {{per_tenant_override_config: {}, per_tenant_override_period: 20ms}}}}",
        directory.path().display(),
        file.display()
    );
    let config: Arc<Config> = Arc::new(tactus_config::from_yaml(&yaml).unwrap());
    let registry = Registry::new();
    let overrides = Overrides::load(Settings::new(Arc::clone(&config)), &registry).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(Arc::clone(&overrides).watch(stop.clone()));
    let generator = Generator::open(config, Arc::clone(&overrides), &registry, BUDGET).unwrap();
    for _ in 0..2 {
        generator.push(tenant("a"), push(1), false).await.unwrap_err();
    }
    let before = overrides.of(&tenant("a"));
    write("c-d");
    let reads = async {
        while Arc::ptr_eq(&overrides.of(&tenant("a")), &before) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reads).await.unwrap();
    generator.push(tenant("a"), push(1), false).await.unwrap();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_for_which_there_is_no_memory_is_refused_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator_within(directory.path(), 2 * TENANT_BYTES, "").await;
    generator.push(tenant("a"), push(1), false).await.unwrap();
    let refused = generator.push(tenant("b"), push(1), false).await;
    assert!(matches!(refused, Err(Error::NoMemory)), "{refused:?}");
    assert_eq!(generator.shared.metrics.tenant_refusals.get(), 1);
    generator.push(tenant("a"), push(1), false).await.unwrap();
    assert_eq!(generator.shared.metrics.tenant_refusals.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_tenant_without_series_goes_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    generator.push(tenant("idle"), push(600), false).await.unwrap();
    generator.push(tenant("busy"), push(1), false).await.unwrap();
    generator.let_go(Duration::from_secs(60)).await;
    assert_eq!(generator.shared.metrics.tenants.get(), 2.0);
    generator.let_go(Duration::ZERO).await;
    assert_eq!(generator.shared.metrics.tenants.get(), 1.0);
    generator.push(tenant("idle"), push(1), false).await.unwrap();
    assert_eq!(calls(&generator, "idle").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_that_comes_back_begins_where_its_samples_ended_and_a_new_one_now() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    let before = now_ms();
    generator.push(tenant("idle"), push(600), false).await.unwrap();
    generator.let_go(Duration::ZERO).await;
    let begun = generator.absent.lock().await.sent.of(&tenant("idle")).unwrap();
    assert!((before..=now_ms()).contains(&begun), "nothing was sent: it is when it began");
    generator.push(tenant("idle"), push(600), false).await.unwrap();
    assert_eq!(generator.absent.lock().await.sent.of(&tenant("idle")), None);
    generator.let_go(Duration::ZERO).await;
    assert_eq!(
        generator.absent.lock().await.sent.of(&tenant("idle")),
        Some(begun),
        "still nothing"
    );
    assert_eq!(generator.absent.lock().await.sent.of(&tenant("new")), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_samples_are_sent_of_a_tenant_that_was_there_and_not_of_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let generator = generator_of(directory.path(), 0, "", &registry).await;
    // Zero samples are 61 s old at most.
    generator.absent.lock().await.sent.note(tenant("back"), now_ms() - 62_000);
    // The clock was set back since.
    generator.absent.lock().await.sent.note(tenant("ahead"), now_ms() + 3_600_000);
    for name in ["back", "ahead", "new"] {
        generator.push(tenant(name), push(1), false).await.unwrap();
    }
    generator.stop().await;
    let values = sent_samples(&registry, "new");
    assert_eq!(values, 19, "14 bounds, infinity, sum, count, calls and sizes");
    assert_eq!(sent_samples(&registry, "back"), 2 * values - 1, "the sum has no zero");
    assert_eq!(sent_samples(&registry, "ahead"), values);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_with_samples_move_the_time_from_which_a_tenant_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    let before = now_ms() - 60_000;
    for (name, seconds) in [("a", 1), ("b", 600)] {
        generator.absent.lock().await.sent.note(tenant(name), before);
        generator.push(tenant(name), push(seconds), false).await.unwrap();
    }
    let instances = ["a", "b"].map(|name| generator.known(&tenant(name)).unwrap());
    generator.stop().await;
    let [a, b] = [&instances[0], &instances[1]].map(|instance| instance.sent_ms());
    assert!(a.await > before);
    assert_eq!(b.await, before, "it has no series");
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_collects_what_was_counted_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let generator = generator(directory.path(), "").await;
    generator.push(tenant("a"), push(1), false).await.unwrap();
    generator.stop().await;
    let refused = generator.push(tenant("a"), push(1), false).await;
    assert!(matches!(refused, Err(Error::Stopping)), "{refused:?}");
    assert_eq!(generator.shared.metrics.of_tenant("a").collections.get(), 1);
    generator.shared.remote_write.flush(Duration::ZERO).await;
    let left = generator.shared.remote_write.tenants_left_behind();
    assert_eq!(left, [tenant("a")], "nobody took the collection: it waits on disk");
}
