//! Chooses the exemplars of an answer.

use std::collections::HashMap;

use super::{Exemplar, Grid, LabelValue};

/// In each of the parts of the range.
const MAX_PER_PART: u8 = 2;
const MAX_EXEMPLARS: usize = 100_000;
const TRACE_ID: &str = "trace:id";

/// Takes exemplars until there are enough: spread over the time range, one for each trace.
#[derive(Clone, Debug)]
pub(super) struct ExemplarChoice {
    wanted: usize,
    /// Exemplars taken in each of the equal parts of the time range.
    taken: Vec<u8>,
    /// Start of the exemplar of each trace.
    traces: HashMap<Box<str>, u64>,
    repeats: bool,
}

impl ExemplarChoice {
    /// `repeats`: a span that represents its trace may be shown with several series.
    pub(super) fn new(wanted: usize, repeats: bool) -> Self {
        let wanted = wanted.min(MAX_EXEMPLARS);
        let parts = (wanted / 2).max(1);
        Self { wanted, taken: vec![0; parts], traces: HashMap::new(), repeats }
    }

    /// Moves the chosen ones to `shown`, the exemplars of one series.
    pub(super) fn extend(
        &mut self,
        shown: &mut Vec<Exemplar>,
        offered: Vec<Exemplar>,
        grid: &Grid,
    ) {
        if self.wanted > 0 {
            shown.extend(offered.into_iter().filter(|exemplar| self.takes(exemplar, grid)));
        }
    }

    fn takes(&mut self, exemplar: &Exemplar, grid: &Grid) -> bool {
        let start = exemplar.start_unix_nanos;
        if grid.interval_of(start).is_none() {
            return false;
        }
        let trace = trace_id(exemplar);
        if let Some(other) = self.traces.get(trace) {
            return self.repeats && *other == start;
        }
        let range = u128::from(grid.end() - grid.start());
        let offset = u128::from(start - grid.start() - 1);
        let part = usize::try_from(offset * self.taken.len() as u128 / range).unwrap_or(usize::MAX);
        match self.taken.get_mut(part) {
            Some(taken) if *taken < MAX_PER_PART && self.traces.len() < self.wanted => {
                *taken += 1;
                self.traces.insert(trace.into(), start);
                true
            }
            _ => false,
        }
    }
}

fn trace_id(exemplar: &Exemplar) -> &str {
    let found = exemplar.labels.iter().find(|(name, _)| &**name == TRACE_ID);
    match found {
        Some((_, LabelValue::String(id))) => id,
        _ => "",
    }
}

/// Replaces placeholders by the value of the series, and drops exemplars if it has none there.
pub(super) fn resolve(exemplars: &mut Vec<Exemplar>, values: &[f64], grid: &Grid) {
    exemplars.retain_mut(|exemplar| {
        let interval = grid.interval_of(exemplar.start_unix_nanos);
        let value = interval.and_then(|interval| values.get(interval)).copied();
        let Some(value) = value.filter(|value| !value.is_nan()) else { return false };
        exemplar.of_series |= exemplar.value.is_none();
        exemplar.value.get_or_insert(value);
        true
    });
}
