//! Durations as Go and Prometheus write them.
//!
//! Both are counted in signed 64-bit nanoseconds, as in Go, because the YAML and the flags of the
//! systems we replace can hold negative and "infinite" (largest) values. Neither grammar is the
//! one of the usual Rust crates: Go has no days, Prometheus has no fractions.

use std::fmt;

mod go;
mod prometheus;

pub use go::parse_go;
pub use prometheus::parse_prometheus;

/// Why a text is not a duration; `Display` is the text that Go or Prometheus would give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DurationError(pub(crate) String);

/// A span of time in nanoseconds; may be negative. Prints as Go does: `1m30s`, `100ms`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

/// The same span of time for the few keys that take Prometheus durations (`7d`, `1h30m`, `0`).
/// Prints as Prometheus does: `2w`, `1h30m`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromDuration(pub i64);

pub(crate) const MICROSECOND: i64 = 1_000;
pub(crate) const MILLISECOND: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

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

impl std::str::FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse_go(text)
    }
}

impl std::str::FromStr for PromDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse_prometheus(text)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        go::print(self.0, out)
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        prometheus::print(self.0, out)
    }
}

#[cfg(test)]
mod tests;
