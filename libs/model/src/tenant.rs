//! Tenant ids.

use std::{fmt, sync::Arc};

/// The longest tenant id, in bytes.
pub(crate) const MAX_TENANT_BYTES: usize = 150;

/// What a refusal begins with that has its reason in the number of tenants, in an ingester's answer as well.
pub const TOO_MANY_TENANTS: &str = "TOO_MANY_TENANTS";

/// Names beside the tenants in a bucket that have another meaning there, for us or for Tempo.
const RESERVED: [&str; 4] = ["overrides", "tempo_cluster_seed.json", "work.json", "tactus-clock"];
/// What the names of our own objects there begin with: jobs, probabilities, probes.
const RESERVED_BEGINNINGS: [&str; 3] = ["tactus-job.", "tactus-sampling.", "tactus-check-"];

/// The tenant of a request: part of every object key, so its characters are restricted.
///
/// There is one rule, [`TenantId::check`], for what is sent, asked for and configured and for what is stored: a name that a
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
    /// A directory itself or the one above it.
    #[error("tenant ID is '.' or '..'")]
    Dots,
    /// Begins with a dot, as hidden directories do, or has another meaning in a bucket.
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

    /// The rule of names: 1 to [`MAX_TENANT_BYTES`] letters, digits and `!-_.*'()`, no dot at the beginning, and none of the
    /// names that something else has in a bucket.
    ///
    /// A disk's `lost+found` is none, so a bucket may be the root of a file system.
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
