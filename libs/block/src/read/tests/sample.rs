//! What conformance/blocks/README.md says about both sample blocks.

use super::*;
use tactus_model::SpanId;

const T0: u64 = 1_700_000_000_000_000_000;

fn id(hex: &str) -> TraceId {
    TraceId::from_hex(hex).unwrap()
}

fn trace(reader: &BlockReader, hex: &str) -> SpanBatch {
    reader.read_trace(id(hex)).unwrap().unwrap()
}

/// Service, span id, parent, left, right, nested parent, kind and name of each span.
fn tree(batch: &SpanBatch) -> Vec<String> {
    let service_key = batch.strings.find(b"service.name");
    (0..batch.len())
        .map(|i| {
            let spans = &batch.spans;
            let service = batch.service_name(spans.resource[i] as usize, service_key);
            format!(
                "{} {:?} {:?} {} {} {} {} {}",
                batch.strings.display(service),
                spans.span_id[i],
                spans.parent_span_id[i],
                spans.nested_left[i],
                spans.nested_right[i],
                spans.nested_parent[i],
                spans.kind[i],
                batch.strings.display(spans.name[i]),
            )
        })
        .collect()
}

/// Root service, root name, start after T0, duration, and "service: spans, errors" of each service.
fn summary(batch: &SpanBatch, trace: usize) -> (String, String, u64, u64, Vec<String>) {
    let summaries = batch.traces.summaries.as_ref().unwrap();
    let text = |code: u32| batch.strings.display(code).into_owned();
    let mut services: Vec<String> = summaries
        .services(trace)
        .map(|entry| {
            let (spans, errors) = (summaries.service_spans[entry], summaries.service_errors[entry]);
            format!("{}: {spans}, {errors}", text(summaries.service_name[entry]))
        })
        .collect();
    services.sort();
    let (start, end) = (summaries.start[trace], summaries.end[trace]);
    (
        text(summaries.root_service[trace]),
        text(summaries.root_name[trace]),
        start - T0,
        end - start,
        services,
    )
}

#[test]
fn counts_and_row_groups_are_the_documented_ones() {
    let as_v3 = load(BlockVersion::VParquet3).facts.footer_size as usize;
    for (version, traces, footer, leaves) in [
        (BlockVersion::VParquet3, &[29u64, 30, 5][..], as_v3, 76),
        (BlockVersion::VParquet4, &[29u64, 30, 5][..], 49_131, 103),
        (BlockVersion::VParquet5, &[17, 18, 18, 11][..], 44_817, 96),
    ] {
        let sample = load(version);
        let reader = sample.open();
        let groups = reader.row_groups();
        assert_eq!(groups.iter().map(|group| group.traces).collect::<Vec<_>>(), traces);
        assert_eq!(reader.footer_bytes(), footer);
        assert!((20_000..footer * 4).contains(&reader.heap_bytes()), "{}", reader.heap_bytes());
        assert_eq!(reader.file.footer.schema().num_columns(), leaves);
        let last: Vec<_> = groups.iter().map(|group| group.max_id.unwrap().0).collect();
        assert_eq!(last, sample.index.last_ids());

        let mut ids = Vec::new();
        let mut spans = 0;
        for (group, facts) in groups.iter().enumerate() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            assert!(batch.is_sorted());
            assert_eq!(batch.traces.ids.len() as u64, facts.traces);
            assert_eq!(facts.min_id, batch.traces.ids.first().copied());
            ids.extend_from_slice(&batch.traces.ids);
            spans += batch.len();
        }
        assert_eq!((ids.len(), spans), (64, 252));
        assert!(ids.is_sorted());
    }
}

#[test]
fn footer_size_may_be_unknown_or_wrong() {
    let sample = load(BlockVersion::VParquet4);
    for footer_size in [0, 1, 49_131, 60_000, u32::MAX] {
        let facts = BlockFacts { footer_size, ..sample.facts.clone() };
        let source = Arc::new(BytesSource::new(sample.data.clone()));
        assert_eq!(BlockReader::open(source, &facts).unwrap().footer_bytes(), 49_131);
    }
}

#[test]
fn trees_carry_ids_and_nested_sets() {
    for version in VERSIONS {
        let reader = load(version).open();
        assert_eq!(
            tree(&trace(&reader, "463ac35c9f6413ad")),
            [
                "web 00000000000000b1 0000000000000000 1 8 -1 2 root",
                "web 00000000000000b2 00000000000000b1 2 3 1 3 rpc",
                "backend 00000000000000b2 00000000000000b1 4 7 1 2 rpc",
                "backend 00000000000000b3 00000000000000b2 5 6 4 1 work",
            ]
        );
        assert_eq!(
            tree(&trace(&reader, "0af7651916cd43dd8448eb211c80319c")),
            [
                "frontend b7ad6b7169203331 0000000000000000 1 8 -1 2 GET /api",
                "frontend 00000000000000a2 b7ad6b7169203331 2 3 1 1 child-1",
                "frontend 00000000000000a3 b7ad6b7169203331 4 7 1 3 call-db",
                "db 00000000000000a4 00000000000000a3 5 6 4 2 SELECT",
            ]
        );
        assert_eq!(
            tree(&trace(&reader, "5b8efff798038103d269b633813fc60c")),
            [" 00000000000000c2 00000000000000c1 0 0 0 5 orphan"]
        );
        assert_eq!(
            tree(&trace(&reader, "ffffffffffffffffffffffffffffffff")),
            [
                "tworoots 00000000000000d1 0000000000000000 1 4 -1 0 root-1",
                "tworoots 00000000000000d2 00000000000000d1 2 3 1 0 d1-child",
                "tworoots 00000000000000d3 0000000000000000 5 6 -1 0 root-2",
            ]
        );
    }
}

#[test]
fn summaries_describe_whole_traces() {
    let all = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    for version in VERSIONS {
        let reader = load(version).open();
        let cases = [
            (
                "463ac35c9f6413ad",
                "web",
                "root",
                5_000_000_000,
                400_000_000,
                all(&["backend: 2, 0", "web: 2, 0"]),
            ),
            (
                "0af7651916cd43dd8448eb211c80319c",
                "frontend",
                "GET /api",
                0,
                250_000_000,
                all(&["db: 1, 0", "frontend: 3, 1"]),
            ),
            ("5b8efff798038103d269b633813fc60c", "", "", 7_000_000_000, 1, all(&[": 1, 0"])),
            (
                "ffffffffffffffffffffffffffffffff",
                "tworoots",
                "root-2",
                8_000_000_000,
                300_000_000,
                all(&["tworoots: 3, 0"]),
            ),
        ];
        for (hex, service, name, start, duration, services) in cases {
            let expected = (service.to_owned(), name.to_owned(), start, duration, services);
            assert_eq!(summary(&trace(&reader, hex), 0), expected, "{hex}");
        }
    }
}

#[test]
fn filler_traces_are_regular() {
    for version in VERSIONS {
        let reader = load(version).open();
        let mut fillers = 0u64;
        for group in 0..reader.row_groups().len() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            let offsets = batch.trace_offsets();
            for (row, trace_id) in batch.traces.ids.iter().enumerate() {
                if trace_id.0[7] != 0x77 {
                    continue;
                }
                let i = u64::from(trace_id.0[15]);
                fillers += 1;
                assert_eq!(u64::from(trace_id.0[0]), 0x10 + 3 * i);
                let service = format!("svc-{}", i % 4);
                let expected = (
                    service.clone(),
                    "op-0".to_owned(),
                    i * 1_000_000_000,
                    1_003_000,
                    vec![format!("{service}: 4, 0")],
                );
                assert_eq!(summary(&batch, row), expected);
                let first = offsets[row] as usize;
                assert_eq!(offsets[row + 1] as usize - first, 4);
                for n in 0..4 {
                    check_filler_span(&batch, first + n, i, n as u64);
                }
                let nested = |column: &[i32]| column[first..first + 4].to_vec();
                assert_eq!(nested(&batch.spans.nested_left), [1, 2, 6, 3]);
                assert_eq!(nested(&batch.spans.nested_right), [8, 5, 7, 4]);
                assert_eq!(nested(&batch.spans.nested_parent), [-1, 1, 1, 2]);
            }
        }
        assert_eq!(fillers, 60);
    }
}

fn check_filler_span(batch: &SpanBatch, span: usize, i: u64, n: u64) {
    let span_id = |n: u64| SpanId([0xe0, 0, 0, 0, 0, 0, i as u8, n as u8]);
    let spans = &batch.spans;
    assert_eq!(spans.span_id[span], span_id(n));
    let parent = if n == 0 { SpanId::default() } else { span_id((n - 1) / 2) };
    assert_eq!(spans.parent_span_id[span], parent);
    assert_eq!(spans.start[span], T0 + i * 1_000_000_000 + n * 1000);
    assert_eq!((spans.duration[span], spans.kind[span]), (1_000_000, 1));
    assert_eq!(batch.strings.display(spans.name[span]), format!("op-{}", n % 3));
    let mut attributes = shown(batch, &batch.span_attributes, span);
    attributes.sort();
    let expected =
        [format!("customer=\"cust-{}\"", i % 5), format!("n={n}"), "region=\"eu\"".to_owned()];
    assert_eq!(attributes, expected);
    let resource = shown(batch, &batch.resources.attributes, spans.resource[span] as usize);
    assert_eq!(resource, [format!("ip=\"10.1.0.{i}\""), format!("service.name=\"svc-{}\"", i % 4)]);
    let scope = spans.scope[span] as usize;
    assert_eq!(batch.strings.display(batch.scopes.name[scope]), "filler");
    assert!(shown(batch, &batch.scopes.attributes, scope).is_empty());
    assert!(batch.events.range(span).is_empty() && batch.links.range(span).is_empty());
}

#[test]
fn attributes_of_the_span_with_everything_come_in_stored_order() {
    // Generic ones, dedicated ones in the order of the meta, those with a column in every block.
    let generic = [
        "int=-42",
        "double=3.5",
        "bool=true",
        "strs=[\"a\",\"b\"]",
        "ints=[1,2,3]",
        "doubles=[1.5]",
        "bools=[true,false]",
        "emptyarr=[]",
        "mixed=[\"a\",1]",
        "kv={k:\"v\"}",
        "emptystr=\"\"",
    ];
    let v4 = (
        vec!["http.request.method=\"GET\"", "http.response.status_code=500", "url.path=\"/api\""],
        vec![
            "region=\"us-east-1\"",
            "customer=\"acme\"",
            "http.method=\"GET\"",
            "http.url=\"http://shop/api?q=1\"",
            "http.status_code=500",
        ],
        vec!["res.bool=true", "res.int=7"],
        vec![
            "ip=\"10.0.0.1\"",
            "service.name=\"frontend\"",
            "cluster=\"c1\"",
            "namespace=\"ns1\"",
            "pod=\"pod-1\"",
            "container=\"ctr-1\"",
            "k8s.cluster.name=\"kc1\"",
            "k8s.namespace.name=\"kns1\"",
            "k8s.pod.name=\"kpod-1\"",
            "k8s.container.name=\"kctr-1\"",
        ],
    );
    let v5 = (
        vec!["region=\"us-east-1\""],
        vec![
            "http.request.method=\"GET\"",
            "http.response.status_code=500",
            "url.path=\"/api\"",
            "http.method=\"GET\"",
            "http.url=\"http://shop/api?q=1\"",
            "http.status_code=500",
            "customer=\"acme\"",
        ],
        vec![
            "cluster=\"c1\"",
            "container=\"ctr-1\"",
            "namespace=\"ns1\"",
            "pod=\"pod-1\"",
            "res.bool=true",
            "res.int=7",
        ],
        vec![
            "k8s.cluster.name=\"kc1\"",
            "k8s.namespace.name=\"kns1\"",
            "k8s.pod.name=\"kpod-1\"",
            "k8s.container.name=\"kctr-1\"",
            "ip=\"10.0.0.1\"",
            "service.name=\"frontend\"",
        ],
    );
    for (version, (more_generic, fixed, resource_generic, resource_fixed)) in
        VERSIONS.into_iter().zip([v4.clone(), v4, v5])
    {
        let batch = trace(&load(version).open(), "0af7651916cd43dd8448eb211c80319c");
        let found = shown(&batch, &batch.span_attributes, 0);
        let (found_generic, found_fixed) = found.split_at(found.len() - fixed.len());
        assert_eq!(found_fixed, fixed, "{version}");
        let mut expected: Vec<&str> = generic.into_iter().chain(more_generic).collect();
        expected.sort();
        let mut found_generic = found_generic.to_vec();
        found_generic.sort();
        assert_eq!(found_generic, expected, "{version}");

        let resource = shown(&batch, &batch.resources.attributes, 0);
        assert_eq!(resource, [resource_generic, resource_fixed].concat(), "{version}");
    }
}

#[test]
fn value_types_are_told_apart() {
    use ValueType::*;
    let expected = [
        ("int", Int),
        ("double", Double),
        ("bool", Bool),
        ("strs", StringArray),
        ("ints", IntArray),
        ("doubles", DoubleArray),
        ("bools", BoolArray),
        ("emptyarr", EmptyArray),
        ("mixed", Other),
        ("kv", Other),
        ("emptystr", String),
    ];
    for version in VERSIONS {
        let batch = trace(&load(version).open(), "0af7651916cd43dd8448eb211c80319c");
        for (key, value_type) in expected {
            let code = batch.strings.find(key.as_bytes()).unwrap();
            let found = batch.span_attributes.find(0, code).unwrap();
            assert_eq!(found.value_type, value_type, "{key}");
        }
        // A string where the column of that name holds integers.
        let attributes = shown(&batch, &batch.span_attributes, 1);
        assert_eq!(attributes, ["http.status_code=\"not-an-int\""]);
    }
}

#[test]
fn everything_else_of_the_span_with_everything_is_read() {
    for version in VERSIONS {
        let batch = trace(&load(version).open(), "0af7651916cd43dd8448eb211c80319c");
        let text = |code: u32| batch.strings.display(code).into_owned();
        let spans = &batch.spans;
        assert_eq!(spans.status[0], 2);
        assert_eq!(text(spans.status_message[0]), "boom");
        assert_eq!(text(spans.trace_state[0]), "a=b");
        assert_eq!(spans.dropped_attributes[0], 3);
        assert_eq!((spans.dropped_events[0], spans.dropped_links[0]), (4, 5));
        // Some things have no place in vParquet3.
        let is_v3 = version == BlockVersion::VParquet3;
        assert_eq!(batch.resources.dropped_attributes[0], if is_v3 { 0 } else { 1 });

        let events = &batch.events;
        assert_eq!(events.range(0), 0..2);
        let times: Vec<u64> = events.time.iter().map(|time| time - spans.start[0]).collect();
        assert_eq!(times, [1000, 2000]);
        assert_eq!(
            (text(events.name[0]), text(events.name[1])),
            ("exception".into(), "log".into())
        );
        assert_eq!(events.dropped_attributes.as_slice(), [6, 0]);
        let mut attributes = shown(&batch, &events.attributes, 0);
        attributes.sort();
        assert_eq!(attributes, ["exception.message=\"kaboom\"", "retry=2"]);
        assert!(shown(&batch, &events.attributes, 1).is_empty());

        let links = &batch.links;
        assert_eq!(links.range(0), 0..1);
        assert_eq!(links.trace_id[0], id("000102030405060708090a0b0c0d0e0f"));
        assert_eq!(links.span_id[0], SpanId::from_hex("0011223344556677").unwrap());
        assert_eq!(text(links.trace_state[0]), "l=1");
        assert_eq!(links.dropped_attributes[0], 7);
        assert_eq!(shown(&batch, &links.attributes, 0), ["link.attr=\"y\""]);

        let scope = |span: usize| {
            let scope = spans.scope[span] as usize;
            let scopes = &batch.scopes;
            (
                text(scopes.name[scope]),
                text(scopes.version[scope]),
                scopes.dropped_attributes[scope],
            )
        };
        assert_eq!(scope(0), ("otel-go".into(), "1.2.3".into(), if is_v3 { 0 } else { 2 }));
        assert_eq!(scope(3), ("otel-java".into(), "2.0.0".into(), 0));
        let of_scope: &[&str] = if is_v3 { &[] } else { &["scope.attr=\"x\""] };
        assert_eq!(shown(&batch, &batch.scopes.attributes, 0), of_scope);
        let db = shown(&batch, &batch.resources.attributes, spans.resource[3] as usize);
        assert_eq!(db, ["ip=\"10.0.0.2\"", "service.name=\"db\""]);
    }
}

#[test]
fn trace_by_id_finds_every_trace_and_nothing_else() {
    for version in VERSIONS {
        let sample = load(version);
        let reader = sample.open();
        for group in 0..reader.row_groups().len() {
            let whole = reader.read_row_group(group, &Projection::all()).unwrap();
            let offsets = whole.trace_offsets();
            for (row, &trace_id) in whole.traces.ids.iter().enumerate() {
                assert_eq!(reader.find_row_group(trace_id).unwrap(), Some(group));
                let batch = reader.read_trace(trace_id).unwrap().unwrap();
                assert_eq!(batch.traces.ids.as_slice(), [trace_id]);
                assert_eq!(batch.len() as u32, offsets[row + 1] - offsets[row]);
                for span in 0..batch.len() {
                    let of_whole = offsets[row] as usize + span;
                    let expected = shown(&whole, &whole.span_attributes, of_whole);
                    assert_eq!(shown(&batch, &batch.span_attributes, span), expected);
                    assert_eq!(batch.spans.start[span], whole.spans.start[of_whole]);
                }
            }
        }
        let absent = ["00", "5b8efff798038103d269b633813fc60d", "fffffffffffffffffffffffffffffffe"];
        for hex in absent {
            assert_eq!(reader.read_trace(id(hex)).unwrap(), None);
        }
    }
}

#[test]
fn a_block_of_another_version_is_corrupt() {
    for version in VERSIONS {
        let sample = load(version);
        for claimed in VERSIONS.into_iter().filter(|claimed| *claimed != version) {
            let facts = BlockFacts { version: claimed, ..sample.facts.clone() };
            let source = Arc::new(BytesSource::new(sample.data.clone()));
            let opened = BlockReader::open(source, &facts);
            assert!(matches!(opened, Err(crate::Error::Corrupt { .. })), "{version} as {claimed}");
        }
    }
}

#[test]
fn columns_are_described_as_the_footer_has_them() {
    for version in VERSIONS {
        let sample = load(version);
        let reader = sample.open();
        let columns = reader.columns();
        let groups = reader.row_groups();
        let sum = |of: fn(&ColumnInfo) -> u64| columns.iter().map(of).sum::<u64>();
        let compressed = groups.iter().map(|group| group.bytes).sum::<u64>();
        assert_eq!(sum(|column| column.compressed_bytes), compressed);
        let uncompressed = groups.iter().map(|group| group.uncompressed_bytes).sum::<u64>();
        assert_eq!(sum(|column| column.uncompressed_bytes), uncompressed);

        let id = &columns[0];
        assert_eq!((id.path.as_str(), id.values), ("TraceID", 64));
        assert_eq!(id.codecs, ["UNCOMPRESSED"]);
        assert!(id.encodings.contains(&"DELTA_LENGTH_BYTE_ARRAY".to_owned()), "{id:?}");
        let name = columns.iter().find(|column| column.path.ends_with(".Spans.Name"));
        let name =
            name.or_else(|| columns.iter().find(|c| c.path.ends_with("Spans.list.element.Name")));
        let name = name.unwrap();
        assert_eq!((name.values, name.codecs.as_slice()), (252, &["SNAPPY".to_owned()][..]));
        assert!(name.encodings.contains(&"RLE_DICTIONARY".to_owned()), "{name:?}");

        let text = reader.schema_text();
        assert!(text.starts_with("message Trace {"), "{text}");
        let parsed = parquet::schema::parser::parse_message_type(&text).unwrap();
        let parsed = parquet::schema::types::SchemaDescriptor::new(Arc::new(parsed));
        assert_eq!(parsed.num_columns(), columns.len());
    }
}
