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

/// The place of a key in [`KEYS`].
type Key = usize;

/// The attributes of a span or resource, in the order of [`KEYS`]; `None` for those without a value.
type Found = [Option<Attribute>; KEYS.len()];

/// Names the peers of spans of a batch.
pub(super) struct Peers<'v> {
    view: &'v BatchView<'v>,
    /// Codes of [`KEYS`].
    keys: [Option<StringCode>; KEYS.len()],
    database: [Key; DATABASE_KEYS.len()],
    database_peer: [Key; DATABASE_PEER_KEYS.len()],
    server_peer: [Key; SERVER_PEER_KEYS.len()],
    client_peer: Key,
    address: Key,
    port: Key,
    /// The number of the name for each value; `None` for an empty one.
    known: HashMap<(ValueType, u64), Option<u32>, RandomState>,
}

impl<'v> Peers<'v> {
    pub(super) fn of(view: &'v BatchView<'v>) -> Self {
        let keys = KEYS.map(|key| find_string(&view.batch.strings, key.as_bytes()));
        let place = |key: &str| KEYS.iter().position(|other| *other == key).unwrap_or(KEYS.len());
        Self {
            view,
            keys,
            database: DATABASE_KEYS.map(place),
            database_peer: DATABASE_PEER_KEYS.map(place),
            server_peer: SERVER_PEER_KEYS.map(place),
            client_peer: place(CLIENT_PEER_KEY),
            address: place(ADDRESS_KEY),
            port: place(PORT_KEY),
            known: HashMap::default(),
        }
    }

    /// The database that a client span talks to.
    pub(super) fn database(&mut self, row: usize, names: &mut Labels) -> Option<u32> {
        let resource = *self.view.batch.spans.resource.get(row)? as usize;
        let sides = [
            self.found(&self.view.batch.resources.attributes, resource),
            self.found(&self.view.batch.span_attributes, row),
        ];
        let (keys, peers, address) = (self.database, self.database_peer, self.address);
        let database = keys.iter().find_map(|&key| self.first(&sides, key, names))?;
        let named = peers.iter().find_map(|&key| match key == address {
            true => self.address(&sides, names),
            false => self.first(&sides, key, names),
        });
        Some(named.unwrap_or(database))
    }

    /// The other side of a client span.
    pub(super) fn server(&mut self, row: usize, names: &mut Labels) -> Option<u32> {
        let sides = [self.found(&self.view.batch.span_attributes, row)];
        let keys = self.server_peer;
        keys.iter().find_map(|&key| self.first(&sides, key, names))
    }

    /// The other side of a server span.
    pub(super) fn client(&mut self, row: usize, names: &mut Labels) -> Option<u32> {
        let sides = [self.found(&self.view.batch.span_attributes, row)];
        self.first(&sides, self.client_peer, names)
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
    fn first(&mut self, sides: &[Found], key: Key, names: &mut Labels) -> Option<u32> {
        let mut values = sides.iter().filter_map(|found| value_of(found, key));
        values.find_map(|value| self.name(value, names))
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
        let text = |key: Key| {
            let mut values = sides.iter().filter_map(|found| value_of(found, key));
            values.find_map(|value| self.text(value))
        };
        let address = text(self.address)?;
        let name = match text(self.port) {
            Some(port) => format!("{address}:{port}").into(),
            None => address,
        };
        Some(names.number(LabelValue::String(name)))
    }
}

fn value_of(found: &Found, key: Key) -> Option<Attribute> {
    found.get(key).copied().flatten()
}
