//! Parameters of v1, parsed with the error texts of Jaeger.

mod search;

use std::time::Duration;

use tactus_api::QueryParams;
use tactus_config::parse_go;

use crate::jaeger::JaegerError;
use crate::jaeger::error::Result;

pub(super) use search::{Search, json_tags, search};

pub(super) fn invalid(text: impl Into<String>) -> JaegerError {
    JaegerError::Invalid(text.into())
}

pub(super) fn unable_to_parse(name: &str, why: impl std::fmt::Display) -> JaegerError {
    invalid(format!("unable to parse param '{name}': {why}"))
}

/// All values of a parameter that are not empty.
pub(super) fn all<'p>(params: &'p QueryParams<'_>, name: &'p str) -> impl Iterator<Item = &'p str> {
    let pairs = params.iter().filter(move |(key, value)| *key == name && !value.is_empty());
    pairs.map(|(_, value)| value)
}

/// A decimal integer, with the errors of Go. `None` if the parameter is absent.
pub(super) fn integer(params: &QueryParams<'_>, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let wrong = |why| format!("strconv.ParseInt: parsing {text:?}: {why}");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("invalid syntax"));
    }
    text.parse().map(Some).map_err(|_| wrong("value out of range"))
}

/// Nanoseconds of a parameter in milliseconds.
pub(super) fn millis(params: &QueryParams<'_>, name: &str) -> Result<Option<u64>> {
    let value = integer(params, name).map_err(|error| unable_to_parse(name, error))?;
    match value.map(u64::try_from) {
        None => Ok(None),
        Some(Ok(millis)) => Ok(Some(millis.saturating_mul(1_000_000))),
        Some(Err(_)) => Err(unable_to_parse(name, "must not be negative")),
    }
}

/// A boolean as Go writes it; `None` if the parameter is absent.
pub(super) fn boolean(params: &QueryParams<'_>, name: &str) -> Result<Option<bool>> {
    match params.get(name) {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(text) => {
            let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
            Err(unable_to_parse(name, why))
        }
    }
}

/// A duration as Go writes it, not negative; `None` if the parameter is absent.
pub(super) fn duration(params: &QueryParams<'_>, name: &str) -> Result<Option<Duration>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let duration = parse_go(text).map_err(|error| error.to_string())?;
    match u64::try_from(duration.as_nanos()) {
        Ok(nanos) => Ok(Some(Duration::from_nanos(nanos))),
        Err(_) => Err(format!("negative duration {text:?}")),
    }
}

/// Nanoseconds since 1970 of a time as RFC 3339 writes it; `None` if the parameter is absent.
pub(super) fn rfc3339(params: &QueryParams<'_>, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    // Before 1970 there are no spans.
    Ok(Some(u64::try_from(time.as_nanosecond()).unwrap_or(0)))
}
