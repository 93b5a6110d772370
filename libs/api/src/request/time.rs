//! Times and durations of the tag and metrics routes.

use std::time::Duration;

use tactus_config::parse_prometheus;

use crate::{Error, QueryParams, RequestedRange, Result};

/// `start`, `end` and `since` of a request. Errors name the parameter.
pub(super) fn range(params: &QueryParams<'_>) -> Result<RequestedRange> {
    let time = |name: &str| match params.get(name) {
        None => Ok(0),
        Some(text) => parse_time(text).ok_or_else(|| {
            Error::Invalid(format!(
                "could not parse '{name}' parameter: cannot parse {text:?} to a valid timestamp"
            ))
        }),
    };
    Ok(RequestedRange { start: time("start")?, end: time("end")?, since: since(params)? })
}

/// What searches and queries for tags say of a range that cannot be read.
pub(super) fn date_range_error(error: Error) -> Error {
    Error::Invalid(format!("error parsing date range: {error}"))
}

/// The parameter `since`.
pub(super) fn since(params: &QueryParams<'_>) -> Result<Option<Duration>> {
    let Some(text) = params.get("since") else { return Ok(None) };
    match parse_prometheus(text) {
        Ok(duration) => Ok(Some(duration.as_std())),
        Err(error) => Err(Error::Invalid(format!("could not parse 'since' parameter: {error}"))),
    }
}

/// Unix nanoseconds of a time: whole seconds of up to ten characters, longer nanoseconds, seconds with a fraction
/// of which three digits count, or RFC 3339. Times before 1970 are none.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u64 = text.parse().ok()?;
        return if text.len() <= 10 { number.checked_mul(1_000_000_000) } else { Some(number) };
    }
    if let Some((whole, fraction)) = text.split_once('.')
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        let millis = format!("{:0<3.3}", fraction).parse::<u64>().ok()?;
        let seconds = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        return seconds.checked_mul(1_000)?.checked_add(millis)?.checked_mul(1_000_000);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_forms() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000000000001", Some(1_700_000_000_000_000_001)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1.12345", Some(1_123_000_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500_000_000)),
            ("x", None),
            ("-5", None),
            ("1.x", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn bad_times_name_their_parameter() {
        let error = |query| range(&QueryParams::parse(query)).unwrap_err().to_string();
        assert!(error("end=x").starts_with("could not parse 'end' parameter: "));
        assert!(error("since=30").starts_with("could not parse 'since' parameter: "));
    }
}
