//! Tag names and values as JSON.

use tactus_proto::tempopb::{
    MetadataMetrics, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse,
    SearchTagsV2Response,
};

use super::{JsonWriter, write_text, written_bytes};

/// What a value takes in a list besides its text: its type, names of fields, a comma.
const VALUE_BYTES: usize = 48;
/// What a document takes besides its lists of texts, with metrics and scopes.
const DOCUMENT_BYTES: usize = 512;

/// Bytes that a name or value takes in an answer, at most.
pub fn listed_bytes(text: &str) -> usize {
    VALUE_BYTES + written_bytes(text.as_bytes())
}

/// Tag names of the first API version.
pub fn tags_v1(response: &SearchTagsResponse) -> Vec<u8> {
    document(response.tag_names.iter(), &response.metrics, |json| {
        json.key("tagNames").list(&response.tag_names, write_text);
    })
}

/// Tag names of the second API version.
pub fn tags_v2(response: &SearchTagsV2Response) -> Vec<u8> {
    let names = response.scopes.iter().flat_map(|scope| &scope.tags);
    document(names, &response.metrics, |json| {
        json.key("scopes").begin_list();
        for scope in &response.scopes {
            json.begin_object();
            json.string_field("name", scope.name.as_bytes());
            json.list_field("tags", &scope.tags, write_text);
            json.end_object();
        }
        json.end_list();
    })
}

/// Tag values of the first API version.
pub fn tag_values_v1(response: &SearchTagValuesResponse) -> Vec<u8> {
    document(response.tag_values.iter(), &response.metrics, |json| {
        json.key("tagValues").list(&response.tag_values, write_text);
    })
}

/// Tag values of the second API version.
pub fn tag_values_v2(response: &SearchTagValuesV2Response) -> Vec<u8> {
    let values = response.tag_values.iter().map(|value| &value.value);
    document(values, &response.metrics, |json| {
        json.key("tagValues").begin_list();
        for value in &response.tag_values {
            json.begin_object();
            json.string_field("type", value.r#type.as_bytes());
            json.string_field("value", value.value.as_bytes());
            json.end_object();
        }
        json.end_list();
    })
}

/// Tag values of the second API version for language models: by type, counters as numbers. Values must be sorted
/// by type.
pub fn tag_values_llm(response: &SearchTagValuesV2Response) -> Vec<u8> {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("tagValues").begin_object();
    for group in response.tag_values.chunk_by(|one, other| one.r#type == other.r#type) {
        json.data_key(group[0].r#type.as_bytes()).begin_list();
        group.iter().for_each(|value| json.string(value.value.as_bytes()));
        json.end_list();
    }
    json.end_object();
    json.key("metrics").begin_object();
    if let Some(metrics) = &response.metrics {
        for (key, value) in [
            ("inspectedBytes", metrics.inspected_bytes),
            ("totalJobs", metrics.total_jobs.into()),
            ("completedJobs", metrics.completed_jobs.into()),
            ("totalBlocks", metrics.total_blocks.into()),
            ("totalBlockBytes", metrics.total_block_bytes),
        ] {
            if value != 0 {
                json.key(key).integer(value);
            }
        }
    }
    json.end_object();
    json.end_object();
    json.finish()
}

/// A document with a list of these texts.
fn document<'t>(
    texts: impl Iterator<Item = &'t String>,
    metrics: &Option<MetadataMetrics>,
    write: impl FnOnce(&mut JsonWriter),
) -> Vec<u8> {
    let mut json = JsonWriter::with_capacity(
        DOCUMENT_BYTES + texts.map(|text| listed_bytes(text)).sum::<usize>(),
    );
    json.begin_object();
    write(&mut json);
    if let Some(metrics) = metrics {
        json.key("metrics").begin_object();
        json.wide_field("inspectedBytes", metrics.inspected_bytes);
        json.number_field("totalJobs", metrics.total_jobs);
        json.number_field("completedJobs", metrics.completed_jobs);
        json.number_field("totalBlocks", metrics.total_blocks);
        json.wide_field("totalBlockBytes", metrics.total_block_bytes);
        json.end_object();
    }
    json.end_object();
    json.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::tempopb::{SearchTagsV2Scope, TagValue};

    fn metrics(inspected_bytes: u64) -> Option<MetadataMetrics> {
        Some(MetadataMetrics { inspected_bytes, ..MetadataMetrics::default() })
    }

    fn text(json: Vec<u8>) -> String {
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn tags_have_the_documented_form() {
        let tags = ["cluster", "service.name"].map(str::to_owned).to_vec();
        let v1 = SearchTagsResponse { tag_names: tags.clone(), metrics: metrics(123) };
        assert_eq!(
            text(tags_v1(&v1)),
            r#"{"tagNames":["cluster","service.name"],"metrics":{"inspectedBytes":"123"}}"#
        );
        let scopes = vec![SearchTagsV2Scope { name: "span".into(), tags }];
        let v2 = SearchTagsV2Response { scopes, metrics: metrics(0) };
        assert_eq!(
            text(tags_v2(&v2)),
            r#"{"scopes":[{"name":"span","tags":["cluster","service.name"]}],"metrics":{}}"#
        );
    }

    #[test]
    fn documents_take_no_more_than_was_said() {
        let texts = ["", "a", "<\u{1}>", "\u{2028}é"].map(str::to_owned).to_vec();
        let metrics = Some(MetadataMetrics {
            inspected_bytes: u64::MAX,
            total_jobs: u32::MAX,
            completed_jobs: u32::MAX,
            total_blocks: u32::MAX,
            total_block_bytes: u64::MAX,
        });
        let value = |text: &String| TagValue { r#type: "duration".into(), value: text.clone() };
        let scopes = ["resource", "span", "event", "link", "instrumentation", "intrinsic"];
        let scope = |name: &str| SearchTagsV2Scope { name: name.into(), tags: texts.clone() };
        let v1 = SearchTagsResponse { tag_names: texts.clone(), metrics };
        let v2 = SearchTagsV2Response { scopes: scopes.map(scope).to_vec(), metrics };
        let values_v1 = SearchTagValuesResponse { tag_values: texts.clone(), metrics };
        let tag_values = texts.iter().map(value).collect();
        let values_v2 = SearchTagValuesV2Response { tag_values, metrics };
        let said = DOCUMENT_BYTES + texts.iter().map(|text| listed_bytes(text)).sum::<usize>();
        assert!(tags_v1(&v1).len() <= said);
        assert!(tags_v2(&v2).len() <= said + 5 * (said - DOCUMENT_BYTES));
        assert!(tag_values_v1(&values_v1).len() <= said);
        assert!(tag_values_v2(&values_v2).len() <= said);
    }

    #[test]
    fn values_have_the_documented_form() {
        let value = |kind: &str, text: &str| TagValue { r#type: kind.into(), value: text.into() };
        let values = vec![value("int", "200"), value("string", "a"), value("string", "")];
        let v2 = SearchTagValuesV2Response { tag_values: values, metrics: metrics(99) };
        assert_eq!(
            text(tag_values_v2(&v2)),
            r#"{"tagValues":[{"type":"int","value":"200"},{"type":"string","value":"a"},{"type":"string"}],"metrics":{"inspectedBytes":"99"}}"#
        );
        assert_eq!(
            text(tag_values_llm(&v2)),
            r#"{"tagValues":{"int":["200"],"string":["a",""]},"metrics":{"inspectedBytes":99}}"#
        );
        let v1 = SearchTagValuesResponse { tag_values: vec!["a".into()], metrics: metrics(0) };
        assert_eq!(text(tag_values_v1(&v1)), r#"{"tagValues":["a"],"metrics":{}}"#);
    }

    #[test]
    fn empty_lists_are_there() {
        let v1 = SearchTagsResponse { tag_names: vec![], metrics: metrics(0) };
        assert_eq!(text(tags_v1(&v1)), r#"{"tagNames":[],"metrics":{}}"#);
        let v2 = SearchTagsV2Response { scopes: vec![], metrics: metrics(0) };
        assert_eq!(text(tags_v2(&v2)), r#"{"scopes":[],"metrics":{}}"#);
        let values = SearchTagValuesV2Response { tag_values: vec![], metrics: metrics(0) };
        assert_eq!(text(tag_values_v2(&values)), r#"{"tagValues":[],"metrics":{}}"#);
    }
}
