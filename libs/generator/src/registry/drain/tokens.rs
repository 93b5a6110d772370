//! Tokens of a span name.

/// Names of fewer or more tokens stay as they are; the end counts as one.
const TOKENS: std::ops::RangeInclusive<usize> = 3..=80;

const END: &str = "<END>";

/// The tokens of a name and the end; `None` for a name that stays as it is.
pub(super) fn tokens_of(name: &str) -> Option<Vec<&str>> {
    if name.is_empty() {
        return None;
    }
    let mut tokens = Vec::with_capacity(16);
    let mut start = 0;
    while start < name.len() {
        let rest = &name[start..];
        let length = token_length(rest);
        tokens.push(&rest[..length]);
        start += length;
        if tokens.len() >= *TOKENS.end() {
            return None;
        }
    }
    tokens.push(END);
    TOKENS.contains(&tokens.len()).then_some(tokens)
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn token_length(text: &str) -> usize {
    let first = text.chars().next().unwrap_or(' ');
    if first.is_whitespace() {
        return run(text, char::is_whitespace);
    }
    let hex = run(text, |c| c.is_ascii_hexdigit());
    if hex > 0 {
        let word = run(text, char::is_alphanumeric);
        if word > hex {
            return word;
        }
        if text[hex..].starts_with('-')
            && text[hex + 1..].starts_with(|c: char| c.is_ascii_hexdigit())
        {
            return uuid_length(text, hex);
        }
        return hex;
    }
    if first.is_alphanumeric() {
        return run(text, char::is_alphanumeric);
    }
    let escaped = text.as_bytes();
    if first == '%' && escaped.len() >= 3 && escaped[1..3].iter().all(u8::is_ascii_hexdigit) {
        return 3;
    }
    first.len_utf8()
}

/// Hex digits and dashes; what another letter ends is a word of its own, so that the run ends before the dash.
fn uuid_length(text: &str, hex: usize) -> usize {
    let mut end = hex;
    while text[end..].starts_with('-') {
        let group = run(&text[end + 1..], |c| c.is_ascii_hexdigit());
        let word = run(&text[end + 1..], char::is_alphanumeric);
        if group == 0 || word > group {
            break;
        }
        end += 1 + group;
    }
    end
}

/// True for what is more likely a value than a word.
pub(super) fn is_likely_data(token: &str) -> bool {
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let only = token.chars().all(|c| c.is_ascii_hexdigit() || c.is_ascii_punctuation());
    (digits > 0 && only) || digits > (token.len() / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_falls_into_words_separators_and_ids() {
        let name = "GET /v1/6cae3d57-f354-4d14-8420-1a2961327100?a=%3D";
        let expected = [
            "GET",
            " ",
            "/",
            "v1",
            "/",
            "6cae3d57-f354-4d14-8420-1a2961327100",
            "?",
            "a",
            "=",
            "%3D",
            "<END>",
        ];
        assert_eq!(tokens_of(name).unwrap(), expected);
    }

    #[test]
    fn short_and_long_names_stay() {
        assert_eq!(tokens_of(""), None);
        assert_eq!(tokens_of("one"), None);
        assert!(tokens_of("one.").is_some());
        assert_eq!(tokens_of(&"a.".repeat(40)), None);
        assert!(tokens_of(&"a.".repeat(39)).is_some());
    }

    #[test]
    fn words_with_dashes_and_lone_percent_signs_are_split() {
        assert_eq!(tokens_of("abc-xyz 5%").unwrap(), ["abc", "-", "xyz", " ", "5", "%", "<END>"]);
        assert_eq!(tokens_of("é\u{20ac}x").unwrap(), ["é", "€", "x", "<END>"]);
    }

    #[test]
    fn data_is_told_from_words() {
        assert!(is_likely_data("123") && is_likely_data("6cae-1") && is_likely_data("a12b34xy"));
        assert!(!is_likely_data("users") && !is_likely_data("v1") && !is_likely_data("/"));
    }
}
