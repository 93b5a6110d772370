//! Converts requests of the streaming service to parameters of the HTTP routes, so that both are checked by the same
//! code and refused with the same texts.
//!
//! A number of 0 and an empty text count as not sent; a sender cannot distinguish these either.

use form_urlencoded::Serializer;
use tactus_proto::tempopb::{
    QueryInstantRequest, QueryRangeRequest, SearchRequest, SearchTagValuesRequest,
    SearchTagsRequest, TraceByIdRequest,
};

use crate::{Error, Result};

/// Parameters of a search. Errors: a tag name that the parameter `tags` cannot express.
pub fn search_params(request: &SearchRequest) -> Result<String> {
    let mut params = Params::new();
    params.text("q", &request.query);
    params.text("tags", &logfmt(&request.tags)?);
    params.unit("minDuration", request.min_duration_ms.into(), "ms");
    params.unit("maxDuration", request.max_duration_ms.into(), "ms");
    params.number("limit", request.limit);
    params.number("spss", request.spans_per_span_set);
    params.number("start", request.start);
    params.number("end", request.end);
    Ok(params.finish())
}

/// Parameters of a query for tag names.
pub fn tags_params(request: &SearchTagsRequest) -> String {
    let mut params = Params::new();
    params.text("scope", &request.scope);
    params.text("q", &request.query);
    params.number("start", request.start);
    params.number("end", request.end);
    params.number("limit", request.max_tags_per_scope);
    params.number("maxStaleValues", request.stale_values_threshold);
    params.finish()
}

/// Parameters of a trace by id, without the id, which is part of a path.
pub fn trace_params(request: &TraceByIdRequest) -> String {
    let mut params = Params::new();
    params.text("mode", &request.query_mode);
    params.finish()
}

/// Parameters of a query for tag values, without the name of the tag, which is part of a path.
pub fn tag_values_params(request: &SearchTagValuesRequest) -> String {
    let mut params = Params::new();
    params.text("q", &request.query);
    params.number("start", request.start);
    params.number("end", request.end);
    params.number("limit", request.max_tag_values);
    params.number("maxStaleValues", request.stale_value_threshold);
    params.finish()
}

/// Parameters of a metrics query over a range. Errors: a range without start or end.
pub fn range_params(request: &QueryRangeRequest) -> Result<String> {
    for (name, nanos) in [("start", request.start), ("end", request.end)] {
        if nanos == 0 {
            return Err(Error::Invalid(format!("{name} required")));
        }
    }
    let mut params = Params::new();
    params.text("q", &request.query);
    params.nanos("start", request.start);
    params.nanos("end", request.end);
    params.unit("step", request.step, "ns");
    params.number("exemplars", request.exemplars);
    params.number("maxSeries", request.max_series);
    Ok(params.finish())
}

/// Parameters of a metrics query for one value per series.
pub fn instant_params(request: &QueryInstantRequest) -> String {
    let mut params = Params::new();
    params.text("q", &request.query);
    params.nanos("start", request.start);
    params.nanos("end", request.end);
    params.finish()
}

struct Params(Serializer<'static, String>);

impl Params {
    fn new() -> Self {
        Self(Serializer::new(String::new()))
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.append_pair(name, value);
        }
    }

    fn number(&mut self, name: &str, value: u32) {
        self.unit(name, value.into(), "");
    }

    fn unit(&mut self, name: &str, value: u64, unit: &str) {
        if value > 0 {
            self.0.append_pair(name, &format!("{value}{unit}"));
        }
    }

    /// Padded with zeros, because a number of up to ten digits is read as seconds.
    fn nanos(&mut self, name: &str, value: u64) {
        if value > 0 {
            self.0.append_pair(name, &format!("{value:011}"));
        }
    }

    fn finish(mut self) -> String {
        self.0.finish()
    }
}

/// Pairs as [`crate::parse_logfmt`] reads them.
fn logfmt<'t>(tags: impl IntoIterator<Item = (&'t String, &'t String)>) -> Result<String> {
    let mut text = String::new();
    for (name, value) in tags {
        let breaks = |letter: char| letter <= ' ' || letter == '=' || letter == '"';
        if name.is_empty() || name.contains(breaks) {
            return Err(Error::Invalid(format!("invalid tags: {name:?} is no name of a tag")));
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.chars() {
            if matches!(letter, '"' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push('"');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::QueryParams;
    use crate::request::{MetricsLimits, MetricsQuery, TagValuesQuery, TagsQuery};

    const SECOND: u64 = 1_000_000_000;

    fn params(text: &str) -> BTreeMap<String, String> {
        let params = QueryParams::parse(text);
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    proptest! {
        #[test]
        fn tags_are_read_as_they_were_sent(
            tags in proptest::collection::btree_map("[!#-<>-~é]{1,8}", "\\PC{0,12}", 0..5),
        ) {
            let request = SearchRequest { tags: tags.clone(), ..SearchRequest::default() };
            let sent = params(&search_params(&request).unwrap());
            let text = sent.get("tags").cloned().unwrap_or_default();
            prop_assert_eq!(crate::parse_logfmt(&text).unwrap(), tags);
        }
    }

    #[test]
    fn search_has_the_parameters_that_were_set() {
        assert_eq!(search_params(&SearchRequest::default()).unwrap(), "");
        let request = SearchRequest {
            query: "{ name = \"a&b\" }".into(),
            min_duration_ms: 5,
            limit: 7,
            start: 10,
            end: 20,
            spans_per_span_set: 2,
            ..SearchRequest::default()
        };
        let sent = params(&search_params(&request).unwrap());
        let expected = [
            ("q", "{ name = \"a&b\" }"),
            ("minDuration", "5ms"),
            ("limit", "7"),
            ("spss", "2"),
            ("start", "10"),
            ("end", "20"),
        ];
        assert_eq!(sent, expected.map(|(name, value)| (name.into(), value.into())).into());
        let tags = [("a b".to_owned(), String::new())].into();
        assert!(search_params(&SearchRequest { tags, ..SearchRequest::default() }).is_err());
    }

    #[test]
    fn times_of_tags_are_seconds_and_those_of_metrics_nanoseconds() {
        let request = SearchTagsRequest {
            start: 10,
            end: 20,
            max_tags_per_scope: 3,
            stale_values_threshold: 4,
            ..SearchTagsRequest::default()
        };
        let query = TagsQuery::parse(&QueryParams::parse(&tags_params(&request))).unwrap();
        assert_eq!((query.range.start, query.range.end), (10 * SECOND, 20 * SECOND));
        assert_eq!((query.limit, query.max_stale), (3, 4));
        let request = SearchTagValuesRequest {
            end: 20,
            max_tag_values: 3,
            stale_value_threshold: 4,
            ..SearchTagValuesRequest::default()
        };
        let query = TagValuesQuery::parse(&QueryParams::parse(&tag_values_params(&request)));
        let query = query.unwrap();
        assert_eq!((query.range.start, query.range.end), (0, 20 * SECOND));
        assert_eq!((query.limit, query.max_stale), (3, 4));
        let limits = MetricsLimits {
            max_duration: std::time::Duration::ZERO,
            max_intervals: 0,
            max_exemplars: 100,
            max_series: 0,
            max_query_bytes: 0,
            unsafe_hints: false,
        };
        let request = QueryRangeRequest {
            query: "{} | rate()".into(),
            start: 5,
            end: 20 * SECOND,
            step: 1_500,
            max_series: 9,
            exemplars: 8,
            ..QueryRangeRequest::default()
        };
        let text = range_params(&QueryRangeRequest { step: SECOND, ..request.clone() }).unwrap();
        let query = MetricsQuery::parse_range(&QueryParams::parse(&text), &limits, 0).unwrap();
        assert_eq!((query.start, query.end, query.step), (5, 20 * SECOND, SECOND));
        assert_eq!((query.max_series, query.exemplars), (9, 8));
        assert_eq!(params(&range_params(&request).unwrap())["step"], "1500ns");
        for (start, end, expected) in [(0, 5, "start required"), (5, 0, "end required")] {
            let request = QueryRangeRequest { start, end, ..request.clone() };
            assert_eq!(range_params(&request).unwrap_err().to_string(), expected);
        }
        let request = QueryInstantRequest { query: "{} | rate()".into(), start: 1, end: 2 };
        let text = instant_params(&request);
        let query = MetricsQuery::parse_instant(&QueryParams::parse(&text), &limits, 0).unwrap();
        assert_eq!((query.start, query.end), (1, 2));
    }
}
