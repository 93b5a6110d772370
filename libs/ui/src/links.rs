//! Addresses of Jaeger's UI and of Zipkin's, as dashboards and chats hold them: redirects to the page that shows the same.

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use form_urlencoded::Serializer;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

/// Jaeger's `/search`, `/trace/{id}`, `/trace/{a}...{b}`, `/dependencies` and `/monitor`. `to_root`: the way from the
/// folder of `/search` to that of `/ui/`, as `""` or `"../"`.
pub fn jaeger_links(to_root: &'static str) -> Router {
    let search = async move |RawQuery(query): RawQuery| {
        let query = search_query(query.as_deref().unwrap_or_default());
        redirect(&format!("{to_root}ui/search?{query}"))
    };
    let trace = async move |Path(ids): Path<String>, RawQuery(query): RawQuery| {
        trace_link(&format!("../{to_root}"), &ids, query.as_deref().unwrap_or_default())
    };
    let page = |page: &'static str| get(async move || redirect(&format!("{to_root}ui/{page}")));
    Router::new()
        .route("/search", get(search))
        .route("/trace/{ids}", get(trace))
        .route("/dependencies", page("map"))
        .route("/monitor", page("services"))
}

/// Zipkin's `/traces/{id}`; `to_root` as for [`jaeger_links`].
pub fn zipkin_links(to_root: &'static str) -> Router {
    let trace = async move |Path(id): Path<String>| trace_link(&format!("../{to_root}"), &id, "");
    Router::new().route("/traces/{id}", get(trace))
}

/// The page of one trace, or the comparison of two whose ids have three dots between them.
fn trace_link(to_root: &str, ids: &str, query: &str) -> Response {
    let is_id = |id: &str| {
        !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match ids.split_once("...") {
        Some((a, b)) if is_id(a) && is_id(b) => redirect(&format!("{to_root}ui/compare/{a}...{b}")),
        None if is_id(ids) => {
            let query = trace_query(query);
            let mark = if query.is_empty() { "" } else { "?" };
            redirect(&format!("{to_root}ui/trace/{ids}{mark}{query}"))
        }
        _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

fn redirect(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::FOUND, [(LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The parameters of a trace page: what is looked for in it.
fn trace_query(query: &str) -> String {
    let mut ours = Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "uiFind" {
            ours.append_pair("find", &value);
        }
    }
    ours.finish()
}

/// The parameters of the search page for those of Jaeger's. What cannot be understood is left out.
fn search_query(query: &str) -> String {
    let mut conditions = Vec::new();
    let mut ours = Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "service" => conditions.push(format!("resource.service.name = {}", quoted(&value))),
            "operation" if value != "all" => conditions.push(format!("name = {}", quoted(&value))),
            "minDuration" if is_duration(&value) => conditions.push(format!("duration >= {value}")),
            "maxDuration" if is_duration(&value) => conditions.push(format!("duration <= {value}")),
            "tags" => conditions.extend(tags(&value)),
            "tag" => conditions.extend(value.split_once(':').map(|(key, value)| tag(key, value))),
            "lookback" if is_lookback(&value) => drop(ours.append_pair("range", &value)),
            "limit" if value.parse::<u32>().is_ok() => drop(ours.append_pair("limit", &value)),
            "start" | "end" => {
                if let Ok(micros) = value.parse::<u64>() {
                    let name = if name == "start" { "from" } else { "to" };
                    ours.append_pair(name, &(micros / 1_000_000).to_string());
                }
            }
            _ => {}
        }
    }
    let text = if conditions.is_empty() {
        "{ }".to_owned()
    } else {
        format!("{{ {} }}", conditions.join(" && "))
    };
    ours.append_pair("q", &text);
    ours.finish()
}

/// Conditions of tags that are a JSON object of texts.
fn tags(json: &str) -> Vec<String> {
    let tags: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(json).unwrap_or_default();
    let text =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    tags.iter().map(|(key, value)| tag(key, &text(value))).collect()
}

/// Jaeger's tags are texts whatever they were, so the value is compared in each type that it may have had.
fn tag(key: &str, value: &str) -> String {
    if key == "error" && value == "true" {
        return "status = error".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let name = if key.bytes().all(plain) { format!(".{key}") } else { format!(".{}", quoted(key)) };
    let as_text = format!("{name} = {}", quoted(value));
    let is_number = value.parse::<f64>().is_ok_and(f64::is_finite)
        && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
        && value.bytes().next_back().is_some_and(|byte| byte.is_ascii_digit());
    if is_number || value == "true" || value == "false" {
        return format!("({as_text} || {name} = {value})");
    }
    as_text
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A duration as `1.5s`, `100ms` or `1h30m`: digits and units, which TraceQL writes alike.
fn is_duration(text: &str) -> bool {
    let known = |unit: &str| ["ns", "us", "µs", "ms", "s", "m", "h"].contains(&unit);
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
        let unit =
            &digits[..digits.find(|char: char| char.is_ascii_digit()).unwrap_or(digits.len())];
        if digits.len() == rest.len()
            || !rest.starts_with(|char: char| char.is_ascii_digit())
            || !known(unit)
        {
            return false;
        }
        rest = &digits[unit.len()..];
    }
    !text.is_empty()
}

/// A number and a unit, as `1h` or `2d`; not `custom`.
fn is_lookback(text: &str) -> bool {
    let number = text.trim_end_matches(['s', 'm', 'h', 'd', 'w']);
    number.len() + 1 == text.len()
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(query: &str) -> Vec<(String, String)> {
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    fn query_of(jaeger: &str) -> String {
        let all = decoded(&search_query(jaeger));
        all.into_iter().find(|(name, _)| name == "q").map(|(_, value)| value).unwrap()
    }

    #[test]
    fn search_becomes_one_query() {
        let jaeger = "service=cart&operation=GET%20%22x%22&minDuration=1.5s&maxDuration=1h30m\
            &tags=%7B%22http.status_code%22%3A%22500%22%2C%22a%20b%22%3A%22c%22%2C%22error%22%3A%22true%22%7D";
        assert_eq!(
            query_of(jaeger),
            r#"{ resource.service.name = "cart" && name = "GET \"x\"" && duration >= 1.5s && duration <= 1h30m && ."a b" = "c" && status = error && (.http.status_code = "500" || .http.status_code = 500) }"#
        );
        assert_eq!(query_of("operation=all&tag=k%3Av"), r#"{ .k = "v" }"#);
        assert_eq!(query_of(""), "{ }");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(
            query_of("minDuration=1s%7D%20or%20%7B&maxDuration=fast&tags=%5B1%5D&tag=x"),
            "{ }"
        );
        assert_eq!(search_query("lookback=custom&limit=all&start=soon"), "q=%7B+%7D");
    }

    #[test]
    fn times_become_seconds() {
        let all = decoded(&search_query(
            "lookback=2d&limit=5&start=1700000000123456&end=1700000100000000",
        ));
        let expected = [
            ("range", "2d"),
            ("limit", "5"),
            ("from", "1700000000"),
            ("to", "1700000100"),
            ("q", "{ }"),
        ];
        assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn trace_link_names_one_trace_or_two() {
        let location = |ids, query| {
            let response = trace_link("../", ids, query);
            response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned())
        };
        assert_eq!(location("1F", "uiFind=a").as_deref(), Some("../ui/trace/1F?find=a"));
        assert_eq!(location("1f...2e", "").as_deref(), Some("../ui/compare/1f...2e"));
        for ids in ["", "x", "1f...", "1f..2e", "1f...2e...3d"] {
            assert_eq!(location(ids, ""), None, "{ids}");
        }
    }

    #[test]
    fn text_to_find_is_kept() {
        assert_eq!(trace_query("uiFind=a%26b&x=1"), "find=a%26b");
    }
}
