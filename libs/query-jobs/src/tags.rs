//! Collects tag names and values from some row groups of a block.

use std::ops::ControlFlow;
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
    Attribute, AttributeScope, Intrinsic, Patterns, completion, format_float, parse_attribute,
};

use crate::block_part::{needed_bytes, row_groups, row_groups_of, scope_of_any_time};
use crate::blocks::Blocks;
use crate::error::Result;
use crate::joined::{JoinedReads, Wanted};
use crate::parts::{Start, for_each_part};
use crate::pool::Job;
use crate::prune::{Pruner, ToldRowGroups, string_columns};

/// A request for names or values, ready to run on a block: jobs that collect, one for each thread of a block's job; all
/// the same except what they collected.
pub(crate) struct Collectors<J> {
    compile: Box<dyn Fn() -> Result<J> + Send + Sync>,
    pruner: Pruner,
    idle: Mutex<Vec<J>>,
    full: Mutex<Vec<J>>,
}

/// A request for tag names.
pub(crate) type BlockTags = Collectors<TagsJob>;

/// A request for tag values.
pub(crate) type BlockTagValues = Collectors<TagValuesJob>;

impl<J: Send + 'static> Collectors<J> {
    fn new(
        pruner: Pruner,
        compile: impl Fn() -> Result<J> + Send + Sync + 'static,
    ) -> Result<Self> {
        let first = compile()?;
        let (idle, full) = (Mutex::new(vec![first]), Mutex::default());
        Ok(Self { compile: Box::new(compile), pruner, idle, full })
    }

    /// A collector of its own for one thread.
    fn take(&self) -> Result<J> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| (self.compile)(), Ok)
    }

    /// Shows the row groups of part of a block to collectors until one is full. Returns one that has collected nothing,
    /// the others, and of which requests they are the answer.
    ///
    /// `told`: adds what dictionaries tell; `None` if they do not tell all of the row group. `only_told`: they mostly do.
    fn collect(
        self,
        (blocks, meta, part): (&Blocks, &BlockMeta, &BlockPart),
        job: &Job,
        (columns, only_told): (Projection, bool),
        told: impl Fn(&mut J, &BlockReader, usize) -> Result<Option<bool>> + Send + Sync + 'static,
        visit: fn(&mut J, &SpanBatch) -> bool,
    ) -> Result<(J, Vec<J>, AnswerScope)> {
        let summary = ToldRowGroups::ask(&self.pruner, blocks, meta, job)?;
        let block = blocks.open(meta, job)?;
        let row_groups = row_groups(&block, part);
        let wanted = Wanted { first: &columns, then: None, may_end: false };
        let may_match =
            |&row_group: &usize| !self.pruner.is_unmet_unread(&block, row_group, &summary);
        let reads = match only_told {
            // Of columns of any length only dictionaries are read.
            true => JoinedReads::whole_if_small(&block, row_groups.clone()),
            false => blocks.joined_reads(&block, row_groups.clone().filter(may_match), wanted),
        };
        // These jobs look at whole row groups.
        let scope = scope_of_any_time(row_groups.clone());
        let all = (self.compile)()?;
        let this = Arc::new(self);
        let collectors = Arc::clone(&this);
        let run = move |row_group: usize, job: &Job| {
            let mut collector = collectors.take()?;
            let look = |collector: &mut J| -> Result<bool> {
                let block = &reads.block;
                if let Some(goes_on) = told(collector, block, row_group)? {
                    return Ok(goes_on);
                }
                if collectors.pruner.unmet(block, row_group, &summary)?.is_some() {
                    return Ok(true);
                }
                let read = reads.bytes_for(row_group);
                job.hold_with_read(needed_bytes(block, row_group, &columns), read)?;
                let batch = block.read_row_group(row_group, &columns)?;
                job.check()?;
                Ok(visit(collector, &batch))
            };
            let goes_on = look(&mut collector);
            reads.end(row_group);
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
        let mut collected = std::mem::take(&mut *this.full.lock());
        collected.append(&mut this.idle.lock());
        Ok((all, collected, scope))
    }
}

impl BlockTags {
    /// Compiles the request. `max_condition_groups`: more alternatives in the filter are refused.
    pub(crate) fn compile(request: TagsRequest, max_condition_groups: usize) -> Result<Self> {
        let pruner =
            filter_pruner(&request.query, None, max_condition_groups, &Patterns::default());
        Self::new(pruner, move || Ok(TagsJob::compile(&request, max_condition_groups)?))
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
        let mut tags = self.take()?;
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
        self.idle.lock().push(tags);
        let columns = (projection, scopes.is_some());
        let told = move |tags: &mut TagsJob, block: &BlockReader, row_group: usize| match &scopes {
            Some(scopes) => visit_keys(tags, scopes, block, row_group),
            None => Ok(None),
        };
        let (all, collected, scope) =
            self.collect((blocks, meta, part), job, columns, told, TagsJob::visit)?;
        Ok((all.finish_with(collected, job.inspected_bytes()), scope))
    }
}

impl BlockTagValues {
    /// Compiles the request. `max_condition_groups`: more alternatives in the filter are refused.
    pub(crate) fn compile(request: TagValuesRequest, max_condition_groups: usize) -> Result<Self> {
        let pruner = values_pruner(&request, max_condition_groups);
        Self::new(pruner, move || Ok(TagValuesJob::compile(&request, max_condition_groups)?))
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
        let mut values = self.take()?;
        // Values that the filter pins are part of the answer whatever the block has.
        values.visit(&SpanBatch::default());
        if values.reads_nothing() {
            return Ok((values.finish(0), scope_of_any_time(0..0)));
        }
        if let Some(attribute) = values.unfiltered_attribute().cloned()
            && let Some(summary) = blocks.summaries().values(meta, job, None)?
            && add_values(&mut values, &attribute, &summary)
        {
            let row_groups = row_groups_of(summary.row_groups(), part);
            return Ok((values.finish(job.inspected_bytes()), scope_of_any_time(row_groups)));
        }
        let columns = (values.projection().clone(), false);
        let column = values.unfiltered_attribute().and_then(string_column);
        self.idle.lock().push(values);
        let told =
            move |values: &mut TagValuesJob, block: &BlockReader, row_group: usize| match &column {
                Some(column) => visit_strings(values, column, block, row_group),
                None => Ok(None),
            };
        let (all, collected, scope) =
            self.collect((blocks, meta, part), job, columns, told, TagValuesJob::visit)?;
        Ok((all.finish_with(collected, job.inspected_bytes()), scope))
    }
}

/// What a row group needs for any span of it to pass the filter of a request for names, or for the values of an attribute.
fn filter_pruner(
    query: &str,
    wanted: Option<&Attribute>,
    max_condition_groups: usize,
    patterns: &Patterns,
) -> Pruner {
    let completion = completion(query, wanted, max_condition_groups);
    completion.map_or(Pruner::Unknown, |it| Pruner::of_completion(&it, patterns))
}

/// What a row group needs for any of the requested values to be in it.
fn values_pruner(request: &TagValuesRequest, max_condition_groups: usize) -> Pruner {
    let tags = std::iter::once(&request.tag).chain(&request.more_tags);
    let patterns = Patterns::default();
    Pruner::any(tags.map(|tag| match parse_attribute(tag) {
        Ok(attribute) => {
            filter_pruner(&request.query, Some(&attribute), max_condition_groups, &patterns)
        }
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
