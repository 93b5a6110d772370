//! Prometheus' duration grammar: whole numbers, units in strictly descending order.

use super::{DAY, DurationError, HOUR, MILLISECOND, MINUTE, PromDuration, SECOND};
use std::fmt;

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
        let (number, after_number) =
            rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
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
pub(super) fn print(nanos: i64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if nanos < 0 {
        out.write_str("-")?;
    }
    let mut rest = nanos.unsigned_abs() / MILLISECOND.unsigned_abs();
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
