//! The rows of trace, resource and scope of each span, from the levels of any span column.

use tactus_model::Buffer;

use crate::decoding::hybrid::Levels;
use crate::decoding::{DecodeError, DecodeResult};

use super::cache::Column;
use super::chunk::PageLevels;
use super::level_words::{count, count_through, for_each_word, starts_through};

const ORPHAN: DecodeError = DecodeError("a span lies in no resource or scope");

/// The skeleton of a batch.
#[derive(Debug, Default)]
pub(crate) struct Spine {
    pub(crate) traces: u32,
    pub(crate) resources: u32,
    pub(crate) scopes: u32,
    /// Rows of each span.
    pub(crate) trace: Vec<u32>,
    pub(crate) resource: Vec<u32>,
    pub(crate) scope: Vec<u32>,
}

/// The finished skeleton.
#[derive(Debug, Clone)]
pub(crate) struct SpanRows {
    pub(crate) traces: usize,
    pub(crate) resources: usize,
    pub(crate) scopes: usize,
    pub(crate) trace: Buffer<u32>,
    pub(crate) resource: Buffer<u32>,
    pub(crate) scope: Buffer<u32>,
}

impl From<Spine> for SpanRows {
    fn from(spine: Spine) -> Self {
        Self {
            traces: spine.traces as usize,
            resources: spine.resources as usize,
            scopes: spine.scopes as usize,
            trace: spine.trace.into(),
            resource: spine.resource.into(),
            scope: spine.scope.into(),
        }
    }
}

impl Column for SpanRows {
    fn into_shared(self) -> Self {
        Self {
            trace: self.trace.into_shared(),
            resource: self.resource.into_shared(),
            scope: self.scope.into_shared(),
            ..self
        }
    }

    fn total_bytes(&self) -> usize {
        self.trace.total_bytes() + self.resource.total_bytes() + self.scope.total_bytes()
    }
}

impl Spine {
    /// An empty spine with room for some spans.
    pub(crate) fn with_capacity(spans: usize) -> Self {
        Self {
            trace: Vec::with_capacity(spans),
            resource: Vec::with_capacity(spans),
            scope: Vec::with_capacity(spans),
            ..Self::default()
        }
    }

    /// Adds a page of a column with one value a span. Levels: repetition 0 starts a trace, 1 a resource,
    /// 2 a scope, 3 a span; definition 0 to 2 say that the list of resources, scopes or spans is empty.
    pub(crate) fn add_page(&mut self, page: PageLevels<'_>) -> DecodeResult<()> {
        if page.entries == 0 {
            return Ok(());
        }
        if self.traces == 0 && page.rep.at(0) != 0 {
            return Err(DecodeError("a column does not start with a row"));
        }
        match (page.rep, page.def) {
            (Levels::Each(rep), Levels::Constant(3)) => {
                // Of pages before there may be traces without resources.
                let begun = [self.traces, self.resources, self.scopes];
                let first = usize::from(page.rep.at(0)).min(begun.len());
                if begun[..first].contains(&0) {
                    return Err(ORPHAN);
                }
                self.add_full(rep);
            }
            _ => self.add_sparse(page)?,
        }
        Ok(())
    }

    /// No list is empty, so every entry is a span.
    fn add_full(&mut self, rep: &[u8]) {
        add_rows(rep, 1, &mut self.traces, &mut self.trace);
        add_rows(rep, 2, &mut self.resources, &mut self.resource);
        add_rows(rep, 3, &mut self.scopes, &mut self.scope);
    }

    fn add_sparse(&mut self, page: PageLevels<'_>) -> DecodeResult<()> {
        for entry in 0..page.entries {
            let (rep, def) = (page.rep.at(entry), page.def.at(entry));
            self.traces += u32::from(rep < 1);
            self.resources += u32::from(rep < 2 && def >= 1);
            self.scopes += u32::from(rep < 3 && def >= 2);
            if def >= 3 {
                let rows = (self.resources.checked_sub(1), self.scopes.checked_sub(1));
                let (Some(resource), Some(scope)) = rows else {
                    return Err(ORPHAN);
                };
                self.trace.push(self.traces - 1);
                self.resource.push(resource);
                self.scope.push(scope);
            }
        }
        Ok(())
    }
}

/// Appends the row of each entry in a table whose rows start at repetitions below `level`.
fn add_rows(rep: &[u8], level: u8, count: &mut u32, rows: &mut Vec<u32>) {
    rows.reserve(rep.len());
    let (words, rest) = rep.as_chunks::<8>();
    let mut rows_so_far = *count;
    for word in words {
        let starts = starts_through(u64::from_le_bytes(*word), level);
        // The first entry of all starts a row in every table.
        let before = rows_so_far.wrapping_sub(1);
        rows.extend(starts.map(|starts| before.wrapping_add(u32::from(starts))));
        rows_so_far += u32::from(starts[7]);
    }
    rows.extend(rest.iter().map(|&rep| {
        rows_so_far += u32::from(rep < level);
        rows_so_far - 1
    }));
    *count = rows_so_far;
}

/// Adds a page of a column with one value an item to the starts of each owner's items.
///
/// `level` is the owners' repetition level; items repeat one level deeper. `items` counts on.
pub(crate) fn add_starts(page: PageLevels<'_>, level: u8, starts: &mut Vec<u32>, items: &mut u32) {
    let done: Result<(), std::convert::Infallible> = for_each_word(page, |word| {
        let mut owners = !word.repeats_below(level) & word.defined_to(level);
        let entries = word.defined_to(level + 1);
        while owners != 0 {
            // An owner's own entry holds its first item.
            let owner = owners & owners.wrapping_neg();
            let through = count_through(entries, owners) as u32;
            starts.push(*items + through - u32::from(entries & owner != 0));
            owners ^= owner;
        }
        *items += count(entries) as u32;
        Ok(())
    });
    let Ok(()) = done;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'p>(rep: &'p [u8], def: &'p [u8]) -> PageLevels<'p> {
        PageLevels { entries: rep.len(), rep: Levels::Each(rep), def: Levels::Each(def) }
    }

    #[test]
    fn spans_know_their_rows_with_and_without_empty_lists() {
        // Trace 0: resource 0 {scope 0 {span, span}, scope 1 {span}}, resource 1 {}; trace 1 {};
        // trace 2: resource 2 {scope 2 {}}, resource 3 {scope 3 {span}}.
        let rep = [0, 3, 2, 1, 0, 0, 1];
        let def = [3, 3, 3, 1, 0, 2, 3];
        let mut spine = Spine::default();
        spine.add_page(page(&rep, &def)).unwrap();
        assert_eq!((spine.traces, spine.resources, spine.scopes), (3, 4, 4));
        assert_eq!(spine.trace, [0, 0, 0, 2]);
        assert_eq!(spine.resource, [0, 0, 0, 3]);
        assert_eq!(spine.scope, [0, 0, 1, 3]);

        let full =
            PageLevels { entries: 4, rep: Levels::Each(&[0, 3, 2, 1]), def: Levels::Constant(3) };
        let mut spine = Spine::default();
        spine.add_page(full).unwrap();
        spine.add_page(full).unwrap();
        assert_eq!(spine.trace, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(spine.resource, [0, 0, 0, 1, 2, 2, 2, 3]);
        assert_eq!(spine.scope, [0, 0, 1, 2, 3, 3, 4, 5]);
    }

    #[test]
    fn spans_outside_a_row_resource_or_scope_are_refused() {
        assert!(Spine::default().add_page(page(&[3], &[3])).is_err());
        assert!(Spine::default().add_page(page(&[0, 3], &[1, 3])).is_err());
        // The first page ends with a trace without resources, with a resource without scopes; all of the second are spans.
        for (def, first) in [(0, 2), (0, 3), (1, 3)] {
            let full =
                PageLevels { entries: 1, rep: Levels::Each(&[first]), def: Levels::Constant(3) };
            let mut spine = Spine::default();
            spine.add_page(page(&[0], &[def])).unwrap();
            assert!(spine.add_page(full).is_err(), "{def} {first}");
        }
    }

    #[test]
    fn starts_count_items_of_each_owner() {
        let (mut starts, mut items) = (Vec::new(), 0);
        // Owners at level 3: one with two items, one without, a trace without owners, one with one.
        add_starts(page(&[0, 4, 3, 0, 0], &[4, 4, 3, 1, 4]), 3, &mut starts, &mut items);
        assert_eq!((starts, items), (vec![0, 2, 2], 3));
    }
}
