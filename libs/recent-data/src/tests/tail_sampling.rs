//! Whole traces are kept or dropped before any block is made, and nothing is lost on the way.

use std::path::PathBuf;

use parking_lot::Mutex;
use tactus_config::sections::tail_sampling::TailSampling as Section;
use tactus_tail_sampling::Policies;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    TailSampling,
    generation::Generation,
    layout::{CUT_FILE, Layout, segment_file_name, segment_key},
    notes::{Fate, Notes},
    segment::cut::read_sections,
    tail_sampling::Due,
};

mod disk;
mod origins;
mod rounds;

/// Keeps the traces of a span below 10.
const BELOW_TEN: &str =
    "policies: [{name: few, type: traceql, traceql: {query: '{ span.n < 10 }'}}]";
const ALL: &str = "policies: [{name: all, type: always_sample}]";
const NONE: &str =
    "policies: [{name: none, type: probabilistic, probabilistic: {sampling_percentage: 0}}]";
const HOUR: Duration = Duration::from_secs(3600);

/// What is in effect; may change while the ingester runs.
type Shared = Arc<Mutex<Option<Arc<TailSampling>>>>;

pub(super) fn tail_sampling(yaml: &str, decision_wait: Duration) -> Arc<TailSampling> {
    let section = Section::parse(yaml).unwrap();
    Arc::new(TailSampling {
        policies: Arc::new(Policies::compile(&section.policies).unwrap()),
        decision_wait,
        num_traces: section.num_traces,
        sampled_cache_size: 100,
        non_sampled_cache_size: 100,
    })
}

struct Sampled {
    bench: Bench,
    shared: Shared,
    registry: Registry,
}

impl Sampled {
    fn new(yaml: &str) -> Self {
        let shared = Arc::new(Mutex::new(Some(tail_sampling(yaml, Duration::ZERO))));
        Self { bench: Bench::new(), shared, registry: Registry::new() }
    }

    fn set(&self, tail_sampling: Option<Arc<TailSampling>>) {
        *self.shared.lock() = tail_sampling;
    }

    fn open(&self) -> Arc<Ingester> {
        self.open_as("")
    }

    fn open_as(&self, name: &str) -> Arc<Ingester> {
        let shared = Arc::clone(&self.shared);
        let mut settings = self.bench.settings();
        settings.ingester_id = name.to_owned();
        settings.tail_sampling = OfTenant::new(move |_| shared.lock().clone());
        let path = self.bench.bucket_path();
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let written = BlockWritten::listed(Arc::clone(&self.bench.blocklist));
        Ingester::open(settings, bucket, written, &self.registry).unwrap()
    }

    /// What a start would serve, by the names of the segments.
    fn segment_files(&self) -> Vec<String> {
        let root = self.bench.settings().directory;
        let notes = Notes::new(Layout::notes(&root), root.join("segments"), false).read().unwrap();
        let mut names = Vec::new();
        for path in self.segment_paths() {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name != CUT_FILE {
                names.push(name.to_owned());
                continue;
            }
            for section in read_sections(&path).unwrap().sections {
                let (number, is_pending) = (section.number, section.is_pending);
                let named =
                    path.with_file_name(segment_file_name(&section.tenant, number, is_pending));
                let decided = named.with_extension("seg");
                let shown = match notes.get(&segment_key(&root.join("segments"), &named)) {
                    Some(Fate::Gone) => continue,
                    _ if is_pending && decided.exists() => continue,
                    Some(Fate::Kept) => decided,
                    None => named,
                };
                names.push(shown.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
        names.sort_unstable();
        names
    }

    fn segment_paths(&self) -> Vec<PathBuf> {
        let root = self.bench.settings().directory.join("segments");
        let directories = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        directories
            .flat_map(|it| std::fs::read_dir(it).unwrap().map(|entry| entry.unwrap().path()))
            .collect()
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let text = self.registry.encode();
        text.lines().find_map(|it| it.strip_prefix(line)?.trim().parse().ok())
    }
}

/// Traces are numbers modulo 7: spans below 10 are in all of them but for those that a test leaves out.
fn push_one(ingester: &Ingester, trace: u16, id: u16) {
    let push = push_of("t1", &[span(trace, id, 1_000 + u64::from(id))]);
    assert_eq!(ingester.push(&push, &tenant()).unwrap().spans, 1);
}

fn ids(ingester: &Ingester) -> Vec<u16> {
    held(ingester).into_keys().collect()
}

#[tokio::test]
async fn undecided_spans_are_there_until_their_time_has_come() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    for (trace, id) in [(1, 1), (1, 100), (2, 200), (2, 201), (3, 3)] {
        push_one(&ingester, trace, id);
    }
    ingester.seal().await.unwrap();
    assert_eq!(sampled.segment_files(), ["t1.0.pending"]);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1, 3, 100, 200, 201]);
    assert!(sampled.bench.blocklist.tenant("t1").live().is_empty());
    sampled.set(Some(tail_sampling(BELOW_TEN, Duration::ZERO)));
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1, 3, 100]);
    assert_eq!(sampled.segment_files(), ["t1.0.seg"]);
    let of = |labels| sampled.metric(&format!("tactus_tail_sampling_{labels}"));
    assert_eq!(
        of("count_traces_sampled{tenant=\"t1\",policy=\"few\",sampled=\"true\"}"),
        Some(2.0)
    );
    assert_eq!(
        of("count_spans_sampled{tenant=\"t1\",policy=\"few\",sampled=\"false\"}"),
        Some(2.0)
    );
    assert_eq!(of("global_count_traces_sampled{tenant=\"t1\",sampled=\"false\"}"), Some(1.0));
    assert_eq!(of("sampling_traces_on_memory{tenant=\"t1\"}"), Some(0.0));
    let discarded = "tempo_discarded_spans_total{reason=\"tail_sampling\",tenant=\"t1\"}";
    assert_eq!(sampled.metric(discarded), Some(2.0));
    drop(ingester);
    assert_eq!(ids(&sampled.open()), [1, 3, 100]);
}

#[tokio::test]
async fn too_many_undecided_segments_of_all_tenants_are_decided_early() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    for number in 0..6 {
        let (tenant, id) = (format!("t{number}"), TenantId::parse(&format!("t{number}")).unwrap());
        for start in [1, 100] {
            let push = push_of(&tenant, &[span(start, start, 1_000)]);
            ingester.push(&push, &id).unwrap();
        }
        ingester.seal().await.unwrap();
    }
    ingester.decide_early(6).await.unwrap();
    assert_eq!(sampled.segment_files().len(), 6, "none is too many");
    ingester.decide_early(2).await.unwrap();
    let files = sampled.segment_files();
    assert_eq!(files.iter().filter(|name| name.ends_with(".pending")).count(), 2, "{files:?}");
    assert!(files.contains(&"t5.0.pending".to_owned()), "the youngest wait on: {files:?}");
}

#[tokio::test]
async fn segment_of_the_future_waits_no_longer_than_a_new_one() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    push_one(&ingester, 1, 100);
    ingester.seal().await.unwrap();
    drop(ingester);
    let [path] = sampled.segment_paths().try_into().unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() + 10 * HOUR).unwrap();
    let wait = Duration::from_millis(20);
    sampled.set(Some(tail_sampling(BELOW_TEN, wait)));
    let ingester = sampled.open();
    tokio::time::sleep(2 * wait).await;
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), Vec::<u16>::new());
}

#[tokio::test]
async fn spans_of_a_trace_meet_over_cuts_and_live_ones() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    // Of each trace the span that the policy asks for comes last: in a later segment, or live.
    push_one(&ingester, 1, 100);
    push_one(&ingester, 2, 200);
    push_one(&ingester, 3, 300);
    ingester.seal().await.unwrap();
    push_one(&ingester, 1, 1);
    ingester.seal().await.unwrap();
    push_one(&ingester, 2, 2);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1, 2, 100, 200]);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1, 2, 100, 200]);
}

#[tokio::test]
async fn late_spans_follow_the_decision() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1]);
    // By themselves they would be decided the other way.
    push_one(&ingester, 1, 101);
    push_one(&ingester, 2, 2);
    push_one(&ingester, 3, 3);
    ingester.seal().await.unwrap();
    assert_eq!(ids(&ingester), [1, 2, 3, 101]);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1, 3, 101]);
    let late = |sampled_label| {
        let name = "tactus_tail_sampling_early_releases_from_cache_decision";
        sampled.metric(&format!("{name}{{tenant=\"t1\",sampled=\"{sampled_label}\"}}"))
    };
    assert_eq!((late("true"), late("false")), (Some(1.0), Some(1.0)));
    assert_eq!(
        sampled.metric("tactus_tail_sampling_new_trace_id_received{tenant=\"t1\"}"),
        Some(3.0)
    );
    drop(ingester);
    // What was kept is known from the disk.
    let ingester = sampled.open();
    push_one(&ingester, 1, 102);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1, 3, 101, 102]);
}

#[tokio::test]
async fn decisions_are_followed_after_all_spans_went() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    push_one(&ingester, 2, 200);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    ingester.update_gauges();
    assert!(ids(&ingester).is_empty() && sampled.segment_paths().is_empty());
    assert!(ingester.knows(&tenant()), "for its decisions");
    push_one(&ingester, 2, 2);
    ingester.flush_all().await.unwrap();
    assert!(sampled.bench.blocklist.tenant("t1").live().is_empty());
}

#[tokio::test]
async fn flush_decides_what_is_there_and_blocks_have_whole_kept_traces() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    push_all(&ingester, 0..50);
    ingester.seal().await.unwrap();
    // Traces 0 to 6 have spans below ten, trace 8 has none.
    push_one(&ingester, 8, 80);
    push_one(&ingester, 8, 81);
    ingester.flush_all().await.unwrap();
    assert!(ids(&ingester).is_empty() && sampled.segment_paths().is_empty());
    let blocks = sampled.bench.blocklist.tenant("t1");
    assert_eq!(blocks.live().iter().map(|meta| meta.total_objects).sum::<u64>(), 7);
    push_one(&ingester, 9, 9);
    push_one(&ingester, 10, 90);
    ingester.flush_one(&tenant()).await.unwrap();
    assert!(ids(&ingester).is_empty());
    let blocks = sampled.bench.blocklist.tenant("t1");
    assert_eq!(blocks.live().iter().map(|meta| meta.total_objects).sum::<u64>(), 8);
}

#[tokio::test]
async fn stop_decides_what_is_there() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    let cancel = CancellationToken::new();
    let run = tokio::spawn(Arc::clone(&ingester).run(cancel.clone(), || LastFlush::All));
    cancel.cancel();
    run.await.unwrap().unwrap();
    let blocks = sampled.bench.blocklist.tenant("t1");
    assert_eq!(blocks.live().iter().map(|meta| meta.total_objects).sum::<u64>(), 1);
    assert!(sampled.segment_paths().is_empty());
}

#[tokio::test]
async fn oldest_of_too_many_traces_are_decided_early() {
    let sampled = Sampled::new(ALL);
    let few = format!("{{num_traces: 10, {BELOW_TEN}}}");
    sampled.set(Some(tail_sampling(&few, HOUR)));
    let ingester = sampled.open();
    for start in [100, 200, 300] {
        (start..start + 4).for_each(|id| push_one(&ingester, id, id));
        ingester.seal().await.unwrap();
    }
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), (200..204).chain(300..304).collect::<Vec<u16>>());
    let early = "tactus_tail_sampling_sampling_trace_dropped_too_early{tenant=\"t1\"}";
    assert_eq!(sampled.metric(early), Some(4.0));
    assert_eq!(
        sampled.metric("tactus_tail_sampling_sampling_traces_on_memory{tenant=\"t1\"}"),
        Some(8.0)
    );
}

#[tokio::test]
async fn changed_policies_hold_for_the_next_decisions() {
    let sampled = Sampled::new(NONE);
    let ingester = sampled.open();
    push_one(&ingester, 1, 1);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    sampled.set(Some(tail_sampling(ALL, Duration::ZERO)));
    push_one(&ingester, 1, 2);
    push_one(&ingester, 2, 3);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [3]);
}

#[tokio::test]
async fn spans_follow_what_was_kept_while_there_were_no_policies() {
    let sampled = Sampled::new(NONE);
    let ingester = sampled.open();
    let policies = sampled.shared.lock().clone();
    for (policies, id) in [(policies.clone(), 1), (None, 2), (policies, 3)] {
        sampled.set(policies);
        push_one(&ingester, id.min(2), id);
        ingester.seal().await.unwrap();
        ingester.decide(Due::Waited).await.unwrap();
    }
    assert_eq!(ids(&ingester), [2, 3]);
}

#[test]
fn generation_of_tail_sampled_spans_is_cut_sooner() {
    let mut settings = Settings::new(PathBuf::new());
    settings.ingester.trace_idle_period = HOUR.into();
    settings.ingester.trace_live_period = HOUR.into();
    let generation = Generation::new(false);
    generation.note_push();
    assert!(!generation.is_due(&settings));
    generation.cut_within(Duration::ZERO);
    assert!(generation.is_due(&settings));
    assert_eq!(tail_sampling(ALL, HOUR).cut_period(), HOUR / 4);
    assert_eq!(tail_sampling(ALL, Duration::ZERO).cut_period(), Duration::from_secs(1));
}

#[tokio::test]
async fn rates_are_kept_over_rounds() {
    let rate = "policies: [{name: r, type: rate_limiting, rate_limiting: {spans_per_second: 5}}]";
    let sampled = Sampled::new(rate);
    let ingester = sampled.open();
    let mut counts = Vec::new();
    for round in 0..2u16 {
        (0..40).for_each(|id| push_one(&ingester, round * 100 + id, round * 100 + id));
        ingester.seal().await.unwrap();
        ingester.decide(Due::Waited).await.unwrap();
        counts.push(held(&ingester).len());
    }
    // A burst of ten, then what the moment since brought.
    assert_eq!(counts[0], 10);
    assert!((10..20).contains(&counts[1]), "{counts:?}");
}

#[tokio::test]
async fn background_decides_by_itself() {
    let sampled = Sampled::new(BELOW_TEN);
    let mut settings = sampled.bench.settings();
    let shared = Arc::clone(&sampled.shared);
    settings.tail_sampling = OfTenant::new(move |_| shared.lock().clone());
    settings.ingester.trace_idle_period = Duration::from_millis(1).into();
    settings.ingester.flush_check_period = Duration::from_millis(1).into();
    let ingester = sampled.bench.open_with(settings).unwrap();
    push_one(&ingester, 1, 1);
    push_one(&ingester, 2, 200);
    let cancel = CancellationToken::new();
    let run = tokio::spawn(Arc::clone(&ingester).run(cancel.clone(), || LastFlush::All));
    let decided = async {
        while ids(&ingester) != [1] || sampled.segment_files() != ["t1.0.seg"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), decided).await.unwrap();
    assert!(sampled.bench.blocklist.tenant("t1").live().is_empty(), "no block is due");
    cancel.cancel();
    run.await.unwrap().unwrap();
}
