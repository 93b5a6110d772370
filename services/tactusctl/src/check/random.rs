//! Pseudo-random numbers that are the same in every process and version, because the content of old traces is derived from them.

use tactus_model::{fnv1a_64, mix_64};

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Numbers of a key and of an index below it.
    pub(crate) fn new(key: u64, index: u64) -> Self {
        Self(mix_64(key ^ mix_64(index.wrapping_add(STEP))))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix_64(self.0)
    }

    /// Skips numbers.
    pub(crate) fn skip(&mut self, count: u64) {
        self.0 = self.0.wrapping_add(STEP.wrapping_mul(count));
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product is always below the bound.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The key of a text, by FNV-1a.
pub(crate) fn key(text: &str) -> u64 {
    fnv1a_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_every_version() {
        // The first numbers of the published SplitMix64 for the seed 1234567.
        let mut random = Random(1_234_567);
        assert_eq!(
            [random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
        let mut random = Random(1_234_567);
        random.skip(1);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert_eq!(key("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_it() {
        let mut random = Random::new(key("seed"), 7);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[random.below(5) as usize] += 1);
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
