//! Converts Zipkin's first model to Jaeger's, as an agent does for `emitZipkinBatch`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tactus_proto::jaeger::api_v2::{
    KeyValue, Log, Process, Span as JaegerSpan, SpanRef, SpanRefType, ValueType,
};

use super::{Annotation, BinaryAnnotation, Endpoint, Span, annotation_type};
use crate::span::{ids, micros, span_id_bytes, timestamp};

/// The name of a service that no endpoint names.
const UNKNOWN_SERVICE: Bytes = Bytes::from_static(b"unknown-service-name");

/// Jaeger's flag of a trace that is kept whatever samplers say.
const DEBUG_FLAG: u32 = 2;

/// The sides of a call.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

impl Side {
    fn tag(self) -> KeyValue {
        let kind = match self {
            Self::Client => "client",
            Self::Server => "server",
        };
        text(Bytes::from_static(b"span.kind"), Bytes::from_static(kind.as_bytes()))
    }
}

/// When the core annotations happened, in microseconds since 1970.
#[derive(Default)]
struct Core {
    client_send: Option<i64>,
    client_receive: Option<i64>,
    server_receive: Option<i64>,
    server_send: Option<i64>,
    first: Option<Side>,
}

impl Core {
    fn of(annotations: &[Annotation]) -> Self {
        let mut core = Self::default();
        for annotation in annotations {
            let (time, side) = match &annotation.value[..] {
                b"cs" => (&mut core.client_send, Side::Client),
                b"cr" => (&mut core.client_receive, Side::Client),
                b"sr" => (&mut core.server_receive, Side::Server),
                b"ss" => (&mut core.server_send, Side::Server),
                _ => continue,
            };
            *time = Some(annotation.timestamp);
            core.first.get_or_insert(side);
        }
        core
    }

    /// Start and duration of a side.
    fn times(&self, side: Side) -> Option<(i64, i64)> {
        let (start, end) = match side {
            Side::Client => (self.client_send, self.client_receive),
            Side::Server => (self.server_receive, self.server_send),
        };
        let start = start?;
        Some((start, end.map_or(0, |end| end.wrapping_sub(start))))
    }

    /// The side that the span does not tell of first, and its start and duration, if it tells of
    /// both.
    fn other_side(&self) -> Option<(Side, (i64, i64))> {
        let (client, server) = (self.times(Side::Client)?, self.times(Side::Server)?);
        Some(match self.first? {
            Side::Client => (Side::Server, server),
            Side::Server => (Side::Client, client),
        })
    }
}

/// A span in Jaeger's model, with a process of its own; two if it holds both sides of a call.
pub(super) fn convert(span: Span) -> Vec<JaegerSpan> {
    let core = Core::of(&span.annotations);
    let process = process(&span);
    let (trace_id, span_id) = ids(span.trace_id_high.unwrap_or(0), span.trace_id, span.id);
    let parent = span.parent_id.filter(|parent| *parent != 0).map(|parent| SpanRef {
        trace_id: trace_id.clone(),
        span_id: span_id_bytes(parent),
        ref_type: SpanRefType::ChildOf.into(),
    });
    let (mut start, mut duration) = (span.timestamp.unwrap_or(0), span.duration.unwrap_or(0));
    if start == 0
        && let Some((from, took)) = core.times(Side::Client).or_else(|| core.times(Side::Server))
    {
        start = from;
        if duration == 0 {
            duration = took;
        }
    }
    let mut tags: Vec<KeyValue> = Vec::with_capacity(span.binary_annotations.len() + 1);
    for annotation in span.binary_annotations {
        if !is_of_process(&annotation.key) {
            add_tags(annotation, &mut tags);
        }
    }
    tags.extend(core.first.map(Side::tag));
    let main = JaegerSpan {
        trace_id,
        span_id,
        operation_name: span.name,
        references: parent.into_iter().collect(),
        flags: if span.debug { DEBUG_FLAG } else { 0 },
        start_time: Some(timestamp(start)),
        duration: Some(micros(duration)),
        tags,
        logs: span.annotations.into_iter().filter_map(log).collect(),
        process: Some(process),
        ..JaegerSpan::default()
    };
    let other = core.other_side().map(|(side, (start, duration))| JaegerSpan {
        start_time: Some(timestamp(start)),
        duration: Some(micros(duration)),
        tags: vec![side.tag()],
        logs: Vec::new(),
        ..main.clone()
    });
    std::iter::once(main).chain(other).collect()
}

fn is_core(value: &[u8]) -> bool {
    matches!(value, b"cs" | b"cr" | b"sr" | b"ss")
}

/// Whether a binary annotation tells of the process that sends.
fn is_of_process(key: &[u8]) -> bool {
    matches!(key, b"jaegerClient" | b"jaeger.version" | b"jaeger.hostname")
}

fn process(span: &Span) -> Process {
    let hosts = |core_only: bool| {
        span.annotations
            .iter()
            .filter(move |annotation| !core_only || is_core(&annotation.value))
            .map(|annotation| &annotation.host)
    };
    let binary_hosts = |local_only: bool| {
        span.binary_annotations
            .iter()
            .filter(move |annotation| !local_only || &annotation.key[..] == b"lc")
            .map(|annotation| &annotation.host)
    };
    let host: Option<&Endpoint> = hosts(true)
        .chain(binary_hosts(true))
        .chain(hosts(false))
        .chain(binary_hosts(false))
        .filter_map(|host| host.as_deref())
        .find(|host| !host.service_name.is_empty());
    let mut tags = Vec::new();
    if let Some(host) = host
        && host.ipv4 != 0
    {
        tags.push(integer(Bytes::from_static(b"ip"), host.ipv4.into()));
    }
    for annotation in &span.binary_annotations {
        if is_of_process(&annotation.key) {
            let key: &[u8] = match &annotation.key[..] {
                b"jaeger.hostname" => b"hostname",
                _ => b"jaeger.version",
            };
            tags.push(text(Bytes::from_static(key), annotation.value.clone()));
        }
    }
    let service_name = host.map_or(UNKNOWN_SERVICE, |host| host.service_name.clone());
    Process { service_name, tags }
}

/// The log of an annotation that is not core. A JSON object of strings is one field each.
fn log(annotation: Annotation) -> Option<Log> {
    let value = annotation.value;
    if value.is_empty() || is_core(&value) {
        return None;
    }
    let object: Option<BTreeMap<String, String>> =
        if value.first() == Some(&b'{') { serde_json::from_slice(&value).ok() } else { None };
    let fields = match object {
        Some(members) => {
            members.into_iter().map(|(key, value)| text(key.into(), value.into())).collect()
        }
        None => vec![text(Bytes::from_static(b"event"), value)],
    };
    Some(Log { timestamp: Some(timestamp(annotation.timestamp)), fields })
}

fn add_tags(annotation: BinaryAnnotation, tags: &mut Vec<KeyValue>) {
    match (&annotation.key[..], &annotation.host) {
        (b"ca" | b"sa" | b"ma", Some(peer)) => {
            let named = |name: &'static str| Bytes::from_static(name.as_bytes());
            if !peer.service_name.is_empty() {
                tags.push(text(named("peer.service"), peer.service_name.clone()));
            }
            if peer.ipv4 != 0 {
                tags.push(integer(named("peer.ipv4"), peer.ipv4.into()));
            }
            if !peer.ipv6.is_empty() {
                tags.push(binary(named("peer.ipv6"), peer.ipv6.clone()));
            }
            if peer.port != 0 {
                tags.push(integer(named("peer.port"), peer.port.into()));
            }
        }
        (b"lc", _) => tags.push(text(Bytes::from_static(b"component"), annotation.value)),
        _ => tags.push(tag(annotation)),
    }
}

fn tag(BinaryAnnotation { key, value, annotation_type: kind, .. }: BinaryAnnotation) -> KeyValue {
    let number = match kind {
        annotation_type::BOOL => {
            let v_bool = value[..] == [1];
            return KeyValue { key, v_type: ValueType::Bool.into(), v_bool, ..KeyValue::default() };
        }
        annotation_type::BYTES => return binary(key, value),
        annotation_type::STRING => return text(key, value),
        annotation_type::I16 => exactly(&value).map(|bytes| i16::from_be_bytes(bytes).into()),
        annotation_type::I32 => exactly(&value).map(|bytes| i32::from_be_bytes(bytes).into()),
        annotation_type::I64 => exactly(&value).map(i64::from_be_bytes),
        annotation_type::DOUBLE => {
            let Some(v_float64) = exactly(&value).map(f64::from_be_bytes) else {
                return unparsable(key, &value, "wrong length");
            };
            let v_type = ValueType::Float64.into();
            return KeyValue { key, v_type, v_float64, ..KeyValue::default() };
        }
        _ => return unparsable(key, &value, &format!("unknown type {kind}")),
    };
    match number {
        Some(number) => integer(key, number),
        None => unparsable(key, &value, "wrong length"),
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

fn unparsable(key: Bytes, value: &[u8], reason: &str) -> KeyValue {
    let shown = format!("Cannot parse Zipkin value {}: {reason}", STANDARD.encode(value));
    text(key, shown.into())
}

fn text(key: Bytes, v_str: Bytes) -> KeyValue {
    KeyValue { key, v_type: ValueType::String.into(), v_str, ..KeyValue::default() }
}

fn integer(key: Bytes, v_int64: i64) -> KeyValue {
    KeyValue { key, v_type: ValueType::Int64.into(), v_int64, ..KeyValue::default() }
}

fn binary(key: Bytes, v_binary: Bytes) -> KeyValue {
    KeyValue { key, v_type: ValueType::Binary.into(), v_binary, ..KeyValue::default() }
}
