//! Files of OTLP/JSON that are uploaded to be looked at.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use tactus_model::TraceId;
use tactus_otlp_json::{JsonError, decode_export_request};
use tactus_proto::otlp::{ResourceSpans, ScopeSpans};

/// The traces of a file, in the order of their first spans; spans without a trace id are left out.
///
/// The file is what [`decode_export_request`] reads, and so are the errors.
pub fn traces_of_upload(json: &[u8]) -> Result<Vec<(TraceId, Vec<ResourceSpans>)>, JsonError> {
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<(TraceId, Vec<ResourceSpans>)> = Vec::new();
    for resource in decode_export_request(json)?.resource_spans {
        let mut parts: HashMap<TraceId, ResourceSpans> = HashMap::new();
        for scope in resource.scope_spans {
            for span in scope.spans {
                let id = TraceId::from_slice(&span.trace_id);
                if id.is_zero() {
                    continue;
                }
                let part = parts.entry(id).or_insert_with(|| ResourceSpans {
                    resource: resource.resource.clone(),
                    schema_url: resource.schema_url.clone(),
                    ..ResourceSpans::default()
                });
                places.entry(id).or_insert_with(|| {
                    traces.push((id, Vec::new()));
                    traces.len() - 1
                });
                match part.scope_spans.last_mut() {
                    Some(last) if last.scope == scope.scope => last.spans.push(span),
                    _ => part.scope_spans.push(ScopeSpans {
                        scope: scope.scope.clone(),
                        spans: vec![span],
                        schema_url: scope.schema_url.clone(),
                    }),
                }
            }
        }
        for (id, part) in parts {
            let trace = places.get(&id).and_then(|&place| traces.get_mut(place));
            if let Some((_, trace)) = trace {
                trace.push(part);
            }
        }
    }
    Ok(traces)
}
