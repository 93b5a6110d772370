//! The view that processors have of a batch: attributes by the names they need, texts by numbers, and how many spans a
//! sampled span represents.

use std::sync::Arc;

use tactus_model::{
    Attribute, AttributeList, Dictionary, SelectedBatch, SelectedKeys, SpanBatch, StringCode,
    ValueType,
};

use super::interner::{EMPTY, Interner, TextId};
use super::value_text::write_value;

/// No string of a batch.
const NO_CODE: StringCode = StringCode::MAX;

/// A string that has no number yet.
const NO_ID: TextId = TextId::MAX;

/// Names of attributes that processors look for.
#[derive(Debug, Default)]
pub(crate) struct Names(Arc<SelectedKeys>);

/// A name of [`Names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(usize);

impl Names {
    /// The place of a name.
    pub(crate) fn add(&mut self, name: &str) -> Name {
        Name(Arc::make_mut(&mut self.0).add(name))
    }

    /// The places of several names.
    pub(crate) fn add_all(&mut self, names: &[String]) -> Vec<Name> {
        names.iter().map(|name| self.add(name)).collect()
    }

    /// As a builder of batches wants them.
    pub(crate) fn keys(&self) -> &Arc<SelectedKeys> {
        &self.0
    }

    /// Looks for the names in a dictionary.
    fn find_codes(&self, strings: &Dictionary, scratch: &mut ViewScratch) {
        let ViewScratch { codes, by_code, .. } = scratch;
        by_code.clear();
        codes.clear();
        codes.resize(self.0.len(), NO_CODE);
        let (_, offsets) = strings.parts();
        for (code, bounds) in offsets.windows(2).enumerate() {
            if !self.0.may_have_length((bounds[1] - bounds[0]) as usize) {
                continue;
            }
            if let Some(place) = self.0.place(strings.get(code as StringCode)) {
                codes[place] = code as StringCode;
                by_code.push((code as StringCode, place as u32));
            }
        }
    }
}

/// What a view needs and keeps between batches.
#[derive(Debug, Default)]
pub(crate) struct ViewScratch {
    /// By place of the name.
    codes: Vec<StringCode>,
    /// The names that are in the batch, by their strings.
    by_code: Vec<(StringCode, u32)>,
    ids: Vec<TextId>,
    /// Attributes of resources that have these names. Resource `i` has those of `starts[i]..starts[i + 1]`, in the order of the
    /// names' places, and the first of one name before others.
    found: Vec<Found>,
    starts: Vec<u32>,
    text: Vec<u8>,
}

/// An attribute of a resource.
#[derive(Debug)]
struct Found {
    name: u32,
    /// In the list of attributes.
    entry: u32,
    /// Of its text, once that was asked for.
    id: TextId,
}

/// So many [`Found`] keep their memory between batches.
const SPARE_FOUND: usize = 1 << 12;

impl ViewScratch {
    /// Looks through the attributes of each resource once, because there may be many more of them than spans ask for.
    fn find_attributes(&mut self, list: &AttributeList, resources: usize) {
        let Self { by_code, found, starts, .. } = self;
        found.clear();
        found.shrink_to(SPARE_FOUND);
        starts.clear();
        starts.push(0);
        for resource in 0..resources {
            let (first, range) = (found.len(), list.range(resource));
            let keys = list.keys.get(range.clone()).unwrap_or_default();
            for (entry, key) in range.zip(keys) {
                if let Ok(at) = by_code.binary_search_by_key(key, |(code, _)| *code) {
                    found.push(Found { name: by_code[at].1, entry: entry as u32, id: NO_ID });
                }
            }
            found[first..].sort_unstable_by_key(|found| (found.name, found.entry));
            starts.push(found.len() as u32);
        }
    }

    /// The place of a resource's first attribute with this name.
    #[inline]
    fn place(&self, resource: usize, name: Name) -> Option<usize> {
        let (start, end) = (*self.starts.get(resource)?, *self.starts.get(resource + 1)?);
        let found = self.found.get(start as usize..end as usize)?;
        let at = found.partition_point(|found| (found.name as usize) < name.0);
        let is_there = found.get(at).is_some_and(|found| found.name as usize == name.0);
        is_there.then_some(start as usize + at)
    }
}

/// A batch as processors look at it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) batch: &'a SpanBatch,
    /// Bytes of each span's message.
    pub(crate) sizes: &'a [u32],
    pub(crate) interner: &'a mut Interner,
    /// Longer texts need not be whole.
    pub(crate) max_text_bytes: usize,
    scratch: &'a mut ViewScratch,
}

impl<'a> View<'a> {
    /// `max_label_value_bytes`: labels keep no more of a text; 0 is no limit.
    pub(crate) fn new(
        spans: &'a SelectedBatch,
        names: &Names,
        max_label_value_bytes: usize,
        interner: &'a mut Interner,
        scratch: &'a mut ViewScratch,
    ) -> Self {
        let SelectedBatch { batch, sizes } = spans;
        names.find_codes(&batch.strings, scratch);
        scratch.find_attributes(&batch.resources.attributes, batch.resources.len());
        scratch.ids.clear();
        scratch.ids.resize(batch.strings.len(), NO_ID);
        let max_text_bytes = match max_label_value_bytes {
            0 => usize::MAX,
            bytes => bytes,
        };
        Self { batch, sizes, interner, max_text_bytes, scratch }
    }

    /// The first attribute of a resource with this name.
    #[inline]
    pub(crate) fn of_resource(&self, resource: usize, name: Name) -> Option<Attribute> {
        let place = self.scratch.place(resource, name)?;
        attribute_at(&self.batch.resources.attributes, self.scratch.found[place].entry as usize)
    }

    /// The first attribute of a span with this name.
    #[inline]
    pub(crate) fn of_span(&self, row: usize, name: Name) -> Option<Attribute> {
        let code = *self.scratch.codes.get(name.0)?;
        if code == NO_CODE {
            return None;
        }
        let list = &self.batch.span_attributes;
        let range = list.range(row);
        let place = list.keys.get(range.clone())?.iter().position(|key| *key == code)?;
        attribute_at(list, range.start + place)
    }

    /// The first of a resource, else the first of a span.
    #[inline]
    pub(crate) fn of_either(&self, resource: usize, row: usize, name: Name) -> Option<Attribute> {
        self.of_resource(resource, name).or_else(|| self.of_span(row, name))
    }

    /// The number of a string of the batch.
    #[inline]
    pub(crate) fn id(&mut self, code: StringCode) -> TextId {
        if code == 0 {
            return EMPTY;
        }
        let Some(id) = self.scratch.ids.get_mut(code as usize) else { return EMPTY };
        if *id == NO_ID {
            *id = self.interner.intern(self.batch.strings.get(code));
        }
        *id
    }

    /// The number of a value's text.
    #[inline]
    pub(crate) fn value_id(&mut self, attribute: Attribute) -> TextId {
        if attribute.value_type == ValueType::String {
            return self.id(attribute.payload as StringCode);
        }
        let (text, value) = (&mut self.scratch.text, attribute.value(&self.batch.strings));
        text.clear();
        write_value(text, value, self.max_text_bytes);
        self.interner.intern(text)
    }

    /// The number of the text of a resource's attribute, which is written once; `None` if it has no such attribute.
    #[inline]
    pub(crate) fn resource_value_id(&mut self, resource: usize, name: Name) -> Option<TextId> {
        let place = self.scratch.place(resource, name)?;
        let Found { entry, id, .. } = self.scratch.found[place];
        if id != NO_ID {
            return Some(id);
        }
        let attribute = attribute_at(&self.batch.resources.attributes, entry as usize)?;
        let id = self.value_id(attribute);
        self.scratch.found[place].id = id;
        Some(id)
    }

    /// The number of the text of [`Self::of_either`].
    #[inline]
    pub(crate) fn either_value_id(
        &mut self,
        resource: usize,
        row: usize,
        name: Name,
    ) -> Option<TextId> {
        if let Some(id) = self.resource_value_id(resource, name) {
            return Some(id);
        }
        let attribute = self.of_span(row, name)?;
        Some(self.value_id(attribute))
    }

    /// A row of a column of strings.
    #[inline]
    pub(crate) fn text(&self, column: &[StringCode], row: usize) -> &'a [u8] {
        self.batch.strings.get(column.get(row).copied().unwrap_or(0))
    }
}

#[inline]
fn attribute_at(list: &AttributeList, entry: usize) -> Option<Attribute> {
    Some(Attribute {
        key: *list.keys.get(entry)?,
        value_type: ValueType::from_u8(*list.types.get(entry)?)?,
        payload: *list.payloads.get(entry)?,
    })
}

/// A smaller share means nothing: what a trace state can tell. One span must not make a counter so large that no other
/// changes it, or infinite.
const MIN_SHARE: f64 = 1.0 / (1_u64 << 56) as f64;

/// For how many spans a sampled one stands.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    key: Option<Name>,
    from_trace_state: bool,
}

impl Weight {
    /// `key`: an attribute with the share of spans that were kept; empty for none. `from_trace_state`: the trace state is
    /// asked first.
    pub(crate) fn new(key: &str, from_trace_state: bool, names: &mut Names) -> Self {
        Self { key: (!key.is_empty()).then(|| names.add(key)), from_trace_state }
    }

    /// The weight of a span, 1 if nothing says another.
    #[inline]
    pub(crate) fn of(&self, view: &View<'_>, row: usize, resource: usize) -> f64 {
        if self.from_trace_state {
            let state = view.text(&view.batch.spans.trace_state, row);
            if let Some(weight) = weight_of_state(state) {
                return weight;
            }
        }
        let Some(key) = self.key else { return 1.0 };
        let found = [view.of_span(row, key), view.of_resource(resource, key)];
        for attribute in found.into_iter().flatten() {
            let share = f64::from_bits(attribute.payload);
            if attribute.value_type == ValueType::Double
                && (MIN_SHARE..f64::INFINITY).contains(&share)
            {
                return 1.0 / share;
            }
        }
        1.0
    }
}

/// The weight that `ot=th:…` of a W3C trace state tells.
fn weight_of_state(state: &[u8]) -> Option<f64> {
    let state = std::str::from_utf8(state).ok()?;
    let list = state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let threshold = list.split(';').find_map(|part| part.trim().strip_prefix("th:"))?;
    let digits = 1..=14;
    if !digits.contains(&threshold.len()) || !threshold.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(threshold, 16).ok()? << (4 * (14 - threshold.len()));
    let all = 1_u64 << 56;
    Some(all as f64 / (all - value) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_resources_are_found_by_name_and_the_first_counts() {
        let mut list = AttributeList::default();
        for keys in [&[7, 3, 9, 3][..], &[], &[9]] {
            for key in keys {
                list.push(Attribute { key: *key, value_type: ValueType::Bool, payload: 1 });
            }
            list.end_owner();
        }
        // The second name is in no resource.
        let mut scratch = ViewScratch { by_code: vec![(3, 2), (9, 0)], ..ViewScratch::default() };
        scratch.find_attributes(&list, 3);
        let entries = |resource| {
            let entry = |place: usize| scratch.found[place].entry;
            [0, 1, 2].map(|name| scratch.place(resource, Name(name)).map(entry))
        };
        assert_eq!(entries(0), [Some(2), None, Some(1)]);
        assert_eq!(entries(1), [None; 3]);
        assert_eq!(entries(2), [Some(4), None, None]);
        assert_eq!(entries(3), [None; 3]);
    }

    #[test]
    fn threshold_of_the_trace_state_tells_the_weight() {
        let cases: [(&str, Option<f64>); 9] = [
            ("foo=1,ot=th:c;rv:00000000000001", Some(4.0)),
            ("ot=th:8", Some(2.0)),
            ("ot=th:C", Some(4.0)),
            ("ot=th:0", Some(1.0)),
            ("ot=rv:1;th:8", Some(2.0)),
            ("ot=th:zz", None),
            ("ot=th:000000000000001", None),
            ("ot=th:", None),
            ("foo=th:8", None),
        ];
        for (state, weight) in cases {
            assert_eq!(weight_of_state(state.as_bytes()), weight, "{state}");
        }
        assert_eq!(weight_of_state(b"ot=th:\xff"), None);
        assert_eq!(weight_of_state(b"ot=th:ffffffffffffff"), Some((1_u64 << 56) as f64));
    }
}
