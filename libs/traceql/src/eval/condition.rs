//! Conditions: one operand against a constant, evaluated column by column.

use std::cell::RefCell;

use tactus_model::{Attribute as StoredAttribute, AttributeList, StringCode, ValueType};

use super::bitmap::Bitmap;
use super::operand::{
    Operand, Source, Table, event_rows, kind_of, link_rows, span_duration, status_of, table_of,
};
use super::program::{IdKind, id_comparison};
use super::scan::for_each_first;
use super::value::{Value, compare, match_regex};
use super::view::{BatchView, NO_ROW};
use crate::{
    Attribute, AttributeScope, BinaryOperator, ComparisonOperator, CompiledRegex, FieldExpression,
    Intrinsic, Static,
};

/// What is asked of an operand's value.
#[derive(Debug)]
pub(crate) enum Test {
    /// `operand operator constant`.
    Compare(ComparisonOperator, Static),
    /// As `Compare` for equality of ids; the id in its one form.
    CompareId(IdKind, ComparisonOperator, Vec<u8>),
    /// `operand =~ pattern`; a pattern that does not compile matches nothing, negated or not.
    Regex { regex: Option<CompiledRegex>, negated: bool },
    /// The operand is a string that contains this one.
    Contains(Box<[u8]>),
    /// `operand != nil`.
    Exists,
    /// The operand is this boolean.
    IsBool(bool),
}

/// An operand and what is asked of it.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) attribute: Attribute,
    pub(crate) test: Test,
}

impl Condition {
    /// The condition of a binary expression between one attribute and one constant, in either order.
    pub(crate) fn of_binary(
        operator: BinaryOperator,
        left: &FieldExpression,
        right: &FieldExpression,
    ) -> Option<Self> {
        let negated = operator == BinaryOperator::NotRegex;
        let (attribute, constant, flipped) = match (left, right) {
            (FieldExpression::Attribute(attribute), FieldExpression::Static(constant)) => {
                (attribute, constant, false)
            }
            (FieldExpression::Static(constant), FieldExpression::Attribute(attribute)) => {
                (attribute, constant, true)
            }
            _ => return None,
        };
        let test = match operator {
            BinaryOperator::Regex | BinaryOperator::NotRegex if !flipped => {
                let regex = constant.as_text().and_then(|text| CompiledRegex::new(text).ok());
                Test::Regex { regex, negated }
            }
            BinaryOperator::Comparison(operator) => {
                let id = id_comparison(operator, left, right);
                match (id, constant.as_text()) {
                    (Some(kind), Some(text)) => {
                        Test::CompareId(kind, operator, kind.normalise(text))
                    }
                    _ if flipped => Test::Compare(operator.flipped(), constant.clone()),
                    _ => Test::Compare(operator, constant.clone()),
                }
            }
            _ => return None,
        };
        Some(Self { attribute: attribute.clone(), test })
    }

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
        let memo = Memo::new(&self.test, view);
        let scan = |list, owners| scan_attributes(list, owners, key, &memo).0;
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
                let (mut rows, present) =
                    scan_attributes(&batch.span_attributes, view.spans(), key, &memo);
                let resources = scan(&batch.resources.attributes, batch.resources.len());
                if !resources.is_empty() {
                    let mut inherited = resources.gather(&batch.spans.resource);
                    inherited.subtract(&present);
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
                let memo = Memo::new(&self.test, view);
                Bitmap::from_values(codes, |code| memo.string(code))
            }
            Source::Durations(durations) => self.duration_rows(durations),
            Source::Kinds(kinds) => {
                let tests = std::array::from_fn::<bool, 256, _>(|kind| {
                    self.test.holds(Value::Kind(kind_of(kind as u8)))
                });
                Bitmap::from_values(kinds, |kind| tests[usize::from(kind)])
            }
            Source::Statuses(statuses) => {
                let tests = std::array::from_fn::<bool, 256, _>(|status| {
                    self.test.holds(Value::Status(status_of(status as u8)))
                });
                Bitmap::from_values(statuses, |status| tests[usize::from(status)])
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
                compare_column(durations, *operator, span_duration, *literal)
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

    /// Equality with a span id, without spelling out every id.
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
            ComparisonOperator::NotEqual => {
                let mut other = equal;
                other.invert();
                other
            }
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

/// The owners whose first attribute with a key satisfies the memo's test, and those that have one at all.
fn scan_attributes(
    list: &AttributeList,
    owners: usize,
    key: Option<StringCode>,
    memo: &Memo<'_>,
) -> (Bitmap, Bitmap) {
    let (mut rows, mut present) = (Bitmap::none(owners), Bitmap::none(owners));
    if let Some(key) = key {
        for_each_first(list, key, |owner, entry| {
            present.insert(owner);
            if memo.attribute(list.at(entry)) {
                rows.insert(owner);
            }
        });
    }
    (rows, present)
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

impl Test {
    /// Whether a value satisfies the test; never for nil and for a missing row.
    #[inline]
    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Test::Compare(operator, constant) => {
                compare(*operator, value, Value::of_static(constant)).is_bool(true)
            }
            Test::CompareId(kind, operator, wanted) => match value {
                Value::String(text) => {
                    operator.holds(Some(kind.normalise(text).as_slice().cmp(wanted)))
                }
                _ => false,
            },
            Test::Regex { regex: Some(regex), negated } => {
                match_regex(value, *negated, |text| regex.is_match(text)).is_bool(true)
            }
            Test::Regex { regex: None, .. } => false,
            Test::Contains(part) => match value {
                Value::String(text) => contains(text, part),
                _ => false,
            },
            Test::Exists => value.exists(),
            Test::IsBool(wanted) => value.is_bool(*wanted),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

const UNKNOWN: u8 = 0;
const FAILS: u8 = 1;
const HOLDS: u8 = 2;

/// A test whose results for strings and arrays are kept by dictionary code, so that each is tested once.
struct Memo<'v> {
    test: &'v Test,
    view: &'v BatchView<'v>,
    /// Two results a code: as string in the low half, as array in the high half.
    results: RefCell<Vec<u8>>,
}

impl<'v> Memo<'v> {
    fn new(test: &'v Test, view: &'v BatchView<'v>) -> Self {
        Self { test, view, results: RefCell::default() }
    }

    #[inline]
    fn string(&self, code: StringCode) -> bool {
        self.remembered(code, 0, || {
            self.test.holds(Value::String(self.view.batch.strings.get(code)))
        })
    }

    #[inline]
    fn attribute(&self, attribute: StoredAttribute) -> bool {
        match attribute.value_type {
            ValueType::String => self.string(attribute.payload as StringCode),
            other if other.holds_code() => {
                self.remembered(attribute.payload as StringCode, 4, || self.direct(attribute))
            }
            _ => self.direct(attribute),
        }
    }

    fn direct(&self, attribute: StoredAttribute) -> bool {
        self.test.holds(Value::of_attribute(attribute, &self.view.batch.strings))
    }

    #[inline]
    fn remembered(&self, code: StringCode, shift: u8, test: impl FnOnce() -> bool) -> bool {
        let mut results = self.results.borrow_mut();
        if results.is_empty() {
            results.resize(self.view.batch.strings.len(), 0);
        }
        let Some(result) = results.get_mut(code as usize) else { return test() };
        let known = *result >> shift & 3;
        if known != UNKNOWN {
            return known == HOLDS;
        }
        let holds = test();
        *result |= if holds { HOLDS } else { FAILS } << shift;
        holds
    }
}
