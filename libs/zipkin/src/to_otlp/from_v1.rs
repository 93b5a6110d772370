//! A span of the first model as OTLP.

use bytes::Bytes;
use tactus_jaeger::to_otlp::{Scope, whole_number};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{Span, Status};

use super::text::{shown, status_code, tag_value};
use super::{Attributes, Groups, ResourceKey, add, add_peer, key, key_values, keys, nanos};
use crate::v1::{self, Annotation, BinaryAnnotation, Endpoint};
use crate::{DecodeOptions, SpanError};

const UNKNOWN_SERVICE: &str = "unknown-service";
/// The binary annotation that names the component of a span without a service.
const LOCAL_COMPONENT: &[u8] = b"lc";

/// Adds the span to the groups. Errors: too many services.
pub(crate) fn add_v1(
    groups: &mut Groups,
    mut span: v1::Span,
    options: &DecodeOptions,
) -> Result<(), SpanError> {
    let kind = span.annotations.iter().find_map(core_kind).unwrap_or_default();
    let peer = take_peer(&mut span.binary_annotations, kind);
    let resource = resource_of(&span);
    let (start, end, is_absent) = times(&span, options);
    let mut attributes = Attributes::default();
    for property in span.binary_annotations {
        let key = match &*property.key {
            LOCAL_COMPONENT => Bytes::from_static(b"component"),
            _ => property.key,
        };
        let value = match property.value {
            Some(Value::StringValue(text)) => {
                Some(tag_value(&key, text, options.parse_string_tags))
            }
            value => value,
        };
        attributes.set(key, value);
    }
    let status = take_status(&mut attributes);
    if let Some(peer) = peer {
        let ip = if peer.ipv4.is_empty() { peer.ipv6 } else { peer.ipv4 };
        add_peer(&mut attributes, peer.service_name, ip, peer.port);
    }
    if is_absent {
        attributes.set(key(keys::ABSENT_START), Some(Value::BoolValue(true)));
    }
    let events = span.annotations.into_iter();
    let events =
        events.filter(|annotation| core_kind(annotation).is_none() && !annotation.value.is_empty());
    let otlp = Span {
        trace_id: Bytes::copy_from_slice(&span.trace_id.0),
        span_id: Bytes::copy_from_slice(&span.id.0),
        parent_span_id: span
            .parent_id
            .map_or_else(Bytes::new, |parent| Bytes::copy_from_slice(&parent.0)),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: key_values(attributes),
        events: events.map(event).collect(),
        status: (status != Status::default()).then_some(status),
        ..Span::default()
    };
    add(groups, resource, Scope::default(), &otlp)
}

fn event(annotation: Annotation) -> Event {
    let time_unix_nano = nanos(annotation.timestamp);
    Event { time_unix_nano, name: annotation.value, ..Event::default() }
}

/// The kind of which an annotation is a proof, if it is one of the core ones.
fn core_kind(annotation: &Annotation) -> Option<SpanKind> {
    match &*annotation.value {
        b"cs" | b"cr" => Some(SpanKind::Client),
        b"sr" | b"ss" => Some(SpanKind::Server),
        b"ms" => Some(SpanKind::Producer),
        b"mr" => Some(SpanKind::Consumer),
        _ => None,
    }
}

/// The other side of the call, which is the endpoint of an address annotation: those have no value but `true`.
fn take_peer(properties: &mut Vec<BinaryAnnotation>, kind: SpanKind) -> Option<Box<Endpoint>> {
    let keys: &[&[u8]] = match kind {
        SpanKind::Client => &[b"sa"],
        SpanKind::Server => &[b"ca"],
        SpanKind::Producer | SpanKind::Consumer => &[b"ma"],
        SpanKind::Internal | SpanKind::Unspecified => &[b"sa", b"ca", b"ma"],
    };
    let at = properties.iter().position(|property| {
        keys.contains(&&*property.key)
            && property.value == Some(Value::BoolValue(true))
            && property.endpoint.as_deref().is_some_and(|endpoint| *endpoint != Endpoint::default())
    })?;
    properties.remove(at).endpoint
}

/// Start and end in unix nanoseconds, and whether nothing in the span tells them.
fn times(span: &v1::Span, options: &DecodeOptions) -> (u64, u64, bool) {
    if span.timestamp != 0 {
        let start = nanos(span.timestamp);
        return (start, start.saturating_add(nanos(span.duration)), false);
    }
    let timestamps = || span.annotations.iter().map(|a| a.timestamp).filter(|t| *t != 0);
    match (timestamps().min(), timestamps().max()) {
        (Some(first), Some(last)) => (nanos(first), nanos(last), false),
        _ => (options.now_unix_nanos, options.now_unix_nanos, true),
    }
}

/// The service: that of the first core annotation that has one, else of the last binary annotation that has one, else
/// the local component.
fn resource_of(span: &v1::Span) -> ResourceKey {
    let has_name = |endpoint: &&Endpoint| !endpoint.service_name.is_empty();
    let core = span.annotations.iter().filter(|annotation| core_kind(annotation).is_some());
    let core = core.filter_map(|annotation| annotation.endpoint.as_deref()).find(has_name);
    let properties = span.binary_annotations.iter();
    let endpoint = core.or_else(|| {
        properties.filter_map(|property| property.endpoint.as_deref()).rev().find(has_name)
    });
    let Some(endpoint) = endpoint else {
        let component = span.binary_annotations.iter().find_map(|property| match &property.value {
            Some(value) if *property.key == *LOCAL_COMPONENT => shown(value),
            _ => None,
        });
        let name = component.filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| key(UNKNOWN_SERVICE));
        return vec![(key(keys::SERVICE_NAME), name)];
    };
    let port = match endpoint.port {
        0 => Bytes::new(),
        port => port.to_string().into(),
    };
    let parts: [(&'static str, Bytes); 4] = [
        (keys::SERVICE_NAME, endpoint.service_name.clone()),
        ("ipv4", endpoint.ipv4.clone()),
        ("ipv6", endpoint.ipv6.clone()),
        ("port", port),
    ];
    let known = parts.into_iter().filter(|(_, text)| !text.is_empty());
    known.map(|(name, text)| (key(name), text)).collect()
}

const CENSUS_CODE: &str = "census.status_code";
const DESCRIPTIONS: [&str; 3] =
    ["census.status_description", "opencensus.status_description", keys::STATUS_DESCRIPTION];

/// The status, by the first of its senders' conventions that is there. What says it is taken out, except HTTP's.
fn take_status(attributes: &mut Attributes) -> Status {
    let number =
        |key: &str| attributes.get(key.as_bytes()).and_then(Option::as_ref).and_then(whole_number);
    let text = |key: &str| {
        let value = attributes.get(key.as_bytes()).and_then(Option::as_ref);
        value.and_then(shown).unwrap_or_default()
    };
    let census = || {
        number(CENSUS_CODE).map(|code| match code {
            0 => StatusCode::Ok,
            _ => StatusCode::Error,
        })
    };
    let otel = || match attributes.get(keys::STATUS_CODE.as_bytes())?.as_ref()? {
        Value::StringValue(name) if whole_number(&Value::StringValue(name.clone())).is_none() => {
            Some(status_code(name)).filter(|code| *code != StatusCode::Unset)
        }
        value => StatusCode::try_from(i32::try_from(whole_number(value)?).ok()?).ok(),
    };
    // That of the same convention, or else any: what describes a status is taken out.
    let described_by = |key| {
        let mut texts = [key].into_iter().chain(DESCRIPTIONS).map(text);
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    };
    let status = if let Some(code) = census() {
        Status { code: code.into(), message: described_by(DESCRIPTIONS[0]) }
    } else if let Some(code) = otel() {
        Status { code: code.into(), message: described_by(keys::STATUS_DESCRIPTION) }
    } else if attributes.contains(keys::ERROR.as_bytes()) {
        Status { code: StatusCode::Error.into(), message: described_by(DESCRIPTIONS[0]) }
    } else {
        match number("http.status_code") {
            None | Some(100..400) => Status::default(),
            Some(_) => {
                let message = text("http.status_message");
                Status { code: StatusCode::Error.into(), message }
            }
        }
    };
    let said = [CENSUS_CODE, keys::STATUS_CODE, keys::ERROR];
    attributes
        .remove_all(|key| said.iter().chain(&DESCRIPTIONS).any(|known| known.as_bytes() == key));
    status
}
