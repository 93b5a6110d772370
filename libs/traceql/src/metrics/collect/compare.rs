//! `compare`: counts how often each value of each attribute occurs in two sets of spans.

mod counter;
mod entries;
mod values;

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use tactus_model::{AttributeList, StringCode, distinct_owners};
use tactus_work::{Held, tick};

use self::counter::Counter;
pub(super) use self::entries::AttributeNumber;
use self::entries::Entries;
use self::values::ValueCounts;
use super::cells::Cell;
use super::rows::{Reach, Rows};
use crate::eval::operand::{kind_of, status_of};
use crate::eval::value::Value;
use crate::eval::view::{BatchView, column};
use crate::metrics::{Exemplar, PartialSeries};
use crate::{Attribute, AttributeScope, Intrinsic};

/// Most bytes of the counts of all attributes, in each collector of a job. Beyond that, rare values are dropped. If
/// such a value comes back later, its count is too low; totals stay right.
const ALL_BYTES: usize = 4 << 20;
/// Each attribute may use at least this many bytes.
const LEAST_BYTES: usize = 32 << 10;
/// For each attribute and side, a job sends this many times as many values as the answer shows, and at least
/// [`SENT_VALUES`], because adding up the jobs can still change their order.
const SENT_PER_SHOWN: usize = 10;
const SENT_VALUES: usize = 1000;
/// Bytes of an attribute in a list.
const COPY_BYTES: usize = 13;
/// At the end the counts exist twice: here, and in the message that is sent.
const SENT_TWICE: usize = 2;

/// The counts of a comparison over all batches.
#[derive(Debug)]
pub(super) struct Comparison {
    index: HashMap<Attribute, AttributeNumber, RandomState>,
    counts: Vec<ValueCounts>,
    /// How many values of an attribute the answer shows.
    shown_values: usize,
    /// How many values of an attribute are kept, if they fit.
    least_values: usize,
    /// Bytes of the counts. Labels count their own.
    bytes: usize,
    /// Bytes of counts and labels.
    all_bytes: usize,
    /// Rare values are dropped when both together take more bytes than this.
    most_bytes: usize,
    held: Held,
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
    /// An empty counter. `top_n`: how many values of an attribute the answer shows.
    pub(super) fn new(top_n: usize) -> Self {
        Self {
            index: HashMap::default(),
            counts: Vec::new(),
            shown_values: top_n,
            least_values: top_n.saturating_mul(SENT_PER_SHOWN),
            bytes: 0,
            all_bytes: 0,
            most_bytes: ALL_BYTES,
            held: Held::default(),
        }
    }

    /// Counts the attributes of spans.
    pub(super) fn observe(&mut self, compared: &ComparedRows<'_>, view: &BatchView<'_>) {
        let batch = view.batch;
        let (rows, spans) = (compared.rows, &batch.spans);
        let places = compared.places();
        let weights = compared.weights.as_deref();
        let counter = Counter { places: &places, reach: compared.reach, weights };
        let owners = [
            (AttributeScope::Resource, &batch.resources.attributes, &spans.resource),
            (AttributeScope::Instrumentation, &batch.scopes.attributes, &spans.scope),
        ];
        for (scope, list, of_span) in owners {
            let (distinct, of_owner) = distinct_owners(list, batch.strings.len());
            let _copy = Held::of(distinct.len() * COPY_BYTES + of_owner.len() * size_of::<u32>());
            let nothing = distinct.owners() as u32;
            let of_rows = rows
                .gather(of_span, |owner| of_owner.get(owner as usize).copied().unwrap_or(nothing));
            counter.count(&of_rows, |owner, counts| {
                self.add_list(scope, &distinct, owner as usize, view, counts);
            });
        }
        for intrinsic in INTRINSICS {
            let Some(codes) = intrinsic_codes(intrinsic, rows, view) else { continue };
            let attribute = self.attribute_number(&Attribute::Intrinsic(intrinsic));
            counter.count(&codes, |code, counts| {
                if let Some(value) = intrinsic_value(intrinsic, code, view) {
                    self.add(attribute, value, counts);
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
        let list = &view.batch.span_attributes;
        let mut entries = Entries::of(view);
        for place in 0..rows.len() {
            let row = rows.at(place);
            if tick(1 + list.range(row).len() as u32 * 2) {
                return;
            }
            for attribute in list.of(row) {
                entries.push(attribute, row, place, counter, view);
            }
            if entries.are_enough() {
                self.count_entries(&mut entries, counter, view);
            }
        }
        self.count_entries(&mut entries, counter, view);
    }

    /// Counts what was collected, and clears it.
    fn count_entries(
        &mut self,
        entries: &mut Entries<'_>,
        counter: &Counter<'_>,
        view: &BatchView<'_>,
    ) {
        let weights = counter.weights.map(|_| entries.weights.as_slice());
        let counter = Counter { places: &entries.places, weights, ..*counter };
        let mut attributes = vec![0; entries.keys_with_values.len()];
        counter.count(&entries.key_indexes(), |index, counts| {
            if !tick(20) {
                let key = entries.keys_with_values[index as usize];
                let attribute = self.attribute_number(&named(AttributeScope::Span, key, view));
                attributes[index as usize] = attribute;
                self.grow(attribute, |known| known.add_total(counts));
            }
        });
        counter.count(&entries.numbers, |number, counts| {
            if !tick(20) {
                let (index, value) = entries.values[number as usize];
                let attribute = attributes[index as usize];
                self.grow(attribute, |known| known.add_value(value, counts));
            }
        });
        entries.clear();
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
                let attribute = self.attribute_number(&named(scope, key, view));
                self.add(attribute, value, counts);
            }
        });
    }

    fn add(
        &mut self,
        attribute: AttributeNumber,
        value: Value<'_>,
        counts: &[Vec<(u32, Cell)>; 2],
    ) {
        self.grow(attribute, |known| {
            known.add_total(counts);
            known.add_value(value, counts);
        });
    }

    /// Adds to the counts of an attribute, within the limit on all of them.
    fn grow(&mut self, attribute: AttributeNumber, add: impl FnOnce(&mut ValueCounts)) {
        if !self.held.has_room() {
            return;
        }
        let Some(known) = self.counts.get_mut(attribute as usize) else { return };
        let (before, all_before) = (known.bytes(), known.all_bytes());
        add(known);
        self.bytes = self.bytes - before + known.bytes();
        self.all_bytes = self.all_bytes - all_before + known.all_bytes();
        if self.all_bytes > self.most_bytes {
            self.forget_rare_values();
        }
        self.held.grow_to(self.bytes * SENT_TWICE);
    }

    /// Halves the memory, so that attributes that need more get about the same share.
    fn forget_rare_values(&mut self) {
        let large = self.counts.iter().filter(|counts| counts.all_bytes() > LEAST_BYTES).count();
        let most = (ALL_BYTES / 2 / large.max(1)).max(LEAST_BYTES);
        loop {
            for counts in self.counts.iter_mut().filter(|counts| counts.all_bytes() > most) {
                counts.forget_rare_values(most, self.least_values);
            }
            self.bytes = self.counts.iter().map(ValueCounts::bytes).sum();
            self.all_bytes = self.counts.iter().map(ValueCounts::all_bytes).sum();
            if self.all_bytes <= 2 * ALL_BYTES || self.least_values <= self.shown_values {
                break;
            }
            self.least_values = (self.least_values / 2).max(self.shown_values);
        }
        // If much has to stay, the next attempt waits until there is twice as much.
        self.most_bytes = ALL_BYTES.max(self.all_bytes * 2);
    }

    /// Its memory, which counts until this is dropped.
    pub(super) fn take_held(&mut self) -> Vec<Held> {
        let labels = self.counts.iter_mut().map(ValueCounts::take_held);
        labels.chain([std::mem::take(&mut self.held)]).collect()
    }

    /// The number of an attribute, which is added if it is new. Once no memory is left, any number is returned, because
    /// the result will be discarded.
    fn attribute_number(&mut self, attribute: &Attribute) -> AttributeNumber {
        if let Some(&number) = self.index.get(attribute) {
            return number;
        }
        if !self.held.has_room() && !self.counts.is_empty() {
            return 0;
        }
        let number = self.counts.len() as AttributeNumber;
        let counts = ValueCounts::new(attribute.to_string().into());
        self.bytes += counts.bytes();
        self.all_bytes += counts.all_bytes();
        self.held.grow_to(self.bytes * SENT_TWICE);
        self.counts.push(counts);
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
        self.all_bytes
    }

    /// The series; totals have the exemplars of their attribute and side. `scale`: how many spans each counted span
    /// represents.
    pub(super) fn finish(
        self,
        leaf: u32,
        scale: f64,
        mut exemplars: HashMap<(AttributeNumber, bool), Vec<Exemplar>>,
    ) -> Vec<PartialSeries> {
        let most = self.shown_values.saturating_mul(SENT_PER_SHOWN).max(SENT_VALUES);
        let mut finished = Vec::new();
        for (number, counts) in self.counts.into_iter().enumerate() {
            let mut of_total = |is_selected: bool| {
                exemplars.remove(&(number as AttributeNumber, is_selected)).unwrap_or_default()
            };
            let of_totals = [of_total(false), of_total(true)];
            counts.finish(leaf, most, scale, of_totals, &mut finished);
        }
        finished
    }
}

/// Calls `visit(key, entry)` for the first entry of each key of an owner, until the query is over.
fn for_each_once(list: &AttributeList, owner: usize, mut visit: impl FnMut(StringCode, usize)) {
    let mut seen = HashSet::with_hasher(RandomState::default());
    for entry in list.range(owner) {
        if tick(20) {
            return;
        }
        let key = list.keys[entry];
        if seen.insert(key) {
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

/// The value of an intrinsic for each of some rows, as a string code or stored number; `None` if it was not read.
fn intrinsic_codes(intrinsic: Intrinsic, rows: &Rows, view: &BatchView<'_>) -> Option<Vec<u32>> {
    let (batch, spans) = (view.batch, &view.batch.spans);
    let codes = |codes| column(codes, view.spans()).map(|codes| rows.gather(codes, |code| code));
    // Numbers that OTLP does not define are read as 0.
    let bytes = |bytes, most| {
        column(bytes, view.spans())
            .map(|bytes| rows.gather(bytes, |byte| if byte > most { 0 } else { u32::from(byte) }))
    };
    let through = |owners: &[u32], codes: &[u32]| {
        Some(rows.gather(owners, |owner| codes.get(owner as usize).copied().unwrap_or(0)))
    };
    match intrinsic {
        Intrinsic::Status => bytes(&spans.status, 2),
        Intrinsic::Kind => bytes(&spans.kind, 5),
        Intrinsic::Name => codes(&spans.name),
        Intrinsic::StatusMessage => codes(&spans.status_message),
        Intrinsic::TraceRootService => through(&spans.trace, view.trace_roots().0),
        Intrinsic::TraceRootName => through(&spans.trace, view.trace_roots().1),
        Intrinsic::InstrumentationName => through(&spans.scope, &batch.scopes.name),
        Intrinsic::InstrumentationVersion => through(&spans.scope, &batch.scopes.version),
        _ => None,
    }
}

/// The value of a code; `None` if the span does not have one.
fn intrinsic_value<'v>(
    intrinsic: Intrinsic,
    code: u32,
    view: &'v BatchView<'_>,
) -> Option<Value<'v>> {
    match intrinsic {
        Intrinsic::Status => Some(Value::Status(status_of(code as u8))),
        Intrinsic::Kind => Some(Value::Kind(kind_of(code as u8))),
        // Every span has a name, and every trace has a root's name and service, possibly empty.
        Intrinsic::Name | Intrinsic::TraceRootName | Intrinsic::TraceRootService => {
            Some(Value::String(view.batch.strings.get(code)))
        }
        _ if code == 0 => None,
        _ => Some(Value::String(view.batch.strings.get(code))),
    }
}
