//! What the engine costs: `cargo bench -p tactus-generator`.
//!
//! First the memory of a series and the time of a collection; then the processor time of a million spans of calls between
//! services, in pushes of 20 and of 1000 spans, with each processor and with both. Needs Linux.

use std::{fs, sync::Arc};

use tactus_generator::SeriesMemory;
use tactus_generator::engine::{EngineMetrics, Settings, Tenant};
use tactus_model::any_value::{AnyValueRef, encode};
use tactus_model::wire::{put_bytes_field, put_fixed64_field, put_message_field, put_varint_field};
use tactus_model::{BatchBuilder, BuilderLimits, SelectedBatch, SelectedKeys};
use tactus_remote_write::series::{Exemplar, NativeHistogram, Series, Sink};
use tactus_telemetry::metrics::Registry;

const NOW_MS: i64 = 1_767_268_803_200;
const SPANS: usize = 1_000_000;
const SERVICES: usize = 40;

#[expect(clippy::print_stdout, reason = "a benchmark reports to its terminal")]
fn report(line: &str) {
    println!("{line}");
}

fn main() {
    // Before anything else: memory that is free again would be taken for that of series.
    memory();
    report("processors                     spans a push    s a million spans    series");
    for processors in ["span-metrics", "service-graphs", "span-metrics, service-graphs"] {
        for size in [20, 1000] {
            let mut tenant = tenant(processors);
            let batches = batches(size, tenant.selected_keys());
            let mut spans = 0;
            let started = cpu_seconds();
            'all: loop {
                for batch in &batches {
                    tenant.push(batch, false, NOW_MS);
                    spans += batch.batch.len();
                    if spans >= SPANS {
                        break 'all;
                    }
                }
            }
            let seconds = (cpu_seconds() - started) * SPANS as f64 / spans as f64;
            let series = tenant.series();
            report(&format!("{processors:32} {size:10} {seconds:20.3} {series:9}"));
        }
    }
}

fn memory() {
    for processors in ["span-metrics-count", "span-metrics"] {
        let mut tenant = tenant(processors);
        let before = resident_bytes();
        let keys = Arc::clone(tenant.selected_keys());
        let mut builder = Spans::new(&keys);
        for number in 0..100_000 {
            builder.add(number, &format!("GET /customers/{number}/orders"));
            if number % 1000 == 999 {
                let batch = std::mem::replace(&mut builder, Spans::new(&keys)).finish();
                tenant.push(&batch, false, NOW_MS);
            }
        }
        let bytes = resident_bytes().saturating_sub(before);
        let series = tenant.series();
        let started = cpu_seconds();
        let mut sink = Counting::default();
        tenant.collect(NOW_MS + 15_000, &mut sink);
        tenant.committed();
        report(&format!(
            "{processors}: {series} series, {} bytes each; collected in {:.0} ms ({} samples)",
            bytes / series.max(1),
            (cpu_seconds() - started) * 1e3,
            sink.samples
        ));
    }
}

/// What this thread ran: others on the machine do not count.
fn cpu_seconds() -> f64 {
    let times = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = times.split(' ').next().and_then(|times| times.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn tenant(processors: &str) -> Tenant {
    let yaml =
        format!("overrides: {{defaults: {{metrics_generator: {{processors: [{processors}]}}}}}}");
    let config = tactus_config::from_yaml(&yaml).expect("configuration");
    let limits = &config.overrides.defaults.metrics_generator;
    let settings = Settings::resolve(&config.metrics_generator, limits, "t").expect("settings");
    let metrics = EngineMetrics::register(&Registry::new());
    Tenant::new("t", settings, &metrics, &SeriesMemory::new(0), NOW_MS).expect("tenant")
}

#[derive(Debug, Default)]
struct Counting {
    samples: usize,
}

impl Sink for Counting {
    fn float(&mut self, _: &Series<'_>, _: i64, _: f64) {
        self.samples += 1;
    }

    fn histogram(&mut self, _: &Series<'_>, _: i64, _: &NativeHistogram) {
        self.samples += 1;
    }

    fn exemplar(&mut self, _: &Series<'_>, _: &Exemplar<'_>) {}
}

/// Pushes of this many spans, about 100 000 in all: chains of calls, each span with eight attributes.
fn batches(size: usize, keys: &Arc<SelectedKeys>) -> Vec<SelectedBatch> {
    let mut batches = Vec::new();
    let mut builder = Spans::new(keys);
    let mut added = 0;
    for number in 0..100_000 {
        builder.add(number, &format!("operation-{}", (number * 7) % 25));
        added += 1;
        if added == size {
            batches.push(std::mem::replace(&mut builder, Spans::new(keys)).finish());
            added = 0;
        }
    }
    batches
}

#[derive(Debug)]
struct Spans(BatchBuilder);

impl Spans {
    fn new(keys: &Arc<SelectedKeys>) -> Self {
        let limits = BuilderLimits { max_attribute_bytes: 2048 };
        Self(BatchBuilder::selecting(limits, Arc::clone(keys)))
    }

    /// Spans of ten make a trace: a server, and calls by turns as client and server.
    fn add(&mut self, number: usize, name: &str) {
        let (trace, place) = (number / 10, number % 10);
        let service = (trace * 3 + place.div_ceil(2)) % SERVICES;
        let mut resource = Vec::new();
        put_message_field(&mut resource, 1, &pair("service.name", &format!("service-{service}")));
        put_message_field(&mut resource, 1, &pair("host.name", &format!("host-{service}")));
        let kind = if place % 2 == 0 { 2 } else { 3 };
        let mut span = Vec::new();
        put_message_field(
            &mut span,
            1,
            &(trace as u128 + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                .to_be_bytes(),
        );
        put_message_field(&mut span, 2, &(number as u64 + 1).to_be_bytes());
        if place > 0 {
            put_message_field(&mut span, 4, &(number as u64).to_be_bytes());
        }
        put_bytes_field(&mut span, 5, name.as_bytes());
        put_varint_field(&mut span, 6, kind);
        let start = NOW_MS as u64 * 1_000_000 - 500_000_000;
        put_fixed64_field(&mut span, 7, start);
        put_fixed64_field(&mut span, 8, start + 1_000_000 * (1 + (number as u64 * 37) % 400));
        for (key, value) in [
            ("http.request.method", "GET".to_owned()),
            ("http.route", format!("/api/{}", number % 25)),
            ("url.full", format!("https://example.org/api/{number}")),
            ("http.response.status_code", "200".to_owned()),
            ("server.address", format!("service-{}", number % SERVICES)),
            ("user.id", format!("user-{}", number % 1000)),
            ("thread.name", format!("worker-{}", number % 16)),
            ("deployment", "production".to_owned()),
        ] {
            put_message_field(&mut span, 9, &pair(key, &value));
        }
        let mut spans = Vec::new();
        put_message_field(&mut spans, 2, &span);
        let resource = self.0.resource(&resource).expect("resource");
        let scope = self.0.scope(b"").expect("scope");
        self.0.append_scope_spans(resource, scope, &spans, |_, _| true).expect("spans");
    }

    fn finish(self) -> SelectedBatch {
        self.0.finish_selected()
    }
}

fn pair(key: &str, value: &str) -> Vec<u8> {
    let (mut pair, mut encoded) = (Vec::new(), Vec::new());
    put_bytes_field(&mut pair, 1, key.as_bytes());
    encode(&mut encoded, AnyValueRef::String(value.as_bytes()));
    put_message_field(&mut pair, 2, &encoded);
    pair
}
