//! A tenant of the engine with a clock of our own, and spans for it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tactus_config::Config;
use tactus_generator::SeriesMemory;
use tactus_generator::engine::{EngineMetrics, Settings, Tenant};
use tactus_telemetry::metrics::Registry;

use crate::kept::Kept;
use crate::spans::batch;

/// 12:00:03.2, when spans come; the first collection is at 12:00:20.
pub(crate) const PUSH_MS: i64 = 1_767_268_803_200;
pub(crate) const COLLECT_MS: i64 = 1_767_268_820_000;
pub(crate) const ZERO_MS: i64 = 1_767_268_799_000;
/// Half an hour.
pub(crate) const LONG_MS: i64 = 30 * 60_000;

const TRACE: &str = "0102030405060708090a0b0c0d0e0f10";

/// A tenant that is configured in YAML, and what it counts of itself.
pub(crate) struct Bench {
    pub(crate) tenant: Tenant,
    pub(crate) memory: Arc<SeriesMemory>,
    own: Registry,
}

fn config(yaml: &str) -> Config {
    let mut config = tactus_config::from_yaml(yaml).unwrap();
    config.metrics_generator.ring.ring.instance_id = "gen-0".to_owned();
    config
}

pub(crate) fn settings(yaml: &str) -> Result<Settings, String> {
    let config = config(yaml);
    let limits = &config.overrides.defaults.metrics_generator;
    Settings::resolve(&config.metrics_generator, limits, "single-tenant")
}

/// Limits of the tenant, and processors of the configuration.
pub(crate) fn yaml(limits: &Value, processor: &Value) -> String {
    json!({
        "overrides": {"defaults": {"metrics_generator": limits}},
        "metrics_generator": {"processor": processor},
    })
    .to_string()
}

impl Bench {
    pub(crate) fn new(yaml: &str) -> Self {
        Self::within(0, yaml)
    }

    /// With memory for series of so many bytes; 0 is no limit.
    pub(crate) fn within(max_bytes: u64, yaml: &str) -> Self {
        let memory = SeriesMemory::new(max_bytes);
        let own = Registry::new();
        let metrics = EngineMetrics::register(&own);
        let settings = settings(yaml).unwrap();
        let tenant =
            Tenant::new("single-tenant", settings, &metrics, &memory, PUSH_MS - 1000).unwrap();
        Self { tenant, memory, own }
    }

    pub(crate) fn with(limits: Value, processor: Value) -> Self {
        Self::new(&yaml(&limits, &processor))
    }

    pub(crate) fn push(&mut self, resources: &Value, spans: &Value, now_ms: i64) {
        let batch = self.batch(resources, spans, now_ms);
        self.tenant.push(&batch, false, now_ms);
    }

    /// Times of spans are milliseconds after [`PUSH_MS`].
    pub(crate) fn batch(
        &self,
        resources: &Value,
        spans: &Value,
        now_ms: i64,
    ) -> tactus_model::SelectedBatch {
        let scenario = json!({ "resources": resources });
        let event = json!({ "spans": spans });
        let keys = self.tenant.selected_keys();
        batch(&scenario, &event, PUSH_MS, now_ms, Duration::from_secs(3_600), keys)
    }

    pub(crate) fn collect(&mut self, now_ms: i64) -> Kept {
        let mut kept = Kept::default();
        self.tenant.collect(now_ms, &mut kept);
        self.tenant.committed();
        kept
    }

    /// A metric of the generator's own; 0 if it is not there.
    pub(crate) fn own(&self, series: &str) -> f64 {
        let text = self.own.encode();
        let name = format!("tempo_metrics_generator_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

pub(crate) fn span(resource: &str, name: &str, kind: u8, id: &str, parent: &str) -> Value {
    json!({"resource": resource, "trace": TRACE, "id": id.repeat(8), "parent": parent.repeat(8),
           "name": name, "kind": kind, "start": -200, "end": -100})
}

pub(crate) fn with(mut span: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(more);
    span
}

pub(crate) fn services(names: &[&str]) -> Value {
    let resource = |name: &&str| (name.to_string(), json!({"service.name": name}));
    Value::Object(names.iter().map(resource).collect())
}

pub(crate) fn shop() -> (Value, Value) {
    // Milliseconds after 12:00:00.
    let at = |span: Value, start: i64, end: i64| {
        with(span, json!({"start": start - 3_200, "end": end - 3_200}))
    };
    let database = json!({"attributes": {"db.system": "postgresql", "db.name": "carts", "server.address": "pg-0"}});
    let spans = json!([
        at(span("shop", "GET /cart", 2, "a1", ""), 2000, 2150),
        at(span("shop", "cart.get", 3, "a2", "a1"), 2010, 2110),
        with(
            at(span("cart", "cart.get", 2, "b1", "a2"), 2020, 2100),
            json!({"status": 2, "message": "boom"})
        ),
        with(at(span("cart", "SELECT carts", 3, "b2", "b1"), 2030, 2050), database),
        at(span("shop", "orders publish", 4, "a3", "a1"), 2120, 2130),
        at(span("mail", "orders process", 5, "c1", "a3"), 2200, 2260),
        with(
            at(span("shop", "POST /charge", 3, "a4", "a1"), 2131, 2141),
            json!({"attributes": {"peer.service": "stripe"}})
        ),
    ]);
    (services(&["shop", "cart", "mail"]), spans)
}
