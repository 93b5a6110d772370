//! Limits the length of error texts. They repeat input, and go to the client and into the log.

use std::borrow::Cow;

/// Most bytes of an error text.
pub const MAX_BYTES: usize = 1 << 10;

/// Most bytes of the note that says that a text was cut.
const NOTE_BYTES: usize = 48;

/// Cuts a text that is longer than [`MAX_BYTES`], and adds a note that says so.
pub fn cut(text: String) -> String {
    cut_to(text, MAX_BYTES)
}

/// As [`cut`], for a borrowed text.
pub fn cut_str(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_BYTES {
        return Cow::Borrowed(text);
    }
    Cow::Owned(shortened(text, MAX_BYTES))
}

/// Cuts a text to `max_bytes`, including the note. `max_bytes` is at least 64; less is taken as 64.
pub fn cut_to(text: String, max_bytes: usize) -> String {
    let max_bytes = max_bytes.max(64);
    if text.len() <= max_bytes { text } else { shortened(&text, max_bytes) }
}

fn shortened(text: &str, max_bytes: usize) -> String {
    let kept = &text[..text.floor_char_boundary(max_bytes - NOTE_BYTES)];
    format!("{kept}… (cut, {} bytes in all)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("é".repeat(512)), "é".repeat(512));
        for text in ["é".repeat(513), format!("a{}", "é".repeat(10_000_000))] {
            let length = text.len();
            let cut = cut(text);
            assert!(cut.len() <= MAX_BYTES && cut.len() > MAX_BYTES - 64, "{}", cut.len());
            assert!(cut.ends_with(&format!("é… (cut, {length} bytes in all)")), "{cut}");
        }
        let longest = shortened(&"x".repeat(2_000), MAX_BYTES).len() + usize::MAX.ilog10() as usize;
        assert!(longest - 3 <= MAX_BYTES);
        assert_eq!(cut_to("x".repeat(100), 0).len(), 16 + "… (cut, 100 bytes in all)".len());
        assert_eq!(cut_str("short"), "short");
    }
}
