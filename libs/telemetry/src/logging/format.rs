//! The spelling of a log line.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::LogFormat;

/// A field's value: text is quoted where needed, the rest is written as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Bare(String),
}

/// Key and value, in order.
pub(super) type Fields = Vec<(&'static str, Value)>;

/// Spells one line, with its line feed.
pub(super) fn line(format: LogFormat, fields: &[(&'static str, Value)]) -> String {
    let mut line = String::with_capacity(256);
    for (key, value) in fields {
        match format {
            LogFormat::Logfmt => {
                line.push_str(if line.is_empty() { "" } else { " " });
                line.push_str(key);
                line.push('=');
                match value {
                    Value::Text(text) if needs_quotes(text) => quote(&mut line, text),
                    Value::Text(text) | Value::Bare(text) => line.push_str(text),
                }
            }
            LogFormat::Json => {
                line.push(if line.is_empty() { '{' } else { ',' });
                quote(&mut line, key);
                line.push(':');
                match value {
                    Value::Text(text) => quote(&mut line, text),
                    Value::Bare(text) => line.push_str(text),
                }
            }
        }
    }
    line.push_str(if format == LogFormat::Json { "}\n" } else { "\n" });
    line
}

fn needs_quotes(text: &str) -> bool {
    text.chars().any(|c| c <= ' ' || c.is_control() || matches!(c, '=' | '"' | '\u{fffd}'))
}

/// A JSON string, which logfmt uses as well.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a String cannot fail. All control characters are below U+00A0.
                let _ = write!(line, "\\u{:04x}", u32::from(control));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

/// RFC 3339 in UTC with nanoseconds; the epoch for a clock that is before it.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_nanos()
    )
}

/// Year, month and day of the day `days` after 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day ends a year; 400 years have 146 097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, month lengths repeat every five months (153 days).
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

/// Crate and file of a source path, without what lies before them: `wal/log.rs`.
pub(super) fn caller(path: &str, line: u32) -> String {
    let path = path.replace('\\', "/");
    let short = match path.rsplit_once("/src/") {
        Some((package, file)) => {
            format!("{}/{file}", package.rsplit('/').next().unwrap_or(package))
        }
        None => path.rsplit('/').next().unwrap_or(&path).to_owned(),
    };
    format!("{short}:{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanos: u32) -> String {
        timestamp(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
    }

    #[test]
    fn timestamps_follow_the_calendar() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, 5, "2000-02-28T23:59:59.000000005Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
            (951_868_800, 0, "2000-03-01T00:00:00.000000000Z"),
            (1_735_787_045, 678_901_234, "2025-01-02T03:04:05.678901234Z"),
            (1_735_689_599, 0, "2024-12-31T23:59:59.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        ];
        for (seconds, nanos, expected) in cases {
            assert_eq!(at(seconds, nanos), expected);
        }
    }

    #[test]
    fn caller_is_crate_and_file() {
        assert_eq!(caller("libs/wal/src/log/sync.rs", 7), "wal/log/sync.rs:7");
        assert_eq!(
            caller("/home/x/registry/src/index/h2-0.4.1/src/lib.rs", 1),
            "h2-0.4.1/lib.rs:1"
        );
        assert_eq!(caller("build.rs", 2), "build.rs:2");
    }

    proptest::proptest! {
        #[test]
        fn days_in_order_give_dates_in_order(days in 0_u64..4_000_000) {
            let (year, month, day) = civil_date(days);
            proptest::prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            proptest::prop_assert!((year, month, day) < civil_date(days + 1));
        }
    }
}
