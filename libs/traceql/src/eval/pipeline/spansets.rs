//! All spansets of a batch, and the operations of pipelines on them.

mod distinct_values;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tactus_work::{Held, is_over, tick};

use crate::AggregateOperator;
use crate::eval::aggregate::{Accumulator, AggregatePlan, ScalarPlan};
use crate::eval::bitmap::Bitmap;
use crate::eval::matches::AttributeValue;
use crate::eval::operand::Place;
use crate::eval::plan::{Plan, units};
use crate::eval::program::Program;
use crate::eval::texts::Texts;
use crate::eval::value::Value;
use crate::eval::view::BatchView;
use distinct_values::DistinctValues;

/// Estimated bytes of a group: its entry in the index, and its part of an answer, without attributes.
const GROUP_BYTES: usize = 512;
/// Estimated bytes of a group's attribute: in the group, in a group derived from it, and in an answer, without its name
/// there.
const ATTRIBUTE_BYTES: usize = 192;

/// All spansets of a batch.
#[derive(Clone)]
pub(crate) struct Spansets<'v> {
    pub(crate) spans: Bitmap,
    /// The group of each span; meaningless for spans that are in no spanset.
    pub(crate) group_of: Cow<'v, [u32]>,
    /// Number of groups.
    pub(crate) count: usize,
    /// The facts of each group; `None` as long as every group is a trace without attributes.
    pub(crate) groups: Option<Vec<Group<'v>>>,
    /// Memory of the groups and attributes that stages created.
    pub(crate) held: Vec<Arc<Held>>,
    /// Bytes of the attributes of each group.
    pub(crate) attribute_bytes: usize,
}

/// One spanset.
#[derive(Clone)]
pub(crate) struct Group<'v> {
    /// The trace; in a pipeline that is an operand, the spanset that it started from.
    pub(crate) origin: u32,
    /// Name and value, in order of creation. A stage with the same text as an earlier one adds an attribute of its own.
    attributes: Vec<(&'v str, Value<'v>)>,
}

impl<'v> Spansets<'v> {
    /// One spanset a trace, with these spans.
    pub(crate) fn of_traces(view: &'v BatchView<'v>, spans: Bitmap) -> Self {
        Self {
            spans,
            group_of: Cow::Borrowed(&view.batch.spans.trace),
            count: view.traces(),
            groups: None,
            held: Vec::new(),
            attribute_bytes: 0,
        }
    }

    /// The first span of each group, and the end, if groups are traces and in order.
    fn starts<'a>(&self, view: &'a BatchView<'_>) -> Option<&'a [u32]> {
        let are_traces = std::ptr::eq(&*self.group_of, view.batch.spans.trace.as_slice());
        if are_traces { view.trace_starts() } else { None }
    }

    /// The groups that have one of these spans.
    pub(crate) fn groups_with(&self, spans: &Bitmap, view: &BatchView<'_>) -> Bitmap {
        if !spans.is_sparse()
            && let Some(starts) = self.starts(view)
        {
            let has = |group: usize| spans.count_in(range(starts, group)) > 0;
            return Bitmap::from_fn(self.count, has);
        }
        let mut groups = Bitmap::none(self.count);
        spans.rows().for_each(|row| groups.insert(self.group_of[row] as usize));
        groups
    }

    /// Removes the spans of all other groups.
    pub(crate) fn keep_groups(&self, spans: &mut Bitmap, groups: &Bitmap, view: &BatchView<'_>) {
        if groups.is_empty() {
            *spans = Bitmap::none(spans.len());
            return;
        }
        match self.starts(view) {
            Some(starts) if !spans.is_sparse() => {
                let mut kept = Bitmap::none(spans.len());
                groups.rows().for_each(|group| kept.unite_range(spans, range(starts, group)));
                *spans = kept;
            }
            _ => spans.retain(|row| groups.contains(self.group_of[row] as usize)),
        }
    }

    /// Only those groups that have one of these spans; `None` if the spans are many.
    pub(super) fn of_same_groups(
        &self,
        spans: &Bitmap,
        view: &BatchView<'_>,
    ) -> Option<Spansets<'_>> {
        if !spans.is_sparse() {
            return None;
        }
        let starts = self.starts(view)?;
        let mut kept = Bitmap::none(spans.len());
        for group in self.groups_with(spans, view).rows() {
            kept.unite_range(&self.spans, range(starts, group));
        }
        Some(self.with_spans(kept))
    }

    /// Only those groups that have one of these spans.
    pub(super) fn only_groups_of(&self, spans: &Bitmap, view: &BatchView<'_>) -> Spansets<'_> {
        let mut kept = self.spans.clone();
        kept.intersect(&self.groups_with(spans, view).gather(&self.group_of));
        self.with_spans(kept)
    }

    /// These spans in the same groups, of which nothing else is known.
    pub(super) fn with_spans(&self, spans: Bitmap) -> Spansets<'_> {
        Spansets {
            spans,
            group_of: Cow::Borrowed(&*self.group_of),
            count: self.count,
            groups: None,
            held: Vec::new(),
            attribute_bytes: 0,
        }
    }

    fn groups_mut(&mut self) -> &mut Vec<Group<'v>> {
        self.groups.get_or_insert_with(|| {
            let group = |origin| Group { origin, attributes: Vec::new() };
            (0..self.count as u32).map(group).collect()
        })
    }

    /// The attributes of a group in the form in which answers show them.
    pub(crate) fn attributes(
        &self,
        group: usize,
        texts: &mut Texts<'v>,
    ) -> Vec<(Arc<str>, AttributeValue)> {
        let group = self.groups.as_ref().map(|groups| &groups[group]);
        let attributes = group.map_or(&[][..], |group| &group.attributes);
        let shown = |(name, value): &(&'v str, _)| {
            let value = AttributeValue::of(*value, texts).unwrap_or(AttributeValue::Nil);
            (texts.shared(name.as_bytes()), value)
        };
        attributes.iter().map(shown).collect()
    }

    /// Splits every spanset by the value of an expression. Groups are in order of first appearance.
    pub(super) fn split(&mut self, program: &'v Program, name: &'v str, view: &'v BatchView<'v>) {
        let mut values = DistinctValues::new(program.bind(view));
        let old = self.groups.take();
        let mut groups: Vec<Group<'v>> = Vec::new();
        let mut group_of = vec![0; view.spans()];
        let mut known: HashMap<(u32, u32), u32, RandomState> = HashMap::default();
        // Neighbours mostly belong together.
        let mut last = ((u32::MAX, u32::MAX), 0);
        let mut is_over = false;
        let mut held = Held::default();
        self.attribute_bytes += ATTRIBUTE_BYTES + name.len();
        let group_bytes = GROUP_BYTES + self.attribute_bytes;
        for row in self.spans.rows() {
            if tick(2) {
                is_over = true;
                break;
            }
            let key = (self.group_of[row], values.number(row, view));
            held.grow_to(groups.len() * group_bytes + values.bytes);
            if key != last.0 {
                let number = *known.entry(key).or_insert_with(|| {
                    let mut group = match &old {
                        Some(old) => old[key.0 as usize].clone(),
                        None => Group { origin: key.0, attributes: Vec::with_capacity(1) },
                    };
                    group.attributes.push((name, values.values[key.1 as usize]));
                    groups.push(group);
                    groups.len() as u32 - 1
                });
                last = (key, number);
            }
            group_of[row] = last.1;
        }
        if is_over {
            // Some are in no group.
            self.spans = Bitmap::none(view.spans());
        }
        self.count = groups.len();
        self.groups = Some(groups);
        self.group_of = Cow::Owned(group_of);
        self.held = vec![Arc::new(held)];
    }

    pub(super) fn coalesce(&mut self) {
        let Some(groups) = self.groups.take() else { return };
        self.held.clear();
        self.attribute_bytes = 0;
        let mut group_of = self.group_of.to_vec();
        for row in self.spans.rows() {
            group_of[row] = groups[group_of[row] as usize].origin;
        }
        self.count = groups.iter().map(|group| group.origin as usize + 1).max().unwrap_or(0);
        self.group_of = Cow::Owned(group_of);
    }

    pub(super) fn filter_by_scalars(&mut self, plan: &'v ScalarPlan, view: &BatchView<'_>) {
        let groups: Vec<usize> = self.groups_with(&self.spans, view).rows().collect();
        let result = |aggregate: &AggregatePlan| match &aggregate.argument {
            None => self.counts(&groups, view),
            Some(program) => self.accumulate(aggregate.operator, program, &groups, view),
        };
        let group_bytes = plan.aggregates.len() * size_of::<Value<'_>>() + size_of::<Accumulator>();
        let _columns = Held::of(groups.len() * group_bytes);
        let mut columns: Vec<Vec<Value<'static>>> = Vec::with_capacity(plan.aggregates.len());
        for aggregate in &plan.aggregates {
            // Each of them is a pass over all spans.
            if is_over() {
                self.spans = Bitmap::none(view.spans());
                return;
            }
            columns.push(result(aggregate));
        }
        let mut kept = Bitmap::none(self.count);
        let (mut results, mut stack) = (Vec::new(), Vec::new());
        let bytes: usize = plan.aggregates.iter().map(|it| ATTRIBUTE_BYTES + it.name.len()).sum();
        let (mut held, mut held_bytes) = (Held::default(), 0);
        for (place, &group) in groups.iter().enumerate() {
            if tick(plan.units()) {
                break;
            }
            results.clear();
            results.extend(columns.iter().map(|column| column[place]));
            if !plan.holds(&results, &mut stack) {
                continue;
            }
            kept.insert(group);
            held_bytes += bytes;
            if !held.grow_to(held_bytes) {
                // Nobody wants the answer any more.
                break;
            }
            // Each stage adds what it computed.
            let attributes = &mut self.groups_mut()[group].attributes;
            for (aggregate, &result) in plan.aggregates.iter().zip(&results) {
                if result.exists() {
                    attributes.push((&aggregate.name, result));
                }
            }
        }
        self.attribute_bytes += bytes;
        self.held.push(Arc::new(held));
        if kept.count() < groups.len() {
            let mut spans = std::mem::take(&mut self.spans);
            self.keep_groups(&mut spans, &kept, view);
            self.spans = spans;
        }
    }

    /// The number of spans of each of these groups, which must be all groups with spans.
    fn counts(&self, groups: &[usize], view: &BatchView<'_>) -> Vec<Value<'static>> {
        if let Some(starts) = self.starts(view) {
            let count = |&group: &usize| self.spans.count_in(range(starts, group));
            return groups.iter().map(|group| Value::Int(count(group) as i64)).collect();
        }
        let mut counts = vec![0; self.count];
        for row in self.spans.rows() {
            if tick(1) {
                break;
            }
            counts[self.group_of[row] as usize] += 1;
        }
        groups.iter().map(|&group| Value::Int(counts[group])).collect()
    }

    /// An aggregate of each of these groups, which must be all groups with spans.
    fn accumulate(
        &self,
        operator: AggregateOperator,
        program: &Program,
        groups: &[usize],
        view: &BatchView<'_>,
    ) -> Vec<Value<'static>> {
        let mut places = vec![0u32; self.count];
        for (place, &group) in groups.iter().enumerate() {
            places[group] = place as u32;
        }
        let mut states = vec![Accumulator::default(); groups.len()];
        let bound = program.bind(view);
        for row in self.spans.rows() {
            if tick(2) {
                break;
            }
            let place = places[self.group_of[row] as usize];
            states[place as usize].add(operator, bound.value(Place::of_span(row)));
        }
        states.iter().map(|state| state.result(operator)).collect()
    }

    pub(super) fn keep_one_resource(&mut self, plans: &[Plan], view: &BatchView<'_>) {
        let spans = &view.batch.spans;
        let mut common: Option<HashSet<(u32, u32)>> = None;
        for plan in plans {
            if common.as_ref().is_some_and(HashSet::is_empty) || tick(units(view)) {
                break;
            }
            let mut matching = plan.evaluate(view, &self.spans);
            matching.intersect(&self.spans);
            let rows = matching.rows().take_while(|_| !tick(4));
            let pairs = rows.map(|row| (spans.trace[row], spans.resource[row]));
            common = Some(match common {
                None => pairs.collect(),
                Some(known) => pairs.filter(|pair| known.contains(pair)).collect(),
            });
        }
        let Some(common) = common else { return };
        let mut traces = Bitmap::none(view.traces());
        common.iter().for_each(|pair| traces.insert(pair.0 as usize));
        self.spans.retain(|row| traces.contains(spans.trace[row] as usize));
    }
}

fn range(starts: &[u32], group: usize) -> std::ops::Range<usize> {
    starts[group] as usize..starts[group + 1] as usize
}
