//! Parses a query, and runs it on three spans in memory: with neither a block nor a server.
//!
//! `cargo run -p tactus-traceql --example evaluate_query -- '{ duration > 100ms } | select(status)'`
//!
//! The spans are a checkout: `GET /cart` of the service shop calls `load cart` of the service cart, which fails, and then
//! `render`.
#![expect(clippy::print_stdout, reason = "a program for the command line")]

use std::error::Error;

use tactus_model::{Attribute, DictionaryBuilder, SpanBatch, SpanId, TraceId, ValueType};
use tactus_traceql::eval::{CompiledQuery, SearchOptions, Window};
use tactus_traceql::parse_and_validate;

const DEFAULT_QUERY: &str = r#"{ resource.service.name = "shop" } >> { status = error }"#;
const MILLISECOND: u64 = 1_000_000;
const SERVER: u8 = 2;
const ERROR: u8 = 2;

/// A span as people would write it.
struct Span {
    id: u8,
    parent: u8,
    service: u32,
    name: &'static str,
    millis: u64,
    status: u8,
}

fn main() -> Result<(), Box<dyn Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| DEFAULT_QUERY.to_owned());
    // Errors have the position in the text.
    let root = parse_and_validate(&text)?;
    println!("query: {root}");
    let query = CompiledQuery::compile(&root)?;
    let batch = checkout();
    // Storage reads the columns of `filter_projection` first, and those of `result_projection` only where something matched.
    let matches = query.find_matches(&batch, Window::default())?;
    println!("matched: {} of {} spans", matches.spans(), batch.spans.trace.len());
    let options = SearchOptions { limit: 20, spans_per_span_set: 0 };
    for trace in query.assemble(&batch, &matches, &options) {
        let (service, name) = (&trace.root_service_name, &trace.root_trace_name);
        println!("trace {}: {service} {name}", trace.trace_id.to_hex());
        for set in trace.span_sets {
            for span in set.spans {
                let millis = span.duration_nanos / MILLISECOND;
                println!(
                    "  {} {} {millis} ms",
                    span.span_id.to_hex(),
                    span.name.unwrap_or_default()
                );
                for (key, value) in span.attributes {
                    println!("    {key} = {value}");
                }
            }
        }
    }
    Ok(())
}

/// One batch of one trace. Strings are interned: columns have their codes, and 0 is the empty one.
fn checkout() -> SpanBatch {
    let spans = [
        Span { id: 1, parent: 0, service: 0, name: "GET /cart", millis: 250, status: 0 },
        Span { id: 2, parent: 1, service: 1, name: "load cart", millis: 180, status: ERROR },
        Span { id: 3, parent: 1, service: 0, name: "render", millis: 20, status: 0 },
    ];
    let mut strings = DictionaryBuilder::default();
    let mut batch = SpanBatch::default();
    let key = strings.intern(b"service.name");
    for service in ["shop", "cart"] {
        let payload = u64::from(strings.intern(service.as_bytes()));
        let attribute = Attribute { key, value_type: ValueType::String, payload };
        batch.resources.attributes.push(attribute);
        batch.resources.attributes.end_owner();
        batch.resources.dropped_attributes.push(0);
    }
    batch.scopes.name.push(0);
    batch.scopes.version.push(0);
    batch.scopes.attributes.end_owner();
    batch.scopes.dropped_attributes.push(0);
    batch.traces.ids.push(TraceId(1_u128.to_be_bytes()));
    for (span, offset) in spans.iter().zip(0..) {
        let columns = &mut batch.spans;
        columns.trace.push(0);
        columns.resource.push(span.service);
        columns.scope.push(0);
        columns.span_id.push(SpanId(u64::from(span.id).to_be_bytes()));
        columns.parent_span_id.push(SpanId(u64::from(span.parent).to_be_bytes()));
        columns.start.push(1_700_000_000_000_000_000 + offset * 10 * MILLISECOND);
        columns.duration.push(span.millis * MILLISECOND);
        columns.name.push(strings.intern(span.name.as_bytes()));
        columns.kind.push(SERVER);
        columns.status.push(span.status);
        columns.status_message.push(0);
        columns.trace_state.push(0);
        batch.span_attributes.end_owner();
    }
    batch.strings = strings.finish();
    batch
}
