//! The reasons for refusing a request, as clients see them.

use std::time::Duration;

use ::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tactus_model::TenantId;
use tactus_proto::retry;
use tonic::Code;

use super::Role;
use crate::tenancy::TenancyError;
use crate::text_answer::error_line;

/// Why a request is turned away. The texts are for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No credentials.
    #[error("authentication required")]
    Nobody,
    /// Credentials that nobody has, or that make no sense.
    #[error("wrong credentials")]
    Wrong,
    /// Neither the secret nor the certificate of a service of this cluster.
    #[error("only services of this cluster may call this")]
    NoService,
    /// The caller lacks a role.
    #[error("the role {} is needed", .0.name())]
    Role(Role),
    /// The caller is an administrator, but not of every tenant.
    #[error("only administrators of all tenants may do this")]
    Operator,
    /// The caller may not have this tenant.
    #[error("tenant {0} is not allowed")]
    Tenant(TenantId),
    /// The request has no usable tenant.
    #[error(transparent)]
    Tenancy(TenancyError),
    /// The address failed too often; it may try again after this time.
    #[error("too many failed attempts")]
    TooMany(Duration),
    /// Too many passwords to check.
    #[error("too many logins at a time")]
    Busy,
}

impl Refused {
    /// 401, 403, 429 or 503; what [`TenancyError`] says of a tenant.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Nobody | Self::Wrong | Self::NoService => StatusCode::UNAUTHORIZED,
            Self::Role(_) | Self::Operator | Self::Tenant(_) => StatusCode::FORBIDDEN,
            Self::Tenancy(error) => error.http_status(),
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The code that belongs to the status of HTTP.
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Nobody | Self::Wrong | Self::NoService => Code::Unauthenticated,
            Self::Role(_) | Self::Operator | Self::Tenant(_) => Code::PermissionDenied,
            Self::Tenancy(error) => error.grpc_code(),
            Self::TooMany(_) => Code::ResourceExhausted,
            Self::Busy => Code::Unavailable,
        }
    }

    /// The gRPC status. It says when to try again: senders of spans would give them up.
    pub fn grpc_status(&self) -> tonic::Status {
        retry::grpc_status(self.grpc_code(), &self.to_string(), self.retry_after())
    }

    /// The challenges for `WWW-Authenticate`; none if credentials are not what is missing.
    pub fn challenges(&self) -> &'static [&'static str] {
        match self {
            Self::Nobody | Self::Wrong => {
                &[r#"Basic realm="tactus", charset="UTF-8""#, r#"Bearer realm="tactus""#]
            }
            _ => &[],
        }
    }

    /// Time after which another attempt makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany(wait) => Some((*wait).max(Duration::from_secs(1))),
            Self::Busy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// A word for the metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Nobody => "missing",
            Self::Wrong | Self::NoService => "wrong",
            Self::Role(_) | Self::Operator => "role",
            Self::Tenant(_) | Self::Tenancy(_) => "tenant",
            Self::TooMany(_) | Self::Busy => "limited",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = error_line(self.http_status(), &self.to_string());
        for challenge in self.challenges() {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_grpc_are_told_when_to_try_again() {
        let status = Refused::TooMany(Duration::from_secs(7)).grpc_status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        // A delay of seven seconds.
        assert!(status.details().ends_with(&[0x0a, 2, 0x08, 7]), "{status:?}");
        let status = Refused::Busy.grpc_status();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.details().ends_with(&[0x0a, 2, 0x08, 1]), "{status:?}");
        assert!(Refused::Wrong.grpc_status().details().is_empty());
    }
}
