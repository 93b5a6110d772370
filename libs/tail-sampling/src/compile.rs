//! Compiles the configuration to conditions.

mod single;

use std::cell::Cell;
use std::collections::HashSet;

use tactus_config::sections::tail_sampling::{CompositePolicy, Policy as Configured, SubPolicies};
use tactus_traceql::Patterns;

use crate::{
    budget::Rate,
    condition::{Condition, Unit},
    error::PolicyError,
};

/// Levels of policies inside policies. Deeper ones are rejected.
const MAX_DEPTH: usize = 8;
/// The most policies, including those inside other policies.
const MAX_POLICIES: usize = 1000;

/// Compiled policies. They are immutable, so that several deciders can share them.
#[derive(Debug, Default)]
pub struct Policies {
    pub(crate) policies: Vec<Policy>,
    /// The rates that conditions take from.
    pub(crate) rates: Vec<Rate>,
}

/// A policy of the list.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// True if the traces that the condition finds are dropped instead of kept.
    pub(crate) drops: bool,
    /// True if the result is inverted, as by a condition with `invert_match`.
    pub(crate) inverted: bool,
    pub(crate) condition: Condition,
}

impl Policies {
    /// Compiles policies.
    ///
    /// Errors: the first invalid field; the text names the policy and the field.
    pub fn compile(configured: &[Configured]) -> Result<Self, PolicyError> {
        let mut compiled = Self::default();
        let mut names = HashSet::new();
        let taken = Taken::default();
        for policy in configured {
            if policy.name.is_empty() {
                return Err(PolicyError::NoName);
            }
            if !names.insert(policy.name.as_str()) {
                return Err(PolicyError::DuplicateName(policy.name.clone()));
            }
            let scope = Scope { path: policy.name.clone(), depth: 0, taken: &taken };
            let mut rates = std::mem::take(&mut compiled.rates);
            let condition = scope.condition(policy, &mut rates)?;
            compiled.rates = rates;
            compiled.policies.push(Policy {
                name: policy.name.clone(),
                drops: policy.kind == "drop",
                inverted: matches!(&condition, Condition::Attribute(it) if it.inverted),
                condition,
            });
        }
        Ok(compiled)
    }

    /// True without any policy: everything is kept.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The names, in the order of decisions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }

    /// True if the policy with this index drops what it matches.
    pub fn drops(&self, policy: usize) -> bool {
        self.policies.get(policy).is_some_and(|policy| policy.drops)
    }

    /// True if the result of the policy with this index depends on how many other traces there are.
    pub fn limits_rate(&self, policy: usize) -> bool {
        self.policies.get(policy).is_some_and(|policy| policy.condition.limits_rate())
    }
}

/// What all policies of a configuration take together.
#[derive(Debug, Default)]
struct Taken {
    policies: Cell<usize>,
    /// Bytes of the compiled patterns of queries.
    programs: Cell<usize>,
    /// Bytes of the compiled expressions of attributes.
    regexes: Cell<usize>,
    /// The memory for automaton states of all patterns.
    patterns: Patterns,
}

/// Where in the configuration a policy stands.
struct Scope<'t> {
    path: String,
    depth: usize,
    taken: &'t Taken,
}

impl Scope<'_> {
    fn invalid(&self, field: &str, reason: impl Into<String>) -> PolicyError {
        PolicyError::Invalid {
            policy: self.path.clone(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// The value of the key for the policy's type, which must be set.
    fn set<'c, T>(&self, key: &str, value: &'c Option<T>) -> Result<&'c T, PolicyError> {
        value.as_ref().ok_or_else(|| self.invalid(key, "is not set"))
    }

    fn condition(&self, it: &Configured, rates: &mut Vec<Rate>) -> Result<Condition, PolicyError> {
        self.count_policy()?;
        Ok(match it.kind.as_str() {
            "always_sample" => Condition::Always,
            "traceql" => self.traceql(&self.set("traceql", &it.traceql)?.query)?,
            "latency" => self.latency(self.set("latency", &it.latency)?)?,
            "numeric_attribute" => {
                self.numeric_attribute(self.set("numeric_attribute", &it.numeric_attribute)?)?
            }
            "probabilistic" => self.probabilistic(self.set("probabilistic", &it.probabilistic)?)?,
            "status_code" => {
                self.status(&self.set("status_code", &it.status_code)?.status_codes)?
            }
            "string_attribute" => {
                self.string_attribute(self.set("string_attribute", &it.string_attribute)?)?
            }
            "boolean_attribute" => {
                self.boolean_attribute(self.set("boolean_attribute", &it.boolean_attribute)?)?
            }
            "rate_limiting" => {
                let rate = self.set("rate_limiting", &it.rate_limiting)?;
                let field = "rate_limiting.spans_per_second";
                self.rate(field, Unit::Spans, (rate.spans_per_second, rate.burst_capacity), rates)?
            }
            "bytes_limiting" => {
                let rate = self.set("bytes_limiting", &it.bytes_limiting)?;
                let field = "bytes_limiting.bytes_per_second";
                self.rate(field, Unit::Bytes, (rate.bytes_per_second, rate.burst_capacity), rates)?
            }
            "span_count" => self.span_count(self.set("span_count", &it.span_count)?)?,
            "trace_state" => self.trace_state(self.set("trace_state", &it.trace_state)?)?,
            "and" => {
                let subs = &self.set("and", &it.and)?.and_sub_policy;
                Condition::And(self.all_of("and.and_sub_policy", subs, rates)?)
            }
            "not" => {
                let sub = self.set("not", &it.not)?.not_sub_policy.0.as_deref();
                let field = "not.not_sub_policy";
                let sub = sub.ok_or_else(|| self.invalid(field, "is not set"))?;
                Condition::Not(Box::new(self.sub(field, 0, sub, rates)?))
            }
            "drop" if self.depth == 0 => {
                let subs = &self.set("drop", &it.drop)?.drop_sub_policy;
                Condition::And(self.all_of("drop.drop_sub_policy", subs, rates)?)
            }
            "composite" if self.depth == 0 => {
                self.composite(self.set("composite", &it.composite)?, rates)?
            }
            "drop" | "composite" => {
                return Err(
                    self.invalid("type", format!("{:?} cannot be within a policy", it.kind))
                );
            }
            "ottl_condition" => {
                let reason = "\"ottl_condition\" is not supported, traceql takes its place";
                return Err(self.invalid("type", reason));
            }
            "trace_flags" => {
                let reason = "\"trace_flags\" is not supported, flags of spans are not stored";
                return Err(self.invalid("type", reason));
            }
            other => return Err(self.invalid("type", format!("unknown policy type {other:?}"))),
        })
    }

    /// Errors: there are too many policies.
    fn count_policy(&self) -> Result<(), PolicyError> {
        self.taken.policies.set(self.taken.policies.get() + 1);
        if self.taken.policies.get() > MAX_POLICIES {
            let reason = format!("is one too many, there may be {MAX_POLICIES} policies");
            return Err(self.invalid("name", reason));
        }
        Ok(())
    }

    fn rate(
        &self,
        field: &str,
        unit: Unit,
        (per_second, burst): (u64, u64),
        rates: &mut Vec<Rate>,
    ) -> Result<Condition, PolicyError> {
        if per_second == 0 {
            return Err(self.invalid(field, "must be greater than 0"));
        }
        let per_second = per_second as f64;
        let burst = if burst == 0 { 2.0 * per_second } else { burst as f64 };
        rates.push(Rate { per_second, burst });
        Ok(Condition::Rate { budget: rates.len() - 1, unit })
    }

    fn all_of(
        &self,
        field: &str,
        subs: &SubPolicies,
        rates: &mut Vec<Rate>,
    ) -> Result<Vec<Condition>, PolicyError> {
        if subs.0.is_empty() {
            return Err(self.invalid(field, "is not set"));
        }
        let subs = subs.0.iter().enumerate();
        subs.map(|(place, sub)| self.sub(field, place, sub, rates)).collect()
    }

    fn sub(
        &self,
        field: &str,
        place: usize,
        sub: &Configured,
        rates: &mut Vec<Rate>,
    ) -> Result<Condition, PolicyError> {
        if self.depth == MAX_DEPTH {
            return Err(self.invalid(field, "policies are nested too deep"));
        }
        let name = if sub.name.is_empty() { place.to_string() } else { sub.name.clone() };
        let path = format!("{}/{name}", self.path);
        let scope = Scope { path, depth: self.depth + 1, taken: self.taken };
        scope.condition(sub, rates)
    }

    fn composite(
        &self,
        composite: &CompositePolicy,
        rates: &mut Vec<Rate>,
    ) -> Result<Condition, PolicyError> {
        let total = composite.max_total_spans_per_second;
        if total == 0 {
            let field = "composite.max_total_spans_per_second";
            return Err(self.invalid(field, "must be greater than 0"));
        }
        let subs = &composite.composite_sub_policy.0;
        let mut known = HashSet::new();
        for sub in subs {
            if sub.name.is_empty() {
                return Err(PolicyError::NoName);
            }
            if !known.insert(sub.name.as_str()) {
                return Err(PolicyError::DuplicateName(format!("{}/{}", self.path, sub.name)));
            }
        }
        let unknown = |field: &str, name: &str| {
            self.invalid(field, format!("there is no sub policy {name:?}"))
        };
        for share in &composite.rate_allocation {
            if !known.contains(share.policy.as_str()) {
                return Err(unknown("composite.rate_allocation.policy", &share.policy));
            }
            if !(0..=100).contains(&share.percent) {
                let field = "composite.rate_allocation.percent";
                return Err(self.invalid(field, "must be from 0 to 100"));
            }
        }
        let order = self.some("composite.policy_order", &composite.policy_order)?;
        let mut ordered = Vec::with_capacity(order.len());
        for name in order {
            let field = "composite.policy_order";
            let place = subs.iter().position(|sub| sub.name == *name);
            let place = place.ok_or_else(|| unknown(field, name))?;
            if !known.remove(name.as_str()) {
                return Err(self.invalid(field, format!("{name:?} stands twice")));
            }
            let condition =
                self.sub("composite.composite_sub_policy", place, &subs[place], rates)?;
            let mut shares = composite.rate_allocation.iter();
            let share = shares.find(|share| share.policy == *name).map_or(0, |it| it.percent);
            let per_second = match share {
                0 => total as f64 / order.len() as f64,
                percent => total as f64 * percent as f64 / 100.0,
            };
            rates.push(Rate { per_second, burst: per_second });
            ordered.push((condition, rates.len() - 1));
        }
        // Collectors take policies that are not in the order, and never ask them. They are checked like others.
        for (place, sub) in subs.iter().enumerate() {
            if known.contains(sub.name.as_str()) {
                self.sub("composite.composite_sub_policy", place, sub, &mut Vec::new())?;
            }
        }
        Ok(Condition::Composite(ordered))
    }
}
