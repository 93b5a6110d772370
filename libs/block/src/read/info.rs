//! Describes the columns of a block from its footer, for people who inspect blocks.

use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::printer::print_schema;

use super::{BlockReader, footer};

/// A leaf column of a file, over all its row groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Names from the root to the leaf, with dots between them.
    pub path: String,
    /// Bytes in the file, including page headers and dictionaries.
    pub compressed_bytes: u64,
    /// Bytes before compression, including page headers and dictionaries.
    pub uncompressed_bytes: u64,
    /// Entries, including those for missing values and empty lists.
    pub values: u64,
    /// Encodings of its pages and levels by their Parquet names, each once, sorted.
    pub encodings: Vec<String>,
    /// Compression codecs by their Parquet names, each once, sorted; more than one only in foreign files.
    pub codecs: Vec<String>,
}

impl BlockReader {
    /// The leaf columns of the file in file order, with their sizes. Taken from the footer; nothing is read.
    pub fn columns(&self) -> Vec<ColumnInfo> {
        let footer = &self.file.footer;
        let leaves = footer.schema().columns().iter().enumerate();
        leaves
            .map(|(index, leaf)| {
                let mut info = ColumnInfo {
                    path: leaf.path().string(),
                    compressed_bytes: 0,
                    uncompressed_bytes: 0,
                    values: 0,
                    encodings: Vec::new(),
                    codecs: Vec::new(),
                };
                let groups = footer.row_groups().iter();
                for chunk in groups.filter_map(|group| group.columns().get(index)) {
                    let add = |sum: &mut u64, part: i64| *sum = sum.saturating_add(count(part));
                    add(&mut info.compressed_bytes, chunk.compressed_size);
                    add(&mut info.uncompressed_bytes, chunk.uncompressed_size);
                    add(&mut info.values, chunk.num_values);
                    let encodings = chunk.encodings();
                    info.encodings
                        .extend(encodings.encodings().map(|encoding| encoding.to_string()));
                    let codec = chunk.compression.to_string();
                    // The library adds a compression level, which files do not store.
                    let name = codec.split('(').next().unwrap_or_default();
                    info.codecs.push(name.to_owned());
                }
                for names in [&mut info.encodings, &mut info.codecs] {
                    names.sort_unstable();
                    names.dedup();
                }
                info
            })
            .collect()
    }

    /// The schema of the file as message type text, one line for each group or leaf.
    pub fn schema_text(&self) -> String {
        let mut text = Vec::new();
        print_schema(&mut text, self.file.footer.schema().root_schema());
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Bytes of all pages of a row group before compression.
pub(crate) fn uncompressed_bytes(group: &RowGroupMetaData) -> u64 {
    let chunks = group.columns().iter().map(|chunk| count(chunk.uncompressed_size()));
    chunks.fold(0, u64::saturating_add)
}

/// Entries of the columns of a row group that have values.
pub(crate) fn values(group: &RowGroupMetaData) -> u64 {
    let chunks = group.columns().iter().filter(|chunk| !footer::is_all_null(chunk));
    chunks.map(|chunk| count(chunk.num_values())).fold(0, u64::saturating_add)
}

/// A count of the footer, which may be any number.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
