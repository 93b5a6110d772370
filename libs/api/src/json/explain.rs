//! The explanation of a query: our own format, in which numbers are plain numbers and nothing is left out.

use jiff::Timestamp;
use tactus_proto::tactus::v1::JobExplanation;

use super::{JsonWriter, write_text};
use crate::explain::{ExplainedWindow, Explanation, Plan, PlannedStage, Totals};

/// Writes an explanation as one object.
pub(super) fn write_explanation(json: &mut JsonWriter, explanation: &Explanation) {
    json.begin_object();
    json.key("query").string(explanation.query.as_bytes());
    json.key("plan");
    write_plan(json, &explanation.plan);
    json.key("window");
    write_window(json, &explanation.window);
    json.key("limits").begin_object();
    explanation.limits.iter().for_each(|(name, value)| number(json, name, *value));
    json.end_object();
    json.key("totals").begin_object();
    number(json, "jobs", explanation.jobs.0.into());
    number(json, "completedJobs", explanation.jobs.1.into());
    number(json, "blocks", explanation.blocks.into());
    let skipped = explanation.skipped_blocks.iter();
    write_counts(
        json,
        "skippedBlocks",
        skipped.map(|(reason, blocks)| (*reason, (*blocks).into())),
    );
    write_work(json, &Totals::of(&explanation.explanations));
    json.end_object();
    json.key("jobs").list(&explanation.explanations, write_job);
    json.end_object();
}

fn write_plan(json: &mut JsonWriter, plan: &Plan) {
    json.begin_object();
    json.key("readsWholeTraces").bool(plan.reads_whole_traces);
    json.key("stages").list(&plan.stages, write_stage);
    json.end_object();
}

fn write_stage(json: &mut JsonWriter, stage: &PlannedStage) {
    json.begin_object();
    json.key("stage").string(stage.stage.as_bytes());
    if let Some(leaf) = stage.leaf {
        number(json, "function", leaf as u64);
    }
    json.key("text").string(stage.text.as_bytes());
    json.list_field("pushedDown", &stage.pushed_down, write_text);
    json.list_field("spanBySpan", &stage.span_by_span, write_text);
    json.end_object();
}

fn write_window(json: &mut JsonWriter, window: &ExplainedWindow) {
    json.begin_object();
    write_time(json, "start", window.start);
    write_time(json, "end", window.end);
    if let Some((step, intervals)) = window.steps {
        json.key("stepSeconds").double(step as f64 / 1e9);
        number(json, "intervals", intervals as u64);
    }
    json.end_object();
}

fn write_time(json: &mut JsonWriter, name: &str, unix_nanos: u64) {
    json.key(name);
    match Timestamp::from_nanosecond(unix_nanos.into()) {
        Ok(time) => json.string(time.to_string().as_bytes()),
        Err(_) => json.wide(unix_nanos),
    }
}

fn write_job(json: &mut JsonWriter, job: &JobExplanation) {
    json.begin_object();
    json.key("source").string(job.source.as_bytes());
    write_work(json, &Totals::of([job]));
    json.list_field("filterColumns", &job.filter_columns, write_text);
    json.list_field("resultColumns", &job.result_columns, write_text);
    json.end_object();
}

fn write_work(json: &mut JsonWriter, work: &Totals) {
    number(json, "parts", work.parts);
    let pruned = work.pruned.iter();
    write_counts(json, "pruned", pruned.map(|(reason, parts)| (reason.as_str(), *parts)));
    number(json, "readBytes", work.read_bytes);
    number(json, "decodedBytes", work.decoded_bytes);
    number(json, "cachedBytes", work.cached_bytes);
    number(json, "sharedCacheBytes", work.shared_cache_bytes);
    number(json, "inspectedSpans", work.inspected_spans);
    number(json, "matchedSpans", work.matched_spans);
    json.key("seconds").begin_object();
    for (phase, nanos) in &work.phases {
        json.data_key(phase.as_bytes()).double(*nanos as f64 / 1e9);
    }
    json.end_object();
}

fn write_counts<'c>(
    json: &mut JsonWriter,
    name: &str,
    counts: impl Iterator<Item = (&'c str, u64)>,
) {
    json.key(name).begin_object();
    for (reason, count) in counts {
        json.data_key(reason.as_bytes()).integer(count);
    }
    json.end_object();
}

fn number(json: &mut JsonWriter, name: &str, value: u64) {
    json.key(name).integer(value);
}
