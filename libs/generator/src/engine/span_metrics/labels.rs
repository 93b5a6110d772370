//! The labels of a span's series.

use std::sync::Arc;

use tactus_config::{sanitized_label, sections::generator::IntrinsicDimensions};

use super::super::interner::{EMPTY, Interner, TextId};
use super::super::view::{Name, Names, View};
use super::{SpanMetricsSettings, code_at};
use crate::engine::value_text::{kind_text, status_text};
use crate::registry::{InvalidUtf8, Labels, Registry};

/// Numbers of texts, then of the values of attributes: see [`LabelPlan`].
pub(super) type Key = Vec<TextId>;

const SERVICE: usize = 0;
const NAMESPACE: usize = 1;
const INSTANCE: usize = 2;
const SPAN_NAME: usize = 3;
/// Kind, and status shifted by 8 bits: no texts.
const KIND_STATUS: usize = 4;
const STATUS_MESSAGE: usize = 5;
/// The values of the attributes of [`LabelPlan::inputs`].
pub(super) const FIRST_INPUT: usize = 6;

/// The resource has no such attribute, and the span is to be asked.
pub(super) const NOT_FOUND: TextId = TextId::MAX;

/// Labels from the span itself.
pub(crate) const INTRINSICS: [&str; 5] =
    ["service", "span_name", "span_kind", "status_code", "status_message"];

/// The labels of a tenant's span metrics: which there are, by which names, and where their texts come from.
#[derive(Debug)]
pub(super) struct LabelPlan {
    intrinsics: IntrinsicDimensions,
    names: [Arc<str>; 5],
    job: Option<Job>,
    service: Name,
    inputs: Vec<Name>,
    /// Label and place of its input.
    dimensions: Vec<(Arc<str>, usize)>,
    mappings: Vec<Mapping>,
}

#[derive(Debug)]
struct Job {
    job: Arc<str>,
    namespace: Name,
    /// Label and attribute.
    instance: Option<(Arc<str>, Name)>,
}

#[derive(Debug)]
struct Mapping {
    label: Arc<str>,
    inputs: Vec<usize>,
    join: String,
}

/// The label of an attribute: not one of those that come from the span.
pub(crate) fn dimension_label(name: &str) -> String {
    let name = sanitized_label(name);
    if INTRINSICS.contains(&name.as_str()) { format!("__{name}") } else { name }
}

impl LabelPlan {
    pub(super) fn new(
        settings: &SpanMetricsSettings,
        registry: &Registry,
        names: &mut Names,
    ) -> Self {
        let mut inputs: Vec<Name> = Vec::new();
        let mut input = |name: &str| {
            let name = names.add(name);
            inputs.iter().position(|known| *known == name).unwrap_or_else(|| {
                inputs.push(name);
                inputs.len() - 1
            })
        };
        let label = |name: &str| registry.label_name(&dimension_label(name));
        let dimensions =
            settings.section.dimensions.iter().map(|name| (label(name), input(name))).collect();
        let mapping = |mapping: &tactus_config::sections::generator::DimensionMapping| Mapping {
            label: label(&mapping.name),
            inputs: mapping.source_labels.iter().map(|name| input(name)).collect(),
            join: mapping.join.clone(),
        };
        let mappings = settings.section.dimension_mappings.iter().map(mapping).collect();
        let job = settings.section.enable_target_info.then(|| Job {
            job: registry.label_name("job"),
            namespace: names.add("service.namespace"),
            instance: settings
                .section
                .enable_instance_label
                .then(|| (registry.label_name("instance"), names.add("service.instance.id"))),
        });
        Self {
            intrinsics: settings.section.intrinsic_dimensions.clone(),
            names: INTRINSICS.map(|name| registry.label_name(name)),
            job,
            service: names.add("service.name"),
            inputs,
            dimensions,
            mappings,
        }
    }

    /// Numbers in a key.
    #[inline]
    pub(super) fn width(&self) -> usize {
        FIRST_INPUT + self.inputs.len()
    }

    /// Attributes that dimensions are made of.
    #[inline]
    pub(super) fn inputs(&self) -> &[Name] {
        &self.inputs
    }

    /// Appends what a resource tells of a key.
    pub(super) fn write_resource(&self, view: &mut View<'_>, resource: usize, keys: &mut Key) {
        let start = keys.len();
        keys.resize(start + self.width(), EMPTY);
        if self.intrinsics.service || self.job.is_some() {
            keys[start + SERVICE] = view.resource_value_id(resource, self.service).unwrap_or(EMPTY);
        }
        if let Some(job) = &self.job {
            let namespace = view.resource_value_id(resource, job.namespace);
            keys[start + NAMESPACE] = namespace.unwrap_or(EMPTY);
            if let Some((_, name)) = job.instance {
                let instance = view.resource_value_id(resource, name);
                keys[start + INSTANCE] = instance.unwrap_or(EMPTY);
            }
        }
        for (place, name) in self.inputs.iter().enumerate() {
            let input = view.resource_value_id(resource, *name);
            keys[start + FIRST_INPUT + place] = input.unwrap_or(NOT_FOUND);
        }
    }

    /// Writes what the columns of a span tell of its key.
    #[inline]
    pub(super) fn write_span(&self, view: &mut View<'_>, row: usize, key: &mut Key) {
        let spans = &view.batch.spans;
        let intrinsics = &self.intrinsics;
        let kind = if intrinsics.span_kind { u32::from(spans.kind[row]) } else { 0 };
        let status = if intrinsics.status_code { u32::from(spans.status[row]) } else { 0 };
        key[KIND_STATUS] = kind | status << 8;
        if intrinsics.span_name {
            key[SPAN_NAME] = view.id(code_at(&spans.name, row));
        }
        if intrinsics.status_message {
            key[STATUS_MESSAGE] = view.id(code_at(&spans.status_message, row));
        }
    }

    /// The labels that a key stands for.
    pub(super) fn write_labels(
        &self,
        texts: &Interner,
        key: &Key,
        labels: &mut Labels,
    ) -> Result<(), InvalidUtf8> {
        let [service, span_name, span_kind, status_code, status_message] = &self.names;
        if self.intrinsics.service {
            labels.set_bytes(service, texts.get(key[SERVICE]))?;
        }
        labels.set_bytes(span_name, texts.get(key[SPAN_NAME]))?;
        if self.intrinsics.span_kind {
            labels.set(span_kind, &kind_text(key[KIND_STATUS] as u8));
        }
        if self.intrinsics.status_code {
            labels.set(status_code, &status_text((key[KIND_STATUS] >> 8) as u8));
        }
        labels.set_bytes(status_message, texts.get(key[STATUS_MESSAGE]))?;
        for (label, input) in &self.dimensions {
            labels.set_bytes(label, texts.get(key[FIRST_INPUT + input]))?;
        }
        for mapping in &self.mappings {
            let values = mapping.inputs.iter().map(|input| texts.get(key[FIRST_INPUT + input]));
            let values: Vec<&[u8]> = values.filter(|value| !value.is_empty()).collect();
            labels.set_bytes(&mapping.label, &values.join(mapping.join.as_bytes()))?;
        }
        if let Some(job) = &self.job {
            let (service, namespace) = (texts.get(key[SERVICE]), texts.get(key[NAMESPACE]));
            labels.set_bytes(&job.job, &job_text(service, namespace))?;
            if let Some((label, _)) = &job.instance {
                labels.set_bytes(label, texts.get(key[INSTANCE]))?;
            }
        }
        Ok(())
    }
}

/// Namespace and name of a service; empty without a name.
pub(super) fn job_text(service: &[u8], namespace: &[u8]) -> Vec<u8> {
    if service.is_empty() || namespace.is_empty() {
        return service.to_vec();
    }
    [namespace, b"/", service].concat()
}
