//! Columns of a file, read with the Parquet library.

use bytes::Bytes;
use parquet::column::reader::ColumnReader;
use parquet::file::reader::{FileReader, SerializedFileReader};

/// A value of any leaf column.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Leaf {
    Integer(i64),
    Double(u64),
    Boolean(bool),
    Bytes(Vec<u8>),
}

/// One leaf column of one row group: levels of all entries, and the values that are not null.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Column {
    pub(super) rep: Vec<i16>,
    pub(super) def: Vec<i16>,
    pub(super) values: Vec<Leaf>,
}

pub(super) fn open(data: Vec<u8>) -> SerializedFileReader<Bytes> {
    let options =
        parquet::file::serialized_reader::ReadOptionsBuilder::new().with_page_index().build();
    SerializedFileReader::new_with_options(Bytes::from(data), options).unwrap()
}

pub(super) fn read_column(
    file: &SerializedFileReader<Bytes>,
    row_group: usize,
    leaf: usize,
) -> Column {
    let group = file.get_row_group(row_group).unwrap();
    let rows = group.metadata().num_rows() as usize;
    let mut column = Column::default();
    macro_rules! read {
        ($reader:expr, $convert:expr) => {{
            let mut values = Vec::new();
            let (def, rep) = (&mut column.def, &mut column.rep);
            let read = $reader.read_records(rows + 1, Some(def), Some(rep), &mut values).unwrap();
            assert_eq!(read.0, rows, "rows of leaf {leaf}");
            column.values = values.into_iter().map($convert).collect();
        }};
    }
    match group.get_column_reader(leaf).unwrap() {
        ColumnReader::BoolColumnReader(mut reader) => read!(reader, Leaf::Boolean),
        ColumnReader::Int32ColumnReader(mut reader) => {
            read!(reader, |value| Leaf::Integer(i64::from(value)))
        }
        ColumnReader::Int64ColumnReader(mut reader) => read!(reader, Leaf::Integer),
        ColumnReader::DoubleColumnReader(mut reader) => {
            read!(reader, |value: f64| Leaf::Double(value.to_bits()))
        }
        ColumnReader::ByteArrayColumnReader(mut reader) => {
            read!(reader, |value: parquet::data_type::ByteArray| Leaf::Bytes(value.data().to_vec()))
        }
        _ => panic!("no such type in the schema"),
    }
    column
}
