//! `trace`, `query` and `api` send requests of the query API, which a bucket or a server answers, and show the answers.

mod series;
mod waterfall;

use std::io::Write as _;

use form_urlencoded::Serializer;
use tactus_model::TraceId;
use tactus_storage::{BlockMeta, Bucket};

use crate::answers::{self, Search};
use crate::arguments::{self, Api, Interval, Most, TraceQl};
use crate::bucket::{self, Blocks};
use crate::client::{Answer, Client};
use crate::error::{Error, Result};
use crate::offline::Engine;
use crate::output::{Output, Table, format};
use crate::progress;

/// The kind of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Trace,
    Search,
    Metrics,
}

/// `trace`.
pub(super) async fn trace(
    bucket: Bucket,
    command: &arguments::Trace,
    output: &Output,
) -> Result<()> {
    let id = parse_id(&command.trace_id)?;
    let answer = ask(bucket, &command.tenant, |_| trace_path(id)).await?;
    show(&answer, Form::Trace, output)
}

/// `query`.
pub(super) async fn query(
    bucket: Bucket,
    command: &arguments::Query,
    output: &Output,
) -> Result<()> {
    let root = tactus_traceql::parse(&command.query.text)
        .map_err(|error| Error::Usage(format!("TraceQL: {error}")))?;
    let form = if root.metrics().is_some() { Form::Metrics } else { Form::Search };
    let path = |blocks: &Blocks| {
        let text = command.query.text.clone();
        let query = &TraceQl { text, ..whole_range(&command.query, blocks, form) };
        match form {
            Form::Metrics => metrics_path(query, &command.interval, command.explain),
            _ => search_path(query, &command.most, command.explain),
        }
    };
    let answer = ask(bucket, &command.tenant, path).await?;
    show(&answer, form, output)
}

/// `api`: as `trace` and `query`, but a server answers.
pub(super) async fn api(command: Api, output: &Output) -> Result<()> {
    let (server, path, form) = match &command {
        Api::Trace { server, trace_id } => (server, trace_path(parse_id(trace_id)?), Form::Trace),
        Api::Search { server, query, most } => {
            (server, search_path(query, most, false), Form::Search)
        }
        Api::Metrics { server, query, interval } => {
            (server, metrics_path(query, interval, false), Form::Metrics)
        }
    };
    let client = Client::new(server)?;
    let spinner = progress::spinner("waiting for the server");
    let answer = client.get(&path).await;
    spinner.finish_and_clear();
    show(&answer?, form, output)
}

async fn ask(bucket: Bucket, tenant: &str, path: impl FnOnce(&Blocks) -> String) -> Result<Answer> {
    let blocks = bucket::blocks(&bucket, tenant).await?;
    let path = path(&blocks);
    let spinner = progress::spinner("reading blocks");
    let mut answer = Engine::new(bucket, tenant, &blocks).get(&path).await?;
    spinner.finish_and_clear();
    let reasons: Vec<_> = answer.incomplete.into_iter().chain(unread(&blocks)).collect();
    answer.incomplete = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(answer)
}

/// What the query engine does not know of, and leaves out.
fn unread(blocks: &Blocks) -> impl Iterator<Item = String> + use<> {
    let metas = (blocks.unread > 0).then(|| "the meta of some blocks could not be read".to_owned());
    let others = blocks.live.iter().filter(|meta| meta.version().is_err()).count();
    let versions = (others > 0).then(|| {
        let count = format::counted(others, "block");
        format!("{count} set aside or of a version that is not read (see blocks)")
    });
    [metas, versions].into_iter().flatten()
}

/// The query with the range of all blocks if it has none of its own. Spans may lie outside of the range that the meta of
/// their block says, so a search takes all times up to now. The series of a metrics query would become too long.
fn whole_range(query: &TraceQl, blocks: &Blocks, form: Form) -> TraceQl {
    /// The last second that the API takes.
    const LAST: i64 = u32::MAX as i64;
    let seconds = |of: fn(&BlockMeta) -> i64| blocks.live.iter().map(move |meta| of(meta));
    let (mut start, mut end) = (query.start.clone(), query.end.clone());
    if query.since.is_none() {
        let mut first = seconds(BlockMeta::start_unix_seconds).min().unwrap_or(0);
        let mut last = seconds(BlockMeta::end_unix_seconds).max().unwrap_or(0);
        if form == Form::Search {
            (first, last) = (1, last.max(tactus_clock::unix_seconds()));
        }
        let first = first.clamp(1, LAST - 1);
        let last = last.clamp(first, LAST - 1) + 1;
        start = start.or_else(|| Some(first.to_string()));
        end = end.or_else(|| Some(last.to_string()));
    }
    TraceQl { text: String::new(), since: query.since.clone(), start, end }
}

/// The request for a trace.
fn trace_path(id: TraceId) -> String {
    format!("/api/v2/traces/{}", id.to_hex())
}

/// The request for a search.
fn search_path(query: &TraceQl, most: &Most, explain: bool) -> String {
    let mut parameters = range(query, explain);
    if query.start.is_some() && query.end.is_none() {
        // A search wants both.
        parameters
            .append_pair("end", &(tactus_clock::unix_nanos() / 1_000_000_000 + 1).to_string());
    }
    parameters.append_pair("limit", &most.limit.to_string());
    format!("/api/search?{}", parameters.finish())
}

/// The request for the series of a metrics query.
fn metrics_path(query: &TraceQl, interval: &Interval, explain: bool) -> String {
    let mut parameters = range(query, explain);
    if let Some(step) = &interval.step {
        parameters.append_pair("step", step);
    }
    format!("/api/metrics/query_range?{}", parameters.finish())
}

fn range(query: &TraceQl, explain: bool) -> Serializer<'static, String> {
    let mut parameters = Serializer::new(String::new());
    parameters.append_pair("q", &query.text);
    for (name, value) in [("since", &query.since), ("start", &query.start), ("end", &query.end)] {
        if let Some(value) = value {
            parameters.append_pair(name, value);
        }
    }
    if explain {
        parameters.append_pair("explain", "true");
    }
    parameters
}

/// Shows an answer. With `--json` it is not changed, and a warning goes to standard error.
fn show(answer: &Answer, form: Form, output: &Output) -> Result<()> {
    if form == Form::Trace {
        // The API answers 200 with no spans.
        let trace = answers::Trace::parse(&answer.body)?;
        if trace.spans.is_empty() {
            let text = match &answer.incomplete {
                Some(reason) => {
                    format!("the trace was not found, but not everything was read: {reason}")
                }
                None => "there is no such trace".to_owned(),
            };
            return Err(Error::NotFound(text));
        }
        if !output.json {
            return output.text(&(waterfall::render(&trace, output) + &warning(answer)));
        }
    }
    if output.json {
        // If this fails, nothing else can be said.
        let _ = std::io::stderr().write_all(warning(answer).as_bytes());
        return output.raw_json(&answer.body);
    }
    let text = match form {
        Form::Metrics => series::render(&answers::parse(&answer.body)?, output),
        _ => render(&answers::parse(&answer.body)?),
    };
    output.text(&(text + &warning(answer)))
}

fn warning(answer: &Answer) -> String {
    let line = |reason: &String| format!("incomplete: {}\n", format::clean(reason));
    answer.incomplete.as_ref().map(line).unwrap_or_default()
}

/// The id of a trace on the command line.
pub(super) fn parse_id(text: &str) -> Result<TraceId> {
    TraceId::from_hex(text)
        .ok_or_else(|| Error::Usage(format!("{text:?} is no trace id: 1 to 32 hexadecimal digits")))
}

/// Most columns of a name.
const NAME_WIDTH: usize = 40;

/// The traces in the order of the answer.
fn render(answer: &Search) -> String {
    let name = |text: &str| format::cut(&format::clean(text), NAME_WIDTH);
    let lines = Table::of(&answer.traces)
        .left("TRACE", |trace| format!("{:0>32}", format::clean(&trace.trace_id)))
        .left("START", |trace| format::time_of_nanos(trace.start_time_unix_nano))
        .right("DURATION", |trace| format::nanos(trace.duration_ms.saturating_mul(1_000_000)))
        .right("MATCHED", |trace| {
            trace.span_sets.iter().map(|set| set.matched).sum::<u64>().to_string()
        })
        .left("SERVICE", |trace| name(&trace.root_service_name))
        .left("ROOT", |trace| name(&trace.root_trace_name))
        .render();
    let count = format::counted(answer.traces.len(), "trace");
    let mut text = format!("{lines}{count}\n");
    if let Some(explanation) = &answer.explain {
        text.push_str(&format!("{explanation:#}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tactus_storage::Timestamp;

    use super::*;
    use crate::answers::parse;

    #[test]
    fn query_without_a_range_is_about_all_blocks() {
        let time = |seconds| Timestamp::from_second(seconds).unwrap();
        let block = |start, end| {
            let (start_time, end_time) = (time(start), time(end));
            Arc::new(BlockMeta { start_time, end_time, ..BlockMeta::default() })
        };
        let query = TraceQl { text: String::new(), since: None, start: None, end: None };
        let range = |end, form| {
            let live = vec![block(1_000, 2_000), block(1_500, end)];
            let whole = whole_range(&query, &Blocks { live, ..Blocks::default() }, form);
            (whole.start.unwrap(), whole.end.unwrap())
        };
        let text = |start: &str, end: &str| (start.to_owned(), end.to_owned());
        assert_eq!(range(2_500, Form::Metrics), text("1000", "2501"));
        assert_eq!(range(7_000_000_000, Form::Metrics), text("1000", "4294967295"));
        assert_eq!(range(7_000_000_000, Form::Search), text("1", "4294967295"));
        let (start, end) = range(2_500, Form::Search);
        assert!(start == "1" && end.parse::<i64>().unwrap() > 1_700_000_000, "{end}");
    }

    #[test]
    fn blocks_of_versions_that_are_not_read_make_an_answer_incomplete() {
        let block = |format: &str| {
            Arc::new(BlockMeta { format: format.to_owned(), ..BlockMeta::default() })
        };
        let text = |live, unread| {
            let blocks = Blocks { live, unread, ..Blocks::default() };
            super::unread(&blocks).collect::<Vec<_>>()
        };
        assert!(text(vec![block("vParquet4")], 0).is_empty());
        let told = text(vec![block("v2"), block("vParquet4"), block("vParquet2")], 1);
        assert!(
            told[0].contains("meta") && told[1].starts_with("2 blocks set aside or"),
            "{told:?}"
        );
    }

    #[test]
    fn reason_of_a_partial_answer_has_no_control_characters() {
        let incomplete = Some("\u{1b}[2Jgone\n".to_owned());
        let answer = Answer { body: bytes::Bytes::new(), incomplete };
        assert_eq!(warning(&answer), "incomplete: \\u{1b}[2Jgone\\n\n");
    }

    #[test]
    fn traces_are_shown_with_whole_ids() {
        let body = r#"{"traces":[
            {"traceID":"463ac35c9f6413ad","rootServiceName":"web","rootTraceName":"ro\u001bot",
             "startTimeUnixNano":"1700000005000000000","durationMs":400,
             "spanSet":{"matched":3},"spanSets":[{"matched":3},{"matched":1}]},
            {"traceID":"ff"}],"metrics":{}}"#;
        assert_eq!(
            render(&parse(body.as_bytes()).unwrap()),
            concat!(
                "TRACE                             START                 DURATION  MATCHED  SERVICE  ROOT\n",
                "0000000000000000463ac35c9f6413ad  2023-11-14T22:13:25Z     400ms        4  web      ro\\u{1b}ot\n",
                "000000000000000000000000000000ff  1970-01-01T00:00:00Z       0ns        0\n",
                "2 traces\n"
            )
        );
    }
}
