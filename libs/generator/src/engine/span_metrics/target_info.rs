//! `traces_target_info`: the attributes of a resource as labels.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_config::sanitized_label;

use super::super::value_text::write_value;
use super::super::view::View;
use super::SpanMetricsSettings;
use super::labels::{INTRINSICS, job_text};
use crate::registry::{Handle, Labels, MetricId, Registry};

/// Bytes of attribute names and their labels that are kept; then all are forgotten.
const MAX_NAME_BYTES: usize = 256 << 10;

/// What is kept of a name besides its texts.
const NAME_BYTES: usize = 64;

/// Writes the attributes of each resource that is met as labels of one gauge.
#[derive(Debug)]
pub(super) struct TargetInfo {
    metric: MetricId,
    instance_label: bool,
    excluded: HashSet<Vec<u8>>,
    /// By attribute name; `None` for those left out.
    names: HashMap<Box<[u8]>, Option<Arc<str>>, RandomState>,
    name_bytes: usize,
    /// Of each resource of the batch.
    resources: Vec<Known>,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    NotYet,
    /// It has too little to tell, or what is no UTF-8.
    Nothing,
    Series(Handle),
}

impl TargetInfo {
    pub(super) fn new(metric: MetricId, settings: &SpanMetricsSettings) -> Self {
        let own = ["service.name", "service.namespace", "service.instance.id"];
        let excluded = own
            .into_iter()
            .chain(settings.section.target_info_excluded_dimensions.iter().map(|s| &**s));
        Self {
            metric,
            instance_label: settings.section.enable_instance_label,
            excluded: excluded.map(|name| name.as_bytes().to_vec()).collect(),
            names: HashMap::default(),
            name_bytes: 0,
            resources: Vec::new(),
        }
    }

    /// Estimated memory of the names.
    pub(super) fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// A batch with so many resources begins.
    pub(super) fn start(&mut self, resources: usize) {
        self.resources.clear();
        self.resources.resize(resources, Known::NotYet);
    }

    /// A span that is counted has this resource.
    pub(super) fn count(
        &mut self,
        view: &View<'_>,
        resource: usize,
        registry: &mut Registry,
        labels: &mut Labels,
        now_ms: i64,
    ) {
        if matches!(self.resources[resource], Known::NotYet) {
            self.resources[resource] = self.look(view, resource, registry, labels, now_ms);
        }
        if let Known::Series(handle) = self.resources[resource] {
            registry.set(self.metric, handle, 1.0, now_ms);
        }
    }

    fn look(
        &mut self,
        view: &View<'_>,
        resource: usize,
        registry: &mut Registry,
        labels: &mut Labels,
        now_ms: i64,
    ) -> Known {
        registry.start(labels);
        let batch = view.batch;
        let (mut service, mut namespace, mut instance) = (None, None, None);
        let mut value = Vec::new();
        for attribute in batch.resources.attributes.of(resource) {
            let key = batch.strings.get(attribute.key);
            value.clear();
            write_value(&mut value, attribute.value(&batch.strings), view.max_text_bytes);
            let identity = match key {
                b"service.name" => &mut service,
                b"service.namespace" => &mut namespace,
                b"service.instance.id" => &mut instance,
                _ => {
                    let Some(label) = self.label(key, registry) else { continue };
                    if labels.set_bytes(&label, &value).is_err() {
                        return Known::Nothing;
                    }
                    continue;
                }
            };
            identity.get_or_insert_with(|| value.clone());
        }
        let job = job_text(&service.unwrap_or_default(), &namespace.unwrap_or_default());
        let instance = instance.filter(|_| self.instance_label).unwrap_or_default();
        let identity = usize::from(!job.is_empty()) + usize::from(!instance.is_empty());
        let all_valid = labels.set_bytes(&registry.label_name("job"), &job).is_ok()
            && labels.set_bytes(&registry.label_name("instance"), &instance).is_ok();
        if !all_valid || identity == 0 || labels.len() <= identity {
            return Known::Nothing;
        }
        let set = registry.intern(labels);
        let handle = registry.handle(self.metric, set, now_ms);
        registry.release(set);
        Known::Series(handle)
    }

    /// The label of an attribute of a resource; `None` if it has none.
    fn label(&mut self, key: &[u8], registry: &Registry) -> Option<Arc<str>> {
        if let Some(known) = self.names.get(key) {
            return known.clone();
        }
        let left_out = key.first().is_none_or(u8::is_ascii_digit) || self.excluded.contains(key);
        // Bytes that are no UTF-8 become `_` like all others that no label may have.
        let label = (!left_out).then(|| {
            let name = sanitized_label(&String::from_utf8_lossy(key));
            let taken = INTRINSICS.contains(&&*name) || matches!(&*name, "job" | "instance");
            registry.label_name(&if taken { format!("__{name}") } else { name })
        });
        let bytes = NAME_BYTES + key.len() + label.as_ref().map_or(0, |label| label.len());
        if self.name_bytes + bytes > MAX_NAME_BYTES {
            self.names.clear();
            self.name_bytes = 0;
        }
        self.name_bytes += bytes;
        self.names.insert(key.into(), label.clone());
        label
    }
}
