//! Zipkin to OTLP and back keeps a span, whatever it holds.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use tactus_model::{SpanId, TraceId};
use tactus_proto::zipkin::proto3;

use super::decode;
use crate::v2::lower_case;
use crate::v2::{Annotation, Endpoint, Kind, Span};
use crate::{DecodeOptions, Format, spans_from_otlp};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let ip = any::<Option<[u8; 4]>>();
    ("[a-z]{1,6}", ip, any::<u16>()).prop_map(|(name, ip, port)| Endpoint {
        service_name: bytes(&name),
        ipv4: ip.map(Ipv4Addr::from),
        ipv6: ip.is_none().then_some(Ipv6Addr::LOCALHOST),
        port,
    })
}

prop_compose! {
    fn span()(
        trace_id in any::<[u8; 16]>().prop_map(TraceId).prop_filter("zero", |id| !id.is_zero()),
        id in any::<[u8; 8]>().prop_map(SpanId).prop_filter("zero", |id| !id.is_zero()),
        parent in proptest::option::of(any::<[u8; 8]>().prop_map(SpanId)),
        kind in proptest::option::of(proptest::sample::select(Kind::ALL.to_vec())),
        name in "[a-z /]{0,10}",
        timestamp in 1..2_u64.pow(51),
        duration in 0..2_u64.pow(40),
        local_endpoint in endpoint(),
        remote_endpoint in proptest::option::of(endpoint()),
        annotations in proptest::collection::vec((1..2_u64.pow(51), ".{1,12}"), 0..4),
        tags in proptest::collection::btree_map(
            prop_oneof!["[a-c.]{0,3}", Just("host.name".to_owned()), Just("otel.library.name".to_owned()), Just("w3c.tracestate".to_owned())],
            ".{1,8}", 0..6),
    ) -> Span {
        let annotations = annotations.into_iter();
        Span {
            trace_id, id, kind, duration, local_endpoint,
            parent_id: parent.filter(|parent| !parent.is_zero() && *parent != id),
            name: bytes(&name),
            timestamp: Some(timestamp),
            remote_endpoint: remote_endpoint.unwrap_or_default(),
            annotations: annotations
                .map(|(timestamp, value)| Annotation { timestamp, value: bytes(&value) })
                .collect(),
            tags: tags.into_iter().map(|(key, value)| (bytes(&key), bytes(&value))).collect(),
            ..Span::default()
        }
    }
}

fn protobuf(span: &Span) -> proto3::Span {
    let endpoint = |endpoint: &Endpoint| {
        (!endpoint.is_empty()).then(|| proto3::Endpoint {
            service_name: endpoint.service_name.clone(),
            ipv4: endpoint.ipv4.map_or_else(Bytes::new, |ip| ip.octets().to_vec().into()),
            ipv6: endpoint.ipv6.map_or_else(Bytes::new, |ip| ip.octets().to_vec().into()),
            port: endpoint.port.into(),
        })
    };
    let annotation = |annotation: &Annotation| proto3::Annotation {
        timestamp: annotation.timestamp,
        value: annotation.value.clone(),
    };
    let tag =
        |(key, value): &(Bytes, Bytes)| proto3::Tag { key: key.clone(), value: value.clone() };
    proto3::Span {
        trace_id: span.trace_id.0.to_vec().into(),
        parent_id: span.parent_id.map_or_else(Bytes::new, |parent| parent.0.to_vec().into()),
        id: span.id.0.to_vec().into(),
        kind: span.kind.map_or(0, |kind| kind as i32 + 1),
        name: span.name.clone(),
        timestamp: span.timestamp.unwrap_or_default(),
        duration: span.duration,
        local_endpoint: endpoint(&span.local_endpoint),
        remote_endpoint: endpoint(&span.remote_endpoint),
        annotations: span.annotations.iter().map(annotation).collect(),
        tags: span.tags.iter().map(tag).collect(),
        debug: true,
        shared: true,
    }
}

fn back(format: Format, body: Bytes) -> Vec<Span> {
    let request = decode(format, &body, &DecodeOptions::default()).unwrap();
    spans_from_otlp(request.resource_spans).collect()
}

fn by_id(spans: Vec<Span>) -> BTreeMap<SpanId, Span> {
    spans.into_iter().map(|span| (span.id, span)).collect()
}

proptest! {
    #[test]
    fn spans_come_back_from_json_and_protobuf(spans in proptest::collection::vec(span(), 0..8)) {
        let spans = by_id(spans);
        let list: Vec<_> = spans.values().cloned().collect();
        prop_assert_eq!(&by_id(back(Format::JsonV2, serde_json::to_vec(&list).unwrap().into())), &spans);
        let list = proto3::ListOfSpans { spans: spans.values().map(protobuf).collect() };
        prop_assert_eq!(&by_id(back(Format::ProtobufV2, list.encode_to_vec().into())), &spans);
    }

    #[test]
    fn any_text_is_carried_by_json(name in "\\PC{0,20}", key in "\\PC{0,20}", value in "(\\PC|[\\x00-\\x1f]){0,20}") {
        let span = Span {
            trace_id: TraceId([1; 16]), id: SpanId([1; 8]), timestamp: Some(1), name: bytes(&name),
            tags: vec![(bytes(&format!("k{key}")), bytes(&value))],
            local_endpoint: Endpoint { service_name: bytes("s"), ..Endpoint::default() },
            ..Span::default()
        };
        let found = back(Format::JsonV2, serde_json::to_vec(&[&span]).unwrap().into());
        let expected = Span { name: bytes(&lower_case(&span.name)), ..span };
        prop_assert_eq!(found, vec![expected]);
    }
}
