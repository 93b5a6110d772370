use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use tactus_model::{OfTenant, SpanBatch, TenantId, TraceId, merge::merge};
use tactus_proto::tactus::v1::ingester_server::Ingester as Protocol;
use tactus_storage::{Blocklist, Bucket, BucketSettings};
use tactus_telemetry::metrics::Registry;
use tactus_traceql::eval::Window;
use tokio_util::sync::CancellationToken;

use crate::{
    BlockWritten, Ingester, LastFlush, Limits, Settings,
    error::PushError,
    test_spans::{push_of, span},
};

mod bad_disk;
mod blocks;
mod clocks;
mod covered_parts;
mod flushes;
mod left_behind;
mod left_out;
mod live_tail;
mod metrics;
mod newest;
mod replicas;
mod scattered;
mod segments;
mod so_far;
mod stop;
mod stored;
mod tail_sampling;
mod tenants;
mod trace_by_id;

struct Bench {
    folder: tempfile::TempDir,
    blocklist: Arc<Blocklist>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), blocklist: Arc::new(Blocklist::new()) }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.folder.path().join("ingester"));
        settings.chunk_spans = 16;
        settings.retry_pause = Duration::from_millis(1);
        settings.range_slack = Duration::ZERO;
        settings
    }

    fn settings_with(&self, change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = self.settings();
        change(&mut settings);
        settings
    }

    fn bucket_path(&self) -> std::path::PathBuf {
        self.folder.path().join("bucket")
    }

    fn open_with(&self, settings: Settings) -> Result<Arc<Ingester>, crate::Error> {
        let bucket = Bucket::open(&BucketSettings::Local { path: self.bucket_path() })?;
        Ingester::open(
            settings,
            bucket,
            BlockWritten::listed(Arc::clone(&self.blocklist)),
            &Registry::new(),
        )
    }

    fn open(&self) -> Arc<Ingester> {
        self.open_with(self.settings()).unwrap()
    }
}

fn tenant() -> TenantId {
    TenantId::parse("t1").unwrap()
}

/// Pushes spans `ids`, ten a push.
fn push_all(ingester: &Ingester, ids: std::ops::Range<u16>) {
    let ids: Vec<_> = ids.collect();
    for ten in ids.chunks(10) {
        let spans: Vec<_> = ten.iter().map(|&id| span(id % 7, id, u64::from(id))).collect();
        let appended = ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
        assert_eq!(appended.spans, spans.len() as u64);
    }
}

/// How often each span id is held, over live data and segments, without de-duplication.
fn held(ingester: &Ingester) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    ingester.recent_view(&tenant()).collect_recent(Window::default(), false, |batch| {
        for id in batch.spans.span_id.iter() {
            *counts.entry(u16::from_be_bytes([id.0[6], id.0[7]])).or_default() += 1;
        }
    });
    counts
}

fn once(ids: std::ops::Range<u16>) -> BTreeMap<u16, usize> {
    ids.map(|id| (id, 1)).collect()
}

fn all_spans(ingester: &Ingester) -> SpanBatch {
    let mut parts = Vec::new();
    ingester
        .recent_view(&tenant())
        .collect_recent(Window::default(), false, |batch| parts.push(batch.clone()));
    merge(&parts.iter().collect::<Vec<_>>()).0
}

fn files(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn spans_are_there_once_live_cut_and_replayed() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..100);
    assert_eq!(held(&ingester), once(0..100));
    let live = all_spans(&ingester);
    ingester.seal().await.unwrap();
    assert_eq!(held(&ingester), once(0..100));
    assert_eq!(all_spans(&ingester), live);
    assert_eq!(ingester.wal.total_bytes(), 0, "the log is released");
    push_all(&ingester, 100..150);
    drop(ingester);
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(0..150));
    ingester.seal().await.unwrap();
    drop(ingester);
    assert_eq!(held(&bench.open()), once(0..150));
}

#[tokio::test]
async fn tags_are_collected_of_batches_in_the_window_only() {
    let bench = Bench::new();
    let ingester = bench.open();
    let second = 1_000_000_000;
    for start in [10, 20] {
        ingester
            .push(&push_of("t1", &[span(1, start, u64::from(start) * second)]), &tenant())
            .unwrap();
        ingester.seal().await.unwrap();
    }
    let seen = |start, end| {
        let mut spans = 0;
        let window = Window::from_seconds(start, end);
        ingester.recent_view(&tenant()).collect_recent(window, false, |batch| spans += batch.len());
        spans
    };
    assert_eq!([seen(0, 0), seen(10, 19), seen(11, 19), seen(15, 0), seen(0, 30)], [2, 1, 0, 1, 2]);
}

#[tokio::test]
async fn flush_moves_everything_to_the_bucket() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..100);
    ingester.seal().await.unwrap();
    push_all(&ingester, 100..130);
    ingester.flush_all().await.unwrap();
    assert!(held(&ingester).is_empty());
    assert_eq!(files(&bench.settings().directory.join("segments")), 0);
    let blocks = bench.blocklist.tenant("t1");
    assert_eq!(blocks.live().len(), 1);
    assert_eq!(blocks.live()[0].total_objects, 7);
    drop(ingester);
    assert!(held(&bench.open()).is_empty());
}

#[tokio::test]
async fn duplicates_are_stored_once() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..50);
    push_all(&ingester, 0..50);
    ingester.seal().await.unwrap();
    assert_eq!(held(&ingester), once(0..50));
}

#[tokio::test]
async fn malformed_push_stores_nothing() {
    let bench = Bench::new();
    let ingester = bench.open();
    let mut push = push_of("t1", &[span(1, 1, 1)]);
    let mut broken = push.runs[0].scope_spans.to_vec();
    broken.extend_from_slice(&[0x12, 0x50, 0x00]);
    push.runs[0].scope_spans = broken.into();
    assert!(matches!(ingester.push(&push, &tenant()), Err(PushError::Invalid(_))));
    assert!(held(&ingester).is_empty());
    assert_eq!(ingester.wal.total_bytes(), 0);
}

#[tokio::test]
async fn limits_refuse_traces_and_a_replay_does_not_bring_them_back() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    let limits = Limits { max_live_traces: 2, max_bytes_per_trace: 200, max_attribute_bytes: 2048 };
    settings.limits = OfTenant::all(limits);
    let ingester = bench.open_with(settings).unwrap();
    let spans: Vec<_> = (0..4).map(|id| span(id, id, 1)).collect();
    let appended = ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
    assert_eq!((appended.spans, appended.refused.too_many_traces), (2, 2));
    let more: Vec<_> = (10..14).map(|id| span(0, id, 1)).collect();
    let appended = ingester.push(&push_of("t1", &more), &tenant()).unwrap();
    assert!(appended.refused.too_large > 0);
    let kept = held(&ingester);
    drop(ingester);
    assert_eq!(held(&bench.open()), kept);
}

#[tokio::test]
async fn spans_refused_among_those_of_other_traces_stay_out_after_a_replay() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    settings.limits = OfTenant::all(Limits { max_live_traces: 2, ..Limits::default() });
    let ingester = bench.open_with(settings).unwrap();
    let without_ids = b"\x2a\x01x".to_vec();
    let mut spans: Vec<_> = [(3, 1), (1, 2), (3, 3), (2, 4), (1, 5), (3, 6)]
        .map(|(trace, id)| span(trace, id, 1))
        .into_iter()
        .collect();
    spans.insert(1, without_ids.clone());
    spans.insert(5, without_ids);
    let appended = ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
    let refused = (appended.refused.too_many_traces, appended.refused.bad_ids);
    assert_eq!((appended.spans, refused), (3, (3, 2)));
    assert_eq!(appended.refused_spans, [0, 0, 2, 2, 5, 5], "as a replay counts them");
    let kept = BTreeMap::from([(2, 1), (4, 1), (5, 1)]);
    assert_eq!(held(&ingester), kept);
    drop(ingester);
    assert_eq!(held(&bench.open()), kept);
}

#[tokio::test]
async fn memory_limit_refuses_pushes_until_the_next_cut() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    settings.ingester.max_live_bytes = 60_000;
    let ingester = bench.open_with(settings).unwrap();
    let refused = (0..2_000u16).find_map(|id| {
        ingester.push(&push_of("t1", &[span(id, id, 1)]), &tenant()).err().map(|error| (id, error))
    });
    let (count, error) = refused.expect("the limit is reached");
    assert!(matches!(error, PushError::Full { limit_bytes: 60_000 }), "{error}");
    ingester.seal().await.unwrap();
    assert_eq!(held(&ingester), once(0..count));
    assert!(ingester.push(&push_of("t1", &[span(1, 5_000, 1)]), &tenant()).is_ok());
}

#[tokio::test]
async fn second_process_on_a_directory_refuses_to_start() {
    let bench = Bench::new();
    let first = bench.open();
    let error = bench.open_with(bench.settings()).unwrap_err();
    assert!(error.to_string().contains("log"), "{error}");
    drop(first);
    bench.open();
}

#[tokio::test]
async fn damaged_segment_is_set_aside_and_the_rest_serves() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..20);
    ingester.seal().await.unwrap();
    push_all(&ingester, 20..40);
    ingester.seal().await.unwrap();
    let first = ingester.tenant(&tenant()).unwrap().segments()[0].place().file.path();
    drop(ingester);
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(&first, bytes).unwrap();
    std::fs::write(first.parent().unwrap().parent().unwrap().join("foreign"), b"x").unwrap();
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(20..40));
    assert_eq!(files(&bench.settings().directory.join("quarantine")), 1);
}

#[tokio::test]
async fn failed_flush_is_repeated_under_the_same_block_id() {
    let bench = Bench::new();
    std::fs::write(bench.bucket_path(), b"in the way").unwrap();
    let bucket_in_the_way = bench.open_with(bench.settings());
    let Ok(ingester) = bucket_in_the_way else {
        // The store refuses to open at all: nothing to repeat.
        return;
    };
    push_all(&ingester, 0..30);
    assert!(ingester.flush_all().await.is_err());
    assert_eq!(held(&ingester), once(0..30));
    std::fs::remove_file(bench.bucket_path()).unwrap();
    std::fs::create_dir(bench.bucket_path()).unwrap();
    ingester.flush_all().await.unwrap();
    assert!(held(&ingester).is_empty());
    assert_eq!(bench.blocklist.tenant("t1").live().len(), 1);
}

#[tokio::test]
async fn new_segments_are_not_taken_for_those_that_were_gone_before_a_stop() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..10);
    ingester.flush_all().await.unwrap();
    drop(ingester);
    // An orderly stop leaves neither segments nor parts of the log, but notes.
    let log = bench.settings().directory.join("log");
    for part in std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()) {
        if part.extension().is_some_and(|it| it == "wal") {
            std::fs::remove_file(part).unwrap();
        }
    }
    assert!(bench.settings().directory.join("segments.notes").metadata().unwrap().len() > 0);
    let ingester = bench.open();
    push_all(&ingester, 20..30);
    ingester.seal().await.unwrap();
    // Killed.
    drop(ingester);
    assert_eq!(held(&bench.open()), once(20..30));
}

#[tokio::test]
async fn last_flush_of_all_is_tried_again_and_tells_if_it_cannot_be() {
    let bench = Bench::new();
    for (flush_op_timeout, comes_back) in [(Duration::from_secs(60), true), (Duration::ZERO, false)]
    {
        let settings =
            bench.settings_with(|it| it.ingester.flush_op_timeout = flush_op_timeout.into());
        let ingester = bench.open_with(settings).unwrap();
        push_all(&ingester, 0..30);
        ingester.seal().await.unwrap();
        let _ = std::fs::remove_dir_all(bench.bucket_path());
        std::fs::write(bench.bucket_path(), b"in the way").unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let run = tokio::spawn(Arc::clone(&ingester).run(cancel, || LastFlush::All));
        if comes_back {
            while ingester.metrics.failed_flushes.get() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            std::fs::remove_file(bench.bucket_path()).unwrap();
            std::fs::create_dir(bench.bucket_path()).unwrap();
        }
        assert_eq!(run.await.unwrap().is_ok(), comes_back);
        assert_eq!(held(&ingester), if comes_back { once(0..0) } else { once(0..30) });
    }
}

#[tokio::test]
async fn block_whose_manifest_cannot_be_written_is_made_once_and_under_one_id() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..30);
    ingester.seal().await.unwrap();
    let in_the_way = bench.settings().directory.join("flushing/t1");
    std::fs::write(&in_the_way, b"in the way").unwrap();
    let (bucket, moved) = (bench.bucket_path(), bench.folder.path().join("moved"));
    std::fs::rename(&bucket, &moved).unwrap();
    std::fs::write(&bucket, b"in the way").unwrap();
    let id = || ingester.tenant(&tenant()).unwrap().segments()[0].block();
    ingester.flush_all().await.unwrap_err();
    let begun = id();
    assert!(begun.is_some());
    assert_eq!(ingester.metrics.failed_flushes.get(), 1);
    std::fs::remove_file(&bucket).unwrap();
    std::fs::rename(&moved, &bucket).unwrap();
    ingester.flush_all().await.unwrap();
    assert!(held(&ingester).is_empty());
    assert_eq!(ingester.metrics.failed_flushes.get(), 1);
    let blocks = bench.blocklist.tenant("t1");
    let stored: Vec<_> = blocks.live().iter().map(|block| Some(block.block_id)).collect();
    assert_eq!(stored, [begun]);
    drop(ingester);
    assert!(held(&bench.open()).is_empty(), "what is in the block does not come back");
}

#[tokio::test]
async fn block_begun_by_an_earlier_process_is_finished_once() {
    finishes_begun_block(false).await;
}

#[tokio::test]
async fn begun_block_of_which_the_store_kept_a_broken_meta_is_written_again() {
    finishes_begun_block(true).await;
}

async fn finishes_begun_block(breaks_meta: bool) {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..30);
    ingester.seal().await.unwrap();
    let segment = ingester.tenant(&tenant()).unwrap().segments()[0].path().to_owned();
    let cut = segment.with_file_name(crate::layout::CUT_FILE);
    let kept = std::fs::read(&cut).unwrap();
    ingester.flush_all().await.unwrap();
    let id = bench.blocklist.tenant("t1").live()[0].block_id;
    drop(ingester);
    // As if the process had died between the upload and the deletion of the segment.
    std::fs::create_dir_all(segment.parent().unwrap()).unwrap();
    std::fs::write(&cut, kept).unwrap();
    let root = bench.settings().directory;
    std::fs::remove_file(root.join("segments.notes")).unwrap();
    let listed = segment.strip_prefix(root.join("segments")).unwrap().to_owned();
    let manifest = root.join("flushing/t1").join(format!("{id}.json"));
    std::fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    std::fs::write(manifest, format!("{{\"segments\":[{listed:?}]}}")).unwrap();
    let meta = bench.bucket_path().join("t1").join(id.to_string()).join("meta.json");
    if breaks_meta {
        let whole = std::fs::read(&meta).unwrap();
        std::fs::write(&meta, &whole[..whole.len() / 2]).unwrap();
    }
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(0..30));
    ingester.flush_all().await.unwrap();
    assert!(held(&ingester).is_empty());
    assert_eq!(bench.blocklist.tenant("t1").live().len(), 1);
    serde_json::from_slice::<serde_json::Value>(&std::fs::read(&meta).unwrap()).unwrap();
    assert_eq!(files(&root.join("segments")) + files(&root.join("flushing")), 0);
}

#[tokio::test]
async fn search_sees_whole_traces_over_pushes_and_cuts() {
    use tactus_proto::tactus::v1::{SearchRequest, ingester_server::Ingester as _};
    let bench = Bench::new();
    let ingester = bench.open();
    // One trace: a span in a segment, one in a closed chunk's generation, one just arrived.
    ingester.push(&push_of("t1", &[span(3, 1, 1_000)]), &tenant()).unwrap();
    ingester.seal().await.unwrap();
    push_all(&ingester, 100..140);
    ingester.push(&push_of("t1", &[span(3, 2, 5_000)]), &tenant()).unwrap();
    let search = async |query: &str| {
        let request = SearchRequest {
            tenant: "t1".into(),
            query: query.into(),
            limit: 20,
            spans_per_span_set: 10,
            ..SearchRequest::default()
        };
        ingester.search(tonic::Request::new(request)).await.unwrap().into_inner().traces
    };
    let both = search("{ span.n = 1 } && { span.n = 2 }").await;
    assert_eq!(both.len(), 1);
    assert_eq!(both[0].span_sets[0].matched, 2);
    assert_eq!(search("{ span.text = \"value 2\" }").await.len(), 1);
    assert_eq!(search("{ span.n = 7777 }").await.len(), 0);
    assert_eq!(search("{ }").await.len(), 7);
}

#[tokio::test]
async fn generation_of_refused_spans_leaves_nothing_behind() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    settings.limits = OfTenant::all(Limits { max_bytes_per_trace: 10, ..Limits::default() });
    let ingester = bench.open_with(settings).unwrap();
    let appended = ingester.push(&push_of("t1", &[span(1, 1, 1)]), &tenant()).unwrap();
    assert_eq!((appended.spans, appended.refused.too_large), (0, 1));
    ingester.seal().await.unwrap();
    let view = ingester.recent_view(&tenant());
    assert_eq!((view.live.len(), view.segments.len()), (0, 0));
}

#[tokio::test]
async fn reader_that_takes_its_time_holds_up_no_push_and_no_cut() {
    let bench = Bench::new();
    let ingester = bench.open();
    ingester.push(&push_of("t1", &[span(1, 1, 1)]), &tenant()).unwrap();
    let mut seen = 0;
    ingester.recent_view(&tenant()).for_each_batch(|_, batch| {
        seen += batch.len();
        ingester.push(&push_of("t1", &[span(2, 2, 2)]), &tenant()).unwrap();
        std::thread::scope(|scope| {
            let seal =
                scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(ingester.seal()));
            seal.join().unwrap().unwrap();
        });
    });
    assert_eq!(seen, 1, "what came in since is not shown");
    assert_eq!(ingester.recent_view(&tenant()).segments.len(), 1);
}

#[test]
fn readers_neither_copy_much_nor_make_many_chunks() {
    let head = crate::head::Head::new(Limits::default(), usize::MAX, Default::default());
    let append = |first: u16, count: u16| {
        let spans: Vec<_> = (first..first + count).map(|id| span(id, id, 1)).collect();
        head.append(&push_of("t1", &spans), |_| Ok::<_, tactus_model::AppendError>(())).unwrap();
    };
    let shapes =
        || -> Vec<usize> { head.snapshot().batches.iter().map(|batch| batch.len()).collect() };
    append(0, 1000);
    assert_eq!((shapes(), shapes(), head.chunks().len()), (vec![1000], vec![1000], 0));
    append(1000, 1000);
    assert_eq!((shapes(), shapes(), head.chunks().len()), (vec![2000], vec![2000], 1));
    append(2000, 10);
    assert_eq!((shapes(), head.chunks().len()), (vec![10, 2000], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_cuts_and_flushes_go_on_to_their_end() {
    let bench = Bench::new();
    let ingester = bench.open();
    for round in 0..20 {
        push_all(&ingester, round * 50..round * 50 + 50);
        // The caller leaves at once, as a client that hangs up.
        let _ = tokio::time::timeout(Duration::from_micros(200), ingester.seal()).await;
        let _ = tokio::time::timeout(Duration::from_micros(200), ingester.flush_all()).await;
    }
    ingester.flush_all().await.unwrap();
    assert!(held(&ingester).is_empty());
    let blocks = bench.blocklist.tenant("t1");
    assert!(!blocks.live().is_empty());
    assert_eq!(files(&bench.settings().directory.join("segments")), 0);
    assert_eq!(files(&bench.settings().directory.join("flushing")), 0);
}

#[tokio::test]
async fn cut_that_failed_is_repeated_without_loss() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..30);
    // A file where the segments' directory will be written: creating it fails.
    let segments = bench.settings().directory.join("segments");
    std::fs::rename(&segments, segments.with_extension("away")).unwrap();
    std::fs::write(&segments, b"").unwrap();
    assert!(ingester.seal().await.is_err());
    push_all(&ingester, 30..60);
    assert!(ingester.seal().await.is_err());
    assert_eq!(held(&ingester), once(0..60));
    std::fs::remove_file(&segments).unwrap();
    std::fs::rename(segments.with_extension("away"), &segments).unwrap();
    ingester.seal().await.unwrap();
    assert_eq!(held(&ingester), once(0..60));
    assert_eq!(ingester.wal.total_bytes(), 0);
    drop(ingester);
    assert_eq!(held(&bench.open()), once(0..60));
}

#[tokio::test]
async fn tenant_of_which_nothing_is_held_is_forgotten() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    settings.limits = OfTenant::all(Limits { max_bytes_per_trace: 10, ..Limits::default() });
    let ingester = bench.open_with(settings).unwrap();
    // Refused as a whole: there is nothing to keep after the cut.
    ingester.push(&push_of("t1", &[span(1, 1, 1)]), &tenant()).unwrap();
    ingester.update_gauges();
    assert!(ingester.knows(&tenant()));
    ingester.seal().await.unwrap();
    ingester.update_gauges();
    assert!(!ingester.knows(&tenant()));
    ingester.push(&push_of("t1", &[span(1, 1, 1)]), &tenant()).unwrap();
    assert!(ingester.knows(&tenant()));
}

fn trace_id(trace: u16) -> TraceId {
    let mut id = [1; 16];
    id[14..].copy_from_slice(&trace.to_be_bytes());
    TraceId(id)
}
