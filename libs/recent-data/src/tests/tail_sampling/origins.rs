//! What queries over replicas are told of spans that were dropped.

use tactus_proto::tactus::v1::{
    Holder, HoldingsRequest, MetricsRequest, ingester_server::Ingester as Protocol,
};
use tonic::Request;

use super::*;

#[tokio::test]
async fn dropped_spans_leave_no_gap_in_what_is_held() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    let mut push = push_of("t1", &[span(1, 1, 1), span(2, 200, 1)]);
    push.runs[0].origin = 7 << 24 | 5;
    ingester.push(&push, &tenant()).unwrap();
    ingester.seal().await.unwrap();
    let before = holder(&ingester).await;
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(ids(&ingester), [1]);
    let after = holder(&ingester).await;
    assert_eq!((after.complete, after.incomplete), (before.complete, vec![]));
    assert_eq!(ingester.push(&push, &tenant()).unwrap().spans, 0, "sent again");
    ingester.flush_all().await.unwrap();
    let blocks = sampled.bench.blocklist.tenant("t1");
    assert!(blocks.live()[0].origins().0.contains(7 << 24 | 5));
}

#[tokio::test]
async fn segment_without_a_kept_trace_is_known_when_it_is_sent_again() {
    let sampled = Sampled::new(NONE);
    let ingester = sampled.open();
    let mut push = push_of("t1", &[span(1, 1, 1)]);
    push.runs[0].origin = 7 << 24 | 5;
    ingester.push(&push, &tenant()).unwrap();
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert!(ids(&ingester).is_empty());
    assert_eq!(ingester.push(&push, &tenant()).unwrap().spans, 0);
}

async fn holder(ingester: &Ingester) -> Holder {
    holder_with(ingester, false).await
}

async fn holder_with(ingester: &Ingester, origins_only: bool) -> Holder {
    let tenant = "t1".to_owned();
    let request = HoldingsRequest { tenant, origins_only, ..Default::default() };
    let answer = Protocol::holdings(ingester, Request::new(request)).await.unwrap();
    answer.into_inner().holders.remove(0)
}

/// The spans that these ingesters count together.
async fn counted(ingesters: &[(&str, &Ingester)]) -> f64 {
    let mut holders = Vec::new();
    for (name, ingester) in ingesters {
        holders.push(Holder { ingester_id: (*name).to_owned(), ..holder(ingester).await });
    }
    let mut sum = 0.0;
    for (_, ingester) in ingesters {
        let request = MetricsRequest {
            tenant: "t1".to_owned(),
            query: "{ } | count_over_time()".to_owned(),
            step_nanos: 1_000_000,
            intervals: 1,
            holders: holders.clone(),
            ..MetricsRequest::default()
        };
        let answer = Protocol::metrics(*ingester, Request::new(request)).await.unwrap();
        sum += answer.into_inner().series.iter().flat_map(|it| &it.values).sum::<f64>();
    }
    sum
}

#[tokio::test]
async fn replicas_count_kept_spans_once_and_dropped_ones_until_they_are() {
    let sampled: Vec<_> = (0..3).map(|_| Sampled::new(BELOW_TEN)).collect();
    let names = ["a", "b", "c"];
    let ingesters: Vec<_> = sampled.iter().zip(names).map(|(it, name)| it.open_as(name)).collect();
    // Pushes of several streams, each of which another ingester counts first.
    for stream in 1..=6u64 {
        let id = stream as u16;
        let spans = [span(id, id, 5), span(id, id + 100, 5), span(id + 50, id + 200, 5)];
        let mut push = push_of("t1", &spans);
        push.runs[0].origin = stream << 24 | 1;
        for ingester in &ingesters {
            ingester.push(&push, &tenant()).unwrap();
        }
    }
    let all: Vec<_> = names.into_iter().zip(ingesters.iter().map(|it| &**it)).collect();
    for ingester in &ingesters {
        ingester.seal().await.unwrap();
    }
    assert_eq!(counted(&all).await, 18.0);
    for (place, ingester) in ingesters.iter().enumerate() {
        ingester.decide(Due::Waited).await.unwrap();
        let count = counted(&all).await;
        let is_last = place + 1 == ingesters.len();
        assert!(if is_last { count == 12.0 } else { (12.0..=18.0).contains(&count) }, "{count}");
    }
}

#[tokio::test]
async fn what_one_of_two_replicas_dropped_and_the_other_kept_counts() {
    let odd =
        "policies: [{name: odd, type: traceql, traceql: {query: '{ span.n = 1 || span.n = 3 }'}}]";
    let low = "policies: [{name: low, type: traceql, traceql: {query: '{ span.n < 3 }'}}]";
    let sampled = [odd, low].map(Sampled::new);
    let [a, b] = ["a", "b"];
    let ingesters = [sampled[0].open_as(a), sampled[1].open_as(b)];
    let all = [(a, &*ingesters[0]), (b, &*ingesters[1])];
    // Who is asked first differs from stream to stream.
    for stream in 1..=6u64 {
        let base = stream as u16 * 10;
        let spans = [1, 2, 3, 4].map(|n| span(base + n, n, 1));
        let mut push = push_of("t1", &spans);
        push.runs[0].origin = stream << 24 | 1;
        for ingester in &ingesters {
            ingester.push(&push, &tenant()).unwrap();
        }
    }
    for ingester in &ingesters {
        ingester.seal().await.unwrap();
        ingester.decide(Due::Waited).await.unwrap();
    }
    let whole = holder(&ingesters[0]).await;
    assert_eq!(whole.kept.iter().map(|it| it.traces.len()).collect::<Vec<_>>(), [2; 6]);
    let of_search = holder_with(&ingesters[0], true).await;
    assert_eq!(of_search, Holder { kept: Vec::new(), ..whole });
    // 1, 2 and 3 of each push.
    assert_eq!(counted(&all).await, 18.0);
    // What was left out is known after a restart and in the block.
    let [first, second] = ingesters;
    drop(first);
    let first = sampled[0].open_as(a);
    assert_eq!(counted(&[(a, &*first), (b, &*second)]).await, 18.0);
    first.flush_all().await.unwrap();
    let blocks = sampled[0].bench.blocklist.tenant("t1");
    let meta = &blocks.live()[0];
    assert_eq!(meta.thinned_origins(), meta.origins().0);
}
