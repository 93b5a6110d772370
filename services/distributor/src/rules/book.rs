//! Which rules a tenant has, compiled once for as long as they stay the same.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tactus_config::sections::{distributor::DropRule, overrides::Limits};
use tactus_model::TenantId;
use tactus_telemetry::metrics::{CounterVec, Registry};

use super::{Applied, RuleResult, RuleSet};

/// Sets that are kept without a look at which of them are used.
const KEPT_SETS: usize = 64;

/// The limits of a tenant as of now: the same allocation for as long as they are the same.
pub type TenantLimits = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// Rules, and the limits that they come from.
type Compiled = (Arc<Limits>, Arc<RuleSet>);

/// The rules of all tenants.
pub struct RuleBook {
    limits_of: TenantLimits,
    everyone: Vec<DropRule>,
    /// For tenants without rules of their own.
    compiled_everyone: Option<Arc<RuleSet>>,
    /// By the address of the limits, which are kept with the set so that no other ones can have it.
    compiled: Mutex<HashMap<usize, Compiled>>,
    spans: CounterVec<2>,
    failures: CounterVec<2>,
}

tactus_telemetry::debug_of!(RuleBook { everyone });

/// The rules of everyone, then a tenant's own. Errors: those of [`RuleSet::compile`].
fn compile_all(everyone: &[DropRule], own: &[DropRule]) -> Result<RuleSet, String> {
    let mut all = RuleSet::compile(everyone)?;
    all.rules.extend(RuleSet::compile(own)?.rules);
    Ok(all)
}

impl RuleBook {
    /// A book of the rules of everyone and those in the limits of tenants.
    ///
    /// Errors: a rule of everyone that cannot be, in words for the operator.
    pub fn new(
        everyone: Vec<DropRule>,
        limits_of: TenantLimits,
        registry: &Registry,
    ) -> Result<Self, String> {
        let compiled = RuleSet::compile(&everyone)?;
        Ok(Self {
            limits_of,
            compiled_everyone: (!everyone.is_empty()).then(|| Arc::new(compiled)),
            everyone,
            compiled: Mutex::default(),
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

    /// Errors: a rule that cannot be, in words for the operator.
    pub(crate) fn check(rules: &[DropRule]) -> Result<(), String> {
        RuleSet::compile(rules).map(drop)
    }

    /// The rules of a tenant; `None` if it has none.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<Arc<RuleSet>> {
        let limits = (self.limits_of)(tenant);
        if limits.drop_rules.is_empty() {
            return self.compiled_everyone.clone();
        }
        let address = Arc::as_ptr(&limits) as usize;
        let mut compiled = self.compiled.lock();
        if let Some((_, set)) = compiled.get(&address) {
            return Some(Arc::clone(set));
        }
        if compiled.len() >= KEPT_SETS {
            compiled.retain(|_, (limits, _)| Arc::strong_count(limits) > 1);
        }
        let set = match compile_all(&self.everyone, &limits.drop_rules) {
            Ok(set) => Arc::new(set),
            // Rules are checked before limits come into effect.
            Err(reason) => {
                tracing::error!(
                    tenant = tenant.as_str(),
                    reason,
                    "a tenant's drop rules cannot be"
                );
                return self.compiled_everyone.clone();
            }
        };
        compiled.insert(address, (limits, Arc::clone(&set)));
        Some(set)
    }

    #[cfg(test)]
    pub(super) fn kept_sets(&self) -> usize {
        self.compiled.lock().len()
    }

    /// Counts what rules did.
    pub(crate) fn count(&self, tenant: &TenantId, rules: &RuleSet, applied: &Applied) {
        for (name, result) in rules.names().zip(&applied.by_rule) {
            let labels = [tenant.as_str(), name];
            match result {
                RuleResult::Spans(0) => {}
                RuleResult::Spans(spans) => self.spans.with(labels).inc_by(*spans),
                RuleResult::Failed => self.failures.with(labels).inc(),
            }
        }
    }
}
