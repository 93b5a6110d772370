//! The host-info processor: hosts that send spans.

use std::sync::Arc;

use tactus_config::sections::generator::HostInfo as Section;
use tactus_model::ValueType;

use super::view::{Name, Names, View};
use crate::registry::{Kind, Labels, MetricId, MetricSpec, Processor, Registry};

/// The host-info processor of a tenant: one gauge, with a series for each host.
#[derive(Debug)]
pub(crate) struct HostInfo {
    metric: MetricId,
    /// Attributes of resources, the first that is there names the host.
    identifiers: Vec<(Name, String)>,
    host_id: Arc<str>,
    host_source: Arc<str>,
    seen: Vec<bool>,
    labels: Labels,
    invalid_utf8: u64,
}

impl HostInfo {
    /// Makes its metric, or finds it again.
    pub(crate) fn new(settings: &Section, registry: &mut Registry, names: &mut Names) -> Self {
        let spec = MetricSpec {
            processor: Processor::HostInfo,
            name: settings.metric_name.clone(),
            kind: Kind::Gauge,
            aliases: Vec::new(),
        };
        let identifier = |name: &String| (names.add(name), name.clone());
        Self {
            identifiers: settings.host_identifiers.iter().map(identifier).collect(),
            metric: registry.metric(spec),
            host_id: registry.label_name("grafana_host_id"),
            host_source: registry.label_name("host_source"),
            seen: Vec::new(),
            labels: Labels::default(),
            invalid_utf8: 0,
        }
    }

    /// Tells the hosts of the spans of a batch.
    pub(crate) fn push(&mut self, view: &View<'_>, registry: &mut Registry, now_ms: i64) {
        self.seen.clear();
        self.seen.resize(view.batch.resources.len(), false);
        for resource in view.batch.spans.resource.iter() {
            let resource = *resource as usize;
            if !std::mem::replace(&mut self.seen[resource], true) {
                self.count(view, resource, registry, now_ms);
            }
        }
    }

    fn count(&mut self, view: &View<'_>, resource: usize, registry: &mut Registry, now_ms: i64) {
        let host = self.identifiers.iter().find_map(|(name, source)| {
            let attribute = view.of_resource(resource, *name)?;
            let is_text = attribute.value_type == ValueType::String && attribute.payload != 0;
            is_text.then(|| (view.batch.strings.get(attribute.payload as u32), source))
        });
        let Some((id, source)) = host else { return };
        registry.start(&mut self.labels);
        self.labels.set(&self.host_source, source);
        if self.labels.set_bytes(&self.host_id, id).is_err() {
            self.invalid_utf8 += 1;
            return;
        }
        let set = registry.intern(&mut self.labels);
        let handle = registry.handle(self.metric, set, now_ms);
        registry.release(set);
        registry.set(self.metric, handle, 1.0, now_ms);
    }

    /// Resources left out since the last call because the name of their host is no UTF-8.
    pub(crate) fn take_invalid_utf8(&mut self) -> u64 {
        std::mem::take(&mut self.invalid_utf8)
    }
}
