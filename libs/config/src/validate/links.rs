//! `query_frontend.links`: templates whose values come from spans, that is from anybody.

use crate::sections::query_frontend::Link;

/// What a template may name beside attributes; `start` and `end` also with an offset and a unit.
const NAMES: [&str; 4] = ["traceId", "spanId", "spanName", "service"];
const SCOPES: [&str; 3] = ["resource.", "span.", "event."];

/// Values may stand behind scheme, host and port only, so that they cannot change where a link leads.
pub(super) fn validate(links: &[Link]) -> Result<(), String> {
    for (place, link) in links.iter().enumerate() {
        check(link).map_err(|cause| format!("query_frontend.links[{place}]: {cause}"))?;
    }
    Ok(())
}

fn check(link: &Link) -> Result<(), String> {
    if link.title.trim().is_empty() {
        return Err("title is missing".to_owned());
    }
    if !link.shown_with.is_empty() {
        let name = link.shown_with.split('=').next().unwrap_or_default();
        if !is_attribute(name) {
            return Err(format!("match {name:?} is no attribute: resource.x, span.x or event.x"));
        }
    }
    let url = &link.url;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest =
        rest.ok_or_else(|| format!("url {url:?} begins with neither http:// nor https://"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return Err(format!("url {url:?}: host and port must be plain text without {{…}}"));
    }
    if url.bytes().any(|byte| byte == b'\\' || byte.is_ascii_control() || byte == b' ') {
        return Err(format!("url {url:?} has a blank, a control character or a backslash"));
    }
    for part in rest.split('{').skip(1) {
        let Some((name, _)) = part.split_once('}') else {
            return Err(format!("url {url:?}: a brace is not closed"));
        };
        if !is_attribute(name) && !NAMES.contains(&name) && !is_time(name) {
            return Err(format!("url {url:?}: {{{name}}} is not a known field"));
        }
    }
    Ok(())
}

fn is_attribute(name: &str) -> bool {
    SCOPES.iter().any(|scope| name.strip_prefix(scope).is_some_and(|key| !key.is_empty()))
}

/// `start` or `end`, as in `start-5m:ns`.
fn is_time(name: &str) -> bool {
    let (time, unit) = name.split_once(':').unwrap_or((name, "ms"));
    let Some(offset) = time.strip_prefix("start").or_else(|| time.strip_prefix("end")) else {
        return false;
    };
    matches!(unit, "s" | "ms" | "us" | "ns") && (offset.is_empty() || is_offset(offset))
}

fn is_offset(offset: &str) -> bool {
    let length =
        offset.strip_prefix(['+', '-']).and_then(|rest| rest.strip_suffix(['s', 'm', 'h', 'd']));
    length.is_some_and(|digits| {
        (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str) -> Result<(), String> {
        check(&Link { title: "Logs".to_owned(), url: url.to_owned(), ..Link::default() })
    }

    #[test]
    fn values_stand_behind_the_host_only() {
        for url in [
            "https://logs.example:3000/explore?q={resource.service.name}&from={start-5m}&to={end+1h:ns}",
            "http://[::1]:80/{span.http.route}#{traceId}-{spanId}",
            "https://logs.example?{event.exception.type}={spanName}{service}",
        ] {
            assert_eq!(checked(url), Ok(()), "{url}");
        }
        for url in [
            "",
            "javascript:alert(1)",
            "//logs.example/",
            "https://{span.host}/",
            "https://logs.{span.host}/",
            "https://logs.example:{span.port}/",
            "https://user@logs.example/",
            "https:///x",
            "https://logs.example\\x",
            "https://logs.example/{",
            "https://logs.example/{}",
            "https://logs.example/{span.}",
            "https://logs.example/{start+m}",
            "https://logs.example/{end:years}",
            "https://logs.example/{start-5}",
            "https://logs.example/ x",
            "https://logs.example/{host}",
        ] {
            assert!(checked(url).is_err(), "{url}");
        }
    }

    #[test]
    fn match_names_an_attribute() {
        let link = |shown_with: &str| {
            let (title, url) = ("Logs".to_owned(), "https://logs.example/".to_owned());
            check(&Link { title, url, shown_with: shown_with.to_owned() })
        };
        assert_eq!(link("span.db.system=redis=1"), Ok(()));
        assert_eq!(link("resource.region"), Ok(()));
        assert!(link("region").is_err());
        assert!(check(&Link { url: "https://a".to_owned(), ..Link::default() }).is_err());
    }
}
