//! Spans of the second model in JSON.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use tactus_model::{SpanId, TraceId};

use super::{Annotation, Endpoint, Kind, Span};
use crate::json::{JsonEndpoint, Micros, Text, is_there, read_list, read_spans};
use crate::keyed::Keyed;
use crate::{Error, SpanError, check_count};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, expecting = "a span")]
struct JsonSpan<'a> {
    #[serde(borrow)]
    trace_id: Text<'a>,
    parent_id: Text<'a>,
    id: Text<'a>,
    kind: Option<Text<'a>>,
    name: Text<'a>,
    timestamp: Micros,
    duration: Micros,
    local_endpoint: Option<JsonEndpoint<'a>>,
    remote_endpoint: Option<JsonEndpoint<'a>>,
    #[serde(deserialize_with = "read_annotations")]
    annotations: Vec<JsonAnnotation<'a>>,
    tags: Option<Tags<'a>>,
    /// Only the first model has them.
    #[serde(deserialize_with = "is_there")]
    binary_annotations: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "an annotation")]
struct JsonAnnotation<'a> {
    timestamp: Micros,
    #[serde(borrow)]
    value: Text<'a>,
    /// Only the first model has it, but some senders of the second write it too.
    #[serde(deserialize_with = "is_there")]
    endpoint: bool,
}

/// Hands the spans of a list to `take`, one by one.
pub(crate) fn decode(
    body: &Bytes,
    mut take: impl FnMut(Span) -> Result<(), SpanError>,
) -> Result<(), Error> {
    let mut index = 0;
    read_spans(body, |span: JsonSpan<'_>| {
        if span.is_of_first_model() {
            return Err(Error::OtherVersion);
        }
        span.into_span(body).and_then(&mut take).map_err(|reason| Error::Span { index, reason })?;
        index += 1;
        Ok(())
    })
}

impl JsonSpan<'_> {
    fn is_of_first_model(&self) -> bool {
        let is_of_second = self.tags.is_some()
            || self.kind.is_some()
            || self.local_endpoint.is_some()
            || self.remote_endpoint.is_some();
        let mut annotations = self.annotations.iter();
        self.binary_annotations
            || !is_of_second && annotations.any(|annotation| annotation.endpoint)
    }

    fn into_span(self, body: &Bytes) -> Result<Span, SpanError> {
        let trace_id = hex(&self.trace_id, TraceId::from_hex).filter(|id| !id.is_zero());
        let id = hex(&self.id, SpanId::from_hex).filter(|id| !id.is_zero());
        let (trace_id, id) = (trace_id.ok_or(SpanError::TraceId)?, id.ok_or(SpanError::SpanId)?);
        let parent_id = match self.parent_id.as_bytes() {
            b"" => None,
            _ => Some(hex(&self.parent_id, SpanId::from_hex).ok_or(SpanError::ParentId)?),
        };
        if self.annotations.iter().any(|annotation| annotation.timestamp.0 == 0) {
            return Err(SpanError::AnnotationTimestamp);
        }
        let annotations = self.annotations.into_iter().map(|annotation| Annotation {
            timestamp: annotation.timestamp.0,
            value: annotation.value.into_bytes(body),
        });
        let tags = self.tags.map(|tags| tags.0).unwrap_or_default().into_iter();
        let tags = tags.map(|(key, value)| (key.into_bytes(body), value.into_bytes(body)));
        let endpoint = |endpoint: Option<JsonEndpoint<'_>>| {
            endpoint.map_or_else(Endpoint::default, |endpoint| endpoint_of(endpoint, body))
        };
        Ok(Span {
            trace_id,
            parent_id: parent_id.filter(|parent| !parent.is_zero() && *parent != id),
            id,
            kind: self.kind.and_then(|kind| Kind::from_name(kind.as_bytes())),
            name: self.name.into_bytes(body),
            timestamp: Some(self.timestamp.0).filter(|timestamp| *timestamp != 0),
            duration: self.duration.0,
            local_endpoint: endpoint(self.local_endpoint),
            remote_endpoint: endpoint(self.remote_endpoint),
            annotations: annotations.collect(),
            tags: tags.collect::<Keyed<Bytes>>().into_entries(),
            ..Span::default()
        })
    }
}

/// What is no address is left out: it says nothing about where the service is.
fn endpoint_of(json: JsonEndpoint<'_>, body: &Bytes) -> Endpoint {
    let mut endpoint = Endpoint {
        service_name: json.service_name.into_bytes(body),
        port: json.port.0,
        ..Endpoint::default()
    };
    for text in [&json.ipv4, &json.ipv6] {
        let text = std::str::from_utf8(text.as_bytes()).unwrap_or_default();
        if let Ok(ip) = text.parse::<IpAddr>() {
            endpoint.set_ip(ip);
        }
    }
    endpoint
}

fn hex<T>(text: &Text<'_>, parse: fn(&str) -> Option<T>) -> Option<T> {
    parse(std::str::from_utf8(text.as_bytes()).ok()?)
}

fn read_annotations<'de: 'a, 'a, D: Deserializer<'de>>(
    json: D,
) -> Result<Vec<JsonAnnotation<'a>>, D::Error> {
    read_list(json, |_| true)
}

/// Members in the order of the document.
struct Tags<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TagsVisitor).map(Self)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = Vec<(Text<'de>, Text<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tags = Vec::new();
        while let Some(tag) = map.next_entry()? {
            check_count(tags.len()).map_err(A::Error::custom)?;
            tags.push(tag);
        }
        Ok(tags)
    }
}
