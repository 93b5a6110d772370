//! Streams whose recent data takes long: blocks that are known do not wait for it, and what ingesters have found is shown.

use tactus_proto::tactus::v1::SoFar;
use tactus_proto::tempopb::{SearchResponse, SearchTagValuesResponse, SearchTagsResponse};

use super::*;
use crate::tests::doubles::RecentData;

/// A search whose recent data is held back.
struct Held {
    blocks: Blocks,
    answers: Answers<SearchResponse>,
}

impl Held {
    /// `blocks`: how long after the base each ends, with what it has.
    async fn start(blocks: &[(u64, &[TraceSearchMetadata])], request: SearchRequest) -> Self {
        let held = Blocks::new(one_job_at_a_time()).await;
        for (number, (end, traces)) in blocks.iter().enumerate() {
            let id = held.add(number, (0, *end));
            held.querier.traces.lock().insert(id, traces.to_vec());
        }
        held.api.recent.calls.hang(true);
        let answers = held.streaming.search(tonic::Request::new(request)).await.unwrap();
        Self { blocks: held, answers: answers.into_inner() }
    }

    /// The traces that are shown next, while recent data is held back.
    async fn shown(&mut self) -> Vec<String> {
        loop {
            let answer = self.answers.next().await.expect("more").expect("no error");
            assert_eq!(self.blocks.api.recent.calls.running(), 1, "the end");
            if !answer.traces.is_empty() {
                return ids(&answer);
            }
        }
    }

    /// Waits until so many blocks were searched and nothing else happens.
    async fn searched(&self, blocks: usize) {
        while self.searched_blocks() < blocks {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(self.searched_blocks(), blocks);
    }

    fn searched_blocks(&self) -> usize {
        self.blocks.querier.searched.lock().len()
    }

    /// Lets recent data answer with these, and returns the last message.
    async fn finish(mut self, recent: &[TraceSearchMetadata]) -> (SearchResponse, Blocks) {
        *self.blocks.api.recent.traces.lock() = recent.to_vec();
        self.blocks.api.recent.calls.hang(false);
        let mut last = None;
        while let Some(answer) = self.answers.next().await {
            last = Some(answer.expect("no error"));
        }
        (last.expect("an answer"), self.blocks)
    }
}

fn ids(answer: &SearchResponse) -> Vec<String> {
    answer.traces.iter().map(|trace| trace.trace_id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn finding_of_a_known_block_is_shown_before_recent_data_answers() {
    let found: &[(u64, &[_])] = &[(100, &[]), (90, &[trace(2, 70)]), (80, &[trace(3, 5)])];
    let mut held = Held::start(found, search("{}")).await;
    let mut shown = held.shown().await;
    while shown.len() < 2 {
        shown.extend(held.shown().await);
    }
    assert_eq!(shown, ["2", "3"]);
    let (last, blocks) = held.finish(&[trace(1, 95), trace(3, 5)]).await;
    assert_eq!(ids(&last), ["1", "2", "3"]);
    let metrics = last.metrics.unwrap();
    assert_eq!((metrics.completed_jobs, metrics.total_jobs, metrics.total_blocks), (4, 4, 3));
    assert_eq!(blocks.querier.searched.lock().len(), 3, "each once");
}

#[tokio::test(start_paused = true)]
async fn block_that_comes_while_recent_data_is_awaited_is_read_afterwards() {
    let held = Held::start(&[(100, &[trace(1, 70)])], search("{}")).await;
    held.searched(1).await;
    let id = held.blocks.add(7, (0, 50));
    held.blocks.querier.traces.lock().insert(id.clone(), vec![trace(2, 40)]);
    let (last, blocks) = held.finish(&[]).await;
    assert_eq!(ids(&last), ["1", "2"]);
    let told = &blocks.api.recent.searches.lock()[0].stored_block_ids;
    assert_eq!(told.len(), 16, "the new block is not known");
    let searched = blocks.querier.searched.lock();
    assert_eq!((searched.len(), searched.last()), (2, Some(&id)));
    assert_eq!(last.metrics.unwrap().total_blocks, 2);
}

#[tokio::test(start_paused = true)]
async fn traces_that_were_shown_stay_in_the_answer() {
    let found: &[(u64, &[_])] = &[(100, &[trace(1, 70), trace(2, 60)]), (90, &[trace(3, 50)])];
    for (limit, expected) in [(2, &["1", "2"][..]), (3, &["4", "1", "2"])] {
        let held = Held::start(&found[..1], SearchRequest { limit, ..search("{}") }).await;
        held.searched(1).await;
        let (last, _) = held.finish(&[trace(4, 95), trace(5, 40)]).await;
        assert_eq!(ids(&last), expected, "a client adds up to {limit}");
    }
    // The second block is not wanted.
    let held = Held::start(found, SearchRequest { limit: 2, ..search("{}") }).await;
    held.searched(1).await;
    let (_, blocks) = held.finish(&[trace(4, 95)]).await;
    assert_eq!(blocks.querier.searched.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn newest_traces_are_shown_once_nothing_newer_can_be_found() {
    let found: &[(u64, &[_])] = &[(100, &[trace(1, 70)]), (60, &[trace(2, 50)])];
    let request = SearchRequest { limit: 1, ..search("{} with(most_recent=true)") };
    let mut held = Held::start(found, request).await;
    // The other block has nothing as new.
    held.searched(1).await;
    let next = held.answers.next().await.unwrap().unwrap();
    assert_eq!(ids(&next), [""; 0], "recent data may have a newer one");
    let (last, blocks) = held.finish(&[trace(3, 80)]).await;
    assert_eq!(ids(&last), ["3"]);
    assert_eq!(blocks.querier.searched.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn search_whose_recent_data_fails_ends_with_the_error() {
    let mut held = Held::start(&[(100, &[trace(1, 70)])], search("{}")).await;
    assert_eq!(held.shown().await, ["1"]);
    *held.blocks.api.recent.failures.lock() = vec![Status::internal("broken"); 9];
    held.blocks.api.recent.calls.hang(false);
    let ends = loop {
        if let Err(status) = held.answers.next().await.unwrap() {
            break status;
        }
    };
    assert_eq!((ends.code(), ends.message()), (tonic::Code::Internal, "broken"));
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_no_stream_waits_for_recent_data() {
    let blocks = Blocks::new(Settings::default()).await;
    blocks.add(0, (0, 100));
    blocks.api.recent.calls.hang(true);
    let (start, end) = (BASE - 1_000, BASE + 1_000);
    let path = format!("/api/search?q={{}}&start={start}&end={end}&limit=1");
    let mut request = std::pin::pin!(blocks.api.get(&path));
    let wait = Duration::from_secs(10);
    assert!(tokio::time::timeout(wait, &mut request).await.is_err());
    assert!(blocks.querier.searched.lock().is_empty());
    *blocks.api.recent.traces.lock() = vec![trace(1, 90)];
    blocks.api.recent.calls.hang(false);
    assert_eq!(request.await.json()["traces"].as_array().unwrap().len(), 1);
    assert!(blocks.querier.searched.lock().is_empty(), "recent data was enough");
}

#[tokio::test(start_paused = true)]
async fn finding_of_an_ingester_is_shown_before_its_answer() {
    let mut held = Held::start(&[(100, &[trace(2, 70)])], search("{}")).await;
    assert_eq!(held.shown().await, ["2"]);
    *held.blocks.api.recent.traces_so_far.lock() = vec![trace(1, 95), trace(2, 70)];
    assert_eq!(held.shown().await, ["1"]);
    *held.blocks.api.recent.traces_so_far.lock() = vec![trace(1, 95), trace(3, 90)];
    assert_eq!(held.shown().await, ["3"]);
    let (last, blocks) = held.finish(&[trace(1, 95)]).await;
    assert_eq!(ids(&last), ["1", "2"], "an answer is not what was shown before");
    assert_eq!(last.metrics.unwrap().total_jobs, 2);
    let searches = blocks.api.recent.searches.lock();
    assert_eq!((searches.len(), searches[0].so_far()), (1, SoFar::Kept));
}

#[tokio::test(start_paused = true)]
async fn ingesters_are_not_asked_for_findings_among_which_newer_ones_may_come() {
    let request = SearchRequest { limit: 1, ..search("{} with(most_recent=true)") };
    let held = Held::start(&[(100, &[trace(1, 70)])], request).await;
    *held.blocks.api.recent.traces_so_far.lock() = vec![trace(2, 80)];
    held.searched(1).await;
    assert_eq!(held.blocks.api.recent.traces_so_far.lock().len(), 1);
    let (last, blocks) = held.finish(&[trace(3, 90)]).await;
    assert_eq!(ids(&last), ["3"]);
    assert_eq!(blocks.api.recent.searches.lock()[0].so_far(), SoFar::NotKept);
}

/// What is shown of a stream until `wanted` was, while recent data is held back.
async fn shown_until<M: Send + 'static>(
    answers: &mut Answers<M>,
    recent: &RecentData,
    wanted: &[&str],
    texts: impl Fn(&M) -> Vec<String>,
) {
    let mut shown = Vec::new();
    while shown.len() < wanted.len() {
        shown.extend(texts(&answers.next().await.expect("more").expect("no error")));
        assert_eq!(recent.calls.running(), 1, "the end");
    }
    shown.sort_unstable();
    assert_eq!(shown, wanted);
}

#[tokio::test(start_paused = true)]
async fn names_are_shown_before_recent_data_answers() {
    let tags = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let scopes = vec![TagScope { name: "span".into(), tags }];
        TagsResponse { scopes, ..TagsResponse::default() }
    };
    let blocks = Blocks::new(Settings::default()).await;
    let id = blocks.add(0, (0, 100));
    blocks.querier.tags.lock().insert(id, tags(&["a", "b"]));
    blocks.api.recent.calls.hang(true);
    *blocks.api.recent.tags_so_far.lock() = tags(&["b", "c", "d"]);
    let (start, end) = ((BASE - 1_000) as u32, (BASE + 1_000) as u32);
    let request = SearchTagsRequest { start, end, ..SearchTagsRequest::default() };
    let answers = blocks.streaming.search_tags(tonic::Request::new(request)).await;
    let mut answers = answers.unwrap().into_inner();
    let texts = |answer: &SearchTagsResponse| answer.tag_names.clone();
    shown_until(&mut answers, &blocks.api.recent, &["a", "b", "c", "d"], texts).await;
    *blocks.api.recent.tags.lock() = tags(&["c", "e"]);
    blocks.api.recent.calls.hang(false);
    let rest = messages(Ok(Response::new(answers))).await;
    let last = rest.last().unwrap();
    assert_eq!(last.tag_names, ["a", "b", "c", "e"]);
    let metrics = last.metrics.unwrap();
    assert_eq!((metrics.completed_jobs, metrics.total_jobs, metrics.total_blocks), (2, 2, 1));
    assert_eq!(blocks.api.recent.tags_requests.lock()[0].so_far(), SoFar::Kept);
}

#[tokio::test(start_paused = true)]
async fn values_are_shown_before_recent_data_answers() {
    let values = |texts: &[&str]| {
        let value = |value: &&str| TagValue { r#type: "string".into(), value: (*value).into() };
        TagValuesResponse { values: texts.iter().map(value).collect(), ..Default::default() }
    };
    let blocks = Blocks::new(Settings::default()).await;
    let id = blocks.add(0, (0, 100));
    blocks.querier.values.lock().insert(id, values(&["a"]));
    blocks.api.recent.calls.hang(true);
    *blocks.api.recent.values_so_far.lock() = values(&["b"]);
    let (start, end) = ((BASE - 1_000) as u32, (BASE + 1_000) as u32);
    let tag_name = "x".to_owned();
    let request = SearchTagValuesRequest { tag_name, start, end, ..Default::default() };
    let answers = blocks.streaming.search_tag_values(tonic::Request::new(request)).await;
    let mut answers = answers.unwrap().into_inner();
    let texts = |answer: &SearchTagValuesResponse| answer.tag_values.clone();
    shown_until(&mut answers, &blocks.api.recent, &["a", "b"], texts).await;
    // One that comes while recent data is awaited is read afterwards.
    let id = blocks.add(1, (0, 50));
    blocks.querier.values.lock().insert(id, values(&["d"]));
    *blocks.api.recent.values.lock() = values(&["b", "c"]);
    blocks.api.recent.calls.hang(false);
    let rest = messages(Ok(Response::new(answers))).await;
    assert_eq!(rest.last().unwrap().tag_values, ["a", "b", "c", "d"]);
    assert_eq!(blocks.querier.searched.lock().len(), 2, "each once");
}
