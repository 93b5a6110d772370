//! What spans say of their sampling stays with them, live, in a segment and in a block.

use tactus_api::request::TraceQuery;
use tactus_api::trace::WhenTooLarge;
use tactus_model::TraceId;
use tactus_query::{ConnectionType, GraphWindow, Large};

use super::slow::batches::{Span, Stored};
use super::*;

/// Verbatim: with other vendors' members, blanks and an order of its own.
const STATE: &str = "vendor=a:b@1, ot=rv:60000000000000;th:c,x=";

fn span(id: u64, parent: u64, kind: u8) -> Span {
    let start = BASE + SECOND;
    Span { trace: 1, id, parent, kind, start, duration: 1_000_000, ..Span::default() }
}

/// A call of which the trace state says that it stands for four, and one that an attribute says stands for ten.
fn sampled() -> Vec<Group> {
    let attributes = vec![("sampling.probability".to_owned(), Stored::Float(0.1))];
    let group = |name: &str, spans| Group {
        resource: vec![("service.name".to_owned(), Stored::String(name.to_owned()))],
        spans,
        ..Group::default()
    };
    let shop = vec![
        Span { state: STATE.to_owned(), ..span(1, 9, 3) },
        Span { attributes: attributes.clone(), ..span(3, 9, 3) },
    ];
    let cart = vec![span(2, 1, 2), Span { status: 2, attributes, ..span(4, 3, 2) }];
    vec![group("shop", shop), group("cart", cart)]
}

async fn check_sampled(place: &str, services: &Services) {
    let id = TraceId(1u128.to_be_bytes());
    let frontend = &services.frontend;
    let query = TraceQuery::default();
    let limits = (WhenTooLarge::Refuse, Large::Whole);
    let found = frontend.find_part(&[tenant()], id, query, limits).await;
    let json = found.expect(place).trace.into_json_v1().expect("JSON");
    let json = String::from_utf8(json).expect("text");
    assert!(json.contains(&format!(r#""traceState":"{STATE}""#)), "{place}: {json}");
    for (query, expected) in [
        ("{ } | count_over_time()", 4.0),
        ("{ } | count_over_time() with(adjusted=true)", 4.0 + 1.0 + 10.0 + 10.0),
        ("{ } | service_graph(calls)", 2.0),
        ("{ } | service_graph(calls) with(adjusted=true)", 14.0),
        ("{ } | service_graph(errors) with(adjusted=true)", 10.0),
    ] {
        let root = parse_and_validate(query).expect(query);
        let (start, end) = (BASE, BASE + 2 * SECOND);
        let (step, is_instant) = (end - start, true);
        let query = Metrics { text: query.to_owned(), root, start, end, step, is_instant };
        let series = services.series(&query).await.expect(place);
        let values: Vec<f64> = series.iter().map(|series| series.points[0].1).collect();
        assert_eq!(values, [expected], "{place}: {}", query.text);
    }
    let window = GraphWindow { start_unix_nanos: BASE, end_unix_nanos: BASE + 2 * SECOND };
    let graph = frontend.service_graph(&[tenant()], window, Some("{ status = error }")).await;
    let graph = graph.expect(place);
    let [edge] = &graph.edges[..] else { unreachable!("{place}: {graph:?}") };
    let connection = (edge.client.as_str(), edge.server.as_str(), edge.connection_type);
    assert_eq!(connection, ("shop", "cart", ConnectionType::Direct), "{place}");
    assert_eq!((edge.call_count(), edge.error_count(), graph.partial), (1, 1, false), "{place}");
    assert!(edge.client_latency.is_some() && edge.server_latency.is_some(), "{place}");
}

#[test]
fn trace_state_and_adjusted_counts_are_the_same_in_all_places() {
    let services = Services::new();
    RUNTIME.block_on(async {
        services.push(&sampled()).await;
        check_sampled("live", &services).await;
        services.cut().await;
        check_sampled("segment", &services).await;
        services.flush().await;
        assert_eq!(services.blocks(), 1);
        check_sampled("block", &services).await;
    });
}
