//! A span of the second model as OTLP.

use bytes::Bytes;
use tactus_jaeger::from_otlp::NO_SERVICE_NAME;
use tactus_jaeger::to_otlp::Scope;
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::SpanKind;
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{Span, Status};

use super::text::{event, link_number, shown, status_code, tag_value, take_links};
use super::{
    Attributes, Groups, ResourceKey, add, add_address, add_peer, is_resource_key, key, key_values,
    keys, nanos,
};
use crate::keyed::Keyed;
use crate::v2::{self, Endpoint, Kind};
use crate::{DecodeOptions, SpanError};

/// How the tags of a span are handled.
#[derive(Default)]
struct TakenTags {
    resource: Keyed<Bytes>,
    /// The resource's key of the service.
    service_key: Option<Bytes>,
    scope: Scope,
    trace_state: Bytes,
    kind: SpanKind,
    status: Status,
    links: Vec<(u8, Bytes)>,
    attributes: Attributes,
}

/// Adds the span to the groups. Errors: a link that is none, too many services.
pub(crate) fn add_v2(
    groups: &mut Groups,
    span: v2::Span,
    options: &DecodeOptions,
) -> Result<(), SpanError> {
    let mut tags = take_tags(span.tags, span.kind, options);
    let links = take_links(std::mem::take(&mut tags.links), &mut tags.attributes)?;
    let attributes = &mut tags.attributes;
    let (local, remote) = (&span.local_endpoint, span.remote_endpoint);
    add_address(attributes, (keys::HOST_IP, ip_text(local)), (keys::HOST_PORT, local.port));
    let ip = ip_text(&remote);
    add_peer(attributes, remote.service_name, ip, remote.port);
    if span.timestamp.is_none() {
        attributes.set(key(keys::ABSENT_START), Some(Value::BoolValue(true)));
    }
    let resource = resource_of(&span.local_endpoint, tags.service_key, tags.resource);
    let ids = ids(span.trace_id, span.id, span.parent_id);
    let start = nanos(span.timestamp.unwrap_or_default());
    let otlp = Span {
        trace_id: ids.slice(..16),
        span_id: ids.slice(16..24),
        trace_state: tags.trace_state,
        parent_span_id: ids.slice(24..),
        name: span.name,
        kind: tags.kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(nanos(span.duration)),
        attributes: key_values(tags.attributes),
        events: span.annotations.into_iter().map(event).collect(),
        links,
        status: (tags.status != Status::default()).then_some(tags.status),
        ..Span::default()
    };
    add(groups, resource, tags.scope, &otlp)
}

/// Sorts the tags of a span by what they become. `kind`: of the span, which wins over a tag.
fn take_tags(sent: Vec<(Bytes, Bytes)>, kind: Option<Kind>, options: &DecodeOptions) -> TakenTags {
    let mut tags = TakenTags::default();
    let mut sent_status = None;
    let mut is_error = false;
    for (key, value) in sent {
        match &*key {
            b"otlp.service.name.source" => tags.service_key = Some(value),
            b"otel.library.name" => tags.scope.name = value,
            b"otel.library.version" => tags.scope.version = value,
            b"w3c.tracestate" => tags.trace_state = value,
            b"span.kind" if kind.is_none() => {
                if *value == *b"internal" {
                    tags.kind = SpanKind::Internal;
                }
            }
            b"otel.status_code" => sent_status = Some(status_code(&value)),
            b"error" if *value == *b"true" => is_error = true,
            key if super::keys::is_dropped(key) => {}
            _ if is_resource_key(&key) => tags.resource.set(key, value),
            _ => match link_number(&key) {
                Some(number) => tags.links.push((number, value)),
                None => {
                    is_error |= *key == *keys::ERROR.as_bytes();
                    let value = tag_value(&key, value, options.parse_string_tags);
                    // The tags of a span have each key once.
                    tags.attributes.push(key, Some(value));
                }
            },
        }
    }
    if let Some(code) = sent_status {
        tags.status.code = code.into();
        tags.status.message = take_text(&mut tags.attributes, keys::STATUS_DESCRIPTION);
    }
    if is_error {
        tags.status.code = StatusCode::Error.into();
    }
    if let Some(kind) = kind {
        tags.kind = match kind {
            Kind::Client => SpanKind::Client,
            Kind::Server => SpanKind::Server,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        };
    }
    tags
}

/// The ids of trace, span and, if there is one, parent, in one buffer.
fn ids(trace_id: TraceId, id: SpanId, parent_id: Option<SpanId>) -> Bytes {
    let parent = parent_id.as_ref().map_or(&[][..], |parent| &parent.0);
    [&trace_id.0[..], &id.0, parent].concat().into()
}

/// The service and the resource's own tags, which win.
fn resource_of(local: &Endpoint, service_key: Option<Bytes>, tags: Keyed<Bytes>) -> ResourceKey {
    let mut resource = tags;
    let service_key = service_key.filter(|key| !key.is_empty());
    let service_key = service_key.unwrap_or_else(|| key(keys::SERVICE_NAME));
    let service = &local.service_name;
    // What stands for no service in answers is none either when it comes back.
    let has_service =
        !service.is_empty() && !service.eq_ignore_ascii_case(NO_SERVICE_NAME.as_bytes());
    if has_service && !resource.contains(&service_key) {
        resource.set(service_key, service.clone());
    }
    resource.into_entries()
}

fn ip_text(endpoint: &Endpoint) -> Bytes {
    endpoint.ip().map_or_else(Bytes::new, |ip| ip.to_string().into())
}

/// Takes an attribute out that is text; it was a tag.
fn take_text(attributes: &mut Attributes, key: &'static str) -> Bytes {
    let value = attributes.get(key.as_bytes()).and_then(Option::as_ref);
    let Some(text) = value.and_then(shown) else { return Bytes::new() };
    attributes.remove_all(|known| known == key.as_bytes());
    text
}
