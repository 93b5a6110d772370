//! Comparison of a file with the expectation, and the rules that readers rely on.

use bytes::Bytes;
use parquet::basic::{Compression as Codec, Encoding, PageType};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::read_back::{Column, Leaf, read_column};
use crate::schema::{LeafCompression, LeafEncoding, Schema};

/// Compares levels and values of one column.
pub(super) fn check_column(
    file: &SerializedFileReader<Bytes>,
    schema: &Schema,
    row_group: usize,
    leaf: usize,
    expected: &Column,
) {
    let column = schema.descriptor().column(leaf);
    let path = column.path().string();
    let mut found = read_column(file, row_group, leaf);
    if column.max_rep_level() == 0 {
        found.rep = expected.rep.clone();
        found.def = expected.def.clone();
    }
    assert_eq!(&found, expected, "{path}");
}

/// The rules about chunks and pages that readers rely on.
pub(super) fn check_chunk(
    file: &SerializedFileReader<Bytes>,
    schema: &Schema,
    row_group: usize,
    leaf: usize,
    expected: &Column,
    codec: Codec,
) {
    let group = file.metadata().row_group(row_group);
    let chunk = group.column(leaf);
    let path = chunk.column_path().string();
    let nulls = expected.def.len() - expected.values.len();
    assert_eq!(chunk.num_values() as usize, expected.def.len(), "{path}");
    assert_eq!(chunk.statistics().and_then(|s| s.null_count_opt()), Some(nulls as u64), "{path}");
    let is_blob = schema.storage(leaf).compression == LeafCompression::Blob;
    let codec = if is_blob { Codec::ZSTD(Default::default()) } else { codec };
    assert_eq!(chunk.compression(), codec, "{path}");
    let is_dictionary = schema.storage(leaf).encoding == LeafEncoding::Dictionary;
    let mut pages = file.get_row_group(row_group).unwrap().get_column_page_reader(leaf).unwrap();
    let page_index = file.metadata().page_index().unwrap();
    let index = page_index.column_index(row_group, leaf);
    assert_eq!(index.is_none(), is_blob, "{path}");
    let max_def = schema.descriptor().column(leaf).max_def_level();
    let (mut entries, mut page_count, mut values) = (0, 0, expected.values.as_slice());
    while let Some(page) = pages.get_next_page().unwrap() {
        if page.page_type() == PageType::DICTIONARY_PAGE {
            assert!(is_dictionary && page_count == 0, "{path}");
            continue;
        }
        assert_eq!(page.encoding() == Encoding::RLE_DICTIONARY, is_dictionary, "{path}");
        assert_eq!(expected.rep[entries], 0, "{path}: page {page_count} starts within a row");
        let levels = &expected.def[entries..entries + page.num_values() as usize];
        let count = levels.iter().filter(|&&level| level == max_def).count();
        if let Some(index) = index {
            check_bounds(index, page_count, &values[..count], &path);
            assert_eq!(index.null_count(page_count), Some((levels.len() - count) as i64), "{path}");
        }
        values = &values[count..];
        entries += levels.len();
        page_count += 1;
    }
    assert_eq!(entries, expected.def.len(), "{path}");
    let locations = page_index.offset_index(row_group, leaf).unwrap().page_locations();
    assert_eq!(locations.len(), page_count, "{path}");
}

/// Checks the least and greatest value of a page.
fn check_bounds(index: &ColumnIndexMetaData, page: usize, values: &[Leaf], path: &str) {
    assert_eq!(index.is_null_page(page), values.is_empty(), "{path}");
    if values.is_empty() {
        return;
    }
    let unsigned = ["Nano", "ErrorCount"].iter().any(|name| path.ends_with(name))
        || path.contains("StartTimeRounded")
        || path.starts_with("ServiceStats.");
    let integers = || {
        let value =
            |leaf: &Leaf| if let Leaf::Integer(value) = leaf { *value } else { panic!("{leaf:?}") };
        let key = |value: &i64| if unsigned { *value ^ i64::MIN } else { *value };
        let values = || values.iter().map(value);
        (values().min_by_key(key), values().max_by_key(key))
    };
    match index {
        ColumnIndexMetaData::INT32(index) => {
            let wide = |value: Option<&i32>| value.map(|&value| i64::from(value));
            assert_eq!(
                (wide(index.min_value(page)), wide(index.max_value(page))),
                integers(),
                "{path}"
            );
        }
        ColumnIndexMetaData::INT64(index) => {
            let bounds = (index.min_value(page).copied(), index.max_value(page).copied());
            assert_eq!(bounds, integers(), "{path}");
        }
        ColumnIndexMetaData::BYTE_ARRAY(index) => {
            let (low, high) = (index.min_value(page).unwrap(), index.max_value(page).unwrap());
            for value in values {
                let Leaf::Bytes(value) = value else { panic!("{value:?}") };
                assert!(low <= value.as_slice() && value.as_slice() <= high, "{path}");
            }
        }
        ColumnIndexMetaData::BOOLEAN(index) => {
            for value in values {
                let Leaf::Boolean(value) = value else { panic!("{value:?}") };
                assert!(
                    index.min_value(page) <= Some(value) && Some(value) <= index.max_value(page)
                );
            }
        }
        ColumnIndexMetaData::DOUBLE(index) => {
            let (low, high) = (index.min_value(page).unwrap(), index.max_value(page).unwrap());
            for value in values {
                let Leaf::Double(bits) = value else { panic!("{value:?}") };
                let value = f64::from_bits(*bits);
                let within = low.total_cmp(&value).is_le() && value.total_cmp(high).is_le();
                assert!(within || value.is_nan(), "{path}");
            }
        }
        other => panic!("{path} has no such index: {other:?}"),
    }
}
