//! Shares of many traces.

use super::*;

const TRACES: u64 = 100_000;

/// Batches of whole traces, two spans each; every 50th trace has an error, every 40th is slow.
fn batches() -> impl Iterator<Item = SpanBatch> {
    (0..TRACES / 10_000).map(|part| {
        let traces = part * 10_000..(part + 1) * 10_000;
        batch(traces.flat_map(|trace| {
            let millis = if trace % 40 == 0 { 1_500 } else { 20 };
            let status = if trace % 50 == 0 { 2 } else { 0 };
            [Span { status, ..of(trace) }, Span { millis, ..of(trace) }]
        }))
    })
}

#[test]
fn errors_and_slow_traces_are_all_kept_and_the_stated_share_of_others() {
    let yaml = "
policies:
  - {name: errors, type: traceql, traceql: {query: '{ status = error }'}}
  - {name: slow, type: traceql, traceql: {query: '{ duration > 1s }'}}
  - {name: rest, type: probabilistic, probabilistic: {sampling_percentage: 5}}
";
    let mut decider = decider(yaml);
    let mut again = super::decider(yaml);
    let (mut errors, mut slow, mut others, mut all_others) = (0, 0, 0, 0);
    for batch in batches() {
        let decisions = decider.decide(&batch);
        assert_eq!(again.decide(&batch).kept, decisions.kept, "replicas decide alike");
        for (row, &id) in batch.traces.ids.iter().enumerate() {
            let (trace, kept) = (number(id), u64::from(decisions.kept.contains(row)));
            match trace {
                _ if trace % 50 == 0 => errors += kept,
                _ if trace % 40 == 0 => slow += kept,
                _ => {
                    others += kept;
                    all_others += 1;
                }
            }
        }
    }
    assert_eq!(errors, TRACES / 50);
    assert_eq!(slow, TRACES / 40 - TRACES / 200);
    let share = others as f64 / all_others as f64;
    // Five standard deviations of a draw.
    let deviation = (0.05 * 0.95 / all_others as f64).sqrt();
    assert!((share - 0.05).abs() < 5.0 * deviation, "{share}");
}
