use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tactus_block::read::open_stored;
use tactus_block::{BlockBuilder, BuilderSettings};
use tactus_model::{OriginSet, Projection, SpanBatch, TraceId};
use tactus_storage::BucketSettings;
use tactus_storage::block_io::{
    BlockFiles, ObjectSource, list_blocks, mark_compacted, write_block,
};
use tactus_storage::meta::BlockVersion;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::*;
use crate::testing::{
    Random, Shape, Span, builder_settings, encode, merged, random_spans, read_spans, sorted,
};
use crate::{Cancelled, RetentionClasses, Unattended};

const TENANT: &str = "single-tenant";

struct Place {
    bucket: Bucket,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        Self { bucket: Bucket::open(&BucketSettings::Local { path }).unwrap(), directory }
    }

    /// A bucket with one of the sample blocks.
    async fn of_sample(version: &str) -> (Self, Arc<BlockMeta>) {
        let place = Self::new();
        let blocks = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../conformance/blocks")
            .join(version);
        copy_directory(&blocks, place.directory.path());
        let meta = place.only_block().await;
        (place, Arc::new(meta))
    }

    async fn live(&self) -> Vec<Uuid> {
        list_blocks(&self.bucket, TENANT, 1).await.unwrap().live
    }

    async fn only_block(&self) -> BlockMeta {
        let live = self.live().await;
        assert_eq!(live.len(), 1);
        read_meta(&self.bucket, TENANT, live[0]).await.unwrap()
    }

    async fn add(&self, number: u8, spans: &[Span], settings: &BuilderSettings) -> Arc<BlockMeta> {
        let traces = spans.chunk_by(|a, b| a.trace == b.trace).count() as u64;
        let mut builder = BlockBuilder::new(Vec::new(), settings, traces).unwrap();
        builder.write_row_group(&encode(spans)).unwrap();
        let built = builder.finish().unwrap();
        let mut meta = BlockMeta::new(settings.writer.version, TENANT, id(number));
        built.describe(&mut meta);
        meta.set_time_range_unix_nanos(SECOND * u64::from(number), SECOND * 1_000);
        let files = BlockFiles {
            data: ObjectSource::Bytes(built.sink.into()),
            blooms: built.blooms.into_iter().map(ObjectSource::Bytes).collect(),
            index: Some(ObjectSource::Bytes(built.index)),
            summary: Some(ObjectSource::Bytes(built.summary_file.bytes)),
            no_compact: false,
        };
        write_block(&self.bucket, &meta, &files).await.unwrap();
        Arc::new(meta)
    }

    async fn read(&self, meta: &BlockMeta) -> Vec<SpanBatch> {
        let (bucket, meta, runtime) = (self.bucket.clone(), meta.clone(), Handle::current());
        let read = move || {
            let reader = open_stored(&bucket, &meta, &runtime).unwrap();
            (0..reader.row_groups().len())
                .map(|group| reader.read_row_group(group, &Projection::all()).unwrap())
                .collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    async fn spans(&self, meta: &BlockMeta) -> Vec<Span> {
        let (bucket, meta, runtime) = (self.bucket.clone(), meta.clone(), Handle::current());
        let read = move || read_spans(&open_stored(&bucket, &meta, &runtime).unwrap());
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    async fn rewrite(&self, inputs: &[Arc<BlockMeta>], changes: Changes) -> Result<Rewritten> {
        self.rewrite_watched(inputs, changes, Arc::new(Unattended)).await
    }

    async fn rewrite_watched(
        &self,
        inputs: &[Arc<BlockMeta>],
        changes: Changes,
        control: Arc<dyn Control>,
    ) -> Result<Rewritten> {
        let settings = RewriteSettings::new(builder_settings(BlockVersion::VParquet4, true));
        let changes = Arc::new(changes);
        let commit = async || Ok(());
        rewrite_blocks(&self.bucket, inputs, output(inputs), settings, changes, control, commit)
            .await
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_directory(&entry.path(), &target),
            false => std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

const SECOND: u64 = 1_000_000_000;

fn id(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

fn output(inputs: &[Arc<BlockMeta>]) -> OutputBlock {
    let ids: Vec<Uuid> = inputs.iter().map(|meta| meta.block_id).collect();
    OutputBlock {
        id: output_id(&ids, "test"),
        level: None,
        retention: "r1".to_owned(),
        only_if_changed: false,
    }
}

fn v4() -> BuilderSettings {
    builder_settings(BlockVersion::VParquet4, false)
}

fn span(trace: u8, id: u64, start: u64) -> Span {
    Span { trace: [trace; 16], id, start, duration: SECOND, ..Span::default() }
}

#[tokio::test]
async fn sample_blocks_keep_every_span() {
    for version in ["vParquet4", "vParquet5"] {
        let (place, meta) = Place::of_sample(version).await;
        let rewritten = place.rewrite(&[Arc::clone(&meta)], Changes::default()).await.unwrap();
        let new = rewritten.meta.unwrap();
        assert_eq!((new.total_objects, new.compaction_level), (64, 1));
        assert_eq!((new.start_time, new.end_time), (meta.start_time, meta.end_time));
        assert_eq!(new, read_meta(&place.bucket, TENANT, new.block_id).await.unwrap());
        let (before, after) = (place.spans(&meta).await, place.spans(&new).await);
        let expected = merged([&before]);
        assert_eq!(rewritten.stats.duplicate_spans as usize, before.len() - expected.len());
        assert_eq!(sorted(after), expected);
    }
}

#[tokio::test]
async fn sample_blocks_of_both_versions_become_one() {
    let (place, v4) = Place::of_sample("vParquet4").await;
    let (other, v5) = Place::of_sample("vParquet5").await;
    let from = other.directory.path().join(TENANT).join(v5.block_id.to_string());
    copy_directory(&from, &place.directory.path().join(TENANT).join(v5.block_id.to_string()));
    let inputs = [Arc::clone(&v5), Arc::clone(&v4)];
    let new = place.rewrite(&inputs, Changes::default()).await.unwrap().meta.unwrap();
    assert_eq!(new.total_objects, 64);
    let mut blocks = [place.spans(&v4).await, place.spans(&v5).await];
    if v5.block_id < v4.block_id {
        blocks.reverse();
    }
    assert_eq!(sorted(place.spans(&new).await), merged(&blocks));
}

/// Check 31 of the block format.
#[tokio::test]
async fn partial_traces_become_one_tree() {
    let place = Place::new();
    let text = |text: &str| crate::testing::Value::Text(text.to_owned());
    let make = |service: &str, id: u64, parent: u64, kind: u8, start: u64, end: u64| {
        let start = start + SECOND;
        let end = end + SECOND;
        let mut span = Span { trace: [1; 16], id, parent, kind, start, ..Span::default() };
        span.duration = end - start;
        span.name = if parent == 0 { "root".to_owned() } else { format!("a{id}") };
        span.resource.insert("service.name".to_owned(), text(service));
        span
    };
    let shared = make("frontend", 3, 1, 3, 100, 200);
    let first = [make("db", 4, 3, 1, 110, 190), shared.clone()];
    let second = [shared, make("frontend", 1, 0, 2, 0, 250), make("frontend", 2, 1, 1, 50, 60)];
    let inputs = [place.add(1, &first, &v4()).await, place.add(2, &second, &v4()).await];
    let rewritten = place.rewrite(&inputs, Changes::default()).await.unwrap();
    assert_eq!(rewritten.stats.traces_combined, 1);
    let batches = place.read(&rewritten.meta.unwrap()).await;
    let batch = &batches[0];
    let spans = &batch.spans;
    let tree: Vec<_> = (0..batch.len())
        .map(|row| {
            let id = spans.span_id[row].0[7];
            (id, spans.nested_left[row], spans.nested_right[row], spans.nested_parent[row])
        })
        .collect();
    let mut ordered = tree.clone();
    ordered.sort_unstable();
    assert_eq!(ordered, [(1, 1, 8, -1), (2, 2, 3, 1), (3, 4, 7, 1), (4, 5, 6, 4)]);
    let resources: std::collections::BTreeSet<_> = spans.resource.iter().collect();
    assert_eq!(resources.len(), 2);
    let summaries = batch.traces.summaries.as_ref().unwrap();
    let text = |code: u32| batch.strings.display(code).into_owned();
    assert_eq!(text(summaries.root_service[0]), "frontend");
    assert_eq!(text(summaries.root_name[0]), "root");
    assert_eq!(summaries.end[0] - summaries.start[0], 250);
    let mut services: Vec<_> = summaries
        .services(0)
        .map(|entry| (text(summaries.service_name[entry]), summaries.service_spans[entry]))
        .collect();
    services.sort();
    assert_eq!(services, [("db".to_owned(), 1), ("frontend".to_owned(), 3)]);
}

/// Check 32 of the block format.
#[tokio::test]
async fn one_trace_in_two_blocks_is_one_object_of_the_next_level() {
    let place = Place::new();
    let one = place.add(7, &[span(1, 1, 5 * SECOND)], &v4()).await;
    let other = place.add(3, &[span(1, 2, 6 * SECOND)], &v4()).await;
    let rewritten = place.rewrite(&[one, other], Changes::default()).await.unwrap();
    let meta = rewritten.meta.unwrap();
    assert_eq!((meta.compaction_level, meta.total_objects, meta.bloom_shards), (1, 1, 1));
    assert_eq!((meta.start_unix_seconds(), meta.end_unix_seconds()), (3, 1_000));
    assert_eq!(meta.sources(), [id(3), id(7)]);
    assert_eq!(meta.extension.as_ref().unwrap().retention, "r1");
    assert_eq!(meta.size, rewritten.stats.bytes_written);
    let live = place.live().await;
    assert_eq!(live.len(), 3, "inputs are not marked");
}

#[tokio::test]
async fn order_of_inputs_makes_no_difference() {
    let mut random = Random(3);
    let shape = Shape { pool: 20, traces: 20, spans: 4 };
    let spans: Vec<Vec<Span>> = (0..3).map(|_| random_spans(&mut random, shape)).collect();
    let mut files = Vec::new();
    for reverse in [false, true] {
        let place = Place::new();
        let mut inputs = Vec::new();
        for (number, spans) in (1..).zip(&spans) {
            inputs.push(place.add(number, spans, &v4()).await);
        }
        if reverse {
            inputs.reverse();
        }
        let meta = place.rewrite(&inputs, Changes::default()).await.unwrap().meta.unwrap();
        let key = block_key(TENANT, meta.block_id, DATA);
        files.push((meta.block_id, place.bucket.get(&key).await.unwrap()));
    }
    assert!(files[0] == files[1]);
}

#[tokio::test]
async fn block_that_was_made_before_is_not_made_again() {
    let place = Place::new();
    let inputs = [place.add(1, &[span(1, 1, 5)], &v4()).await];
    let first = place.rewrite(&inputs, Changes::default()).await.unwrap();
    let again = place.rewrite(&inputs, Changes::default()).await.unwrap();
    assert_eq!((again.meta.clone(), again.stats), (first.meta, RewriteStats::default()));
    // A third compactor comes late: the block has been merged further.
    let id = again.meta.unwrap().block_id;
    mark_compacted(&place.bucket, TENANT, id).await.unwrap();
    let late = place.rewrite(&inputs, Changes::default()).await;
    assert!(matches!(late, Err(Error::MadeBefore(made)) if made == id));
    assert!(!place.live().await.contains(&id));
}

#[tokio::test]
async fn refused_commit_leaves_nothing_visible() {
    let place = Place::new();
    let inputs = [place.add(1, &[span(1, 1, 5)], &v4()).await];
    let settings = RewriteSettings::new(v4());
    let refuse = async || Err("not mine any more".into());
    let (changes, control) = (Arc::default(), Arc::new(Unattended));
    let target = output(&inputs);
    let done =
        rewrite_blocks(&place.bucket, &inputs, target, settings, changes, control, refuse).await;
    assert!(matches!(done, Err(Error::Refused(_))));
    assert_eq!(place.live().await, [id(1)]);
}

#[tokio::test]
async fn block_that_the_bucket_lacks_is_taken_back_while_it_has_the_inputs() {
    let place = Place::new();
    let inputs =
        [place.add(1, &[span(1, 1, 5)], &v4()).await, place.add(2, &[span(2, 1, 5)], &v4()).await];
    let made = output(&inputs).id;
    let data = block_key(TENANT, made, DATA);
    for input_is_marked in [false, true] {
        let spoil = async || {
            place.bucket.delete(&data).await?;
            if input_is_marked {
                mark_compacted(&place.bucket, TENANT, id(2)).await?;
            }
            Ok::<(), BoxError>(())
        };
        let settings = RewriteSettings::new(v4());
        let (changes, control) = (Arc::default(), Arc::new(Unattended));
        let target = output(&inputs);
        let done =
            rewrite_blocks(&place.bucket, &inputs, target, settings, changes, control, spoil).await;
        assert!(matches!(done, Err(Error::Store(_))), "{done:?}");
        assert_eq!(place.live().await.contains(&made), input_is_marked);
    }
}

#[tokio::test]
async fn block_that_was_taken_back_is_put_back_once_an_input_is_gone_unless_it_was_merged_on() {
    let place = Place::new();
    let inputs =
        [place.add(1, &[span(1, 1, 5)], &v4()).await, place.add(2, &[span(2, 1, 5)], &v4()).await];
    let made = place.rewrite(&inputs, Changes::default()).await.unwrap().meta.unwrap();
    let key = block_key(TENANT, made.block_id, META);
    place.bucket.delete(&key).await.unwrap();
    put_back_if_needed(&place.bucket, &made).await.unwrap();
    assert_eq!(place.live().await, [id(1), id(2)]);

    mark_compacted(&place.bucket, TENANT, id(1)).await.unwrap();
    put_back_if_needed(&place.bucket, &made).await.unwrap_err();
    assert_eq!(read_meta(&place.bucket, TENANT, made.block_id).await.unwrap(), made);

    mark_compacted(&place.bucket, TENANT, made.block_id).await.unwrap();
    put_back_if_needed(&place.bucket, &made).await.unwrap_err();
    assert_eq!(place.live().await, [id(2)]);
}

struct StopAfter(Mutex<u32>);

impl Control for StopAfter {
    fn check(&self) -> Result<(), Cancelled> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(1).ok_or(Cancelled)?;
        Ok(())
    }
}

#[tokio::test]
async fn cancelled_rewrite_leaves_nothing_visible() {
    let place = Place::new();
    let inputs = [
        place.add(1, &[span(1, 1, 5), span(2, 1, 5)], &v4()).await,
        place.add(2, &[span(1, 1, 5), span(3, 1, 5)], &v4()).await,
    ];
    for checks in 0.. {
        let control = Arc::new(StopAfter(checks.into()));
        let done = place.rewrite_watched(&inputs, Changes::default(), control).await;
        match done {
            Err(error) => assert!(matches!(error, Error::Cancelled) && error.is_retryable()),
            Ok(rewritten) => {
                assert_eq!(rewritten.stats.spans_written, 3);
                assert!(checks > 3);
                break;
            }
        }
        assert_eq!(place.live().await, [id(1), id(2)]);
    }
}

/// Stops at its first check until it is told to go on; says when it is not used any more.
struct Gate {
    entered: Mutex<Option<oneshot::Sender<()>>>,
    go_on: Mutex<Option<oneshot::Receiver<()>>>,
    unused: Option<oneshot::Sender<()>>,
}

impl Control for Gate {
    fn check(&self) -> Result<(), Cancelled> {
        let entered = self.entered.lock().unwrap().take().expect("only the first check comes here");
        entered.send(()).unwrap();
        self.go_on.lock().unwrap().take().unwrap().blocking_recv().unwrap();
        Ok(())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.unused.take().unwrap().send(());
    }
}

#[tokio::test]
async fn dropped_rewrite_ends_its_thread() {
    let place = Place::new();
    let inputs = [place.add(1, &[span(1, 1, 5)], &v4()).await];
    let (entered, has_entered) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel();
    let (unused, is_unused) = oneshot::channel();
    let gate = Gate {
        entered: Mutex::new(Some(entered)),
        go_on: Mutex::new(Some(may_go_on)),
        unused: Some(unused),
    };
    tokio::select! {
        _ = place.rewrite_watched(&inputs, Changes::default(), Arc::new(gate)) => unreachable!(),
        entered = has_entered => entered.unwrap(),
    }
    go_on.send(()).unwrap();
    is_unused.await.unwrap();
    let key = block_key(TENANT, output(&inputs).id, DATA);
    assert!(place.bucket.head(&key).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn damaged_and_missing_inputs_are_named() {
    let place = Place::new();
    let good = place.add(1, &[span(1, 1, 5)], &v4()).await;
    let bad = place.add(2, &[span(2, 1, 5), span(3, 1, 5)], &v4()).await;
    let key = block_key(TENANT, bad.block_id, DATA);
    let data = place.bucket.get(&key).await.unwrap();
    let inputs = [good, Arc::clone(&bad)];
    let file = place.bucket.local_path(&key).unwrap();
    let middle = data.len() / 8;
    let mut flipped = data.to_vec();
    flipped[20..middle].iter_mut().for_each(|byte| *byte ^= 0x55);
    for damage in [data[..data.len() - 1].to_vec(), data[..9].to_vec(), Vec::new(), flipped] {
        std::fs::write(&file, damage).unwrap();
        let error = place.rewrite(&inputs, Changes::default()).await.unwrap_err();
        assert_eq!(error.block(), Some(bad.block_id), "{error}");
        assert!(!error.is_retryable() && !error.is_not_found(), "{error:?}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = place.rewrite(&inputs, Changes::default()).await.unwrap_err();
    assert_eq!(error.block(), Some(bad.block_id));
    assert!(error.is_not_found(), "{error:?}");

    std::fs::write(&file, &data).unwrap();
    let wrong = Arc::new(BlockMeta { total_records: 4, ..(*bad).clone() });
    let error = place.rewrite(&[wrong], Changes::default()).await.unwrap_err();
    assert_eq!(error.block(), Some(bad.block_id));
    assert_eq!(place.live().await, [id(1), id(2)]);
}

#[tokio::test]
async fn damaged_footer_is_read_from_its_copy_in_the_summary() {
    let place = Place::new();
    let spans = random_spans(&mut Random(3), Shape { pool: 20, traces: 20, spans: 4 });
    let meta = place.add(1, &spans, &v4()).await;
    let expected = place.spans(&meta).await;
    assert!(expected.iter().any(|span| !span.attributes.is_empty()));
    let file = place.bucket.local_path(&block_key(TENANT, meta.block_id, DATA)).unwrap();
    let mut data = std::fs::read(&file).unwrap();
    let footer = data.len() - 8 - meta.footer_size as usize;
    let names = data.windows(5).enumerate().skip(footer);
    let names = names.filter(|(_, found)| **found == *b"Attrs").map(|(at, _)| at);
    for at in names.collect::<Vec<_>>() {
        data[at] ^= 4;
    }
    std::fs::write(&file, data).unwrap();
    assert_eq!(place.spans(&meta).await, expected);
    let rewritten = place.rewrite(&[meta], Changes::default()).await.unwrap();
    let found = place.spans(&rewritten.meta.unwrap()).await;
    assert_eq!(sorted(found), merged([&expected]));
}

#[tokio::test]
async fn blocks_that_do_not_belong_together_are_refused() {
    let place = Place::new();
    let one = place.add(1, &[span(1, 1, 5)], &v4()).await;
    let tenant =
        Arc::new(BlockMeta { tenant_id: "other".to_owned(), block_id: id(9), ..(*one).clone() });
    let factor = Arc::new(BlockMeta { replication_factor: 1, block_id: id(9), ..(*one).clone() });
    for inputs in [
        vec![],
        vec![Arc::clone(&one), Arc::clone(&one)],
        vec![Arc::clone(&one), tenant],
        vec![Arc::clone(&one), factor],
    ] {
        let error = place.rewrite(&inputs, Changes::default()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[tokio::test]
async fn expired_traces_narrow_the_times_and_an_empty_block_is_none() {
    let place = Place::new();
    let spans = [span(1, 1, 10 * SECOND), span(2, 1, 400 * SECOND), span(3, 1, 500 * SECOND)];
    let inputs = [place.add(5, &spans, &v4()).await];
    let retention = |now: u64| Changes {
        retention: Some(RetentionClasses {
            classes: Vec::new(),
            keep: Some(Duration::from_secs(100)),
            now: now * SECOND,
            within: (0, u64::MAX),
        }),
        ..Changes::default()
    };
    let nothing = place.rewrite(&inputs, retention(10_000)).await.unwrap();
    assert!(nothing.meta.is_none());
    assert_eq!(nothing.stats.traces_expired, 3);
    assert_eq!(place.live().await, [id(5)]);

    let rest = place.rewrite(&inputs, retention(450)).await.unwrap();
    let meta = rest.meta.unwrap();
    assert_eq!((meta.start_unix_seconds(), meta.end_unix_seconds()), (400, 501));
    assert_eq!((meta.total_objects, rest.stats.spans_expired), (2, 1));
}

#[test]
fn output_id_depends_on_blocks_and_purpose_only() {
    let one = output_id(&[id(1), id(2)], "a");
    assert_eq!(one, output_id(&[id(2), id(1)], "a"));
    assert_eq!(one.get_version_num(), 4);
    let others = [output_id(&[id(1)], "a"), output_id(&[id(1), id(2)], "b"), output_id(&[], "a")];
    assert!(others.iter().all(|other| *other != one));
}

#[test]
fn fingerprint_tells_settings_and_changes_apart() {
    let settings = RewriteSettings::new(v4());
    let other = RewriteSettings { max_trace_bytes: 5, ..settings.clone() };
    let remove = |traces: &[u8]| Changes {
        remove: traces.iter().map(|&trace| TraceId([trace; 16])).collect(),
        ..Changes::default()
    };
    let of = |settings: &RewriteSettings, changes: &Changes| fingerprint(settings, changes);
    let base = of(&settings, &remove(&[1, 2, 3]));
    assert_eq!(base, of(&settings, &remove(&[3, 2, 1])));
    assert_ne!(base, of(&settings, &remove(&[1, 2])));
    assert_ne!(base, of(&other, &remove(&[1, 2, 3])));
}

#[test]
fn merged_block_holds_the_origins_of_its_inputs_while_an_ingester_may() {
    let now = tactus_clock::unix_seconds() as u64;
    let input = |number: u128, end: u64, complete: &[u64], incomplete: &[u64]| {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::from_u128(number));
        meta.set_time_range_unix_nanos((end - 60) * SECOND, end * SECOND);
        let set = |bounds: &[u64]| OriginSet::from_bounds(bounds).unwrap();
        let (origins, incomplete_origins) = (set(complete), set(incomplete));
        meta.extension =
            Some(Box::new(Extension { origins, incomplete_origins, ..Extension::default() }));
        Arc::new(meta)
    };
    let output = OutputBlock {
        id: Uuid::from_u128(9),
        level: None,
        retention: String::new(),
        only_if_changed: false,
    };
    let bounds = |ends: [u64; 2]| {
        let inputs = [input(1, ends[0], &[1, 5], &[9, 9]), input(2, ends[1], &[6, 9], &[20, 21])];
        let meta = describe(&inputs, &output);
        (meta.origins().0.bounds(), meta.origins().1.bounds())
    };
    assert_eq!(bounds([now, now - 30 * 3600]), (vec![1, 9], vec![20, 21]));
    assert_eq!(bounds([now - 25 * 3600, now - 30 * 3600]), (vec![], vec![]));
}

#[test]
fn merged_block_knows_the_cut_traces_of_its_inputs_however_old() {
    let trace = |number: u8| TraceId([number; 16]);
    let input = |number: u128, cut: &[(u8, u64)]| {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::from_u128(number));
        let cut_traces = cut.iter().map(|&(id, spans)| (trace(id), spans)).collect();
        meta.extension = Some(Box::new(Extension { cut_traces, ..Extension::default() }));
        Arc::new(meta)
    };
    let output = OutputBlock {
        id: Uuid::from_u128(9),
        level: None,
        retention: String::new(),
        only_if_changed: false,
    };
    let meta =
        describe(&[input(1, &[(1, 5), (2, 1)]), input(2, &[(1, 7)]), input(3, &[])], &output);
    let cut: Vec<_> = meta.cut_traces().iter().collect();
    assert_eq!(cut, [(trace(1), 7), (trace(2), 1)]);
}
