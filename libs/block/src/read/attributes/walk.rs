//! Finds the attribute, or the owner, that each value of a column belongs to.

use crate::decoding::hybrid::Levels;
use crate::decoding::{DecodeError, DecodeResult};
use crate::read::chunk::PageLevels;
use crate::read::level_words::{count, count_through, for_each_word};

/// Follows the levels of a column through its pages.
///
/// A *slot* is what a column has values for: an attribute of the key column, or an owner. A slot starts at an entry
/// whose repetition level is at most `level`, and which is defined down to it. An entry has a value if it is defined to
/// the column's maximum. An entry that repeats more deeply continues the slot's list.
#[derive(Debug)]
pub(super) struct Walker<'o> {
    level: u8,
    max_def: u8,
    slots: usize,
    limit: usize,
    /// Numbers of the wanted slots, ascending; `None` for all.
    wanted: Option<&'o [u32]>,
    cursor: usize,
    /// The wanted number at `cursor`.
    next_wanted: usize,
}

impl<'o> Walker<'o> {
    /// A walker before the first page of a column with `limit` slots.
    pub(super) fn new(level: u8, max_def: u8, limit: usize, wanted: Option<&'o [u32]>) -> Self {
        let next_wanted = wanted.map_or(0, |wanted| number(wanted, 0));
        Self { level, max_def, slots: 0, limit, wanted, cursor: 0, next_wanted }
    }

    /// Calls `sink(target, continues, value)` for each value of a wanted slot. `target` is the number of the slot among
    /// the wanted ones, `value` that of the value in the page.
    pub(super) fn page(
        &mut self,
        page: PageLevels<'_>,
        mut sink: impl FnMut(usize, bool, usize) -> DecodeResult<()>,
    ) -> DecodeResult<()> {
        let mut value = 0;
        for_each_word(page, |word| {
            let continues = word.repeats_below(self.level);
            let starts = word.defined_to(self.level) & !continues;
            let mut values = word.defined_to(self.max_def);
            let slots_before = self.slots;
            self.slots += count(starts);
            if self.wanted.is_some() && self.slots <= self.next_wanted {
                value += count(values);
                return self.check();
            }
            while values != 0 {
                let slot = slots_before + count_through(starts, values);
                let continues = continues & (values & values.wrapping_neg()) != 0;
                values &= values - 1;
                let Some(slot) = slot.checked_sub(1).filter(|slot| *slot < self.limit) else {
                    return Err(DecodeError("a value belongs to no attribute or owner"));
                };
                match self.wanted {
                    None => sink(slot, continues, value)?,
                    Some(wanted) => {
                        while self.next_wanted < slot {
                            self.cursor += 1;
                            self.next_wanted = number(wanted, self.cursor);
                        }
                        if self.next_wanted == slot {
                            sink(self.cursor, continues, value)?;
                        }
                    }
                }
                value += 1;
            }
            self.check()
        })
    }

    /// Appends the slot of each value of a page in which every entry starts a slot, unless it stands for an empty parent.
    pub(super) fn owners_of_values(
        &mut self,
        page: PageLevels<'_>,
        owners: &mut Vec<u32>,
    ) -> DecodeResult<()> {
        let before = owners.len();
        // One spare element, which is overwritten after each entry, whether or not it has a value.
        owners.resize(before + page.entries + 1, 0);
        let (mut end, mut slot) = (before, self.slots as u32);
        let mut add = |def: u8| {
            owners[end] = slot;
            end += usize::from(def >= self.max_def);
            slot += u32::from(def >= self.level);
        };
        match page.def {
            Levels::Constant(def) => (0..page.entries).for_each(|_| add(def)),
            Levels::Each(levels) => levels.iter().for_each(|&def| add(def)),
        }
        self.slots = slot as usize;
        owners.truncate(end);
        self.check()
    }

    /// Skips `count` entries that each start a slot and have its only value. Returns the first slot.
    pub(super) fn pass_full(&mut self, count: usize) -> DecodeResult<usize> {
        let first = self.slots;
        self.slots += count;
        self.check()?;
        Ok(first)
    }

    /// Fails unless all slots have been met.
    pub(super) fn finish(self) -> DecodeResult<()> {
        if self.slots == self.limit {
            return Ok(());
        }
        Err(DecodeError("a column has values for fewer attributes or owners than there are"))
    }

    fn check(&self) -> DecodeResult<()> {
        if self.slots <= self.limit {
            return Ok(());
        }
        Err(DecodeError("a column has values for more attributes or owners than there are"))
    }
}

/// The wanted number at a position; at the end, a number above all.
#[inline]
fn number(wanted: &[u32], cursor: usize) -> usize {
    wanted.get(cursor).map_or(usize::MAX, |&number| number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(walker: &mut Walker<'_>, rep: &[u8], def: &[u8]) -> Vec<(usize, bool, usize)> {
        let page =
            PageLevels { entries: rep.len(), rep: Levels::Each(rep), def: Levels::Each(def) };
        let mut met = Vec::new();
        walker
            .page(page, |target, continues, value| {
                met.push((target, continues, value));
                Ok(())
            })
            .unwrap();
        met
    }

    #[test]
    fn values_find_their_attribute() {
        // Slots at level 4: no attribute, one without value, one with two values, one with one.
        let (rep, def) = ([0, 3, 4, 5, 4], [3, 4, 5, 5, 5]);
        let mut walker = Walker::new(4, 5, 3, None);
        assert_eq!(values(&mut walker, &rep, &def), [(1, false, 0), (1, true, 1), (2, false, 2)]);
        walker.finish().unwrap();

        let mut walker = Walker::new(4, 5, 3, Some(&[2]));
        assert_eq!(values(&mut walker, &rep, &def), [(0, false, 2)]);
        walker.finish().unwrap();
    }

    proptest! {
        #[test]
        fn owners_of_single_values_are_those_of_a_walk(def in proptest::collection::vec(0u8..6, 0..60)) {
            let page =
                PageLevels { entries: def.len(), rep: Levels::Constant(0), def: Levels::Each(&def) };
            let slots = def.iter().filter(|&&def| def >= 4).count();
            let (mut walked, mut found) = (Vec::new(), vec![7]);
            let mut walker = Walker::new(4, 5, 2 * slots, None);
            for _ in 0..2 {
                walker
                    .page(page, |owner, continues, _| {
                        assert!(!continues);
                        walked.push(owner as u32);
                        Ok(())
                    })
                    .unwrap();
            }
            let mut walker = Walker::new(4, 5, 2 * slots, None);
            walker.owners_of_values(page, &mut found).unwrap();
            walker.owners_of_values(page, &mut found).unwrap();
            prop_assert_eq!(&found[1..], &walked[..]);
            walker.finish().unwrap();
            if slots > 0 {
                let mut walker = Walker::new(4, 5, slots - 1, None);
                prop_assert!(walker.owners_of_values(page, &mut found).is_err());
            }
        }
    }

    #[test]
    fn values_without_an_attribute_are_refused() {
        let page = PageLevels { entries: 1, rep: Levels::Each(&[5]), def: Levels::Each(&[5]) };
        assert!(Walker::new(4, 5, 3, None).page(page, |_, _, _| Ok(())).is_err());
        let page = PageLevels { entries: 4, rep: Levels::Constant(0), def: Levels::Constant(4) };
        assert!(Walker::new(4, 5, 3, None).page(page, |_, _, _| Ok(())).is_err());
        let mut walker = Walker::new(4, 5, 5, None);
        walker.page(page, |_, _, _| Ok(())).unwrap();
        assert!(walker.finish().is_err());
    }
}
