//! `compare`: how often each value of each attribute occurs in two sets of spans.

mod counter;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::{AttributeList, StringCode};
use tactus_work::{Held, tick};

use self::counter::Counter;
use super::cells::{Cell, Joining};
use super::labels::{Labels, label};
use super::rows::{Reach, Rows};
use super::series::Points;
use crate::eval::operand::{kind_of, status_of};
use crate::eval::value::Value;
use crate::eval::view::{BatchView, column};
use crate::metrics::{ComparedSide, Exemplar, LabelValue, PartialSeries, SeriesKey};
use crate::{Attribute, AttributeScope, Intrinsic};

/// Values of an attribute that are told apart. Past it the rare ones are forgotten, which makes the counts of what
/// comes back later too low; totals stay right.
const MOST_VALUES: usize = 1 << 16;
/// Values that are left when rare ones are forgotten.
const KEPT_VALUES: usize = 1 << 13;
/// A job sends this many times as many values of each attribute and side as the answer shows, at least
/// [`SENT_VALUES`], so that adding the jobs up can still change their order.
const SENT_PER_SHOWN: usize = 10;
const SENT_VALUES: usize = 1000;
/// Bytes of an attribute besides its values, and of the counts of a value.
const ATTRIBUTE_BYTES: usize = 512;
const POINT_BYTES: usize = 36;
/// In the end counts are there once more, as the message that is sent.
const SENT_TWICE: usize = 2;

/// Bytes of an attribute of a span while a batch is counted, and of a key with its value.
const ENTRY_BYTES: usize = 24;
const PAIR_BYTES: usize = 128;

const SIDES: [ComparedSide; 2] = [ComparedSide::Baseline, ComparedSide::Selection];

/// The number of an attribute of a comparison.
pub(super) type AttributeNumber = u32;

/// The counts of a comparison over all batches.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    index: HashMap<Attribute, AttributeNumber, RandomState>,
    counts: Vec<AttributeCounts>,
    /// Of counts; labels have their own.
    bytes: usize,
    held: Held,
}

#[derive(Debug)]
struct AttributeCounts {
    name: Box<str>,
    labels: Labels,
    /// By number of the label and side.
    values: Vec<[Points; 2]>,
    totals: [Points; 2],
    bytes: usize,
}

/// Spans of a batch, and where each is counted.
pub(super) struct ComparedRows<'a> {
    pub(super) rows: &'a Rows,
    /// The side of each row.
    pub(super) sides: Vec<bool>,
    pub(super) reach: &'a Reach,
    pub(super) starts: &'a [u64],
    /// How many spans each row counts for; `None`: one.
    pub(super) weights: Option<Vec<f64>>,
}

impl ComparedRows<'_> {
    /// Side and interval of each row as one number.
    fn places(&self) -> Vec<u32> {
        let width = self.reach.width as u32;
        let mut places = vec![0; self.rows.len()];
        self.reach.write_intervals(self.rows, self.starts, 0, &mut places);
        for (place, &side) in places.iter_mut().zip(&self.sides) {
            *place += u32::from(side) * width;
        }
        places
    }
}

impl Comparison {
    /// Counts the attributes of spans.
    pub(super) fn observe(&mut self, compared: &ComparedRows<'_>, view: &BatchView<'_>) {
        let batch = view.batch;
        let (rows, spans) = (compared.rows, &batch.spans);
        let places = compared.places();
        let weights = compared.weights.as_deref();
        let counter = Counter { places: &places, reach: compared.reach, weights };
        counter.count(&rows.gather(&spans.resource, |row| row), |resource, counts| {
            let list = &batch.resources.attributes;
            self.add_list(AttributeScope::Resource, list, resource as usize, view, counts);
        });
        counter.count(&rows.gather(&spans.scope, |row| row), |scope, counts| {
            let list = &batch.scopes.attributes;
            self.add_list(AttributeScope::Instrumentation, list, scope as usize, view, counts);
        });
        for intrinsic in INTRINSICS {
            let Some(codes) = intrinsic_codes(intrinsic, rows, view) else { continue };
            let attribute = Attribute::Intrinsic(intrinsic);
            counter.count(&codes, |code, counts| {
                if let Some(value) = intrinsic_value(intrinsic, code, view) {
                    self.add(&attribute, label(value), counts);
                }
            });
        }
        self.observe_span_attributes(rows, &counter, view);
    }

    fn observe_span_attributes(
        &mut self,
        rows: &Rows,
        counter: &Counter<'_>,
        view: &BatchView<'_>,
    ) {
        let (list, strings) = (&view.batch.span_attributes, &view.batch.strings);
        let mut known: HashMap<(StringCode, u8, u64), u32, RandomState> = HashMap::default();
        // Key and value of each number in `known`.
        let mut pairs: Vec<(StringCode, Value<'_>)> = Vec::new();
        // By key: the last span that has it, plus 1; for keys that a span has twice.
        let mut last_owner: Vec<u32> = vec![0; strings.len()];
        let (mut numbers, mut places, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut held = Held::default();
        for place in 0..rows.len() {
            held.grow_to(numbers.len() * ENTRY_BYTES + pairs.len() * PAIR_BYTES);
            let row = rows.at(place);
            if tick(1 + list.range(row).len() as u32 * 2) {
                return;
            }
            for attribute in list.of(row) {
                if let Some(last) = last_owner.get_mut(attribute.key as usize)
                    && std::mem::replace(last, row as u32 + 1) == row as u32 + 1
                {
                    continue;
                }
                let pair = (attribute.key, attribute.value_type as u8, attribute.payload);
                let number = *known.entry(pair).or_insert_with(|| {
                    pairs.push((attribute.key, Value::of_attribute(attribute, strings)));
                    pairs.len() as u32 - 1
                });
                numbers.push(number);
                places.push(counter.places[place]);
                weights.extend(counter.weights.map(|weights| weights[place]));
            }
        }
        let mut attributes: HashMap<StringCode, Attribute, RandomState> = HashMap::default();
        let weights = counter.weights.map(|_| weights.as_slice());
        Counter { places: &places, weights, ..*counter }.count(&numbers, |number, counts| {
            let (key, value) = pairs[number as usize];
            if value.exists() && !tick(20) {
                let attribute =
                    attributes.entry(key).or_insert_with(|| named(AttributeScope::Span, key, view));
                self.add(attribute, label(value), counts);
            }
        });
    }

    /// Counts the attributes of one owner, each once.
    fn add_list(
        &mut self,
        scope: AttributeScope,
        list: &AttributeList,
        owner: usize,
        view: &BatchView<'_>,
        counts: &[Vec<(u32, Cell)>; 2],
    ) {
        for_each_once(list, owner, |key, entry| {
            let value = Value::of_attribute(list.at(entry), &view.batch.strings);
            if value.exists() {
                self.add(&named(scope, key, view), label(value), counts);
            }
        });
    }

    fn add(&mut self, attribute: &Attribute, value: LabelValue, counts: &[Vec<(u32, Cell)>; 2]) {
        if !self.held.has_room() {
            return;
        }
        let number = self.attribute_number(attribute);
        let known = &mut self.counts[number as usize];
        let before = known.bytes;
        let place = known.labels.number(value) as usize;
        if place >= known.values.len() {
            known.values.resize_with(place + 1, Default::default);
            known.bytes += 2 * size_of::<Points>();
        }
        for (side, points) in counts.iter().enumerate() {
            let new = known.values[place][side].join(Joining::Count, points)
                + known.totals[side].join(Joining::Count, points);
            known.bytes += new * POINT_BYTES;
        }
        if known.values.len() > MOST_VALUES {
            known.forget_rare_values();
        }
        self.bytes = self.bytes - before + known.bytes;
        self.held.grow_to(self.bytes * SENT_TWICE);
    }

    /// Its memory, which counts until this is dropped.
    pub(super) fn take_held(&mut self) -> Vec<Held> {
        let labels = self.counts.iter_mut().map(|counts| counts.labels.take_held());
        labels.chain([std::mem::take(&mut self.held)]).collect()
    }

    fn attribute_number(&mut self, attribute: &Attribute) -> AttributeNumber {
        if let Some(&number) = self.index.get(attribute) {
            return number;
        }
        let number = self.counts.len() as AttributeNumber;
        self.counts.push(AttributeCounts {
            name: attribute.to_string().into(),
            labels: Labels::default(),
            values: Vec::new(),
            totals: Default::default(),
            bytes: ATTRIBUTE_BYTES,
        });
        self.bytes += ATTRIBUTE_BYTES;
        self.index.insert(attribute.clone(), number);
        number
    }

    /// The attributes of a span that was counted.
    pub(super) fn attributes_of(
        &mut self,
        row: usize,
        view: &BatchView<'_>,
    ) -> Vec<AttributeNumber> {
        let (batch, spans) = (view.batch, &view.batch.spans);
        let mut numbers = Vec::new();
        let lists = [
            (AttributeScope::Span, &batch.span_attributes, row),
            (AttributeScope::Resource, &batch.resources.attributes, spans.resource[row] as usize),
            (AttributeScope::Instrumentation, &batch.scopes.attributes, spans.scope[row] as usize),
        ];
        for (scope, list, owner) in lists {
            for_each_once(list, owner, |key, entry| {
                if Value::of_attribute(list.at(entry), &batch.strings).exists() {
                    numbers.push(self.attribute_number(&named(scope, key, view)));
                }
            });
        }
        let only = Rows::Some(vec![row as u32]);
        for intrinsic in INTRINSICS {
            let codes = intrinsic_codes(intrinsic, &only, view);
            if codes.is_some_and(|codes| {
                codes.first().is_some_and(|&code| intrinsic_value(intrinsic, code, view).is_some())
            }) {
                numbers.push(self.attribute_number(&Attribute::Intrinsic(intrinsic)));
            }
        }
        numbers
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.counts.iter().map(|counts| counts.bytes + counts.labels.heap_bytes()).sum()
    }

    /// The series; totals with the exemplars of their attribute and side. `scale`: how many spans each counted one
    /// stands for.
    pub(super) fn finish(
        self,
        leaf: u32,
        top_n: usize,
        scale: f64,
        mut exemplars: HashMap<(AttributeNumber, bool), Vec<Exemplar>>,
    ) -> Vec<PartialSeries> {
        let most = top_n.saturating_mul(SENT_PER_SHOWN).max(SENT_VALUES);
        let mut finished = Vec::new();
        for (number, mut counts) in self.counts.into_iter().enumerate() {
            for (index, side) in SIDES.into_iter().enumerate() {
                let mut push = |value, points: &mut Points, exemplars| {
                    let points = std::mem::take(points).finish(Joining::Count, scale, 1.0);
                    if !points.is_empty() {
                        let attribute = counts.name.clone();
                        let key = SeriesKey::Compared { side, attribute, value };
                        finished.push(PartialSeries { leaf, key, points, exemplars });
                    }
                };
                let of_total =
                    exemplars.remove(&(number as AttributeNumber, index == 1)).unwrap_or_default();
                push(None, &mut counts.totals[index], of_total);
                let total = |place: &usize| counts.values[*place][index].total();
                let mut order: Vec<usize> = (0..counts.values.len()).collect();
                order.retain(|place| total(place) > 0.0);
                if order.len() > most {
                    order.sort_by(|one, other| total(other).total_cmp(&total(one)));
                    order.truncate(most);
                }
                for place in order {
                    let value = Some(counts.labels.value(place as u32).clone());
                    push(value, &mut counts.values[place][index], Vec::new());
                }
            }
        }
        finished
    }
}

impl AttributeCounts {
    fn forget_rare_values(&mut self) {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        let total = |place: usize| self.values[place][0].total() + self.values[place][1].total();
        order.sort_by(|&one, &other| total(other).total_cmp(&total(one)));
        order.truncate(KEPT_VALUES);
        let mut values = Vec::with_capacity(order.len());
        let mut labels = Labels::default();
        self.bytes = ATTRIBUTE_BYTES;
        for place in order {
            labels.number(self.labels.value(place as u32).clone());
            let points = std::mem::take(&mut self.values[place]);
            let count: usize = points.iter().map(Points::len).sum();
            self.bytes += 2 * size_of::<Points>() + count * POINT_BYTES;
            values.push(points);
        }
        self.bytes += self.totals.iter().map(Points::len).sum::<usize>() * POINT_BYTES;
        self.values = values;
        self.labels = labels;
    }
}

/// Calls `visit(key, entry)` for the first entry of each key of an owner.
fn for_each_once(list: &AttributeList, owner: usize, mut visit: impl FnMut(StringCode, usize)) {
    let range = list.range(owner);
    for entry in range.clone() {
        let key = list.keys[entry];
        if !list.keys[range.start..entry].contains(&key) {
            visit(key, entry);
        }
    }
}

fn named(scope: AttributeScope, key: StringCode, view: &BatchView<'_>) -> Attribute {
    Attribute::named(scope, &view.batch.strings.display(key))
}

/// The intrinsics that are compared.
const INTRINSICS: [Intrinsic; 8] = [
    Intrinsic::Name,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::Kind,
    Intrinsic::TraceRootName,
    Intrinsic::TraceRootService,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
];

/// The value of an intrinsic for each of some rows, as string code or stored number; `None` if it was not read.
fn intrinsic_codes(intrinsic: Intrinsic, rows: &Rows, view: &BatchView<'_>) -> Option<Vec<u32>> {
    let (batch, spans) = (view.batch, &view.batch.spans);
    let codes = |codes| column(codes, view.spans()).map(|codes| rows.gather(codes, |code| code));
    let bytes = |bytes| column(bytes, view.spans()).map(|bytes| rows.gather(bytes, u32::from));
    let through = |owners: &[u32], codes: &[u32]| {
        Some(rows.gather(owners, |owner| codes.get(owner as usize).copied().unwrap_or(0)))
    };
    match intrinsic {
        Intrinsic::Status => bytes(&spans.status),
        Intrinsic::Kind => bytes(&spans.kind),
        Intrinsic::Name => codes(&spans.name),
        Intrinsic::StatusMessage => codes(&spans.status_message),
        Intrinsic::TraceRootService => through(&spans.trace, view.trace_roots().0),
        Intrinsic::TraceRootName => through(&spans.trace, view.trace_roots().1),
        Intrinsic::InstrumentationName => through(&spans.scope, &batch.scopes.name),
        Intrinsic::InstrumentationVersion => through(&spans.scope, &batch.scopes.version),
        _ => None,
    }
}

/// What a code means; `None` for what a span does not have.
fn intrinsic_value<'v>(
    intrinsic: Intrinsic,
    code: u32,
    view: &'v BatchView<'_>,
) -> Option<Value<'v>> {
    match intrinsic {
        Intrinsic::Status => Some(Value::Status(status_of(code as u8))),
        Intrinsic::Kind => Some(Value::Kind(kind_of(code as u8))),
        // Every span has a name and every trace a root's, if only an empty one.
        Intrinsic::Name | Intrinsic::TraceRootName | Intrinsic::TraceRootService => {
            Some(Value::String(view.batch.strings.get(code)))
        }
        _ if code == 0 => None,
        _ => Some(Value::String(view.batch.strings.get(code))),
    }
}
