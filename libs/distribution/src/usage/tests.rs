use std::{collections::BTreeMap, sync::Arc};

use super::*;
use tactus_model::walk::walk_export;
use tactus_proto::opentelemetry::proto::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned().into(), value }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned().into()))
}

fn resource_spans(resource: Vec<KeyValue>, spans: Vec<Vec<KeyValue>>) -> ResourceSpans {
    let span = |attributes| Span { attributes, ..Default::default() };
    let spans = spans.into_iter().map(span).collect();
    ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Default::default() }),
        scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
        ..Default::default()
    }
}

fn request(resource_spans: Vec<ResourceSpans>) -> Bytes {
    use prost::Message;
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn limits(dimensions: &[(&str, &str)]) -> CostAttribution {
    let pair = |(attribute, label): &(&str, &str)| ((*attribute).to_owned(), (*label).to_owned());
    CostAttribution { max_cardinality: 0, dimensions: dimensions.iter().map(pair).collect() }
}

struct Fixture {
    tracker: Arc<UsageTracker>,
    start: Instant,
}

impl Fixture {
    fn new() -> Self {
        let tracker = UsageTracker::new(Section::default(), &Registry::new());
        Self { tracker: Arc::new(tracker), start: Instant::now() }
    }

    fn observe(&self, limits: &CostAttribution, request: &Bytes, seconds: u64) {
        let walk = walk_export(request, |_| {}).unwrap();
        let now = self.start + Duration::from_secs(seconds);
        self.tracker.observe_at(&TenantId::single(), limits, request, &walk, now);
    }

    /// Labels without those that are always the same, and bytes.
    fn series(&self, seconds: u64) -> Vec<(String, u64)> {
        let (tracker, now) = (Arc::clone(&self.tracker), self.start + Duration::from_secs(seconds));
        let registry = Registry::new();
        registry.register_collector(move |page| tracker.collect_at(page, now));
        let text = registry.encode();
        let mut lines = text.lines();
        assert!(
            lines.next().unwrap().starts_with("# HELP tempo_usage_tracker_bytes_received_total ")
        );
        assert_eq!(lines.next(), Some("# TYPE tempo_usage_tracker_bytes_received_total counter"));
        let parse = |line: &str| {
            let (labels, bytes) = line.rsplit_once(' ').unwrap();
            let labels = labels.strip_prefix("tempo_usage_tracker_bytes_received_total{").unwrap();
            assert!(labels.contains(r#"tenant="single-tenant",tracker="cost-attribution""#));
            let own = labels.trim_end_matches('}').split(',');
            let own = own.filter(|l| !l.starts_with("tenant=") && !l.starts_with("tracker="));
            (own.collect::<Vec<_>>().join(","), bytes.parse().unwrap())
        };
        lines.map(parse).collect()
    }
}

#[test]
fn every_byte_is_counted_once_under_its_values() {
    let fixture = Fixture::new();
    let request = request(vec![
        resource_spans(
            vec![text("service.name", "shop"), text("team", "red")],
            vec![vec![], vec![text("team", "blue")], vec![]],
        ),
        resource_spans(vec![], vec![vec![attribute("team", Value::IntValue(7))]]),
    ]);
    let limits = limits(&[("resource.service.name", ""), ("team", "owner")]);
    fixture.observe(&limits, &request, 0);
    let series = fixture.series(0);
    let labels: Vec<&str> = series.iter().map(|(labels, _)| labels.as_str()).collect();
    assert_eq!(
        labels,
        [
            r#"owner="7",service_name="__missing__""#,
            r#"owner="blue",service_name="shop""#,
            r#"owner="red",service_name="shop""#,
        ]
    );
    assert_eq!(series.iter().map(|(_, bytes)| bytes).sum::<u64>(), request.len() as u64);
}

#[test]
fn prefix_pins_where_the_attribute_is() {
    let fixture = Fixture::new();
    let spans = vec![vec![text("team", "of span")]];
    let request = request(vec![resource_spans(vec![text("team", "of \"resource\"")], spans)]);
    fixture.observe(&limits(&[("resource.team", "a"), ("span.team", "b")]), &request, 0);
    assert_eq!(fixture.series(0)[0].0, r#"a="of \"resource\"",b="of span""#);
}

#[test]
fn spans_share_the_values_of_their_resource() {
    use prost::Message;
    let names: BTreeMap<String, String> =
        (0..64).map(|number| (format!("d{number}"), String::new())).collect();
    let dimensions = Dimensions::new(&names);
    let resource = Resource { attributes: vec![text("d1", "of resource")], ..Default::default() };
    let of_resource = dimensions.of_resource(&resource.encode_to_vec(), MISSING).unwrap();
    let of_span = |attributes| {
        let span = Span { attributes, ..Default::default() };
        dimensions.of_span(&span.encode_to_vec(), &of_resource).unwrap()
    };
    assert_eq!(of_span(vec![text("other", "x")]), None);
    let values = of_span(vec![text("d0", "of span")]).unwrap();
    let pairs = values.iter().zip(of_resource.iter());
    assert_eq!(pairs.filter(|(own, shared)| std::ptr::eq(*own, *shared)).count(), 63);
    assert!(values.iter().any(|value| value == "of span"));
}

#[test]
fn values_beyond_the_bounds_are_not_kept_while_a_request_is_read() {
    let dimensions = Dimensions::new(&limits(&[("team", "")]).dimensions);
    let spans = (0..50).map(|number| vec![text("team", &format!("t{}", number % 10))]).collect();
    let request = request(vec![resource_spans(vec![], spans)]);
    let walk = walk_export(&request, |_| {}).unwrap();
    let read = |series: usize, memory: u64| {
        let bounds = Bounds { series, memory, stale_after: Duration::ZERO };
        let read = bytes_by_values(&request, &walk, &dimensions, &bounds).unwrap();
        let bytes: u64 = read.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(bytes, request.len() as u64);
        let overflow = dimensions.all(OVERFLOW);
        (read.len(), read.iter().position(|(values, _)| *values == overflow))
    };
    assert_eq!(read(10, u64::MAX), (10, None));
    assert_eq!(read(9, u64::MAX), (10, Some(9)));
    assert_eq!(read(2, u64::MAX), (3, Some(2)));
    assert_eq!(read(10, 300), (4, Some(3)), "values of 146 bytes");
}

#[test]
fn no_label_stands_twice_in_a_series() {
    let labels = |pairs: &[(&str, &str)]| {
        let dimensions = Dimensions::new(&limits(pairs).dimensions);
        dimensions.labels().map(str::to_owned).collect::<Vec<_>>()
    };
    let own = [("resource.tenant", ""), ("team", "tracker"), ("x", "__name__"), ("y", "z")];
    assert_eq!(labels(&own), ["exported_tenant", "exported_tracker", "exported___name__", "z"]);
    let both = [("a", "exported_tenant"), ("tenant", "")];
    assert_eq!(labels(&both), ["exported_tenant", "exported_exported_tenant"]);
    let fixture = Fixture::new();
    let request = request(vec![resource_spans(vec![text("tenant", "mine")], vec![vec![]])]);
    fixture.observe(&limits(&[("tenant", "")]), &request, 0);
    assert_eq!(fixture.series(0)[0].0, r#"exported_tenant="mine""#);
}

#[test]
fn past_the_limit_everything_overflows_until_series_are_stale() {
    let fixture = Fixture::new();
    let limits = CostAttribution { max_cardinality: 2, ..limits(&[("team", "")]) };
    let push = |team: &str, seconds: u64| {
        let request = request(vec![resource_spans(vec![text("team", team)], vec![vec![]])]);
        fixture.observe(&limits, &request, seconds);
    };
    let teams = |seconds: u64| fixture.series(seconds).into_iter().map(|s| s.0).collect::<Vec<_>>();
    (0..5).for_each(|n| push(&n.to_string(), 0));
    assert_eq!(teams(0), [r#"team="0""#, r#"team="1""#, r#"team="__overflow__""#]);
    push("1", 600);
    push("late", 1_000);
    assert_eq!(teams(1_000), [r#"team="1""#, r#"team="late""#]);
    assert!(teams(10_000).is_empty());
    assert!(fixture.tracker.tenants.lock().by_id.is_empty());
}

#[test]
fn memory_of_all_tenants_is_bounded() {
    let section = Section { max_bytes: 2_000, ..Section::default() };
    let tracker = UsageTracker::new(section, &Registry::new());
    let start = Instant::now();
    let limits = limits(&[("team", "")]);
    let push = |tenant: &str, team: usize, seconds: u64| {
        let request =
            request(vec![resource_spans(vec![text("team", &team.to_string())], vec![vec![]])]);
        let walk = walk_export(&request, |_| {}).unwrap();
        let tenant = TenantId::parse(tenant).unwrap();
        let now = start + Duration::from_secs(seconds);
        tracker.observe_at(&tenant, &limits, &request, &walk, now);
        let tenants = tracker.tenants.lock();
        assert_eq!(tenants.memory, tenants.by_id.values().map(TenantUsage::memory).sum::<u64>());
        tenants.by_id[&tenant].series.len()
    };
    let series = (0..1_000).map(|team| push("loud", team, 0)).max().unwrap();
    assert!((10..20).contains(&series), "{series}");
    assert_eq!(push("quiet", 1, 0), 1);
    assert_eq!(push("quiet", 2, 0), 1, "both are counted as one");
    assert_eq!(push("quiet", 3, 10_000), 1, "the others are stale");
    assert_eq!(push("quiet", 4, 10_000), 2);
    assert_eq!(tracker.tenants.lock().by_id.len(), 1);
}

#[test]
fn tenant_without_dimensions_has_no_series() {
    let fixture = Fixture::new();
    let request = request(vec![resource_spans(vec![], vec![vec![]])]);
    fixture.observe(&limits(&[]), &request, 0);
    assert!(fixture.series(0).is_empty());
}

#[test]
fn malformed_attributes_are_counted_as_an_error() {
    let registry = Registry::new();
    let tracker = UsageTracker::new(Section::default(), &registry);
    // A span whose field 9 is no message.
    let request = Bytes::from_static(&[0x0a, 6, 0x12, 4, 0x12, 2, 0x48, 1]);
    let walk = walk_export(&request, |_| {}).unwrap();
    tracker.observe(&TenantId::single(), &limits(&[("a", "")]), &request, &walk);
    let errors = r#"usage_tracker_errors_total{tenant="single-tenant",reason="malformed"} 1"#;
    assert!(registry.encode().contains(errors), "{}", registry.encode());
}

#[test]
fn stale_tenants_go_even_if_nobody_scrapes() {
    let fixture = Fixture::new();
    let limits = limits(&[("team", "")]);
    let request = request(vec![resource_spans(vec![], vec![vec![]])]);
    let walk = walk_export(&request, |_| {}).unwrap();
    for number in 0..=KEPT_TENANTS {
        let tenant = TenantId::parse(&number.to_string()).unwrap();
        let now = fixture.start + Duration::from_secs(if number < 10 { 0 } else { 1_000 });
        fixture.tracker.observe_at(&tenant, &limits, &request, &walk, now);
    }
    assert_eq!(fixture.tracker.tenants.lock().by_id.len(), KEPT_TENANTS + 1 - 10);
}
