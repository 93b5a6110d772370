//! Counts calls in series.

use std::sync::Arc;

use tactus_config::sanitized_label;
use tactus_telemetry::log_limited;

use super::Section;
use super::edges::{Connection, Edge};
use crate::engine::handles::Handles;
use crate::engine::interner::{EMPTY, Interner, TextId};
use crate::registry::{
    Adjusted, Handle, InvalidUtf8, Kind, Labels, MetricId, MetricSpec, Processor, Registry,
};

const TOTAL: &str = "traces_service_graph_request_total";
const FAILED: &str = "traces_service_graph_request_failed_total";
const SERVER: &str = "traces_service_graph_request_server_seconds";
const CLIENT: &str = "traces_service_graph_request_client_seconds";
const MESSAGING: &str = "traces_service_graph_request_messaging_system_seconds";

/// Names of the metrics.
pub(crate) const METRICS: [&str; 5] = [TOTAL, FAILED, SERVER, CLIENT, MESSAGING];

/// Client, server and connection, then dimensions.
const FIRST_DIMENSION: usize = 3;

/// Counts calls.
#[derive(Debug)]
pub(super) struct Recorder {
    total: MetricId,
    failed: MetricId,
    server: MetricId,
    client: MetricId,
    messaging: Option<MetricId>,
    names: LabelNames,
    handles: Handles<Entry>,
    key: Vec<TextId>,
    labels: Labels,
}

#[derive(Debug)]
struct LabelNames {
    client: Arc<str>,
    server: Arc<str>,
    connection: Arc<str>,
    virtual_node: Option<Arc<str>>,
    /// One for each text of [`Edge::dimensions`].
    dimensions: Vec<Arc<str>>,
}

#[derive(Debug)]
enum Entry {
    InvalidUtf8,
    Series(Box<Handles5>),
}

/// What is kept for a label set; some series begin when they are needed.
#[derive(Debug)]
struct Handles5 {
    total: Handle,
    server: Handle,
    client: Handle,
    failed: Option<Handle>,
    messaging: Option<Handle>,
    adjusted: Option<Adjusted>,
}

/// Names of the labels of dimensions, those of clients before those of servers; `None` for one that would stand in the
/// place of a label that each edge has.
pub(crate) fn dimension_labels(settings: &Section) -> Vec<Option<String>> {
    let prefixes: &[&str] =
        if settings.enable_client_server_prefix { &["client_", "server_"] } else { &[""] };
    let label = |prefix: &str, name: &String| {
        let label = sanitized_label(&format!("{prefix}{name}"));
        let taken = matches!(&*label, "client" | "server" | "connection_type")
            || (settings.enable_virtual_node_label && label == "virtual_node");
        (!taken).then_some(label)
    };
    let all = prefixes
        .iter()
        .flat_map(|prefix| settings.dimensions.iter().map(move |name| label(prefix, name)));
    all.collect()
}

impl Recorder {
    /// Makes the metrics, or finds them again.
    pub(super) fn new(settings: &Section, registry: &mut Registry) -> Self {
        let mut metric = |name: &str, kind: &Kind| {
            let spec = MetricSpec {
                processor: Processor::ServiceGraphs,
                name: name.to_owned(),
                kind: kind.clone(),
                aliases: Vec::new(),
            };
            registry.metric(spec)
        };
        let seconds = Kind::Histogram(settings.histogram_buckets.as_slice().into());
        let (total, failed) = (metric(TOTAL, &Kind::Counter), metric(FAILED, &Kind::Counter));
        let (server, client) = (metric(SERVER, &seconds), metric(CLIENT, &seconds));
        let messaging =
            settings.enable_messaging_system_latency_histogram.then(|| metric(MESSAGING, &seconds));
        let label = |name: &str| registry.label_name(name);
        // An empty name sets no label.
        let dimension = |name: &Option<String>| label(name.as_deref().unwrap_or_default());
        let dimensions: Vec<Arc<str>> = dimension_labels(settings).iter().map(dimension).collect();
        Self {
            total,
            failed,
            server,
            client,
            messaging,
            handles: Handles::new(FIRST_DIMENSION + dimensions.len()),
            names: LabelNames {
                client: label("client"),
                server: label("server"),
                connection: label("connection_type"),
                virtual_node: settings.enable_virtual_node_label.then(|| label("virtual_node")),
                dimensions,
            },
            key: Vec::new(),
            labels: Labels::default(),
        }
    }

    /// Texts that [`Edge::dimensions`] has.
    pub(super) fn dimensions(&self) -> usize {
        self.names.dimensions.len()
    }

    /// Texts may have other numbers now.
    pub(super) fn forget_texts(&mut self) {
        self.handles.clear();
    }

    /// Counts a call. False if its labels are no UTF-8.
    pub(super) fn record(
        &mut self,
        edge: &Edge,
        texts: &Interner,
        registry: &mut Registry,
        now_ms: i64,
    ) -> bool {
        self.key.clear();
        self.key.extend([edge.client, edge.server, edge.connection as u32]);
        let dimensions = self.names.dimensions.len();
        let of_edge = edge.dimensions.iter().copied().chain(std::iter::repeat(EMPTY));
        self.key.extend(of_edge.take(dimensions));
        self.handles.keep_within(registry.epoch(), registry.statistics().active_entities);
        let place = match self.handles.find(&self.key) {
            Some(place) => place,
            None => {
                let entry = self.entry(edge.connection, texts, registry, now_ms);
                self.handles.keep_within(registry.epoch(), u64::MAX);
                self.handles.insert(&self.key, entry)
            }
        };
        let Entry::Series(series) = self.handles.at(place) else { return false };
        let queued = match self.messaging {
            Some(metric) if edge.connection == Connection::Messaging => {
                queued_seconds(edge).map(|seconds| (metric, seconds))
            }
            _ => None,
        };
        let late = (edge.failed && series.failed.is_none())
            || (queued.is_some() && series.messaging.is_none());
        if late {
            let names = &self.names;
            registry.start(&mut self.labels);
            // The same labels were good before.
            let _ = names.write(&self.key, edge.connection, texts, &mut self.labels);
            registry.adjust(&mut self.labels, now_ms);
            let set = registry.intern(&mut self.labels);
            if edge.failed && series.failed.is_none() {
                series.failed = Some(registry.handle(self.failed, set, now_ms));
            }
            if let (Some((metric, _)), None) = (queued, series.messaging) {
                series.messaging = Some(registry.handle(metric, set, now_ms));
            }
            registry.release(set);
        }
        if let Some(adjusted) = &series.adjusted {
            registry.count_adjusted(adjusted);
        }
        let (weight, trace) = (edge.weight, edge.key.0);
        registry.add(self.total, series.total, weight, now_ms);
        if let (true, Some(handle)) = (edge.failed, series.failed) {
            registry.add(self.failed, handle, weight, now_ms);
        }
        let (server, client) = (edge.server_latency, edge.client_latency);
        registry.observe(self.server, series.server, (server, weight), trace, now_ms);
        registry.observe(self.client, series.client, (client, weight), trace, now_ms);
        if let (Some((metric, seconds)), Some(handle)) = (queued, series.messaging) {
            registry.observe(metric, handle, (seconds, weight), trace, now_ms);
        }
        true
    }

    #[cold]
    fn entry(
        &mut self,
        connection: Connection,
        texts: &Interner,
        registry: &mut Registry,
        now_ms: i64,
    ) -> Entry {
        let labels = &mut self.labels;
        registry.start(labels);
        if self.names.write(&self.key, connection, texts, labels).is_err() {
            return Entry::InvalidUtf8;
        }
        let adjusted = registry.adjust(labels, now_ms);
        let set = registry.intern(labels);
        let mut handle = |metric: MetricId| registry.handle(metric, set, now_ms);
        let series = Handles5 {
            total: handle(self.total),
            server: handle(self.server),
            client: handle(self.client),
            failed: None,
            messaging: None,
            adjusted: (adjusted != Adjusted::default()).then_some(adjusted),
        };
        registry.release(set);
        Entry::Series(Box::new(series))
    }
}

impl LabelNames {
    fn write(
        &self,
        key: &[TextId],
        connection: Connection,
        texts: &Interner,
        labels: &mut Labels,
    ) -> Result<(), InvalidUtf8> {
        labels.set_bytes(&self.client, texts.get(key[0]))?;
        labels.set_bytes(&self.server, texts.get(key[1]))?;
        let (connection, virtual_node) = match connection {
            Connection::Direct => ("", ""),
            Connection::Messaging => ("messaging_system", ""),
            Connection::Database => ("database", ""),
            Connection::VirtualClient => ("virtual_node", "client"),
            Connection::VirtualServer => ("virtual_node", "server"),
        };
        labels.set(&self.connection, connection);
        for (label, text) in self.dimensions.iter().zip(&key[FIRST_DIMENSION..]) {
            labels.set_bytes(label, texts.get(*text))?;
        }
        if let Some(label) = &self.virtual_node {
            labels.set(label, virtual_node);
        }
        Ok(())
    }
}

/// The time between the end of the producer and the start of the consumer; `None` if that is not above zero.
fn queued_seconds(edge: &Edge) -> Option<f64> {
    let nanoseconds = edge.server_start.checked_sub(edge.client_end).filter(|n| *n > 0);
    if nanoseconds.is_none() {
        log_limited!(
            warn,
            trace_id = edge.key.0.to_hex(),
            "consumer started before its producer ended: no latency of the messaging system"
        );
    }
    Some(nanoseconds? as f64 / 1e9)
}
