//! Computes the next probabilities from the counts and the previous probabilities.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tactus_config::sections::sampling::AdaptiveSampling;

use super::by_operation::ByOperation;
use super::counter::{OperationCount, six_decimals};

/// Probabilities closer than this are the same.
const SAME: f64 = 1e-10;
const MAX_PROBABILITY: f64 = 1.0;
/// A probability grows at most by this factor, and by exactly this factor if nothing was sampled.
const MAX_GROWTH: f64 = 2.0;

/// What all processes counted in some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) seconds: f64,
    pub(crate) counts: ByOperation<OperationCount>,
}

/// The result of a round for one operation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calculated {
    pub(crate) probability: f64,
    /// The probability before.
    pub(crate) previous: f64,
    /// Traces per second that were sampled by probability.
    pub(crate) rate: f64,
    /// True if its clients use the probabilities that they are told.
    #[serde(rename = "adaptive")]
    pub(crate) is_adaptive: bool,
}

/// The probabilities of all operations in `buckets`, the newest first. `before`: the previous round.
pub(crate) fn calculate(
    settings: &AdaptiveSampling,
    buckets: &VecDeque<Bucket>,
    before: &ByOperation<Calculated>,
) -> ByOperation<Calculated> {
    let mut round = ByOperation::default();
    for bucket in buckets {
        for (tenant, service, operation, _) in bucket.counts.iter() {
            if round.contains(tenant, service, operation) {
                continue;
            }
            let of_bucket = |bucket: &Bucket| {
                let found = bucket.counts.get(tenant, service, operation)?;
                Some(found.count as f64 / bucket.seconds)
            };
            let rates = buckets.iter().filter_map(of_bucket);
            let rates: Vec<f64> = rates.take(settings.calculation_buckets).collect();
            let newest = buckets.front();
            let newest = newest.and_then(|newest| newest.counts.get(tenant, service, operation));
            let of_operation = before.get(tenant, service, operation);
            let found = next(settings, weighted_mean(&rates), newest, of_operation);
            round.insert(tenant, service, operation, found);
        }
    }
    round
}

/// The probability of one operation. `newest`: what the newest bucket counted for it.
fn next(
    settings: &AdaptiveSampling,
    rate: f64,
    newest: Option<&OperationCount>,
    before: Option<&Calculated>,
) -> Calculated {
    let initial = settings.initial_sampling_probability;
    let previous = before.map_or(initial, |before| before.probability);
    let is_adaptive = if is_same(previous, initial) {
        // The probability is still the initial one, so there was nothing to adopt.
        true
    } else if let Some(newest) = newest.filter(|newest| !newest.probabilities.is_empty()) {
        newest.probabilities.contains(&six_decimals(previous))
    } else {
        before.is_some_and(|before| before.is_adaptive && !is_same(before.previous, initial))
    };
    let target = settings.target_samples_per_second;
    let is_near = (rate - target).abs() / target < settings.delta_tolerance;
    let probability =
        if is_near || !is_adaptive { previous } else { next_probability(settings, previous, rate) };
    Calculated { probability, previous, rate, is_adaptive }
}

/// Increases are limited, because a sudden one could flood the system. A decrease takes effect at once.
fn next_probability(settings: &AdaptiveSampling, previous: f64, rate: f64) -> f64 {
    let most = previous * MAX_GROWTH;
    let wanted = match rate {
        0.0 => most,
        rate => (previous * settings.target_samples_per_second / rate).min(most),
    };
    wanted.max(settings.min_sampling_probability).min(MAX_PROBABILITY)
}

/// The weighted mean of rates, newest first. Of n rates, the one at position i from the end has weight i⁴.
fn weighted_mean(rates: &[f64]) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (place, rate) in rates.iter().rev().enumerate() {
        let weight = ((place + 1) as f64).powi(4);
        sum += rate * weight;
        weights += weight;
    }
    if weights == 0.0 { 0.0 } else { sum / weights }
}

fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() < SAME
}

#[cfg(test)]
mod tests;
