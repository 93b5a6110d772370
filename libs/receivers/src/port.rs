//! The settings of a receiver's port, whatever its protocol.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::HeaderMap;
use tactus_server::auth::Authenticator;
use tactus_server::bodies::Bodies;
use tactus_server::listener::ListenerSettings;
use tactus_server::tenancy::Tenancy;
use tactus_work::Line;

/// How a TCP port of a receiver behaves.
#[derive(Debug, Clone)]
pub struct PortSettings {
    /// `host:port`; an empty host means all interfaces.
    pub address: String,
    /// Connections.
    pub listener: ListenerSettings,
    /// Tenant of a request.
    pub tenancy: Tenancy,
    /// Who may send; `None`: everyone.
    pub auth: Option<Arc<Authenticator>>,
    /// Largest body or message, in bytes; holds for it as sent and decompressed.
    pub max_body_bytes: usize,
    /// Longest time for reading a body or message.
    pub read_timeout: Option<Duration>,
    /// Memory of bodies.
    pub bodies: Arc<Bodies>,
    /// Answers what is not the receiver's own: other paths, other calls. It sees requests as they come: who may ask is
    /// for it to check.
    pub others: Option<Router>,
}

impl PortSettings {
    /// The defaults of a port at `address`, for bodies of at most `max_body_bytes`.
    pub(crate) fn at(address: &str, max_body_bytes: usize) -> Self {
        Self {
            address: address.to_owned(),
            listener: ListenerSettings::default(),
            tenancy: Tenancy::single(),
            auth: None,
            max_body_bytes,
            read_timeout: Some(Duration::from_secs(60)),
            bodies: Bodies::unbounded(),
            others: None,
        }
    }

    /// The tenant of a request as in [`Line`]; those that name none are one.
    pub(crate) fn line(&self, headers: &HeaderMap) -> u64 {
        self.tenancy.write_tenant(headers).map_or(0, |tenant| Line::of(tenant.as_str(), &[]).tenant)
    }
}
