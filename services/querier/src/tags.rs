//! Tag names and values in some row groups of a block.

use tactus_api::job::{TagValuesJob, TagsJob};
use tactus_block::read::{AttributeOwner, BlockReader, StringColumn};
use tactus_model::SpanBatch;
use tactus_proto::tactus::v1::{BlockPart, TagValuesResponse, TagsResponse};
use tactus_storage::BlockMeta;
use tactus_traceql::eval::TagScope;
use tactus_traceql::{Attribute, AttributeScope, Intrinsic};

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
        let scopes = tags.unfiltered_scopes();
        for_each_row_group(blocks, meta, part, job, |block, row_group| {
            if let Some(scopes) = &scopes
                && let Some(goes_on) = visit_keys(&mut tags, scopes, block, row_group)?
            {
                return Ok(goes_on);
            }
            Ok(tags.visit(&block.read_row_group(row_group, &projection)?))
        })?;
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
        let column = values.unfiltered_attribute().and_then(string_column);
        for_each_row_group(blocks, meta, part, job, |block, row_group| {
            if let Some(column) = &column
                && let Some(goes_on) = visit_strings(&mut values, column, block, row_group)?
            {
                return Ok(goes_on);
            }
            Ok(values.visit(&block.read_row_group(row_group, &projection)?))
        })?;
    }
    Ok(values.finish(job.inspected_bytes()))
}

/// Collects names from dictionaries; `None` if those do not tell all names of the row group.
fn visit_keys(
    tags: &mut TagsJob,
    scopes: &[TagScope],
    block: &BlockReader,
    row_group: usize,
) -> Result<Option<bool>> {
    let mut goes_on = true;
    for &scope in scopes {
        let owner = match scope {
            TagScope::Resource => AttributeOwner::Resource,
            TagScope::Span => AttributeOwner::Span,
            TagScope::Event => AttributeOwner::Event,
            TagScope::Link => AttributeOwner::Link,
            _ => AttributeOwner::Scope,
        };
        let mut add = |key: &[u8]| goes_on &= tags.add(scope, key);
        if !block.visit_attribute_keys(row_group, owner, &mut add)? {
            return Ok(None);
        }
    }
    Ok(Some(goes_on))
}

/// Collects values from a dictionary; `None` if it does not tell all values of the row group.
fn visit_strings(
    values: &mut TagValuesJob,
    column: &StringColumn,
    block: &BlockReader,
    row_group: usize,
) -> Result<Option<bool>> {
    let mut strings = Vec::new();
    let mut add = |string: &[u8]| strings.push(string.to_vec());
    if !block.visit_strings(row_group, column, &mut add)? {
        return Ok(None);
    }
    // A required column holds an empty string where the attribute is absent.
    let is_name = *column == StringColumn::Name;
    let mut present = strings.iter().filter(|string| is_name || !string.is_empty());
    Ok(Some(present.all(|string| values.add_string(string))))
}

/// The column with all values of an attribute, if it has one whose empty string means absence.
fn string_column(attribute: &Attribute) -> Option<StringColumn> {
    match attribute {
        Attribute::Intrinsic(Intrinsic::Name) => Some(StringColumn::Name),
        Attribute::Named { scope: AttributeScope::Resource, parent: false, name }
            if name.as_bytes() == b"service.name" =>
        {
            Some(StringColumn::ResourceAttribute(b"service.name".to_vec()))
        }
        _ => None,
    }
}

/// Shows the row groups of a part to `visit` until it returns false.
fn for_each_row_group(
    blocks: &Blocks,
    meta: &BlockMeta,
    part: &BlockPart,
    job: &Job,
    mut visit: impl FnMut(&BlockReader, usize) -> Result<bool>,
) -> Result<()> {
    job.check()?;
    let block = blocks.open(meta, &job.runtime)?;
    for row_group in row_groups(&block, part) {
        job.check()?;
        if !visit(&block, row_group)? {
            break;
        }
    }
    Ok(())
}
