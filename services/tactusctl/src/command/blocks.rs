//! `blocks`.

use std::cmp::Reverse;

use serde::Serialize;
use tactus_storage::{BlockMeta, Bucket, Timestamp};

use crate::arguments;
use crate::bucket;
use crate::error::Result;
use crate::output::{Align, Output, Table, format};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    /// `live`, `compacted` or `unreadable`.
    state: &'static str,
    /// The block's id and what its meta says; only the id if that is unreadable.
    #[serde(flatten)]
    meta: BlockMeta,
    #[serde(skip_serializing_if = "Option::is_none")]
    compacted_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct Blocks {
    blocks: Vec<Block>,
}

pub(super) async fn run(
    bucket: &Bucket,
    command: &arguments::Blocks,
    output: &Output,
) -> Result<()> {
    let found = bucket::blocks(bucket, &command.tenant).await?;
    let oldest = command.since.and_then(|since| Timestamp::now().checked_sub(since).ok());
    let recent = |meta: &BlockMeta| oldest.is_none_or(|oldest| meta.end_time >= oldest);
    let mut blocks: Vec<_> = found
        .live
        .iter()
        .filter(|meta| recent(meta))
        .map(|meta| Block { state: "live", meta: meta.as_ref().clone(), compacted_time: None })
        .collect();
    if command.compacted {
        let compacted = found.compacted.iter().filter(|block| recent(&block.meta));
        blocks.extend(compacted.map(|block| Block {
            state: "compacted",
            meta: block.meta.clone(),
            compacted_time: Some(format::time(block.compacted_time)),
        }));
    }
    blocks.sort_by_key(|block| Reverse((block.meta.end_time, block.meta.block_id)));
    blocks.extend(found.unreadable.iter().map(|&block_id| {
        let meta =
            BlockMeta { block_id, tenant_id: command.tenant.clone(), ..BlockMeta::default() };
        Block { state: "unreadable", meta, compacted_time: None }
    }));
    let blocks = Blocks { blocks };
    output.show(&blocks, || table(&blocks))
}

fn table(blocks: &Blocks) -> String {
    let mut table = Table::new(&[
        ("BLOCK", Align::Left),
        ("STATE", Align::Left),
        ("VERSION", Align::Left),
        ("LEVEL", Align::Right),
        ("TRACES", Align::Right),
        ("SIZE", Align::Right),
        ("GROUPS", Align::Right),
        ("FROM", Align::Left),
        ("TO", Align::Left),
    ]);
    for Block { state, meta, .. } in &blocks.blocks {
        table.row([
            meta.block_id.to_string(),
            (*state).to_owned(),
            format::clean(&meta.format),
            meta.compaction_level.to_string(),
            meta.total_objects.to_string(),
            format::bytes(meta.size),
            meta.total_records.to_string(),
            format::time(meta.start_time),
            format::time(meta.end_time),
        ]);
    }
    let live = blocks.blocks.iter().filter(|block| block.state == "live");
    let bytes = live.clone().map(|block| block.meta.size).sum();
    format!("{}{} live blocks, {}\n", table.render(), live.count(), format::bytes(bytes))
}
