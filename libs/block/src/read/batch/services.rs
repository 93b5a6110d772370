//! Computes service statistics for files that do not store them.

use tactus_model::TraceSummaries;

use crate::Result;
use crate::read::cache::Slot;
use crate::read::columns::Columns;
use crate::read::task::Task;

/// OTLP status code of an error.
const STATUS_ERROR: u8 = 2;

/// Counts the spans and errors of each service in each trace, with services in order of name, as in blocks.
///
/// Input: trace and resource of each span, the resources as they are stored, and the number of both.
pub(super) fn count_services(
    task: &mut Task<'_>,
    columns: &Columns,
    (trace_of, resource_of): (&[u32], &[u32]),
    (traces, resources): (usize, usize),
    summaries: &mut TraceSummaries,
) -> Result<()> {
    let services = task.codes(columns.service_name, resources)?;
    let status = task.small_words(columns.status, trace_of.len())?;
    // The batch may want it too.
    task.hold(Slot::Column(columns.status.index), status.clone());
    // Spans are in order of trace.
    let mut of_trace: Vec<(u32, u32, u32)> = Vec::new();
    let mut span = 0;
    summaries.service_starts = vec![0].into();
    for trace in 0..traces as u32 {
        of_trace.clear();
        while trace_of.get(span) == Some(&trace) {
            let service = services[resource_of[span] as usize];
            let error = u32::from(status[span] == STATUS_ERROR);
            // A trace has few services, and the last span's is the most likely.
            match of_trace.iter_mut().rev().find(|(known, _, _)| *known == service) {
                Some((_, spans, errors)) => (*spans, *errors) = (*spans + 1, *errors + error),
                None => of_trace.push((service, 1, error)),
            }
            span += 1;
        }
        of_trace.sort_by(|a, b| task.pool.get(a.0).cmp(task.pool.get(b.0)));
        for &(service, spans, errors) in &of_trace {
            summaries.service_name.push(service);
            summaries.service_spans.push(spans);
            summaries.service_errors.push(errors);
        }
        summaries.service_starts.push(summaries.service_name.len() as u32);
    }
    Ok(())
}
