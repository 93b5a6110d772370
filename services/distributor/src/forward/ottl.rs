//! What to tell operators whose conditions are OTTL, as files made for Tempo have them.

use crate::span_filter::SpanFilter;

/// What to write in place of a condition that is no TraceQL filter; `None` for what may be one.
pub(super) fn advice(condition: &str) -> Option<String> {
    let condition = condition.trim();
    if condition.starts_with('{') {
        return None;
    }
    let filter = format!("{{ {} }}", in_traceql(condition));
    let example = match SpanFilter::compile(&filter) {
        Ok(_) => format!("write {filter} instead"),
        Err(_) => "write as { span.http.target = \"/healthz\" }".to_owned(),
    };
    Some(format!("{condition:?} is no TraceQL filter (OTTL is not known here): {example}"))
}

/// The simplest of OTTL said in TraceQL.
fn in_traceql(condition: &str) -> String {
    let mut text = condition.to_owned();
    for (from, to) in [
        ("resource.attributes[\"", "resource."),
        ("span.attributes[\"", "span."),
        ("attributes[\"", "span."),
        ("\"]", ""),
        ("==", "="),
        (" and ", " && "),
        (" or ", " || "),
    ] {
        text = text.replace(from, to);
    }
    text
}
