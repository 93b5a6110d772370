//! Tenant ids.

use std::{fmt, sync::Arc};

/// The longest tenant id, in bytes.
pub const MAX_TENANT_BYTES: usize = 150;

/// The tenant of a request: part of every object key, so its characters are restricted.
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
    /// `.` or `..`, or a name the bucket layout reserves.
    #[error("tenant ID is '.', '..' or reserved: '{0}'")]
    Reserved(String),
    /// No tenant at all.
    #[error("no org id")]
    Missing,
}

impl TenantId {
    /// Checks and wraps an id as the `X-Scope-OrgID` header carries it.
    pub fn parse(text: &str) -> Result<Self, TenantError> {
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
        if matches!(text, "." | ".." | "overrides" | "work.json" | "tempo_cluster_seed.json") {
            return Err(TenantError::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
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
        for bad in ["", ".", "..", "a/b", "a b", "é", "overrides", &"x".repeat(151)] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
    }
}
