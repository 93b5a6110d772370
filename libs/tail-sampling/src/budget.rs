//! The rates that policies allow.

/// How much a rate still allows, in units of what it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// The most that is saved up while it is not used.
    pub(crate) burst: f64,
}

/// What is left of a rate. Full at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    rate: Rate,
    left: f64,
}

impl Budget {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, left: rate.burst }
    }

    /// Adds what a time of this many seconds allows. Traces are decided in rounds of a few seconds, so a round may use
    /// all that its seconds allow, even if that is more than a burst.
    pub(crate) fn advance(&mut self, seconds: f64) {
        let brought = self.rate.per_second * seconds;
        self.left = (self.left + brought).min(self.rate.burst.max(brought));
    }

    /// Takes this much if it is there.
    pub(crate) fn take(&mut self, amount: u64) -> bool {
        let fits = amount as f64 <= self.left;
        if fits {
            self.left -= amount as f64;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_has_a_burst_at_first_and_then_the_rate() {
        let mut budget = Budget::new(Rate { per_second: 10.0, burst: 20.0 });
        assert!(budget.take(15) && !budget.take(6) && budget.take(5) && !budget.take(1));
        budget.advance(1.0);
        assert!(!budget.take(11) && budget.take(10));
        budget.advance(1.5);
        budget.advance(30.0);
        assert!(budget.take(300) && !budget.take(1), "all that thirty seconds brought");
        budget.advance(1.0);
        budget.advance(1.0);
        budget.advance(1.0);
        assert!(!budget.take(21) && budget.take(20));
    }
}
