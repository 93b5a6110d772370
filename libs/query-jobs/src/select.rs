//! Decides from their summaries alone which of many blocks a search has to read.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tactus_proto::tactus::v1::SelectBlocksResponse;
use tactus_storage::{BlockMeta, Uuid};

use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::pool::{Job, JobOptions};
use crate::prune::{Pruner, ToldRowGroups};
use crate::querier_state::QuerierState;
use crate::summaries::Summaries;

/// Blocks whose summaries are read from object storage at the same time.
const CONCURRENT_BLOCKS: usize = 32;

/// Bytes of them, unless one has more.
const FETCHED_BYTES: u64 = 8 << 20;

/// The blocks that may match. A block whose meta or summary cannot be read may match; the job that reads the block
/// reports why.
pub(crate) async fn select_blocks(
    inner: &Arc<QuerierState>,
    tenant: &str,
    pruner: Pruner,
    block_ids: Vec<Uuid>,
    options: JobOptions,
) -> Result<SelectBlocksResponse> {
    let count = block_ids.len();
    if !pruner.asks_values() && !pruner.asks_meta() {
        let all = selected(std::iter::repeat_n(true, count), 0);
        return Ok(SelectBlocksResponse { tells_nothing: true, ..all });
    }
    let mut metas = Vec::with_capacity(count);
    for block_id in block_ids {
        metas.push(inner.blocks.meta(tenant, block_id).await.ok());
    }
    if inner.blocks.summaries().is_local() {
        let shared = Arc::clone(inner);
        let ask = move |job: &Job| {
            let may_match = |meta: &Option<Arc<BlockMeta>>| match meta {
                Some(meta) => may_match(&shared.blocks, &pruner, meta, job),
                None => Ok(true),
            };
            let may_match = metas.iter().map(may_match).collect::<Result<Vec<_>>>()?;
            Ok(selected(may_match.into_iter(), job.inspected_bytes()))
        };
        return inner.pool.run(options, ask).await;
    }
    select_fetched(inner, pruner, &metas, options).await
}

/// A block whose summary is asked.
struct Asked {
    place: usize,
    meta: Arc<BlockMeta>,
    values: Bytes,
    filter: Bytes,
    may_match: bool,
    needs_filter: bool,
}

/// As [`select_blocks`], of blocks in object storage: many summaries are read at a time, and evaluated by the threads of jobs,
/// because patterns may take long.
async fn select_fetched(
    inner: &Arc<QuerierState>,
    pruner: Pruner,
    metas: &[Option<Arc<BlockMeta>>],
    options: JobOptions,
) -> Result<SelectBlocksResponse> {
    let (mut may_match, mut waiting) = (vec![true; metas.len()], VecDeque::new());
    for (place, meta) in metas.iter().enumerate() {
        let Some(meta) = meta else { continue };
        match ToldRowGroups::without_summary(&pruner, meta) {
            Some(told) => may_match[place] = !told.rules_out_all(),
            None => waiting.push_back(Asked {
                place,
                meta: Arc::clone(meta),
                values: Bytes::new(),
                filter: Bytes::new(),
                may_match: true,
                needs_filter: false,
            }),
        }
    }
    let (summaries, pruner) = (inner.blocks.summaries(), Arc::new(pruner));
    let asks_filter = pruner.has_equality();
    let mut bytes = 0;
    while let Some(mut asked) = next_of(&mut waiting) {
        let fetch = asked.iter().map(|it| summaries.fetch_values(&it.meta, asks_filter));
        let fetched = join_all(fetch).await;
        for (it, values) in asked.iter_mut().zip(fetched) {
            bytes += values.len() as u64;
            it.values = values;
        }
        let told = evaluate(inner, &pruner, asked, options).await?;
        let (mut asked, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|it| it.needs_filter);
        told.iter().for_each(|it| may_match[it.place] = it.may_match);
        if asked.is_empty() {
            continue;
        }
        let fetched = join_all(asked.iter().map(|it| summaries.fetch_filter(&it.meta))).await;
        for (it, filter) in asked.iter_mut().zip(fetched) {
            bytes += filter.len() as u64;
            it.filter = filter;
        }
        let told = evaluate(inner, &pruner, asked, options).await?;
        told.iter().for_each(|it| may_match[it.place] = it.may_match);
    }
    Ok(selected(may_match.into_iter(), bytes))
}

/// The blocks whose summaries are read next.
fn next_of(waiting: &mut VecDeque<Asked>) -> Option<Vec<Asked>> {
    let mut bytes = 0;
    let fits = |it: &&Asked| {
        bytes += Summaries::fetched_bytes(&it.meta);
        bytes <= FETCHED_BYTES
    };
    let count = waiting.iter().take(CONCURRENT_BLOCKS).take_while(fits).count().max(1);
    (!waiting.is_empty()).then(|| waiting.drain(..count).collect())
}

/// Notes what their summaries tell of blocks.
async fn evaluate(
    inner: &Arc<QuerierState>,
    pruner: &Arc<Pruner>,
    mut asked: Vec<Asked>,
    options: JobOptions,
) -> Result<Vec<Asked>> {
    let (shared, pruner) = (Arc::clone(inner), Arc::clone(pruner));
    let run = move |job: &Job| {
        for it in &mut asked {
            job.check()?;
            let (summaries, fetched) = (shared.blocks.summaries(), (&it.values, &it.filter));
            let (told, needs_filter) =
                ToldRowGroups::of_fetched(&pruner, summaries, &it.meta, fetched);
            (it.may_match, it.needs_filter) = (!told.rules_out_all(), needs_filter);
        }
        Ok(asked)
    };
    inner.pool.run(options, run).await
}

fn selected(may_match: impl Iterator<Item = bool>, inspected_bytes: u64) -> SelectBlocksResponse {
    let places = (0..).zip(may_match).filter(|(_, may_match)| *may_match);
    let blocks = places.map(|(place, _)| place).collect();
    SelectBlocksResponse { blocks, inspected_bytes, tells_nothing: false }
}

fn may_match(blocks: &Blocks, pruner: &Pruner, meta: &BlockMeta, job: &Job) -> Result<bool> {
    job.check()?;
    match ToldRowGroups::ask(pruner, blocks, meta, job) {
        Ok(told) => Ok(!told.rules_out_all()),
        Err(error @ (Error::Cancelled | Error::TimedOut | Error::Limit(_))) => Err(error),
        Err(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_blocks::batch_of_spans;
    use crate::tests::TENANT;
    use crate::{Querier, Settings};
    use tactus_block::{BlockBuilder, BuilderSettings, WriterSettings};
    use tactus_rpc::QueryContext;
    use tactus_storage::block_io::{BlockFiles, ObjectSource, write_block};
    use tactus_storage::{Blocklist, Bucket, BucketSettings};
    use tactus_telemetry::metrics::Registry;

    #[tokio::test]
    async fn summaries_in_object_storage_are_evaluated_by_the_threads_of_jobs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let settings = BuilderSettings {
            writer: WriterSettings::default(),
            bloom_false_positive: 0.01,
            bloom_shard_bytes: 100_000,
        };
        let mut builder = BlockBuilder::new(Vec::new(), &settings, 4).unwrap();
        builder.write_row_group(&batch_of_spans(0..40, 4)).unwrap();
        let built = builder.finish().unwrap();
        let mut meta = BlockMeta::new(settings.writer.version, TENANT, Uuid::from_u128(7));
        built.describe(&mut meta);
        let files = BlockFiles {
            data: ObjectSource::Bytes(built.sink.into()),
            blooms: built.blooms.into_iter().map(ObjectSource::Bytes).collect(),
            index: Some(ObjectSource::Bytes(built.index)),
            summary: Some(ObjectSource::Bytes(built.summary_file.bytes)),
            no_compact: false,
        };
        write_block(&bucket, &meta, &files).await.unwrap();
        let blocklist = Arc::new(Blocklist::new());
        let querier = Querier::new(Settings::default(), bucket, blocklist, &Registry::new());
        let metas = [Some(Arc::new(meta)), None];
        let select = async |query: &str| {
            let pruner = Pruner::of(&tactus_traceql::parse(query).unwrap());
            let options = querier.inner.options(TENANT, &[query], QueryContext::default());
            select_fetched(&querier.inner, pruner, &metas, options).await
        };
        for (query, expected) in [
            ("{ name = `op 1` }", &[0, 1][..]),
            ("{ name = `nothing` }", &[1]),
            ("{ name =~ `op [12]` }", &[0, 1]),
            ("{ name =~ `op [3-9]` }", &[1]),
            ("{ span.n = 7 }", &[0, 1]),
            ("{ span.absent != nil }", &[1]),
        ] {
            assert_eq!(select(query).await.unwrap().blocks, expected, "{query}");
        }
        // From now on they do nothing.
        querier.end().await;
        let error = select("{ name =~ `op [3-9]` }").await.unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
}
