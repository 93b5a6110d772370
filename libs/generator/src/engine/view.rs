//! A batch as processors look at it: attributes by the names they look for, texts by their numbers.

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
    fn find_codes(&self, strings: &Dictionary, codes: &mut Vec<StringCode>) {
        codes.clear();
        codes.resize(self.0.len(), NO_CODE);
        let (_, offsets) = strings.parts();
        for (code, bounds) in offsets.windows(2).enumerate() {
            if !self.0.may_have_length((bounds[1] - bounds[0]) as usize) {
                continue;
            }
            if let Some(place) = self.0.place(strings.get(code as StringCode)) {
                codes[place] = code as StringCode;
            }
        }
    }
}

/// What a view needs and keeps between batches.
#[derive(Debug, Default)]
pub(crate) struct ViewScratch {
    codes: Vec<StringCode>,
    ids: Vec<TextId>,
    text: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) batch: &'a SpanBatch,
    /// Bytes of each span's message.
    pub(crate) sizes: &'a [u32],
    pub(crate) interner: &'a mut Interner,
    scratch: &'a mut ViewScratch,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        spans: &'a SelectedBatch,
        names: &Names,
        interner: &'a mut Interner,
        scratch: &'a mut ViewScratch,
    ) -> Self {
        let SelectedBatch { batch, sizes } = spans;
        names.find_codes(&batch.strings, &mut scratch.codes);
        scratch.ids.clear();
        scratch.ids.resize(batch.strings.len(), NO_ID);
        Self { batch, sizes, interner, scratch }
    }

    #[inline]
    fn find(&self, list: &AttributeList, owner: usize, name: Name) -> Option<Attribute> {
        let code = *self.scratch.codes.get(name.0)?;
        if code == NO_CODE {
            return None;
        }
        let range = list.range(owner);
        let place = list.keys.get(range.clone())?.iter().position(|key| *key == code)?;
        let entry = range.start + place;
        Some(Attribute {
            key: code,
            value_type: ValueType::from_u8(*list.types.get(entry)?)?,
            payload: *list.payloads.get(entry)?,
        })
    }

    /// The first attribute of a resource with this name.
    #[inline]
    pub(crate) fn of_resource(&self, resource: usize, name: Name) -> Option<Attribute> {
        self.find(&self.batch.resources.attributes, resource, name)
    }

    /// The first attribute of a span with this name.
    #[inline]
    pub(crate) fn of_span(&self, row: usize, name: Name) -> Option<Attribute> {
        self.find(&self.batch.span_attributes, row, name)
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
        self.scratch.text.clear();
        write_value(&mut self.scratch.text, attribute.value(&self.batch.strings));
        self.interner.intern(&self.scratch.text)
    }

    /// The number of the text of a resource's attribute; 0 if it has none.
    pub(crate) fn resource_value_id(&mut self, resource: usize, name: Name) -> TextId {
        self.of_resource(resource, name).map_or(EMPTY, |attribute| self.value_id(attribute))
    }

    /// A row of a column of strings.
    #[inline]
    pub(crate) fn text(&self, column: &[StringCode], row: usize) -> &'a [u8] {
        self.batch.strings.get(column.get(row).copied().unwrap_or(0))
    }
}
