//! Go's duration grammar: `[-+]?(<decimal><unit>)+` or `0`.

use super::{DurationError, GoDuration, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND};
use std::fmt;

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

/// Writes the canonical form: hours, minutes and seconds, or one smaller unit below a second.
pub(super) fn print(nanos: i64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    if size == 0 {
        return out.write_str("0s");
    }
    if size < SECOND.unsigned_abs() {
        let (unit, name) = if size < MICROSECOND.unsigned_abs() {
            (1, "ns")
        } else if size < MILLISECOND.unsigned_abs() {
            (MICROSECOND.unsigned_abs(), "\u{b5}s")
        } else {
            (MILLISECOND.unsigned_abs(), "ms")
        };
        return write!(out, "{sign}{}{name}", decimal(size, unit));
    }
    let hours = size / HOUR.unsigned_abs();
    let minutes = size / MINUTE.unsigned_abs() % 60;
    let seconds = decimal(size % MINUTE.unsigned_abs(), SECOND.unsigned_abs());
    if hours > 0 {
        write!(out, "{sign}{hours}h{minutes}m{seconds}s")
    } else if minutes > 0 {
        write!(out, "{sign}{minutes}m{seconds}s")
    } else {
        write!(out, "{sign}{seconds}s")
    }
}

/// `value / unit` as a decimal without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let whole = value / unit;
    let rest = value % unit;
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}
