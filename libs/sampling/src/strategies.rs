//! The sampling strategies of services and operations.

use std::sync::Arc;

use tactus_config::sections::sampling::SamplingFile;
use tactus_model::TenantId;

use crate::file::TenantFiles;
use crate::{Adaptive, Metrics, Strategy, StrategyFile, StrategySet};

/// Where strategies come from.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Every service has the same probability.
    Uniform(Arc<StrategySet>),
    /// A file.
    File(Arc<StrategyFile>),
    /// Probabilities that are calculated from the traces that clients send.
    Adaptive(Arc<Adaptive>),
}

/// The path or URL of a tenant's own file of strategies; empty if it has none. Called for each request.
pub type StrategiesFileOf = Arc<dyn Fn(&TenantId) -> String + Send + Sync>;

/// Answers clients that ask what to sample.
pub struct Strategies {
    provider: Provider,
    file_of: StrategiesFileOf,
    of_tenants: TenantFiles,
}

tactus_telemetry::debug_of!(Strategies { provider });

impl Strategies {
    /// `files` says how files of tenants are read; its path is ignored.
    pub fn new(
        provider: Provider,
        file_of: StrategiesFileOf,
        files: &SamplingFile,
        metrics: Metrics,
    ) -> Self {
        Self { provider, file_of, of_tenants: TenantFiles::new(files, metrics) }
    }

    /// The strategy for a service. The tenant is `None` if the client did not name one; it then gets the strategy for
    /// everyone.
    ///
    /// If a tenant's own file cannot be read, it gets what tenants without a file get.
    pub async fn of(&self, tenant: Option<&TenantId>, service: &str) -> Arc<Strategy> {
        if let Some(tenant) = tenant {
            let path = (self.file_of)(tenant);
            if !path.is_empty()
                && let Some(set) = self.of_tenants.of(&path).await
            {
                return set.of(service);
            }
        }
        match &self.provider {
            Provider::Uniform(set) => set.of(service),
            Provider::File(file) => file.current().of(service),
            Provider::Adaptive(adaptive) => adaptive.strategy(tenant, service),
        }
    }

    /// Reads files that changed, until `stop`.
    pub async fn watch(&self, stop: tokio_util::sync::CancellationToken) {
        let file = async {
            if let Provider::File(file) = &self.provider {
                file.watch(&stop).await;
            }
        };
        tokio::join!(file, self.of_tenants.watch(&stop));
    }
}
