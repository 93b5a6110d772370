//! Jobs that are run in this process.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, HoldingsRequest, HoldingsResponse, MetricsRequest,
    MetricsResponse, PushRequest, PushResponse, TagValuesRequest, TagValuesResponse, TagsRequest,
    TagsResponse,
};
use tonic::Response;

use super::*;
use crate::tests::doubles::BlockData;

/// An ingester whose searches do what their query says.
#[derive(Default)]
struct Obedient {
    started: AtomicUsize,
    dropped: AtomicUsize,
}

struct Dropped<'d>(&'d AtomicUsize);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Ingester for Obedient {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(Status::unimplemented("push"))
    }

    async fn find_trace(
        &self,
        _: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        Ok(Response::new(FindTraceResponse::default()))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let _dropped = Dropped(&self.dropped);
        match &*request.get_ref().query {
            "hang" => pending().await,
            "panic" => panic!("as asked"),
            "fail" => Err(Status::unavailable("as asked")),
            "large" => {
                let source = "x".repeat(150_000);
                let explanations = vec![JobExplanation { source, ..JobExplanation::default() }];
                Ok(Response::new(SearchResponse { explanations, ..SearchResponse::default() }))
            }
            _ => Ok(Response::new(SearchResponse::default())),
        }
    }

    async fn tags(&self, _: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        Err(Status::unimplemented("tags"))
    }

    async fn tag_values(
        &self,
        _: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        Err(Status::unimplemented("tag_values"))
    }

    async fn metrics(
        &self,
        _: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        Err(Status::unimplemented("metrics"))
    }

    async fn holdings(
        &self,
        _: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        Err(Status::unimplemented("holdings"))
    }
}

fn local(slots: usize) -> (JobQueue, Arc<Obedient>) {
    let (queue, ingester) = (queue(), Arc::new(Obedient::default()));
    let (querier, memory) = (Arc::new(BlockData::default()), Bodies::unbounded());
    queue.add_local_worker(querier, Arc::clone(&ingester) as _, slots, memory);
    (queue, ingester)
}

#[tokio::test]
async fn no_more_jobs_run_than_there_are_slots_and_cancelled_ones_free_theirs() {
    let (queue, ingester) = local(2);
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(ask_for(&queue, search("a", "hang")).await);
    }
    assert_eq!(ingester.started.load(Ordering::Relaxed), 2);
    calls.remove(0).abort();
    settle().await;
    assert_eq!(ingester.started.load(Ordering::Relaxed), 3);
    assert_eq!(ingester.dropped.load(Ordering::Relaxed), 1);
    calls.iter().for_each(JoinHandle::abort);
    settle().await;
    assert_eq!((ingester.dropped.load(Ordering::Relaxed), queue.outstanding()), (3, 0));
    ask_for(&queue, search("a", "")).await.await.unwrap().unwrap();
}

#[tokio::test]
async fn job_that_panics_fails_and_frees_its_slot() {
    let (queue, ingester) = local(1);
    let status = ask_for(&queue, search("a", "panic")).await.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "job panicked"));
    assert_eq!(ingester.started.load(Ordering::Relaxed), 2);
    ask_for(&queue, search("a", "")).await.await.unwrap().unwrap();
}

#[tokio::test]
async fn failed_job_is_tried_again_in_the_only_process_there_is() {
    let (queue, ingester) = local(1);
    let status = ask_for(&queue, search("a", "fail")).await.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(ingester.started.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn answer_of_this_process_takes_memory_as_one_of_another() {
    let all = Budget::new(1_000_000);
    let bodies = Bodies::within(&all);
    let queue = queue();
    let (querier, ingester) = (Arc::new(BlockData::default()), Arc::new(Obedient::default()));
    queue.add_local_worker(querier, ingester, 2, Arc::clone(&bodies));
    let call = queue.ask(search("a", "large"));
    let mut call = std::pin::pin!(call);
    assert!(call.as_mut().now_or_never().is_none());
    settle().await;
    let taken = all.used();
    assert!((600_000..601_000).contains(&taken), "as objects it takes more than sent: {taken}");
    let answer = call.await.unwrap();
    assert_eq!(all.used(), taken, "for those that count what they make of it");
    assert_eq!(answer.into_inner().explanations[0].source.len(), 150_000);
    assert_eq!(all.used(), 0);

    let mut held = AnswerMemory::of(&bodies);
    held.add(600_000).await.unwrap();
    let error = ask_for(&queue, search("a", "large")).await.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, TOO_MANY_BYTES));
}

#[tokio::test]
async fn job_ends_though_nobody_polls_who_waits_for_it() {
    let (queue, ingester) = local(1);
    let mut unpolled = Box::pin(queue.ask(search("a", "")));
    assert!((&mut unpolled).now_or_never().is_none());
    ask_for(&queue, search("b", "")).await.await.unwrap().unwrap();
    assert_eq!(ingester.started.load(Ordering::Relaxed), 2);
    unpolled.await.unwrap();
}

#[test]
fn runtime_that_stops_takes_its_jobs_with_it() {
    let (queue, ingester) = local(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            ask_for(&queue, search("a", "hang")).await;
        }
    });
    drop(runtime);
    assert_eq!(ingester.started.load(Ordering::Relaxed), 1);
    assert_eq!(queue.outstanding(), 0);
}

/// A measurement, to be run by hand: `cargo test --release queue_costs -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn queue_costs_some_microseconds() {
    let (queue, ingester) = local(20);
    for round in 0..5 {
        let started = std::time::Instant::now();
        for _ in 0..20_000 {
            let find = FindTraceRequest { tenant: "a".to_owned(), ..Default::default() };
            queue.ask(find).await.unwrap();
        }
        let queued = started.elapsed() / 20_000;
        let started = std::time::Instant::now();
        for _ in 0..20_000 {
            let find = FindTraceRequest { tenant: "a".to_owned(), ..Default::default() };
            Ingester::find_trace(&*ingester, Request::new(find)).await.unwrap();
        }
        eprintln!("round {round}: {queued:?} queued, {:?} direct", started.elapsed() / 20_000);
    }
}
