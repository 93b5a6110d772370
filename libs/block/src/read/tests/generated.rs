//! Random batches, complete enough for the writer.

use tactus_model::any_value::{AnyValueRef, encode_array};
use tactus_model::wire::put_message_field;
use tactus_model::{
    Attribute, AttributeList, DictionaryBuilder, SpanBatch, SpanId, TraceId, ValueType,
};

/// SplitMix64: the same numbers for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What a generated batch is like.
pub(super) struct Shape {
    pub(super) traces: u64,
    /// Spans of a trace: 1 to this.
    pub(super) max_spans: u64,
    /// Attributes of an owner: none to this, keys distinct.
    pub(super) max_attributes: u64,
    /// Distinct strings among the values.
    pub(super) strings: u64,
    /// Arrays, lists and unset values occur.
    pub(super) odd_values: bool,
}

const SCALAR_KEYS: [&str; 12] = [
    "http.method",
    "http.url",
    "http.status_code",
    "customer",
    "region",
    "ip",
    "db.statement",
    "cluster",
    "k8s.pod.name",
    "n",
    "thread.id",
    "messaging.system",
];

struct Maker {
    random: Random,
    strings: DictionaryBuilder,
    shape: Shape,
}

impl Maker {
    fn text(&mut self, prefix: &str) -> u32 {
        let number = self.random.below(self.shape.strings);
        self.strings.intern(format!("{prefix}-{number}").as_bytes())
    }

    /// Attributes with distinct keys, so that the order in which they are read back does not matter.
    fn attributes(&mut self, list: &mut AttributeList) {
        let first = self.random.next() as usize;
        for i in 0..self.random.below(self.shape.max_attributes + 1) as usize {
            let key = SCALAR_KEYS[(first + i) % SCALAR_KEYS.len()];
            let key = self.strings.intern(key.as_bytes());
            let (value_type, payload) = self.value();
            list.push(Attribute { key, value_type, payload });
        }
        list.end_owner();
    }

    fn value(&mut self) -> (ValueType, u64) {
        let choices = if self.shape.odd_values { 16 } else { 8 };
        let number = self.random.below(1000);
        let choice = self.random.below(choices);
        if choice >= 14 {
            // Bytes, or a list of one pair without a value.
            let mut message = Vec::new();
            match choice {
                14 => put_message_field(&mut message, 7, &number.to_le_bytes()),
                _ => put_message_field(&mut message, 6, &[0x0a, 3, 0x0a, 1, b'k']),
            }
            return (ValueType::Other, u64::from(self.strings.intern(&message)));
        }
        let array: Vec<AnyValueRef<'_>> = match choice {
            0..=4 => return (ValueType::String, u64::from(self.text("value"))),
            5 => return (ValueType::Int, number.wrapping_sub(500)),
            6 => return (ValueType::Double, (number as f64 / 8.0).to_bits()),
            7 => return (ValueType::Bool, number % 2),
            8 => return (ValueType::Unset, 0),
            9 => vec![AnyValueRef::String(b"a"); 1 + number as usize % 3],
            10 => vec![AnyValueRef::Int(number as i64); 1 + number as usize % 3],
            11 => vec![AnyValueRef::Bool(true), AnyValueRef::Bool(false)],
            12 => vec![AnyValueRef::Double(0.5), AnyValueRef::String(b"x")],
            _ => Vec::new(),
        };
        let value_type = match array.first() {
            None => ValueType::EmptyArray,
            Some(AnyValueRef::String(_)) => ValueType::StringArray,
            Some(AnyValueRef::Int(_)) => ValueType::IntArray,
            Some(AnyValueRef::Bool(_)) => ValueType::BoolArray,
            Some(_) => ValueType::Other,
        };
        (value_type, u64::from(self.strings.intern(&encode_array(array.into_iter()))))
    }

    fn table_row(&mut self, batch: &mut SpanBatch) -> (u32, u32) {
        let service = self.strings.intern(b"service.name");
        let mut own = AttributeList::default();
        self.attributes(&mut own);
        let name = self.text("service");
        batch.resources.attributes.push(Attribute {
            key: service,
            value_type: ValueType::String,
            payload: u64::from(name),
        });
        own.of(0).for_each(|attribute| batch.resources.attributes.push(attribute));
        batch.resources.attributes.end_owner();
        batch.resources.dropped_attributes.push(self.random.below(3) as u32);
        let name = self.text("scope");
        batch.scopes.name.push(name);
        batch.scopes.version.push(0);
        self.attributes(&mut batch.scopes.attributes);
        batch.scopes.dropped_attributes.push(0);
        (batch.resources.len() as u32 - 1, batch.scopes.len() as u32 - 1)
    }

    fn span(&mut self, batch: &mut SpanBatch, resource: u32, scope: u32, number: u64, root: bool) {
        let spans = &mut batch.spans;
        spans.trace.push(batch.traces.ids.len() as u32 - 1);
        spans.resource.push(resource);
        spans.scope.push(scope);
        let id = |number: u64| SpanId(number.to_be_bytes());
        spans.span_id.push(id(number));
        spans.parent_span_id.push(if root { SpanId::default() } else { id(number - 1) });
        spans.start.push(1_700_000_000_000_000_000 + self.random.below(3_600_000_000_000));
        spans.duration.push(self.random.below(1 << (10 + number % 25)));
        let name = self.text("op");
        spans.name.push(name);
        spans.kind.push(self.random.below(6) as u8);
        spans.status.push(self.random.below(3) as u8);
        let message = if self.random.below(10) == 0 { self.text("failed") } else { 0 };
        spans.status_message.push(message);
        spans.trace_state.push(0);
        spans.dropped_attributes.push(self.random.below(2) as u32);
        spans.dropped_events.push(0);
        spans.dropped_links.push(3);
        self.attributes(&mut batch.span_attributes);
        for _ in 0..self.random.below(4).saturating_sub(2) {
            batch.events.time.push(self.random.below(1 << 40));
            let name = self.text("event");
            batch.events.name.push(name);
            batch.events.dropped_attributes.push(1);
            self.attributes(&mut batch.events.attributes);
        }
        batch.events.starts.push(batch.events.time.len() as u32);
        for _ in 0..self.random.below(10).saturating_sub(8) {
            batch.links.trace_id.push(TraceId([7; 16]));
            batch.links.span_id.push(id(number + 5));
            let state = self.text("state");
            batch.links.trace_state.push(state);
            batch.links.dropped_attributes.push(2);
            self.attributes(&mut batch.links.attributes);
        }
        batch.links.starts.push(batch.links.trace_id.len() as u32);
    }
}

/// A sorted batch; the ids of different `first_trace` by `traces` apart do not overlap.
pub(super) fn batch(seed: u64, first_trace: u64, shape: Shape) -> SpanBatch {
    let mut maker = Maker { random: Random(seed), strings: DictionaryBuilder::default(), shape };
    let mut batch = SpanBatch::default();
    let mut number = first_trace << 20;
    for trace in 0..maker.shape.traces {
        let mut id = [0x5a; 16];
        id[..8].copy_from_slice(&(first_trace + trace + 1).to_be_bytes());
        batch.traces.ids.push(TraceId(id));
        let (mut resource, mut scope) = maker.table_row(&mut batch);
        for span in 0..1 + maker.random.below(maker.shape.max_spans) {
            if maker.random.below(4) == 0 {
                (resource, scope) = maker.table_row(&mut batch);
            }
            number += 1;
            maker.span(&mut batch, resource, scope, number, span == 0);
        }
    }
    batch.strings = maker.strings.finish();
    batch
}
