//! Formats numbers, times and text from data for people.

use std::fmt::Write as _;

use tactus_storage::{Timestamp, Uuid};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Bytes with a binary unit: `512 B`, `1.5 KiB`, `97.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // A number that would be rounded to 1024.0 gets the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Nanoseconds with the unit that leaves three to six digits: `250ms`, `1.25s`, `3m12s`.
pub(crate) fn nanos(nanos: u64) -> String {
    let scaled = |divisor: f64, unit: &str| {
        let mut text = format!("{:.2}", nanos as f64 / divisor);
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        text + unit
    };
    let seconds = nanos / 1_000_000_000;
    match nanos {
        0..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => scaled(1e3, "µs"),
        1_000_000..1_000_000_000 => scaled(1e6, "ms"),
        _ if seconds < 60 => scaled(1e9, "s"),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A time in UTC, to the second: `2023-11-14T22:13:20Z`.
pub(crate) fn time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).map_or_else(|_| time.to_string(), |t| t.to_string())
}

/// A time in UTC from nanoseconds since 1970, to the millisecond.
pub(crate) fn time_of_nanos(nanos: u64) -> String {
    let millis = i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).map_or_else(|_| nanos.to_string(), |time| time.to_string())
}

/// How many blocks are named where there may be many.
const NAMED_BLOCKS: usize = 3;

/// The ids of some blocks, the first of them if there are many.
pub(crate) fn names(blocks: &[Uuid]) -> String {
    let mut names: Vec<_> = blocks.iter().take(NAMED_BLOCKS).map(Uuid::to_string).collect();
    if blocks.len() > NAMED_BLOCKS {
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// A number with a noun, which is given in the singular: `1 trace`, `2 traces`.
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// A part of a whole in percent: `12.3 %`. If the whole is 0, the result is 0.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.1} %")
}

/// Text from data that is safe on a terminal. Control characters, which could for example move the cursor, are escaped.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        // Directional marks would reverse the rest of the line.
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// The same for a text of several lines, whose line breaks stay.
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// How many columns a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to `most` columns; an ellipsis shows that something is missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > most {
            break;
        }
        out.push(character);
    }
    out.push('…');
    out
}

/// The text followed by blanks up to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_is_no_plural() {
        let texts = [0_u64, 1, 2].map(|count| counted(count, "trace"));
        assert_eq!(texts, ["0 traces", "1 trace", "2 traces"]);
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (103_582, "101.2 KiB"),
            (10_717_822_052, "10.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn nanoseconds_have_the_unit_that_fits() {
        for (count, expected) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_250_000_000, "1.25s"),
            (192_000_000_000, "3m12s"),
            (3_600_000_000_000, "1h00m"),
        ] {
            assert_eq!(nanos(count), expected);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n\u{202e}c\u{9b}"), "a\\u{1b}[31mb\\n\\u{202e}c\\u{9b}");
        assert_eq!(clean("GET /ünï"), "GET /ünï");
        assert_eq!(clean_lines("a\r\n  b\u{1b}]0;c\u{7}\n"), "a\n  b\\u{1b}]0;c\\u{7}");
    }

    #[test]
    fn cut_text_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("漢字漢字", 4), "漢…");
        assert_eq!(pad("漢", 4), "漢  ");
    }

    proptest! {
        #[test]
        fn cut_text_fits(text in "\\PC{0,20}", most in 1usize..20) {
            prop_assert!(width(&cut(&text, most)) <= most);
        }

        #[test]
        fn clean_text_has_no_control_characters(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(char::is_control));
        }
    }
}
