//! The operator's file with limits of tenants, which may be gzipped.

use std::time::Duration;

use tactus_config::{Config, PerTenantFile, PerTenantOverrides};
use tactus_operator_files::{Content, Location, WatchedFile, read_bounded};

/// The largest file after decompression. A real one is smaller; a disk full of zeros is not.
const MAX_BYTES: u64 = 64 << 20;
/// Limit of a request for the file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// The file at `overrides.per_tenant_override_config`, which must not be empty. Errors: no client for a URL.
pub(crate) fn watched(place: &str) -> Result<WatchedFile, String> {
    Location::new(place, MAX_BYTES, FETCH_TIMEOUT).map(WatchedFile::new)
}

/// Decompresses, expands and parses the file. Errors are worded for people.
pub(crate) fn parse(
    place: &str,
    content: &Content,
    config: &Config,
    expand_env: bool,
) -> Result<PerTenantFile, String> {
    let bytes = content.bytes.as_slice();
    let unpacked = if place.ends_with(".gz") {
        let unpacked = read_bounded(flate2::read::MultiGzDecoder::new(bytes), MAX_BYTES);
        unpacked.map_err(|error| error.to_string())?
    } else {
        bytes.to_vec()
    };
    let mut text = String::from_utf8(unpacked).map_err(|error| error.to_string())?;
    if expand_env {
        let env = |name: &str| std::env::var(name).ok();
        text = tactus_config::expand(&without_comments(&text), env)
            .map_err(|error| error.to_string())?;
    }
    PerTenantOverrides::parse(&text, config).map_err(|error| error.to_string())
}

/// Takes comments off: what stands in them is not expanded, as in Tempo, which expands this file when it has been read once.
fn without_comments(text: &str) -> String {
    text.lines().flat_map(|line| [&line[..comment(line)], "\n"]).collect()
}

/// Where the comment of a line begins: at a `#` after a blank, outside of quotes that were opened in the line.
fn comment(line: &str) -> usize {
    let (mut quote, mut before): (Option<(char, bool)>, _) = (None, ' ');
    for (at, c) in line.char_indices() {
        match quote {
            Some((open, is_escaped)) => {
                let closes = c == open && !is_escaped;
                let escapes = c == '\\' && open == '"' && !is_escaped;
                quote = (!closes).then_some((open, escapes));
            }
            None if c == '#' && before.is_whitespace() => return at,
            // Within a plain text they are characters as others.
            None if "\"'".contains(c) && (before.is_whitespace() || "[{,:".contains(before)) => {
                quote = Some((c, false));
            }
            None => {}
        }
        before = c;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_texts() {
        for (line, kept) in [
            ("# ${X-1}", ""),
            ("a: 1 # ${X-1}", "a: 1 "),
            ("a: b#c", "a: b#c"),
            ("a: 'b # c' # d", "a: 'b # c' "),
            ("a: \"b \\\" # c\" # d", "a: \"b \\\" # c\" "),
            ("a: it's # c", "a: it's "),
            ("a: ['# b',\"# c\"] # d", "a: ['# b',\"# c\"] "),
            ("a: ${B} ä", "a: ${B} ä"),
        ] {
            assert_eq!(&line[..comment(line)], kept);
        }
        assert_eq!(without_comments("a:\n  # b\nc: d # e"), "a:\n  \nc: d \n");
    }
}
