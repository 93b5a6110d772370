//! Label values, and the series that the labels of spans form.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::{AttributeList, StringCode, ValueType, format_duration};

use super::rows::Rows;
use crate::eval::operand::{Operand, Place, Source, Table};
use crate::eval::scan::for_each_first;
use crate::eval::value::Value;
use crate::eval::view::BatchView;
use crate::metrics::LabelValue;
use tactus_work::Held;

/// Up to this many combinations of two label columns are numbered with a table instead of a map.
const TABLED_COMBINATIONS: usize = 1 << 18;
/// An attribute list is scanned as a whole unless it has more entries than this for every row.
const SCANNED_ENTRIES_PER_ROW: usize = 16;
/// Estimated bytes of a label without its text: the value twice, and its entry in the index.
const LABEL_BYTES: usize = 2 * size_of::<LabelValue>() + 32;

/// The label for a value. Durations, statuses, kinds and arrays become text.
pub(super) fn label(value: Value<'_>) -> LabelValue {
    match value {
        Value::NoRow | Value::Nil => LabelValue::Nil,
        Value::Bool(value) => LabelValue::Bool(value),
        Value::Int(value) => LabelValue::Int(value),
        // Nobody tells -0 from 0.
        Value::Float(value) => LabelValue::Float(value + 0.0),
        Value::Duration(value) => LabelValue::String(format_duration(value).into()),
        Value::String(text) => LabelValue::String(text_of(text).into()),
        Value::Status(status) => LabelValue::String(status.text().into()),
        Value::Kind(kind) => LabelValue::String(kind.text().into()),
        Value::Array(array) => LabelValue::String(array.to_string().into()),
    }
}

/// As [`String::from_utf8_lossy`], which takes twice as long for what is valid.
fn text_of(text: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

/// The values of one label over all batches, each with a number.
#[derive(Debug, Default)]
pub(super) struct Labels {
    texts: HashMap<Box<str>, u32, RandomState>,
    others: HashMap<LabelValue, u32, RandomState>,
    values: Vec<LabelValue>,
    bytes: usize,
    held: Held,
}

impl Labels {
    /// The number of a value, which is added if it is new. Once no memory is left, any number is returned, because the
    /// result will be discarded.
    pub(super) fn number(&mut self, value: LabelValue) -> u32 {
        let (known, text) = match &value {
            LabelValue::String(text) => (self.texts.get(text), text.len()),
            other => (self.others.get(other), 0),
        };
        if let Some(&number) = known {
            return number;
        }
        let number = self.values.len() as u32;
        let bytes = self.bytes + LABEL_BYTES + 2 * text;
        if !self.held.grow_to(bytes) && number > 0 {
            return 0;
        }
        self.bytes = bytes;
        self.values.push(value.clone());
        match value {
            LabelValue::String(text) => self.texts.insert(text, number),
            other => self.others.insert(other, number),
        };
        number
    }

    /// The number of a value that has one.
    pub(super) fn find(&self, value: Value<'_>) -> Option<u32> {
        match value {
            Value::String(text) => self.texts.get(&*text_of(text)).copied(),
            other => match label(other) {
                LabelValue::String(text) => self.texts.get(&text).copied(),
                other => self.others.get(&other).copied(),
            },
        }
    }

    /// How many values have a number.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value of a number.
    pub(super) fn value(&self, number: u32) -> &LabelValue {
        &self.values[number as usize]
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Its memory, which counts until this is dropped.
    pub(super) fn take_held(&mut self) -> Held {
        std::mem::take(&mut self.held)
    }
}

/// The label of each of some rows, as numbers that ascend from 0 in order of first use.
struct LabelColumn {
    codes: Vec<u32>,
    /// The number in [`Labels`] of each code.
    numbers: Vec<u32>,
}

/// Codes for labels, in the order in which they occur in a batch.
struct Codes<'l> {
    labels: &'l mut Labels,
    /// By number in `labels`: the code plus 1, or 0.
    of_number: Vec<u32>,
    numbers: Vec<u32>,
}

impl<'l> Codes<'l> {
    fn new(labels: &'l mut Labels) -> Self {
        Self { of_number: vec![0; labels.values.len()], labels, numbers: Vec::new() }
    }

    fn code(&mut self, value: LabelValue) -> u32 {
        let number = self.labels.number(value) as usize;
        if number >= self.of_number.len() {
            self.of_number.resize(number + 1, 0);
        }
        if self.of_number[number] == 0 {
            self.numbers.push(number as u32);
            self.of_number[number] = self.numbers.len() as u32;
        }
        self.of_number[number] - 1
    }
}

impl LabelColumn {
    fn of(operand: &Operand<'_>, rows: &Rows, view: &BatchView<'_>, labels: &mut Labels) -> Self {
        let (batch, spans) = (view.batch, &view.batch.spans);
        let mut codes = Codes::new(labels);
        let by_row = |row: usize| label(operand.row_value(row));
        let codes_of_rows = match (operand.table, &operand.source) {
            (_, Source::Nothing) => {
                let nil = codes.code(LabelValue::Nil);
                rows.map(|_| nil)
            }
            (Table::Resource, Source::Attributes { list, key }) => {
                let of_resource = of_resources(list, *key, view, &mut codes);
                rows.gather(&spans.resource, of_resource)
            }
            (Table::Resource, _) => {
                of_owners(&spans.resource, batch.resources.len(), rows, &mut codes, by_row)
            }
            (Table::Trace, _) => of_owners(&spans.trace, view.traces(), rows, &mut codes, by_row),
            (Table::Scope, Source::Codes(strings)) => {
                let text = |code: usize| label(Value::String(batch.strings.get(code as u32)));
                let mut code_of = remembered(batch.strings.len(), &mut codes, text);
                rows.gather(&spans.scope, |scope| {
                    code_of(strings.get(scope as usize).copied().unwrap_or_default())
                })
            }
            (Table::Scope, _) => {
                of_owners(&spans.scope, batch.scopes.attributes.owners(), rows, &mut codes, by_row)
            }
            (_, _) if operand.is_of_parent() => of_values(operand, rows, &mut codes),
            (Table::Span, Source::Codes(strings)) => {
                let text = |code: usize| label(Value::String(batch.strings.get(code as u32)));
                of_owners(strings, batch.strings.len(), rows, &mut codes, text)
            }
            (Table::Span, Source::Kinds(_) | Source::Statuses(_)) => {
                of_few_values(operand, rows, &mut codes)
            }
            (Table::Span, Source::Attributes { list, key }) if is_scanned(list, rows) => {
                let nil = codes.code(LabelValue::Nil);
                let mut by_span = vec![nil; view.spans()];
                of_attributes(list, *key, view, &mut codes, &mut by_span);
                rows.gather(&by_span, |code| code)
            }
            (Table::Span, Source::Unscoped { span, resource }) => match (&**span, &**resource) {
                (
                    Source::Attributes { list, key },
                    Source::Attributes { list: shared, key: same },
                ) if is_scanned(list, rows) => {
                    let of_resource = of_resources(shared, *same, view, &mut codes);
                    let mut by_span: Vec<u32> =
                        spans.resource.iter().copied().map(of_resource).collect();
                    of_attributes(list, *key, view, &mut codes, &mut by_span);
                    rows.gather(&by_span, |code| code)
                }
                _ => of_values(operand, rows, &mut codes),
            },
            _ => of_values(operand, rows, &mut codes),
        };
        Self { codes: codes_of_rows, numbers: codes.numbers }
    }
}

/// True if it is cheaper to scan a whole list than to look up every row.
pub(super) fn is_scanned(list: &AttributeList, rows: &Rows) -> bool {
    list.len() <= rows.len() * SCANNED_ENTRIES_PER_ROW
}

/// Codes for what rows refer to in a table of this size, or by string code.
fn of_owners(
    owners: &[u32],
    count: usize,
    rows: &Rows,
    codes: &mut Codes<'_>,
    label_of: impl FnMut(usize) -> LabelValue,
) -> Vec<u32> {
    rows.gather(owners, remembered(count, codes, label_of))
}

/// The code of each row of a table of this size; each is made once.
fn remembered(
    count: usize,
    codes: &mut Codes<'_>,
    mut label_of: impl FnMut(usize) -> LabelValue,
) -> impl FnMut(u32) -> u32 {
    // The code plus 1, or 0.
    let mut known: Vec<u32> = vec![0; count];
    move |row| match known.get_mut(row as usize) {
        Some(entry) => {
            if *entry == 0 {
                *entry = codes.code(label_of(row as usize)) + 1;
            }
            *entry - 1
        }
        None => codes.code(label_of(row as usize)),
    }
}

/// Codes of a column of bytes.
fn of_few_values(operand: &Operand<'_>, rows: &Rows, codes: &mut Codes<'_>) -> Vec<u32> {
    let (Source::Kinds(column) | Source::Statuses(column)) = operand.source else {
        return of_values(operand, rows, codes);
    };
    let mut known = [0u32; 256];
    let mut row = 0;
    rows.gather(column, |value| {
        let entry = &mut known[usize::from(value)];
        if *entry == 0 {
            *entry = codes.code(label(operand.value(Place::of_span(rows.at(row))))) + 1;
        }
        row += 1;
        *entry - 1
    })
}

/// The code of an attribute of each resource.
fn of_resources(
    list: &AttributeList,
    key: StringCode,
    view: &BatchView<'_>,
    codes: &mut Codes<'_>,
) -> impl Fn(u32) -> u32 {
    let nil = codes.code(LabelValue::Nil);
    let mut by_resource = vec![nil; view.batch.resources.len()];
    of_attributes(list, key, view, codes, &mut by_resource);
    move |resource| by_resource.get(resource as usize).copied().unwrap_or(nil)
}

/// Overwrites the codes of those owners that have an attribute.
fn of_attributes(
    list: &AttributeList,
    key: StringCode,
    view: &BatchView<'_>,
    codes: &mut Codes<'_>,
    by_owner: &mut [u32],
) {
    let strings = &view.batch.strings;
    let mut of_string: Vec<u32> = vec![0; strings.len()];
    let mut of_other: HashMap<(ValueType, u64), u32, RandomState> = HashMap::default();
    for_each_first(list, key, |owner, entry| {
        let attribute = list.at(entry);
        let mut add = || codes.code(label(Value::of_attribute(attribute, strings)));
        let is_string = attribute.value_type == ValueType::String;
        let code = match of_string.get_mut(attribute.payload as usize) {
            Some(known) if is_string => {
                if *known == 0 {
                    *known = add() + 1;
                }
                *known - 1
            }
            _ => {
                let value = (attribute.value_type, attribute.payload);
                *of_other.entry(value).or_insert_with(add)
            }
        };
        if let Some(of_owner) = by_owner.get_mut(owner) {
            *of_owner = code;
        }
    });
}

/// Codes row by row, for what no table tells.
fn of_values(operand: &Operand<'_>, rows: &Rows, codes: &mut Codes<'_>) -> Vec<u32> {
    let mut of_text: HashMap<&[u8], u32, RandomState> = HashMap::default();
    let mut of_number: HashMap<(u8, u64), u32, RandomState> = HashMap::default();
    rows.map(|row| {
        let value = operand.value(Place::of_span(row));
        let mut add = || codes.code(label(value));
        let number = match value {
            Value::String(text) => return *of_text.entry(text).or_insert_with(add),
            Value::NoRow | Value::Nil => (0, 0),
            Value::Bool(flag) => (1, u64::from(flag)),
            Value::Int(number) => (2, number as u64),
            Value::Float(number) => (3, number.to_bits()),
            Value::Duration(number) => (4, number as u64),
            Value::Status(_) | Value::Kind(_) | Value::Array(_) => return add(),
        };
        *of_number.entry(number).or_insert_with(add)
    })
}

/// The series of each of some rows.
pub(super) struct SeriesColumn {
    /// Numbers below the length of `keys`; `None`: all belong to series 0.
    pub(super) codes: Option<Vec<u32>>,
    /// The label numbers of each series.
    pub(super) keys: Vec<Vec<u32>>,
}

impl SeriesColumn {
    /// Combines the labels of some rows. `labels`: one for each operand.
    pub(super) fn of(
        by: &[Operand<'_>],
        rows: &Rows,
        view: &BatchView<'_>,
        labels: &mut [Labels],
    ) -> Self {
        let mut series = Self { codes: None, keys: vec![Vec::new()] };
        for (operand, labels) in by.iter().zip(labels) {
            let column = LabelColumn::of(operand, rows, view, labels);
            series = series.with(column);
        }
        series
    }

    fn with(self, column: LabelColumn) -> Self {
        let Some(mut codes) = self.codes else {
            let keys = column.numbers.iter().map(|&number| vec![number]).collect();
            return Self { codes: Some(column.codes), keys };
        };
        let width = column.numbers.len();
        let mut keys = Vec::new();
        let mut add = |series: u32, label: u32| {
            let mut key = self.keys[series as usize].clone();
            key.push(column.numbers[label as usize]);
            keys.push(key);
            keys.len() as u32
        };
        let pairs = codes.iter_mut().zip(&column.codes);
        if self.keys.len() * width <= TABLED_COMBINATIONS {
            // The number plus 1, or 0.
            let mut known = vec![0u32; self.keys.len() * width];
            for (series, &label) in pairs {
                let entry = &mut known[*series as usize * width + label as usize];
                if *entry == 0 {
                    *entry = add(*series, label);
                }
                *series = *entry - 1;
            }
        } else {
            let mut known: HashMap<(u32, u32), u32, RandomState> = HashMap::default();
            for (series, &label) in pairs {
                let entry = known.entry((*series, label));
                *series = *entry.or_insert_with(|| add(*series, label)) - 1;
            }
        }
        Self { codes: Some(codes), keys }
    }
}
