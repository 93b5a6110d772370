//! Sampling: counts only a part of the spans, and weights spans that represent others.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use foldhash::fast::FixedState;
use tactus_model::{AttributeList, StringCode};

use super::rows::Rows;
use crate::eval::Bitmap;
use crate::eval::scan::find_string;
use crate::eval::value::Value;
use crate::eval::view::{BatchView, column};
use crate::metrics::compile::{PROBABILITY, Sampling, Weighing};

/// How many spans a collector was offered, and how many of them it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    offered: u64,
    taken: u64,
}

impl Sample {
    /// The spans of a batch to consider; `None`: all of them.
    pub(super) fn take(&mut self, sampling: Sampling, view: &BatchView<'_>) -> Option<Bitmap> {
        match sampling {
            Sampling::All => None,
            Sampling::Spans(one_in) => Some(self.take_of(view.spans(), one_in, seed(view))),
            Sampling::Traces(one_in) => {
                let traces = self.take_of(view.traces(), one_in, seed(view));
                Some(traces.gather(&view.batch.spans.trace))
            }
        }
    }

    /// One of each `one_in` rows, and at least one of a batch, or its spans would not count at all. Which ones depends on the batch
    /// only, because threads take batches as they come; and not always those at one distance, because traces of one length
    /// would give the same span of each.
    fn take_of(&mut self, count: usize, one_in: u64, seed: u64) -> Bitmap {
        let mut taken = Bitmap::none(count);
        let step = usize::try_from(one_in).unwrap_or(usize::MAX).clamp(1, count.max(1));
        let mut random = seed;
        for first in (0..count).step_by(step) {
            random = random.wrapping_mul(MULTIPLIER).wrapping_add(1);
            // The low bits of such numbers repeat soon.
            let row = first + (random >> 32) as usize % step;
            if row < count {
                taken.insert(row);
                self.taken += 1;
            }
        }
        self.offered += count as u64;
        taken
    }

    /// The sample of two collectors together.
    pub(super) fn joined(self, other: Self) -> Self {
        Self { offered: self.offered + other.offered, taken: self.taken + other.taken }
    }

    /// How many spans each counted one stands for.
    pub(super) fn scale(self) -> f64 {
        if self.taken == 0 { 1.0 } else { self.offered as f64 / self.taken as f64 }
    }
}

/// Of Knuth's linear congruential generator (MMIX).
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// A number that differs from batch to batch.
fn seed(view: &BatchView<'_>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    view.batch.traces.ids.first().map(|id| id.0).hash(&mut hasher);
    view.batch.spans.start.first().hash(&mut hasher);
    hasher.finish()
}

/// The weight of each of some rows: how many spans of the sender it represents.
pub(super) fn weights(by: Weighing, rows: &Rows, view: &BatchView<'_>) -> Vec<f64> {
    match by {
        Weighing::TraceState => state_weights(rows, view, 1.0, |state| {
            weight_of(state, Rounding::ByRandomValue).unwrap_or(1.0)
        }),
        Weighing::TraceStateOrAttribute => {
            let mut weights = state_weights(rows, view, UNTOLD, |state| {
                weight_of(state, Rounding::None).unwrap_or(UNTOLD)
            });
            if weights.contains(&UNTOLD) {
                let attributes = ProbabilityAttributes::of(view);
                for (place, weight) in weights.iter_mut().enumerate() {
                    if *weight == UNTOLD {
                        *weight = attributes.weight(rows.at(place));
                    }
                }
            }
            weights
        }
    }
}

/// Means that a trace state does not have a weight. Weights are at least 1.
const UNTOLD: f64 = -1.0;

/// `missing`: where no trace states were read.
fn state_weights(
    rows: &Rows,
    view: &BatchView<'_>,
    missing: f64,
    weight_of: impl Fn(&[u8]) -> f64,
) -> Vec<f64> {
    let Some(states) = column(&view.batch.spans.trace_state, view.spans()) else {
        return rows.map(|_| missing);
    };
    // 0: not known yet.
    let mut known = vec![0.0; view.batch.strings.len()];
    rows.gather(states, |code: StringCode| match known.get_mut(code as usize) {
        None => missing,
        Some(weight) => {
            if *weight == 0.0 {
                *weight = weight_of(view.batch.strings.get(code));
            }
            *weight
        }
    })
}

/// The attributes in which senders store the probability that a sampler used.
struct ProbabilityAttributes<'v> {
    view: &'v BatchView<'v>,
    key: Option<StringCode>,
}

impl<'v> ProbabilityAttributes<'v> {
    fn of(view: &'v BatchView<'v>) -> Self {
        Self { view, key: find_string(&view.batch.strings, PROBABILITY.as_bytes()) }
    }

    /// The weight from the attribute of a span, or else of its resource; 1 without any.
    fn weight(&self, row: usize) -> f64 {
        let Some(key) = self.key else { return 1.0 };
        let batch = self.view.batch;
        let of = |list: &AttributeList, owner| list.of(owner).find(|it| it.key == key);
        let attribute = of(&batch.span_attributes, row).or_else(|| {
            let resource = batch.spans.resource.get(row)?;
            of(&batch.resources.attributes, *resource as usize)
        });
        attribute.map_or(1.0, |it| weight_of_probability(Value::of_attribute(it, &batch.strings)))
    }
}

/// The weight for a probability above 0 and up to 1. Other values are ignored.
fn weight_of_probability(value: Value<'_>) -> f64 {
    let probability = match value {
        Value::Float(value) => value,
        Value::Int(value) => value as f64,
        _ => return 1.0,
    };
    let is_probability = probability > 0.0 && probability <= 1.0;
    // The smallest numbers have no finite reciprocal.
    Some(1.0 / probability).filter(|weight| is_probability && weight.is_finite()).unwrap_or(1.0)
}

/// Hexadecimal digits of a threshold, and of a random value.
const DIGITS: usize = 14;
const RANGE: u64 = 1 << (4 * DIGITS);

/// How weights that are not whole numbers are rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    None,
    /// Up or down by the random value `rv`, if there is one, so that they are right on average.
    ByRandomValue,
}

/// The weight from a trace state with `ot=th:…`; `None` if it has none.
fn weight_of(state: &[u8], rounding: Rounding) -> Option<f64> {
    let entries = state.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let entry = entries.filter_map(|entry| entry.strip_prefix(b"ot=")).next()?;
    let field =
        |name: &[u8]| entry.split(|&byte| byte == b';').find_map(|field| field.strip_prefix(name));
    let threshold = field(b"th:").and_then(fraction)?;
    let passing = (RANGE - threshold) as f64;
    let weight = RANGE as f64 / passing;
    if rounding == Rounding::None {
        return Some(weight);
    }
    Some(match field(b"rv:").filter(|digits| digits.len() == DIGITS).and_then(fraction) {
        Some(random) if random >= threshold => {
            let chance = (random - threshold) as f64 / passing;
            let up = weight.fract() > 0.0 && chance >= 1.0 - weight.fract();
            weight.floor() + f64::from(u8::from(up))
        }
        _ => weight,
    })
}

/// Up to 14 hexadecimal digits. Missing digits are zeros at the end.
fn fraction(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if text.is_empty() || text.len() > DIGITS || !is_hex {
        return None;
    }
    let number = u64::from_str_radix(text, 16).ok()?;
    Some(number << (4 * (DIGITS - text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_read_from_the_trace_state() {
        let weight_of =
            |state: &[u8]| super::weight_of(state, Rounding::ByRandomValue).unwrap_or(1.0);
        assert_eq!(weight_of(b""), 1.0);
        assert_eq!(weight_of(b"ot=th:0"), 1.0);
        assert_eq!(weight_of(b"ot=th:8"), 2.0);
        assert_eq!(weight_of(b"a=b, ot=p:1;th:c"), 4.0);
        assert_eq!(weight_of(b"ot=th:xyz"), 1.0);
        assert_eq!(weight_of(b"ot=th:123456789012345"), 1.0);
        assert_eq!(weight_of(b"ot=rv:ffffffffffffff"), 1.0);
        // Whole weights stay, though the largest random values are rounded to the whole range.
        assert_eq!(weight_of(b"ot=th:0;rv:ffffffffffffff"), 1.0);
        assert_eq!(weight_of(b"ot=th:8;rv:ffffffffffffff"), 2.0);
        // 1 / (1 - 1/3) = 1.5: half of the random values give 1, the other half 2.
        assert_eq!(weight_of(b"ot=th:55555555555555;rv:60000000000000"), 1.0);
        assert_eq!(weight_of(b"ot=th:55555555555555;rv:f0000000000000"), 2.0);
    }

    #[test]
    fn sample_of_a_batch_depends_on_nothing_but_the_batch() {
        let take = |rows, one_in, seed| {
            let mut sample = Sample::default();
            let taken: Vec<usize> = sample.take_of(rows, one_in, seed).rows().collect();
            assert_eq!((sample.offered, sample.taken), (rows as u64, taken.len() as u64));
            assert!(taken.iter().all(|&row| row < rows));
            (taken, sample)
        };
        for seed in 0..100 {
            let (taken, sample) = take(1_000, 4, seed);
            assert_eq!(take(1_000, 4, seed).0, taken);
            assert!((0..250).all(|at| taken[at] / 4 == at), "one of each four rows");
            assert!(
                (0..4).all(|rest| taken.iter().any(|row| row % 4 == rest)),
                "not always the same"
            );
            let (few, small) = take(5, 100, seed);
            assert_eq!((few.len(), small.scale()), (1, 5.0));
            assert_eq!(sample.joined(small).scale(), 1_005.0 / 251.0);
        }
        assert_eq!(take(0, 3, 7).1.scale(), 1.0);
        assert_eq!(take(3, u64::MAX, 7).0.len(), 1);
    }
}
