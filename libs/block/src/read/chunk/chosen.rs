//! Keeps only the entries of chosen spans of a page.
//!
//! The spans of one slice of a large trace are spread over the whole trace, and one page may contain all of them. So a
//! page is decoded as a whole, and what is not wanted of it is dropped before the next page is read.

use crate::decoding::hybrid::Levels;
use crate::decoding::{DecodeError, DecodeResult};

use super::PageLevels;

/// Repetition and definition level of spans.
const SPAN: u8 = 3;

/// Follows the levels of a column through its pages, and keeps the entries of chosen spans.
pub(super) struct Sieve<'c> {
    /// For each span: 1 if it is wanted.
    chosen: &'c [u8],
    /// Spans that were met.
    spans: usize,
    is_wanted: bool,
    rep: Vec<u8>,
    def: Vec<u8>,
    values: Vec<u8>,
}

impl<'c> Sieve<'c> {
    pub(super) fn new(chosen: &'c [u8]) -> Self {
        let (rep, def, values) = Default::default();
        Self { chosen, spans: 0, is_wanted: false, rep, def, values }
    }

    /// The levels of a page's entries that are kept, and for each of its values 1 if it is kept, otherwise 0.
    pub(super) fn page(
        &mut self,
        page: PageLevels<'_>,
        max_def: u8,
    ) -> DecodeResult<(PageLevels<'_>, &[u8])> {
        self.rep.clear();
        self.def.clear();
        self.values.clear();
        for entry in 0..page.entries {
            let (rep, def) = (page.rep.at(entry), page.def.at(entry));
            if rep <= SPAN {
                // Else a list is empty in which spans would be.
                self.is_wanted = def >= SPAN && self.next_span()?;
            }
            if def == max_def {
                self.values.push(u8::from(self.is_wanted));
            }
            if self.is_wanted {
                self.rep.push(rep);
                self.def.push(def);
            }
        }
        // Levels that are the same for all entries are checked only once.
        let kept = |of_page: Levels<'_>, each| match of_page {
            Levels::Constant(level) => Levels::Constant(level),
            Levels::Each(_) => Levels::Each(each),
        };
        let levels = PageLevels {
            entries: self.rep.len(),
            rep: kept(page.rep, &self.rep),
            def: kept(page.def, &self.def),
        };
        Ok((levels, &self.values))
    }

    fn next_span(&mut self) -> DecodeResult<bool> {
        let wanted = self.chosen.get(self.spans);
        self.spans += 1;
        match wanted {
            Some(&wanted) => Ok(wanted != 0),
            None => Err(DecodeError("a column has values for more spans than there are")),
        }
    }

    /// Fails unless all spans have been met.
    pub(super) fn finish(self) -> DecodeResult<()> {
        match self.spans == self.chosen.len() {
            true => Ok(()),
            false => Err(DecodeError("a column has values for fewer spans than there are")),
        }
    }
}

/// Removes those values from `start` on whose byte in `kept` is not 1.
pub(crate) fn retain_from<T: Copy>(values: &mut Vec<T>, start: usize, kept: &[u8]) {
    let mut end = start;
    for (at, _) in (start..values.len()).zip(kept).filter(|(_, kept)| **kept != 0) {
        values[end] = values[at];
        end += 1;
    }
    values.truncate(end);
    // The page of a large trace is much larger than what is kept of it.
    if values.capacity() / 4 > values.len() {
        values.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of the pages of a column: levels, and the numbers of values.
    fn kept(chosen: &[u8], pages: &[(&[u8], &[u8])]) -> DecodeResult<Vec<(u8, u8)>> {
        let (mut sieve, mut left) = (Sieve::new(chosen), Vec::new());
        for (rep, def) in pages {
            let page =
                PageLevels { entries: rep.len(), rep: Levels::Each(rep), def: Levels::Each(def) };
            let (levels, values) = sieve.page(page, 4)?;
            assert_eq!(values.len(), def.iter().filter(|&&def| def == 4).count());
            let entries = (0..levels.entries).map(|at| (levels.rep.at(at), levels.def.at(at)));
            left.extend(entries);
            let mut numbers: Vec<usize> = (0..values.len()).collect();
            retain_from(&mut numbers, 0, values);
            assert_eq!(numbers.len(), values.iter().filter(|&&kept| kept == 1).count());
        }
        sieve.finish()?;
        Ok(left)
    }

    #[test]
    fn entries_of_chosen_spans_are_left_across_pages() {
        // Spans with two items, none, one; an empty scope; a span whose second item is on the next page.
        let (rep, def): (&[u8], &[u8]) = (&[0, 4, 3, 3, 2, 1], &[4, 4, 3, 4, 2, 4]);
        let pages = [(rep, def), (&[4, 3][..], &[4, 3][..])];
        assert_eq!(kept(&[1, 0, 0, 0, 0], &pages).unwrap(), [(0, 4), (4, 4)]);
        assert_eq!(kept(&[0, 1, 0, 1, 0], &pages).unwrap(), [(3, 3), (1, 4), (4, 4)]);
        assert_eq!(kept(&[0, 0, 1, 0, 1], &pages).unwrap(), [(3, 4), (3, 3)]);
        assert_eq!(kept(&[0; 5], &pages).unwrap(), []);
        assert!(kept(&[1; 4], &pages).is_err(), "a span more than there are");
        assert!(kept(&[1; 6], &pages).is_err(), "a span less");
    }

    #[test]
    fn values_before_the_page_stay() {
        let mut values = vec![7, 8, 1, 2, 3];
        retain_from(&mut values, 2, &[1, 0, 1]);
        assert_eq!(values, [7, 8, 1, 3]);
    }
}
