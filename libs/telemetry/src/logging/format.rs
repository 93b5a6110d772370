//! The spelling of a log line.

use std::fmt::Write;
use std::time::SystemTime;

use jiff::Timestamp;

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

/// The time in UTC, with nanoseconds.
pub(super) fn timestamp(time: SystemTime) -> String {
    format!("{:.9}", Timestamp::try_from(time).unwrap_or_default())
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
    use std::time::Duration;

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
}
