//! Requests that an operator has banned by their URL (`query_frontend.url_deny_list`).

use std::borrow::Cow;

use regex::Regex;
use tactus_api::{Error, Result};

/// Refuses a path with its query if it is on the list: as the client wrote it, decoded, or without the path prefix of the
/// routes.
pub(crate) fn check(denied: &[Regex], url: &str, without_prefix: Option<&str>) -> Result<()> {
    if denied.is_empty() {
        return Ok(());
    }
    let sent = [Some(url), without_prefix].into_iter().flatten();
    let urls: Vec<_> = sent.flat_map(|url| [Cow::Borrowed(url), decoded(url)]).collect();
    let is_denied = |denied: &Regex| urls.iter().any(|url| denied.is_match(url));
    if denied.iter().any(is_denied) {
        return Err(Error::Invalid(format!(
            "Invalid request {url}. This query has been identified as one that destabilizes our system. Contact your system administrator for more information"
        )));
    }
    Ok(())
}

/// The URL with decoded parameters, in which a client cannot write the same query in different ways. Parameters without
/// a value are left out.
fn decoded(url: &str) -> Cow<'_, str> {
    let Some((path, query)) = url.split_once('?') else { return Cow::Borrowed(url) };
    let mut text = path.to_owned();
    let given = form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty());
    for (number, (name, value)) in given.enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        text.extend([&*name, "=", &*value]);
    }
    Cow::Owned(text)
}
