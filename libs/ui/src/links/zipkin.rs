//! Translates links to Zipkin's UI. Parameters that cannot be understood are left out.

use super::conditions::{
    Parameters, attribute, equals, equals_any_case, filter, is_duration, is_lookback, quoted,
    seconds_of,
};
use super::is_id;

/// The separator of conditions in an annotation query.
const AND: &str = " and ";

/// The page of a trace. `None` if this is not an id.
pub(super) fn trace(id: &str) -> Option<String> {
    is_id(id).then(|| format!("trace/{id}"))
}

/// The calls between services.
pub(super) fn dependency(query: &str) -> String {
    let mut ours = Parameters::new();
    Times::of(query).add_to(&mut ours);
    ours.of("map")
}

/// The search with one query for all conditions.
pub(super) fn search(query: &str) -> String {
    if query.is_empty() {
        return "search".to_owned();
    }
    let mut conditions = Vec::new();
    let mut annotated = Vec::new();
    let mut limit = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_given = !value.is_empty() && value != "all";
        match &*name {
            // Zipkin shows all names in lower case, so the case of the stored name is not known.
            "serviceName" if is_given => {
                conditions.push(equals_any_case("resource.service.name", &value));
            }
            "spanName" if is_given => conditions.push(equals_any_case("name", &value)),
            "remoteServiceName" if is_given => {
                conditions.push(equals_any_case("span.peer.service", &value));
            }
            "minDuration" => conditions.extend(duration(">=", &value)),
            "maxDuration" => conditions.extend(duration("<=", &value)),
            "annotationQuery" => annotations(&value, &mut conditions, &mut annotated),
            "limit" if value.parse::<u32>().is_ok_and(|limit| limit > 0) => {
                limit = Some(value.into_owned());
            }
            _ => {}
        }
    }
    let mut text = filter(&conditions);
    // A filter checks one event of a span at a time, so each event name needs a filter of its own.
    for (at, condition) in annotated.iter().enumerate() {
        match at {
            0 if conditions.is_empty() => text = filter(std::slice::from_ref(condition)),
            _ => text.push_str(&format!(" | {{ {condition} }}")),
        }
    }
    let mut ours = Parameters::new();
    Times::of(query).add_to(&mut ours);
    if let Some(limit) = limit {
        ours.add("limit", &limit);
    }
    ours.add("q", &text);
    ours.of("search")
}

/// A condition on the duration. Zipkin writes a number of microseconds, or a number with a unit.
fn duration(operator: &str, text: &str) -> Option<String> {
    let is_micros = text.parse::<u32>().is_ok() && !text.starts_with('+');
    let unit = if is_micros { "us" } else { "" };
    (is_micros || is_duration(text)).then(|| format!("duration {operator} {text}{unit}"))
}

/// Adds the conditions of `key=value and other key`. A key alone is the key of a tag, or the name of an annotation.
fn annotations(query: &str, conditions: &mut Vec<String>, annotated: &mut Vec<String>) {
    for part in query.split(AND).map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match (key, value) {
            ("", _) => {}
            ("error", "" | "true") => conditions.push("status = error".to_owned()),
            (key, "") => annotated.push(format!(
                "{} != nil || event:name = {}",
                attribute("", key),
                quoted(key)
            )),
            (key, value) => conditions.push(equals(&attribute("", key), value)),
        }
    }
}

/// The time range of a link: milliseconds since 1970, or a length of time that ends now.
#[derive(Default)]
struct Times {
    from: Option<u64>,
    to: Option<u64>,
    /// Milliseconds.
    lookback: Option<u64>,
}

impl Times {
    fn of(query: &str) -> Self {
        let mut times = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "startTs" | "startTime" => times.from = value.parse().ok(),
                "endTs" | "endTime" => times.to = value.parse().ok(),
                "lookback" if is_lookback(&value) => {
                    times.lookback =
                        seconds_of(&value).map(|seconds| seconds.saturating_mul(1_000));
                }
                // `lookback` is then the word `millis`, or a number of milliseconds.
                "lookback" | "millis" => {
                    times.lookback =
                        value.parse().ok().filter(|&millis| millis > 0).or(times.lookback);
                }
                _ => {}
            }
        }
        times
    }

    fn add_to(&self, ours: &mut Parameters) {
        let from = match (self.from, self.to, self.lookback) {
            (None, Some(to), Some(lookback)) => Some(to.saturating_sub(lookback)),
            (from, ..) => from,
        };
        let micros = |millis: u64| millis.saturating_mul(1_000);
        match (from, self.lookback) {
            (Some(from), _) => ours.add_range(Some(micros(from)), self.to.map(micros)),
            (None, Some(lookback)) => ours.add("range", &range(lookback.div_ceil(1_000))),
            (None, None) => {}
        }
    }
}

/// Seconds as the pages write them: in the largest unit that gives a whole number.
fn range(seconds: u64) -> String {
    let unit = [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
        .into_iter()
        .find(|(size, _)| seconds.is_multiple_of(*size));
    let (size, unit) = unit.unwrap_or((1, 's'));
    format!("{}{unit}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters of a search.
    fn led(zipkin: &str) -> Vec<(String, String)> {
        let target = search(zipkin);
        let query = target.strip_prefix("search?").expect("a search");
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    fn query_of(zipkin: &str) -> String {
        led(zipkin).pop().unwrap().1
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn search_becomes_one_query() {
        assert_eq!(
            query_of(
                "serviceName=frontend&spanName=get+%2F&remoteServiceName=db&minDuration=1500&maxDuration=2s&annotationQuery=http.status_code%3D500+and+error"
            ),
            r#"{ resource.service.name =~ "(?i)frontend" && name =~ "(?i)get /" && span.peer.service =~ "(?i)db" && duration >= 1500us && duration <= 2s && (.http.status_code = "500" || .http.status_code = 500) && status = error }"#
        );
        assert_eq!(query_of("serviceName=all&spanName=&lookback=15m"), "{ }");
        assert_eq!(search(""), "search");
    }

    #[test]
    fn names_of_annotations_are_looked_for_one_by_one() {
        assert_eq!(query_of("annotationQuery=ws"), r#"{ .ws != nil || event:name = "ws" }"#);
        assert_eq!(
            query_of("annotationQuery=ws+and+wr+and+k%3Dv+and+%3D1+and+"),
            r#"{ .k = "v" } | { .ws != nil || event:name = "ws" } | { .wr != nil || event:name = "wr" }"#
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let link = "minDuration=soon&maxDuration=%2B5&limit=0&endTs=x&lookback=range";
        assert_eq!(search(link), "search?q=%7B+%7D");
    }

    #[test]
    fn times_are_those_of_the_address() {
        for (link, expected) in [
            ("lookback=15m", &[("range", "15m")][..]),
            ("lookback=3600000", &[("range", "1h")]),
            ("lookback=millis&millis=90500", &[("range", "91s")]),
            ("lookback=1h&endTs=1700000000000", &[("from", "1699996400"), ("to", "1700000000")]),
            (
                "lookback=range&startTs=1700000000000&endTs=1700000000500",
                &[("from", "1700000000"), ("to", "1700000001")],
            ),
            ("lookback=custom&startTs=1700000000000", &[("from", "1700000000")]),
        ] {
            let mut found = led(link);
            found.pop();
            assert_eq!(found, pairs(expected), "{link}");
        }
        let link = "startTime=1700000000000&endTime=1700000060000";
        assert_eq!(dependency(link), "map?from=1700000000&to=1700000060");
        assert_eq!(dependency(""), "map");
    }

    #[test]
    fn limit_is_kept() {
        assert_eq!(led("limit=7"), pairs(&[("limit", "7"), ("q", "{ }")]));
    }
}
