//! The spans whose tags a tag query returns.

use tactus_model::Projection;

use super::bitmap::Bitmap;
use super::operand::{Table, event_rows, link_rows, project, table_of};
use super::plan::Plan;
use super::tag_value::TagValue;
use super::view::BatchView;
use crate::compiled_regex::Patterns;
use crate::{Completion, FieldExpression, LogicalOperator};

/// A completion query, compiled.
#[derive(Debug, Default)]
pub struct TagFilter {
    /// `None` reads all spans.
    plan: Option<Plan>,
    pinned: Vec<TagValue>,
    columns: Projection,
    /// What the conditions are about.
    tables: Vec<Table>,
    /// A condition depends on other spans of the trace.
    reads_whole_traces: bool,
}

impl TagFilter {
    /// Compiles the usable part of a query. All conditions of a group must hold on the same span.
    pub fn new(completion: &Completion) -> Self {
        let Completion::Groups(groups) = completion else { return Self::default() };
        let mut filter = Self::default();
        let (mut plans, patterns) = (Vec::new(), Patterns::default());
        for group in groups {
            if let Some(pinned) = &group.pinned {
                let value = TagValue::of_static(pinned);
                filter.pinned.extend(value.filter(|value| !filter.pinned.contains(value)));
                continue;
            }
            for condition in &group.conditions {
                condition.for_each_attribute(&mut |it| {
                    project(it, &mut filter.columns);
                    filter.tables.push(table_of(it));
                    filter.reads_whole_traces |= it.depends_on_other_spans();
                });
            }
            plans.push(Plan::compile(&conjunction(&group.conditions), &patterns));
        }
        filter.plan = Some(Plan::Any(plans));
        filter
    }

    /// The columns that the filter reads, in addition to those of the requested tags.
    pub fn projection(&self) -> &Projection {
        &self.columns
    }

    /// True if the answer is known without reading data, because every alternative fixes the value.
    pub fn reads_nothing(&self) -> bool {
        matches!(&self.plan, Some(Plan::Any(plans)) if plans.is_empty())
    }

    /// True if all spans of a trace must be there to tell whether one passes.
    pub fn reads_whole_traces(&self) -> bool {
        self.reads_whole_traces
    }

    /// True if a condition is about these rows.
    pub(super) fn names(&self, table: Table) -> bool {
        self.tables.contains(&table)
    }

    /// True if every span passes.
    pub fn reads_all_spans(&self) -> bool {
        self.plan.is_none()
    }

    /// Values that are part of the answer whatever the data is.
    pub(super) fn pinned(&self) -> &[TagValue] {
        &self.pinned
    }

    /// The spans that pass.
    pub(super) fn spans(&self, view: &BatchView<'_>) -> Bitmap {
        let all = Bitmap::all(view.spans());
        let Some(plan) = &self.plan else { return all };
        let mut spans = plan.evaluate(view, &all);
        spans.intersect(&all);
        spans
    }
}

fn conjunction(conditions: &[FieldExpression]) -> FieldExpression {
    match conditions {
        [only] => only.clone(),
        many => {
            FieldExpression::Logical { operator: LogicalOperator::And, operands: many.to_vec() }
        }
    }
}

/// The rows of a table that belong to a set of spans.
pub(super) fn rows_of_spans(spans: &Bitmap, table: Table, view: &BatchView<'_>) -> Bitmap {
    let batch = view.batch;
    let owners = match table {
        Table::Span => return spans.clone(),
        Table::Event | Table::Link => {
            let rows = if table == Table::Event { event_rows(view) } else { link_rows(view) };
            let mut children = Bitmap::none(rows);
            for span in spans.rows() {
                let range = if table == Table::Event {
                    batch.events.range(span)
                } else {
                    batch.links.range(span)
                };
                range.for_each(|row| children.insert(row));
            }
            return children;
        }
        Table::Trace => &batch.spans.trace,
        Table::Resource => &batch.spans.resource,
        Table::Scope => &batch.spans.scope,
    };
    let rows = owners.iter().max().map_or(0, |&last| last as usize + 1);
    let mut owned = Bitmap::none(rows);
    spans.rows().for_each(|span| owned.insert(owners[span] as usize));
    owned
}
