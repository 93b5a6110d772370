//! Finds root spans that say how they were sampled in the bytes of a request.

use tactus_model::{
    any_value::{self, DecodedValue, decode_key_value},
    walk::{ExportWalk, SpanView},
    wire::{Reader, WireError},
};
use tactus_sampling::{SampledSpan, SamplerKind};

/// Fields of OTLP messages.
const SPAN_PARENT: u32 = 4;
const SPAN_NAME: u32 = 5;
const SPAN_ATTRIBUTES: u32 = 9;
const RESOURCE_ATTRIBUTES: u32 = 1;

/// Collects root spans while a request is walked. Of spans with a parent, which are most, only the first fields are
/// read.
#[derive(Debug, Default)]
pub(crate) struct RootSpans<'a> {
    found: Vec<RootSpan<'a>>,
}

#[derive(Debug)]
struct RootSpan<'a> {
    /// Index into the runs of the walk.
    run: usize,
    operation: &'a str,
    kind: SamplerKind,
    param: f64,
}

impl<'a> RootSpans<'a> {
    /// Collects a span if it is a root. Malformed spans are ignored, because whoever decodes them reports the error.
    #[inline]
    pub(crate) fn see(&mut self, span: &SpanView<'a>) {
        if let Ok(Some(root)) = read_root(span) {
            self.found.push(root);
        }
    }

    /// The root spans with their services. Spans of resources without a service name are left out.
    pub(crate) fn of_services(&self, request: &'a [u8], walk: &ExportWalk) -> Vec<SampledSpan<'a>> {
        let mut spans = Vec::with_capacity(self.found.len());
        let mut last: Option<(u32, Option<&'a str>)> = None;
        for root in &self.found {
            let Some(run) = walk.runs.get(root.run) else { continue };
            let service = match last {
                Some((resource, service)) if resource == run.resource => service,
                _ => {
                    let range = walk.resources.get(run.resource as usize).cloned();
                    let message = range.and_then(|range| request.get(range)).unwrap_or_default();
                    service_name(message).unwrap_or_default()
                }
            };
            last = Some((run.resource, service));
            if let Some(service) = service {
                let RootSpan { operation, kind, param, .. } = *root;
                spans.push(SampledSpan { service, operation, kind, param });
            }
        }
        spans
    }
}

/// `None` if the span has a parent, or does not say how it was sampled.
fn read_root<'a>(span: &SpanView<'a>) -> Result<Option<RootSpan<'a>>, WireError> {
    let (mut operation, mut kind, mut param) = ("", None, None);
    let mut reader = Reader::new(span.message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            SPAN_PARENT if value.bytes(field)?.iter().any(|&byte| byte != 0) => return Ok(None),
            SPAN_NAME => operation = text(value.bytes(field)?),
            SPAN_ATTRIBUTES => {
                let (key, value) = decode_key_value(value.bytes(field)?)?;
                match key {
                    // With the prefix from OpenTelemetry's sampler for Go.
                    b"sampler.type" | b"jaeger.sampler.type" => {
                        kind = kind_of(any_value::decode(value)?);
                    }
                    b"sampler.param" | b"jaeger.sampler.param" => {
                        param = number_of(any_value::decode(value)?);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let root = |(kind, param)| RootSpan { run: span.run, operation, kind, param };
    Ok(kind.zip(param).filter(|_| !operation.is_empty()).map(root))
}

fn kind_of(value: DecodedValue<'_>) -> Option<SamplerKind> {
    match value {
        DecodedValue::String(name) => SamplerKind::from_name(name),
        _ => None,
    }
}

fn number_of(value: DecodedValue<'_>) -> Option<f64> {
    match value {
        DecodedValue::Int(number) => Some(number as f64),
        DecodedValue::Double(number) => Some(number),
        DecodedValue::String(digits) => text(digits).parse().ok(),
        _ => None,
    }
}

fn service_name(resource: &[u8]) -> Result<Option<&str>, WireError> {
    let mut name = None;
    let mut reader = Reader::new(resource);
    while let Some((field, value)) = reader.next_field()? {
        if field != RESOURCE_ATTRIBUTES {
            continue;
        }
        let (key, value) = decode_key_value(value.bytes(field)?)?;
        if key == b"service.name"
            && let DecodedValue::String(found) = any_value::decode(value)?
        {
            name = Some(text(found)).filter(|name| !name.is_empty());
        }
    }
    Ok(name)
}

/// Empty if the bytes are not UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use tactus_model::walk::walk_export;
    use tactus_proto::opentelemetry::proto::{
        collector::trace::v1::ExportTraceServiceRequest,
        common::v1::{AnyValue, KeyValue, any_value::Value},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned().into(), value: Some(AnyValue { value: Some(value) }) }
    }

    fn string(value: &str) -> Value {
        Value::StringValue(value.to_owned().into())
    }

    fn span(name: &str, kind: Value, param: Value) -> Span {
        Span {
            trace_id: vec![1; 16].into(),
            span_id: vec![2; 8].into(),
            name: name.to_owned().into(),
            attributes: vec![
                attribute("http.method", string("GET")),
                attribute("sampler.type", kind),
                attribute("sampler.param", param),
            ],
            ..Span::default()
        }
    }

    fn of_service(service: Value, spans: Vec<Span>) -> ResourceSpans {
        let attributes = vec![attribute("host", string("h")), attribute("service.name", service)];
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    }

    fn found(request: &[u8]) -> Vec<SampledSpan<'_>> {
        let mut roots = RootSpans::default();
        match walk_export(request, |span| roots.see(&span)) {
            Ok(walk) => roots.of_services(request, &walk),
            Err(_) => Vec::new(),
        }
    }

    #[test]
    fn only_root_spans_that_say_how_they_were_sampled_are_found() {
        let sampled = || string("probabilistic");
        let child =
            Span { parent_span_id: vec![7; 8].into(), ..span("child", sampled(), string("1")) };
        let zero_parent = Span {
            parent_span_id: vec![0; 8].into(),
            ..span("zero", string("lowerbound"), Value::DoubleValue(0.25))
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![
                of_service(
                    string("a"),
                    vec![
                        span("int", string("const"), Value::IntValue(1)),
                        child,
                        zero_parent,
                        span("text", sampled(), string("0.001")),
                        span("", sampled(), string("0.001")),
                        span("words", sampled(), string("often")),
                        span("bool", string("const"), Value::BoolValue(true)),
                        span("remote", string("remote"), Value::IntValue(1)),
                        span("number", Value::IntValue(7), Value::IntValue(1)),
                    ],
                ),
                of_service(string(""), vec![span("x", sampled(), string("1"))]),
                of_service(Value::IntValue(1), vec![span("x", sampled(), string("1"))]),
                of_service(string("b"), vec![span("x", string("ratelimiting"), string("2"))]),
            ],
        };
        let bytes = request.encode_to_vec();
        let expected = [
            ("a", "int", SamplerKind::Const, 1.0),
            ("a", "zero", SamplerKind::LowerBound, 0.25),
            ("a", "text", SamplerKind::Probabilistic, 0.001),
            ("b", "x", SamplerKind::RateLimiting, 2.0),
        ];
        let expected = expected.map(|(service, operation, kind, param)| SampledSpan {
            service,
            operation,
            kind,
            param,
        });
        assert_eq!(found(&bytes), expected);
    }

    #[test]
    fn attributes_of_the_sampler_for_go_count_the_same() {
        let mut from_go = span("x", string("probabilistic"), Value::DoubleValue(0.5));
        from_go.attributes[1] = attribute("jaeger.sampler.type", string("probabilistic"));
        from_go.attributes[2] = attribute("jaeger.sampler.param", Value::DoubleValue(0.5));
        let request = ExportTraceServiceRequest {
            resource_spans: vec![of_service(string("a"), vec![from_go])],
        };
        let bytes = request.encode_to_vec();
        let expected = SampledSpan {
            service: "a",
            operation: "x",
            kind: SamplerKind::Probabilistic,
            param: 0.5,
        };
        assert_eq!(found(&bytes), [expected]);
    }

    proptest! {
        #[test]
        fn damage_is_passed_over(cut in 0usize..200, flip in 0usize..200, mask in 1u8..) {
            let spans = vec![span("x", string("const"), Value::IntValue(1))];
            let request =
                ExportTraceServiceRequest { resource_spans: vec![of_service(string("a"), spans)] };
            let mut bytes = request.encode_to_vec();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= mask;
            }
            found(&bytes);
        }
    }
}
