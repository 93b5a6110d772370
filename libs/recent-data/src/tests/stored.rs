//! Spans that are in a block which the query reads are left out, and nothing is lost by it.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use tactus_api::{
    job::SearchJob,
    search::{SearchCombiner, to_message},
};
use tactus_block::read::{BlockReader, BytesSource, facts_of};
use tactus_model::Projection;
use tactus_proto::{
    tactus::v1::{
        SearchRequest, SearchResponse, TagValuesRequest, TagValuesResponse, TagsRequest,
        TagsResponse,
    },
    tempopb::TraceSearchMetadata,
};
use tactus_storage::{BlockMeta, Uuid};
use tonic::{Code, Request};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
/// One span matches, spans together match, traces match, and a filter that all spans pass.
const QUERIES: [&str; 5] = [
    "{ span.n = 7 }",
    "{ name = \"operation 1\" } && { name = \"operation 2\" }",
    "{ } | count() > 3",
    "{ name = \"operation 3\" } | by(name) | count() > 1",
    "{ span.text != \"no\" }",
];

/// An ingester that goes on answering for what it wrote to blocks.
struct Holding {
    bench: Bench,
    ingester: Arc<Ingester>,
}

impl Holding {
    fn new() -> Self {
        let bench = Bench::new();
        let ingester = Self::open(&bench);
        Self { bench, ingester }
    }

    fn open(bench: &Bench) -> Arc<Ingester> {
        let settings = Settings { hold_flushed: HOUR, fsync_interval: None, ..bench.settings() };
        bench.open_with(settings).unwrap()
    }

    fn push(&self, spans: impl IntoIterator<Item = (u16, u16)>) {
        let spans: Vec<_> =
            spans.into_iter().map(|(trace, id)| span(trace, id, u64::from(id) * 1_000)).collect();
        self.ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
    }

    /// Brings all to a block; its id.
    async fn flush(&self) -> Uuid {
        let known = self.blocks();
        self.ingester.flush_all().await.unwrap();
        let is_new = |meta: &&Arc<BlockMeta>| known.iter().all(|it| it.block_id != meta.block_id);
        self.blocks().iter().find(is_new).unwrap().block_id
    }

    fn blocks(&self) -> Vec<Arc<BlockMeta>> {
        self.bench.blocklist.tenant("t1").live().to_vec()
    }

    async fn search(&self, query: &str, stored: &[Uuid]) -> SearchResponse {
        let request = SearchRequest { stored_block_ids: ids(stored), ..request(query) };
        self.ingester.search(Request::new(request)).await.unwrap().into_inner()
    }

    async fn tags(&self, stored: &[Uuid]) -> TagsResponse {
        let stored_block_ids = ids(stored);
        let request = TagsRequest { tenant: "t1".into(), stored_block_ids, ..Default::default() };
        self.ingester.tags(Request::new(request)).await.unwrap().into_inner()
    }

    async fn values(&self, stored: &[Uuid]) -> TagValuesResponse {
        let request = TagValuesRequest {
            tenant: "t1".into(),
            tag: "span.n".into(),
            stored_block_ids: ids(stored),
            ..Default::default()
        };
        self.ingester.tag_values(Request::new(request)).await.unwrap().into_inner()
    }

    /// What a querier finds in a block.
    fn search_block(&self, meta: &BlockMeta, query: &str) -> Vec<TraceSearchMetadata> {
        let path = self.bench.bucket_path().join("t1").join(meta.block_id.to_string());
        let data = std::fs::read(path.join("data.parquet")).unwrap();
        let source = Arc::new(BytesSource::new(data.into()));
        let reader = BlockReader::open(source, &facts_of(meta).unwrap()).unwrap();
        let job = SearchJob::compile(&request(query), &[]).unwrap();
        let groups = 0..reader.row_groups().len();
        let found = groups.flat_map(|group| {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            let matches = job.query.find_matches(&batch, job.window).unwrap();
            job.query.assemble(&batch, &matches, &job.options).collect::<Vec<_>>()
        });
        found.map(to_message).collect()
    }

    /// The answer to a query that reads these blocks, if the ingester is told of some.
    async fn answer(
        &self,
        query: &str,
        read: &[Arc<BlockMeta>],
        told: &[Uuid],
    ) -> Vec<TraceSearchMetadata> {
        let mut combiner = SearchCombiner::new(0);
        combiner.add(self.search(query, told).await.traces);
        read.iter().for_each(|meta| combiner.add(self.search_block(meta, query)));
        let mut traces = combiner.finish(Default::default()).traces;
        for trace in &mut traces {
            trace.span_set = None;
            for set in &mut trace.span_sets {
                set.spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
            }
        }
        traces
    }
}

fn ids(blocks: &[Uuid]) -> Bytes {
    blocks.iter().flat_map(|id| *id.as_bytes()).collect()
}

fn request(query: &str) -> SearchRequest {
    SearchRequest {
        tenant: "t1".into(),
        query: query.into(),
        spans_per_span_set: 1_000,
        explain: true,
        ..SearchRequest::default()
    }
}

#[tokio::test]
async fn segments_of_a_block_that_the_query_reads_are_not_looked_at() {
    let holding = Holding::new();
    holding.push([(1, 1), (2, 2)]);
    holding.ingester.seal().await.unwrap();
    holding.push([(1, 3)]);
    let block = holding.flush().await;
    let (all, rest) = (holding.search("{ }", &[]).await, holding.search("{ }", &[block]).await);
    assert_eq!((all.traces.len(), rest.traces.len()), (2, 0));
    let work = rest.metrics.unwrap();
    assert_eq!((work.inspected_traces, work.inspected_bytes), (0, 0));
    let [explanation] = &rest.explanations[..] else { panic!("one") };
    let pruned = &explanation.pruned[0];
    assert_eq!(
        (explanation.parts, pruned.parts, &*pruned.reason),
        (2, 2, "in a block of the query")
    );
    assert_eq!((explanation.inspected_spans, all.explanations[0].inspected_spans), (0, 3));
    assert!(!holding.tags(&[]).await.scopes.is_empty());
    assert_eq!(holding.tags(&[block]).await, TagsResponse::default());
    assert_eq!(holding.values(&[]).await.values.len(), 3);
    assert_eq!(holding.values(&[block]).await, TagValuesResponse::default());
    // What came since is, and so is everything for a query that does not read the block.
    holding.push([(4, 4)]);
    assert_eq!(holding.search("{ }", &[block]).await.traces.len(), 1);
    assert_eq!(holding.values(&[block]).await.values[0].value, "4");
    assert_eq!(holding.search("{ }", &[Uuid::new_v4()]).await.traces.len(), 3);
}

#[tokio::test]
async fn trace_of_which_a_block_has_a_part_is_searched_whole() {
    let holding = Holding::new();
    let pair = "{ span.n = 1 } >> { span.n = 2 } || { span.n = 1 } && { span.n = 2 }";
    let spans = async |stored: &[Uuid]| {
        let found = holding.search(pair, stored).await;
        let sets = found.traces.iter().flat_map(|trace| &trace.span_sets);
        sets.map(|set| set.matched).collect::<Vec<_>>()
    };
    holding.push([(1, 1), (2, 100)]);
    let first = holding.flush().await;
    assert_eq!(spans(&[first]).await, [0u32; 0]);
    holding.push([(1, 2), (3, 101)]);
    assert_eq!(spans(&[first]).await, [2], "live");
    holding.ingester.seal().await.unwrap();
    assert_eq!(spans(&[first]).await, [2], "in a segment");
    let second = holding.flush().await;
    for stored in [&[first][..], &[second], &[first, second]] {
        assert_eq!(spans(stored).await, [2], "in two blocks");
    }
    // The other traces are whole where they are.
    let found = holding.search("{ span.n >= 100 }", &[first, second]).await;
    assert_eq!(found.traces.len(), 0);
}

#[tokio::test]
async fn block_that_was_begun_before_a_restart_is_left_out_after_it() {
    let holding = Holding::new();
    holding.push([(1, 1)]);
    let block = holding.flush().await;
    let Holding { bench, ingester } = holding;
    drop(ingester);
    let holding = Holding { ingester: Holding::open(&bench), bench };
    holding.push([(2, 2)]);
    assert_eq!(holding.search("{ }", &[]).await.traces.len(), 2);
    assert_eq!(holding.search("{ }", &[block]).await.traces.len(), 1);
}

#[tokio::test]
async fn malformed_ids_of_blocks_are_refused() {
    let holding = Holding::new();
    let stored_block_ids = Bytes::from_static(&[1; 17]);
    let request = SearchRequest { stored_block_ids, ..request("{ }") };
    let refused = holding.ingester.search(Request::new(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[derive(Debug, Clone)]
enum Event {
    /// So many new spans in some of so many traces.
    Push {
        spans: u16,
        traces: u16,
    },
    Cut,
    Flush,
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let push = (1u16..60, prop_oneof![Just(6u16), Just(80)]);
    let event = prop_oneof![
        4 => push.prop_map(|(spans, traces)| Event::Push { spans, traces }),
        2 => Just(Event::Cut),
        2 => Just(Event::Flush),
        1 => Just(Event::Restart),
    ];
    vec(event, 1..14)
}

/// Whatever lies where: the answer is the same whether or not the ingester is told of the blocks that are read.
async fn check(events: Vec<Event>, mask: u8) {
    let mut holding = Holding::new();
    let mut next = 1;
    for event in events {
        match event {
            Event::Push { spans, traces } => {
                holding.push((next..next + spans).map(|id| (id % traces, id)));
                next += spans;
            }
            Event::Cut => holding.ingester.seal().await.unwrap(),
            Event::Flush => holding.ingester.flush_all().await.unwrap(),
            Event::Restart => {
                let Holding { bench, ingester } = holding;
                drop(ingester);
                holding = Holding { ingester: Holding::open(&bench), bench };
            }
        }
    }
    let listed = |(number, _): &(usize, _)| mask & 1 << (number % 8) != 0;
    let read: Vec<_> =
        holding.blocks().into_iter().enumerate().filter(listed).map(|(_, meta)| meta).collect();
    let told: Vec<_> = read.iter().map(|meta| meta.block_id).collect();
    for query in QUERIES {
        let without = holding.answer(query, &read, &[]).await;
        assert_eq!(holding.answer(query, &read, &told).await, without, "{query}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn answer_is_the_same_whether_or_not_blocks_are_named(events in events(), mask: u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(events, mask));
    }
}
