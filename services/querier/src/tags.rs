//! Tag names and values in some row groups of a block.

use tactus_api::job::{TagValuesJob, TagsJob};
use tactus_model::{Projection, SpanBatch};
use tactus_proto::tactus::v1::{BlockPart, TagValuesResponse, TagsResponse};
use tactus_storage::BlockMeta;

use crate::blocks::Blocks;
use crate::error::Result;
use crate::pool::Job;
use crate::search::row_groups;

/// Collects tag names from part of a block. May block.
pub(crate) fn tags(
    mut tags: TagsJob,
    blocks: &Blocks,
    meta: &BlockMeta,
    part: &BlockPart,
    job: &Job,
) -> Result<TagsResponse> {
    if !tags.reads_nothing() {
        let projection = tags.projection().clone();
        for_each_batch(blocks, meta, part, &projection, job, |batch| tags.visit(batch))?;
    }
    Ok(tags.finish(job.inspected_bytes()))
}

/// Collects tag values from part of a block. May block.
pub(crate) fn tag_values(
    mut values: TagValuesJob,
    blocks: &Blocks,
    meta: &BlockMeta,
    part: &BlockPart,
    job: &Job,
) -> Result<TagValuesResponse> {
    if values.reads_nothing() {
        values.visit(&SpanBatch::default());
    } else {
        let projection = values.projection().clone();
        for_each_batch(blocks, meta, part, &projection, job, |batch| values.visit(batch))?;
    }
    Ok(values.finish(job.inspected_bytes()))
}

/// Shows the row groups of a part to `visit` until it returns false.
fn for_each_batch(
    blocks: &Blocks,
    meta: &BlockMeta,
    part: &BlockPart,
    projection: &Projection,
    job: &Job,
    mut visit: impl FnMut(&SpanBatch) -> bool,
) -> Result<()> {
    job.check()?;
    let block = blocks.open(meta, &job.runtime)?;
    for row_group in row_groups(&block, part) {
        job.check()?;
        if !visit(&block.read_row_group(row_group, projection)?) {
            break;
        }
    }
    Ok(())
}
