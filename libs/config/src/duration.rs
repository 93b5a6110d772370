//! Durations as Go and Prometheus write them.
//!
//! Both are counted in signed 64-bit nanoseconds, as in Go, because the YAML and the flags of the
//! systems we replace can hold negative and "infinite" (largest) values. Neither grammar is the
//! one of the usual Rust crates: Go has no days, Prometheus has no fractions.

use std::fmt;

/// Why a text is not a duration; `Display` is the text that Go or Prometheus would give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DurationError(String);

/// A span of time in nanoseconds; may be negative. Prints as Go does: `1m30s`, `100ms`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

/// The same span of time for the few keys that take Prometheus durations (`7d`, `1h30m`, `0`).
/// Prints as Prometheus does: `2w`, `1h30m`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromDuration(pub i64);

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

macro_rules! duration_methods {
    ($name:ident) => {
        impl $name {
            /// No time at all.
            pub const ZERO: Self = Self(0);
            /// The largest value, which stands for "no limit".
            pub const INFINITE: Self = Self(i64::MAX);

            /// `count` milliseconds; saturates.
            pub const fn millis(count: i64) -> Self {
                Self(count.saturating_mul(MILLISECOND))
            }

            /// `count` seconds; saturates.
            pub const fn seconds(count: i64) -> Self {
                Self(count.saturating_mul(SECOND))
            }

            /// `count` minutes; saturates.
            pub const fn minutes(count: i64) -> Self {
                Self(count.saturating_mul(MINUTE))
            }

            /// `count` hours; saturates.
            pub const fn hours(count: i64) -> Self {
                Self(count.saturating_mul(HOUR))
            }

            /// The value in nanoseconds.
            pub const fn as_nanos(self) -> i64 {
                self.0
            }

            /// True for exactly zero, which most keys use for "off" or "take the default".
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The standard library's type; a negative value becomes zero.
            pub const fn as_std(self) -> std::time::Duration {
                let nanos = if self.0 < 0 { 0 } else { self.0 };
                std::time::Duration::from_nanos(nanos.unsigned_abs())
            }

            /// The standard library's type, or nothing when the value is zero or negative: for keys
            /// where zero switches something off.
            pub fn non_zero(self) -> Option<std::time::Duration> {
                (self.0 > 0).then(|| self.as_std())
            }
        }

        impl From<std::time::Duration> for $name {
            /// Saturates at the largest value (292 years).
            fn from(duration: std::time::Duration) -> Self {
                Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
            }
        }
    };
}

duration_methods!(GoDuration);
duration_methods!(PromDuration);

impl From<PromDuration> for GoDuration {
    fn from(duration: PromDuration) -> Self {
        Self(duration.0)
    }
}

/// Parses Go's grammar, else Prometheus', whose days and weeks per-tenant keys take. Errors: that of Go's.
pub(crate) fn parse_either(text: &str) -> Result<GoDuration, DurationError> {
    parse_go(text).or_else(|error| parse_prometheus(text).map(Into::into).map_err(|_| error))
}

// Go: `[-+]?(<decimal><unit>)+` or `0`.

/// Parses what Go's `time.ParseDuration` accepts: units `ns us µs ms s m h`, fractions, a sign, no
/// spaces, no days; a number without a unit only when it is zero.
///
/// Errors: the text names the input and the cause, e.g. `time: unknown unit "d" in duration "1d"`.
pub fn parse_go(text: &str) -> Result<GoDuration, DurationError> {
    let invalid = || DurationError(format!("time: invalid duration {text:?}"));
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(GoDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    // i64::MIN has no positive twin, so the sum is kept wider than the result.
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after_whole) = digits(rest);
        let (fraction, after_number) = match after_whole.strip_prefix('.') {
            Some(after_point) => digits(after_point),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after_number
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at(unit_end);
        if unit.is_empty() {
            return Err(DurationError(format!("time: missing unit in duration {text:?}")));
        }
        let scale = unit_nanos(unit).ok_or_else(|| {
            DurationError(format!("time: unknown unit {unit:?} in duration {text:?}"))
        })?;
        total = total
            .checked_add(scaled(whole, fraction, scale).ok_or_else(invalid)?)
            .ok_or_else(invalid)?;
        rest = after_unit;
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map(GoDuration).map_err(|_| invalid())
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanos(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        // Micro has two code points: U+00B5 (micro sign) and U+03BC (Greek mu).
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// `whole.fraction` times `scale`, cut to whole nanoseconds; nothing when it cannot fit.
fn scaled(whole: &str, fraction: &str, scale: i64) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // An hour has 3.6e12 ns: digits after the 18th cannot reach one nanosecond.
    let kept = &fraction[..fraction.len().min(18)];
    let part: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let divisor = 10_i128.pow(u32::try_from(kept.len()).ok()?);
    whole.checked_mul(scale.into())?.checked_add(part * i128::from(scale) / divisor)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&tactus_model::format_duration(self.0))
    }
}

// Prometheus: whole numbers, units in strictly descending order.

/// Units, largest first: the order in which a text must use them.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", MILLISECOND),
];

/// Parses `1y2w3d4h5m6s7ms` with any unit left out, or `0`. No sign, no fraction, each unit once.
///
/// Errors: `empty duration string`, `not a valid duration string: "30"`,
/// `unknown unit "x" in duration "5x"`, `duration out of range`.
pub fn parse_prometheus(text: &str) -> Result<PromDuration, DurationError> {
    match text {
        "" => return Err(DurationError("empty duration string".to_owned())),
        "0" => return Ok(PromDuration::ZERO),
        _ => {}
    }
    let invalid = || DurationError(format!("not a valid duration string: {text:?}"));
    let out_of_range = || DurationError("duration out of range".to_owned());
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (number, after_number) = digits(rest);
        let (unit, after_unit) = after_number.split_at(
            after_number.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after_number.len()),
        );
        if number.is_empty() || unit.is_empty() {
            return Err(invalid());
        }
        let position = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| DurationError(format!("unknown unit {unit:?} in duration {text:?}")))?;
        if position < next_unit {
            return Err(invalid());
        }
        next_unit = position + 1;
        let count: i64 = number.parse().map_err(|_| out_of_range())?;
        total = count
            .checked_mul(UNITS[position].1)
            .and_then(|nanos| total.checked_add(nanos))
            .ok_or_else(out_of_range)?;
        rest = after_unit;
    }
    Ok(PromDuration(total))
}

/// Writes the canonical form. Weeks and years appear only when they divide the value, so that
/// `14d` prints as `2w` but `15d` stays `15d`. Parts below a millisecond are lost.
impl fmt::Display for PromDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            out.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs() / MILLISECOND.unsigned_abs();
        if rest == 0 {
            return out.write_str("0s");
        }
        for (name, unit) in UNITS {
            let millis = unit.unsigned_abs() / MILLISECOND.unsigned_abs();
            let must_divide = matches!(name, "y" | "w");
            if (!must_divide || rest.is_multiple_of(millis)) && rest >= millis {
                write!(out, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
