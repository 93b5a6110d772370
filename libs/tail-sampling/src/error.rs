//! The errors of tail sampling policies.

/// Why policies cannot be. The text names the policy and the field; policies within others are named by the way to them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A policy without a name.
    #[error("policy name cannot be empty")]
    NoName,
    /// Two policies of one name.
    #[error("duplicate policy name {0:?}")]
    DuplicateName(String),
    /// A field that is missing or says something impossible.
    #[error("policy {policy:?}: {field}: {reason}")]
    Invalid {
        /// The policy.
        policy: String,
        /// The field below it.
        field: String,
        /// What is wrong.
        reason: String,
    },
}
