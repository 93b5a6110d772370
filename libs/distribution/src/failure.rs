//! Why the spans of a request were not stored, and what its client is told.

use std::time::Duration;

use tactus_model::{MALFORMED_PROTOBUF, TOO_MANY_TENANTS, wire::WireError};
use tactus_receivers::PushError;
use tactus_ring::RingError;
use tonic::{Code, Status};

/// How long a client is told to wait if too much is in flight, or too few ingesters answered.
pub(crate) const BUSY_RETRY: Duration = Duration::from_secs(1);
/// Why spans of tenants beyond the limit of tenants are not stored.
pub(crate) const TENANTS_ARE_TOO_MANY: &str = "too_many_tenants";

/// Why spans were not stored.
pub(crate) enum Failure {
    /// What the walk passed over.
    Malformed(WireError),
    /// Too few ingesters.
    Ring(RingError),
    /// What ingesters answered.
    Status(Status),
}

impl Failure {
    /// The reason with which the spans are counted, and what to tell the client. `retry_after`: when it may come back if
    /// ingesters are full. `retry_info_enabled` is of the tenant's own limits, and theirs are not.
    pub(crate) fn told(self, retry_after: Duration) -> (&'static str, PushError) {
        let unavailable = |message| PushError::Unavailable { message, retry_after: BUSY_RETRY };
        let status = match self {
            Self::Malformed(error) => return ("invalid", malformed(error)),
            Self::Ring(error) => return ("unavailable", unavailable(error.to_string())),
            Self::Status(status) => status,
        };
        let message = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument if message.starts_with(MALFORMED_PROTOBUF) => {
                ("invalid", PushError::Malformed(message))
            }
            Code::InvalidArgument => ("invalid", PushError::Invalid(message)),
            // Longer than their port takes, so it is again if it is sent again.
            Code::OutOfRange => {
                let message = format!(
                    "the request is too large for the ingesters (limit: \
                     server.grpc_server_max_recv_msg_size): {message}"
                );
                ("invalid", PushError::Invalid(message))
            }
            Code::ResourceExhausted => {
                let reason = match message.starts_with(TOO_MANY_TENANTS) {
                    true => TENANTS_ARE_TOO_MANY,
                    false => "ingester_full",
                };
                (reason, PushError::RateLimited { message, retry_after })
            }
            Code::Unavailable | Code::DeadlineExceeded => ("unavailable", unavailable(message)),
            _ => ("internal_error", unavailable(message)),
        }
    }
}

pub(crate) fn malformed(error: impl std::fmt::Display) -> PushError {
    PushError::Malformed(format!("malformed export request: {error}"))
}

#[cfg(test)]
mod tests {
    use tactus_model::AppendError;

    use super::*;

    #[test]
    fn only_what_is_no_protobuf_is_malformed() {
        let told = |error: AppendError| {
            Failure::Status(Status::invalid_argument(error.to_string())).told(BUSY_RETRY).1
        };
        let malformed = told(AppendError::Malformed(WireError::Depth));
        assert!(matches!(malformed, PushError::Malformed(_)), "{malformed}");
        let too_large = told(AppendError::TooLarge);
        assert!(matches!(too_large, PushError::Invalid(_)), "{too_large}");
    }
}
