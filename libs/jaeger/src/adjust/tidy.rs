//! Sorts, formats addresses, moves attributes to the resource where they belong, and removes links that lead nowhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::Ipv4Addr;

use bytes::Bytes;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, KeyValue, Resource, ResourceSpans, Span};

use super::warn;

/// Integers under these keys are addresses.
const ADDRESSES: [&[u8]; 2] = [b"ip", b"peer.ipv4"];

/// Attributes with these prefixes say what sent the span, not what it did.
const OF_RESOURCE: [&[u8]; 2] = [b"telemetry.sdk.", b"telemetry.distro."];

/// Tidies up a resource and its spans.
pub(super) fn resource(spans: &mut ResourceSpans) {
    let resource = spans.resource.get_or_insert_default();
    let mut places = HashMap::new();
    for scope in &mut spans.scope_spans {
        for span in &mut scope.spans {
            move_to(resource, &mut places, span);
            self::span(span);
        }
        if let Some(scope) = &mut scope.scope {
            sort(&mut scope.attributes);
        }
    }
    addresses(&mut resource.attributes);
    sort(&mut resource.attributes);
}

fn span(span: &mut Span) {
    addresses(&mut span.attributes);
    sort(&mut span.attributes);
    for event in &mut span.events {
        sort(&mut event.attributes);
    }
    span.events.sort_by(|one, other| {
        (one.time_unix_nano, &one.name).cmp(&(other.time_unix_nano, &other.name))
    });
    let links = span.links.len();
    span.links.retain(|link| link.trace_id.iter().any(|&byte| byte != 0));
    if span.links.len() < links {
        warn(span, "Invalid span link removed".to_owned());
    }
}

/// Moves the attributes that describe a span's sender to its resource, unless that has another value for them.
/// `places`: where the resource has which key, once a span has needed it.
fn move_to(resource: &mut Resource, places: &mut HashMap<Bytes, usize>, span: &mut Span) {
    let known = &mut resource.attributes;
    span.attributes.retain(|attribute| {
        if !OF_RESOURCE.iter().any(|prefix| attribute.key.starts_with(prefix)) {
            return true;
        }
        if places.is_empty() {
            for (place, known) in known.iter().enumerate() {
                places.entry(known.key.clone()).or_insert(place);
            }
        }
        match places.entry(attribute.key.clone()) {
            Entry::Occupied(place) => known[*place.get()].value != attribute.value,
            Entry::Vacant(place) => {
                place.insert(known.len());
                known.push(attribute.clone());
                false
            }
        }
    });
}

fn addresses(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        if !ADDRESSES.iter().any(|key| attribute.key == *key) {
            continue;
        }
        if let Some(AnyValue { value: Some(value) }) = &mut attribute.value
            && let Value::IntValue(number) = value
            && let Some(address) = address(*number)
        {
            *value = Value::StringValue(address.to_string().into());
        }
    }
}

/// The address of 32 bits, whatever the sign they were sent with.
fn address(number: i64) -> Option<Ipv4Addr> {
    let bits = u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(|n| n as u32));
    bits.map(Ipv4Addr::from)
}

/// By key; attributes of the same key stay in their order.
fn sort(attributes: &mut [KeyValue]) {
    attributes.sort_by(|one, other| one.key.cmp(&other.key));
}
