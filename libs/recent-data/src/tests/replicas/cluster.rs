//! Ingesters in one process, what happens to them, and what queries get from all of them together.

use tactus_block::read::{BlockReader, BytesSource, facts_of};
use tactus_model::{OriginSet, Projection};
use tactus_proto::tactus::v1::{
    Holder, HoldingsRequest, MetricsRequest, PushRequest, SearchRequest,
    ingester_server::Ingester as Protocol,
};
use tactus_storage::{BlockMeta, meta::block_origin};
use tonic::{Code, Request, Status};

use super::*;
use crate::tail_sampling::Due;

pub(super) struct Cluster {
    folder: tempfile::TempDir,
    pub(super) nodes: Vec<Option<Arc<Ingester>>>,
    /// All that was written.
    written: Arc<Blocklist>,
    /// What queries know of it.
    pub(super) known: Vec<Arc<BlockMeta>>,
    /// With the nodes that they were sent to at first.
    pub(super) pushes: Vec<(PushRequest, u8)>,
    next_span: u16,
    next_sequence: u64,
    tail_sampling: Option<Arc<TailSampling>>,
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self::with(None)
    }

    pub(super) fn with(tail_sampling: Option<Arc<TailSampling>>) -> Self {
        let mut cluster = Self {
            tail_sampling,
            folder: tempfile::tempdir().unwrap(),
            nodes: vec![None; NODES],
            written: Arc::new(Blocklist::new()),
            known: Vec::new(),
            pushes: Vec::new(),
            next_span: 1,
            next_sequence: 0,
        };
        (0..NODES).for_each(|node| cluster.open(node));
        cluster
    }

    fn open(&mut self, node: usize) {
        self.open_with(node, Limits::default());
    }

    pub(super) fn open_with(&mut self, node: usize, limits: Limits) {
        let mut settings = Settings::new(self.folder.path().join(format!("node-{node}")));
        settings.ingester_id = format!("ingester-{node}");
        settings.fsync_interval = None;
        settings.chunk_spans = 5;
        settings.generation_bytes = 20_000;
        settings.range_slack = Duration::ZERO;
        settings.hold_flushed = HOUR;
        settings.limits = OfTenant::all(limits);
        settings.tail_sampling = OfTenant::all(self.tail_sampling.clone());
        let path = self.folder.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let written = BlockWritten::listed(Arc::clone(&self.written));
        let registry = Registry::new();
        self.nodes[node] = Some(Ingester::open(settings, bucket, written, &registry).unwrap());
    }

    pub(super) fn node(&self, node: usize) -> &Arc<Ingester> {
        self.nodes[node].as_ref().unwrap()
    }

    pub(super) fn send_last(&self) {
        let push = self.pushes.len() - 1;
        let nodes = (0..NODES).filter(|node| self.pushes[push].1 & 1 << node != 0);
        nodes.for_each(|node| self.send(push, node));
    }

    fn send(&self, push: usize, node: usize) {
        self.node(node).push(&self.pushes[push].0, &tenant()).unwrap();
    }

    /// Spans in a few traces, under two origins if there are several.
    pub(super) fn new_push(&mut self, stream: u8, spans: u8, nodes: u8) {
        let ids: Vec<u16> = (0..u16::from(spans)).map(|more| self.next_span + more).collect();
        self.next_span += u16::from(spans);
        let mut push = PushRequest::default();
        for half in ids.chunks(2) {
            self.next_sequence += 1;
            let spans: Vec<_> = half.iter().map(|&id| span(id % 5, id, u64::from(id))).collect();
            let part = push_of("t1", &spans);
            let mut runs = std::mem::take(&mut push.runs);
            runs.extend(part.runs.iter().cloned().map(|mut run| {
                let origin = (u64::from(stream) + 7) << 24 | self.next_sequence;
                run.origin = if stream == 0 { 0 } else { origin };
                run
            }));
            push = PushRequest { runs, ..part };
        }
        self.pushes.push((push, nodes));
    }

    pub(super) async fn happen(&mut self, event: &Event) {
        match *event {
            Event::Push { stream, nodes, spans } => {
                let nodes = if stream == 0 { 1 << (nodes % NODES as u8) } else { nodes };
                self.new_push(stream, spans, nodes);
                self.send_last();
            }
            Event::Resend { push, nodes, torn } => {
                if let Some(push) = usize::from(push).checked_rem(self.pushes.len()) {
                    let mut again = self.pushes[push].0.clone();
                    let spans = &again.runs[0].scope_spans;
                    let same = self.pushes.iter().filter(|it| it.0.runs[0].scope_spans == *spans);
                    let before = same.fold(0, |nodes, it| nodes | it.1);
                    for run in &mut again.runs {
                        self.next_sequence += 1;
                        let stream = run.origin >> 24 ^ u64::from(torn && nodes & 1 != 0) << 5;
                        run.origin = stream << 24 | self.next_sequence;
                    }
                    self.pushes.push((again, if torn { nodes } else { nodes | before }));
                    self.send_last();
                }
            }
            Event::Again { push, node } => {
                if let Some(push) = usize::from(push).checked_rem(self.pushes.len())
                    && self.pushes[push].0.runs[0].origin != 0
                {
                    self.send(push, usize::from(node) % NODES);
                }
            }
            Event::Cut(node) => self.node(usize::from(node) % NODES).seal().await.unwrap(),
            Event::Decide(node) => {
                self.node(usize::from(node) % NODES).decide(Due::Waited).await.unwrap();
            }
            Event::Flush(node) => self.node(usize::from(node) % NODES).flush_all().await.unwrap(),
            Event::Release(node) => {
                self.node(usize::from(node) % NODES).release_held(true).await.unwrap();
            }
            Event::GiveUp(node) => {
                let node = self.node(usize::from(node) % NODES);
                node.flush_all().await.unwrap();
                node.release_held(true).await.unwrap();
            }
            Event::Restart(node) => {
                let node = usize::from(node) % NODES;
                self.nodes[node] = None;
                self.open(node);
            }
            Event::Poll => self.known = self.written.tenant("t1").live().to_vec(),
        }
    }

    fn spans_of(&self, meta: &BlockMeta) -> BTreeSet<u16> {
        let path = self.folder.path().join("bucket/t1").join(meta.block_id.to_string());
        let data = std::fs::read(path.join("data.parquet")).unwrap();
        let source = Arc::new(BytesSource::new(data.into()));
        let reader = BlockReader::open(source, &facts_of(meta).unwrap()).unwrap();
        let projection = Projection { span_id: true, ..Projection::default() };
        let groups = (0..reader.row_groups().len())
            .map(|group| reader.read_row_group(group, &projection).unwrap());
        groups.flat_map(|batch| batch.spans.span_id.iter().map(id_of).collect::<Vec<_>>()).collect()
    }

    pub(super) async fn holders(&self, asked: &[usize]) -> Vec<Holder> {
        let mut holders = Vec::new();
        for &node in asked {
            let request = HoldingsRequest { tenant: "t1".to_owned(), ..Default::default() };
            let answer = Protocol::holdings(&**self.node(node), Request::new(request)).await;
            holders.extend(answer.unwrap().into_inner().holders);
        }
        holders
    }

    pub(super) async fn count(
        &self,
        node: usize,
        query: &str,
        holders: &[Holder],
        stored: &OriginSet,
    ) -> Result<BTreeMap<u16, f64>, Status> {
        let request = MetricsRequest {
            tenant: "t1".to_owned(),
            query: query.to_owned(),
            step_nanos: 100_000,
            intervals: 1,
            holders: holders.to_vec(),
            stored_origins: stored.bounds(),
            ..MetricsRequest::default()
        };
        let answer = Protocol::metrics(&**self.node(node), Request::new(request)).await?;
        let answer = answer.into_inner();
        let counted: f64 = answer.series.iter().flat_map(|series| &series.values).sum();
        let work = answer.metrics.unwrap();
        assert_eq!(work.inspected_spans as f64, counted, "the query counts whatever it looks at");
        Ok(answer.series.iter().map(|it| (label(it), it.values.iter().sum())).collect())
    }

    /// The traces that a search finds at a node, and how many spans of each match.
    async fn find(&self, node: usize, query: &str, holders: &[Holder]) -> Found {
        let request = SearchRequest {
            tenant: "t1".to_owned(),
            query: query.to_owned(),
            holders: holders.to_vec(),
            ..SearchRequest::default()
        };
        let answer = Protocol::search(&**self.node(node), Request::new(request)).await?;
        let traces = answer.into_inner().traces.into_iter();
        Ok(traces
            .map(|it| (it.trace_id, it.span_sets.iter().map(|set| set.matched).sum()))
            .collect())
    }

    /// Searches with holders and without; `Err` if ingesters want to be asked anew.
    pub(super) async fn search(&mut self, query: &Query, text: &str) -> Result<(), ()> {
        let asked: Vec<usize> = (0..NODES)
            .filter(|&node| query.missing.is_none_or(|it| usize::from(it) % NODES != node))
            .collect();
        let mut holders = self.holders(&asked).await;
        for holder in &mut holders {
            let set = |bounds: &[u64]| OriginSet::from_bounds(bounds).unwrap();
            holder.complete = set(&holder.complete).without(&set(&holder.thinned)).bounds();
        }
        // Any order will do, as long as all know the same.
        holders.rotate_left(self.next_sequence as usize % asked.len());
        for event in &query.before {
            self.happen(event).await;
        }
        let (mut once, mut times) = (BTreeMap::new(), 0);
        let mut every: BTreeMap<String, u32> = BTreeMap::new();
        for &node in &asked {
            for (trace, matched) in self.find(node, text, &[]).await.unwrap() {
                let most = every.entry(trace).or_default();
                *most = matched.max(*most);
            }
            match self.find(node, text, &holders).await {
                Ok(found) => {
                    times += found.len();
                    for (trace, matched) in found {
                        let most = once.entry(trace).or_default();
                        *most = matched.max(*most);
                    }
                }
                Err(status) if status.code() == Code::Aborted => return Err(()),
                Err(status) => panic!("{status}"),
            }
        }
        assert_eq!(once, every, "{text}");
        let held = asked.iter().map(|&node| self.node(node));
        if held.map(|node| self::held(node)).collect::<BTreeSet<_>>().len() == 1
            && query.before.is_empty()
            && self.has_origins_alone()
        {
            assert_eq!(times, once.len(), "where all have the same each trace is looked at once");
        }
        Ok(())
    }

    fn has_origins_alone(&self) -> bool {
        self.tail_sampling.is_none()
            && self.pushes.iter().all(|(push, _)| push.runs.iter().all(|run| run.origin != 0))
    }

    /// Runs a query; `Err` if ingesters want to be asked anew. Returns how often each span was counted that was there when
    /// it began.
    pub(super) async fn query(
        &mut self,
        query: &Query,
        text: &str,
    ) -> Result<BTreeMap<u16, f64>, ()> {
        let asked: Vec<usize> = (0..NODES)
            .filter(|&node| query.missing.is_none_or(|it| usize::from(it) % NODES != node))
            .collect();
        let mut there = BTreeSet::new();
        asked.iter().for_each(|&node| there.extend(held(self.node(node)).into_keys()));
        let holders = self.holders(&asked).await;
        for event in &query.before {
            self.happen(event).await;
        }
        let (blocks, mut stored) = (self.known.clone(), OriginSet::new());
        let mut counts: BTreeMap<u16, f64> = BTreeMap::new();
        for meta in &blocks {
            stored.unite(meta.origins().0);
            stored.unite(meta.origins().1);
            stored.insert(block_origin(meta.block_id));
            counts.extend(self.spans_of(meta).into_iter().map(|span| (span, 1.0)));
        }
        there.extend(counts.keys());
        for event in &query.after {
            self.happen(event).await;
        }
        for &node in &asked {
            match self.count(node, text, &holders, &stored).await {
                Ok(found) => {
                    for (span, count) in found {
                        *counts.entry(span).or_default() += count;
                    }
                }
                Err(status) if status.code() == Code::Aborted => return Err(()),
                Err(status) => panic!("{status}"),
            }
        }
        // Those that came since the ingesters were asked may count or not: without origins they do.
        let late = counts.extract_if(.., |span, _| !there.contains(span));
        assert!(late.into_iter().all(|(_, count)| count == 1.0));
        for span in there {
            counts.entry(span).or_default();
        }
        Ok(counts)
    }
}

fn id_of(id: &tactus_model::SpanId) -> u16 {
    u16::from_be_bytes([id.0[6], id.0[7]])
}

fn label(series: &tactus_proto::tactus::v1::MetricsSeries) -> u16 {
    use tactus_proto::otlp::any_value::Value;
    match series.labels[0].value {
        Some(Value::IntValue(number)) => number as u16,
        ref other => panic!("{other:?}"),
    }
}
