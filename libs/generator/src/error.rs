//! The reasons why a push was not counted.

use tactus_model::AppendError;
use tactus_remote_write::OpenError;
use tonic::Code;

use crate::shared::Panicked;

/// Why a push was not counted. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no spans.
    #[error("malformed push")]
    Malformed(#[from] AppendError),
    /// The process stops.
    #[error("metrics-generator is shutting down")]
    Stopping,
    /// Too many bytes of other pushes are being counted.
    #[error("the metrics generator is busy")]
    Overloaded,
    /// The tenant could not start a moment ago.
    #[error("instance creation in backoff")]
    BackOff,
    /// More tenants at once than there may be.
    #[error("the metrics generator has {0} tenants and takes no more")]
    TooManyTenants(usize),
    /// There is no memory for another tenant.
    #[error(
        "the series of other tenants take all memory of the metrics generator (limit: metrics_generator.registry.max_bytes)"
    )]
    NoMemory,
    /// The series do not fit a page, or other pages are being made.
    #[error(
        "the series are too many for a page, or other pages are being made (limit: metrics_generator.registry.max_bytes)"
    )]
    PageTooLarge,
    /// The tenant cannot have a generator.
    #[error("cannot start the metrics generator of tenant {tenant}")]
    Tenant {
        /// Its name.
        tenant: String,
        /// What keeps it from that.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A defect of ours.
    #[error(transparent)]
    Internal(#[from] Panicked),
}

impl Error {
    /// True if the tenant's queue is just being let go of: another attempt may succeed at once.
    pub(crate) fn is_in_use(&self) -> bool {
        let Self::Tenant { source, .. } = self else { return false };
        matches!(source.downcast_ref::<OpenError>(), Some(OpenError::InUse(_)))
    }

    /// As gRPC says it.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::InvalidArgument,
            Self::Stopping => Code::Unavailable,
            Self::TooManyTenants(_) | Self::Overloaded | Self::NoMemory | Self::PageTooLarge => {
                Code::ResourceExhausted
            }
            Self::Tenant { .. } | Self::BackOff => Code::FailedPrecondition,
            Self::Internal(_) => Code::Internal,
        }
    }
}
