//! Divides answers of any size into messages of bounded size.
//!
//! A receiver combines these packets as it combines several messages of a stream: it concatenates lists, and merges the
//! points of a series by time. A single trace or text that exceeds the limit is a packet of its own.

use std::iter;

use prost::Message;
use tactus_proto::tempopb::{
    Exemplar, PartialStatus, QueryInstantResponse, QueryRangeResponse, Sample, SearchResponse,
    SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse, SearchTagsV2Response,
    SearchTagsV2Scope, TimeSeries,
};

/// Bytes that an element of a list takes beside its own: the number of its field and its length.
const FRAME_BYTES: usize = 6;

pub(crate) fn search(answer: SearchResponse, max_bytes: usize) -> Vec<SearchResponse> {
    let SearchResponse { traces, metrics } = answer;
    let lists = cut(traces, room(max_bytes, &metrics, ""), Message::encoded_len);
    lists.into_iter().map(|traces| SearchResponse { traces, metrics }).collect()
}

pub(crate) fn tags_v1(answer: SearchTagsResponse, max_bytes: usize) -> Vec<SearchTagsResponse> {
    let SearchTagsResponse { tag_names, metrics } = answer;
    let lists = cut(tag_names, room(max_bytes, &metrics, ""), String::len);
    lists.into_iter().map(|tag_names| SearchTagsResponse { tag_names, metrics }).collect()
}

pub(crate) fn tags_v2(answer: SearchTagsV2Response, max_bytes: usize) -> Vec<SearchTagsV2Response> {
    let SearchTagsV2Response { scopes, metrics } = answer;
    let room = room(max_bytes, &metrics, "");
    let scopes = scopes.into_iter().flat_map(|SearchTagsV2Scope { name, tags }| {
        let lists = cut(tags, room.saturating_sub(name.len() + 2 * FRAME_BYTES), String::len);
        lists.into_iter().map(move |tags| SearchTagsV2Scope { name: name.clone(), tags })
    });
    let lists = cut(scopes.collect(), room, Message::encoded_len);
    lists.into_iter().map(|scopes| SearchTagsV2Response { scopes, metrics }).collect()
}

pub(crate) fn values_v1(
    answer: SearchTagValuesResponse,
    max_bytes: usize,
) -> Vec<SearchTagValuesResponse> {
    let SearchTagValuesResponse { tag_values, metrics } = answer;
    let lists = cut(tag_values, room(max_bytes, &metrics, ""), String::len);
    lists.into_iter().map(|tag_values| SearchTagValuesResponse { tag_values, metrics }).collect()
}

pub(crate) fn values_v2(
    answer: SearchTagValuesV2Response,
    max_bytes: usize,
) -> Vec<SearchTagValuesV2Response> {
    let SearchTagValuesV2Response { tag_values, metrics } = answer;
    let lists = cut(tag_values, room(max_bytes, &metrics, ""), Message::encoded_len);
    lists.into_iter().map(|tag_values| SearchTagValuesV2Response { tag_values, metrics }).collect()
}

/// Status and message are in the last packet only.
pub(crate) fn range(answer: QueryRangeResponse, max_bytes: usize) -> Vec<QueryRangeResponse> {
    let QueryRangeResponse { series, metrics, status, message } = answer;
    let room = room(max_bytes, &metrics, &message);
    let series = series.into_iter().flat_map(|series| cut_series(series, room)).collect();
    let lists = cut(series, room, Message::encoded_len);
    let packet =
        |(series, (status, message))| QueryRangeResponse { series, metrics, status, message };
    with_status(lists, status, message).map(packet).collect()
}

/// Status and message are in the last packet only.
pub(crate) fn instant(answer: QueryInstantResponse, max_bytes: usize) -> Vec<QueryInstantResponse> {
    let QueryInstantResponse { series, metrics, status, message } = answer;
    let lists = cut(series, room(max_bytes, &metrics, &message), Message::encoded_len);
    let packet =
        |(series, (status, message))| QueryInstantResponse { series, metrics, status, message };
    with_status(lists, status, message).map(packet).collect()
}

/// Each list with the status and the message of its packet.
fn with_status<T>(
    lists: Vec<T>,
    status: i32,
    message: String,
) -> impl Iterator<Item = (T, (i32, String))> {
    let before = iter::repeat_n((PartialStatus::Complete.into(), String::new()), lists.len() - 1);
    lists.into_iter().zip(before.chain([(status, message)]))
}

/// A series as several of the same labels, if it is too large.
fn cut_series(series: TimeSeries, room: usize) -> Vec<TimeSeries> {
    if series.encoded_len() + FRAME_BYTES <= room {
        return vec![series];
    }
    let TimeSeries { labels, samples, exemplars } = series;
    let labels_bytes: usize = labels.iter().map(|label| label.encoded_len() + FRAME_BYTES).sum();
    let room = room.saturating_sub(labels_bytes + FRAME_BYTES);
    let part = |samples: Vec<Sample>, exemplars: Vec<Exemplar>| TimeSeries {
        labels: labels.clone(),
        samples,
        exemplars,
    };
    let mut parts = Vec::new();
    let lists = cut(samples, room, Message::encoded_len);
    parts.extend(lists.into_iter().map(|samples| part(samples, Vec::new())));
    if !exemplars.is_empty() {
        let lists = cut(exemplars, room, Message::encoded_len);
        parts.extend(lists.into_iter().map(|exemplars| part(Vec::new(), exemplars)));
    }
    parts
}

/// Bytes that are left for the list of a message; without a bound all.
fn room<M: Message>(max_bytes: usize, metrics: &Option<M>, message: &str) -> usize {
    if max_bytes == 0 {
        return usize::MAX;
    }
    let metrics = metrics.as_ref().map_or(0, Message::encoded_len);
    max_bytes.saturating_sub(metrics + message.len() + 4 * FRAME_BYTES)
}

/// Cuts a list in parts of at most `room` bytes, or of one element. At least one part.
fn cut<T>(list: Vec<T>, room: usize, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut used = 0_usize;
    for element in list {
        let size = bytes(&element) + FRAME_BYTES;
        if used > 0 && used.saturating_add(size) > room {
            parts.push(Vec::new());
            used = 0;
        }
        used += size;
        if let Some(part) = parts.last_mut() {
            part.push(element);
        }
    }
    parts
}

#[cfg(test)]
mod tests;
