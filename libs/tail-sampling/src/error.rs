//! The errors of tail sampling policies.

/// Why policies are invalid. The text names the policy and the field; a policy inside of others is named by its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A policy without a name.
    #[error("policy name cannot be empty")]
    NoName,
    /// Two policies of one name.
    #[error("duplicate policy name {0:?}")]
    DuplicateName(String),
    /// A field is missing or has an invalid value.
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
