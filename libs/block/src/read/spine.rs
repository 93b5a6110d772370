//! The rows of trace, resource and scope of each span (the "spine"), computed from the levels of any span column.

use std::sync::Arc;

use tactus_model::{Buffer, ColumnSource};

use crate::decoding::hybrid::{Levels, count_below};
use crate::decoding::{DecodeError, DecodeResult};

use super::cache::Column;
use super::chunk::PageLevels;
use super::level_words::{count, count_through, for_each_word, starts_through};

const ORPHAN: DecodeError = DecodeError("a span lies in no resource or scope");

/// The skeleton of a batch, while pages come in.
#[derive(Debug, Default)]
pub(crate) struct Spine {
    /// The repetition level of each span so far; empty once an empty list was found.
    levels: Vec<u8>,
    traces: u32,
    resources: u32,
    scopes: u32,
    /// Rows of each span, if `levels` do not tell them.
    trace: Vec<u32>,
    resource: Vec<u32>,
    scope: Vec<u32>,
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
    /// The levels from which the rows are computed, if that was not done yet.
    pub(super) levels: Option<Arc<SpanLevels>>,
}

/// An entry with a repetition level below this starts a row of the table.
const TRACE: u8 = 1;
const RESOURCE: u8 = 2;
const SCOPE: u8 = 3;

impl SpanRows {
    /// Rows that nobody will read, for this many spans.
    pub(crate) fn unread(traces: usize, spans: usize) -> Self {
        let rows = || Buffer::stored(Arc::new(Unread) as Arc<dyn ColumnSource>, 0, spans);
        let (trace, resource, scope) = (rows(), rows(), rows());
        Self { traces, resources: 0, scopes: 0, trace, resource, scope, levels: None }
    }

    /// The rows of the spans in another table, given the row of each resource in it.
    pub(crate) fn resources_in(&self, of_resource: Vec<u32>) -> Buffer<u32> {
        match &self.levels {
            Some(levels) => {
                let source = InTable { levels: Arc::clone(levels), of_resource };
                Buffer::stored(Arc::new(source), u32::from(RESOURCE), levels.0.len())
            }
            None => self.resource.iter().map(|&row| of_resource[row as usize]).collect(),
        }
    }
}

/// Rows that were not asked for. All are 0, which may not be a valid row.
#[derive(Debug)]
struct Unread;

impl ColumnSource for Unread {
    fn read(&self, _: u32, _: &mut [u8]) {
        debug_assert!(false, "rows of spans are looked at that were not asked for");
    }
}

/// The repetition level of each span, if no list is empty. The rows of spans are computed from it when they are first
/// read.
#[derive(Debug)]
pub(crate) struct SpanLevels(Vec<u8>);

impl ColumnSource for SpanLevels {
    fn read(&self, column: u32, bytes: &mut [u8]) {
        write_rows(&self.0, column as u8, bytes, |row| row);
    }

    fn read_rows(&self, column: u32, rows: &[u32], bytes: &mut [u8]) -> bool {
        write_some_rows(&self.0, column as u8, rows, bytes, |row| row)
    }
}

/// Rows of spans in a table that has a row number for each resource.
#[derive(Debug)]
struct InTable {
    levels: Arc<SpanLevels>,
    /// Of each resource; as many as there are.
    of_resource: Vec<u32>,
}

impl ColumnSource for InTable {
    fn read(&self, column: u32, bytes: &mut [u8]) {
        let table = self.of_resource.as_slice();
        write_rows(&self.levels.0, column as u8, bytes, |row| {
            table.get(row as usize).copied().unwrap_or(0)
        });
    }

    fn read_rows(&self, column: u32, rows: &[u32], bytes: &mut [u8]) -> bool {
        let table = self.of_resource.as_slice();
        let of = |row: u32| table.get(row as usize).copied().unwrap_or(0);
        write_some_rows(&self.levels.0, column as u8, rows, bytes, of)
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
    /// An empty skeleton with room for some spans.
    pub(crate) fn with_capacity(spans: usize) -> Self {
        Self { levels: Vec::with_capacity(spans), ..Self::default() }
    }

    /// The rows of all pages. `is_lazy`: they are computed on first use, if possible.
    pub(crate) fn finish(mut self, is_lazy: bool) -> SpanRows {
        if !is_lazy {
            self.settle();
        }
        let (counts, levels) = (self.counts(), self.levels);
        let [traces, resources, scopes] = counts.map(|count| count as usize);
        if levels.is_empty() {
            let Self { trace, resource, scope, .. } = self;
            let (trace, resource, scope) = (trace.into(), resource.into(), scope.into());
            return SpanRows { traces, resources, scopes, trace, resource, scope, levels: None };
        }
        let levels = Arc::new(SpanLevels(levels));
        let rows = |level: u8| {
            let source: Arc<dyn ColumnSource> = Arc::clone(&levels) as _;
            Buffer::stored(source, u32::from(level), levels.0.len())
        };
        let (trace, resource, scope) = (rows(TRACE), rows(RESOURCE), rows(SCOPE));
        SpanRows { traces, resources, scopes, trace, resource, scope, levels: Some(levels) }
    }

    /// Rows of traces, resources and scopes so far.
    fn counts(&self) -> [u32; 3] {
        let of_levels = |level| count_below(&self.levels, level) as u32;
        [
            self.traces + of_levels(TRACE),
            self.resources + of_levels(RESOURCE),
            self.scopes + of_levels(SCOPE),
        ]
    }

    /// Makes the rows of the spans so far.
    fn settle(&mut self) {
        let rep = std::mem::take(&mut self.levels);
        add_rows(&rep, TRACE, &mut self.traces, &mut self.trace);
        add_rows(&rep, RESOURCE, &mut self.resources, &mut self.resource);
        add_rows(&rep, SCOPE, &mut self.scopes, &mut self.scope);
    }

    /// Adds a page of a column with one value for each span. Repetition level 0 starts a trace, 1 a resource, 2 a
    /// scope, 3 a span. Definition levels 0 to 2 mean that the list of resources, scopes or spans is empty.
    pub(crate) fn add_page(&mut self, page: PageLevels<'_>) -> DecodeResult<()> {
        if page.entries == 0 {
            return Ok(());
        }
        if self.traces == 0 && self.levels.is_empty() && page.rep.at(0) != 0 {
            return Err(DecodeError("a column does not start with a row"));
        }
        if page.def != Levels::Constant(3) {
            self.settle();
            return self.add_sparse(page);
        }
        // No list is empty, so every entry is a span.
        let is_settled = self.traces > 0;
        // Earlier pages may have traces without resources.
        let begun = [self.traces, self.resources, self.scopes];
        let first = usize::from(page.rep.at(0)).min(begun.len());
        if is_settled && begun[..first].contains(&0) {
            return Err(ORPHAN);
        }
        match page.rep {
            Levels::Each(rep) => self.levels.extend_from_slice(rep),
            Levels::Constant(rep) => self.levels.resize(self.levels.len() + page.entries, rep),
        }
        if is_settled {
            self.settle();
        }
        Ok(())
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

/// Appends the row of each entry in a table whose rows start at repetition levels below `level`.
fn add_rows(rep: &[u8], level: u8, count: &mut u32, rows: &mut Vec<u32>) {
    let start = rows.len();
    rows.resize(start + rep.len(), 0);
    // The very first entry starts a row in every table.
    let before = count.wrapping_sub(1);
    let out = bytemuck::cast_slice_mut(&mut rows[start..]);
    *count += write_rows(rep, level, out, |row| before.wrapping_add(1).wrapping_add(row));
}

/// Writes a number for each entry: `of` its row in a table whose rows start at repetition levels below `level`. The
/// first entry starts row 0. Returns the number of rows.
#[inline(always)]
fn write_rows(rep: &[u8], level: u8, out: &mut [u8], of: impl Fn(u32) -> u32) -> u32 {
    let out = out.as_chunks_mut::<4>().0;
    let (words, rest) = rep.as_chunks::<8>();
    let (of_words, of_rest) = out.split_at_mut(words.len().min(out.len() / 8) * 8);
    let mut rows = 0u32;
    for (word, out) in words.iter().zip(of_words.as_chunks_mut::<8>().0) {
        let starts = starts_through(u64::from_le_bytes(*word), level);
        let before = rows.wrapping_sub(1);
        for (out, starts) in out.iter_mut().zip(starts) {
            *out = of(before.wrapping_add(u32::from(starts))).to_ne_bytes();
        }
        rows += u32::from(starts[7]);
    }
    for (&rep, out) in rest.iter().zip(of_rest) {
        rows += u32::from(rep < level);
        *out = of(rows.wrapping_sub(1)).to_ne_bytes();
    }
    rows
}

/// As [`write_rows`], for some entries in ascending order. False if they are not in order or do not exist.
fn write_some_rows(
    rep: &[u8],
    level: u8,
    entries: &[u32],
    out: &mut [u8],
    of: impl Fn(u32) -> u32,
) -> bool {
    let (mut rows, mut passed) = (0u32, 0);
    for (&entry, out) in entries.iter().zip(out.as_chunks_mut::<4>().0) {
        let end = entry as usize + 1;
        let Some(between) = rep.get(passed..end) else { return false };
        rows += count_below(between, level) as u32;
        *out = of(rows.wrapping_sub(1)).to_ne_bytes();
        passed = end;
    }
    true
}

/// Adds a page of a column with one value for each item to the starts of each owner's items.
///
/// `level` is the repetition level of the owners; items repeat one level deeper. `items` counts across pages.
pub(crate) fn add_starts(page: PageLevels<'_>, level: u8, starts: &mut Vec<u32>, items: &mut u32) {
    let done: Result<(), std::convert::Infallible> = for_each_word(page, |word| {
        let mut owners = !word.repeats_below(level) & word.defined_to(level);
        let entries = word.defined_to(level + 1);
        while owners != 0 {
            // If the owner's own entry holds an item, it is the owner's first one.
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
    use proptest::prelude::*;

    fn page<'p>(rep: &'p [u8], def: &'p [u8]) -> PageLevels<'p> {
        PageLevels { entries: rep.len(), rep: Levels::Each(rep), def: Levels::Each(def) }
    }

    #[test]
    fn spans_know_their_rows_with_and_without_empty_lists() {
        // Trace 0: resource 0 {scope 0 {span, span}, scope 1 {span}}, resource 1 {}; trace 1 {};
        // trace 2: resource 2 {scope 2 {}}, resource 3 {scope 3 {span}}.
        let rep = [0, 3, 2, 1, 0, 0, 1];
        let def = [3, 3, 3, 1, 0, 2, 3];
        let sparse = page(&rep, &def);
        let full =
            PageLevels { entries: 4, rep: Levels::Each(&[0, 3, 2, 1]), def: Levels::Constant(3) };
        for is_lazy in [false, true] {
            let rows = |pages: &[PageLevels<'_>]| {
                let mut spine = Spine::default();
                pages.iter().for_each(|page| spine.add_page(*page).unwrap());
                spine.finish(is_lazy)
            };
            let found = rows(&[sparse]);
            assert_eq!((found.traces, found.resources, found.scopes), (3, 4, 4));
            assert_eq!(found.trace[..], [0, 0, 0, 2]);
            assert_eq!(found.resource[..], [0, 0, 0, 3]);
            assert_eq!(found.scope[..], [0, 0, 1, 3]);
            assert_eq!(found.resources_in(vec![7, 8, 9, 5])[..], [7, 7, 7, 5]);

            let found = rows(&[full, full]);
            assert_eq!((found.traces, found.resources, found.scopes), (2, 4, 6));
            assert_eq!(found.trace[..], [0, 0, 0, 0, 1, 1, 1, 1]);
            assert_eq!(found.resource[..], [0, 0, 0, 1, 2, 2, 2, 3]);
            assert_eq!(found.scope[..], [0, 0, 1, 2, 3, 3, 4, 5]);
            assert_eq!(found.resources_in(vec![7, 8, 9, 5])[..], [7, 7, 7, 8, 9, 9, 9, 5]);

            let found = rows(&[full, sparse, full]);
            assert_eq!((found.traces, found.resources, found.scopes), (5, 8, 10));
            assert_eq!(found.trace[..], [0, 0, 0, 0, 1, 1, 1, 3, 4, 4, 4, 4]);
            assert_eq!(found.resource[..], [0, 0, 0, 1, 2, 2, 2, 5, 6, 6, 6, 7]);
            assert_eq!(found.scope[..], [0, 0, 1, 2, 3, 3, 4, 6, 7, 7, 8, 9]);
        }
    }

    proptest! {
        #[test]
        fn rows_made_late_are_those_made_at_once(
            rep in proptest::collection::vec(0u8..4, 1..90), cut in 0usize..90, step in 1usize..40,
        ) {
            let rep = [&[0][..], &rep].concat();
            let (one, other) = rep.split_at(cut.min(rep.len()));
            let rows = |is_lazy| {
                let mut spine = Spine::default();
                for rep in [one, other] {
                    let (entries, rep) = (rep.len(), Levels::Each(rep));
                    spine.add_page(PageLevels { entries, rep, def: Levels::Constant(3) }).unwrap();
                }
                spine.finish(is_lazy)
            };
            let (late, at_once) = (rows(true), rows(false));
            prop_assert_eq!((late.traces, late.resources, late.scopes),
                (at_once.traces, at_once.resources, at_once.scopes));
            prop_assert_eq!(&late.trace, &at_once.trace);
            prop_assert_eq!(&late.resource, &at_once.resource);
            prop_assert_eq!(&late.scope, &at_once.scope);
            let table: Vec<u32> = (0..late.resources as u32).map(|row| row * 3 + 1).collect();
            let some: Vec<u32> = (0..late.trace.len() as u32).step_by(step).collect();
            let fresh = rows(true);
            let found = [&fresh.trace, &fresh.resource, &fresh.scope].map(|it| it.pick(&some));
            let of_all = [&at_once.trace, &at_once.resource, &at_once.scope].map(|it| it.pick(&some));
            prop_assert_eq!(found, of_all);
            let in_table = at_once.resources_in(table.clone()).pick(&some);
            prop_assert_eq!(fresh.resources_in(table.clone()).pick(&some), in_table);
            prop_assert_eq!(late.resources_in(table.clone()), at_once.resources_in(table));
        }
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
