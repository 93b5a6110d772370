//! Spans of the second model as JSON, with the keys in the order that Zipkin writes them.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use tactus_proto::lossy;

use super::{Annotation, Endpoint, Span};

/// Text for display in lower case, as Zipkin shows names.
pub(crate) fn lower_case(text: &[u8]) -> Cow<'_, str> {
    match lossy(text) {
        Cow::Borrowed(text) if !text.chars().any(char::is_uppercase) => Cow::Borrowed(text),
        text => Cow::Owned(text.to_lowercase()),
    }
}

/// Appends a span as JSON.
pub fn write_span(span: &Span, out: &mut Vec<u8>) {
    // Keys are strings and nothing else here can fail.
    let _ = serde_json::to_writer(out, span);
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(timestamp) = self.timestamp.filter(|timestamp| *timestamp != 0) {
            map.serialize_entry("timestamp", &timestamp)?;
        }
        if self.duration != 0 {
            map.serialize_entry("duration", &self.duration)?;
        }
        map.serialize_entry("traceId", &self.trace_id.to_hex_by_half())?;
        map.serialize_entry("id", &self.id.to_hex())?;
        if let Some(parent) = self.parent_id {
            map.serialize_entry("parentId", &parent.to_hex())?;
        }
        if !self.name.is_empty() {
            map.serialize_entry("name", &lower_case(&self.name))?;
        }
        if let Some(kind) = self.kind {
            map.serialize_entry("kind", kind.name())?;
        }
        if self.shared {
            map.serialize_entry("shared", &true)?;
        }
        for (key, endpoint) in
            [("localEndpoint", &self.local_endpoint), ("remoteEndpoint", &self.remote_endpoint)]
        {
            if !endpoint.is_empty() {
                map.serialize_entry(key, endpoint)?;
            }
        }
        if !self.annotations.is_empty() {
            map.serialize_entry("annotations", &self.annotations)?;
        }
        if !self.tags.is_empty() {
            map.serialize_entry("tags", &Tags(self))?;
        }
        map.end()
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.service_name.is_empty() {
            map.serialize_entry("serviceName", &lower_case(&self.service_name))?;
        }
        if let Some(ip) = self.ipv4 {
            map.serialize_entry("ipv4", &ip.to_string())?;
        }
        if let Some(ip) = self.ipv6 {
            map.serialize_entry("ipv6", &ip.to_string())?;
        }
        if self.port != 0 {
            map.serialize_entry("port", &self.port)?;
        }
        map.end()
    }
}

impl Serialize for Annotation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("value", &lossy(&self.value))?;
        map.end()
    }
}

struct Tags<'a>(&'a Span);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.tags.iter().map(|(key, value)| (lossy(key), lossy(value))))
    }
}
