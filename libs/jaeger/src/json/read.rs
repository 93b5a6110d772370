//! Files that Jaeger's UI and API make: `{"data": [trace, …]}`.

mod span;

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tactus_model::error_text;
use tactus_otlp_json::outside_strings;

use crate::to_otlp::{OtlpWriter, process_key};
use span::{Process, Span, nullable, process};

/// Why a file holds no traces of Jaeger's: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No JSON, or JSON of another shape. The text ends with line and column.
    #[error("{0}")]
    Json(String),
    /// An invalid value.
    #[error("{place}: {reason}")]
    Value {
        /// Such as `data[0].spans[2].spanID`.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Commas and brackets that a span or a process may have: it is read as a whole, and the smallest values take many times
/// their bytes.
const MAX_VALUES: usize = 1 << 18;

/// Traces that a file may have.
const MAX_TRACES: usize = 1 << 18;

/// The spans of a file, those of one process of one trace together, as the bytes of an OTLP export request. Memory: that
/// of the answer, of the processes, and of the largest span.
pub fn read_jaeger_file(json: &[u8]) -> Result<Bytes, FileError> {
    let invalid = |error: serde_json::Error| FileError::Json(error_text::cut(error.to_string()));
    check_size(json)?;
    // Spans come before their processes.
    let ProcessFile { data: processes } = serde_json::from_slice(json).map_err(invalid)?;
    let (mut spans, mut refused) = (Vec::new(), None);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let file = FileVisitor { processes: &processes, spans: &mut spans, refused: &mut refused };
    let read = deserializer.deserialize_map(file).and_then(|()| deserializer.end());
    match refused {
        Some(error) => Err(error),
        None => read.map(|()| spans.into()).map_err(invalid),
    }
}

/// Checks that no span, no process and no list of traces has too much in it. Strings aside, a span or a process begins at
/// the fifth bracket within one another, a trace at the third.
fn check_size(json: &[u8]) -> Result<(), FileError> {
    let (mut depth, mut values, mut most, mut traces) = (0_usize, 0_usize, 0, 0);
    outside_strings(json, |byte| {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                traces += usize::from(depth == 3);
                values = if depth == 5 { 0 } else { values + 1 };
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth >= 5 {
            most = most.max(values);
        }
    });
    let too_many = |what: String| Err(FileError::Json(what));
    match () {
        () if traces > MAX_TRACES => too_many(format!("more than {MAX_TRACES} traces")),
        () if most > MAX_VALUES => {
            too_many(format!("more than {MAX_VALUES} values in one span or process"))
        }
        () => Ok(()),
    }
}

/// The processes of a file.
#[derive(Deserialize)]
struct ProcessFile {
    data: Vec<Processes>,
}

/// The processes of a trace, by name.
#[derive(Deserialize)]
struct Processes {
    #[serde(default, deserialize_with = "nullable")]
    processes: HashMap<String, ProcessKey>,
}

/// A process as [`process_key`].
struct ProcessKey(Vec<u8>);

impl<'de> Deserialize<'de> for ProcessKey {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let process = process(Process::deserialize(json)?);
        Ok(Self(process_key(Some(&process))))
    }
}

/// Goes through a file, through a trace or through its spans, and encodes span by span.
struct FileVisitor<'f> {
    processes: &'f [Processes],
    spans: &'f mut Vec<u8>,
    /// What is wrong with a value: errors of serde are text only.
    refused: &'f mut Option<FileError>,
}

impl<'de> Visitor<'de> for FileVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of Jaeger's")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { processes, spans, refused } = self;
        while let Some(key) = map.next_key::<String>()? {
            if key == "data" {
                map.next_value_seed(Traces(FileVisitor { processes, spans, refused }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Traces<'f>(FileVisitor<'f>);

impl<'de> DeserializeSeed<'de> for Traces<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Traces<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of traces")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for number in 0_usize.. {
            let mut trace = Trace {
                number,
                processes: self.0.processes.get(number).map(|trace| &trace.processes),
                // A span in JSON has bytes enough for its process.
                made: OtlpWriter::new(None, usize::MAX),
                groups: HashMap::new(),
                refused: &mut *self.0.refused,
            };
            if list.next_element_seed(&mut trace)?.is_none() {
                break;
            }
            self.0.spans.extend_from_slice(&trace.made.finish());
        }
        Ok(())
    }
}

/// A trace on its way.
struct Trace<'f> {
    number: usize,
    processes: Option<&'f HashMap<String, ProcessKey>>,
    made: OtlpWriter,
    /// The groups of the processes that spans have named, by name.
    groups: HashMap<&'f str, usize>,
    refused: &'f mut Option<FileError>,
}

impl<'de> DeserializeSeed<'de> for &mut Trace<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Trace<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_spans = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "spans" {
                has_spans = true;
                map.next_value_seed(Spans(&mut *self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_spans { Ok(()) } else { Err(A::Error::missing_field("spans")) }
    }
}

struct Spans<'t, 'f>(&'t mut Trace<'f>);

impl<'de> DeserializeSeed<'de> for Spans<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Spans<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0_usize;
        while let Some(span) = list.next_element::<Span>()? {
            self.0.add(number, span).map_err(|error| {
                *self.0.refused = Some(error);
                A::Error::custom("refused")
            })?;
            number += 1;
        }
        Ok(())
    }
}

impl Trace<'_> {
    fn add(&mut self, number: usize, mut span: Span) -> Result<(), FileError> {
        let place = format!("data[{}].spans[{number}]", self.number);
        let own = span.process.take().map(|own| process_key(Some(&process(own))));
        let id = std::mem::take(&mut span.process_id);
        let known = self.processes.and_then(|processes| processes.get_key_value(&id));
        if own.is_none() && known.is_none() && !id.is_empty() {
            let reason = error_text::cut(format!("the trace has no process {id:?}"));
            return Err(FileError::Value { place: format!("{place}.processID"), reason });
        }
        let span = span::span(&place, span)?;
        let made = &mut self.made;
        let group = match (own, known) {
            (Some(own), _) => made.group_of(&own),
            (None, Some((name, key))) => {
                *self.groups.entry(name).or_insert_with(|| made.group_of(&key.0))
            }
            (None, None) => made.group_of(&[]),
        };
        // All ids have their lengths by now.
        self.made
            .push_to(group, span)
            .map_err(|error| FileError::Value { place, reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests;
