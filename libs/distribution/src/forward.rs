//! Forwarders: send copies of stored spans on to OTLP endpoints.
//!
//! ```text
//! request stored -> each of the tenant's forwarders: queue of each endpoint, bounded in bytes -> filter -> endpoint, once
//! ```
//!
//! Best effort: what finds the queue full, or what an endpoint refuses, is counted and dropped. A push never waits for
//! this. Tenants share a queue and take turns, so that one whose requests hang does not hold up others. Copies in several
//! queues are the same bytes.

mod client;
mod endpoint;
mod forwarder;
mod room;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tactus_config::sections::distributor::Forwarder as ForwarderSection;
use tactus_drop_rules::SpanFilter;
use tactus_model::TenantId;
use tactus_overrides::LimitsOf;
use tactus_rpc::{ChannelSettings, Channels};
use tactus_telemetry::metrics::Registry;
use tactus_tls::{ALPN_GRPC, ClientTls, ClientTlsSettings, Pem};

use crate::metrics::QueueMetrics;
use client::Client;
use forwarder::{Forwarder, ForwarderSettings};

/// How long queued requests may take to send when the process stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The forwarders of a process, and which tenants use which. Clones share them.
#[derive(Clone)]
pub struct Forwarders(Arc<Inner>);

struct Inner {
    limits_of: LimitsOf,
    by_name: HashMap<String, Forwarder>,
}

impl fmt::Debug for Forwarders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forwarders").field(&self.0.by_name.keys()).finish()
    }
}

impl Forwarders {
    /// Starts the configured forwarders. `with_tenants`: requests carry the tenant's id.
    ///
    /// Errors: an invalid filter or address, or certificates; worded for the operator.
    pub fn start(
        sections: &[ForwarderSection],
        limits_of: LimitsOf,
        with_tenants: bool,
        registry: &Registry,
    ) -> Result<Self, String> {
        let metrics = QueueMetrics::register(registry);
        let mut by_name = HashMap::new();
        for (index, section) in sections.iter().enumerate() {
            let key = format!("distributor.forwarders[{index}]");
            let settings = ForwarderSettings {
                name: section.name.clone(),
                max_bytes: section.max_queued_bytes,
                workers: section.workers.max(1),
                leaves_out: filters(&key, section)?,
            };
            let clients = clients(&key, section, with_tenants)?;
            let forwarder = Forwarder::new(settings, clients, &metrics);
            by_name.insert(section.name.clone(), forwarder);
        }
        Ok(Self(Arc::new(Inner { limits_of, by_name })))
    }

    /// Queues a request for the forwarders of its tenant. `has_bad_ids`: some of its spans were not stored because of
    /// their ids.
    pub(crate) fn offer(&self, tenant: &TenantId, request: &Bytes, has_bad_ids: bool) {
        if self.0.by_name.is_empty() {
            return;
        }
        let limits = (self.0.limits_of)(tenant);
        for (index, name) in limits.forwarders.iter().enumerate() {
            // A name that is listed twice means one forwarder, as in Tempo.
            if limits.forwarders[..index].contains(name) {
                continue;
            }
            if let Some(forwarder) = self.0.by_name.get(name) {
                forwarder.offer(tenant, request, has_bad_ids);
            }
        }
    }

    /// Takes no more requests. Returns when the waiting ones are sent, or took too long.
    pub async fn stop(&self) {
        for forwarder in self.0.by_name.values() {
            forwarder.tasks.close();
        }
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        for (name, forwarder) in &self.0.by_name {
            if tokio::time::timeout_at(deadline, forwarder.tasks.wait()).await.is_err() {
                tracing::warn!(forwarder = name, "not all that waited could be forwarded");
            }
        }
    }
}

/// The filters of spans that are left out.
fn filters(key: &str, section: &ForwarderSection) -> Result<Vec<SpanFilter>, String> {
    let conditions = section.filter.traces.span.iter().enumerate();
    let compile = |(index, condition): (usize, &String)| {
        SpanFilter::compile(condition)
            .map_err(|error| format!("{key}.filter.traces.span[{index}]: {error}"))
    };
    conditions.map(compile).collect()
}

/// A client of each endpoint.
fn clients(
    key: &str,
    section: &ForwarderSection,
    with_tenants: bool,
) -> Result<Vec<Client>, String> {
    let key = format!("{key}.otlpgrpc");
    let otlp = &section.otlpgrpc;
    if otlp.endpoints.is_empty() {
        return Err(format!("{key}.endpoints: none is named"));
    }
    let tls = (!otlp.tls.insecure).then(|| {
        let file = Pem::file(format!("{key}.tls.cert_file"), &otlp.tls.cert_file);
        ClientTls::load(ClientTlsSettings {
            ca: Some(file),
            alpn: ALPN_GRPC.map(str::to_owned).to_vec(),
            ..ClientTlsSettings::new(&format!("{key}.tls"))
        })
    });
    let tls = tls.transpose().map_err(|error| error.to_string())?;
    let channels = Channels::new(ChannelSettings { tls, ..ChannelSettings::default() });
    let timeout = section.timeout.non_zero().unwrap_or(Duration::from_secs(5));
    let client = |address: &String| {
        Client::new(&channels, address, timeout, with_tenants)
            .map_err(|error| format!("{key}.endpoints: {error}"))
    };
    otlp.endpoints.iter().map(client).collect()
}

#[cfg(test)]
mod tests;
