//! `blocks`.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;
use tactus_storage::{BlockMeta, Bucket, Timestamp};

use crate::arguments;
use crate::bucket;
use crate::error::Result;
use crate::output::{Output, Table, format};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    /// `live`, `compacted` or `unreadable`.
    state: &'static str,
    /// The block's meta. If it is unreadable, only the id is set.
    #[serde(flatten)]
    meta: BlockMeta,
    #[serde(skip_serializing_if = "Option::is_none")]
    compacted_time: Option<String>,
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
    output.show(&HashMap::from([("blocks", &blocks)]), || text(&blocks))
}

fn text(blocks: &[Block]) -> String {
    let lines = Table::of(blocks)
        .left("BLOCK", |block| block.meta.block_id.to_string())
        .left("STATE", |block| block.state.to_owned())
        .left("VERSION", |block| format::clean(&block.meta.format))
        .right("LEVEL", |block| block.meta.compaction_level.to_string())
        .right("TRACES", |block| block.meta.total_objects.to_string())
        .right("SIZE", |block| format::bytes(block.meta.size))
        .right("GROUPS", |block| block.meta.total_records.to_string())
        .left("FROM", |block| format::time(block.meta.start_time))
        .left("TO", |block| format::time(block.meta.end_time))
        .render();
    let live = blocks.iter().filter(|block| block.state == "live");
    let bytes = live.clone().map(|block| block.meta.size).fold(0, u64::saturating_add);
    format!("{lines}{}, {}\n", format::counted(live.count(), "live block"), format::bytes(bytes))
}
