//! `block`.

use std::cmp::Reverse;

use serde::Serialize;
use tactus_block::read::open_stored;
use tactus_storage::layout::block_prefix;
use tactus_storage::{BlockMeta, Bucket};
use tokio::runtime::Handle;

use crate::arguments;
use crate::bucket;
use crate::error::{Error, Result};
use crate::output::{Output, Table, format};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    /// `live` or `compacted`.
    state: &'static str,
    meta: BlockMeta,
    files: Vec<File>,
    row_groups: Vec<RowGroup>,
    columns: Vec<Column>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
}

#[derive(Debug, Serialize)]
struct File {
    name: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RowGroup {
    traces: u64,
    compressed_bytes: u64,
    uncompressed_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_trace_id: Option<String>,
}

/// A leaf column over all row groups.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Column {
    path: String,
    compressed_bytes: u64,
    uncompressed_bytes: u64,
    /// Values, nulls and empty lists.
    entries: u64,
    codecs: Vec<String>,
    encodings: Vec<String>,
}

pub(super) async fn run(
    bucket: &Bucket,
    command: &arguments::Block,
    output: &Output,
) -> Result<()> {
    let (meta, compacted) = bucket::find_meta(bucket, &command.tenant, command.block).await?;
    let prefix = block_prefix(&command.tenant, command.block);
    let objects = bucket.list(&prefix).await?.into_iter();
    let mut files: Vec<_> = objects
        .map(|object| {
            let name = object.key.strip_prefix(&prefix).unwrap_or(&object.key);
            File { name: name.to_owned(), bytes: object.size }
        })
        .collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let (bucket, described, with_schema) = (bucket.clone(), meta.clone(), command.schema);
    let read = match meta.version() {
        Ok(_) => {
            let read = move || read(&bucket, &described, with_schema);
            tokio::task::spawn_blocking(read).await.map_err(Error::thread)?
        }
        // The meta and the files of a block that is set aside, or of a newer version, are known all the same.
        Err(_) => Ok(Read::default()),
    };
    let (row_groups, columns, schema) = read.map_err(|error| Error::block(command.block, error))?;
    let state = if compacted { "compacted" } else { "live" };
    let block = Block { state, meta, files, row_groups, columns, schema };
    output.show(&block, || text(&block))
}

type Read = (Vec<RowGroup>, Vec<Column>, Option<String>);

fn read(bucket: &Bucket, meta: &BlockMeta, schema: bool) -> tactus_block::Result<Read> {
    let reader = open_stored(bucket, meta, &Handle::current())?;
    let row_groups = reader.row_groups().iter().map(|group| RowGroup {
        traces: group.traces,
        compressed_bytes: group.bytes,
        uncompressed_bytes: group.uncompressed_bytes,
        first_trace_id: group.min_id.map(|id| id.to_hex()),
        last_trace_id: group.max_id.map(|id| id.to_hex()),
    });
    let columns = reader.columns().into_iter().map(|column| Column {
        path: column.path,
        compressed_bytes: column.compressed_bytes,
        uncompressed_bytes: column.uncompressed_bytes,
        entries: column.values,
        codecs: column.codecs,
        encodings: column.encodings,
    });
    let mut columns: Vec<_> = columns.collect();
    // The sort is stable, so columns of equal size stay in the order of the file.
    columns.sort_by_key(|column| Reverse(column.compressed_bytes));
    Ok((row_groups.collect(), columns, schema.then(|| reader.schema_text())))
}

fn text(block: &Block) -> String {
    let meta = &block.meta;
    let mut text = format!("block      {} ({})\n", meta.block_id, block.state);
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<11}{value}\n"));
    line("tenant", format::clean(&meta.tenant_id));
    line("version", format::clean(&meta.format));
    line("from", meta.start_time.to_string());
    line("to", meta.end_time.to_string());
    line("traces", meta.total_objects.to_string());
    line("size", format!("{} ({} bytes)", format::bytes(meta.size), meta.size));
    line("level", meta.compaction_level.to_string());
    if meta.replication_factor > 0 {
        line("copies", meta.replication_factor.to_string());
    }
    for column in meta.dedicated_columns.iter() {
        let options: String = column.options.iter().map(|o| format!(" {}", o.as_str())).collect();
        let (scope, kind) = (column.scope.as_str(), column.column_type.as_str());
        line("dedicated", format!("{scope}.{} {kind}{options}", format::clean(&column.name)));
    }
    for source in meta.sources() {
        line("replaces", source.to_string());
    }
    text.push('\n');
    text.push_str(&files(&block.files));
    text.push('\n');
    if meta.version().is_err() {
        text.push_str("data of this version is not read\n");
        return text;
    }
    text.push_str(&row_groups(&block.row_groups));
    text.push('\n');
    text.push_str(&columns(&block.columns));
    if let Some(schema) = &block.schema {
        text.push('\n');
        text.push_str(&format::clean_lines(schema));
        text.push('\n');
    }
    text
}

fn files(files: &[File]) -> String {
    Table::of(files)
        .left("FILE", |file| format::clean(&file.name))
        .right("BYTES", |file| file.bytes.to_string())
        .render()
}

fn row_groups(groups: &[RowGroup]) -> String {
    let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
    Table::of(groups.iter().enumerate())
        .right("GROUP", |(number, _)| number.to_string())
        .right("TRACES", |(_, group)| group.traces.to_string())
        .right("SIZE", |(_, group)| format::bytes(group.compressed_bytes))
        .right("UNCOMPRESSED", |(_, group)| format::bytes(group.uncompressed_bytes))
        .left("FIRST TRACE", |(_, group)| id(&group.first_trace_id))
        .left("LAST TRACE", |(_, group)| id(&group.last_trace_id))
        .render()
}

fn columns(columns: &[Column]) -> String {
    let all: u64 = columns.iter().map(|column| column.compressed_bytes).sum();
    Table::of(columns)
        .left("COLUMN", |column| format::clean(&column.path))
        .right("SIZE", |column| format::bytes(column.compressed_bytes))
        .right("SHARE", |column| format::percent(column.compressed_bytes, all))
        .right("UNCOMPRESSED", |column| format::bytes(column.uncompressed_bytes))
        .right("ENTRIES", |column| column.entries.to_string())
        .left("CODEC", |column| column.codecs.join(" "))
        .left("ENCODINGS", |column| column.encodings.join(" "))
        .render()
}
