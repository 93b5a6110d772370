//! Decides from the summary of a block what a query may find in it, before the block is opened.

use std::ops::Range;

use bytes::Bytes;
use tactus_block::summary::{BlockFilter, BlockValues, ListedValue, ValueOwner};
use tactus_proto::tactus::v1::BlockPart;
use tactus_storage::BlockMeta;
use tactus_traceql::{ComparisonOperator, Static, holds};
use tactus_work::tick;

use super::{Pruner, StringTest};
use crate::block_part::row_groups_of;
use crate::blocks::Blocks;
use crate::error::Result;
use crate::pool::Job;
use crate::summaries::{NeedsFilter, Summaries};

/// Row groups of a block about which something is noted. Blocks have some hundreds at most.
const MAX_ROW_GROUPS: u32 = 1 << 20;

/// What the summary says of a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It cannot match.
    No,
    /// It may match, and its dictionaries would say no more.
    Maybe,
    /// Undecided: its dictionaries may say more.
    Unknown,
}

/// What the summary says of the row groups of a block.
#[derive(Debug, Default)]
pub(crate) struct ToldRowGroups {
    /// Empty if nothing is known.
    of: Vec<Told>,
}

impl ToldRowGroups {
    /// Asks the summary of a block, if it has one that can tell. May block.
    pub(crate) fn ask(
        pruner: &Pruner,
        blocks: &Blocks,
        meta: &BlockMeta,
        job: &Job,
    ) -> Result<Self> {
        if let Some(told) = Self::without_summary(pruner, meta) {
            return Ok(told);
        }
        let summaries = blocks.summaries();
        let is_next = |values: &BlockValues| needs_filter(&pruner.told(values, None));
        let is_next: Option<NeedsFilter<'_>> = pruner.has_equality().then_some(&is_next);
        let Some(values) = summaries.values(meta, job, is_next)? else {
            return Ok(Self::default());
        };
        let of = pruner.told(&values, None);
        if is_next.is_some()
            && needs_filter(&of)
            && let Some(filter) = summaries.filter(meta, job)?
        {
            return Ok(Self { of: pruner.told(&values, Some(&filter)) });
        }
        Ok(Self { of })
    }

    /// What is known if the summary need not be asked: the meta rules out the block, or the summary tells nothing of it.
    pub(crate) fn without_summary(pruner: &Pruner, meta: &BlockMeta) -> Option<Self> {
        if pruner.is_unmet_in(meta) {
            // A meta may claim any number of row groups.
            let row_groups = meta.total_records.min(MAX_ROW_GROUPS);
            return Some(Self { of: vec![Told::No; row_groups as usize] });
        }
        (!pruner.asks_values()).then(Self::default)
    }

    /// As [`Self::ask`], of what was read of the summary of a block in object storage. Also true if the filter, which was not
    /// read, may tell more.
    pub(crate) fn of_fetched(
        pruner: &Pruner,
        summaries: &Summaries,
        meta: &BlockMeta,
        (values, filter): (&Bytes, &Bytes),
    ) -> (Self, bool) {
        let Some((values, behind)) = summaries.fetched_values(meta, values) else {
            return (Self::default(), false);
        };
        // Only after the values alone left something open.
        if !filter.is_empty() {
            let filter = summaries.fetched_filter(meta, filter);
            return (Self { of: pruner.told(&values, filter.as_deref()) }, false);
        }
        let of = pruner.told(&values, None);
        if !pruner.has_equality() || !needs_filter(&of) {
            return (Self { of }, false);
        }
        match summaries.fetched_filter(meta, &behind) {
            Some(filter) => (Self { of: pruner.told(&values, Some(&filter)) }, false),
            None => (Self { of }, summaries.lacks_filter(meta)),
        }
    }

    /// True if none of all row groups can match.
    pub(crate) fn rules_out_all(&self) -> bool {
        self.are_pruned(0..self.of.len())
    }

    /// The number of row groups, if it is known.
    pub(crate) fn len(&self) -> Option<usize> {
        Some(self.of.len()).filter(|&count| count > 0)
    }

    /// True if none of these can match.
    pub(crate) fn are_pruned(&self, row_groups: Range<usize>) -> bool {
        !row_groups.is_empty() && row_groups.into_iter().all(|row_group| self.is_pruned(row_group))
    }

    /// True if a row group cannot match.
    pub(crate) fn is_pruned(&self, row_group: usize) -> bool {
        self.of.get(row_group) == Some(&Told::No)
    }

    /// True if a look into dictionaries may show that a row group cannot match.
    pub(crate) fn is_unknown(&self, row_group: usize) -> bool {
        self.of.get(row_group).is_none_or(|told| *told == Told::Unknown)
    }
}

/// True if the filter of a block, which is larger than its values, may tell more. They mostly tell enough.
fn needs_filter(of: &[Told]) -> bool {
    of.contains(&Told::Unknown)
}

impl Pruner {
    /// The row groups of a part of a block if its summary tells that none of them can match; that is recorded then.
    pub(crate) fn prunes_part(
        &self,
        told: &ToldRowGroups,
        part: &BlockPart,
        job: &Job,
    ) -> Option<Range<usize>> {
        let row_groups = row_groups_of(told.len()?, part);
        if !told.are_pruned(row_groups.clone()) {
            return None;
        }
        job.record(|recorder| {
            for _ in row_groups.clone() {
                recorder.part();
                recorder.pruned(self.evidence());
            }
        });
        Some(row_groups)
    }

    /// True if a summary may tell something of it.
    pub(crate) fn asks_values(&self) -> bool {
        match self {
            Self::Unknown | Self::Number { .. } => false,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::asks_values),
            Self::Present { .. } | Self::String { .. } => true,
        }
    }

    /// True if a string or a number is to equal another, which is what filters tell of.
    pub(crate) fn has_equality(&self) -> bool {
        match self {
            Self::Unknown | Self::Number { .. } => false,
            Self::Present { comparison, .. } => comparison
                .as_ref()
                .is_some_and(|(operator, to)| equal_number(*operator, to).is_some()),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::has_equality),
            Self::String { test, .. } => matches!(test, StringTest::Equals(_)),
        }
    }

    /// What the values of a block and its filter say of each row group.
    pub(super) fn told(&self, values: &BlockValues, filter: Option<&BlockFilter>) -> Vec<Told> {
        let count = values.row_groups();
        let join = |parts: &[Self], first: Told, last: Told| {
            let parts: Vec<_> = parts.iter().map(|part| part.told(values, filter)).collect();
            let of_row_group = |row_group: usize| {
                let told = || parts.iter().map(|part| part[row_group]);
                if told().any(|told| told == first) {
                    first
                } else if told().any(|told| told == Told::Unknown) {
                    Told::Unknown
                } else {
                    last
                }
            };
            (0..count).map(of_row_group).collect()
        };
        match self {
            Self::Unknown | Self::Number { .. } => vec![Told::Maybe; count],
            Self::All(parts) => join(parts, Told::No, Told::Maybe),
            // One condition that may match is enough.
            Self::Any(parts) => join(parts, Told::Maybe, Told::No),
            Self::Present { owners, key, comparison, .. } => {
                let owners = owners.iter().map(|&owner| ValueOwner::Attribute(owner));
                any_of(
                    count,
                    owners.map(|owner| match comparison {
                        None => (0..count)
                            .map(|group| values.may_be_present(owner, key, group))
                            .collect(),
                        Some((operator, to)) => {
                            let may = values.may_hold(owner, key, &|value| {
                                tick(1) || holds(*operator, &constant(value), to)
                            });
                            let number = equal_number(*operator, to);
                            or_filter(may, filter.zip(number), |(filter, number)| {
                                filter.may_hold_number(owner, key, number)
                            })
                        }
                    }),
                )
            }
            Self::String { columns, test, .. } => any_of(
                count,
                columns.iter().map(|column| {
                    let (owner, name) = column.summarized();
                    let may = values.may_hold(owner, name, &|value| match value {
                        ListedValue::String(text) => test.holds_for(text),
                        _ => false,
                    });
                    let text = match test {
                        StringTest::Equals(text) => Some(text),
                        StringTest::Matches(_) => None,
                    };
                    or_filter(may, filter.zip(text), |(filter, text)| {
                        filter.may_hold(owner, name, text)
                    })
                }),
            ),
        }
    }
}

/// What values say, and where they say nothing what the filter does, if there is something to ask it.
fn or_filter<Q>(
    mut may: Vec<Option<bool>>,
    question: Option<Q>,
    ask: impl FnOnce(Q) -> Vec<Option<bool>>,
) -> Vec<Option<bool>> {
    if let Some(question) = question {
        for (may, found) in may.iter_mut().zip(ask(question)) {
            *may = may.or(found);
        }
    }
    may
}

/// The number that a value must equal for the comparison to be true.
fn equal_number(operator: ComparisonOperator, to: &Static) -> Option<f64> {
    to.as_number().filter(|_| operator == ComparisonOperator::Equal)
}

fn constant(value: ListedValue<&[u8]>) -> Static {
    match value {
        ListedValue::String(text) => Static::string(text),
        ListedValue::Int(number) => Static::Int(number),
        ListedValue::Double(bits) => Static::Float(f64::from_bits(bits)),
        ListedValue::Bool(value) => Static::Bool(value),
    }
}

/// Combines the results of several places, one of which must hold a value.
fn any_of(count: usize, places: impl Iterator<Item = Vec<Option<bool>>>) -> Vec<Told> {
    let mut all = vec![Told::No; count];
    for place in places {
        for (told, may) in all.iter_mut().zip(place) {
            *told = match (*told, may) {
                (Told::Maybe, _) | (_, Some(true)) => Told::Maybe,
                (Told::Unknown, _) | (_, None) => Told::Unknown,
                (Told::No, Some(false)) => Told::No,
            };
        }
    }
    all
}
