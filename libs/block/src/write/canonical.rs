//! Finds equal resources and equal scopes.
//!
//! Two resources are equal if their columns and their remaining attributes, sorted by key, are equal. The number of
//! dropped attributes does not matter. A block stores each resource once for each trace.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::{Attribute, AttributeList, SpanBatch, StringCode};

use super::slots::{BatchSlots, SlotValue};

/// Slot of `service.name` in resources.
pub(super) const SERVICE_NAME_SLOT: usize = 0;

/// The distinct resources of a batch, in the form in which blocks store them.
#[derive(Debug, Default)]
pub(super) struct CanonicalResources {
    /// For each resource of the batch, its canonical resource.
    pub(super) of_resource: Vec<u32>,
    /// Attributes without a column of their own, sorted by key; owner = canonical resource.
    pub(super) attributes: AttributeList,
    /// The value in each slot; `slots` values for each canonical resource.
    columns: Vec<Option<SlotValue>>,
    /// Number of slots.
    slots: usize,
    /// The service name of each canonical resource; code 0 if it has none.
    services: Vec<StringCode>,
}

impl CanonicalResources {
    pub(super) fn new(batch: &SpanBatch, slots: &BatchSlots<'_>) -> Self {
        let mut canonical = Self { slots: slots.count(), ..Self::default() };
        let mut known: HashMap<(Vec<Option<SlotValue>>, Attributes), u32, RandomState> =
            HashMap::default();
        let list = &batch.resources.attributes;
        let service_name_key = batch.strings.find(b"service.name");
        for resource in 0..batch.resources.len() {
            let mut columns = vec![None; slots.count()];
            let mut generic = Vec::new();
            let entries = list.range(resource);
            let owner = slots.of_owner(list, entries.clone());
            for entry in entries {
                match owner.of(entry) {
                    Some((slot, value)) => columns[slot] = Some(value),
                    None => generic.push(list.at(entry)),
                }
            }
            let attributes = Attributes::sorted(generic, batch);
            let next = known.len() as u32;
            let row =
                *known.entry((columns, attributes)).or_insert_with_key(|(columns, attributes)| {
                    canonical.columns.extend_from_slice(columns);
                    attributes.0.iter().for_each(|&attribute| canonical.attributes.push(attribute));
                    canonical.attributes.end_owner();
                    canonical.services.push(batch.service_name(resource, service_name_key));
                    next
                });
            canonical.of_resource.push(row);
        }
        canonical
    }

    /// The value of a canonical resource in a slot.
    pub(super) fn value(&self, resource: u32, slot: usize) -> Option<SlotValue> {
        self.columns[resource as usize * self.slots + slot]
    }

    /// The service name of a canonical resource, wherever it is stored; code 0 if it has none.
    pub(super) fn service_name(&self, resource: u32) -> StringCode {
        self.services[resource as usize]
    }

    /// The value in the column of service names for a canonical resource; code 0 for none.
    pub(super) fn service_column(&self, resource: u32) -> StringCode {
        self.value(resource, SERVICE_NAME_SLOT).map_or(0, |value| value.payload as StringCode)
    }
}

/// For each scope of a batch, the first scope that equals it.
pub(super) fn canonical_scopes(batch: &SpanBatch) -> Vec<u32> {
    let scopes = &batch.scopes;
    let mut known: HashMap<(StringCode, StringCode, Attributes), u32, RandomState> =
        HashMap::default();
    (0..scopes.len())
        .map(|scope| {
            let attributes = Attributes::sorted(scopes.attributes.of(scope).collect(), batch);
            *known
                .entry((scopes.name[scope], scopes.version[scope], attributes))
                .or_insert(scope as u32)
        })
        .collect()
}

/// Attributes that compare by value.
#[derive(PartialEq, Debug)]
struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Sorts by key; attributes with the same key keep their order.
    fn sorted(mut attributes: Vec<Attribute>, batch: &SpanBatch) -> Self {
        attributes.sort_by(|a, b| batch.strings.get(a.key).cmp(batch.strings.get(b.key)));
        Self(attributes)
    }
}

impl Eq for Attributes {}

impl std::hash::Hash for Attributes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for attribute in &self.0 {
            (attribute.key, attribute.value_type, attribute.payload).hash(state);
        }
    }
}
