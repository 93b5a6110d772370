//! What traces of an operation are usually like: how often each call is made, and how long it takes.

mod paths;

use axum::extract::Extension;
use tactus_api::Error;
use tactus_api::request::{metrics_range, parse_trace_id};
use tactus_config::sections::query_apis::TraceLookups;

use super::skeleton::Skeleton;
use crate::http::{Answer, Answered, Asked};
use crate::offload::offload;
use crate::query_log;
use crate::trace_by_id::{FoundTrace, malformed};
use crate::trace_lookup::{FoundId, TraceLookup, quoted};
use paths::Paths;

/// Traces that are looked at.
const SAMPLED: u32 = 200;
/// Bytes of these; the newest come first.
const SAMPLED_BYTES: u64 = 64 << 20;
/// Traces that are read at a time.
const AT_A_TIME: usize = 8;

/// What is looked at for a reader who has not asked for it: enough for a middle, and next to nothing of the machine.
const FEW: u32 = 30;
const FEW_BYTES: u64 = 4 << 20;
const FEW_AT_A_TIME: usize = 2;

/// Answers of more times are put together away from the threads that serve connections.
const INLINE_TIMES: usize = 2_000;

/// `?service=&operation=`, optionally `start` and `end` as a metrics query has them, `without`, the id of a trace to leave out,
/// and `few=true` to look at few traces only.
///
/// `{traces, inspectedBytes, duration: {p50, p95}, paths}`: of the newest traces that begin with this operation. Of each path of calls its
/// `parent` (a number in the list, or null), `service` and `name`; `traces`, the number of those that have it; `calls` and
/// `errors` of all of them; and of those that have it `p50` and `p95` of its time a trace and `selfP50` of its own time, in
/// nanoseconds.
pub(super) async fn typical(Extension(call): Asked) -> Answered {
    let params = call.params();
    // Either may be empty: there are spans without a name, and resources without that of a service.
    let given = |name| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let Some(operation) = given("operation") else {
        return Err(Error::Invalid("operation: the name of root spans".to_owned()).into());
    };
    let mut conditions = format!("nestedSetParent < 0 && name = {}", quoted(operation));
    conditions += &match given("service") {
        None => String::new(),
        Some("") => " && !(resource.service.name =~ `.+`)".to_owned(),
        Some(service) => format!(" && resource.service.name = {}", quoted(service)),
    };
    let (start, end) = metrics_range(&params, tactus_clock::unix_nanos())?;
    let without = params.get("without").map(parse_trace_id).transpose()?;
    let (sampled, max_answer_bytes, concurrent_traces) = match params.get("few") {
        Some("true") => (FEW, FEW_BYTES, FEW_AT_A_TIME),
        _ => (SAMPLED, SAMPLED_BYTES, AT_A_TIME),
    };
    let most = match call.frontend.settings.section.search.max_result_limit {
        0 => sampled,
        most => most.min(sampled),
    };
    let lookup = TraceLookup { query: format!("{{ {conditions} }}"), limit: most, start, end };
    let found = call.frontend.find_trace_ids(&call.tenants, &lookup).await?;
    let others = found.traces.iter().filter(|trace| Some(trace.id) != without);
    let others: Vec<FoundId> = others.copied().collect();
    let settings = TraceLookups { concurrent_traces, max_answer_bytes };
    let asked = query_log::Asked::new(lookup.query).within(start, end);
    let mut paths = Paths::default();
    let skeleton = |found: &FoundTrace| Skeleton::of(&found.trace).map_err(malformed);
    let add = |trace: Skeleton| paths.add(&trace);
    let visited =
        call.frontend.visit_heads(&call.tenants, &others, &settings, asked, skeleton, add).await?;
    let inspected_bytes = found.inspected_bytes.saturating_add(visited.inspected_bytes);
    let is_long = paths.size() > INLINE_TIMES;
    let json = offload(is_long, move || paths.into_json(inspected_bytes)).await?;
    Ok(Answer::json(&json).partial(visited.partial || found.partial))
}
