//! Spans of both models as OTLP.

use bytes::Bytes;
use tactus_jaeger::to_otlp::{Scope, SpanGroups};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, KeyValue, Resource, Span};

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

/// Spans by resource and scope.
pub(crate) type Groups = SpanGroups<(Bytes, Bytes)>;

fn add(
    groups: &mut Groups,
    mut key: ResourceKey,
    scope: Scope,
    span: &Span,
) -> Result<(), SpanError> {
    key.sort_unstable();
    let attribute = |(key, value): &(Bytes, Bytes)| KeyValue {
        key: key.clone(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.clone())) }),
    };
    let resource =
        || Resource { attributes: key.iter().map(attribute).collect(), ..Resource::default() };
    Ok(groups.add(&key, resource, scope, span)?)
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
