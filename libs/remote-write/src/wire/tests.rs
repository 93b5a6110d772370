use prost::Message;

use super::*;
use crate::series::BucketSpan;

const ZERO_MS: i64 = 1_767_268_799_000;
const T_MS: i64 = 1_767_268_820_000;

fn labels(name: &str, rest: &[(&str, &str)]) -> Labels {
    let mut all = vec![("__metrics_gen_instance", "gen-0"), ("__name__", name)];
    all.extend_from_slice(rest);
    label_fields(&all)
}

fn float(labels: &Labels, timestamp_ms: i64, value: f64) -> Item {
    Item { labels: Arc::clone(labels), timestamp_ms, value: Value::Float(value) }
}

fn exemplar(labels: &Labels, value: f64, trace_id: &str) -> Item {
    let value = Value::Exemplar { value, label: "traceID".into(), trace_id: trace_id.into() };
    Item { labels: Arc::clone(labels), timestamp_ms: T_MS, value }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(value: &NativeHistogram, timestamp_ms: i64) -> String {
    let mut bytes = Vec::new();
    histogram(&mut bytes, timestamp_ms, value, &mut Vec::new());
    hex(&bytes)
}

#[test]
fn first_protocol_writes_samples_byte_for_byte() {
    let labels =
        labels("traces_service_graph_request_total", &[("client", "shop"), ("server", "cart")]);
    let request = Protocol::V1.encode(&[float(&labels, ZERO_MS, 0.0), float(&labels, T_MS, 1.0)]);
    let expected = "0a7a0a1f0a165f5f6d6574726963735f67656e5f696e7374616e6365120567656e2d300a2e0a085f5f6e616d655f5f\
        12227472616365735f736572766963655f67726170685f726571756573745f746f74616c0a0e0a06636c69656e74120473686f700a0e0a06\
        73657276657212046361727412071098a4b7cbb7330a83010a1f0a165f5f6d6574726963735f67656e5f696e7374616e6365120567656e2d\
        300a2e0a085f5f6e616d655f5f12227472616365735f736572766963655f67726170685f726571756573745f746f74616c0a0e0a06636c69\
        656e74120473686f700a0e0a067365727665721204636172741210 09000000000000f03f10a0c8b8cbb733";
    assert_eq!(hex(&request), expected.replace(' ', ""));
    assert_eq!(request.len(), 258);
}

#[test]
fn first_protocol_writes_exemplars_byte_for_byte() {
    let labels = labels(
        "traces_service_graph_request_client_seconds_bucket",
        &[("client", "shop"), ("le", "0.1"), ("server", "cart")],
    );
    let trace_id = "102030405060708090a0b0c0d0e0f10";
    let request = Protocol::V1.encode(&[exemplar(&labels, 0.1, trace_id)]);
    let expected = "0aca010a1f0a165f5f6d6574726963735f67656e5f696e7374616e6365120567656e2d300a3e0a085f5f6e616d655f5f\
        12327472616365735f736572766963655f67726170685f726571756573745f636c69656e745f7365636f6e64735f6275636b65740a0e0a06\
        636c69656e74120473686f700a090a026c651203302e310a0e0a067365727665721204636172741a3c0a2a0a0774726163654944121f3130\
        3230333034303530363037303830393061306230633064306530663130119a9999999999b93f18a0c8b8cbb733";
    assert_eq!(hex(&request), expected);
    assert_eq!(request.len(), 205);
}

#[test]
fn native_histograms_of_whole_counts_are_integer_ones() {
    let zero = NativeHistogram { schema: 3, ..NativeHistogram::default() };
    assert_eq!(bytes_of(&zero, ZERO_MS), "0800200630007898a4b7cbb733");
    let two = NativeHistogram {
        count: 2.0,
        sum: 0.25,
        schema: 3,
        zero_threshold: 2.0_f64.powi(-128),
        zero_count: 0.0,
        spans: vec![BucketSpan { offset: -26, length: 1 }, BucketSpan { offset: 4, length: 1 }],
        buckets: vec![1.0, 1.0],
    };
    assert_eq!(
        bytes_of(&two, T_MS),
        "080219000000000000d03f200629000000000000f03730005a04083310015a040808100162020200 78a0c8b8cbb733"
            .replace(' ', "")
    );
}

/// `io.prometheus.write.v2.Request` as receivers know it.
mod v2 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(super) exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub(super) metadata: Option<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(int64, tag = "3")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata {
        #[prost(uint32, tag = "1")]
        pub(super) kind: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(double, optional, tag = "2")]
        pub(super) count_float: Option<f64>,
        #[prost(double, tag = "3")]
        pub(super) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(super) schema: i32,
        #[prost(double, optional, tag = "7")]
        pub(super) zero_count_float: Option<f64>,
        #[prost(double, repeated, tag = "13")]
        pub(super) positive_counts: Vec<f64>,
        #[prost(int64, tag = "15")]
        pub(super) timestamp: i64,
    }
}

fn texts<'a>(request: &'a v2::Request, references: &[u32]) -> Vec<&'a str> {
    references.iter().map(|at| request.symbols[*at as usize].as_str()).collect()
}

#[test]
fn second_protocol_refers_to_each_text_once() {
    let total = labels("calls_total", &[("service", "shop")]);
    let bucket = labels("latency_bucket", &[("le", "0.1"), ("service", "shop")]);
    let items = [
        float(&total, ZERO_MS, 0.0),
        float(&total, T_MS, 3.0),
        float(&bucket, T_MS, 1.0),
        exemplar(&bucket, 0.05, "ab"),
        exemplar(&bucket, 0.06, "cd"),
    ];
    let request = v2::Request::decode(&*Protocol::V2.encode(&items)).unwrap();
    assert_eq!(request.symbols[0], "");
    for (index, symbol) in request.symbols.iter().enumerate() {
        assert!(!request.symbols[..index].contains(symbol), "{symbol} twice");
    }
    let [zero, value, bucketed] = &request.timeseries[..] else {
        panic!("{} series", request.timeseries.len())
    };
    let names = ["__metrics_gen_instance", "gen-0", "__name__", "calls_total", "service", "shop"];
    assert_eq!(texts(&request, &zero.labels_refs), names);
    assert_eq!(zero.samples, [v2::Sample { value: 0.0, timestamp: ZERO_MS }]);
    assert_eq!(texts(&request, &value.labels_refs), names);
    assert_eq!(value.metadata, Some(v2::Metadata { kind: 1 }));
    assert_eq!(bucketed.samples, [v2::Sample { value: 1.0, timestamp: T_MS }]);
    assert_eq!(bucketed.metadata, Some(v2::Metadata { kind: 3 }));
    let exemplars: Vec<_> =
        bucketed.exemplars.iter().map(|e| (texts(&request, &e.labels_refs), e.value)).collect();
    assert_eq!(exemplars, [(vec!["traceID", "ab"], 0.05), (vec!["traceID", "cd"], 0.06)]);
}

#[test]
fn native_histograms_of_fractional_counts_are_float_ones() {
    let value = NativeHistogram {
        count: 2.5,
        sum: 1.0,
        schema: -1,
        zero_threshold: 0.0,
        zero_count: 0.0,
        spans: vec![BucketSpan { offset: 0, length: 2 }],
        buckets: vec![0.5, 2.0],
    };
    let labels = labels("latency", &[]);
    let item = Item { labels, timestamp_ms: T_MS, value: Value::Histogram(Box::new(value)) };
    let request = v2::Request::decode(&*Protocol::V2.encode(&[item])).unwrap();
    let expected = v2::Histogram {
        count_float: Some(2.5),
        sum: 1.0,
        schema: -1,
        zero_count_float: Some(0.0),
        positive_counts: vec![0.5, 2.0],
        timestamp: T_MS,
    };
    assert_eq!(request.timeseries[0].histograms, [expected]);
}
