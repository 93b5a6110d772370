//! Evaluates filters over the rows of events and links.

use tactus_work::tick;

use super::{Plan, Program};
use crate::eval::bitmap::Bitmap;
use crate::eval::operand::{Pick, Place, Table, event_rows, link_rows, table_of};
use crate::eval::value::Value;
use crate::eval::view::BatchView;

/// The result for event or link rows, and the result for spans in case they have no rows: those for which it is true,
/// and those for which it is true or undecided.
struct Bits {
    rows: Bitmap,
    bare: Bitmap,
    open: Bitmap,
}

/// The spans with a row of the table that satisfies the plan, and the spans without rows that satisfy it.
pub(super) fn some_row(plan: &Plan, table: Table, view: &BatchView<'_>, mask: &Bitmap) -> Bitmap {
    let bits = child_bits(plan, table, view, mask);
    let starts = child_starts(table, view);
    let mut spans = Bitmap::none(view.spans());
    let mut span = 0;
    for row in bits.rows.rows() {
        while starts.get(span + 1).is_some_and(|&end| end as usize <= row) {
            span += 1;
        }
        spans.insert(span);
    }
    for span in bits.bare.rows() {
        if starts.get(span..span + 2).is_none_or(|bounds| bounds[0] >= bounds[1]) {
            spans.insert(span);
        }
    }
    spans
}

fn child_starts<'v>(table: Table, view: &'v BatchView<'_>) -> &'v [u32] {
    if table == Table::Event { &view.batch.events.starts } else { &view.batch.links.starts }
}

fn child_bits(plan: &Plan, table: Table, view: &BatchView<'_>, mask: &Bitmap) -> Bits {
    let spans = view.spans();
    match plan {
        Plan::Condition { condition, inverted } if table_of(&condition.attribute) == table => {
            let mut rows = condition.rows(view);
            if *inverted {
                rows.invert();
            }
            Bits { rows, bare: Bitmap::none(spans), open: Bitmap::all(spans) }
        }
        Plan::All(plans) | Plan::Any(plans) => {
            let mut parts = plans
                .iter()
                .take_while(|_| !tick(super::units(view)))
                .map(|plan| child_bits(plan, table, view, mask));
            let Some(mut bits) = parts.next() else {
                return of_spans(Bitmap::all(spans), table, view);
            };
            for part in parts {
                if matches!(plan, Plan::All(_)) {
                    bits.rows.intersect(&part.rows);
                    bits.bare.intersect(&part.bare);
                    bits.open.intersect(&part.open);
                } else {
                    bits.rows.unite(&part.rows);
                    bits.bare.unite(&part.bare);
                    bits.open.unite(&part.open);
                }
            }
            bits
        }
        Plan::Complement(plan) => {
            let Bits { mut rows, mut bare, mut open } = child_bits(plan, table, view, mask);
            rows.invert();
            bare.invert();
            open.invert();
            Bits { rows, bare: open, open: bare }
        }
        Plan::Program { program, wanted } => run_program(program, *wanted, table, view, mask),
        Plan::Constant(_) | Plan::Condition { .. } | Plan::Some { .. } | Plan::Step { .. } => {
            of_spans(plan.evaluate(view, mask), table, view)
        }
    }
}

/// Runs a program on each row of the spans in `mask`, and once on each span without rows.
fn run_program(
    program: &Program,
    wanted: bool,
    table: Table,
    view: &BatchView<'_>,
    mask: &Bitmap,
) -> Bits {
    let bound = program.bind(view);
    let none = || Bitmap::none(view.spans());
    let rows = Bitmap::none(child_rows(table, view));
    let mut bits = Bits { rows, bare: none(), open: none() };
    for span in mask.rows() {
        if tick(1) {
            break;
        }
        let place = |row| match table {
            Table::Event => Place { span, event: row, link: Pick::Absent },
            _ => Place { span, event: Pick::Absent, link: row },
        };
        for row in child_range(table, span, view) {
            if bound.value(place(Pick::Row(row))).is_bool(wanted) {
                bits.rows.insert(row);
            }
        }
        match bound.value(place(Pick::Absent)) {
            Value::NoRow => bits.open.insert(span),
            value if value.is_bool(wanted) => {
                bits.bare.insert(span);
                bits.open.insert(span);
            }
            _ => {}
        }
    }
    bits
}

/// Expands a result for spans to their events or links.
fn of_spans(spans: Bitmap, table: Table, view: &BatchView<'_>) -> Bits {
    let mut rows = Bitmap::none(child_rows(table, view));
    for span in spans.rows() {
        child_range(table, span, view).for_each(|row| rows.insert(row));
    }
    Bits { rows, bare: spans.clone(), open: spans }
}

fn child_rows(table: Table, view: &BatchView<'_>) -> usize {
    if table == Table::Event { event_rows(view) } else { link_rows(view) }
}

fn child_range(table: Table, span: usize, view: &BatchView<'_>) -> std::ops::Range<usize> {
    if table == Table::Event { view.batch.events.range(span) } else { view.batch.links.range(span) }
}
