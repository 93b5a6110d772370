//! `data.parquet`, and the pages of its columns.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tactus_block::read::{
    AttributeOwner, BlockFacts, BlockReader, BytesSource, RowGroup, StringColumn,
};
use tactus_block::{BlockWriter, Compression, WriterSettings};
use tactus_model::{AttributeSelection, Projection, SpanBatch, TraceId};
use tactus_storage::meta::{BlockVersion, DedicatedColumn, default_columns};

use crate::sample;

const VERSIONS: [BlockVersion; 2] = [BlockVersion::VParquet4, BlockVersion::VParquet5];
/// Who reads a row group looks at these numbers first, and leaves alone what takes too much.
const MAX_ROW_GROUP_BYTES: u64 = 1 << 20;
const MAX_ROW_GROUP_VALUES: u64 = 1 << 17;

/// A sound file without compression, so that what is damaged is what decoders see.
struct Sound {
    data: Vec<u8>,
    facts: BlockFacts,
    columns: Vec<Range<u64>>,
}

fn sound(version: u8) -> (&'static Sound, BlockVersion) {
    static FILES: OnceLock<Vec<Sound>> = OnceLock::new();
    let place = usize::from(version) % VERSIONS.len();
    let files = FILES.get_or_init(|| VERSIONS.map(write).into());
    (&files[place], VERSIONS[place])
}

fn dedicated(version: BlockVersion) -> Vec<DedicatedColumn> {
    match version {
        BlockVersion::VParquet5 => default_columns(),
        _ => Vec::new(),
    }
}

fn write(version: BlockVersion) -> Sound {
    let dedicated_columns = dedicated(version);
    let settings = WriterSettings {
        version,
        dedicated_columns: dedicated_columns.clone(),
        compression: Compression::None,
        page_bytes: 100,
        ..WriterSettings::default()
    };
    let mut writer = BlockWriter::new(Vec::new(), settings).expect("sound settings");
    writer.write_row_group(&sample::sorted(3)).expect("a sound batch");
    let (data, summary) = writer.finish().expect("memory takes all bytes");
    let facts = BlockFacts {
        size: summary.size,
        footer_size: summary.footer_size,
        version,
        dedicated_columns,
    };
    let source = Arc::new(BytesSource::new(data.clone().into()));
    let columns = BlockReader::open(source, &facts).expect("a sound file").column_ranges(0);
    Sound { data, facts, columns }
}

/// A whole file. The first byte: its version.
pub(crate) fn feed_file(input: &[u8]) {
    let Some((&version, data)) = input.split_first() else { return };
    let version = VERSIONS[usize::from(version) % VERSIONS.len()];
    let facts = BlockFacts {
        size: data.len() as u64,
        footer_size: 0,
        version,
        dedicated_columns: dedicated(version),
    };
    read(Bytes::copy_from_slice(data), &facts);
}

/// The pages of a column of a file that is sound but for them. The first two bytes: the version, and which column.
pub(crate) fn feed_pages(input: &[u8]) {
    let [version, column, pages @ ..] = input else { return };
    let (sound, _) = sound(*version);
    let range = &sound.columns[usize::from(*column) % sound.columns.len()];
    let mut data = sound.data.clone();
    let room = &mut data[range.start as usize..range.end as usize];
    let length = pages.len().min(room.len());
    room[..length].copy_from_slice(&pages[..length]);
    read(data.into(), &sound.facts);
}

/// Reads everything that can be read; errors are fine.
fn read(data: Bytes, facts: &BlockFacts) {
    let Ok(reader) = BlockReader::open(Arc::new(BytesSource::new(data)), facts) else { return };
    let reader = reader.without_checksums();
    let mut some = Projection { start: true, ..Projection::default() };
    for selection in [&mut some.span_attributes, &mut some.resource_attributes] {
        for key in ["http.method", "http.status_code", "numbers", "service.name"] {
            AttributeSelection::add(selection, key.as_bytes());
        }
    }
    let groups = reader.row_groups().iter().enumerate();
    let is_small = |group: &RowGroup| {
        group.uncompressed_bytes <= MAX_ROW_GROUP_BYTES && group.values <= MAX_ROW_GROUP_VALUES
    };
    for (group, _) in groups.filter(|(_, group)| is_small(group)) {
        check(reader.read_row_group(group, &Projection::all()));
        let _ = reader.read_row_group(group, &some);
        check(reader.read_rows(group, 1..2, &Projection::all()));
        let key = StringColumn::SpanAttribute(b"http.method".to_vec());
        let _ = reader.row_group_may_contain_string(group, &key, &|_: &[u8]| false);
        let _ = reader.visit_attribute_keys(group, AttributeOwner::Span, &mut |_| {});
        let _ = reader.visit_strings(group, &StringColumn::Name, &mut |_| {});
        let _ = reader.find_row(group, TraceId([2; 16]));
    }
}

fn check(read: tactus_block::Result<SpanBatch>) {
    if let Ok(batch) = read {
        batch.check().expect("a batch is whole");
    }
}

pub(crate) fn file_seeds() -> Vec<Vec<u8>> {
    (0..VERSIONS.len() as u8)
        .map(|version| [&[version][..], &sound(version).0.data].concat())
        .collect()
}

pub(crate) fn page_seeds() -> Vec<Vec<u8>> {
    let versions = 0..VERSIONS.len() as u8;
    let seeds = versions.flat_map(|version| {
        let (sound, _) = sound(version);
        sound.columns.iter().enumerate().map(move |(column, range)| {
            let pages = &sound.data[range.start as usize..range.end as usize];
            [&[version, column as u8][..], pages].concat()
        })
    });
    seeds.collect()
}
