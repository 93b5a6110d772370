//! Requests that an operator has banned by their URL (`query_frontend.url_deny_list`).

use regex::Regex;
use tactus_api::{Error, Result};

/// Refuses a path with its query if it is on the list: as the client wrote it, decoded, or without the path prefix of the
/// routes.
pub(crate) fn check(denied: &[Regex], url: &str, without_prefix: Option<&str>) -> Result<()> {
    if denied.is_empty() {
        return Ok(());
    }
    let sent = [Some(url), without_prefix].into_iter().flatten();
    let urls: Vec<_> = sent.flat_map(|url| [url.to_owned(), decoded(url)]).collect();
    let is_denied = |denied: &Regex| urls.iter().any(|url| denied.is_match(url));
    if denied.iter().any(is_denied) {
        return Err(Error::Invalid(format!(
            "Invalid request {url}. This query has been identified as one that destabilizes our system. Contact your system administrator for more information"
        )));
    }
    Ok(())
}

/// The URL with its path and parameters decoded, in which a client cannot write the same query in different ways.
/// Parameters without a value are left out.
fn decoded(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut text = decoded_path(path);
    let given = form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty());
    for (number, (name, value)) in given.enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        text.extend([&*name, "=", &*value]);
    }
    text
}

fn decoded_path(path: &str) -> String {
    // What separates parameters stands for itself in a path.
    let path = path.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(path.as_bytes()).map(|(text, _)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_decoded_as_a_path_and_parameters_as_parameters() {
        for (url, expected) in [
            ("/a%2Fb+c=d&%C3%A9%zz?x=%31+2&y=", "/a/b+c=d&é%zz?x=1 2"),
            ("/tr%61ces?", "/traces"),
            ("/%2525", "/%25"),
            ("", ""),
        ] {
            assert_eq!(decoded(url), expected);
        }
    }
}
