//! Counts rows by a number, by side and by interval.

use crate::metrics::collect::cells::{Cell, Joining, Slots};
use crate::metrics::collect::rows::Reach;

/// Rows by side and interval.
#[derive(Clone, Copy)]
pub(super) struct Counter<'a> {
    /// For each row its interval, plus the number of intervals if it is on the second side.
    pub(super) places: &'a [u32],
    pub(super) reach: &'a Reach,
    /// For each row how many spans it counts for; `None`: one.
    pub(super) weights: Option<&'a [f64]>,
}

impl Counter<'_> {
    /// Calls `emit(number, counts of both sides)` for every number that occurs.
    pub(super) fn count(&self, numbers: &[u32], mut emit: impl FnMut(u32, &[Vec<(u32, Cell)>; 2])) {
        let width = self.reach.width as u32;
        let slots = Slots {
            series: Some(numbers),
            places: |first: usize, out: &mut [u32]| {
                out.copy_from_slice(&self.places[first..first + out.len()]);
            },
            series_count: numbers.iter().max().map_or(0, |&most| most as usize + 1),
            place_count: 2 * self.reach.width,
            rows: numbers.len(),
        };
        let mut current: [Vec<(u32, Cell)>; 2] = Default::default();
        let mut open = None;
        let mut take = |number, place, cell| {
            if open.is_some_and(|open| open != number) {
                if let Some(open) = open {
                    emit(open, &current);
                }
                current.iter_mut().for_each(Vec::clear);
            }
            open = Some(number);
            let interval = self.reach.first as u32 + place % width;
            current[(place / width) as usize].push((interval, cell));
        };
        match self.weights {
            None => slots.count(|number, place, rows| {
                take(number, place, Cell::of(rows as f64, 1.0));
            }),
            Some(weights) => {
                slots.join(Joining::Count, |row| Cell::of(weights[row], 1.0), take);
            }
        }
        if let Some(open) = open {
            emit(open, &current);
        }
    }
}
