//! `io.prometheus.write.v2.Request`: every text once, in a table; series refer to it.

use std::collections::HashMap;

use super::{histogram, labels_of, put_bytes, put_double, put_uint, sample};
use crate::entry::put_varint;
use crate::item::{Item, Value};

/// `Metadata.MetricType`
const COUNTER: u64 = 1;
const GAUGE: u64 = 2;
const HISTOGRAM: u64 = 3;

#[derive(Default)]
struct Symbols<'a> {
    numbers: HashMap<&'a [u8], u64>,
    texts: Vec<&'a [u8]>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a [u8]) -> u64 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u64 - 1
        })
    }
}

/// One `TimeSeries` for each sample, with its exemplars.
pub(super) fn request(items: &[Item]) -> Vec<u8> {
    let mut symbols = Symbols::default();
    // The first text is the empty one.
    symbols.number(b"");
    let mut series_list = Vec::with_capacity(items.len() * 64);
    let (mut series, mut content, mut part) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = items;
    while let Some((item, after)) = rest.split_first() {
        let exemplars = after.iter().take_while(|next| belongs_to(next, item)).count();
        let (exemplars, after) = after.split_at(exemplars);
        rest = after;
        if matches!(item.value, Value::Exemplar { .. }) {
            continue;
        }
        series.clear();
        part.clear();
        let mut name: &[u8] = b"";
        for (key, value) in labels_of(&item.labels) {
            if key == b"__name__" {
                name = value;
            }
            put_varint(&mut part, symbols.number(key));
            put_varint(&mut part, symbols.number(value));
        }
        put_bytes(&mut series, 1, &part);
        content.clear();
        match &item.value {
            Value::Histogram(value) => {
                histogram(&mut content, item.timestamp_ms, value, &mut part);
                put_bytes(&mut series, 3, &content);
            }
            Value::Float(value) => {
                sample(&mut content, item.timestamp_ms, *value);
                put_bytes(&mut series, 2, &content);
            }
            Value::Exemplar { .. } => {}
        }
        for exemplar in exemplars {
            let Value::Exemplar { value, label, trace_id } = &exemplar.value else { continue };
            content.clear();
            part.clear();
            put_varint(&mut part, symbols.number(label.as_bytes()));
            put_varint(&mut part, symbols.number(trace_id.as_bytes()));
            put_bytes(&mut content, 1, &part);
            put_double(&mut content, 2, *value);
            put_uint(&mut content, 3, exemplar.timestamp_ms.cast_unsigned());
            put_bytes(&mut series, 4, &content);
        }
        content.clear();
        put_uint(&mut content, 1, metric_type(name, &item.value));
        put_bytes(&mut series, 5, &content);
        put_bytes(&mut series_list, 5, &series);
    }
    let size = symbols.texts.iter().map(|text| text.len() + 6).sum::<usize>();
    let mut bytes = Vec::with_capacity(size + series_list.len());
    for text in &symbols.texts {
        put_bytes(&mut bytes, 4, text);
    }
    bytes.extend_from_slice(&series_list);
    bytes
}

/// True of an exemplar of the sample before it.
pub(crate) fn belongs_to(next: &Item, item: &Item) -> bool {
    matches!(next.value, Value::Exemplar { .. }) && next.labels == item.labels
}

/// The type of what a generator makes follows from its name.
fn metric_type(name: &[u8], value: &Value) -> u64 {
    let ends = |suffix: &[u8]| name.ends_with(suffix);
    match value {
        Value::Histogram(_) => HISTOGRAM,
        _ if ends(b"_total") => COUNTER,
        _ if ends(b"_bucket") || ends(b"_sum") || ends(b"_count") => HISTOGRAM,
        _ => GAUGE,
    }
}
