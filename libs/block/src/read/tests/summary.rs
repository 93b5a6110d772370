//! What a summary says of a block is what the block says.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use tactus_model::wire::{put_message_field, put_varint};
use tactus_model::{BatchBuilder, BuilderLimits, Projection};
use tactus_storage::meta::SummaryParts;

use super::generated::{Shape, batch};
use super::*;
use crate::summary::{
    BlockFilter, BlockValues, ListedValue, SummaryFile, Tail, TailSource, ValueOwner,
    readable_parts,
};
use crate::{BlockWriter, WriterSettings};

const OWNERS: [AttributeOwner; 5] = [
    AttributeOwner::Span,
    AttributeOwner::Resource,
    AttributeOwner::Scope,
    AttributeOwner::Event,
    AttributeOwner::Link,
];

/// Counts reads, by what is read.
struct Counting {
    inner: BytesSource,
    ends: AtomicUsize,
    pages: AtomicUsize,
}

impl ByteSource for Counting {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.inner.read(range)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.pages.fetch_add(ranges.len(), Ordering::Relaxed);
        self.inner.read_many(ranges)
    }

    fn read_footer(&self, range: Range<u64>) -> Result<Bytes> {
        self.ends.fetch_add(1, Ordering::Relaxed);
        self.inner.read(range)
    }

    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.ends.fetch_add(1, Ordering::Relaxed);
        self.inner.read_many(ranges)
    }
}

fn write(batches: &[SpanBatch]) -> (Bytes, BlockFacts, SummaryFile) {
    let mut writer = BlockWriter::new(Vec::new(), WriterSettings::default()).unwrap();
    for batch in batches {
        writer.write_row_group(batch).unwrap();
    }
    let (data, summary, file) = writer.finish_with_summary().unwrap();
    let facts = BlockFacts {
        size: summary.size,
        footer_size: summary.footer_size,
        version: BlockVersion::VParquet4,
        dedicated_columns: Vec::new(),
    };
    (data.into(), facts, file)
}

fn part(file: &SummaryFile, range: Range<u64>) -> Bytes {
    file.bytes.slice(range.start as usize..range.end as usize)
}

fn values_of(file: &SummaryFile) -> BlockValues {
    BlockValues::decode(&part(file, file.parts.values_range())).unwrap()
}

fn filter_of(file: &SummaryFile) -> BlockFilter {
    BlockFilter::decode(&part(file, file.parts.filter_range())).unwrap()
}

/// Row groups of many values, few, and odd ones; the last is as small as can be.
fn batches(seed: u64, row_groups: u64, strings: u64) -> Vec<SpanBatch> {
    let of_row_group = |number: u64| {
        let shape = Shape {
            traces: 1 + 9 * (number % 3),
            max_spans: 6,
            max_attributes: 5,
            strings,
            odd_values: number % 2 == 1,
        };
        batch(seed + number, number * 100, shape)
    };
    (0..row_groups).map(of_row_group).collect()
}

/// All strings of each attribute and of the columns of their own, as the block has them.
fn strings_of(batch: &SpanBatch) -> BTreeSet<(ValueOwner, Vec<u8>, Vec<u8>)> {
    let mut all = BTreeSet::new();
    for owner in OWNERS {
        for attribute in list_of(batch, owner) {
            let name = batch.strings.get(attribute.key).to_vec();
            if attribute.value_type == ValueType::String {
                let text = batch.strings.get(attribute.payload as u32).to_vec();
                all.insert((ValueOwner::Attribute(owner), name, text));
            }
        }
    }
    let columns = [
        ("name", &batch.spans.name),
        ("statusMessage", &batch.spans.status_message),
        ("eventName", &batch.events.name),
        ("scopeName", &batch.scopes.name),
        ("scopeVersion", &batch.scopes.version),
    ];
    for (name, codes) in columns {
        for &code in codes.iter() {
            let text = batch.strings.get(code).to_vec();
            all.insert((ValueOwner::Intrinsic, name.as_bytes().to_vec(), text));
        }
    }
    all
}

fn list_of(batch: &SpanBatch, owner: AttributeOwner) -> Vec<Attribute> {
    let list = match owner {
        AttributeOwner::Span => &batch.span_attributes,
        AttributeOwner::Resource => &batch.resources.attributes,
        AttributeOwner::Scope => &batch.scopes.attributes,
        AttributeOwner::Event => &batch.events.attributes,
        AttributeOwner::Link => &batch.links.attributes,
    };
    (0..list.len()).map(|entry| list.at(entry)).collect()
}

/// Row groups in which names and values of attributes are too many to be listed.
fn batches_of_many_values(seed: u64) -> Vec<SpanBatch> {
    let of_row_group = |number: u64| {
        let shape = Shape {
            traces: 700,
            max_spans: 4,
            max_attributes: 4,
            strings: 1 << 40,
            odd_values: number == 2,
        };
        batch(seed + number, number * 1000, shape)
    };
    (0..3).map(of_row_group).collect()
}

/// Compares a summary with all that the block holds.
fn check(batches: &[SpanBatch]) {
    let (data, facts, file) = write(batches);
    let reader = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
    let values = values_of(&file);
    assert_eq!(values.row_groups(), batches.len());
    let read = |row_group| reader.read_row_group(row_group, &Projection::all()).unwrap();
    let row_groups: Vec<_> = (0..batches.len()).map(read).collect();
    for owner in OWNERS {
        let mut names = BTreeSet::new();
        for (number, batch) in row_groups.iter().enumerate() {
            for attribute in list_of(batch, owner) {
                let name = batch.strings.get(attribute.key);
                let owner = ValueOwner::Attribute(owner);
                assert_ne!(values.may_be_present(owner, name, number), Some(false), "{name:?}");
                names.insert(name.to_vec());
            }
        }
        let told: BTreeSet<_> = values.names(owner).unwrap().map(<[u8]>::to_vec).collect();
        assert_eq!(told, names, "{owner:?}");
    }
    let of_block: Vec<_> = row_groups.iter().map(strings_of).collect();
    let all: BTreeSet<_> = of_block.iter().flatten().cloned().collect();
    for (owner, name, text) in &all {
        let wanted = ListedValue::String(text.as_slice());
        let told = values.may_hold(*owner, name, &|found| found == wanted);
        for (number, strings) in of_block.iter().enumerate() {
            let is_held = strings.contains(&(*owner, name.clone(), text.clone()));
            assert!(!is_held || told[number] != Some(false), "{name:?} {text:?} in {number}");
            // Sets are exact for as many row groups as they have bits.
            assert!(is_held || told[number] != Some(true) || batches.len() > 64);
        }
        if let Some(listed) = values.values(*owner, name) {
            assert!(listed.into_iter().any(|value| value == wanted));
        }
        let nothing = values.may_hold(*owner, name, &|_| false);
        assert!(nothing.iter().all(|told| *told != Some(true)));
    }
}

#[test]
fn summary_hides_nothing_that_the_block_has() {
    for seed in 0..12 {
        check(&batches(seed * 1000, 1 + seed % 5, 1 + seed * 7));
    }
}

#[test]
fn filter_hides_no_match() {
    for seed in 0..4 {
        let batches = batches_of_many_values(seed * 100);
        check(&batches);
        let (data, facts, file) = write(&batches);
        assert!(file.parts.filter > 0);
        assert!(file.parts.filter * 100 <= facts.size * 3, "{:?} of {}", file.parts, facts.size);
        let (values, filter) = (values_of(&file), filter_of(&file));
        let reader = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
        let (mut known, mut wrong, mut asked) = (0, 0, 0);
        for number in 0..batches.len() {
            let batch = reader.read_row_group(number, &Projection::all()).unwrap();
            for (owner, name, text) in strings_of(&batch) {
                let told = filter.may_hold(owner, &name, &text)[number];
                assert_ne!(told, Some(false), "{name:?} {text:?} in {number}");
                let is_listed = values.may_hold(owner, &name, &|_| true)[number].is_some();
                assert!(!is_listed || told.is_none(), "{name:?} is listed and filtered");
                known += usize::from(told.is_some());
                // A value that is nowhere.
                let absent = [&text[..], b"!"].concat();
                let told = filter.may_hold(owner, &name, &absent)[number];
                asked += usize::from(told.is_some());
                wrong += usize::from(told == Some(true));
            }
        }
        assert!(known > 1000, "{known} strings are in the filter");
        assert!(wrong * 50 < asked, "{wrong} of {asked} are taken for there");
    }
}

/// AnyValues, encoded.
fn int(number: i64) -> Vec<u8> {
    let mut value = vec![3 << 3];
    put_varint(&mut value, number as u64);
    value
}

fn scattered(number: u64) -> u64 {
    (number + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn double(number: f64) -> Vec<u8> {
    [&[(4 << 3) | 1][..], &number.to_le_bytes()].concat()
}

/// A number of an attribute: the owner, the name, and the number as it is listed and compared.
type Number = (ValueOwner, Vec<u8>, ListedValue<&'static [u8]>, f64);

/// All numbers of each attribute, as the block has them.
fn numbers_of(batch: &SpanBatch) -> Vec<Number> {
    let mut all = Vec::new();
    for owner in OWNERS {
        for attribute in list_of(batch, owner) {
            let (payload, name) = (attribute.payload, batch.strings.get(attribute.key).to_vec());
            let (listed, number) = match attribute.value_type {
                ValueType::Int => (ListedValue::Int(payload as i64), payload as i64 as f64),
                ValueType::Double => (ListedValue::Double(payload), f64::from_bits(payload)),
                _ => continue,
            };
            all.push((ValueOwner::Attribute(owner), name, listed, number));
        }
    }
    all
}

#[test]
fn numbers_are_listed_or_filtered_and_never_hidden() {
    // Two attributes of a number a span; and one of few, whole and with a fraction. Filters are in proportion to the rest.
    let many = |trace: u8, numbers: Range<u32>| {
        let of_span = |number: u32| {
            let rest =
                (0..15).flat_map(|word| scattered(word << 32 | u64::from(number)).to_le_bytes());
            let rest = [vec![(7 << 3) | 2, 120], rest.collect()].concat();
            let whole = (scattered(number.into()) >> 30) as i64;
            let few = if number.is_multiple_of(2) {
                int(i64::from(number % 8))
            } else {
                double(f64::from(number % 8) / 2.0)
            };
            let (negative, odd) = (int(-whole), double(whole as f64 / 1024.0));
            vec![("few", few), ("negative", negative), ("odd", odd), ("rest", rest)]
        };
        batch_of_values(trace, numbers.map(of_span))
    };
    let batches = [many(1, 0..3), many(2, 0..6_000), many(3, 6_000..10_000)];
    let (data, facts, file) = write(&batches);
    let (values, filter) = (values_of(&file), filter_of(&file));
    let reader = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
    let (mut listed_count, mut filtered, mut wrong) = (0, 0, 0);
    for row_group in 0..batches.len() {
        let batch = reader.read_row_group(row_group, &Projection::all()).unwrap();
        for (owner, name, listed, number) in numbers_of(&batch) {
            let told = values.may_hold(owner, &name, &|value| value == listed)[row_group];
            assert_ne!(told, Some(false), "{name:?} {number} in {row_group}");
            listed_count += usize::from(told.is_some());
            let told = filter.may_hold_number(owner, &name, number)[row_group];
            assert_ne!(told, Some(false), "{name:?} {number} in {row_group}");
            filtered += usize::from(told.is_some());
            // A number that is nowhere.
            let told = filter.may_hold_number(owner, &name, number + 1.0 / 4096.0)[row_group];
            wrong += usize::from(told == Some(true));
        }
    }
    assert!(listed_count > 9_000, "{listed_count} are listed");
    assert!(filtered > 18_000, "{filtered} are filtered");
    assert!(wrong * 50 < filtered, "{wrong} of {filtered} are taken for there");
    let owner = ValueOwner::Attribute(AttributeOwner::Span);
    assert_eq!(filter.may_hold_number(owner, b"negative", -0.0)[1], Some(false));
    assert_eq!(filter.may_hold(owner, b"negative", b"5")[1], Some(false), "no string is one");
    assert!(file.parts.filter * 100 <= facts.size * 3, "{:?} of {}", file.parts, facts.size);
}

#[test]
fn block_without_a_filter_has_none() {
    let settings = WriterSettings { value_filter: false, ..WriterSettings::default() };
    let mut writer = BlockWriter::new(Vec::new(), settings).unwrap();
    for batch in batches_of_many_values(1) {
        writer.write_row_group(&batch).unwrap();
    }
    let (_, _, file) = writer.finish_with_summary().unwrap();
    assert_eq!(file.parts.filter, 0);
    assert_eq!(file.bytes.len() as u64, file.parts.filter_range().end);
}

#[test]
fn damage_of_a_filter_is_an_error_and_no_panic() {
    let (_, _, file) = write(&batches_of_many_values(3));
    let whole = part(&file, file.parts.filter_range());
    for at in (0..whole.len()).step_by(37) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x20;
        assert!(BlockFilter::decode(&damaged).is_err(), "byte {at}");
        assert!(BlockFilter::decode(&whole[..at]).is_err(), "{at} bytes");
        // Behind the checksum nothing may be believed either.
        let crc = crc32fast::hash(&damaged[4..]).to_le_bytes();
        damaged[..4].copy_from_slice(&crc);
        if let Ok(filter) = BlockFilter::decode(&damaged) {
            filter.may_hold(ValueOwner::Intrinsic, b"name", b"op-1");
        }
    }
}

#[test]
fn sets_of_more_row_groups_than_bits_hide_nothing() {
    let many: Vec<_> = (0..150)
        .map(|number| {
            let shape =
                Shape { traces: 1, max_spans: 1, max_attributes: 1, strings: 9, odd_values: false };
            batch(number, number * 10, shape)
        })
        .collect();
    check(&many);
}

#[test]
fn many_values_are_not_listed_and_few_are() {
    let shape = |strings| Shape {
        traces: 900,
        max_spans: 3,
        max_attributes: 1,
        strings,
        odd_values: false,
    };
    let owner = ValueOwner::Intrinsic;
    let few = values_of(&write(&[batch(1, 0, shape(40))]).2);
    assert_eq!(few.values(owner, b"name").unwrap().count(), 40);
    let batches =
        [batch(1, 0, shape(40)), batch(2, 1000, shape(1_000_000)), batch(3, 2000, shape(40))];
    let (_, _, file) = write(&batches);
    let many = values_of(&file);
    assert!(many.values(owner, b"name").is_none());
    // Of the first row group all are known.
    let told = many.may_hold(owner, b"name", &|name| name == ListedValue::String(b"op-41"));
    assert_eq!(told, [Some(false), None, None]);
    assert!(file.bytes.len() < 100_000, "{}", file.bytes.len());
}

/// Spans of one trace with these attributes, each a name and an encoded AnyValue.
fn batch_of_values<N: AsRef<str>>(
    trace: u8,
    spans: impl Iterator<Item = Vec<(N, Vec<u8>)>>,
) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    let mut encoded = Vec::new();
    for (number, attributes) in (1u64..).zip(spans) {
        let mut span = Vec::new();
        put_message_field(&mut span, 1, &[trace; 16]);
        put_message_field(&mut span, 2, &number.to_be_bytes());
        for (name, value) in attributes {
            let mut attribute = Vec::new();
            put_message_field(&mut attribute, 1, name.as_ref().as_bytes());
            put_message_field(&mut attribute, 2, &value);
            put_message_field(&mut span, 9, &attribute);
        }
        put_message_field(&mut encoded, 2, &span);
    }
    builder.append_scope_spans(resource, scope, &encoded, |_, _| true).unwrap();
    builder.finish()
}

/// One span after the other with these attributes, a thousand each.
fn batch_of_names(trace: u8, names: impl Iterator<Item = String>) -> SpanBatch {
    let names: Vec<_> = names.map(|name| (name, vec![10, 1, b'v'])).collect();
    batch_of_values(trace, names.chunks(1_000).map(<[_]>::to_vec))
}

#[test]
fn names_beyond_those_that_a_summary_takes_are_not_hidden() {
    let names = |names: Range<u32>| names.map(|name| format!("{name}"));
    let few = [70_123, 70_124];
    let batches = [
        batch_of_names(1, names(0..10).chain(names(70_000..70_001))),
        batch_of_names(2, names(0..70_500)),
        batch_of_names(3, few.into_iter().map(|name| name.to_string())),
    ];
    let (_, _, file) = write(&batches);
    let (values, filter) = (values_of(&file), filter_of(&file));
    assert!(values.names(AttributeOwner::Span).is_none());
    let owner = ValueOwner::Attribute(AttributeOwner::Span);
    let is_hidden = |name: &str, row_group: usize| {
        let name = name.as_bytes();
        values.may_be_present(owner, name, row_group) == Some(false)
            || values.may_hold(owner, name, &|value| value == ListedValue::String(b"v"))[row_group]
                == Some(false)
            || filter.may_hold(owner, name, b"v").get(row_group) == Some(&Some(false))
    };
    for (row_group, batch) in batches.iter().enumerate() {
        for attribute in list_of(batch, AttributeOwner::Span) {
            let name = String::from_utf8(batch.strings.get(attribute.key).to_vec()).unwrap();
            assert!(!is_hidden(&name, row_group), "{name} in {row_group}");
        }
    }
    assert!(is_hidden("9", 2), "of the other row groups it is known");
}

#[test]
fn tail_saves_all_reads_of_the_end() {
    let (data, facts, file) = write(&batches(5, 3, 20));
    let inner = BytesSource::new(data.clone());
    let counting = Arc::new(Counting { inner, ends: 0.into(), pages: 0.into() });
    let tail = Tail::decode(&part(&file, file.parts.tail_range()), data.len() as u64).unwrap();
    let source: Arc<dyn ByteSource> = Arc::clone(&counting) as _;
    let source = TailSource::new(source, &tail).unwrap();
    let reader = BlockReader::open(Arc::new(source), &facts).unwrap();
    let plain = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
    assert_eq!(reader.row_groups(), plain.row_groups());
    for row_group in 0..3 {
        let rows =
            |reader: &BlockReader| reader.read_rows(row_group, 0..1, &Projection::all()).unwrap();
        assert_eq!(rows(&reader), rows(&plain));
    }
    assert_eq!(counting.ends.load(Ordering::Relaxed), 0);
    assert!(counting.pages.load(Ordering::Relaxed) > 0);
    // What does not fit the file is refused.
    let short: Arc<dyn ByteSource> = Arc::new(BytesSource::new(Bytes::from_static(b"short")));
    assert!(TailSource::new(short, &tail).is_err());
}

#[test]
fn same_batches_have_the_same_summary() {
    let all = batches(7, 4, 3000);
    assert_eq!(write(&all).2.bytes, write(&all).2.bytes);
}

#[test]
fn damage_of_a_summary_is_an_error() {
    let (data, _, file) = write(&batches(9, 2, 10));
    let size = data.len() as u64;
    for range in [file.parts.tail_range(), file.parts.values_range()] {
        let whole = part(&file, range);
        for at in 0..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0x20;
            let is_refused =
                Tail::decode(&damaged, size).is_err() && BlockValues::decode(&damaged).is_err();
            assert!(is_refused, "byte {at}");
            assert!(Tail::decode(&whole[..at], size).is_err());
            assert!(BlockValues::decode(&whole[..at]).is_err());
        }
    }
}

#[test]
fn rows_that_no_span_has_are_not_in_the_summary() {
    let shape = Shape { traces: 3, max_spans: 2, max_attributes: 2, strings: 4, odd_values: false };
    let mut one = batch(11, 0, shape);
    let mut strings = tactus_model::DictionaryBuilder::default();
    for code in 1..one.strings.len() as u32 {
        strings.intern(one.strings.get(code));
    }
    let key = strings.intern(b"gone");
    one.strings = strings.finish();
    let gone = Attribute { key, value_type: ValueType::Bool, payload: 1 };
    one.resources.attributes.push(gone);
    one.resources.attributes.end_owner();
    one.resources.dropped_attributes.push(0);
    let values = values_of(&write(&[one]).2);
    assert!(values.names(AttributeOwner::Resource).unwrap().all(|name| name != b"gone"));
}

/// A part whose content has these first bytes and zeros behind them.
fn packed(start: &[u8], length: usize) -> Vec<u8> {
    let mut raw = start.to_vec();
    raw.resize(length, 0);
    let compressed = zstd::bulk::compress(&raw, 3).unwrap();
    let head = [(length as u32).to_le_bytes(), crc32fast::hash(&compressed).to_le_bytes()];
    [head.concat(), compressed].concat()
}

#[test]
fn parts_that_claim_more_than_a_block_has_are_refused() {
    let data_bytes = 50_000;
    assert!(Tail::decode(&packed(&[], 40_000), data_bytes).is_ok());
    assert!(Tail::decode(&packed(&[], 60_000), data_bytes).is_err(), "longer than the data");
    assert!(Tail::decode(&packed(&[], 100 << 20), u64::MAX).is_err(), "of some kilobytes");
    // Row groups, their number for each bit, whether it is complete, attributes: each is five zeros.
    let values = |row_groups: u64, attributes: u64| {
        let mut start = Vec::new();
        put_varint(&mut start, row_groups);
        start.extend([1, 1]);
        put_varint(&mut start, attributes);
        packed(&start, start.len() + 5 * attributes as usize)
    };
    assert_eq!(BlockValues::decode(&values(3, 60_000)).unwrap().row_groups(), 3);
    assert!(BlockValues::decode(&values(3, 300_000)).is_err());
    assert!(BlockValues::decode(&values(u32::MAX.into(), 1)).is_err());
    assert!(BlockValues::decode(&packed(&[1, 1, 1, 0], 60 << 20)).is_err());
    let filter = |row_groups: u64| {
        let mut body = Vec::new();
        put_varint(&mut body, row_groups);
        body.resize(body.len() + 2 * row_groups as usize, 0);
        [&crc32fast::hash(&body).to_le_bytes()[..], &body].concat()
    };
    assert!(BlockFilter::decode(&filter(1_000)).is_ok());
    assert!(BlockFilter::decode(&filter(1_000_000)).is_err());
}

#[test]
fn parts_longer_than_those_of_any_block_are_not_read() {
    let (data, _, file) = write(&batches(5, 3, 2_000));
    let bytes = data.len() as u64;
    assert_eq!(readable_parts(file.parts, bytes), Some(file.parts));
    let none = SummaryParts::default();
    for parts in [
        SummaryParts { tail: 1 << 20, ..none },
        SummaryParts { values: 5 << 20, ..none },
        SummaryParts { filter: 1 << 20, ..none },
    ] {
        assert_eq!(readable_parts(parts, 600_000), None);
    }
    let large = SummaryParts { tail: 100 << 20, values: 2 << 20, filter: 100 << 20 };
    assert_eq!(readable_parts(large, 5 << 30), Some(large));
    for parts in [SummaryParts { tail: 1 << 30, ..none }, SummaryParts { filter: 1 << 30, ..none }]
    {
        assert_eq!(readable_parts(parts, u64::MAX), None);
    }
}
