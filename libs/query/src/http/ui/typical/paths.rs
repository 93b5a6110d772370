//! Combines the calls of many traces in one tree, in which the same call of the same caller is one node.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::http::ui::layout::NO_PARENT;
use crate::http::ui::skeleton::{Row, Skeleton};

/// Most paths. Calls on other paths are left out, with everything below them.
const MAX_PATHS: usize = 5_000;

/// What was seen of each path.
#[derive(Debug, Default)]
pub(super) struct Paths {
    all: Vec<Path>,
    /// By caller, service and name.
    by_caller: HashMap<(u32, u32, u32), u32>,
    /// Services and names by number.
    texts: HashMap<String, u32>,
    /// From the first start to the last end of each trace.
    extents: Vec<u64>,
}

#[derive(Debug)]
struct Path {
    parent: u32,
    service: String,
    name: String,
    calls: u64,
    errors: u64,
    /// Of each trace that has it, in nanoseconds.
    totals: Vec<u64>,
    selfs: Vec<u64>,
    /// The trace that is added now, as its last entry.
    trace: usize,
}

impl Paths {
    /// Adds a trace.
    pub(super) fn add(&mut self, trace: &Skeleton) {
        let rows: Vec<Row<'_>> = trace.rows().collect();
        let Some(first) = rows.iter().map(|row| row.span.start).min() else { return };
        let last = rows.iter().map(|row| row.span.end.max(row.span.start)).max();
        self.extents.push(last.unwrap_or(first) - first);
        let own_times = own_times(&rows);
        let mut path_of_row: Vec<u32> = Vec::with_capacity(rows.len());
        // A trace makes the same call many times: of its texts only the numbers are looked at again.
        let mut known: HashMap<(u32, u32, u32), u32> = HashMap::new();
        for (row, &own) in rows.iter().zip(&own_times) {
            let Row { span, service_number, parent, .. } = *row;
            let caller = match parent {
                NO_PARENT => Some(NO_PARENT),
                row => path_of_row.get(row as usize).copied().filter(|&path| path != NO_PARENT),
            };
            let path = caller.and_then(|caller| {
                let key = (caller, service_number, span.name);
                known.get(&key).copied().or_else(|| {
                    let path = self.path(caller, row.service, row.name)?;
                    known.insert(key, path);
                    Some(path)
                })
            });
            path_of_row.push(path.unwrap_or(NO_PARENT));
            let Some(path) = path else { continue };
            let time = span.end.saturating_sub(span.start);
            self.all[path as usize].add(self.extents.len(), time, own, span.is_error());
        }
    }

    fn path(&mut self, parent: u32, service: &str, name: &str) -> Option<u32> {
        if self.all.len() >= MAX_PATHS {
            let key = (parent, *self.texts.get(service)?, *self.texts.get(name)?);
            return self.by_caller.get(&key).copied();
        }
        let key = (parent, self.number(service), self.number(name));
        if let Some(&known) = self.by_caller.get(&key) {
            return Some(known);
        }
        let number = self.all.len() as u32;
        self.all.push(Path {
            parent,
            service: service.to_owned(),
            name: name.to_owned(),
            calls: 0,
            errors: 0,
            totals: Vec::new(),
            selfs: Vec::new(),
            trace: 0,
        });
        self.by_caller.insert(key, number);
        Some(number)
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.texts.get(text) {
            return known;
        }
        let number = self.texts.len() as u32;
        self.texts.insert(text.to_owned(), number);
        number
    }

    /// Times that the answer is made of.
    pub(super) fn size(&self) -> usize {
        self.all.iter().map(|path| path.totals.len()).sum()
    }

    /// The answer; callers come before what they call.
    pub(super) fn into_json(mut self, inspected_bytes: u64) -> Value {
        let paths = self.all.iter_mut().map(|path| {
            let parent = (path.parent != NO_PARENT).then_some(path.parent);
            json!({
                "parent": parent,
                "service": path.service,
                "name": path.name,
                "traces": path.totals.len(),
                "calls": path.calls,
                "errors": path.errors,
                "p50": quantile(&mut path.totals, 50),
                "p95": quantile(&mut path.totals, 95),
                "selfP50": quantile(&mut path.selfs, 50),
            })
        });
        let paths: Vec<Value> = paths.collect();
        let duration = json!({
            "p50": quantile(&mut self.extents, 50),
            "p95": quantile(&mut self.extents, 95),
        });
        json!({
            "traces": self.extents.len(),
            "inspectedBytes": inspected_bytes,
            "duration": duration,
            "paths": paths,
        })
    }
}

impl Path {
    /// `trace`: its number, from 1.
    fn add(&mut self, trace: usize, time: u64, own: u64, is_error: bool) {
        self.calls += 1;
        self.errors += u64::from(is_error);
        if std::mem::replace(&mut self.trace, trace) != trace {
            self.totals.push(0);
            self.selfs.push(0);
        }
        for (times, more) in [(&mut self.totals, time), (&mut self.selfs, own)] {
            if let Some(last) = times.last_mut() {
                *last = last.saturating_add(more);
            }
        }
    }
}

/// Time of each span in which none of its children ran. Children are ordered by start, so each part that they cover is
/// seen once.
fn own_times(rows: &[Row<'_>]) -> Vec<u64> {
    let mut own: Vec<u64> =
        rows.iter().map(|row| row.span.end.saturating_sub(row.span.start)).collect();
    let mut covered_to: Vec<u64> = rows.iter().map(|row| row.span.start).collect();
    for &Row { span, parent, .. } in rows {
        let above = parent as usize;
        let Some(parent) = rows.get(above) else { continue };
        let (from, to) = (span.start.max(covered_to[above]), span.end.min(parent.span.end));
        if to > from {
            own[above] = own[above].saturating_sub(to - from);
            covered_to[above] = to;
        }
    }
    own
}

/// The value that so many percent are not above; 0 of none.
fn quantile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost::Message as _;
    use tactus_api::trace::{SharedIds, TraceCombiner, WhenTooLarge};
    use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
    use tactus_proto::otlp::{ResourceSpans, ScopeSpans, Span, Status};

    fn span(id: u8, parent: u8, name: &'static str, start: u64, end: u64, code: i32) -> Span {
        let id_of = |id: u8| Bytes::copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, id]);
        Span {
            trace_id: Bytes::from_static(&[1; 16]),
            span_id: id_of(id),
            parent_span_id: if parent == 0 { Bytes::new() } else { id_of(parent) },
            name: Bytes::from_static(name.as_bytes()),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            status: Some(Status { code, ..Status::default() }),
            ..Span::default()
        }
    }

    fn skeleton(spans: Vec<Span>) -> Skeleton {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let mut combiner = TraceCombiner::new(0, WhenTooLarge::Cut);
        combiner.add(&TracesData { resource_spans }.encode_to_vec().into()).unwrap();
        Skeleton::of(&combiner.finish(SharedIds::Separated)).unwrap()
    }

    #[test]
    fn same_call_of_the_same_caller_is_one_path_of_all_traces() {
        let mut paths = Paths::default();
        paths.add(&skeleton(vec![
            span(1, 0, "root", 100, 200, 0),
            span(2, 1, "call", 110, 130, 0),
            span(3, 1, "call", 120, 150, 2),
        ]));
        paths.add(&skeleton(vec![span(1, 0, "root", 0, 40, 0), span(2, 1, "other", 10, 60, 0)]));
        let json = paths.into_json(7);
        assert_eq!(
            (&json["traces"], &json["inspectedBytes"], &json["duration"]),
            (&json!(2), &json!(7), &json!({"p50": 60, "p95": 100}))
        );
        let path = |at: usize| {
            let it = &json["paths"][at];
            ["parent", "traces", "calls", "errors", "p50", "p95", "selfP50"]
                .map(|key| it[key].as_u64())
        };
        let some = |values: [u64; 6]| values.map(Some);
        assert_eq!(path(0)[1..], some([2, 2, 0, 40, 100, 10]));
        assert_eq!((path(0)[0], json["paths"][1]["name"].as_str()), (None, Some("call")));
        // Both calls together; they ran at the same time for a while.
        assert_eq!(path(1), [Some(0), Some(1), Some(2), Some(1), Some(50), Some(50), Some(50)]);
        assert_eq!((path(2)[0], path(2)[4]), (Some(0), Some(50)));
    }

    #[test]
    fn number_of_paths_is_bounded() {
        let mut paths = Paths::default();
        let names: Vec<&'static str> =
            (0..MAX_PATHS + 5).map(|at| &*Box::leak(format!("n{at}").into_boxed_str())).collect();
        for (at, chunk) in names.chunks(200).enumerate() {
            let spans =
                chunk.iter().zip(2u8..).map(|(name, id)| span(id, 0, name, at as u64, 9, 0));
            paths.add(&skeleton(spans.collect()));
        }
        assert_eq!(paths.into_json(7)["paths"].as_array().unwrap().len(), MAX_PATHS);
    }

    #[test]
    fn traces_without_spans_are_none() {
        let mut paths = Paths::default();
        paths.add(&skeleton(Vec::new()));
        assert_eq!(paths.into_json(7)["traces"], 0);
    }
}
