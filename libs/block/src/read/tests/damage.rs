//! Damaged and foreign files give errors, never a panic.

use super::generated::{Shape, batch};
use super::round_trip::written;
use super::*;
use crate::Compression;
use crate::decoding::page::read_page_header;
use proptest::prelude::*;
use tactus_model::AttributeSelection;

/// Opens and reads everything that can be read; errors are fine.
fn read_everything(data: Vec<u8>, facts: &BlockFacts, verify: bool) {
    let facts = BlockFacts { size: data.len() as u64, ..facts.clone() };
    let source = Arc::new(BytesSource::new(data.into()));
    let Ok(mut reader) = BlockReader::open(source, &facts) else { return };
    if !verify {
        reader = reader.without_checksums();
    }
    assert!(!reader.schema_text().is_empty() && !reader.columns().is_empty());
    let mut keys = Projection { start: true, ..Projection::default() };
    for selection in [&mut keys.span_attributes, &mut keys.resource_attributes] {
        for key in ["n", "ip", "strs", "http.status_code"] {
            AttributeSelection::add(selection, key.as_bytes());
        }
    }
    for group in 0..reader.row_groups().len() {
        if let Ok(batch) = reader.read_row_group(group, &Projection::all()) {
            check_bounds(&batch);
        }
        if let Ok(batch) = reader.read_row_group(group, &keys) {
            check_bounds(&batch);
        }
        let key = StringColumn::SpanAttribute(b"n".to_vec());
        let _ = reader.row_group_may_contain_string(group, &key, &|_: &[u8]| false);
        let _ = reader.row_group_bounds(group, NumberColumn::SpanStart);
        for owner in [AttributeOwner::Span, AttributeOwner::Event, AttributeOwner::Link] {
            let _ = reader.visit_attribute_keys(group, owner, &mut |_| {});
        }
        let _ = reader.visit_strings(group, &StringColumn::Name, &mut |_| {});
    }
    for hex in ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad", "00"] {
        if let Ok(Some(batch)) = reader.read_trace(TraceId::from_hex(hex).unwrap()) {
            check_bounds(&batch);
        }
    }
}

/// Every row that a batch refers to exists.
fn check_bounds(batch: &SpanBatch) {
    let below = |rows: &[u32], count: usize| rows.iter().all(|&row| (row as usize) < count);
    assert!(below(&batch.spans.trace, batch.traces.ids.len()));
    let strings = batch.strings.len();
    assert!(below(&batch.spans.name, strings));
    for (list, owners) in [
        (&batch.span_attributes, batch.len()),
        (&batch.events.attributes, batch.events.time.len()),
        (&batch.resources.attributes, batch.resources.len()),
    ] {
        assert!(list.owners() == 0 || list.owners() == owners || batch.events.time.is_empty());
        assert!(list.starts.is_sorted());
        assert_eq!(*list.starts.last().unwrap() as usize, list.len());
        assert!(below(&list.keys, strings));
        for owner in 0..list.owners() {
            for attribute in list.of(owner) {
                assert!(
                    !attribute.value_type.holds_code() || (attribute.payload as usize) < strings
                );
            }
        }
    }
    assert!(below(&batch.spans.resource, batch.resources.len()));
}

/// Every page of the file: where its header starts, where its body starts, and where that ends.
fn pages_of(reader: &BlockReader, data: &[u8]) -> Vec<(usize, Range<usize>)> {
    let mut pages = Vec::new();
    for group in reader.file.footer.row_groups() {
        for chunk in group.columns() {
            let (start, length) = chunk.byte_range();
            let end = (start + length) as usize;
            let mut at = start as usize;
            while at < end {
                let (header, rest) = read_page_header(&data[at..end]).unwrap();
                assert_ne!(header.crc, 0);
                let body = end - rest.len();
                pages.push((at, body..body + header.compressed));
                at = body + header.compressed;
            }
        }
    }
    pages
}

/// What is read of a file, whole and by trace; an error where there is one.
fn all_reads(reader: &BlockReader, ids: &[TraceId]) -> Vec<crate::Result<SpanBatch>> {
    let groups = 0..reader.row_groups().len();
    let mut reads: Vec<_> =
        groups.map(|group| reader.read_row_group(group, &Projection::all())).collect();
    reads.extend(ids.iter().map(|&id| reader.read_trace(id).map(Option::unwrap_or_default)));
    reads
}

/// A small block of our writer; compression and version depend on the seed.
fn own_block(seed: u64) -> (Vec<u8>, BlockFacts) {
    let shape = Shape { traces: 8, max_spans: 6, max_attributes: 6, strings: 20, odd_values: true };
    let compression =
        [Compression::None, Compression::Snappy, Compression::Zstd(1)][seed as usize % 3];
    let version = VERSIONS[1 + (seed / 3) as usize % 2];
    let (data, facts) = written(version, &[batch(seed, 0, shape)], compression, 200);
    (data.to_vec(), facts)
}

#[test]
fn every_cut_of_the_file_is_refused() {
    for version in VERSIONS {
        let sample = load(version);
        for length in (0..sample.data.len()).step_by(997).chain([0, 1, 7, 8, 11, 12]) {
            let facts = BlockFacts { size: length as u64, ..sample.facts.clone() };
            let source = Arc::new(BytesSource::new(sample.data.slice(..length)));
            assert!(BlockReader::open(source, &facts).is_err(), "{length}");
        }
    }
}

#[test]
fn a_size_that_is_not_the_files_is_refused() {
    let sample = load(BlockVersion::VParquet4);
    let facts = BlockFacts { size: sample.facts.size + 1, ..sample.facts };
    let source = Arc::new(BytesSource::new(sample.data));
    assert!(matches!(BlockReader::open(source, &facts), Err(crate::Error::Corrupt { .. })));
}

#[test]
fn data_flips_are_found_by_checksums() {
    let sample = load(BlockVersion::VParquet4);
    let mut data = sample.data.to_vec();
    let reader = sample.open();
    let name = reader.file.columns.name;
    let chunk = reader.file.footer.row_groups()[0].columns()[name.index];
    let last = (chunk.byte_range().0 + chunk.byte_range().1 - 1) as usize;
    data[last] ^= 1;
    let source = Arc::new(BytesSource::new(data.into()));
    let reader = BlockReader::open(source, &sample.facts).unwrap();
    let error = reader.read_row_group(0, &Projection::all()).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn damaged_names_of_columns_hide_no_values() {
    let ids = ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad"];
    let ids = ids.map(|hex| TraceId::from_hex(hex).unwrap());
    let names = [
        "Attrs",
        "Key",
        "IsArray",
        "Value",
        "ValueInt",
        "ValueDouble",
        "ValueBool",
        "ValueUnsupported",
        "Cluster",
        "HttpUrl",
        "String01",
        "DroppedAttributesCount",
    ];
    for version in VERSIONS {
        let sample = load(version);
        let whole = all_reads(&sample.open(), &ids).into_iter().map(Result::unwrap);
        let whole: Vec<_> = whole.collect();
        let footer = sample.data.len() - 8 - sample.facts.footer_size as usize;
        for name in names {
            let stored = [&[name.len() as u8][..], name.as_bytes()].concat();
            let places = sample.data[footer..].windows(stored.len()).enumerate();
            let places = places.filter(|(_, found)| *found == stored).map(|(at, _)| footer + at);
            let places: Vec<_> = places.take(5).collect();
            let mut refused = 0;
            for at in places.iter().flat_map(|at| [at + 1, at + name.len()]) {
                let mut data = sample.data.to_vec();
                data[at] ^= 4;
                let source = Arc::new(BytesSource::new(data.into()));
                let Ok(damaged) = BlockReader::open(source, &sample.facts) else {
                    refused += 1;
                    continue;
                };
                for (found, expected) in all_reads(&damaged, &ids).into_iter().zip(&whole) {
                    assert!(found.is_ok_and(|found| found == *expected), "{name} at {at}");
                }
            }
            assert_eq!(refused > 0, !places.is_empty(), "{name} in {version:?}");
        }
    }
}

/// Few, since each reads whole blocks; raise it by hand to search.
const CASES: u32 = 24;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn flipped_pages_never_panic(
        version in 0usize..3, verify in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..40),
    ) {
        let sample = load(VERSIONS[version]);
        let mut data = sample.data.to_vec();
        let pages = data.len() - 8 - sample.facts.footer_size as usize;
        for (at, mask) in flips {
            data[at.index(pages)] ^= mask;
        }
        read_everything(data, &sample.facts, verify);
    }

    #[test]
    fn flipped_footers_never_panic(
        version in 0usize..3, flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let sample = load(VERSIONS[version]);
        let mut data = sample.data.to_vec();
        let footer = sample.facts.footer_size as usize;
        for (at, mask) in flips {
            let at = data.len() - 8 - footer + at.index(footer);
            data[at] ^= mask;
        }
        read_everything(data, &sample.facts, false);
    }

    #[test]
    fn flipped_pages_of_our_own_never_panic(
        seed in 0u64..6, flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..10),
    ) {
        let (mut data, facts) = own_block(seed);
        let pages = data.len() - 8 - facts.footer_size as usize;
        for (at, mask) in flips {
            data[at.index(pages)] ^= mask;
        }
        read_everything(data, &facts, false);
    }

    #[test]
    fn damaged_pages_with_checksums_are_an_error_or_read_as_before(
        version in 1usize..3, page in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        flip in 0u32..8, in_header in any::<bool>(),
    ) {
        let sample = load(VERSIONS[version]);
        let reader = sample.open();
        let pages = pages_of(&reader, &sample.data);
        let (header, body) = &pages[page.index(pages.len())];
        let place = if in_header || body.is_empty() { *header..body.start } else { body.clone() };
        let mut data = sample.data.to_vec();
        data[place.start + at.index(place.len())] ^= 1 << flip;
        let source = Arc::new(BytesSource::new(data.into()));
        let damaged = BlockReader::open(source, &sample.facts).unwrap();
        let ids = ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad"];
        let ids = ids.map(|hex| TraceId::from_hex(hex).unwrap());
        for (found, expected) in all_reads(&damaged, &ids).into_iter().zip(all_reads(&reader, &ids)) {
            if let Ok(found) = found {
                prop_assert_eq!(found, expected.unwrap());
            }
        }
    }

    #[test]
    fn damaged_page_indexes_are_an_error_or_read_as_before(
        version in 0usize..3, at in any::<prop::sample::Index>(), flip in 0u32..8,
    ) {
        let sample = load(VERSIONS[version]);
        let reader = sample.open();
        let chunks = || reader.file.footer.row_groups().iter().flat_map(|group| group.columns());
        let start = chunks().filter_map(|chunk| chunk.offset_index().map(|(start, _)| start)).min().unwrap() as usize;
        let footer = sample.data.len() - 8 - sample.facts.footer_size as usize;
        let mut data = sample.data.to_vec();
        data[start + at.index(footer - start)] ^= 1 << flip;
        let source = Arc::new(BytesSource::new(data.into()));
        let damaged = BlockReader::open(source, &sample.facts).unwrap();
        for hex in ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad", "19000000000000770000000000000003"] {
            let Some(id) = TraceId::from_hex(hex) else { continue };
            if let Ok(found) = damaged.read_trace(id) {
                prop_assert_eq!(found, reader.read_trace(id).unwrap());
            }
        }
    }
}
