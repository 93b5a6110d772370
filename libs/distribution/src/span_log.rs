//! Logs and counts single spans, to find out where spans get lost.
//!
//! Off by default: it reads every span a second time, and a busy distributor would write more into its log than to its
//! ingesters.

use std::borrow::Cow;

use tactus_config::sections::distributor::{Distributor, LogSpans};
use tactus_model::{
    AppendError, AttributeList, BatchBuilder, BuilderLimits, KnownOwners, SpanBatch, TenantId,
    any_value::AnyValueRef, text_of_value, walk::walk_export,
};
use tactus_telemetry::metrics::{CounterVec, Registry};

/// Longer keys and values are cut in the log.
const MAX_VALUE_BYTES: usize = 256;
/// A log line with this many bytes of attributes gets no more of them.
const MAX_LINE_BYTES: usize = 4096;
const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const STATES: [&str; 3] = ["unset", "ok", "error"];
const STATUS_ERROR: u8 = 2;

/// Logs and counts spans as `distributor` says.
#[derive(Debug)]
pub(crate) struct SpanLog {
    received: LogSpans,
    discarded: LogSpans,
    /// By tenant, name and service.
    counts: Option<CounterVec<3>>,
    counts_roots_only: bool,
}

impl SpanLog {
    /// `None` if nothing is asked for.
    pub(crate) fn new(section: &Distributor, registry: &Registry) -> Option<Self> {
        let (received, discarded) = (&section.log_received_spans, &section.log_discarded_spans);
        let counted = &section.metric_received_spans;
        if !(received.enabled || discarded.enabled || counted.enabled) {
            return None;
        }
        let counts = counted.enabled.then(|| {
            registry.counter_vec(
                "tempo_distributor_debug_spans_received_total",
                "Spans received, by name and service, if distributor.metric_received_spans says so.",
                ["tenant", "name", "service"],
            )
        });
        let (received, discarded) = (received.clone(), discarded.clone());
        Some(Self { received, discarded, counts, counts_roots_only: counted.root_only })
    }

    /// Logs the spans of a request that passed the rate limit.
    pub(crate) fn received(&self, tenant: &TenantId, request: &[u8]) {
        let log = &self.received;
        if !log.enabled && self.counts.is_none() {
            return;
        }
        let Ok(batch) = spans_of(request) else { return };
        if let Some(counts) = &self.counts {
            self.count(counts, tenant, &batch);
        }
        if log.enabled {
            write_lines(log, tenant, &batch, "received", None);
        }
    }

    /// Logs that none of a request's valid spans is stored.
    pub(crate) fn discarded(&self, tenant: &TenantId, request: &[u8], reason: &str) {
        let log = &self.discarded;
        if !log.enabled {
            return;
        }
        let Ok(batch) = spans_of(request) else { return };
        write_lines(log, tenant, &batch, "discarded", Some(reason));
    }

    /// Counts spans of a request that are not stored, if only their number is known.
    pub(crate) fn some_discarded(&self, tenant: &TenantId, reason: &str, spans: u64) {
        if self.discarded.enabled && spans > 0 {
            tracing::info!(tenant = tenant.as_str(), reason, spans, "discarded");
        }
    }

    fn count(&self, counts: &CounterVec<3>, tenant: &TenantId, batch: &SpanBatch) {
        let services = services(batch);
        for row in 0..batch.len() {
            if self.counts_roots_only && !batch.spans.parent_span_id[row].is_zero() {
                continue;
            }
            let name = name_of(batch, row);
            let service = &services[batch.spans.resource[row] as usize];
            counts.with([tenant.as_str(), &name, service]).inc();
        }
    }
}

/// The valid spans of a request.
fn spans_of(request: &[u8]) -> Result<SpanBatch, AppendError> {
    let walk = walk_export(request, |_| {})?;
    let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes: MAX_VALUE_BYTES });
    let mut known = KnownOwners::default();
    for run in &walk.runs {
        let resource = &request[walk.resources[run.resource as usize].clone()];
        let scope = &request[walk.scopes[run.scope as usize].clone()];
        let owners = builder.owners(&mut known, resource, scope)?;
        // Otherwise they are nested too deeply.
        if let Some((resource, scope)) = owners {
            let scope_spans = &request[run.scope_spans.clone()];
            builder.append_scope_spans(resource, scope, scope_spans, |_, _| true)?;
        }
    }
    Ok(builder.finish())
}

/// The service name of each resource; empty if it has none.
fn services(batch: &SpanBatch) -> Vec<Cow<'_, str>> {
    let key = batch.strings.find(b"service.name");
    let name = |resource| batch.strings.display(batch.service_name(resource, key));
    (0..batch.resources.len()).map(name).collect()
}

fn name_of(batch: &SpanBatch, row: usize) -> Cow<'_, str> {
    let name = batch.strings.get(batch.spans.name[row]);
    String::from_utf8_lossy(&name[..name.len().min(MAX_VALUE_BYTES)])
}

/// Writes a line for each span; with more than its ids if all attributes are wanted.
fn write_lines(
    log: &LogSpans,
    tenant: &TenantId,
    batch: &SpanBatch,
    what: &str,
    reason: Option<&str>,
) {
    let (spans, with_details) = (&batch.spans, log.include_all_attributes);
    let services = if with_details { services(batch) } else { Vec::new() };
    // The attributes of the latest resource: spans of one mostly follow each other.
    let (mut latest, mut of_resource) = (usize::MAX, String::new());
    for row in 0..batch.len() {
        if log.filter_by_status_error && spans.status[row] != STATUS_ERROR {
            continue;
        }
        let spanid = spans.span_id[row].to_hex();
        let traceid = batch.traces.ids[spans.trace[row] as usize].to_hex();
        let tenant = tenant.as_str();
        if !with_details {
            tracing::info!(tenant, reason, spanid, traceid, "{what}");
            continue;
        }
        let resource = spans.resource[row] as usize;
        if latest != resource {
            of_resource.clear();
            append(&mut of_resource, batch, &batch.resources.attributes, resource);
            latest = resource;
        }
        let mut attributes = of_resource.clone();
        append(&mut attributes, batch, &batch.span_attributes, row);
        tracing::info!(
            tenant,
            reason,
            spanid,
            traceid,
            service = &*services[resource],
            name = &*name_of(batch, row),
            kind = KINDS.get(usize::from(spans.kind[row])).unwrap_or(&KINDS[0]),
            status = STATES.get(usize::from(spans.status[row])).unwrap_or(&STATES[0]),
            duration_seconds = spans.duration[row] as f64 / 1e9,
            attributes,
            "{what}"
        );
    }
}

/// Appends the plain values of an owner as `key=value`.
fn append(text: &mut String, batch: &SpanBatch, list: &AttributeList, owner: usize) {
    for attribute in list.of(owner) {
        let value = attribute.value(&batch.strings);
        if matches!(value, AnyValueRef::Encoded(_)) {
            continue;
        }
        if text.len() >= MAX_LINE_BYTES {
            return;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&batch.strings.display(attribute.key));
        text.push('=');
        text.push_str(&String::from_utf8_lossy(&text_of_value(value)));
    }
}
