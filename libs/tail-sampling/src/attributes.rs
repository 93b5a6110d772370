//! Conditions on attributes of spans and resources.

use tactus_model::{Attribute, AttributeList, SpanBatch, StringCode, ValueType};
use tactus_traceql::eval::Bitmap;
use tactus_work::tick;

use crate::condition::{AttributeCondition, AttributeTest};

/// Units of work for checking the attributes of a span.
const STEPS_A_SPAN: u32 = 16;

/// The traces in which a span, or the resource of a span, has the attribute.
pub(crate) fn traces_with(condition: &AttributeCondition, batch: &SpanBatch) -> Bitmap {
    let mut found = Bitmap::none(batch.traces.ids.len());
    let Some(key) = batch.strings.find(&condition.key) else { return found };
    let mut values = Values { test: &condition.test, batch, known: Vec::new() };
    let list = &batch.resources.attributes;
    let resources: Vec<bool> =
        (0..batch.resources.len()).map(|resource| values.any(list, resource, key)).collect();
    for (row, &resource) in batch.spans.resource.iter().enumerate() {
        if tick(STEPS_A_SPAN) {
            break;
        }
        if resources.get(resource as usize) == Some(&true)
            || values.any(&batch.span_attributes, row, key)
        {
            insert(&mut found, batch, row);
        }
    }
    found
}

/// The traces in which a span has one of the values, which are sorted, in its trace state.
pub(crate) fn traces_with_state(key: &[u8], values: &[Vec<u8>], batch: &SpanBatch) -> Bitmap {
    let mut found = Bitmap::none(batch.traces.ids.len());
    // The result for each string code, as each trace state is read only once.
    let mut known: Vec<Option<bool>> = Vec::new();
    // Most spans have none, which is the empty text, 0.
    let states = batch.spans.trace_state.iter().enumerate().filter(|(_, code)| **code != 0);
    for (row, &code) in states {
        if known.is_empty() {
            known = vec![None; batch.strings.len()];
        }
        let Some(known) = known.get_mut(code as usize) else { continue };
        let state = batch.strings.get(code);
        if known.is_none() && tick(u32::try_from(state.len()).unwrap_or(u32::MAX)) {
            break;
        }
        if *known.get_or_insert_with(|| state_has(state, key, values)) {
            insert(&mut found, batch, row);
        }
    }
    found
}

/// The traces in which a span has one of these OTLP status codes.
pub(crate) fn traces_with_status(statuses: &[bool; 3], batch: &SpanBatch) -> Bitmap {
    let mut found = Bitmap::none(batch.traces.ids.len());
    for (row, &status) in batch.spans.status.iter().enumerate() {
        if statuses.get(usize::from(status)) == Some(&true) {
            insert(&mut found, batch, row);
        }
    }
    found
}

fn insert(found: &mut Bitmap, batch: &SpanBatch, row: usize) {
    found.insert(batch.spans.trace[row] as usize);
}

/// True if a W3C trace state (`key=value,key=value`) has the key with one of these values, which are sorted.
fn state_has(state: &[u8], key: &[u8], values: &[Vec<u8>]) -> bool {
    state.split(|&byte| byte == b',').any(|entry| {
        let mut parts = entry.splitn(2, |&byte| byte == b'=');
        parts.next().map(<[u8]>::trim_ascii) == Some(key)
            && parts.next().is_some_and(|value| {
                let value = value.trim_ascii();
                values.binary_search_by(|wanted| wanted.as_slice().cmp(value)).is_ok()
            })
    })
}

/// Tests attribute values. Each string of a batch is tested once.
struct Values<'c> {
    test: &'c AttributeTest,
    batch: &'c SpanBatch,
    /// The result for each string code; `None` if the string was not tested yet.
    known: Vec<Option<bool>>,
}

impl Values<'_> {
    fn any(&mut self, list: &AttributeList, owner: usize, key: StringCode) -> bool {
        list.range(owner).any(|entry| list.keys[entry] == key && self.holds(list.at(entry)))
    }

    fn holds(&mut self, attribute: Attribute) -> bool {
        match (self.test, attribute.value_type) {
            (AttributeTest::Int { least, most }, ValueType::Int) => {
                (*least..=*most).contains(&(attribute.payload as i64))
            }
            (AttributeTest::Bool(wanted), ValueType::Bool) => (attribute.payload != 0) == *wanted,
            (AttributeTest::Equals(_) | AttributeTest::Matches(_), ValueType::String) => {
                self.text_holds(attribute.payload as StringCode)
            }
            _ => false,
        }
    }

    fn text_holds(&mut self, code: StringCode) -> bool {
        if self.known.is_empty() {
            self.known = vec![None; self.batch.strings.len()];
        }
        let Some(known) = self.known.get_mut(code as usize) else { return false };
        *known.get_or_insert_with(|| {
            let text = self.batch.strings.get(code);
            match self.test {
                AttributeTest::Equals(values) => {
                    let all = u32::try_from(values.len()).unwrap_or(u32::MAX);
                    tick(all) || values.iter().any(|value| value == text)
                }
                AttributeTest::Matches(patterns) => {
                    patterns.iter().any(|it| tick(STEPS_A_SPAN) || it.is_match(text))
                }
                _ => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_state_is_a_list_of_keys_and_values() {
        let values = [b"1".to_vec(), b"a=b".to_vec()];
        let has = |state: &str| state_has(state.as_bytes(), b"key", &values);
        assert!(has("key=1") && has("other=2, key=1 ,x=1") && has("key=a=b"));
        assert!(
            !has("") && !has("key") && !has("key=2") && !has("keys=1") && !has("other=1,1=key")
        );
    }
}
