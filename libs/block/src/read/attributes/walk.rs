//! Which attribute, or which owner, each value of a column belongs to.

use crate::decoding::hybrid::Levels;
use crate::decoding::{DecodeError, DecodeResult};
use crate::read::chunk::PageLevels;

/// Follows the levels of a column through its pages.
///
/// A *slot* is what a column has values for: an attribute of the key column, or an owner. It starts at an
/// entry that repeats at `level` or above and is defined down to it; a value is an entry that is defined
/// to the column's maximum; one that repeats below `level` continues the slot's list.
#[derive(Debug)]
pub(super) struct Walker<'o> {
    level: u8,
    max_def: u8,
    slots: usize,
    limit: usize,
    /// Numbers of the wanted slots, ascending; `None` for all.
    wanted: Option<&'o [u32]>,
    cursor: usize,
}

impl<'o> Walker<'o> {
    /// A walker before the first page of a column with `limit` slots.
    pub(super) fn new(level: u8, max_def: u8, limit: usize, wanted: Option<&'o [u32]>) -> Self {
        Self { level, max_def, slots: 0, limit, wanted, cursor: 0 }
    }

    /// Calls `sink(target, continues, value)` for each value of a wanted slot: `target` counts wanted
    /// slots, `value` the values of the page.
    pub(super) fn page(
        &mut self,
        page: PageLevels<'_>,
        sink: impl FnMut(usize, bool, usize) -> DecodeResult<()>,
    ) -> DecodeResult<()> {
        match (page.rep, page.def) {
            (Levels::Constant(0), Levels::Constant(def)) if def < self.max_def => {
                // Slots without values, or no slots at all.
                self.slots += if def >= self.level { page.entries } else { 0 };
                self.check()
            }
            (Levels::Constant(rep), Levels::Constant(def)) => {
                self.walk(page.entries, |_| rep, |_| def, sink)
            }
            (Levels::Constant(rep), Levels::Each(def)) => {
                self.walk(page.entries, |_| rep, |entry| def[entry], sink)
            }
            (Levels::Each(rep), Levels::Constant(def)) => {
                self.walk(page.entries, |entry| rep[entry], |_| def, sink)
            }
            (Levels::Each(rep), Levels::Each(def)) => {
                self.walk(page.entries, |entry| rep[entry], |entry| def[entry], sink)
            }
        }
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

    #[inline]
    fn walk(
        &mut self,
        entries: usize,
        rep: impl Fn(usize) -> u8,
        def: impl Fn(usize) -> u8,
        mut sink: impl FnMut(usize, bool, usize) -> DecodeResult<()>,
    ) -> DecodeResult<()> {
        let mut value = 0;
        for entry in 0..entries {
            let (rep, def) = (rep(entry), def(entry));
            let continues = rep > self.level;
            self.slots += usize::from(!continues && def >= self.level);
            if def < self.max_def {
                continue;
            }
            let Some(slot) = self.slots.checked_sub(1).filter(|slot| *slot < self.limit) else {
                return Err(DecodeError("a value belongs to no attribute or owner"));
            };
            match self.wanted {
                None => sink(slot, continues, value)?,
                Some(wanted) => {
                    while wanted.get(self.cursor).is_some_and(|&number| (number as usize) < slot) {
                        self.cursor += 1;
                    }
                    if wanted.get(self.cursor).is_some_and(|&number| number as usize == slot) {
                        sink(self.cursor, continues, value)?;
                    }
                }
            }
            value += 1;
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
