//! Dictionaries and statistics answer without reading values.

use super::*;

fn groups_with(reader: &BlockReader, column: &StringColumn, wanted: &str) -> Vec<usize> {
    (0..reader.row_groups().len())
        .filter(|&group| {
            let predicate = |found: &[u8]| found == wanted.as_bytes();
            reader.row_group_may_contain_string(group, column, &predicate).unwrap()
        })
        .collect()
}

#[test]
fn dictionaries_rule_row_groups_out() {
    use StringColumn::*;
    let cases = [
        (Name, "GET /api", vec![0]),
        (Name, "nothing", vec![]),
        (ResourceAttribute(b"service.name".to_vec()), "frontend", vec![0]),
        (ResourceAttribute(b"ip".to_vec()), "10.0.0.2", vec![0]),
        (ResourceAttribute(b"absent".to_vec()), "10.0.0.2", vec![]),
        (SpanAttribute(b"strs".to_vec()), "b", vec![0]),
        (SpanAttribute(b"strs".to_vec()), "zzz", vec![]),
        (SpanAttribute(b"customer".to_vec()), "acme", vec![0]),
        (EventAttribute(b"exception.message".to_vec()), "kaboom", vec![0]),
        (EventName, "exception", vec![0]),
        (ScopeName, "otel-go", vec![0]),
        (ScopeVersion, "2.0.0", vec![0]),
        (ScopeAttribute(b"scope.attr".to_vec()), "x", vec![0]),
        (LinkAttribute(b"link.attr".to_vec()), "y", vec![0]),
        (RootServiceName, "frontend", vec![0]),
    ];
    for version in VERSIONS {
        let reader = load(version).open();
        let last = reader.row_groups().len() - 1;
        for (column, wanted, mut expected) in cases.clone() {
            // A blob column of vParquet5 has no dictionary, so it rules nothing out.
            if version == BlockVersion::VParquet5 && column == SpanAttribute(b"customer".to_vec()) {
                expected = (0..=last).collect();
            }
            assert_eq!(groups_with(&reader, &column, wanted), expected, "{column:?} {wanted}");
        }
        assert_eq!(groups_with(&reader, &RootSpanName, "root-2"), [last]);
        // No dictionary: every row group may have it.
        assert_eq!(groups_with(&reader, &StatusMessage, "boom").len(), last + 1);
    }
}

#[test]
fn bounds_enclose_all_values() {
    for version in VERSIONS {
        let reader = load(version).open();
        for group in 0..reader.row_groups().len() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            let bounds = |column| reader.row_group_bounds(group, column).unwrap();
            let extent =
                |values: &[u64]| (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            let widened = |values: &[u8]| values.iter().map(|v| u64::from(*v)).collect::<Vec<_>>();
            let summaries = batch.traces.summaries.as_ref().unwrap();
            assert_eq!(bounds(NumberColumn::SpanStart), extent(&batch.spans.start));
            assert_eq!(bounds(NumberColumn::SpanDuration), extent(&batch.spans.duration));
            assert_eq!(bounds(NumberColumn::Kind), extent(&widened(&batch.spans.kind)));
            assert_eq!(bounds(NumberColumn::Status), extent(&widened(&batch.spans.status)));
            assert_eq!(bounds(NumberColumn::TraceStart), extent(&summaries.start));
            assert_eq!(bounds(NumberColumn::TraceEnd), extent(&summaries.end));
        }
        assert_eq!(reader.row_group_bounds(99, NumberColumn::Kind), None);
    }
}
