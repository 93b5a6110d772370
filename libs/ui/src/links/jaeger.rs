//! Translates links to Jaeger's UI. Parameters that cannot be understood are left out.

use super::conditions::{
    Parameters, attribute, equals, filter, is_duration, is_lookback, quoted, seconds_of,
};
use super::is_id;

/// Most trace ids in a search for ids.
const MOST_IDS: usize = 100;

/// The range of a search for ids, which have no time: the longest range that a server allows by default.
const ANY_TIME: &str = "7d";

/// How far back Jaeger's UI looks if the address does not say it, in seconds.
const LOOKBACK: u64 = 3_600;

/// The page of one trace, or the comparison of two, whose ids have three dots between them. `None` if these are not ids.
pub(super) fn trace(ids: &str, query: &str) -> Option<String> {
    match ids.split_once("...") {
        // Jaeger's comparison may have no trace yet, or only one. The parameters name traces to choose from.
        Some((a, b)) if (a.is_empty() || is_id(a)) && (b.is_empty() || is_id(b)) => {
            let sides = [a, b].into_iter().filter(|id| !id.is_empty()).map(str::to_owned);
            let mut all: Vec<String> = sides.collect();
            // Two sides may be the same trace, and the parameters name the sides again.
            let is_named = |id: &String, all: &[String]| all.len() == 2 || all.contains(id);
            for id in cohort(query) {
                if !is_named(&id, &all) {
                    all.push(id);
                }
            }
            Some(comparison(&all))
        }
        None if is_id(ids) => Some(one_trace(ids, query)),
        _ => None,
    }
}

/// The comparison of the traces that the parameters name.
pub(super) fn compare(query: &str) -> String {
    comparison(&cohort(query).collect::<Vec<_>>())
}

fn cohort(query: &str) -> impl Iterator<Item = String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(name, id)| name == "cohort" && is_id(id)).map(|(_, id)| id.into_owned())
}

/// The comparison of the first two traces, or the page that asks for the missing ones.
fn comparison(ids: &[String]) -> String {
    match ids {
        [] => "compare".to_owned(),
        [one] => format!("compare?a={one}"),
        [a, b, ..] => format!("compare/{a}...{b}"),
    }
}

fn one_trace(id: &str, query: &str) -> String {
    let mut ours = Parameters::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "uiFind" {
            ours.add("find", &value);
        }
    }
    ours.of(&format!("trace/{id}"))
}

/// The calls of one service.
pub(super) fn dependencies_of_one(query: &str) -> String {
    let mut ours = Parameters::new();
    let (mut from, mut to) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "service" if !value.is_empty() => ours.add("focus", &value),
            "start" => from = value.parse().ok(),
            "end" => to = value.parse().ok(),
            _ => {}
        }
    }
    if from < to && from.is_some() {
        ours.add_range(from, to);
    }
    ours.of("map")
}

/// Rates and durations of a service.
pub(super) fn monitor(query: &str) -> String {
    let mut ours = Parameters::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "service" && !value.is_empty() {
            ours.add("service", &value);
        }
    }
    ours.of("services")
}

/// The search with one query for all conditions. If there are trace ids, the page that shows these traces.
pub(super) fn search(query: &str) -> String {
    let mut conditions = Vec::new();
    let mut ids = Vec::new();
    let (mut from, mut to, mut lookback, mut limit) = (None, None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "traceID" if is_id(&value) && ids.len() < MOST_IDS => ids.push(value.into_owned()),
            "service" if !value.is_empty() => {
                conditions.push(format!("resource.service.name = {}", quoted(&value)));
            }
            "operation" if value != "all" && !value.is_empty() => {
                conditions.push(format!("name = {}", quoted(&value)));
            }
            "minDuration" if is_duration(&value) => conditions.push(format!("duration >= {value}")),
            "maxDuration" if is_duration(&value) => conditions.push(format!("duration <= {value}")),
            "tags" => conditions.extend(tags(&value)),
            "tag" => conditions.extend(value.split_once(':').map(|(key, value)| tag(key, value))),
            "lookback" if is_lookback(&value) => lookback = Some(value.into_owned()),
            "limit" if value.parse::<u32>().is_ok_and(|limit| limit > 0) => {
                limit = Some(value.into_owned());
            }
            "start" => from = value.parse::<u64>().ok(),
            "end" => to = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    match &ids[..] {
        [] if query.is_empty() => return "search".to_owned(),
        [] => {}
        [one] => return one_trace(one, query),
        [a, b] => return format!("compare/{a}...{b}"),
        _ => {
            let any: Vec<String> =
                ids.iter().map(|id| format!("trace:id = {}", quoted(id))).collect();
            conditions = vec![any.join(" || ")];
            limit = limit.or_else(|| Some(ids.len().to_string()));
            lookback = lookback.or_else(|| Some(ANY_TIME.to_owned()));
        }
    }
    let mut ours = Parameters::new();
    if let (None, Some(end)) = (from, to) {
        let length = lookback.as_deref().and_then(seconds_of).unwrap_or(LOOKBACK);
        from = Some(end.saturating_sub(length.saturating_mul(1_000_000)));
    }
    if from.is_some() {
        ours.add_range(from, to);
    } else if let Some(lookback) = lookback {
        ours.add("range", &lookback);
    }
    if let Some(limit) = limit {
        ours.add("limit", &limit);
    }
    ours.add("q", &filter(&conditions));
    ours.of("search")
}

/// Conditions for tags. They are a JSON object, or written as in Jaeger's form: `key=value other="a b"`.
fn tags(text: &str) -> Vec<String> {
    type Tags = serde_json::Map<String, serde_json::Value>;
    let Ok(tags) = serde_json::from_str::<Tags>(text) else {
        // Other JSON has no known meaning.
        let is_json = serde_json::from_str::<serde_json::Value>(text).is_ok();
        return if is_json { Vec::new() } else { written_tags(text) };
    };
    let text =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    tags.iter().map(|(key, value)| tag(key, &text(value))).collect()
}

/// `key=value` with spaces between them; a value in quotes may have spaces.
fn written_tags(text: &str) -> Vec<String> {
    let mut conditions = Vec::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"').and_then(|text| text.split_once('"')) {
            Some(quoted) => quoted,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        // A word without a value is ignored.
        let key = key.rsplit(char::is_whitespace).next().unwrap_or(key);
        if !key.is_empty() {
            conditions.push(tag(key, value));
        }
        rest = after.trim_start();
    }
    conditions
}

/// The condition for a tag. Some of Jaeger's tags are fields of the span, not attributes.
fn tag(key: &str, value: &str) -> String {
    const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];
    match (key, value) {
        ("error", "true") => "status = error".to_owned(),
        ("error", "false") => "status != error".to_owned(),
        ("span.kind", kind) if KINDS.contains(&kind) => format!("kind = {kind}"),
        ("span.status", status @ ("unset" | "ok" | "error")) => format!("status = {status}"),
        ("otel.status_code", "ERROR") => "status = error".to_owned(),
        ("otel.status_code", "OK") => "status = ok".to_owned(),
        ("otel.status_description", text) => format!("statusMessage = {}", quoted(text)),
        ("scope.name" | "otel.scope.name" | "otel.library.name", name) => {
            format!("instrumentation:name = {}", quoted(name))
        }
        ("scope.version" | "otel.scope.version" | "otel.library.version", version) => {
            format!("instrumentation:version = {}", quoted(version))
        }
        (key, value) => match key.strip_prefix("resource.") {
            Some(key) => equals(&attribute("resource", key), value),
            None => equals(&attribute("", key), value),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters of a search.
    fn led(jaeger: &str) -> Vec<(String, String)> {
        let target = search(jaeger);
        let query = target.strip_prefix("search?").expect("a search");
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    fn query_of(jaeger: &str) -> String {
        led(jaeger).into_iter().find(|(name, _)| name == "q").map(|(_, value)| value).unwrap()
    }

    #[test]
    fn search_becomes_one_query() {
        let jaeger = "service=cart&operation=GET%20%22x%22&minDuration=1.5s&maxDuration=1h30m\
            &tags=%7B%22http.status_code%22%3A%22500%22%2C%22a%20b%22%3A%22c%22%2C%22error%22%3A%22true%22%7D";
        assert_eq!(
            query_of(jaeger),
            r#"{ resource.service.name = "cart" && name = "GET \"x\"" && duration >= 1.5s && duration <= 1h30m && ."a b" = "c" && status = error && (.http.status_code = "500" || .http.status_code = 500) }"#
        );
        assert_eq!(query_of("operation=all&tag=k%3Av&service="), r#"{ .k = "v" }"#);
        assert_eq!(query_of("lookback=1h"), "{ }");
        assert_eq!(search(""), "search");
    }

    #[test]
    fn tags_that_are_parts_of_the_span_are_asked_for_as_such() {
        for (tag, expected) in [
            ("span.kind:server", "kind = server"),
            ("span.kind:other", r#".span.kind = "other""#),
            ("span.status:ok", "status = ok"),
            ("error:false", "status != error"),
            ("otel.status_code:ERROR", "status = error"),
            ("otel.status_description:no room", r#"statusMessage = "no room""#),
            ("otel.scope.name:http", r#"instrumentation:name = "http""#),
            ("scope.version:1", r#"instrumentation:version = "1""#),
            ("resource.host.name:a", r#"resource.host.name = "a""#),
        ] {
            let query: String = form_urlencoded::byte_serialize(tag.as_bytes()).collect();
            assert_eq!(query_of(&format!("tag={query}")), format!("{{ {expected} }}"));
        }
    }

    #[test]
    fn tags_as_they_are_written_into_the_form() {
        let written = r#"error=true  http.url="a b" lost k=v= "#;
        let query: String = form_urlencoded::byte_serialize(written.as_bytes()).collect();
        assert_eq!(
            query_of(&format!("tags={query}")),
            r#"{ status = error && .http.url = "a b" && .k = "v=" }"#
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(
            query_of("minDuration=1s%7D%20or%20%7B&maxDuration=fast&tags=%5B1%5D&tag=x"),
            "{ }"
        );
        assert_eq!(search("lookback=custom&limit=all&start=soon&traceID=x"), "search?q=%7B+%7D");
    }

    #[test]
    fn times_become_seconds() {
        let pairs = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let both = led("lookback=2d&limit=5&start=1700000000123456&end=1700000100000001");
        let expected = [("from", "1700000000"), ("to", "1700000101"), ("limit", "5"), ("q", "{ }")];
        assert_eq!(both, pairs(&expected));
        let end = led("lookback=2d&end=1700000100000000");
        assert_eq!(end, pairs(&[("from", "1699827300"), ("to", "1700000100"), ("q", "{ }")]));
        let start = led("start=1700000100000000");
        assert_eq!(start, pairs(&[("from", "1700000100"), ("q", "{ }")]));
        let none = led("start=1700000100000000&end=1700000100000000");
        assert_eq!(none[1].1, "1700000101", "a range is never empty");
        assert_eq!(led("lookback=2d"), pairs(&[("range", "2d"), ("q", "{ }")]));
    }

    #[test]
    fn ids_lead_to_the_traces() {
        assert_eq!(search("traceID=1F"), "trace/1F");
        assert_eq!(search("service=a&traceID=1f&uiFind=x%26y"), "trace/1f?find=x%26y");
        assert_eq!(search("traceID=1f&traceID=2e"), "compare/1f...2e");
        let three = led("traceID=1f&traceID=2e&traceID=3d&traceID=%22%7D");
        let query = r#"{ trace:id = "1f" || trace:id = "2e" || trace:id = "3d" }"#;
        let expected = [("range", "7d"), ("limit", "3"), ("q", query)];
        assert_eq!(three, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn traces_are_compared_as_far_as_they_are_named() {
        for (ids, query, expected) in [
            ("1f...2e", "cohort=1f&cohort=2e&cohort=3d", Some("compare/1f...2e")),
            ("...", "cohort=1f&cohort=2e", Some("compare/1f...2e")),
            ("1f...", "", Some("compare?a=1f")),
            ("...", "cohort=x", Some("compare")),
            ("1f", "", Some("trace/1f")),
            ("", "", None),
            ("x", "", None),
            ("1f..2e", "", None),
            ("1f...2e...3d", "", None),
        ] {
            assert_eq!(trace(ids, query).as_deref(), expected, "{ids}");
        }
        assert_eq!(trace("1f...", "cohort=1f&cohort=2e").as_deref(), Some("compare/1f...2e"));
        assert_eq!(compare("cohort=1f"), "compare?a=1f");
    }

    #[test]
    fn calls_of_a_service_are_those_of_its_time() {
        let link = "service=a&operation=b&start=1700000000000000&end=1700000100000000";
        assert_eq!(dependencies_of_one(link), "map?focus=a&from=1700000000&to=1700000100");
        assert_eq!(dependencies_of_one("start=5&end=4&service="), "map");
        assert_eq!(monitor("service="), "services");
    }
}
