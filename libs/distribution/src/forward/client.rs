//! Sends requests to an OTLP endpoint, as the bytes that were received.

use std::{error::Error, iter::successors, time::Duration};

use bytes::Bytes;
use h2::Reason;
use http::uri::PathAndQuery;
use tactus_config::without_passwords;
use tactus_proto::codec::RawCalls;
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_receivers::otlp_grpc::EXPORT_PATH;
use tactus_rpc::{Channels, Connection, Error as AddressError};
use tactus_server::tenancy::TENANT_HEADER;
use tonic::{Request, Status};

/// Of what an endpoint says of spans that it rejects.
const MAX_REASON_CHARACTERS: usize = 256;

/// Tries of a request that an endpoint does not look at. The second may come before it is noticed that the connection takes
/// no more.
const TRIES: usize = 3;

/// Sends to one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    address: String,
    connection: Connection,
    timeout: Duration,
    with_tenants: bool,
}

impl Client {
    /// Errors: an endpoint that is not `host:port`. The error shows no password.
    pub(super) fn new(
        channels: &Channels,
        address: &str,
        timeout: Duration,
        with_tenants: bool,
    ) -> Result<Self, AddressError> {
        // Credentials would not be sent, but be in the log.
        if address.contains("//") || address.contains('@') || !address.contains(':') {
            return Err(AddressError::Address(without_passwords(address)));
        }
        let connection = channels.at(address)?;
        Ok(Self { address: address.to_owned(), connection, timeout, with_tenants })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request, and again within the same time if the endpoint did not look at it: so it is with one that limits the age
    /// of connections, or the calls on one.
    pub(super) async fn export(&self, tenant: &str, request: &Bytes) -> Result<(), Status> {
        let sending = async {
            for _ in 1..TRIES {
                match self.call(tenant, request).await {
                    Err(status) if was_not_handled(&status) => {}
                    result => return result,
                }
            }
            self.call(tenant, request).await
        };
        let sent = tokio::time::timeout(self.timeout, sending).await;
        sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
    }

    async fn call(&self, tenant: &str, request: &Bytes) -> Result<(), Status> {
        let mut grpc = tonic::client::Grpc::new(self.connection.channel());
        grpc.ready().await.map_err(|error| {
            Status::unavailable(format!("no connection: {}", tactus_telemetry::error_text(&error)))
        })?;
        let mut request = Request::new(request.clone());
        if self.with_tenants {
            let tenant = tenant.parse().map_err(|_| Status::internal("tenant is no header"))?;
            request.metadata_mut().insert(TENANT_HEADER, tenant);
        }
        let codec = RawCalls::<ExportTraceServiceResponse>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(EXPORT_PATH), codec).await?;
        match answer.into_inner().partial_success {
            Some(partial) if partial.rejected_spans > 0 => {
                let (spans, why) = (partial.rejected_spans, partial.error_message);
                let why: String = why.chars().take(MAX_REASON_CHARACTERS).collect();
                Err(Status::resource_exhausted(format!("{spans} spans are rejected: {why}")))
            }
            _ => Ok(()),
        }
    }
}

/// True if it is certain that the endpoint did not handle a call: it was still here when the connection was closed, or came after
/// the last one that the endpoint takes on the connection, or the endpoint refused it as such.
fn was_not_handled(status: &Status) -> bool {
    let was_still_here = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    };
    let was_refused = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<h2::Error>().is_some_and(|error| {
            let is_refusal = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
            error.is_remote() && is_refusal
        })
    };
    successors(status.source(), |&error| error.source())
        .any(|error| was_still_here(error) || was_refused(error))
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http2::handshake;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    #[tokio::test]
    async fn call_that_was_still_here_when_the_connection_closed_was_not_handled() {
        let (near, _far) = tokio::io::duplex(1 << 16);
        let connecting = handshake(TokioExecutor::new(), TokioIo::new(near));
        let (mut sender, connection) = connecting.await.unwrap();
        drop(connection);
        let error = sender.send_request(http::Request::new(String::new())).await.unwrap_err();
        assert!(was_not_handled(&Status::from_error(Box::new(error))));
        // What an endpoint says itself.
        assert!(
            !was_not_handled(&Status::cancelled("")) && !was_not_handled(&Status::unavailable(""))
        );
    }
}
