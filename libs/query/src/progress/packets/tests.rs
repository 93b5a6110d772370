use proptest::prelude::*;
use tactus_proto::otlp::KeyValue;
use tactus_proto::tempopb::{MetadataMetrics, SearchMetrics, TagValue, TraceSearchMetadata};

use super::*;

const METRICS: SearchMetrics = SearchMetrics {
    inspected_traces: u32::MAX,
    inspected_bytes: u64::MAX,
    total_blocks: 9,
    completed_jobs: 9,
    total_jobs: 9,
    total_block_bytes: u64::MAX,
    inspected_spans: u64::MAX,
};
const METADATA: MetadataMetrics = MetadataMetrics {
    inspected_bytes: u64::MAX,
    total_jobs: 1,
    completed_jobs: 1,
    total_blocks: 1,
    total_block_bytes: u64::MAX,
};

/// Longer than any element below with its labels, so that no packet need be larger.
const MAX_BYTES: usize = 300;

fn text() -> impl Strategy<Value = String> {
    "[a-z]{0,40}"
}

fn series() -> impl Strategy<Value = TimeSeries> {
    let sample = (any::<f64>(), any::<i64>())
        .prop_map(|(value, timestamp_ms)| Sample { value, timestamp_ms });
    let exemplar = (-1e9..1e9, any::<i64>()).prop_map(|(value, timestamp_ms)| Exemplar {
        labels: Vec::new(),
        value,
        timestamp_ms,
    });
    let samples = proptest::collection::vec(sample, 0..60);
    let exemplars = proptest::collection::vec(exemplar, 0..30);
    (text(), samples, exemplars).prop_map(|(label, samples, exemplars)| TimeSeries {
        labels: vec![KeyValue { key: label.into(), value: None }],
        samples,
        exemplars,
    })
}

/// Checks the size of packets.
fn fit<M: Message>(packets: &[M]) {
    assert!(!packets.is_empty());
    for packet in packets {
        assert!(packet.encoded_len() <= MAX_BYTES, "{} bytes", packet.encoded_len());
    }
}

proptest! {
    #[test]
    fn packets_of_lists_are_small_and_together_the_answer(
        texts in proptest::collection::vec(text(), 0..60),
    ) {
        let trace = |text: &String| TraceSearchMetadata {
            trace_id: text.clone(),
            ..TraceSearchMetadata::default()
        };
        let traces: Vec<_> = texts.iter().map(trace).collect();
        let packets =
            search(SearchResponse { traces: traces.clone(), metrics: Some(METRICS) }, MAX_BYTES);
        fit(&packets);
        assert!(packets.iter().all(|packet| packet.metrics == Some(METRICS)));
        let all: Vec<_> = packets.into_iter().flat_map(|packet| packet.traces).collect();
        assert_eq!(all, traces);

        let metrics = Some(METADATA);
        let packets = tags_v1(SearchTagsResponse { tag_names: texts.clone(), metrics }, MAX_BYTES);
        fit(&packets);
        assert_eq!(packets.into_iter().flat_map(|packet| packet.tag_names).collect::<Vec<_>>(), texts);
        let packets =
            values_v1(SearchTagValuesResponse { tag_values: texts.clone(), metrics }, MAX_BYTES);
        fit(&packets);
        assert_eq!(packets.into_iter().flat_map(|packet| packet.tag_values).collect::<Vec<_>>(), texts);
        let typed = |text: &String| TagValue { r#type: "string".into(), value: text.clone() };
        let values: Vec<_> = texts.iter().map(typed).collect();
        let packets = values_v2(
            SearchTagValuesV2Response { tag_values: values.clone(), metrics },
            MAX_BYTES,
        );
        fit(&packets);
        assert_eq!(packets.into_iter().flat_map(|packet| packet.tag_values).collect::<Vec<_>>(), values);

        let scope = |name: &str, tags: &[String]| SearchTagsV2Scope {
            name: name.to_owned(),
            tags: tags.to_vec(),
        };
        let (one, other) = texts.split_at(texts.len() / 3);
        let scopes = vec![scope("resource", one), scope("instrumentation", other)];
        let packets = tags_v2(SearchTagsV2Response { scopes, metrics }, MAX_BYTES);
        fit(&packets);
        for (name, expected) in [("resource", one), ("instrumentation", other)] {
            let scopes = packets.iter().flat_map(|packet| &packet.scopes);
            let tags = scopes.filter(|scope| scope.name == name).flat_map(|scope| &scope.tags);
            assert_eq!(tags.collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn packets_of_series_are_small_and_together_the_answer(
        all in proptest::collection::vec(series(), 0..6),
    ) {
        let answer = QueryRangeResponse {
            series: all.clone(),
            metrics: Some(METRICS),
            status: PartialStatus::Partial.into(),
            message: "cut".into(),
        };
        let packets = range(answer, MAX_BYTES);
        fit(&packets);
        let (last, others) = packets.split_last().unwrap();
        assert_eq!((last.status(), &*last.message), (PartialStatus::Partial, "cut"));
        assert!(others.iter().all(|packet| packet.status == 0 && packet.message.is_empty()));
        let parts: Vec<_> = packets.iter().flat_map(|packet| &packet.series).collect();
        let samples = parts.iter().flat_map(|part| &part.samples).map(Sample::encode_to_vec);
        let expected = all.iter().flat_map(|series| &series.samples).map(Sample::encode_to_vec);
        assert!(samples.eq(expected));
        let exemplars: usize = parts.iter().map(|part| part.exemplars.len()).sum();
        assert_eq!(exemplars, all.iter().map(|series| series.exemplars.len()).sum::<usize>());
        assert!(all.iter().all(|series| parts.iter().any(|part| part.labels == series.labels)));
    }
}

#[test]
fn element_above_the_bound_is_a_packet_of_its_own() {
    let texts = ["a".to_owned(), "b".repeat(MAX_BYTES), "c".to_owned()];
    let answer = SearchTagsResponse { tag_names: texts.to_vec(), metrics: None };
    let packets = tags_v1(answer.clone(), MAX_BYTES);
    assert_eq!(packets.len(), 3);
    assert_eq!(tags_v1(answer, 0).len(), 1);
    assert_eq!(tags_v1(SearchTagsResponse::default(), 1).len(), 1);
}
