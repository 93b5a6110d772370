//! The strategies of a tenant, by service.

use std::collections::HashMap;
use std::sync::Arc;

use tactus_proto::jaeger::api_v2::{ProbabilisticSamplingStrategy, SamplingStrategyType};

use crate::Strategy;

/// The strategies of all services of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct StrategySet {
    default: Arc<Strategy>,
    services: HashMap<String, Arc<Strategy>>,
}

impl StrategySet {
    /// `default` is for services that are not in `services`.
    pub fn new(default: Strategy, services: HashMap<String, Arc<Strategy>>) -> Self {
        Self { default: Arc::new(default), services }
    }

    /// The same probability for every service.
    pub fn uniform(sampling_rate: f64) -> Self {
        let mut default = Strategy {
            probabilistic_sampling: Some(ProbabilisticSamplingStrategy { sampling_rate }),
            ..Strategy::default()
        };
        default.set_strategy_type(SamplingStrategyType::Probabilistic);
        Self::new(default, HashMap::new())
    }

    /// The strategy for a service, including services that are not known.
    pub fn of(&self, service: &str) -> Arc<Strategy> {
        Arc::clone(self.services.get(service).unwrap_or(&self.default))
    }
}
