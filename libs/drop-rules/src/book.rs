//! The rules of each tenant, compiled once and cached until they change.

use std::sync::Arc;

use tactus_config::sections::distributor::DropRule;
use tactus_model::TenantId;
use tactus_overrides::{LimitsOf, OfLimits};
use tactus_telemetry::{
    log_limited,
    metrics::{CounterVec, Registry},
};

use super::{Applied, RuleSet};

/// The rules of all tenants.
pub struct RuleBook {
    limits_of: LimitsOf,
    everyone: Vec<DropRule>,
    /// For tenants without rules of their own.
    compiled_everyone: Option<Arc<RuleSet>>,
    compiled: OfLimits<Option<Arc<RuleSet>>>,
    spans: CounterVec<2>,
    failures: CounterVec<2>,
}

tactus_telemetry::debug_of!(RuleBook { everyone });

/// The rules for all tenants, then the tenant's own. Errors: those of [`RuleSet::compile`].
fn compile_all(everyone: &[DropRule], own: &[DropRule]) -> Result<RuleSet, String> {
    let mut all = RuleSet::compile(everyone)?;
    all.rules.extend(RuleSet::compile(own)?.rules);
    Ok(all)
}

impl RuleBook {
    /// A book of the rules for all tenants and of those in the limits of each tenant.
    ///
    /// Errors: an invalid rule in the configuration, worded for the operator.
    pub fn new(
        everyone: Vec<DropRule>,
        limits_of: LimitsOf,
        registry: &Registry,
    ) -> Result<Self, String> {
        let compiled = RuleSet::compile(&everyone)?;
        Ok(Self {
            limits_of,
            compiled_everyone: (!everyone.is_empty()).then(|| Arc::new(compiled)),
            everyone,
            compiled: OfLimits::default(),
            spans: registry.counter_vec(
                "tactus_distributor_drop_rule_spans_total",
                "Spans that a drop rule dropped, or whose attributes it removed or hashed.",
                ["tenant", "rule"],
            ),
            failures: registry.counter_vec(
                "tactus_distributor_drop_rule_failures_total",
                "Requests on which the query of a drop rule could not be evaluated.",
                ["tenant", "rule"],
            ),
        })
    }

    /// Checks rules. Errors: an invalid rule, worded for the operator.
    pub fn check(rules: &[DropRule]) -> Result<(), String> {
        RuleSet::compile(rules).map(drop)
    }

    /// The rules of a tenant; `None` if it has none.
    pub fn of(&self, tenant: &TenantId) -> Option<Arc<RuleSet>> {
        let limits = (self.limits_of)(tenant);
        if limits.drop_rules.is_empty() {
            return self.compiled_everyone.clone();
        }
        self.compiled.get_or_make(&limits, || {
            match compile_all(&self.everyone, &limits.drop_rules) {
                Ok(set) => Some(Arc::new(set)),
                // Unlikely, because rules are checked before limits come into effect.
                Err(reason) => {
                    tracing::error!(
                        tenant = tenant.as_str(),
                        reason,
                        "a tenant's drop rules are invalid, only those of all tenants apply"
                    );
                    self.compiled_everyone.clone()
                }
            }
        })
    }

    /// Adds the results for one request to the metrics.
    pub fn count(&self, tenant: &TenantId, rules: &RuleSet, applied: &Applied) {
        for (name, result) in rules.names().zip(&applied.by_rule) {
            let labels = [tenant.as_str(), name];
            if result.spans > 0 {
                self.spans.with(labels).inc_by(result.spans);
            }
            if result.unknown > 0 {
                self.failures.with(labels).inc();
                log_limited!(
                    warn,
                    tenant = tenant.as_str(),
                    rule = name,
                    spans = result.unknown,
                    "the query of a drop rule took too long for a request: spans that were not evaluated are stored, \
                     or edited if the rule edits"
                );
            }
        }
    }
}
