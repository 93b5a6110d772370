use proptest::prelude::*;
use tactus_config::sections::generator::MatchValue;

use super::*;

fn user(json: &str) -> UserLimits {
    UserLimits::read_strict(json.as_bytes()).unwrap()
}

#[test]
fn processors_are_added_and_an_empty_list_takes_them_away() {
    let mut base = Limits::built_in();
    base.metrics_generator.processors = vec!["span-metrics".to_owned()];
    let processors = |json: &str| merge(&base, &user(json)).metrics_generator.processors;
    let both = r#"{"metrics_generator":{"processors":["service-graphs","span-metrics"]}}"#;
    assert_eq!(processors(both), ["span-metrics", "service-graphs"]);
    assert_eq!(processors(r#"{"metrics_generator":{"processors":[]}}"#), Vec::<String>::new());
    assert_eq!(processors("{}"), ["span-metrics"]);
}

#[test]
fn set_keys_win_and_all_others_stay() {
    let mut base = Limits::built_in();
    base.forwarders = vec!["a".to_owned()];
    base.metrics_generator.processor.service_graphs.peer_attributes = Some(vec!["p".to_owned()]);
    let merged = merge(
        &base,
        &user(
            r#"{"forwarders":["b"],"metrics_generator":{"disable_collection":true,"processor":{
            "service_graphs":{"dimensions":[]},
            "span_metrics":{"filter_policies":[{"include":{"match_type":"strict","attributes":[
            {"key":"kind","value":"SPAN_KIND_SERVER"},{"key":"resource.n","value":3}]}}]}}}}"#,
        ),
    );
    assert_eq!(merged.forwarders, ["b"]);
    assert!(merged.metrics_generator.disable_collection);
    let processor = &merged.metrics_generator.processor;
    assert_eq!(processor.service_graphs.dimensions, Some(Vec::new()));
    assert_eq!(processor.service_graphs.peer_attributes, Some(vec!["p".to_owned()]));
    let policies = processor.span_metrics.filter_policies.as_ref().unwrap();
    assert_eq!(policies[0].include.as_ref().unwrap().attributes[1].value, MatchValue::Int(3));
    assert_eq!((merged.ingestion, merged.read), (base.ingestion, base.read));
}

#[test]
fn entry_with_tenant_settable_keys_conflicts() {
    let defaults = Limits::built_in();
    let parse = |text: &str| {
        let config = tactus_config::Config::default();
        let file = tactus_config::PerTenantOverrides::parse(text, &config).unwrap();
        file.overrides.get("a").unwrap().clone()
    };
    let plain = parse("overrides: {a: {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}}}");
    assert!(!conflicts(&plain, &defaults));
    let set = parse("overrides: {a: {metrics_generator: {processors: [span-metrics]}}}");
    assert!(conflicts(&set, &defaults));
    let set =
        parse("overrides: {a: {metrics_generator: {processor: {span_metrics: {dimensions: []}}}}}");
    assert!(conflicts(&set, &defaults));
}

fn names() -> impl Strategy<Value = Option<Vec<String>>> {
    proptest::option::of(proptest::collection::vec("[a-c]", 0..3))
}

prop_compose! {
    fn documents()(
        forwarders in names(), processors in names(), dimensions in names(),
        disable_collection: Option<bool>, prefix: Option<bool>, seconds in proptest::option::of(0i64..1000),
    ) -> UserLimits {
        let mut user = UserLimits { forwarders, ..UserLimits::default() };
        let generator = &mut user.metrics_generator;
        generator.processors = processors;
        generator.disable_collection = disable_collection;
        generator.collection_interval = seconds.map(tactus_config::GoDuration::seconds);
        generator.processor.span_metrics.dimensions = dimensions;
        generator.processor.service_graphs.enable_client_server_prefix = prefix;
        user
    }
}

proptest! {
    #[test]
    fn merge_is_idempotent_and_shows_what_was_set(low in documents(), high in documents()) {
        let base = merge(&Limits::built_in(), &low);
        let merged = merge(&base, &high);
        prop_assert_eq!(&merge(&merged, &high), &merged);
        let shown = UserLimits::of(&merged);
        if high.forwarders.is_some() {
            prop_assert_eq!(&shown.forwarders, &high.forwarders);
        } else {
            prop_assert_eq!(&shown.forwarders, &UserLimits::of(&base).forwarders);
        }
        // What is shown can be set, and then changes nothing.
        prop_assert_eq!(merge(&merged, &shown), merged);
    }

    #[test]
    fn documents_read_back_the_same(user in documents()) {
        prop_assert_eq!(UserLimits::read_strict(user.to_json().as_bytes()).unwrap(), user);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = UserLimits::read_strict(&bytes);
    }
}
