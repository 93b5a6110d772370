//! Tenant ids.

use std::{fmt, sync::Arc};

/// The longest tenant id, in bytes.
pub(crate) const MAX_TENANT_BYTES: usize = 150;

/// The beginning of error texts that refuse a push because there are too many tenants, also in an ingester's answer.
pub const TOO_MANY_TENANTS: &str = "TOO_MANY_TENANTS";

/// Names next to the tenants in a bucket that mean something else to us or to Tempo.
const RESERVED: [&str; 4] = ["overrides", "tempo_cluster_seed.json", "work.json", "tactus-clock"];
/// Prefixes of our own objects there: jobs, sampling probabilities, probes.
const RESERVED_BEGINNINGS: [&str; 3] = ["tactus-job.", "tactus-sampling.", "tactus-check-"];

/// The tenant of a request. It is part of every object key, so its characters are restricted.
///
/// One rule, [`TenantId::check`], applies to ids that are sent, queried, configured and stored. So a name that the
/// bucket would refuse is refused before a span of it is acknowledged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a tenant id is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Longer than [`MAX_TENANT_BYTES`].
    #[error("tenant ID is too long: max {MAX_TENANT_BYTES} characters")]
    TooLong,
    /// A character outside letters, digits and `!-_.*'()`.
    #[error("tenant ID '{tenant}' contains unsupported character '{character}'")]
    Character {
        /// The id as received.
        tenant: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// The id is `.` or `..`, which name directories.
    #[error("tenant ID is '.' or '..'")]
    Dots,
    /// The id begins with a dot, like hidden directories, or means something else in a bucket.
    #[error("tenant ID '{0}' cannot be stored: it begins with '.' or is reserved")]
    Reserved(String),
    /// No tenant at all.
    #[error("no org id")]
    Missing,
}

impl TenantId {
    /// Checks and wraps an id as the `X-Scope-OrgID` header carries it.
    pub fn parse(text: &str) -> Result<Self, TenantError> {
        Self::check(text).map(|()| Self(text.into()))
    }

    /// The rule for names: 1 to [`MAX_TENANT_BYTES`] letters, digits and `!-_.*'()`, no dot at the beginning, and none
    /// of the names that mean something else in a bucket.
    ///
    /// `lost+found` is not a valid id, so the root of a file system can be a bucket.
    pub fn check(text: &str) -> Result<(), TenantError> {
        if text.is_empty() {
            return Err(TenantError::Missing);
        }
        if text.len() > MAX_TENANT_BYTES {
            return Err(TenantError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(character) = text.chars().find(|&c| !allowed(c)) {
            return Err(TenantError::Character { tenant: text.to_owned(), character });
        }
        if matches!(text, "." | "..") {
            return Err(TenantError::Dots);
        }
        let is_reserved = RESERVED.contains(&text)
            || RESERVED_BEGINNINGS.iter().any(|beginning| text.starts_with(beginning));
        if text.starts_with('.') || is_reserved {
            return Err(TenantError::Reserved(text.to_owned()));
        }
        Ok(())
    }

    /// The tenant of everything when multitenancy is off.
    pub fn single() -> Self {
        Self("single-tenant".into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_the_documented_characters_only() {
        assert_eq!(TenantId::parse("a!b*c'd(e)").map(|t| t.to_string()), Ok("a!b*c'd(e)".into()));
        for bad in ["", "a/b", "a b", "é", "lost+found", "a|b", &"x".repeat(151)] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
        assert!(TenantId::parse(&"x".repeat(150)).is_ok());
    }

    #[test]
    fn parse_refuses_what_a_bucket_cannot_store() {
        let job = "tactus-job.463ac35c.json";
        for bad in RESERVED.into_iter().chain(["...", ".x", ".snapshot", job]) {
            assert_eq!(TenantId::parse(bad), Err(TenantError::Reserved(bad.to_owned())));
        }
        for dots in [".", ".."] {
            let error = TenantId::parse(dots).unwrap_err();
            assert_eq!(error.to_string(), "tenant ID is '.' or '..'");
        }
        for good in ["x.", "a..b", "Overrides", "tactus-clock.1"] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
        }
    }
}
