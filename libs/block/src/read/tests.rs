//! Tests over the sample blocks, which hold known content, and over blocks of our own writer.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tactus_model::{Attribute, AttributeList, SpanBatch, ValueType};
use tactus_storage::BlockMeta;
use tactus_storage::index::RowGroupIndex;

use super::*;

mod damage;
mod foreign;
mod generated;
mod kept_footer;
mod projections;
mod pruning;
mod round_trip;
mod sample;
mod summary;
mod version3;
#[path = "../../tests/support/vparquet3.rs"]
mod vparquet3;

/// A sample block and the facts of its meta.
struct Sample {
    data: Bytes,
    index: RowGroupIndex,
    facts: BlockFacts,
}

fn load(version: BlockVersion) -> Sample {
    if version == BlockVersion::VParquet3 {
        return load_as_v3();
    }
    let id = match version {
        BlockVersion::VParquet5 => "22222222-2222-4222-8222-222222222222",
        _ => "11111111-1111-4111-8111-111111111111",
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks")
        .join(version.as_str())
        .join("single-tenant")
        .join(id);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let meta = BlockMeta::from_json(&read("meta.json")).unwrap();
    Sample {
        data: read("data.parquet").into(),
        index: RowGroupIndex::decode(&read("index")).unwrap(),
        facts: BlockFacts {
            size: meta.size,
            footer_size: meta.footer_size,
            version,
            dedicated_columns: meta.dedicated_columns.to_vec(),
        },
    }
}

/// The vParquet4 sample as a vParquet3 block: there is no sample of that version.
fn load_as_v3() -> Sample {
    let Sample { index, facts, data } = load(BlockVersion::VParquet4);
    let reader = Sample { data, index: index.clone(), facts: facts.clone() }.open();
    let groups = 0..reader.row_groups().len();
    let batches: Vec<_> =
        groups.map(|group| reader.read_row_group(group, &Projection::all()).unwrap()).collect();
    let dedicated_columns = facts.dedicated_columns.clone();
    let settings = vparquet3::Settings { dedicated_columns, ..Default::default() };
    let data = Bytes::from(vparquet3::write(&batches, &settings));
    let length = data[data.len() - 8..].first_chunk().unwrap();
    let footer_size = u32::from_le_bytes(*length);
    let size = data.len() as u64;
    let facts = BlockFacts { size, footer_size, version: BlockVersion::VParquet3, ..facts };
    Sample { data, index, facts }
}

impl Sample {
    fn open(&self) -> BlockReader {
        let source = Arc::new(BytesSource::new(self.data.clone()));
        BlockReader::open(source, &self.facts).unwrap()
    }
}

const VERSIONS: [BlockVersion; 3] =
    [BlockVersion::VParquet3, BlockVersion::VParquet4, BlockVersion::VParquet5];

/// `key=value` of each attribute of an owner, in order.
fn shown(batch: &SpanBatch, list: &AttributeList, owner: usize) -> Vec<String> {
    list.of(owner).map(|attribute| show(batch, attribute)).collect()
}

fn show(batch: &SpanBatch, attribute: Attribute) -> String {
    use tactus_model::any_value::{DecodedValue, array_elements, decode, key_values};
    fn decoded(value: DecodedValue<'_>) -> String {
        match value {
            DecodedValue::Unset => "unset".into(),
            DecodedValue::String(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            DecodedValue::Bool(flag) => format!("{flag}"),
            DecodedValue::Int(number) => format!("{number}"),
            DecodedValue::Double(number) => format!("{number:?}"),
            DecodedValue::Array(elements) => {
                let elements = array_elements(elements).map(|element| decoded(element.unwrap()));
                format!("[{}]", elements.collect::<Vec<_>>().join(","))
            }
            DecodedValue::KeyValues(pairs) => {
                let pairs = key_values(pairs).map(|pair| {
                    let (key, value) = pair.unwrap();
                    format!("{}:{}", String::from_utf8_lossy(key), decoded(value))
                });
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
            DecodedValue::Bytes(bytes) => format!("{bytes:?}"),
        }
    }
    let string = |code: u64| batch.strings.get(code as u32);
    let payload = attribute.payload;
    let value = match attribute.value_type {
        ValueType::Unset => DecodedValue::Unset,
        ValueType::String => DecodedValue::String(string(payload)),
        ValueType::Int => DecodedValue::Int(payload as i64),
        ValueType::Double => DecodedValue::Double(f64::from_bits(payload)),
        ValueType::Bool => DecodedValue::Bool(payload != 0),
        _ => decode(string(payload)).unwrap(),
    };
    format!("{}={}", batch.strings.display(attribute.key), decoded(value))
}

/// The list with each attribute as `change` makes it, or without it.
fn changed(list: &AttributeList, change: impl Fn(Attribute) -> Option<Attribute>) -> AttributeList {
    let mut changed = AttributeList::default();
    for owner in 0..list.owners() {
        list.of(owner).filter_map(&change).for_each(|attribute| changed.push(attribute));
        changed.end_owner();
    }
    changed
}
