//! Tail sampling of tenants, compiled once for each place where it is configured.

use std::sync::Arc;

use tactus_config::{
    Config,
    sections::{overrides::Limits, tail_sampling::TailSampling as Section},
};
use tactus_model::OfTenant;
use tactus_overrides::{OfLimits, Overrides};
use tactus_process::Error;
use tactus_recent_data::TailSampling;
use tactus_tail_sampling::Policies;

/// Checks what the configuration cannot check by itself: the policies of a tenant must compile.
///
/// Errors: the first policy that does not compile; the text names it.
pub fn check_limits(limits: &Limits) -> Result<(), String> {
    limits.tail_sampling.0.as_ref().map_or(Ok(()), |section| compile(section).map(drop))
}

/// The tail sampling of each tenant: its own, or that of all tenants. Errors: the policies of all tenants are invalid.
pub(super) fn of_tenants(
    config: &Config,
    overrides: Arc<Overrides>,
) -> Result<OfTenant<Option<Arc<TailSampling>>>, Error> {
    let of_all = compile(&config.tail_sampling).map_err(Error::Setup)?;
    let compiled = OfLimits::default();
    Ok(OfTenant::new(move |tenant| of_limits(&compiled, of_all.as_ref(), &overrides.of(tenant))))
}

type Compiled = Option<Arc<TailSampling>>;

/// The tail sampling for some limits: their own, or that of all tenants. It is compiled once for the same limits, so that the
/// result is the same allocation.
fn of_limits(
    compiled: &OfLimits<Compiled>,
    of_all: Option<&Arc<TailSampling>>,
    limits: &Arc<Limits>,
) -> Compiled {
    let Some(section) = &limits.tail_sampling.0 else { return of_all.cloned() };
    compiled.get_or_make(limits, || {
        compile(section).unwrap_or_else(|reason| {
            tracing::error!(
                reason,
                "a tenant's policies of tail sampling are invalid, all its traces are kept"
            );
            None
        })
    })
}

/// `None` without policies.
fn compile(section: &Section) -> Result<Option<Arc<TailSampling>>, String> {
    let invalid = |text: &str| Err(format!("tail_sampling.{text}"));
    let policies = Policies::compile(&section.policies)
        .map_err(|error| format!("tail_sampling.policies: {error}"))?;
    if section.decision_wait.0 <= 0 {
        return invalid("decision_wait must be greater than 0");
    }
    if section.num_traces == 0 {
        return invalid("num_traces must be greater than 0");
    }
    if policies.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(TailSampling {
        policies: Arc::new(policies),
        decision_wait: section.decision_wait.as_std(),
        num_traces: section.num_traces,
        sampled_cache_size: section.decision_cache.sampled_cache_size,
        non_sampled_cache_size: section.decision_cache.non_sampled_cache_size,
    })))
}

#[cfg(test)]
mod tests {
    use tactus_config::sections::tail_sampling::OwnTailSampling;

    use super::*;

    fn limits(yaml: &str) -> Arc<Limits> {
        let own = Section::parse(yaml).unwrap();
        let tail_sampling = OwnTailSampling(Some(Box::new(own)));
        Arc::new(Limits { tail_sampling, ..Limits::default() })
    }

    #[test]
    fn tenant_has_its_own_policies_or_those_of_all() {
        let keep = "policies: [{name: all, type: always_sample}]";
        let of_all = compile(&Section::parse(keep).unwrap()).unwrap();
        let compiled = OfLimits::default();
        let of = |limits: &Arc<Limits>| of_limits(&compiled, of_all.as_ref(), limits);
        let found = of(&Arc::default()).unwrap();
        assert!(Arc::ptr_eq(&found, of_all.as_ref().unwrap()));
        assert!(of(&limits("policies: []")).is_none());
        let own = limits(&format!("{{{keep}, num_traces: 7}}"));
        let found = of(&own).unwrap();
        assert_eq!(found.num_traces, 7);
        assert!(Arc::ptr_eq(&found, &of(&own).unwrap()), "compiled once");
    }

    #[test]
    fn limits_that_cannot_be_are_refused_by_name() {
        let refused = |yaml: &str| check_limits(&limits(yaml)).unwrap_err();
        assert_eq!(
            refused("policies: [{name: x, type: latency}]"),
            "tail_sampling.policies: policy \"x\": latency: is not set"
        );
        assert_eq!(
            refused("decision_wait: 0s"),
            "tail_sampling.decision_wait must be greater than 0"
        );
        assert_eq!(refused("num_traces: 0"), "tail_sampling.num_traces must be greater than 0");
        assert!(check_limits(&Limits::default()).is_ok());
    }
}
