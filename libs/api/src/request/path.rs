//! Names in the path of a request, taken from the raw, still encoded path.
//!
//! A tag name may hold slashes, dots and anything else; frameworks that decode or split first lose them.

use percent_encoding::percent_decode_str;

/// The decoded tag name of `<prefix><name>/values`; `None` if the path is another.
pub fn tag_name(raw_path: &str, prefix: &str) -> Option<String> {
    let name = raw_path.strip_prefix(prefix)?.strip_suffix("/values")?;
    Some(percent_decode_str(name).decode_utf8_lossy().into_owned())
}

/// The decoded trace id of `<prefix><id>`; `None` if the path is another.
pub fn trace_id_text(raw_path: &str, prefix: &str) -> Option<String> {
    let id = raw_path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/'))?;
    Some(percent_decode_str(id).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_names_keep_slashes_and_dots() {
        let prefix = "/api/v2/search/tag/";
        let name = |path: &str| tag_name(&format!("{prefix}{path}"), prefix);
        assert_eq!(name("span.a%2Fb/values").as_deref(), Some("span.a/b"));
        assert_eq!(name("span.a/b/values").as_deref(), Some("span.a/b"));
        assert_eq!(name("span.%22a%20b%22/values").as_deref(), Some("span.\"a b\""));
        assert_eq!(name("a/values/values").as_deref(), Some("a/values"));
        assert_eq!(name("/values").as_deref(), Some(""));
        assert_eq!(name("span.a"), None);
        assert_eq!(tag_name("/api/search/tag/a/values", prefix), None);
    }

    #[test]
    fn trace_ids_are_one_segment() {
        assert_eq!(trace_id_text("/api/traces/ff", "/api/traces/").as_deref(), Some("ff"));
        assert_eq!(trace_id_text("/api/traces/a/b", "/api/traces/"), None);
        assert_eq!(trace_id_text("/api/traces/", "/api/traces/"), None);
    }
}
