//! Tag names and values in some row groups of a block.

use tactus_block::read::BlockReader;
use tactus_model::{Projection, SpanBatch};
use tactus_proto::tactus::v1::{
    BlockPart, TagScope as TagScopeMessage, TagValue as TagValueMessage, TagValuesRequest,
    TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_storage::BlockMeta;
use tactus_traceql::eval::{
    TagCollector, TagFilter, TagLimits, TagScope, TagValue, ValueCollector, collect_tag_values,
    collect_tags, tag_values_projection, tags_projection,
};
use tactus_traceql::{Attribute, completion, parse_attribute};

use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::pool::Job;
use crate::search::row_groups;

/// A request for tag names, ready to run.
pub(crate) struct BlockTags {
    scope: Option<TagScope>,
    filter: TagFilter,
    projection: Projection,
    limits: TagLimits,
}

/// A request for tag values, ready to run.
pub(crate) struct BlockTagValues {
    /// Each with its filter: what the filter pins depends on the attribute.
    attributes: Vec<(Attribute, TagFilter)>,
    projection: Projection,
    limits: TagLimits,
}

impl BlockTags {
    pub(crate) fn compile(request: &TagsRequest, max_condition_groups: usize) -> Result<Self> {
        let scope = match request.scope.as_str() {
            "" => None,
            text => Some(
                TagScope::from_text(text)
                    .ok_or_else(|| Error::Invalid(format!("invalid scope: {text}")))?,
            ),
        };
        let filter = filter(&request.query, None, max_condition_groups)?;
        let mut projection = tags_projection(scope);
        projection.merge(filter.projection());
        let limits = TagLimits { max_bytes: request.max_bytes as usize, ..TagLimits::default() };
        Ok(Self { scope, filter, projection, limits })
    }

    /// Runs on part of a block. May block.
    pub(crate) fn run(
        &self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<TagsResponse> {
        let mut collector = TagCollector::new(self.limits);
        if self.scope != Some(TagScope::Intrinsic) {
            for_each_batch(blocks, meta, part, &self.projection, job, |batch| {
                collect_tags(batch, self.scope, &self.filter, &mut collector);
                !collector.is_full()
            })?;
        }
        let truncated = collector.is_full();
        let scope =
            |(scope, tags): (TagScope, _)| TagScopeMessage { name: scope.text().to_owned(), tags };
        Ok(TagsResponse {
            scopes: collector.finish().into_iter().map(scope).collect(),
            truncated,
            inspected_bytes: job.inspected_bytes(),
        })
    }
}

impl BlockTagValues {
    pub(crate) fn compile(request: &TagValuesRequest, max_condition_groups: usize) -> Result<Self> {
        let mut attributes = Vec::new();
        let mut projection = Projection::default();
        for tag in std::iter::once(&request.tag).chain(&request.more_tags) {
            let attribute = parse_attribute(tag)
                .map_err(|error| Error::Invalid(format!("invalid tag {tag}: {error}")))?;
            let filter = filter(&request.query, Some(&attribute), max_condition_groups)?;
            if !filter.reads_nothing() {
                projection.merge(&tag_values_projection(&attribute));
                projection.merge(filter.projection());
            }
            attributes.push((attribute, filter));
        }
        let limits = TagLimits {
            max_bytes: request.max_bytes as usize,
            max_count: request.max_values as usize,
            max_stale: 0,
        };
        Ok(Self { attributes, projection, limits })
    }

    /// Runs on part of a block. May block.
    pub(crate) fn run(
        &self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<TagValuesResponse> {
        let mut collector = ValueCollector::new(self.limits);
        let mut collect = |batch: &SpanBatch| {
            for (attribute, filter) in &self.attributes {
                collect_tag_values(batch, attribute, filter, &mut collector);
            }
            !collector.is_full()
        };
        if self.attributes.iter().all(|(_, filter)| filter.reads_nothing()) {
            collect(&SpanBatch::default());
        } else {
            for_each_batch(blocks, meta, part, &self.projection, job, collect)?;
        }
        let truncated = collector.is_full();
        let value = |value: TagValue| TagValueMessage {
            r#type: value.value_type.text().to_owned(),
            value: value.text,
        };
        Ok(TagValuesResponse {
            values: collector.finish().into_iter().map(value).collect(),
            truncated,
            inspected_bytes: job.inspected_bytes(),
        })
    }
}

fn filter(query: &str, requested: Option<&Attribute>, limit: usize) -> Result<TagFilter> {
    if query.is_empty() {
        return Ok(TagFilter::default());
    }
    let completion =
        completion(query, requested, limit).map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(TagFilter::new(&completion))
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
    let block: BlockReader = blocks.open(meta, &job.runtime)?;
    for row_group in row_groups(&block, part) {
        job.check()?;
        if !visit(&block.read_row_group(row_group, projection)?) {
            break;
        }
    }
    Ok(())
}
