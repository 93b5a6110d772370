//! Which format a file is in, and its traces as OTLP.

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use prost::Message;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tactus_api::trace::{SplitTraces, split_traces};
use tactus_api::{Error, Result};
use tactus_jaeger::json::read_jaeger_file;
use tactus_model::message_count::{RESOURCE, SCOPE, SPAN, Shape, messages};
use tactus_model::wire::{FieldValue, Reader};
use tactus_otlp_json::read_trace_file;
use tactus_proto::otlp::{InstrumentationScope, Resource, Span};
use tactus_zipkin::DecodeOptions;

/// The field that held spans before scopes had their name.
const LIBRARY_SPANS: u32 = 1000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Those of UTF-16, in which some programs of Windows save texts.
const BYTE_ORDER_MARKS_OF_UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Bytes at the begin of a file that tell a text from protobuf, which has controls there: the numbers of its fields.
const TEXT_BYTES: usize = 64;

/// Messages that a span, a resource or a scope of protobuf may hold, as in JSON: they are decoded to be checked.
const MAX_MESSAGES: usize = 1 << 16;

/// What a file holds.
#[derive(Debug)]
pub(crate) struct TraceFile {
    /// For people.
    pub(crate) format: &'static str,
    pub(crate) content: SplitTraces,
}

/// The formats of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Otlp,
    Tempo,
    /// The answer of the third version of Jaeger's API.
    OtlpResult,
    /// The answer of Jaeger's API.
    Jaeger,
    /// An element of that answer.
    JaegerTrace,
    /// A list of those.
    JaegerTraces,
    /// A list of spans.
    Zipkin,
    /// The answer of Zipkin's API to a search: a list of such lists.
    ZipkinTraces,
    Unknown,
}

impl Kind {
    /// For people.
    fn name(self) -> &'static str {
        match self {
            Self::Otlp | Self::OtlpResult => "OTLP JSON",
            Self::Tempo => "Tempo JSON",
            Self::Jaeger | Self::JaegerTrace | Self::JaegerTraces => "Jaeger JSON",
            Self::Zipkin | Self::ZipkinTraces => "Zipkin JSON",
            Self::Unknown => "JSON",
        }
    }
}

/// Reads a file: protobuf or JSON of OTLP, which Tempo's Trace is too, JSON of Tempo's API and of Jaeger, JSON or protobuf
/// of Zipkin. A text may hold several documents, as collectors write them, one a line.
///
/// Errors: [`Error::Invalid`] with the place of the damage, [`Error::LimitExceeded`] for too many spans.
pub(crate) fn decode(file: &Bytes, max_spans: usize) -> Result<TraceFile> {
    let text = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_text = matches!(first, Some(b'{' | b'['));
    let (format, otlp) = match first {
        None => return Err(Error::Invalid("the file is empty".to_owned())),
        Some(_) if BYTE_ORDER_MARKS_OF_UTF_16.iter().any(|mark| file.starts_with(mark)) => {
            return Err(Error::Invalid("a text in UTF-16: save it as UTF-8".to_owned()));
        }
        // A line feed before a text looks like the first field of protobuf.
        Some(_) if is_text && !(file.starts_with(b"\n") && is_protobuf(file)) => {
            of_text(&file.slice_ref(text))?
        }
        Some(_) if is_zipkin(file) => {
            let spans = zipkin_spans(tactus_zipkin::Format::ProtobufV2, file);
            ("Zipkin protobuf", spans.map_err(Error::Invalid)?)
        }
        Some(_) => {
            check_protobuf(file).map_err(|error| {
                Error::Invalid(if is_readable(file) { NO_JSON.to_owned() } else { error })
            })?;
            ("OTLP protobuf", file.clone())
        }
    };
    let content =
        split_traces(&otlp, max_spans).map_err(|error| Error::Invalid(error.to_string()))?;
    if content.spans > max_spans {
        return Err(Error::LimitExceeded(format!(
            "the file has {} spans, more than {max_spans} (limit: query_frontend.trace_files.max_spans)",
            content.spans
        )));
    }
    Ok(TraceFile { format, content })
}

/// Said of a page of a proxy, or of any other text.
const NO_JSON: &str = "a text, but no JSON of traces, which begins with { or [";

/// Whether a file begins as a text does, in ASCII or UTF-8.
fn is_readable(file: &[u8]) -> bool {
    let is_letter =
        |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || !byte.is_ascii();
    file.iter().take(TEXT_BYTES).all(is_letter)
}

fn is_protobuf(file: &Bytes) -> bool {
    is_zipkin(file) || check_protobuf(file).is_ok()
}

/// Whether the first message of a file is a span of Zipkin's: it has ids of their lengths where ResourceSpans of OTLP have
/// a resource and the address of a schema, and fields that those do not have.
fn is_zipkin(file: &[u8]) -> bool {
    let Ok(Some((1, FieldValue::Bytes(span)))) = Reader::new(file).next_field() else {
        return false;
    };
    let (mut has_ids, mut has_more) = ([false; 2], false);
    let mut fields = Reader::new(span);
    while let Ok(Some((number, value))) = fields.next_field() {
        match (number, value) {
            (1, FieldValue::Bytes(id)) => has_ids[0] = matches!(id.len(), 8 | 16),
            (3, FieldValue::Bytes(id)) => has_ids[1] = id.len() == 8,
            (4..=13, _) => has_more = true,
            _ => {}
        }
    }
    fields.remaining() == 0 && has_ids == [true; 2] && has_more
}

/// The spans of a list of Zipkin's as an OTLP message.
fn zipkin_spans(format: tactus_zipkin::Format, list: &Bytes) -> std::result::Result<Bytes, String> {
    let options =
        DecodeOptions { now_unix_nanos: tactus_clock::unix_nanos(), ..DecodeOptions::default() };
    let spans = tactus_zipkin::decode(format, list, &options);
    spans.map(|(_, spans)| spans).map_err(|error| error.to_string())
}

/// Finds what is wrong with a file of protobuf, and where. Memory: that of the largest span.
fn check_protobuf(file: &Bytes) -> std::result::Result<(), String> {
    let mut reader = Reader::new(file);
    let mut number = 0;
    loop {
        let begin = file.len() - reader.remaining();
        let field = reader.next_field().map_err(|error| unknown(&error.to_string()))?;
        let Some((field, value)) = field else { break };
        if field != 1 {
            return Err(unknown(&format!("a field {field} at byte {begin}")));
        }
        let damage = |error: String| format!("resourceSpans[{number}], from byte {begin}: {error}");
        let message = value.bytes(field).map_err(|error| damage(error.to_string()))?;
        check_resource_spans(file, message).map_err(damage)?;
        number += 1;
    }
    Ok(())
}

fn check_resource_spans(file: &Bytes, message: &[u8]) -> std::result::Result<(), String> {
    let mut fields = Reader::new(message);
    while let Some((field, value)) = fields.next_field().map_err(|error| error.to_string())? {
        let part = || value.bytes(field).map_err(|error| error.to_string());
        match field {
            1 => check::<Resource>(file, part()?, &RESOURCE)?,
            2 | LIBRARY_SPANS => {
                let mut fields = Reader::new(part()?);
                while let Some((field, value)) =
                    fields.next_field().map_err(|error| error.to_string())?
                {
                    let part = || value.bytes(field).map_err(|error| error.to_string());
                    match field {
                        1 => check::<InstrumentationScope>(file, part()?, &SCOPE)?,
                        2 => check::<Span>(file, part()?, &SPAN)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check<M: Message + Default>(
    file: &Bytes,
    message: &[u8],
    shape: &Shape,
) -> std::result::Result<(), String> {
    if messages(message, shape).map_err(|error| error.to_string())? > MAX_MESSAGES {
        return Err(format!("more than {MAX_MESSAGES} elements in one span or resource"));
    }
    M::decode(file.slice_ref(message)).map(drop).map_err(|error| error.to_string())
}

fn unknown(reason: &str) -> String {
    format!("neither JSON nor protobuf of traces: {reason}")
}

/// The format of a text, that of its first document, and its spans as an OTLP message.
fn of_text(text: &Bytes) -> Result<(&'static str, Bytes)> {
    let mut kinds = serde_json::Deserializer::from_slice(text).into_iter::<Kind>();
    let mut otlp: Vec<u8> = Vec::new();
    let (mut format, mut begin, mut number) = (None, 0, 0_usize);
    while let Some(kind) = kinds.next() {
        let kind = kind.map_err(|error| Error::Invalid(format!("no JSON: {error}")))?;
        let document = text.slice(begin..kinds.byte_offset());
        number += 1;
        let spans = document_spans(kind, &document).map_err(|error| match format {
            None => Error::Invalid(error),
            Some(_) => {
                let line = 1 + text[..begin].iter().filter(|byte| **byte == b'\n').count();
                Error::Invalid(format!("document {number}, after line {line}: {error}"))
            }
        })?;
        // The first is not copied.
        if otlp.is_empty() {
            otlp = spans.into()
        } else {
            otlp.extend_from_slice(&spans)
        }
        begin = kinds.byte_offset();
        format.get_or_insert(kind.name());
    }
    Ok((format.unwrap_or_default(), otlp.into()))
}

fn document_spans(kind: Kind, json: &Bytes) -> std::result::Result<Bytes, String> {
    match kind {
        Kind::Otlp => read_trace_file(json).map_err(|error| error.to_string()),
        Kind::Tempo | Kind::OtlpResult => {
            let spans = read_trace_file(json).map_err(|error| error.to_string())?;
            // Tempo's form for language models has a `trace`, too, but with another content.
            if spans.is_empty() { Err(no_traces()) } else { Ok(spans) }
        }
        Kind::Jaeger => read_jaeger_file(json).map_err(|error| error.to_string()),
        Kind::JaegerTrace => read_jaeger_file(&[b"{\"data\":[", &json[..], b"]}"].concat())
            .map_err(|error| error.to_string()),
        Kind::JaegerTraces => read_jaeger_file(&[b"{\"data\":", &json[..], b"}"].concat())
            .map_err(|error| error.to_string()),
        Kind::Zipkin => zipkin_spans(tactus_zipkin::Format::JsonV2, json),
        Kind::ZipkinTraces => {
            let mut spans: Vec<u8> = Vec::new();
            let traces: Vec<Value> =
                serde_json::from_slice(json).map_err(|error| error.to_string())?;
            for trace in traces {
                let trace = Bytes::from(trace.to_string());
                spans.extend(zipkin_spans(tactus_zipkin::Format::JsonV2, &trace)?);
            }
            Ok(spans.into())
        }
        Kind::Unknown => Err(no_traces()),
    }
}

fn no_traces() -> String {
    let expected = "`resourceSpans` of OTLP, `batches` or `trace` of Tempo with spans, `data`, `result` or a trace of Jaeger, or lists of Zipkin's spans";
    format!("no traces in it: expected {expected}")
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(json: D) -> std::result::Result<Self, D::Error> {
        json.deserialize_any(KindVisitor)
    }
}

/// Goes through a document and tells by its outermost members what it is.
struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Kind, A::Error> {
        let (mut kind, mut jaeger) = (Kind::Unknown, [false; 2]);
        while let Some(key) = map.next_key::<String>()? {
            let found = match key.as_str() {
                "resourceSpans" | "resource_spans" => Kind::Otlp,
                "batches" | "trace" => Kind::Tempo,
                "result" => Kind::OtlpResult,
                "data" => Kind::Jaeger,
                _ => Kind::Unknown,
            };
            jaeger[0] |= key == "traceID";
            jaeger[1] |= key == "spans";
            map.next_value::<IgnoredAny>()?;
            if kind == Kind::Unknown {
                kind = found;
            }
        }
        Ok(if kind == Kind::Unknown && jaeger == [true; 2] { Kind::JaegerTrace } else { kind })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Kind, A::Error> {
        let first: Option<Kind> = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(match first {
            Some(Kind::Zipkin) => Kind::ZipkinTraces,
            Some(Kind::JaegerTrace) => Kind::JaegerTraces,
            _ => Kind::Zipkin,
        })
    }
}
