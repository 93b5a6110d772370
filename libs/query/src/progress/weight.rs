//! Estimates the memory that messages take while they wait for their reader.

use prost::Message;
use tactus_proto::tactus::v1::MetricsSeries;
use tactus_proto::tempopb::{
    QueryInstantResponse, QueryRangeResponse, Sample, SearchResponse, SearchTagValuesResponse,
    SearchTagValuesV2Response, SearchTagsResponse, SearchTagsV2Response,
};

/// A message of short texts takes about this many times the bytes that it has when it is sent.
pub(crate) const TEXT_TIMES: usize = 4;

/// What a series takes besides its labels and points.
const SERIES_BYTES: usize = 100;

/// Bytes of a series on its way, and of a label and a point of it, as a message and beside it.
const JOB_SERIES_BYTES: usize = 256;
const JOB_LABEL_BYTES: usize = 64;
const JOB_POINT_BYTES: usize = 24;

/// About what series take as messages, and beside them.
pub(crate) fn series_bytes(series: &[MetricsSeries]) -> usize {
    let points: usize = series.iter().map(|series| series.intervals.len()).sum();
    let labels: usize = series.iter().map(|series| series.labels.len()).sum();
    series.len() * JOB_SERIES_BYTES + labels * JOB_LABEL_BYTES + points * JOB_POINT_BYTES
}

/// A message that counts as what it takes in memory.
pub(crate) trait Weight: Message {
    /// About this many bytes.
    fn heap_bytes(&self) -> usize;
}

macro_rules! of_texts {
    ($($message:ty),*) => {
        $(impl Weight for $message {
            fn heap_bytes(&self) -> usize {
                self.encoded_len() * TEXT_TIMES
            }
        })*
    };
}

of_texts!(
    QueryInstantResponse,
    SearchResponse,
    SearchTagsResponse,
    SearchTagsV2Response,
    SearchTagValuesResponse,
    SearchTagValuesV2Response
);

impl Weight for QueryRangeResponse {
    /// Points take no more than when they are sent.
    fn heap_bytes(&self) -> usize {
        let points: usize = self.series.iter().map(|series| series.samples.len()).sum();
        let besides = self.series.iter().map(|series| {
            let labels = series.labels.iter().map(Message::encoded_len).sum::<usize>();
            labels + series.exemplars.iter().map(Message::encoded_len).sum::<usize>()
        });
        let besides: usize = besides.map(|bytes| bytes * TEXT_TIMES).sum();
        besides + self.series.len() * SERIES_BYTES + points * size_of::<Sample>()
    }
}

#[cfg(test)]
impl Weight for i32 {
    fn heap_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
impl Weight for Vec<u8> {
    fn heap_bytes(&self) -> usize {
        self.encoded_len()
    }
}

#[cfg(test)]
mod tests {
    use tactus_proto::tempopb::{TimeSeries, TraceSearchMetadata};

    use super::*;

    #[test]
    fn points_count_as_they_are_and_texts_several_times() {
        let samples = vec![Sample { timestamp_ms: 1 << 40, value: 0.5 }; 1_000];
        let series = TimeSeries { samples, ..TimeSeries::default() };
        let range = QueryRangeResponse { series: vec![series; 10], ..Default::default() };
        assert_eq!(range.heap_bytes(), 10 * (1_000 * 16 + SERIES_BYTES));
        let trace = TraceSearchMetadata { trace_id: "1".repeat(32), ..Default::default() };
        let own = size_of::<TraceSearchMetadata>() + 32;
        let search = SearchResponse { traces: vec![trace; 100], ..Default::default() };
        assert!(search.heap_bytes() > search.encoded_len());
        assert!(search.heap_bytes() <= 100 * own, "{} {own}", search.heap_bytes());
    }
}
