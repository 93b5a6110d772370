//! Errors as HTTP and gRPC clients see them.

use std::time::Duration;

use ::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tactus_model::error_text;
use tactus_proto::google::rpc::Status as RpcStatus;
use tactus_proto::retry::{RETRY_INFO_TYPE, grpc_status, rpc_status};
use tactus_server::auth::Refused;
use tactus_server::bodies::NoRoom;
use tactus_server::tenancy::TenancyError;
use tonic::Code;

use crate::sink::PushError;

/// When a client for which there was no memory is to try again.
const NO_ROOM_RETRY: Duration = Duration::from_secs(1);

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Code in the status message, and of a gRPC answer.
    pub(crate) code: Code,
    /// Status of an HTTP answer.
    pub(crate) http: StatusCode,
    pub(crate) message: String,
    /// Never zero.
    pub(crate) retry_after: Option<Duration>,
    /// For `WWW-Authenticate`, if credentials are missing.
    pub(crate) challenges: &'static [&'static str],
}

impl Refusal {
    /// HTTP 400 and INVALID_ARGUMENT.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// With the HTTP status that belongs to `code`. What a message repeats of the request may be long: it is cut.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = error_text::cut(message.into());
        Self { code, http: http_status(code), message, retry_after: None, challenges: &[] }
    }

    /// Adds to the headers of an HTTP answer when to try again, and how to tell who one is.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        for challenge in self.challenges {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }

    /// The whole number of seconds for `Retry-After`, at least one.
    fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|delay| delay.as_secs().max(1))
    }

    /// The `google.rpc.Status` message.
    pub(crate) fn to_rpc_status(&self) -> RpcStatus {
        rpc_status(self.code, &self.message, self.retry_after)
    }

    /// The `google.rpc.Status` message as JSON.
    pub(crate) fn to_json(&self) -> String {
        let code = i32::from(self.code);
        let Some(delay) = self.retry_after else {
            return json!({ "code": code, "message": self.message }).to_string();
        };
        let delay = format!("{}s", delay.as_secs_f64());
        let detail = json!({ "@type": RETRY_INFO_TYPE, "retryDelay": delay });
        json!({ "code": code, "message": self.message, "details": [detail] }).to_string()
    }

    /// The gRPC status.
    pub(crate) fn to_grpc_status(&self) -> tonic::Status {
        grpc_status(self.code, &self.message, self.retry_after)
    }
}

impl From<PushError> for Refusal {
    fn from(error: PushError) -> Self {
        let hint = |delay: Duration| (!delay.is_zero()).then_some(delay);
        match error {
            PushError::Malformed(message) | PushError::Invalid(message) => Self::invalid(message),
            PushError::RateLimited { message, retry_after } => Self {
                retry_after: hint(retry_after),
                ..Self::new(Code::ResourceExhausted, message)
            },
            PushError::Unavailable { message, retry_after } => {
                Self { retry_after: hint(retry_after), ..Self::new(Code::Unavailable, message) }
            }
            PushError::Internal(message) => Self::new(Code::Internal, message),
        }
    }
}

/// As clients of gRPC see it, with a retry hint if there is one.
impl From<PushError> for tonic::Status {
    fn from(error: PushError) -> Self {
        Refusal::from(error).to_grpc_status()
    }
}

/// HTTP 503 and UNAVAILABLE, with a hint to come again.
impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        let retry_after = Some(NO_ROOM_RETRY);
        let text = format!("{no_room} (limit: distributor.max_inflight_bytes)");
        Self { retry_after, ..Self::new(Code::Unavailable, text) }
    }
}

impl From<TenancyError> for Refusal {
    fn from(error: TenancyError) -> Self {
        Self::new(error.grpc_code(), error.to_string())
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            http: refused.http_status(),
            retry_after: refused.retry_after(),
            challenges: refused.challenges(),
            ..Self::new(refused.grpc_code(), refused.to_string())
        }
    }
}

/// HTTP status of a gRPC code, as OTLP over HTTP maps it.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn rate_limit_carries_retry_info_in_every_form() {
        let error = PushError::RateLimited {
            message: "RATE_LIMITED: x".into(),
            retry_after: Duration::from_secs(5),
        };
        let refusal = Refusal::from(error);
        assert_eq!(refusal.http, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refusal.retry_after_seconds(), Some(5));
        let status = refusal.to_rpc_status();
        assert_eq!(status.code, 8);
        assert_eq!(status.details[0].type_url, RETRY_INFO_TYPE);
        assert_eq!(status.details[0].value, [0x0a, 0x02, 0x08, 0x05]);
        assert_eq!(refusal.to_grpc_status().details(), status.encode_to_vec());
        let json: serde_json::Value = serde_json::from_str(&refusal.to_json()).unwrap();
        assert_eq!(json["details"][0]["retryDelay"], "5s");
    }

    #[test]
    fn rate_limit_without_delay_gives_no_hint() {
        let error = PushError::RateLimited { message: "x".into(), retry_after: Duration::ZERO };
        let refusal = Refusal::from(error);
        assert_eq!(refusal.retry_after_seconds(), None);
        assert!(refusal.to_grpc_status().details().is_empty());
        assert_eq!(refusal.to_json(), r#"{"code":8,"message":"x"}"#);
    }
}
