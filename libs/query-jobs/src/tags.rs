//! Collects tag names and values from some row groups of a block.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_api::job::{TagValuesJob, TagsJob};
use tactus_block::read::{AttributeOwner, BlockReader, StringColumn};
use tactus_block::summary::{BlockValues, ListedValue};
use tactus_cache::answer::AnswerScope;
use tactus_model::{Projection, SpanBatch};
use tactus_proto::tactus::v1::{
    BlockPart, TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_storage::BlockMeta;
use tactus_traceql::eval::{TagScope, TagValueType};
use tactus_traceql::{
    Attribute, AttributeScope, Intrinsic, completion, format_float, parse_attribute,
};

use crate::block_part::{needed_bytes, row_groups, row_groups_of, scope_of_any_time};
use crate::blocks::Blocks;
use crate::error::Result;
use crate::joined::{JoinedReads, Wanted};
use crate::parts::{Start, for_each_part};
use crate::pool::Job;
use crate::prune::{Pruner, ToldRowGroups, string_columns};

/// Jobs that collect, one for each thread of a block's job; all the same except what they collected.
struct Collectors<J> {
    compile: Box<dyn Fn() -> Result<J> + Send + Sync>,
    idle: Mutex<Vec<J>>,
    full: Mutex<Vec<J>>,
}

/// A request for tag names, ready to run on a block.
pub(crate) struct BlockTags {
    collectors: Collectors<TagsJob>,
    pruner: Pruner,
}

/// A request for tag values, ready to run on a block.
pub(crate) struct BlockTagValues {
    collectors: Collectors<TagValuesJob>,
    pruner: Pruner,
}

impl<J: Send + 'static> Collectors<J> {
    fn new(compile: impl Fn() -> Result<J> + Send + Sync + 'static) -> Result<Self> {
        let first = compile()?;
        let (idle, full) = (Mutex::new(vec![first]), Mutex::default());
        Ok(Self { compile: Box::new(compile), idle, full })
    }

    /// A collector of its own for one thread.
    fn take(&self) -> Result<J> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| (self.compile)(), Ok)
    }

    /// Shows the row groups to collectors until one is full; returns the collectors.
    fn collect(
        self,
        reading: Reading,
        row_groups: Range<usize>,
        job: &Job,
        visit: impl Fn(&mut J, &Reading, usize, &Job) -> Result<bool> + Send + Sync + 'static,
    ) -> Result<Vec<J>> {
        let this = Arc::new(self);
        let collectors = Arc::clone(&this);
        let run = move |row_group: usize, job: &Job| {
            let mut collector = collectors.take()?;
            let goes_on = visit(&mut collector, &reading, row_group, job);
            reading.reads.end(row_group);
            let goes_on = goes_on?;
            job.check()?;
            // A full one must not be on another thread when the answer is made of it.
            let done = if goes_on { &collectors.idle } else { &collectors.full };
            done.lock().push(collector);
            Ok(goes_on)
        };
        for_each_part(job, row_groups, Start::Together, run, |goes_on| {
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        let mut all = std::mem::take(&mut *this.full.lock());
        all.append(&mut this.idle.lock());
        Ok(all)
    }
}

impl BlockTags {
    /// Compiles the request. `max_condition_groups`: more alternatives in the filter are refused.
    pub(crate) fn compile(request: TagsRequest, max_condition_groups: usize) -> Result<Self> {
        let pruner = filter_pruner(&request.query, None, max_condition_groups);
        let compile = move || Ok(TagsJob::compile(&request, max_condition_groups)?);
        Ok(Self { collectors: Collectors::new(compile)?, pruner })
    }

    /// Collects tag names from part of a block. May block.
    ///
    /// Which names are left out when there are too many depends on chance.
    pub(crate) fn run(
        self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<(TagsResponse, AnswerScope)> {
        let mut tags = self.collectors.take()?;
        if tags.reads_nothing() {
            return Ok((tags.finish(0), scope_of_any_time(0..0)));
        }
        let (projection, scopes) = (tags.projection().clone(), tags.unfiltered_scopes());
        if let Some(scopes) = &scopes
            && let Some(values) = blocks.summaries().values(meta, job, None)?
            && add_names(&mut tags, scopes, &values)
        {
            let row_groups = row_groups_of(values.row_groups(), part);
            return Ok((tags.finish(job.inspected_bytes()), scope_of_any_time(row_groups)));
        }
        let told = ToldRowGroups::ask(&self.pruner, blocks, meta, job)?;
        self.collectors.idle.lock().push(tags);
        let block = blocks.open(meta, job)?;
        let row_groups = row_groups(&block, part);
        let wanted = Wanted { first: &projection, then: None, may_end: false };
        let may_match = |&row_group: &usize| !self.pruner.is_unmet_unread(&block, row_group, &told);
        let reads = match scopes {
            // Of columns of any length only dictionaries are read.
            Some(_) => JoinedReads::whole_if_small(&block, row_groups.clone()),
            None => blocks.joined_reads(&block, row_groups.clone().filter(may_match), wanted),
        };
        // These jobs look at whole row groups.
        let scope = scope_of_any_time(row_groups.clone());
        let reading = Reading { reads, columns: projection, pruner: self.pruner, told };
        let visit = move |tags: &mut TagsJob, reading: &Reading, row_group: usize, job: &Job| {
            if let Some(scopes) = &scopes
                && let Some(goes_on) = visit_keys(tags, scopes, &reading.reads.block, row_group)?
            {
                return Ok(goes_on);
            }
            let batch = reading.read(row_group, job)?;
            Ok(batch.is_none_or(|batch| tags.visit(&batch)))
        };
        let all = (self.collectors.compile)()?;
        let collected = self.collectors.collect(reading, row_groups, job, visit)?;
        Ok((all.finish_with(collected, job.inspected_bytes()), scope))
    }
}

impl BlockTagValues {
    /// Compiles the request. `max_condition_groups`: more alternatives in the filter are refused.
    pub(crate) fn compile(request: TagValuesRequest, max_condition_groups: usize) -> Result<Self> {
        let pruner = values_pruner(&request, max_condition_groups);
        let compile = move || Ok(TagValuesJob::compile(&request, max_condition_groups)?);
        Ok(Self { collectors: Collectors::new(compile)?, pruner })
    }

    /// Collects tag values from part of a block. May block.
    ///
    /// Which values are left out when there are too many depends on chance.
    pub(crate) fn run(
        self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<(TagValuesResponse, AnswerScope)> {
        let mut values = self.collectors.take()?;
        // Values that the filter pins are part of the answer whatever the block has.
        values.visit(&SpanBatch::default());
        if values.reads_nothing() {
            return Ok((values.finish(0), scope_of_any_time(0..0)));
        }
        let projection = values.projection().clone();
        if let Some(attribute) = values.unfiltered_attribute().cloned()
            && let Some(summary) = blocks.summaries().values(meta, job, None)?
            && add_values(&mut values, &attribute, &summary)
        {
            let row_groups = row_groups_of(summary.row_groups(), part);
            return Ok((values.finish(job.inspected_bytes()), scope_of_any_time(row_groups)));
        }
        let told = ToldRowGroups::ask(&self.pruner, blocks, meta, job)?;
        let column = values.unfiltered_attribute().and_then(string_column);
        self.collectors.idle.lock().push(values);
        let block = blocks.open(meta, job)?;
        let row_groups = row_groups(&block, part);
        let wanted = Wanted { first: &projection, then: None, may_end: false };
        let may_match = |&row_group: &usize| !self.pruner.is_unmet_unread(&block, row_group, &told);
        let reads = blocks.joined_reads(&block, row_groups.clone().filter(may_match), wanted);
        // These jobs look at whole row groups.
        let scope = scope_of_any_time(row_groups.clone());
        let reading = Reading { reads, columns: projection, pruner: self.pruner, told };
        let visit =
            move |values: &mut TagValuesJob, reading: &Reading, row_group: usize, job: &Job| {
                let block = &reading.reads.block;
                if let Some(column) = &column
                    && let Some(goes_on) = visit_strings(values, column, block, row_group)?
                {
                    return Ok(goes_on);
                }
                let batch = reading.read(row_group, job)?;
                Ok(batch.is_none_or(|batch| values.visit(&batch)))
            };
        let all = (self.collectors.compile)()?;
        let collected = self.collectors.collect(reading, row_groups, job, visit)?;
        Ok((all.finish_with(collected, job.inspected_bytes()), scope))
    }
}

/// How the row groups of a block are read.
struct Reading {
    reads: JoinedReads,
    columns: Projection,
    pruner: Pruner,
    told: ToldRowGroups,
}

impl Reading {
    /// The columns of a row group, with memory for them; `None` if no span of it passes the filter.
    fn read(&self, row_group: usize, job: &Job) -> Result<Option<SpanBatch>> {
        let (block, columns) = (&self.reads.block, &self.columns);
        if self.pruner.unmet(block, row_group, &self.told)?.is_some() {
            return Ok(None);
        }
        let read = self.reads.bytes_for(row_group);
        job.hold_with_read(needed_bytes(block, row_group, columns), read)?;
        let batch = block.read_row_group(row_group, columns)?;
        job.check()?;
        Ok(Some(batch))
    }
}

/// What a row group needs for any span of it to pass the filter of a request for names, or for the values of an attribute.
fn filter_pruner(query: &str, wanted: Option<&Attribute>, max_condition_groups: usize) -> Pruner {
    let completion = completion(query, wanted, max_condition_groups);
    completion.map_or(Pruner::Unknown, |completion| Pruner::of_completion(&completion))
}

/// What a row group needs for any of the requested values to be in it.
fn values_pruner(request: &TagValuesRequest, max_condition_groups: usize) -> Pruner {
    let tags = std::iter::once(&request.tag).chain(&request.more_tags);
    Pruner::any(tags.map(|tag| match parse_attribute(tag) {
        Ok(attribute) => filter_pruner(&request.query, Some(&attribute), max_condition_groups),
        Err(_) => Pruner::Unknown,
    }))
}

/// Adds all names that a block has in these scopes; false if its summary does not know them, and nothing is added.
fn add_names(tags: &mut TagsJob, scopes: &[TagScope], values: &BlockValues) -> bool {
    for &scope in scopes {
        let Some(mut names) = values.names(owner_of(scope)) else { return false };
        if !names.all(|name| tags.add(scope, name)) {
            break;
        }
    }
    true
}

/// Adds all values that a block has of an attribute; false if its summary does not know them, and nothing is added.
fn add_values(values: &mut TagValuesJob, attribute: &Attribute, summary: &BlockValues) -> bool {
    // What a summary has of these names is of other spans as well.
    if let Attribute::Named { parent: true, .. }
    | Attribute::Intrinsic(Intrinsic::TraceRootService | Intrinsic::TraceRootName) = attribute
    {
        return false;
    }
    let columns = string_columns(attribute);
    if columns.is_empty() {
        return false;
    }
    let columns = columns.iter().map(StringColumn::summarized);
    let lists: Option<Vec<_>> = columns.map(|(owner, name)| summary.values(owner, name)).collect();
    let Some(lists) = lists else { return false };
    for value in lists.into_iter().flatten() {
        let goes_on = match value {
            ListedValue::String(text) => values.add_string(text),
            ListedValue::Int(number) => values.add_text(TagValueType::Int, number.to_string()),
            ListedValue::Double(bits) => {
                values.add_text(TagValueType::Float, format_float(f64::from_bits(bits)))
            }
            ListedValue::Bool(value) => values.add_text(TagValueType::Bool, value.to_string()),
        };
        if !goes_on {
            break;
        }
    }
    true
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
        let mut add = |key: &[u8]| goes_on &= tags.add(scope, key);
        if !block.visit_attribute_keys(row_group, owner_of(scope), &mut add)? {
            return Ok(None);
        }
    }
    Ok(Some(goes_on))
}

fn owner_of(scope: TagScope) -> AttributeOwner {
    match scope {
        TagScope::Resource => AttributeOwner::Resource,
        TagScope::Span => AttributeOwner::Span,
        TagScope::Event => AttributeOwner::Event,
        TagScope::Link => AttributeOwner::Link,
        _ => AttributeOwner::Scope,
    }
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
