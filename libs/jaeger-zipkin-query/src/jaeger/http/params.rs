//! Parameters of v1, parsed with the error texts of Jaeger.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tactus_api::QueryParams;
use tactus_config::{parse_bool, parse_go, parse_prometheus};
use tactus_model::TraceId;

use crate::jaeger::types::Result;
use crate::jaeger::{JaegerError, TimeRange, TraceFilter, USUAL_LENGTH, parse_trace_id};

pub(super) fn invalid(text: impl Into<String>) -> JaegerError {
    JaegerError::Invalid(text.into())
}

pub(super) fn unable_to_parse(name: &str, why: impl std::fmt::Display) -> JaegerError {
    invalid(format!("unable to parse param '{name}': {why}"))
}

/// All values of a parameter that are not empty.
pub(super) fn all<'p>(params: &'p QueryParams<'_>, name: &'p str) -> impl Iterator<Item = &'p str> {
    let pairs = params.iter().filter(move |(key, value)| *key == name && !value.is_empty());
    pairs.map(|(_, value)| value)
}

/// A decimal integer, with the errors of Go. `None` if the parameter is absent.
pub(super) fn integer(params: &QueryParams<'_>, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let wrong = |why| format!("strconv.ParseInt: parsing {text:?}: {why}");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("invalid syntax"));
    }
    text.parse().map(Some).map_err(|_| wrong("value out of range"))
}

/// Nanoseconds of a parameter in milliseconds.
pub(super) fn millis(params: &QueryParams<'_>, name: &str) -> Result<Option<u64>> {
    nanos(params, name, 1_000_000)
}

/// Nanoseconds of a parameter in microseconds.
pub(super) fn micros(params: &QueryParams<'_>, name: &str) -> Result<Option<u64>> {
    nanos(params, name, 1_000)
}

fn nanos(params: &QueryParams<'_>, name: &str, unit: u64) -> Result<Option<u64>> {
    let value = integer(params, name).map_err(|error| unable_to_parse(name, error))?;
    match value.map(u64::try_from) {
        None => Ok(None),
        Some(Ok(count)) => Ok(Some(count.saturating_mul(unit))),
        Some(Err(_)) => Err(unable_to_parse(name, "must not be negative")),
    }
}

/// A boolean as Go writes it; `None` if the parameter is absent.
pub(super) fn boolean(params: &QueryParams<'_>, name: &str) -> Result<Option<bool>> {
    let Some(text) = params.get(name) else { return Ok(None) };
    parse_bool(text).map(Some).ok_or_else(|| {
        let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
        unable_to_parse(name, why)
    })
}

/// A bound of durations as Go writes it, not negative; `None` if the parameter is absent, or zero: that bounds nothing.
pub(super) fn bound(params: &QueryParams<'_>, name: &str) -> Result<Option<Duration>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let duration = parse_go(text).map_err(|error| error.to_string())?;
    match u64::try_from(duration.as_nanos()) {
        Ok(0) => Ok(None),
        Ok(nanos) => Ok(Some(Duration::from_nanos(nanos))),
        Err(_) => Err(format!("negative duration {text:?}")),
    }
}

/// Nanoseconds since 1970 of a time as RFC 3339 writes it; `None` if the parameter is absent.
pub(super) fn rfc3339(params: &QueryParams<'_>, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    // Before 1970 there are no spans.
    Ok(Some(u64::try_from(time.as_nanosecond()).unwrap_or(0)))
}

/// What to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Search {
    /// Traces that match.
    Filter(TraceFilter),
    /// These traces; the other parameters do not matter then.
    Ids {
        /// Their ids, in the order of the parameters.
        ids: Vec<TraceId>,
        /// As they are stored.
        raw: bool,
    },
}

/// The search of these parameters. `now` in nanoseconds since 1970.
pub(super) fn search(params: &QueryParams<'_>, now: u64) -> Result<Search> {
    let raw = boolean(params, "raw")?.unwrap_or(false);
    let mut ids = Vec::new();
    for text in all(params, "traceID") {
        let id = parse_trace_id(text)
            .map_err(|error| invalid(format!("cannot parse traceID param: {error}")))?;
        ids.push(id);
    }
    if !ids.is_empty() {
        return Ok(Search::Ids { ids, raw });
    }
    let named_bound = |name| bound(params, name).map_err(|error| unable_to_parse(name, error));
    let (range, is_usual_range) = range(params, now)?;
    let limit = limit(params)?;
    let service = params.get("service").unwrap_or_default().to_owned();
    if service.is_empty() {
        return Err(invalid("parameter 'service' is required"));
    }
    let (min_duration, max_duration) = (named_bound("minDuration")?, named_bound("maxDuration")?);
    if let (Some(min), Some(max)) = (min_duration, max_duration)
        && max < min
    {
        return Err(invalid("'maxDuration' should be greater than 'minDuration'"));
    }
    let operation = params.get("operation").unwrap_or_default().to_owned();
    let tags = tags(params)?.into_iter().collect();
    Ok(Search::Filter(TraceFilter {
        service,
        operation,
        tags,
        range,
        is_usual_range,
        min_duration,
        max_duration,
        limit,
        raw,
    }))
}

/// The range, and whether its start is the usual one.
fn range(params: &QueryParams<'_>, now: u64) -> Result<(TimeRange, bool)> {
    let (start, end) = (micros(params, "start")?, micros(params, "end")?);
    // What started in the last microsecond is inside.
    let end = end.map_or(now, |end| end.saturating_add(999));
    let length = params.get("lookback").and_then(lookback);
    let is_usual = start.is_none() && length.is_none();
    let length = u64::try_from(length.unwrap_or(USUAL_LENGTH).as_nanos()).unwrap_or(u64::MAX);
    let start = start.unwrap_or(end.saturating_sub(length));
    Ok((TimeRange { start, end }, is_usual))
}

/// How far back to look: `1h`, `2d`. The UI also sends `custom`, which says nothing.
fn lookback(text: &str) -> Option<Duration> {
    if let Ok(duration) = parse_prometheus(text) {
        return Some(duration.as_std()).filter(|duration| !duration.is_zero());
    }
    let nanos = u64::try_from(parse_go(text).ok()?.as_nanos()).ok()?;
    (nanos != 0).then(|| Duration::from_nanos(nanos))
}

/// Jaeger does not name the parameter where the text is no number that fits.
fn limit(params: &QueryParams<'_>) -> Result<u32> {
    let limit = integer(params, "limit").map_err(invalid)?.unwrap_or(0);
    if limit < 0 {
        return Err(unable_to_parse("limit", "must not be negative"));
    }
    let too_large =
        |_| invalid(format!("strconv.ParseInt: parsing \"{limit}\": value out of range"));
    u32::try_from(limit).map_err(too_large)
}

/// Tags, each as `key:value`.
pub(super) fn tag_pairs(params: &QueryParams<'_>) -> Result<Vec<(String, String)>> {
    let pair = |text: &str| match text.split_once(':') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(invalid(format!(
            "malformed 'tag' parameter, expecting key:value, received: {text}"
        ))),
    };
    // Empty ones too: they are malformed.
    params.iter().filter(|(name, _)| *name == "tag").map(|(_, text)| pair(text)).collect()
}

/// Tags of both forms. Of a tag that is there twice the last value counts.
fn tags(params: &QueryParams<'_>) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::from_iter(tag_pairs(params)?);
    for text in all(params, "tags") {
        tags.extend(json_tags(text, "tags")?);
    }
    Ok(tags)
}

/// Tags as an object. Values that are no strings are taken as their texts.
pub(super) fn json_tags(text: &str, name: &str) -> Result<BTreeMap<String, String>> {
    let malformed = |why: String| {
        invalid(format!("malformed '{name}' parameter, cannot unmarshal JSON: {why}"))
    };
    let values: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let mut tags = BTreeMap::new();
    for (key, value) in values {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(malformed(format!("the value of {key:?} is no text")));
            }
        };
        tags.insert(key, value);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_tags_are_taken_as_texts() {
        let tags = json_tags(r#"{"a":"x","b":5,"c":12.5,"d":true}"#, "tags").unwrap();
        let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(tags, ["a=x", "b=5", "c=12.5", "d=true"]);
    }

    #[test]
    fn durations_of_zero_bound_nothing() {
        let durations = |more: &str| {
            let query = format!("service=svc{more}");
            match search(&QueryParams::parse(&query), 0) {
                Ok(Search::Filter(filter)) => (filter.min_duration, filter.max_duration),
                other => panic!("{other:?}"),
            }
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(durations("&maxDuration=0s"), (None, None));
        assert_eq!(durations("&minDuration=1s&maxDuration=0"), (second, None));
        assert_eq!(durations("&minDuration=0ms&maxDuration=1s"), (None, second));
    }

    #[test]
    fn lookback_is_read_in_both_forms() {
        for (text, seconds) in [
            ("1h", Some(3_600)),
            ("2d", Some(172_800)),
            ("1h30m", Some(5_400)),
            ("1.5h", Some(5_400)),
        ] {
            assert_eq!(lookback(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["custom", "0", "0s", "-1h", "5"] {
            assert_eq!(lookback(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parameters_of_any_text_never_panic(
            names in proptest::collection::vec(
                "service|operation|tag|tags|start|end|minDuration|maxDuration|limit|lookback|traceID|raw",
                0..6,
            ),
            values in proptest::collection::vec("[-+0-9.eEsmh]{0,24}|\\PC{0,12}", 6),
            now in any::<u64>(),
        ) {
            let pairs = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}"));
            let query = format!("service=svc&{}", pairs.collect::<Vec<_>>().join("&"));
            let _ = search(&QueryParams::parse(&query), now);
        }
    }
}
