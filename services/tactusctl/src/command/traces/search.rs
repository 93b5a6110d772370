//! Traces found, as a table.

use super::answers::Search;
use crate::output::{Table, format};

/// Columns of a name at most.
const NAME_WIDTH: usize = 40;

/// The traces in the order of the answer.
pub(super) fn render(answer: &Search) -> String {
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
    let mut text = format!("{lines}{} traces\n", answer.traces.len());
    if let Some(explanation) = &answer.explain {
        text.push_str(&format!("{explanation:#}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::traces::answers::parse;

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
