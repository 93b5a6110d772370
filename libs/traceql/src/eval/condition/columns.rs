//! Evaluates conditions over the rows of their operand's table.

use super::attributes::{owners_that_satisfy, owners_with};
use super::strings::Verdicts;
use super::{Condition, Test};
use crate::eval::bitmap::Bitmap;
use crate::eval::operand::{
    Operand, Source, Table, event_rows, kind_of, link_rows, span_duration, status_of, table_of,
};
use crate::eval::value::Value;
use crate::eval::view::{BatchView, NO_ROW};
use crate::{Attribute, AttributeScope, ComparisonOperator, Intrinsic, Static};

impl Condition {
    /// The rows of the operand's table that satisfy the condition.
    pub(crate) fn rows(&self, view: &BatchView<'_>) -> Bitmap {
        match &self.attribute {
            Attribute::Named { scope, parent, name } => {
                let own = self.named_rows(*scope, name, *parent, view);
                if *parent { of_parents(&own, view) } else { own }
            }
            Attribute::Intrinsic(intrinsic) => self.intrinsic_rows(*intrinsic, view),
        }
    }

    fn named_rows(
        &self,
        scope: AttributeScope,
        name: &str,
        by_span: bool,
        view: &BatchView<'_>,
    ) -> Bitmap {
        let batch = view.batch;
        let key = view.key_code(name);
        let scan =
            |list, owners| owners_that_satisfy(&self.test, list, owners, key, &batch.strings);
        match scope {
            AttributeScope::Span => scan(&batch.span_attributes, view.spans()),
            AttributeScope::Resource => {
                let resources = scan(&batch.resources.attributes, batch.resources.len());
                if by_span { resources.gather(&batch.spans.resource) } else { resources }
            }
            AttributeScope::Instrumentation => {
                scan(&batch.scopes.attributes, batch.scopes.attributes.owners())
            }
            AttributeScope::Event => scan(&batch.events.attributes, event_rows(view)),
            AttributeScope::Link => scan(&batch.links.attributes, link_rows(view)),
            AttributeScope::Unscoped => {
                let mut rows = scan(&batch.span_attributes, view.spans());
                let resources = scan(&batch.resources.attributes, batch.resources.len());
                if !resources.is_empty() {
                    let mut inherited = resources.gather(&batch.spans.resource);
                    inherited.subtract(&owners_with(&batch.span_attributes, view.spans(), key));
                    rows.unite(&inherited);
                }
                rows
            }
        }
    }

    fn intrinsic_rows(&self, intrinsic: Intrinsic, view: &BatchView<'_>) -> Bitmap {
        let rows = table_rows(table_of(&self.attribute), view);
        if let Some(bits) = self.id_rows(intrinsic, rows, view) {
            return bits;
        }
        let operand = Operand::bind(&self.attribute, view);
        match &operand.source {
            Source::Nothing => Bitmap::none(rows),
            Source::Codes(codes) => {
                Verdicts::new(&self.test, &view.batch.strings, codes.len()).rows(codes)
            }
            Source::Durations(durations) => self.duration_rows(durations),
            Source::Kinds(kinds) => {
                byte_rows(kinds, |kind| self.test.holds(Value::Kind(kind_of(kind))))
            }
            Source::Statuses(statuses) => {
                byte_rows(statuses, |status| self.test.holds(Value::Status(status_of(status))))
            }
            Source::SinceStart { .. } => {
                let mut bits = Bitmap::none(rows);
                for span in 0..view.spans() {
                    for event in view.batch.events.range(span) {
                        if self.test.holds(operand.child_value(span, event)) {
                            bits.insert(event);
                        }
                    }
                }
                bits
            }
            _ => Bitmap::from_fn(rows, |row| self.test.holds(operand.row_value(row))),
        }
    }

    fn duration_rows(&self, durations: &[u64]) -> Bitmap {
        match &self.test {
            Test::Compare(operator, Static::Duration(literal)) => {
                compare_durations(durations, *operator, *literal)
            }
            Test::Compare(operator, Static::Int(literal)) => compare_column(
                durations,
                *operator,
                |stored| span_duration(stored) as f64,
                *literal as f64,
            ),
            _ => Bitmap::from_values(durations, |stored| {
                self.test.holds(Value::Duration(span_duration(stored)))
            }),
        }
    }

    /// Equality with a span id, without converting every id to text.
    fn id_rows(&self, intrinsic: Intrinsic, rows: usize, view: &BatchView<'_>) -> Option<Bitmap> {
        let Test::CompareId(_, operator, text) = &self.test else { return None };
        let ids = match intrinsic {
            Intrinsic::SpanId => &view.batch.spans.span_id,
            Intrinsic::SpanParentId => &view.batch.spans.parent_span_id,
            Intrinsic::LinkSpanId => &view.batch.links.span_id,
            _ => return None,
        };
        if ids.len() != rows {
            return Some(Bitmap::none(rows));
        }
        let text = std::str::from_utf8(text).ok();
        let wanted = text.and_then(tactus_model::SpanId::from_hex);
        let equal = Bitmap::from_values(ids, |id| Some(id) == wanted);
        Some(match operator {
            ComparisonOperator::NotEqual => inverted(equal),
            _ => equal,
        })
    }
}

/// Number of rows of a table.
pub(crate) fn table_rows(table: Table, view: &BatchView<'_>) -> usize {
    match table {
        Table::Trace => view.traces(),
        Table::Resource => view.batch.resources.len(),
        Table::Scope => view.batch.scopes.len().max(view.batch.scopes.attributes.owners()),
        Table::Span => view.spans(),
        Table::Event => event_rows(view),
        Table::Link => link_rows(view),
    }
}

/// Rows of spans whose parent is in a set of spans.
fn of_parents(own: &Bitmap, view: &BatchView<'_>) -> Bitmap {
    Bitmap::from_values(view.parents(), |parent| parent != NO_ROW && own.contains(parent as usize))
}

fn inverted(mut bits: Bitmap) -> Bitmap {
    bits.invert();
    bits
}

/// The rows whose byte satisfies a test. These bytes mostly form one range, which may wrap from 255 to 0. Many rows can
/// be compared with a range at once.
fn byte_rows(values: &[u8], test: impl Fn(u8) -> bool) -> Bitmap {
    let tests = std::array::from_fn::<bool, 256, _>(|byte| test(byte as u8));
    let begins = |byte: &u8| tests[usize::from(*byte)] && !tests[usize::from(byte.wrapping_sub(1))];
    let mut beginnings = (0..=u8::MAX).filter(begins);
    match (beginnings.next(), beginnings.next()) {
        (None, _) if tests[0] => Bitmap::all(values.len()),
        (None, _) => Bitmap::none(values.len()),
        (Some(first), None) => {
            let size = tests.iter().filter(|&&holds| holds).count() as u8;
            Bitmap::from_values(values, |value| value.wrapping_sub(first) < size)
        }
        _ => Bitmap::from_values(values, |value| tests[usize::from(value)]),
    }
}

fn compare_durations(stored: &[u64], operator: ComparisonOperator, literal: i64) -> Bitmap {
    if literal <= 0 {
        return compare_column(stored, operator, span_duration, literal);
    }
    // A stored value with the highest bit set stands for 0, and like any negative number it is not above the limit.
    // This has no branch and uses a subtraction, because few processors can compare vectors of 64-bit numbers.
    let above = |limit: u64| {
        Bitmap::from_values(stored, |value| (limit.wrapping_sub(value) & !value) >> 63 != 0)
    };
    let limit = literal as u64;
    match operator {
        ComparisonOperator::Greater => above(limit),
        ComparisonOperator::GreaterEqual => above(limit - 1),
        ComparisonOperator::Less => inverted(above(limit - 1)),
        ComparisonOperator::LessEqual => inverted(above(limit)),
        ComparisonOperator::Equal => Bitmap::from_values(stored, |value| value == limit),
        ComparisonOperator::NotEqual => Bitmap::from_values(stored, |value| value != limit),
    }
}

#[inline]
fn compare_column<T: Copy, K: PartialOrd + Copy>(
    values: &[T],
    operator: ComparisonOperator,
    key: impl Fn(T) -> K,
    literal: K,
) -> Bitmap {
    match operator {
        ComparisonOperator::Equal => Bitmap::from_values(values, |value| key(value) == literal),
        ComparisonOperator::NotEqual => Bitmap::from_values(values, |value| key(value) != literal),
        ComparisonOperator::Less => Bitmap::from_values(values, |value| key(value) < literal),
        ComparisonOperator::LessEqual => Bitmap::from_values(values, |value| key(value) <= literal),
        ComparisonOperator::Greater => Bitmap::from_values(values, |value| key(value) > literal),
        ComparisonOperator::GreaterEqual => {
            Bitmap::from_values(values, |value| key(value) >= literal)
        }
    }
}
