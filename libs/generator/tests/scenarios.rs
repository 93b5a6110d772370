//! The scenarios of `conformance/generator.json.gz` with the engine alone and a clock of our own: series, bounds of buckets,
//! exemplars, and what the engine counts of itself. How they are sent is not looked at.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "scenarios/observed.rs"]
mod observed;
#[path = "scenarios/spans.rs"]
mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::{Map, Value};
use tactus_config::sections::overrides::Limits;
use tactus_config::{Config, PerTenantOverrides};
use tactus_generator::SeriesMemory;
use tactus_generator::engine::{EngineMetrics, Settings, Tenant};
use tactus_telemetry::metrics::Registry;

use observed::Observed;

/// Series that are others here: of two attributes of one label the last wins, but the keys of JSON are read in
/// alphabetical order.
const SERIES_OTHERWISE: &[(&str, &str)] = &[("target-info", "traces_target_info{a_b=")];

/// A second into a minute, as the runner begins.
const BEGIN_MS: i64 = 1_767_268_800_500;
const COLLECTION_MS: i64 = 5_000;
const TICK_MS: i64 = 2_000;

struct Run {
    config: Config,
    per_tenant: PerTenantOverrides,
    tenants: BTreeMap<String, (Tenant, Observed)>,
}

impl Run {
    fn limits(&self, tenant: &str) -> Limits {
        self.per_tenant.get(tenant).unwrap_or(&self.config.overrides.defaults).clone()
    }

    fn settings(&self, tenant: &str) -> Settings {
        let limits = self.limits(tenant).metrics_generator;
        Settings::resolve(&self.config.metrics_generator, &limits, tenant).unwrap()
    }

    /// Lets time pass, in which edges expire and collections are made.
    fn pass(&mut self, from_ms: i64, to_ms: i64) {
        let disabled: BTreeSet<String> = self
            .tenants
            .keys()
            .filter(|tenant| self.limits(tenant).metrics_generator.disable_collection)
            .cloned()
            .collect();
        for now_ms in from_ms + 1..=to_ms {
            for (name, (tenant, observed)) in &mut self.tenants {
                if now_ms % TICK_MS == 0 {
                    tenant.expire(now_ms);
                }
                if now_ms % COLLECTION_MS == 0 && !disabled.contains(name) {
                    observed.begin(now_ms);
                    tenant.collect(now_ms, observed);
                    tenant.committed();
                }
            }
        }
    }
}

fn read_scenarios() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/generator.json.gz");
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["scenarios"].as_array().unwrap().clone()
}

fn per_tenant(overrides: &Value, config: &Config) -> PerTenantOverrides {
    let text = serde_json::json!({ "overrides": overrides }).to_string();
    PerTenantOverrides::parse(&text, config).unwrap().overrides
}

fn run(scenario: &Value) -> (BTreeMap<String, Value>, Vec<Observed>) {
    let mut config = scenario["config"].clone();
    // A word of the runner's, and collections are made here.
    if let Some(registry) = config.pointer_mut("/metrics_generator/registry") {
        registry.as_object_mut().unwrap().remove("collection_interval");
    }
    let mut config = tactus_config::from_yaml(&config.to_string()).unwrap();
    config.metrics_generator.ring.ring.instance_id = "gen-0".to_owned();
    let tenants: Vec<String> = match scenario["tenants"].as_array() {
        Some(names) => names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
        None => vec!["single-tenant".to_owned()],
    };
    let own = Registry::new();
    let metrics = EngineMetrics::register(&own);
    let mut run = Run {
        per_tenant: per_tenant(&scenario["tenant_overrides"], &config),
        config,
        tenants: BTreeMap::new(),
    };
    let label = scenario["tenant_label"].as_str();
    for name in &tenants {
        let tenant = Tenant::new(
            name,
            run.settings(name),
            &metrics,
            &SeriesMemory::new(0),
            BEGIN_MS - 60_000,
        )
        .unwrap();
        run.tenants.insert(name.clone(), (tenant, Observed::new(label)));
    }
    let mut now_ms = BEGIN_MS;
    for event in scenario["events"].as_array().unwrap() {
        let at = BEGIN_MS + (event["at"].as_f64().unwrap_or(0.0) * 1000.0) as i64;
        run.pass(now_ms, at);
        now_ms = at;
        if !event["overrides"].is_null() {
            run.per_tenant = per_tenant(&event["overrides"], &run.config);
            for name in &tenants {
                let settings = run.settings(name);
                run.tenants.get_mut(name).unwrap().0.set(settings, now_ms).unwrap();
            }
            continue;
        }
        let only: Option<Vec<&str>> = event["tenants"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect());
        for name in tenants
            .iter()
            .filter(|name| only.as_ref().is_none_or(|only| only.contains(&name.as_str())))
        {
            let limits = run.limits(name).metrics_generator;
            let slack = limits.ingestion_time_range_slack.non_zero().unwrap_or(
                run.config.metrics_generator.metrics_ingestion_time_range_slack.as_std(),
            );
            let tenant = &mut run.tenants.get_mut(name).unwrap().0;
            let batch =
                spans::batch(scenario, event, BEGIN_MS, now_ms, slack, tenant.selected_keys());
            let headers = event["headers"].as_object().into_iter().flatten();
            let skip = headers
                .map(|(name, _)| name)
                .any(|name| name.eq_ignore_ascii_case("no-generate-metrics"));
            tenant.push(&batch, skip, now_ms);
        }
    }
    if scenario["stop"].as_bool() == Some(true) {
        for (tenant, observed) in run.tenants.values_mut() {
            tenant.expire_all(now_ms + 1000);
            observed.begin(now_ms + 1000);
            tenant.collect(now_ms + 1000, observed);
            tenant.committed();
        }
    } else {
        let wait = scenario["wait"].as_f64().unwrap_or(10.0) + 3.5;
        run.pass(now_ms, now_ms + (wait * 1000.0) as i64 + 2 * COLLECTION_MS);
    }
    (
        observed::own(&own.encode()),
        run.tenants.into_values().map(|(_, observed)| observed).collect(),
    )
}

/// An expectation without its note: the correct result.
fn wanted(entry: &Value) -> &Value {
    if entry.get("note").is_some() { &entry["expect"] } else { entry }
}

fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= (1e-9 * a.abs().max(b.abs())).max(1e-12)
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|b| close(value, b)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
        }
        _ => a == b,
    }
}

fn compare(
    scenario: &str,
    part: &str,
    expected: &Map<String, Value>,
    got: &BTreeMap<String, Value>,
) -> Vec<String> {
    let names: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    let mut wrong = Vec::new();
    for name in names {
        let want = expected.get(name).map_or(&Value::Null, wanted);
        let got = got.get(name).unwrap_or(&Value::Null);
        let otherwise = |(of, text): &(&str, &str)| *of == scenario && name.contains(text);
        if SERIES_OTHERWISE.iter().any(otherwise) {
            continue;
        }
        if want.as_str() != Some("varies") && !close(want, got) {
            wrong.push(format!("{scenario}: {part} {name}: expected {want}, got {got}"));
        }
    }
    wrong
}

#[test]
fn scenarios_give_the_recorded_series() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for scenario in read_scenarios() {
        let name = scenario["name"].as_str().unwrap();
        // Of these only the sending matters, which makes other series of the same ones.
        if matches!(name, "relabel" | "retries") {
            continue;
        }
        let (own, observed) = run(&scenario);
        let mut got: [BTreeMap<String, Value>; 3] = Default::default();
        for tenant in observed {
            let [series, bounds, exemplars] = &mut got;
            tenant.results(series, bounds, exemplars);
        }
        for (part, got) in ["series", "bounds", "exemplars"].into_iter().zip(&got) {
            let expected = scenario["expect"][part].as_object().unwrap();
            checked += expected.len();
            wrong.extend(compare(name, part, expected, got));
        }
        // Nobody asks a server that has stopped.
        if scenario["stop"].as_bool() == Some(true) {
            continue;
        }
        let expected = scenario["expect"]["own"].as_object().unwrap();
        let counted = |name: &&String| observed::is_of_the_engine(name);
        let expected: Map<String, Value> = expected
            .iter()
            .filter(|(name, _)| counted(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        checked += expected.len();
        wrong.extend(compare(name, "own", &expected, &own));
    }
    assert!(checked > 1000, "only {checked} expectations were found");
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
}
