//! A service as part of a process.

use std::sync::Arc;

use axum::Router;
use futures_util::future::BoxFuture;
use tonic::service::RoutesBuilder;

use crate::Error;

/// Says why a part is not ready, in the words of `/ready`.
pub type ReadyCheck = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Adds gRPC services.
pub type AddGrpc = Arc<dyn Fn(&mut RoutesBuilder) + Send + Sync>;

/// A service as part of a process: what it serves, and how it starts and stops. Everything but the name may be missing.
#[derive(Default)]
pub struct Part {
    /// As `/status/services` shows it.
    pub name: &'static str,
    /// Pages that hold no data, and what has authentication of its own, below `http_api_prefix`. For everyone.
    pub public: Router,
    /// Queries, below `http_api_prefix`. For callers with the role `read`.
    pub read: Router,
    /// What tenants change of their own, below `http_api_prefix`: limits, deletion. Administrators only.
    pub change: Router,
    /// What operators do, without the prefix. Administrators only.
    pub admin: Router,
    /// Pages for operators that change nothing, without the prefix.
    pub status: Router,
    /// Templates of the routes below the prefix, as `/status/endpoints` lists them.
    pub endpoints: Vec<&'static str>,
    /// Templates of the routes without the prefix.
    pub operational_endpoints: Vec<&'static str>,
    /// Zipkin's query API, behind authentication: for the port of a Zipkin receiver in the same process.
    pub zipkin: Router,
    /// gRPC services, on the gRPC port.
    pub grpc: Vec<AddGrpc>,
    /// gRPC services for clients, on the HTTP port as well if that is asked for.
    pub public_grpc: Vec<AddGrpc>,
    /// Readiness.
    pub ready: Option<ReadyCheck>,
    /// Runs once the ports listen, as joining a ring: from then on others send requests here.
    pub start: Option<BoxFuture<'static, Result<(), Error>>>,
    /// Stops the part. Once it has returned, the process may end without losing anything.
    pub stop: Option<BoxFuture<'static, ()>>,
}

tactus_telemetry::debug_of!(Part { name });

impl Part {
    /// A part that does nothing yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }
}
