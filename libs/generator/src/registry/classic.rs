//! Histograms of configured buckets.

/// Observations by bucket, the last without an upper bound.
#[derive(Debug, Clone)]
pub(crate) struct Classic {
    pub(crate) sum: f64,
    /// Not cumulated; one more than there are bounds.
    pub(crate) counts: Box<[f64]>,
}

/// The first bucket whose bound is at least the value.
#[inline]
pub(crate) fn slot_of(bounds: &[f64], value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

impl Classic {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        Self { sum: 0.0, counts: vec![0.0; bounds.len() + 1].into() }
    }

    #[inline]
    pub(crate) fn observe(&mut self, slot: usize, value: f64, weight: f64) {
        self.sum += value * weight;
        if let Some(count) = self.counts.get_mut(slot) {
            *count += weight;
        }
    }

    pub(crate) fn count(&self) -> f64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_at_a_bound_is_below_it() {
        let bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];
        assert_eq!(slot_of(&bounds, 0.1), 0);
        assert_eq!(slot_of(&bounds, 12.9), 8);
        assert_eq!(slot_of(&bounds, 0.0), 0);
    }
}
