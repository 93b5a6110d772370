//! Spans as plain values, and random blocks of them, for comparison in tests.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tactus_block::read::{BlockFacts, BlockReader, BytesSource};
use tactus_block::{BlockBuilder, BuilderSettings, BuiltBlock, Compression, WriterSettings};
use tactus_model::any_value::{AnyValueRef, encode_array};
use tactus_model::{
    Attribute, AttributeList, DictionaryBuilder, Projection, SpanBatch, SpanId, StringCode,
    TraceId, ValueType,
};
use tactus_storage::meta::{BlockVersion, ColumnScope, DedicatedColumn};

/// SplitMix64: the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    Unset,
    Text(String),
    Int(i64),
    Double(u64),
    Bool(bool),
    Encoded(u8, Vec<u8>),
}

/// Attributes by key; no key is there twice.
pub(crate) type Attributes = BTreeMap<String, Value>;

/// A span with all that belongs to it, and its trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Span {
    pub(crate) trace: [u8; 16],
    pub(crate) id: u64,
    pub(crate) kind: u8,
    pub(crate) start: u64,
    pub(crate) name: String,
    pub(crate) parent: u64,
    pub(crate) duration: u64,
    pub(crate) status: u8,
    pub(crate) message: String,
    pub(crate) state: String,
    pub(crate) dropped: [u32; 3],
    pub(crate) attributes: Attributes,
    pub(crate) resource: Attributes,
    pub(crate) scope: (String, String, Attributes),
    pub(crate) events: Vec<(u64, String, u32, Attributes)>,
    pub(crate) links: Vec<([u8; 16], u64, String, u32, Attributes)>,
}

impl Span {
    /// What makes it the same span as another.
    pub(crate) fn key(&self) -> ([u8; 16], u64, u8, u64, String) {
        (self.trace, self.id, self.kind, self.start, self.name.clone())
    }
}

struct Encoder {
    strings: DictionaryBuilder,
    batch: SpanBatch,
}

impl Encoder {
    fn text(&mut self, text: &str) -> StringCode {
        self.strings.intern(text.as_bytes())
    }

    fn attributes(&mut self, attributes: &Attributes) -> AttributeList {
        let mut list = AttributeList::default();
        for (key, value) in attributes {
            let key = self.text(key);
            let (value_type, payload) = match value {
                Value::Unset => (ValueType::Unset, 0),
                Value::Text(text) => (ValueType::String, u64::from(self.text(text))),
                Value::Int(number) => (ValueType::Int, *number as u64),
                Value::Double(bits) => (ValueType::Double, *bits),
                Value::Bool(value) => (ValueType::Bool, u64::from(*value)),
                Value::Encoded(value_type, bytes) => (
                    ValueType::from_u8(*value_type).unwrap(),
                    u64::from(self.strings.intern(bytes)),
                ),
            };
            list.push(Attribute { key, value_type, payload });
        }
        list
    }

    fn span(&mut self, span: &Span) {
        let is_new = self.batch.traces.ids.last() != Some(&TraceId(span.trace));
        if is_new {
            self.batch.traces.ids.push(TraceId(span.trace));
        }
        let list = self.attributes(&span.resource);
        append(&mut self.batch.resources.attributes, &list);
        self.batch.resources.dropped_attributes.push(0);
        let (name, version) = (self.text(&span.scope.0), self.text(&span.scope.1));
        let list = self.attributes(&span.scope.2);
        let scopes = &mut self.batch.scopes;
        scopes.name.push(name);
        scopes.version.push(version);
        scopes.dropped_attributes.push(0);
        append(&mut scopes.attributes, &list);
        let list = self.attributes(&span.attributes);
        append(&mut self.batch.span_attributes, &list);
        let texts = [&span.name, &span.message, &span.state].map(|text| self.text(text));
        for (time, name, dropped, attributes) in &span.events {
            let (name, list) = (self.text(name), self.attributes(attributes));
            let events = &mut self.batch.events;
            events.time.push(*time);
            events.name.push(name);
            events.dropped_attributes.push(*dropped);
            append(&mut events.attributes, &list);
        }
        for (trace, id, state, dropped, attributes) in &span.links {
            let (state, list) = (self.text(state), self.attributes(attributes));
            let links = &mut self.batch.links;
            links.trace_id.push(TraceId(*trace));
            links.span_id.push(SpanId(id.to_be_bytes()));
            links.trace_state.push(state);
            links.dropped_attributes.push(*dropped);
            append(&mut links.attributes, &list);
        }
        let batch = &mut self.batch;
        batch.events.starts.push(batch.events.time.len() as u32);
        batch.links.starts.push(batch.links.trace_id.len() as u32);
        let row = batch.spans.trace.len() as u32;
        let spans = &mut batch.spans;
        spans.trace.push(batch.traces.ids.len() as u32 - 1);
        spans.resource.push(row);
        spans.scope.push(row);
        spans.span_id.push(SpanId(span.id.to_be_bytes()));
        spans.parent_span_id.push(SpanId(span.parent.to_be_bytes()));
        spans.start.push(span.start);
        spans.duration.push(span.duration);
        spans.kind.push(span.kind);
        spans.status.push(span.status);
        spans.name.push(texts[0]);
        spans.status_message.push(texts[1]);
        spans.trace_state.push(texts[2]);
        spans.dropped_attributes.push(span.dropped[0]);
        spans.dropped_events.push(span.dropped[1]);
        spans.dropped_links.push(span.dropped[2]);
    }
}

fn append(to: &mut AttributeList, list: &AttributeList) {
    (0..list.len()).for_each(|entry| to.push(list.at(entry)));
    to.end_owner();
}

/// A batch of spans that are in order of trace.
pub(crate) fn encode(spans: &[Span]) -> SpanBatch {
    let mut encoder =
        Encoder { strings: DictionaryBuilder::default(), batch: SpanBatch::default() };
    spans.iter().for_each(|span| encoder.span(span));
    encoder.batch.strings = encoder.strings.finish();
    encoder.batch
}

/// The spans of a batch, in order.
pub(crate) fn decode(batch: &SpanBatch) -> Vec<Span> {
    let text = |code: StringCode| batch.strings.display(code).into_owned();
    let id = |id: SpanId| u64::from_be_bytes(id.0);
    let attributes = |list: &AttributeList, owner: usize| -> Attributes {
        let decoded = list.of(owner).map(|attribute| {
            let payload = attribute.payload;
            let value = match attribute.value_type {
                ValueType::Unset => Value::Unset,
                ValueType::String => Value::Text(text(payload as u32)),
                ValueType::Int => Value::Int(payload as i64),
                ValueType::Double => Value::Double(payload),
                ValueType::Bool => Value::Bool(payload != 0),
                other => Value::Encoded(other as u8, batch.strings.get(payload as u32).to_vec()),
            };
            (text(attribute.key), value)
        });
        // A service without a name is stored like one with an empty name.
        decoded
            .filter(|(key, value)| key != "service.name" || *value != Value::Text(String::new()))
            .collect()
    };
    (0..batch.len())
        .map(|row| {
            let (spans, events, links) = (&batch.spans, &batch.events, &batch.links);
            let (resource, scope) = (spans.resource[row] as usize, spans.scope[row] as usize);
            let scopes = &batch.scopes;
            Span {
                trace: batch.traces.ids[spans.trace[row] as usize].0,
                id: id(spans.span_id[row]),
                parent: id(spans.parent_span_id[row]),
                start: spans.start[row],
                duration: spans.duration[row],
                kind: spans.kind[row],
                status: spans.status[row],
                name: text(spans.name[row]),
                message: text(spans.status_message[row]),
                state: text(spans.trace_state[row]),
                dropped: [
                    spans.dropped_attributes[row],
                    spans.dropped_events[row],
                    spans.dropped_links[row],
                ],
                attributes: attributes(&batch.span_attributes, row),
                resource: attributes(&batch.resources.attributes, resource),
                scope: (
                    text(scopes.name[scope]),
                    text(scopes.version[scope]),
                    attributes(&scopes.attributes, scope),
                ),
                events: events
                    .range(row)
                    .map(|event| {
                        let (time, name) = (events.time[event], text(events.name[event]));
                        let own = attributes(&events.attributes, event);
                        (time, name, events.dropped_attributes[event], own)
                    })
                    .collect(),
                links: links
                    .range(row)
                    .map(|link| {
                        let own = attributes(&links.attributes, link);
                        let dropped = links.dropped_attributes[link];
                        let state = text(links.trace_state[link]);
                        (links.trace_id[link].0, id(links.span_id[link]), state, dropped, own)
                    })
                    .collect(),
            }
        })
        .collect()
}

/// What random blocks are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Distinct trace ids that blocks take theirs from.
    pub(crate) pool: u64,
    /// Traces of a block, before equal ones fall together.
    pub(crate) traces: u64,
    /// Most spans of a trace in a block.
    pub(crate) spans: u64,
}

const KEYS: [&str; 10] = [
    "http.method",
    "http.url",
    "http.status_code",
    "customer",
    "region",
    "n",
    "cluster",
    "k8s.pod.name",
    "odd",
    "db.statement",
];
const BASE: u64 = 1_700_000_000_000_000_000;

/// Random spans in order of trace. Some are there twice, also within the block, and not always with the same content.
pub(crate) fn random_spans(random: &mut Random, shape: Shape) -> Vec<Span> {
    let mut spans = Vec::new();
    for _ in 0..random.below(shape.traces + 1) {
        let trace = Random(random.below(shape.pool)).next().to_be_bytes();
        for _ in 0..=random.below(shape.spans) {
            spans.push(random_span(random, [trace, trace].concat().try_into().unwrap()));
        }
    }
    spans.sort_by_key(|span| span.trace);
    spans
}

fn random_span(random: &mut Random, trace: [u8; 16]) -> Span {
    // Few ids, kinds, starts and names, so that some but not all of them are equal.
    let id = 1 + random.below(12);
    let resource = random_attributes(random, 2);
    let mut span = Span {
        trace,
        id,
        parent: random.below(4),
        kind: (id % 3) as u8,
        start: BASE + random.below(3) * 1_000_000_000,
        name: format!("op{}", random.below(2)),
        duration: random.below(1 << 32),
        status: random.below(3) as u8,
        message: if random.below(8) == 0 { "failed".to_owned() } else { String::new() },
        state: if random.below(8) == 0 { "a=b".to_owned() } else { String::new() },
        dropped: [random.below(2) as u32, random.below(2) as u32, random.below(2) as u32],
        attributes: random_attributes(random, 5),
        resource,
        scope: (format!("lib{}", random.below(2)), String::new(), random_attributes(random, 1)),
        ..Span::default()
    };
    if random.below(5) > 0 {
        let name = Value::Text(format!("service{}", random.below(3)));
        span.resource.insert("service.name".to_owned(), name);
    }
    if random.below(4) == 0 {
        for event in 0..=random.below(2) {
            let attributes = random_attributes(random, 2);
            span.events.push((span.start + event, "event".to_owned(), 0, attributes));
        }
    }
    if random.below(8) == 0 {
        let attributes = random_attributes(random, 2);
        span.links.push(([7; 16], random.below(9), String::new(), 1, attributes));
    }
    span
}

fn random_attributes(random: &mut Random, most: u64) -> Attributes {
    (0..random.below(most + 1))
        .map(|_| {
            let key = KEYS[random.below(KEYS.len() as u64) as usize];
            let number = random.below(40);
            let value = match random.below(8) {
                0..=3 => Value::Text(format!("value {number}")),
                4 => Value::Int(number as i64 - 20),
                5 => Value::Double((number as f64 / 8.0).to_bits()),
                6 => Value::Bool(number.is_multiple_of(2)),
                _ => {
                    let elements = [AnyValueRef::Int(number as i64), AnyValueRef::Int(1)];
                    Value::Encoded(ValueType::IntArray as u8, encode_array(elements.into_iter()))
                }
            };
            (key.to_owned(), value)
        })
        .collect()
}

/// A block in memory.
#[derive(Clone)]
pub(crate) struct TestBlock {
    pub(crate) data: Bytes,
    pub(crate) facts: BlockFacts,
}

/// How a block is written; `columns`: with dedicated ones.
pub(crate) fn builder_settings(version: BlockVersion, columns: bool) -> BuilderSettings {
    let column = |scope, name: &str| DedicatedColumn::string(scope, name);
    let dedicated_columns = match columns {
        true => {
            vec![column(ColumnScope::Resource, "region"), column(ColumnScope::Span, "customer")]
        }
        false => Vec::new(),
    };
    let writer = WriterSettings {
        version,
        dedicated_columns,
        // Values can be found in the file.
        compression: Compression::None,
        page_bytes: 512,
        ..WriterSettings::default()
    };
    BuilderSettings { writer, bloom_false_positive: 0.01, bloom_shard_bytes: 1024 }
}

impl TestBlock {
    /// Writes spans that are in order of trace, a few traces a row group; one row group without traces if there are none.
    pub(crate) fn new(spans: &[Span], settings: &BuilderSettings, traces_a_group: usize) -> Self {
        let mut builder = BlockBuilder::new(Vec::new(), settings, 100).unwrap();
        let traces: Vec<&[Span]> = spans.chunk_by(|a, b| a.trace == b.trace).collect();
        for group in traces.chunks(traces_a_group.max(1)) {
            builder.write_row_group(&encode(&group.concat())).unwrap();
        }
        Self::built(builder.finish().unwrap(), settings)
    }

    pub(crate) fn built(built: BuiltBlock<Vec<u8>>, settings: &BuilderSettings) -> Self {
        let facts = BlockFacts {
            size: built.summary.size,
            footer_size: built.summary.footer_size,
            version: settings.writer.version,
            dedicated_columns: settings.writer.dedicated_columns.clone(),
        };
        Self { data: built.sink.into(), facts }
    }

    pub(crate) fn reader(&self) -> tactus_block::Result<BlockReader> {
        BlockReader::open(Arc::new(BytesSource::new(self.data.clone())), &self.facts)
    }

    /// All spans in the order of the file.
    pub(crate) fn spans(&self) -> Vec<Span> {
        read_spans(&self.reader().unwrap())
    }
}

/// All spans of a block in the order of the file.
pub(crate) fn read_spans(reader: &BlockReader) -> Vec<Span> {
    (0..reader.row_groups().len())
        .flat_map(|group| decode(&reader.read_row_group(group, &Projection::all()).unwrap()))
        .collect()
}

/// The spans of all blocks, each once, as the first block has it; sorted.
pub(crate) fn merged<'a>(blocks: impl IntoIterator<Item = &'a Vec<Span>>) -> Vec<Span> {
    let mut known = HashSet::new();
    let all = blocks.into_iter().flatten();
    let mut spans: Vec<Span> = all.filter(|span| known.insert(span.key())).cloned().collect();
    spans.sort_unstable();
    spans
}

pub(crate) fn sorted(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    spans
}
