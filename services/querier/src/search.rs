//! Search of some row groups of a block.

use tactus_api::job::SearchJob;
use tactus_api::search::to_message;
use tactus_block::read::{BlockReader, NumberColumn};
use tactus_model::SpanBatch;
use tactus_proto::tactus::v1::{BlockPart, SearchRequest};
use tactus_proto::tempopb::{SearchMetrics, SearchResponse, TraceSearchMetadata};
use tactus_storage::BlockMeta;
use tactus_storage::meta::{ColumnScope, DedicatedColumn};
use tactus_traceql::eval::{Matches, TraceMatchCombiner};
use tactus_traceql::{Attribute, AttributeScope};

use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::pool::Job;
use crate::prune::Pruner;

/// A search, ready to run on a block.
pub(crate) struct BlockSearch {
    search: SearchJob,
    pruner: Pruner,
}

impl BlockSearch {
    /// Compiles the request for a block with these dedicated columns.
    pub(crate) fn compile(request: &SearchRequest, dedicated: &[DedicatedColumn]) -> Result<Self> {
        let dedicated: Vec<_> = dedicated.iter().filter_map(attribute_of).collect();
        let search = SearchJob::compile(request, &dedicated)?;
        let pruner = search.root.as_ref().map_or(Pruner::Unknown, Pruner::of);
        Ok(Self { search, pruner })
    }

    /// Runs on part of a block. May block.
    pub(crate) fn run(
        &self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<SearchResponse> {
        let SearchJob { query, window, options, .. } = &self.search;
        if query.is_never() {
            return Ok(response(Vec::new(), 0, 0));
        }
        job.check()?;
        let block = blocks.open(meta, &job.runtime)?;
        let mut found = TraceMatchCombiner::default();
        let mut inspected_traces = 0;
        for row_group in row_groups(&block, part) {
            job.check()?;
            if !self.may_match(&block, row_group)? {
                continue;
            }
            let batch = block.read_row_group(row_group, query.filter_projection())?;
            inspected_traces += batch.traces.ids.len();
            let matches = query.find_newest(&batch, *window, options.limit)?;
            if matches.is_empty() {
                continue;
            }
            job.check()?;
            let (batch, matches) = self.read_results(&block, row_group, batch, matches)?;
            for trace in query.assemble(&batch, &matches, options) {
                found.add(trace);
            }
            let full = options.limit > 0 && found.len() >= options.limit;
            if full && !self.search.most_recent {
                break;
            }
        }
        let traces = found.finish(options.limit).into_iter().map(to_message).collect();
        Ok(response(traces, inspected_traces, job.inspected_bytes()))
    }

    fn may_match(&self, block: &BlockReader, row_group: usize) -> Result<bool> {
        let starts = block.row_group_bounds(row_group, NumberColumn::TraceStart);
        let ends = block.row_group_bounds(row_group, NumberColumn::TraceEnd);
        if let (Some((first, _)), Some((_, last))) = (starts, ends)
            && !self.search.window.touches(first, last)
        {
            return Ok(false);
        }
        self.pruner.may_match(block, row_group)
    }

    /// The columns that the answer shows, with the matches' rows in them. `filtered` is the batch that was searched.
    fn read_results(
        &self,
        block: &BlockReader,
        row_group: usize,
        filtered: SpanBatch,
        mut matches: Matches,
    ) -> Result<(SpanBatch, Matches)> {
        let rows = matches.trace_rows();
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Err(Error::Internal("results of no match".to_owned()));
        };
        let spans_before = filtered.spans.trace.partition_point(|&trace| trace < first) as u32;
        drop(filtered);
        let projection = self.search.query.result_projection();
        let traces = block.row_groups().get(row_group).map_or(0, |group| group.traces);
        // Reading a part means looking for its pages in every column, which only a small part repays.
        if u64::from(last - first + 1) * 4 > traces {
            return Ok((block.read_row_group(row_group, projection)?, matches));
        }
        let rows = u64::from(first)..u64::from(last) + 1;
        let batch = block.read_rows(row_group, rows, projection)?;
        for trace in &mut matches.traces {
            trace.trace -= first;
            for row in trace.span_sets.iter_mut().flat_map(|set| &mut set.rows) {
                *row -= spans_before;
            }
        }
        Ok((batch, matches))
    }
}

/// The row groups of a part, as many as the file has.
pub(crate) fn row_groups(block: &BlockReader, part: &BlockPart) -> std::ops::Range<usize> {
    let all = block.row_groups().len();
    let first = (part.first_row_group as usize).min(all);
    let end = match part.row_groups {
        0 => all,
        count => first.saturating_add(count as usize).min(all),
    };
    first..end
}

/// An answer; also that of a block which does not exist any more.
pub(crate) fn response(
    traces: Vec<TraceSearchMetadata>,
    inspected_traces: usize,
    inspected_bytes: u64,
) -> SearchResponse {
    let inspected_traces = u32::try_from(inspected_traces).unwrap_or(u32::MAX);
    let metrics = SearchMetrics { inspected_traces, inspected_bytes, ..SearchMetrics::default() };
    SearchResponse { traces, metrics: Some(metrics) }
}

/// The attribute of a dedicated column; columns of events hold none that a search by tags looks at.
fn attribute_of(column: &DedicatedColumn) -> Option<Attribute> {
    let scope = match column.scope {
        ColumnScope::Span => AttributeScope::Span,
        ColumnScope::Resource => AttributeScope::Resource,
        ColumnScope::Event => return None,
    };
    Some(Attribute::named(scope, &column.name))
}
