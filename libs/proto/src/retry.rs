//! Statuses that say when to try again.

use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use tonic::Code;

use crate::google::rpc::{RetryInfo, Status};

/// Type URL of the detail that says when to try again.
pub const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A status as a message. `retry_after`: when its client may try again. Without it, clients of OTLP give up what is refused as
/// RESOURCE_EXHAUSTED.
pub fn rpc_status(code: Code, message: &str, retry_after: Option<Duration>) -> Status {
    let retry_delay = retry_after.and_then(|delay| prost_types::Duration::try_from(delay).ok());
    let info = retry_delay.map(|delay| RetryInfo { retry_delay: Some(delay) });
    let detail =
        |info: RetryInfo| Any { type_url: RETRY_INFO_TYPE.to_owned(), value: info.encode_to_vec() };
    Status {
        code: code.into(),
        message: message.to_owned(),
        details: info.map(detail).into_iter().collect(),
    }
}

/// As [`rpc_status`], for a call of gRPC. It has details only where there is something to say.
pub fn grpc_status(code: Code, message: &str, retry_after: Option<Duration>) -> tonic::Status {
    if retry_after.is_none() {
        return tonic::Status::new(code, message);
    }
    let details = rpc_status(code, message, retry_after).encode_to_vec();
    tonic::Status::with_details(code, message, details.into())
}
