//! Derives names for sides of a call that have no spans.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::{Attribute, AttributeList, StringCode, ValueType};

use crate::eval::scan::find_string;
use crate::eval::value::Value;
use crate::eval::view::BatchView;
use crate::metrics::LabelValue;
use crate::metrics::collect::labels::{Labels, label};
use crate::metrics::graph::{
    ADDRESS_KEY, CLIENT_PEER_KEY, DATABASE_KEYS, DATABASE_PEER_KEYS, PORT_KEY, SERVER_PEER_KEYS,
};

/// The attributes from which names are derived, each once.
const KEYS: [&str; 11] = [
    "db.namespace",
    "db.name",
    "db.system",
    "db.system.name",
    "peer.service",
    "server.address",
    "net.peer.name",
    "messaging.destination.name",
    "messaging.system",
    ADDRESS_KEY,
    PORT_KEY,
];

/// The attributes of a span or resource, in the order of [`KEYS`]; `None` for those without a value.
type Found = [Option<Attribute>; KEYS.len()];

/// Names the peers of spans of a batch.
pub(super) struct Peers<'v> {
    view: &'v BatchView<'v>,
    /// Codes of [`KEYS`].
    keys: [Option<StringCode>; KEYS.len()],
    /// The number of the name for each value; `None` for an empty one.
    known: HashMap<(ValueType, u64), Option<u32>, RandomState>,
}

impl<'v> Peers<'v> {
    pub(super) fn of(view: &'v BatchView<'v>) -> Self {
        let keys = KEYS.map(|key| find_string(&view.batch.strings, key.as_bytes()));
        Self { view, keys, known: HashMap::default() }
    }

    /// The database that a client span talks to.
    pub(super) fn database(&mut self, row: usize, names: &mut Labels) -> Option<u32> {
        let resource = *self.view.batch.spans.resource.get(row)? as usize;
        let sides = [
            self.found(&self.view.batch.resources.attributes, resource),
            self.found(&self.view.batch.span_attributes, row),
        ];
        let database = DATABASE_KEYS.iter().find_map(|key| self.first(&sides, key, names))?;
        let named = DATABASE_PEER_KEYS.iter().find_map(|key| match *key {
            ADDRESS_KEY => self.address(&sides, names),
            key => self.first(&sides, key, names),
        });
        Some(named.unwrap_or(database))
    }

    /// The other side of a client span.
    pub(super) fn server(&mut self, row: usize, names: &mut Labels) -> Option<u32> {
        let sides = [self.found(&self.view.batch.span_attributes, row)];
        SERVER_PEER_KEYS.iter().find_map(|key| self.first(&sides, key, names))
    }

    /// The other side of a server span.
    pub(super) fn client(&mut self, row: usize, names: &mut Labels) -> Option<u32> {
        let sides = [self.found(&self.view.batch.span_attributes, row)];
        self.first(&sides, CLIENT_PEER_KEY, names)
    }

    fn found(&self, list: &AttributeList, owner: usize) -> Found {
        let mut found = Found::default();
        for attribute in list.of(owner) {
            let wanted = self.keys.iter().position(|key| *key == Some(attribute.key));
            if let Some(known) = wanted.and_then(|place| found.get_mut(place)) {
                known.get_or_insert(attribute);
            }
        }
        found
    }

    /// The name from the first of these owners whose attribute with this key is text.
    fn first(&mut self, sides: &[Found], key: &str, names: &mut Labels) -> Option<u32> {
        let values = sides.iter().filter_map(|found| value_of(found, key));
        values.into_iter().find_map(|value| self.name(value, names))
    }

    fn name(&mut self, value: Attribute, names: &mut Labels) -> Option<u32> {
        let known = (value.value_type, value.payload);
        if let Some(number) = self.known.get(&known) {
            return *number;
        }
        let number = self.text(value).map(|text| names.number(LabelValue::String(text)));
        self.known.insert(known, number);
        number
    }

    fn text(&self, value: Attribute) -> Option<Box<str>> {
        match label(Value::of_attribute(value, &self.view.batch.strings)) {
            LabelValue::Nil => None,
            value => Some(value.text()).filter(|text| !text.is_empty()).map(Into::into),
        }
    }

    /// Address and port.
    fn address(&mut self, sides: &[Found], names: &mut Labels) -> Option<u32> {
        let text = |key: &str| {
            let mut values = sides.iter().filter_map(|found| value_of(found, key));
            values.find_map(|value| self.text(value))
        };
        let address = text(ADDRESS_KEY)?;
        let name = match text(PORT_KEY) {
            Some(port) => format!("{address}:{port}").into(),
            None => address,
        };
        Some(names.number(LabelValue::String(name)))
    }
}

fn value_of(found: &Found, key: &str) -> Option<Attribute> {
    let place = KEYS.iter().position(|other| *other == key)?;
    found.get(place).copied().flatten()
}
