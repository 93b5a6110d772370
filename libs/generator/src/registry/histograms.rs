//! Histograms with configured buckets, and native histograms, whose buckets grow by a constant factor.

use tactus_remote_write::series::{BucketSpan, NativeHistogram};

/// How native histograms are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NativeSettings {
    /// Factor by which buckets grow, above 1.
    pub bucket_factor: f64,
    /// With more populated buckets than this, the resolution is reduced; 0 is no limit.
    pub max_buckets: u32,
    /// Least milliseconds between resets.
    pub min_reset_ms: i64,
}

impl Default for NativeSettings {
    fn default() -> Self {
        Self { bucket_factor: 1.1, max_buckets: 100, min_reset_ms: 15 * 60_000 }
    }
}

const MIN_SCHEMA: i32 = -4;

const MAX_SCHEMA: i32 = 8;

/// 2^-128.
const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);

/// The coarsest schema whose buckets grow by at most this factor.
pub(crate) fn schema_of(factor: f64) -> i32 {
    let exact = -factor.log2().log2().floor();
    // A factor of 1 or less gives NaN, which becomes 0.
    (exact.clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA))) as i32
}

/// Index of the bucket of a positive value: `2^((i-1)·2^-schema) < value <= 2^(i·2^-schema)`.
pub(crate) fn bucket_of(value: f64, schema: i32) -> i32 {
    let bits = value.to_bits();
    // value = fraction · 2^exponent with a fraction in [0.5, 1); values below the zero threshold do not come here, so
    // that there is no subnormal one.
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let fraction = f64::from_bits((bits & ((1 << 52) - 1)) | 1022 << 52);
    if schema > 0 {
        let buckets = 1 << schema;
        let exact = (fraction.log2() + 1.0) * f64::from(buckets);
        let mut within = exact.ceil() as i32;
        // The logarithm is rounded, so the bounds are compared too.
        if within > 0 && fraction <= fraction_bound(within - 1, buckets) {
            within -= 1;
        } else if fraction > fraction_bound(within, buckets) {
            within += 1;
        }
        return within + (exponent - 1) * buckets;
    }
    let index = if fraction == 0.5 { exponent - 1 } else { exponent };
    let shift = -schema;
    (index + (1 << shift) - 1) >> shift
}

fn fraction_bound(index: i32, buckets: i32) -> f64 {
    0.5 * (f64::from(index) / f64::from(buckets)).exp2()
}

/// Observations in buckets of a constant growth.
#[derive(Debug, Clone)]
pub(crate) struct Native {
    count: f64,
    sum: f64,
    zero_count: f64,
    schema: i32,
    /// Populated buckets by index, ascending.
    buckets: Vec<(i32, f64)>,
    last_reset_ms: i64,
    reset_at_ms: Option<i64>,
}

impl Native {
    pub(crate) fn new(settings: &NativeSettings, now_ms: i64) -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            zero_count: 0.0,
            schema: schema_of(settings.bucket_factor),
            buckets: Vec::new(),
            last_reset_ms: now_ms,
            reset_at_ms: None,
        }
    }

    /// True if it was emptied before.
    pub(crate) fn observe(
        &mut self,
        value: f64,
        weight: f64,
        settings: &NativeSettings,
        now_ms: i64,
    ) -> bool {
        let emptied = self.reset_if_due(settings, now_ms);
        self.add(value, weight);
        if settings.max_buckets == 0 || self.buckets.len() <= settings.max_buckets as usize {
            return emptied;
        }
        self.limit(value, weight, settings, now_ms) || emptied
    }

    /// Empties it if there were too many buckets and the last reset is long enough ago. Returns true if it did.
    pub(crate) fn reset_if_due(&mut self, settings: &NativeSettings, now_ms: i64) -> bool {
        let is_due = self.reset_at_ms.is_some_and(|at| at <= now_ms);
        if is_due {
            *self = Self::new(settings, now_ms);
        }
        is_due
    }

    fn add(&mut self, value: f64, weight: f64) {
        self.count += weight;
        self.sum += value * weight;
        if value <= ZERO_THRESHOLD {
            self.zero_count += weight;
            return;
        }
        let index = bucket_of(value, self.schema);
        match self.buckets.binary_search_by_key(&index, |bucket| bucket.0) {
            Ok(place) => self.buckets[place].1 += weight,
            Err(place) => self.buckets.insert(place, (index, weight)),
        }
    }

    /// Returns true if this is the only observation now.
    fn limit(&mut self, value: f64, weight: f64, settings: &NativeSettings, now_ms: i64) -> bool {
        let may_reset_at = self.last_reset_ms.saturating_add(settings.min_reset_ms);
        if self.reset_at_ms.is_none() && may_reset_at <= now_ms {
            *self = Self::new(settings, now_ms);
            self.add(value, weight);
            return true;
        }
        self.reset_at_ms.get_or_insert(may_reset_at);
        self.halve_resolution();
        false
    }

    /// Merges neighbouring buckets, one step for each observation.
    fn halve_resolution(&mut self) {
        if self.schema <= MIN_SCHEMA {
            return;
        }
        self.schema -= 1;
        let mut merged: Vec<(i32, f64)> = Vec::with_capacity(self.buckets.len());
        for (index, count) in self.buckets.drain(..) {
            let index = (index + 1) >> 1;
            match merged.last_mut() {
                Some(last) if last.0 == index => last.1 += count,
                _ => merged.push((index, count)),
            }
        }
        self.buckets = merged;
    }

    /// The message for remote write.
    pub(crate) fn shown(&self) -> NativeHistogram {
        let mut shown = NativeHistogram {
            count: self.count,
            sum: self.sum,
            schema: self.schema,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero_count,
            ..NativeHistogram::default()
        };
        let mut next = 0;
        for (place, (index, count)) in self.buckets.iter().enumerate() {
            let gap = index.wrapping_sub(next);
            match shown.spans.last_mut() {
                // Up to two empty buckets take fewer bytes than another run.
                Some(span) if gap <= 2 => {
                    span.length += gap as u32 + 1;
                    shown.buckets.extend((0..gap).map(|_| 0.0));
                }
                _ => {
                    let offset = if place == 0 { *index } else { gap };
                    shown.spans.push(BucketSpan { offset, length: 1 });
                }
            }
            shown.buckets.push(*count);
            next = index + 1;
        }
        shown
    }

    /// The zero sample that is sent before the first observation: empty, with only the schema.
    pub(crate) fn empty(&self) -> NativeHistogram {
        NativeHistogram { schema: self.schema, ..NativeHistogram::default() }
    }
}

/// Observations by bucket, the last without an upper bound.
#[derive(Debug, Clone)]
pub(crate) struct Classic {
    pub(crate) sum: f64,
    /// Count of each bucket, not cumulative. There is one more than there are bounds.
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

    pub(crate) fn clear(&mut self) {
        self.sum = 0.0;
        self.counts.fill(0.0);
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn schema_follows_from_the_factor() {
        let schemas = [1.01, 1.1, 1.5, 2.0, 4.0, 100_000.0].map(schema_of);
        assert_eq!(schemas, [7, 3, 1, 0, -1, -4]);
        let _any = [1.0, 0.5, f64::NAN, f64::INFINITY].map(schema_of);
    }

    #[test]
    fn two_observations_show_as_two_runs() {
        let settings = NativeSettings::default();
        let mut native = Native::new(&settings, 0);
        native.observe(0.1, 1.0, &settings, 0);
        native.observe(0.15, 1.0, &settings, 0);
        let shown = native.shown();
        assert_eq!((shown.count, shown.sum, shown.schema), (2.0, 0.25, 3));
        assert_eq!(shown.zero_threshold.to_bits(), 0x37f0_0000_0000_0000);
        let runs: Vec<_> = shown.spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(runs, [(-26, 1), (4, 1)]);
        assert_eq!(shown.buckets, [1.0, 1.0]);
    }

    #[test]
    fn gaps_of_two_are_bridged_and_zero_has_its_own_bucket() {
        let settings = NativeSettings { bucket_factor: 2.0, ..NativeSettings::default() };
        let mut native = Native::new(&settings, 0);
        for value in [1.0, 8.0, 0.0, 128.0] {
            native.observe(value, 0.5, &settings, 0);
        }
        let shown = native.shown();
        let runs: Vec<_> = shown.spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(runs, [(0, 4), (3, 1)]);
        assert_eq!(shown.buckets, [0.5, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(shown.zero_count, 0.5);
    }

    #[test]
    fn too_many_buckets_lower_the_resolution_until_a_reset_may_be() {
        let settings = NativeSettings { bucket_factor: 1.1, max_buckets: 4, min_reset_ms: 1000 };
        let mut native = Native::new(&settings, 0);
        for power in 0..40 {
            native.observe(f64::from(power).exp2(), 1.0, &settings, 1);
        }
        assert!(native.schema < 3);
        assert_eq!(native.count, 40.0);
        native.observe(1.0, 1.0, &settings, 1000);
        assert_eq!((native.schema, native.count), (3, 1.0), "reset when it was due");
        for power in 0..5 {
            native.observe(f64::from(power).exp2(), 1.0, &settings, 2000);
        }
        assert_eq!((native.schema, native.buckets.len()), (3, 1), "old enough to reset at once");
    }

    proptest! {
        #[test]
        fn value_lies_within_its_bucket(value in 1e-30..1e30f64, schema in -4..=8i32) {
            let index = bucket_of(value, schema);
            let bound = |index: i32| (f64::from(index) * f64::from(-schema).exp2()).exp2();
            let slack = 1e-12;
            prop_assert!(value <= bound(index) * (1.0 + slack), "{value} above {}", bound(index));
            prop_assert!(value > bound(index - 1) * (1.0 - slack), "{value} below {}", bound(index - 1));
        }

        #[test]
        fn halved_resolution_is_what_the_coarser_schema_gives(
            values in proptest::collection::vec(1e-6..1e4f64, 1..60),
        ) {
            let fine = NativeSettings { bucket_factor: 1.1, max_buckets: 0, min_reset_ms: 0 };
            let coarse = NativeSettings { bucket_factor: 1.19, ..fine };
            let (mut halved, mut direct) = (Native::new(&fine, 0), Native::new(&coarse, 0));
            for value in values {
                halved.observe(value, 1.0, &fine, 0);
                direct.observe(value, 1.0, &coarse, 0);
            }
            halved.halve_resolution();
            prop_assert_eq!(halved.shown(), direct.shown());
        }
    }

    #[test]
    fn value_at_a_bound_is_below_it() {
        let bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];
        assert_eq!(slot_of(&bounds, 0.1), 0);
        assert_eq!(slot_of(&bounds, 12.9), 8);
        assert_eq!(slot_of(&bounds, 0.0), 0);
    }
}
