//! Spans of both models as OTLP.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tactus_model::wire::{put_message_field, put_message_frame, put_varint};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, InstrumentationScope, KeyValue, Resource, ScopeSpans, Span};

use crate::SpanError;
use crate::keyed::Keyed;

mod from_v1;
mod from_v2;
pub(crate) mod keys;
mod text;

pub(crate) use from_v1::add_v1;
pub(crate) use from_v2::add_v2;
use keys::is_resource_key;

/// How spans are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Tags that read as numbers or booleans become such attributes.
    pub parse_string_tags: bool,
    /// The time of spans of the first model that tell none.
    pub now_unix_nanos: u64,
}

/// A resource: text attributes, sorted by key, each once.
type ResourceKey = Vec<(Bytes, Bytes)>;

fn key(key: &'static str) -> Bytes {
    Bytes::from_static(key.as_bytes())
}

/// Adds what is known of the other side of a call. `service` and `ip` may be empty, `port` 0.
fn add_peer(attributes: &mut Attributes, service: Bytes, ip: Bytes, port: u16) {
    if !service.is_empty() {
        attributes.set(key(keys::PEER_SERVICE), Some(Value::StringValue(service)));
    }
    add_address(attributes, (keys::PEER_IP, ip), (keys::PEER_PORT, port));
}

/// Adds what is known of an address: keys and values.
fn add_address(
    attributes: &mut Attributes,
    (ip_key, ip): (&'static str, Bytes),
    (port_key, port): (&'static str, u16),
) {
    if !ip.is_empty() {
        attributes.set(key(ip_key), Some(Value::StringValue(ip)));
    }
    if port != 0 {
        attributes.set(key(port_key), Some(Value::IntValue(port.into())));
    }
}

/// Name and version of a scope.
type ScopeKey = (Bytes, Bytes);

/// Spans by resource and scope, in the order in which these first appear.
///
/// Each span is encoded as it comes: as messages they would take many times the memory of the request.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<ResourceGroup>,
    resources: HashMap<ResourceKey, usize>,
    scopes: HashMap<(usize, ScopeKey), usize>,
    /// Where the last span went: mostly the next one goes there too.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    resource: ResourceKey,
    scope: ScopeKey,
    /// Places of the group and of its scope.
    place: (usize, usize),
}

/// The spans of a resource.
#[derive(Debug)]
struct ResourceGroup {
    /// A Resource message.
    resource: Vec<u8>,
    /// The content of ScopeSpans messages.
    scopes: Vec<Vec<u8>>,
}

/// Field 2 of ScopeSpans, a message.
const SPAN_TAG: u64 = 2 << 3 | 2;

/// Resources and scopes that a request may have, whatever its size.
const FREE_GROUPS: usize = 1 << 12;

/// Bytes of a request for each further one. It takes some 500 bytes of memory, and some 30 of the request.
const BYTES_PER_GROUP: usize = 64;

impl Groups {
    /// Checks that a request of `bytes` may have as many resources and scopes as there are.
    pub(crate) fn check_count(&self, bytes: usize) -> Result<(), SpanError> {
        match self.scopes.len() {
            count if count > FREE_GROUPS.max(bytes / BYTES_PER_GROUP) => {
                Err(SpanError::TooManyResources)
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, mut resource: ResourceKey, scope: ScopeKey, span: &Span) {
        resource.sort_unstable();
        let place = match &self.last {
            Some(last) if last.resource == resource && last.scope == scope => last.place,
            _ => self.place(resource, scope),
        };
        let group = self.groups.get_mut(place.0);
        if let Some(spans) = group.and_then(|group| group.scopes.get_mut(place.1)) {
            put_varint(spans, SPAN_TAG);
            span.encode_length_delimited(spans).expect("a Vec grows as it must");
        }
    }

    /// Where the spans of this resource and scope go.
    fn place(&mut self, resource: ResourceKey, scope: ScopeKey) -> (usize, usize) {
        let group = match self.resources.get(&resource) {
            Some(&group) => group,
            None => self.new_resource(resource.clone()),
        };
        let found = self.scopes.get(&(group, scope.clone())).copied();
        let place = found.unwrap_or_else(|| {
            let scopes = self.groups.get_mut(group).map(|group| &mut group.scopes);
            let place = scopes.map_or(0, |scopes| {
                scopes.push(scope_spans(&scope));
                scopes.len() - 1
            });
            self.scopes.insert((group, scope.clone()), place);
            place
        });
        self.last = Some(Last { resource, scope, place: (group, place) });
        (group, place)
    }

    fn new_resource(&mut self, key: ResourceKey) -> usize {
        let attributes = key.iter().map(|(key, value)| {
            let value = Some(AnyValue { value: Some(Value::StringValue(value.clone())) });
            KeyValue { key: key.clone(), value }
        });
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let group = ResourceGroup { resource: resource.encode_to_vec(), scopes: Vec::new() };
        self.groups.push(group);
        self.resources.insert(key, self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// The bytes of an ExportTraceServiceRequest; none without any span.
    pub(crate) fn into_request(self) -> Bytes {
        let scopes = self.groups.iter().flat_map(|group| &group.scopes);
        let mut request = Vec::with_capacity(scopes.map(|scope| scope.len() + 32).sum());
        for ResourceGroup { resource, scopes } in self.groups {
            let mut head = Vec::with_capacity(resource.len() + 16);
            put_message_field(&mut head, 1, &resource);
            let length = scopes.iter().map(|scope| message_field_length(scope.len()));
            put_message_frame(&mut request, 1, head.len() + length.sum::<usize>());
            request.extend_from_slice(&head);
            for scope in scopes {
                put_message_field(&mut request, 2, &scope);
            }
        }
        request.into()
    }
}

/// A ScopeSpans message without spans.
fn scope_spans((name, version): &ScopeKey) -> Vec<u8> {
    let (name, version) = (name.clone(), version.clone());
    let scope = InstrumentationScope { name, version, ..InstrumentationScope::default() };
    ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }.encode_to_vec()
}

/// Bytes of a message field with a one-byte tag.
fn message_field_length(length: usize) -> usize {
    1 + prost::length_delimiter_len(length) + length
}

/// Attributes of a span on the way to OTLP; `None` is a value without a type.
type Attributes = Keyed<Option<Value>>;

fn key_values(attributes: Attributes) -> Vec<KeyValue> {
    let entries = attributes.into_entries().into_iter();
    entries.map(|(key, value)| KeyValue { key, value: Some(AnyValue { value }) }).collect()
}

/// Unix nanoseconds of microseconds.
fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1_000)
}

#[cfg(test)]
mod tests;
