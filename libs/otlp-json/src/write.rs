//! Writes messages as JSON: hexadecimal ids, enums as numbers, 64-bit integers as strings. Zero and empty fields are
//! left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tactus_model::bytes_to_hex;
use tactus_proto::lossy;
use tactus_proto::otlp::span::{Event, Link};
use tactus_proto::otlp::{
    AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status,
    any_value::Value,
};

/// Resource spans that are written as OTLP's JSON.
#[derive(Debug, Clone, Copy)]
pub struct OtlpJson<'m>(pub &'m [ResourceSpans]);

impl Serialize for OtlpJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        List(self.0).serialize(serializer)
    }
}

/// A message of OTLP.
trait Message {
    fn write<S: Serializer>(&self, fields: &mut Fields<S>) -> Result<(), S::Error>;
}

/// A message as an object.
struct Object<'m, T>(&'m T);

impl<T: Message> Serialize for Object<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields::<S>(serializer.serialize_map(None)?);
        self.0.write(&mut fields)?;
        fields.0.end()
    }
}

/// Messages as a list.
struct List<'m, T>(&'m [T]);

impl<T: Message> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Object))
    }
}

/// Fields of an object; those that are zero are left out.
struct Fields<S: Serializer>(S::SerializeMap);

impl<S: Serializer> Fields<S> {
    fn value(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), S::Error> {
        self.0.serialize_entry(key, value)
    }

    fn text(&mut self, key: &str, text: &[u8]) -> Result<(), S::Error> {
        if text.is_empty() { Ok(()) } else { self.value(key, &lossy(text)) }
    }

    fn id(&mut self, key: &str, id: &[u8]) -> Result<(), S::Error> {
        if id.is_empty() { Ok(()) } else { self.value(key, &bytes_to_hex(id)) }
    }

    fn wide(&mut self, key: &str, number: &u64) -> Result<(), S::Error> {
        if *number == 0 { Ok(()) } else { self.value(key, &number.to_string()) }
    }

    fn number(
        &mut self,
        key: &str,
        number: &(impl Serialize + Default + PartialEq),
    ) -> Result<(), S::Error> {
        if *number == Default::default() { Ok(()) } else { self.value(key, number) }
    }

    fn list<T: Message>(&mut self, key: &str, list: &[T]) -> Result<(), S::Error> {
        if list.is_empty() { Ok(()) } else { self.value(key, &List(list)) }
    }

    fn object(&mut self, key: &str, message: &Option<impl Message>) -> Result<(), S::Error> {
        message.as_ref().map_or(Ok(()), |message| self.value(key, &Object(message)))
    }
}

/// Lists the fields of a message in the order in which they are written: the method of [`Fields`], the key, the field.
macro_rules! message {
    ($message:ty { $($method:ident $key:literal $field:ident,)* }) => {
        impl Message for $message {
            fn write<S: Serializer>(&self, fields: &mut Fields<S>) -> Result<(), S::Error> {
                $(fields.$method($key, &self.$field)?;)*
                Ok(())
            }
        }
    };
}

message!(ResourceSpans {
    object "resource" resource,
    list "scopeSpans" scope_spans,
    text "schemaUrl" schema_url,
});

message!(Resource {
    list "attributes" attributes,
    number "droppedAttributesCount" dropped_attributes_count,
});

message!(ScopeSpans {
    object "scope" scope,
    list "spans" spans,
    text "schemaUrl" schema_url,
});

message!(InstrumentationScope {
    text "name" name,
    text "version" version,
    list "attributes" attributes,
    number "droppedAttributesCount" dropped_attributes_count,
});

message!(Span {
    id "traceId" trace_id,
    id "spanId" span_id,
    text "traceState" trace_state,
    id "parentSpanId" parent_span_id,
    number "flags" flags,
    text "name" name,
    number "kind" kind,
    wide "startTimeUnixNano" start_time_unix_nano,
    wide "endTimeUnixNano" end_time_unix_nano,
    list "attributes" attributes,
    number "droppedAttributesCount" dropped_attributes_count,
    list "events" events,
    number "droppedEventsCount" dropped_events_count,
    list "links" links,
    number "droppedLinksCount" dropped_links_count,
    object "status" status,
});

message!(Status {
    text "message" message,
    number "code" code,
});

message!(Event {
    wide "timeUnixNano" time_unix_nano,
    text "name" name,
    list "attributes" attributes,
    number "droppedAttributesCount" dropped_attributes_count,
});

message!(Link {
    id "traceId" trace_id,
    id "spanId" span_id,
    text "traceState" trace_state,
    list "attributes" attributes,
    number "droppedAttributesCount" dropped_attributes_count,
    number "flags" flags,
});

impl Message for KeyValue {
    fn write<S: Serializer>(&self, fields: &mut Fields<S>) -> Result<(), S::Error> {
        fields.value("key", &lossy(&self.key))?;
        match &self.value {
            Some(value) => fields.value("value", &Object(value))?,
            None => fields.value("value", &Object(&AnyValue::default()))?,
        }
        Ok(())
    }
}

impl Message for AnyValue {
    fn write<S: Serializer>(&self, fields: &mut Fields<S>) -> Result<(), S::Error> {
        match &self.value {
            None => {}
            Some(Value::StringValue(text)) => fields.value("stringValue", &lossy(text))?,
            Some(Value::BoolValue(flag)) => fields.value("boolValue", flag)?,
            Some(Value::IntValue(number)) => fields.value("intValue", &number.to_string())?,
            Some(Value::DoubleValue(number)) => fields.value("doubleValue", &Double(*number))?,
            Some(Value::ArrayValue(array)) => {
                fields.value("arrayValue", &Object(&Values(&array.values)))?;
            }
            Some(Value::KvlistValue(list)) => {
                fields.value("kvlistValue", &Object(&Values(&list.values)))?;
            }
            Some(Value::BytesValue(bytes)) => {
                fields.value("bytesValue", &STANDARD.encode(bytes))?;
            }
        }
        Ok(())
    }
}

/// A list that stands in an object of its own.
struct Values<'m, T>(&'m [T]);

impl<T: Message> Message for Values<'_, T> {
    fn write<S: Serializer>(&self, fields: &mut Fields<S>) -> Result<(), S::Error> {
        fields.value("values", &List(self.0))
    }
}

/// A double; a string if JSON has no number for it.
struct Double(f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            number if number.is_finite() => serializer.serialize_f64(number),
            number if number.is_nan() => serializer.serialize_str("NaN"),
            number if number > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

#[cfg(test)]
mod tests;
