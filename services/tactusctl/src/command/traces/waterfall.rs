//! A trace as a tree of spans with bars in time.

mod tree;

use tactus_proto::otlp::status::StatusCode;

use crate::answers::{Span, Trace};
use crate::output::{Output, format};
use tree::{Line, lines};

const SERVICE_WIDTH: usize = 24;
const LEAST_NAME_WIDTH: usize = 16;
/// Share of the width for the tree with the names of spans, in percent.
const NAME_SHARE_PERCENT: usize = 40;
const DURATION_WIDTH: usize = 9;
const LEAST_BAR_WIDTH: usize = 10;
/// Most columns of a status message.
const MESSAGE_WIDTH: usize = 60;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const PLAIN: &str = "\u{1b}[0m";

/// One line for each span of a trace. Parents come before children, and siblings are sorted by start.
///
/// An error is marked with `✗`, a span whose parent is missing with `?`.
pub(super) fn render(trace: &Trace, output: &Output) -> String {
    let start = trace.spans.iter().map(|span| span.start).min().unwrap_or(0);
    let end = trace.spans.iter().map(|span| span.end).max().unwrap_or(0);
    let lines = lines(&trace.spans);
    let service_width = trace.services.iter().map(|name| format::width(&format::clean(name)));
    let service_width = service_width.max().unwrap_or(0).clamp("SERVICE".len(), SERVICE_WIDTH);
    let names: Vec<_> = lines.iter().map(|line| name(line, &trace.spans[line.span])).collect();
    let most = (output.width * NAME_SHARE_PERCENT / 100).max(LEAST_NAME_WIDTH);
    let name_width = names.iter().map(|name| format::width(name)).max().unwrap_or(0);
    let name_width = name_width.clamp("SPAN".len(), most);
    let taken = 2 + service_width + 2 + name_width + 2 + DURATION_WIDTH + 2;
    let bar_width = output.width.saturating_sub(taken).max(LEAST_BAR_WIDTH);

    let mut text = heading(trace, start, end);
    text.push_str(&format!(
        "  {}  {}  {:>DURATION_WIDTH$}\n",
        format::pad("SERVICE", service_width),
        format::pad("SPAN", name_width),
        "DURATION"
    ));
    for (line, name) in lines.iter().zip(names) {
        let span = &trace.spans[line.span];
        let service = format::cut(&format::clean(&trace.services[span.service]), service_width);
        let mark = if span.status == StatusCode::Error {
            "✗"
        } else if line.orphan {
            "?"
        } else {
            " "
        };
        let colour = match span.status {
            _ if !output.colour => "",
            StatusCode::Error => RED,
            StatusCode::Ok => GREEN,
            StatusCode::Unset => "",
        };
        let bar = bar((span.start, span.end), (start, end), bar_width);
        let row = format!(
            "{mark} {}  {}  {:>DURATION_WIDTH$}  {bar}",
            format::pad(&service, service_width),
            format::pad(&format::cut(&name, name_width), name_width),
            format::nanos(span.end - span.start),
        );
        let plain = if colour.is_empty() { "" } else { PLAIN };
        text.push_str(&format!("{colour}{}{plain}\n", row.trim_end()));
    }
    text
}

fn heading(trace: &Trace, start: u64, end: u64) -> String {
    let errors = trace.spans.iter().filter(|span| span.status == StatusCode::Error).count();
    let mut text = format!(
        "trace {}\n{}  {}  spans: {}  services: {}  errors: {errors}\n\n",
        trace.id.to_hex(),
        format::time_of_nanos(start),
        format::nanos(end - start),
        trace.spans.len(),
        trace.services.len(),
    );
    if let Some(failed) = trace.spans.iter().find(|span| !span.message.is_empty()) {
        let message = format::cut(&format::clean(&failed.message), MESSAGE_WIDTH);
        text.truncate(text.trim_end().len());
        text.push_str(&format!("  first message: {message}\n\n"));
    }
    text
}

fn name(line: &Line, span: &Span) -> String {
    format!("{}{}", line.branches, format::clean(&span.name))
}

/// A bar of at least one column where the span lies within the trace.
fn bar((start, end): (u64, u64), (first, last): (u64, u64), width: usize) -> String {
    let length = u128::from(last - first).max(1);
    let column = |time: u64| (u128::from(time - first) * width as u128 / length) as usize;
    let from = column(start).min(width - 1);
    let to = column(end).clamp(from + 1, width);
    format!("{}{}", " ".repeat(from), "█".repeat(to - from))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn body() -> String {
        let id = |byte: u8| STANDARD.encode([0, 0, 0, 0, 0, 0, 0, byte]);
        let trace = STANDARD.encode([7; 16]);
        let span = |own: u8, parent: u8, name: &str, from: u64, to: u64, more: &str| {
            let base = 1_700_000_000_000_000_000;
            let parent = if parent == 0 {
                String::new()
            } else {
                format!(r#""parentSpanId":"{}","#, id(parent))
            };
            format!(
                r#"{{"traceId":"{trace}","spanId":"{}",{parent}"name":"{name}","startTimeUnixNano":"{}","endTimeUnixNano":"{}"{more}}}"#,
                id(own),
                base + from * 1_000_000,
                base + to * 1_000_000
            )
        };
        let error = r#","status":{"code":"STATUS_CODE_ERROR","message":"boom"}"#;
        let group = |service: &str, spans: &[String]| {
            format!(
                r#"{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}"#,
                spans.join(",")
            )
        };
        let shop = [
            span(1, 0, "GET /api", 0, 100, r#","status":{"code":"STATUS_CODE_OK"}"#),
            span(3, 1, "later", 60, 90, ""),
            span(2, 1, "sooner", 10, 50, ""),
            span(9, 8, "lost", 95, 96, ""),
        ];
        let db = [span(4, 2, "SELECT \\u001b[2J", 20, 40, error)];
        format!(
            r#"{{"trace":{{"resourceSpans":[{},{}]}}}}"#,
            group("shop", &shop),
            group("db", &db)
        )
    }

    #[test]
    fn trace_is_drawn_as_a_tree_in_time() {
        let trace = Trace::parse(body().as_bytes()).unwrap();
        let output = Output { json: false, colour: false, width: 80 };
        assert_eq!(
            render(&trace, &output),
            concat!(
                "trace 07070707070707070707070707070707\n",
                "2023-11-14T22:13:20Z  100ms  spans: 5  services: 2  errors: 1  first message: boom\n\n",
                "  SERVICE  SPAN                     DURATION\n",
                "  shop     GET /api                    100ms  ██████████████████████████████████\n",
                "  shop     ├─ sooner                    40ms     ██████████████\n",
                "✗ db       │  └─ SELECT \\u{1b}[2J       20ms        ███████\n",
                "  shop     └─ later                     30ms                      ██████████\n",
                "? shop     lost                          1ms                                  █\n",
            )
        );
    }

    #[test]
    fn status_has_a_colour_on_a_terminal_only() {
        let trace = Trace::parse(body().as_bytes()).unwrap();
        let text = render(&trace, &Output { json: false, colour: true, width: 80 });
        assert!(
            text.lines().any(|line| line.starts_with("\u{1b}[31m✗ db") && line.ends_with(PLAIN))
        );
        assert!(text.lines().any(|line| line.starts_with("\u{1b}[32m  shop")));
        assert_eq!(text.matches('\u{1b}').count(), 4, "the name's own escape is not shown");
    }

    #[test]
    fn bars_lie_within_their_room() {
        assert_eq!(bar((0, 0), (0, 0), 4), "█");
        assert_eq!(bar((9, 10), (0, 10), 4), "   █");
        assert_eq!(bar((10, 10), (0, 10), 4), "   █");
        assert_eq!(bar((0, u64::MAX), (0, u64::MAX), 4), "████");
    }
}
