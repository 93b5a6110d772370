//! The attributes by which usage is counted.

use std::{collections::BTreeMap, sync::Arc};

use tactus_config::label_of_attribute;
use tactus_model::{
    any_value::{self, DecodedValue, decode_key_value},
    wire::{Reader, WireError},
};

/// Labels that every series has. Two labels of one name in a series make Prometheus refuse the whole page.
const TAKEN_LABELS: [&str; 3] = ["__name__", "tenant", "tracker"];
/// Put before a label that is taken, as Prometheus does where labels of a target and of a series collide.
const EXPORTED: &str = "exported_";

/// Longer values are cut, because each series keeps its value.
const MAX_VALUE_BYTES: usize = 256;

/// What a text takes besides its bytes: its place, its counts, and what the allocator adds.
const TEXT_BYTES: usize = 48;
/// What a series takes besides its texts.
const SERIES_BYTES: usize = 96;

/// The values of all dimensions, in their order. A copy shares the texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Values(Vec<Arc<str>>);

impl Values {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|value| &**value)
    }

    /// Memory of one more series, at most: it may share texts with others.
    pub(super) fn memory(&self) -> u64 {
        let texts = self.0.iter().map(|value| value.len() + TEXT_BYTES).sum::<usize>();
        (texts + SERIES_BYTES) as u64
    }
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Dimensions(Vec<Dimension>);

#[derive(Debug)]
struct Dimension {
    attribute: String,
    label: String,
    of_resource: bool,
    of_span: bool,
}

impl Dimensions {
    /// `dimensions`: from attribute to label.
    pub(super) fn new(dimensions: &BTreeMap<String, String>) -> Self {
        let dimension = |(attribute, label): (&String, &String)| {
            let of_resource = attribute.strip_prefix("resource.");
            let of_span = attribute.strip_prefix("span.");
            let name = of_resource.or(of_span).unwrap_or(attribute);
            Dimension {
                attribute: name.to_owned(),
                label: if label.is_empty() { label_of_attribute(attribute) } else { label.clone() },
                of_resource: of_span.is_none(),
                of_span: of_resource.is_none(),
            }
        };
        let mut dimensions: Vec<Dimension> = dimensions.iter().map(dimension).collect();
        for place in 0..dimensions.len() {
            let label = &dimensions[place].label;
            if TAKEN_LABELS.contains(&label.as_str()) {
                let mut free = format!("{EXPORTED}{label}");
                while dimensions.iter().any(|other| other.label == free) {
                    free.insert_str(0, EXPORTED);
                }
                dimensions[place].label = free;
            }
        }
        Self(dimensions)
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|dimension| dimension.label.as_str())
    }

    /// The same value everywhere.
    pub(super) fn all(&self, value: &str) -> Values {
        Values(vec![value.into(); self.0.len()])
    }

    /// The values from a Resource message; `missing` for those it does not have.
    pub(super) fn of_resource(&self, message: &[u8], missing: &str) -> Result<Values, WireError> {
        let mut values = self.all(missing);
        let is_wanted = |dimension: &Dimension| dimension.of_resource;
        self.find(message, 1, is_wanted, |number, text| values.0[number] = text)?;
        Ok(values)
    }

    /// The values from a Span message; those of its resource where it has none. `None` if it has none at all.
    pub(super) fn of_span(
        &self,
        message: &[u8],
        of_resource: &Values,
    ) -> Result<Option<Values>, WireError> {
        let mut values: Option<Values> = None;
        if self.0.iter().any(|dimension| dimension.of_span) {
            let is_wanted = |dimension: &Dimension| dimension.of_span;
            self.find(message, 9, is_wanted, |number, text| {
                values.get_or_insert_with(|| of_resource.clone()).0[number] = text;
            })?;
        }
        Ok(values)
    }

    /// Hands over the values that a message has, with the number of their dimension. If an attribute is there several
    /// times, the last one counts.
    fn find(
        &self,
        message: &[u8],
        attributes_field: u32,
        is_wanted: impl Fn(&Dimension) -> bool,
        mut found: impl FnMut(usize, Arc<str>),
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next_field()? {
            if field != attributes_field {
                continue;
            }
            let (key, value) = decode_key_value(content.bytes(field)?)?;
            for (number, dimension) in self.0.iter().enumerate() {
                if dimension.attribute.as_bytes() == key
                    && is_wanted(dimension)
                    && let Some(text) = text_of(any_value::decode(value)?)
                {
                    found(number, text);
                }
            }
        }
        Ok(())
    }
}

/// The label text of a value; `None` if it is not a single value.
fn text_of(value: DecodedValue<'_>) -> Option<Arc<str>> {
    let text = match value {
        DecodedValue::String(bytes) => {
            let cut = &bytes[..bytes.len().min(MAX_VALUE_BYTES)];
            String::from_utf8_lossy(cut).into_owned()
        }
        DecodedValue::Int(number) => number.to_string(),
        DecodedValue::Double(number) => number.to_string(),
        DecodedValue::Bool(truth) => truth.to_string(),
        _ => return None,
    };
    Some(text.into())
}
