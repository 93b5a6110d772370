//! Reading some columns gives exactly what reading all columns gives for them.

use super::*;
use tactus_model::AttributeSelection;

type Change = fn(&mut Projection);

/// Each part of a projection on its own.
const PARTS: [Change; 21] = [
    |p| p.span_id = true,
    |p| p.parent_span_id = true,
    |p| p.start = true,
    |p| p.duration = true,
    |p| p.name = true,
    |p| p.kind = true,
    |p| p.status = true,
    |p| p.status_message = true,
    |p| p.trace_state = true,
    |p| p.dropped_counts = true,
    |p| p.nested_left = true,
    |p| p.nested_right = true,
    |p| p.nested_parent = true,
    |p| p.scope_name = true,
    |p| p.trace_summary = true,
    |p| {
        p.trace_summary = true;
        p.trace_roots = true;
    },
    |p| {
        p.trace_summary = true;
        p.service_stats = true;
    },
    |p| p.events = true,
    |p| p.event_name = true,
    |p| p.links = true,
    |p| p.span_attributes = AttributeSelection::All,
];

/// The column's strings if it was read, else nothing.
fn texts(batch: &SpanBatch, codes: &[u32]) -> Vec<String> {
    codes.iter().map(|&code| batch.strings.display(code).into_owned()).collect()
}

/// All columns of a batch as text, by name; `projection` decides which ones may be filled.
fn columns(batch: &SpanBatch, projection: &Projection) -> Vec<(&'static str, bool, String)> {
    let p = projection;
    let spans = &batch.spans;
    let summaries = batch.traces.summaries.as_ref();
    let events = p.events || p.event_name || !p.event_attributes.is_none();
    let links = p.links || !p.link_attributes.is_none();
    let text = |codes: &[u32]| format!("{:?}", texts(batch, codes));
    vec![
        ("ids", true, format!("{:?}", batch.traces.ids)),
        ("rows", true, format!("{:?}{:?}", spans.trace, spans.scope)),
        (
            "resource rows",
            !matches!(p.resource_attributes, AttributeSelection::Keys(_)) || p.dropped_counts,
            format!("{:?}", spans.resource),
        ),
        ("span_id", p.span_id, format!("{:?}", spans.span_id)),
        ("parent", p.parent_span_id, format!("{:?}", spans.parent_span_id)),
        ("start", p.start, format!("{:?}", spans.start)),
        ("duration", p.duration, format!("{:?}", spans.duration)),
        ("name", p.name, text(&spans.name)),
        ("kind", p.kind, format!("{:?}", spans.kind)),
        ("status", p.status, format!("{:?}", spans.status)),
        ("status_message", p.status_message, text(&spans.status_message)),
        ("trace_state", p.trace_state, text(&spans.trace_state)),
        (
            "dropped",
            p.dropped_counts,
            format!(
                "{:?}{:?}{:?}{:?}{:?}",
                spans.dropped_attributes,
                spans.dropped_events,
                spans.dropped_links,
                batch.resources.dropped_attributes,
                batch.scopes.dropped_attributes
            ),
        ),
        ("nested left", p.nested_left, format!("{:?}", spans.nested_left)),
        ("nested right", p.nested_right, format!("{:?}", spans.nested_right)),
        ("nested parent", p.nested_parent, format!("{:?}", spans.nested_parent)),
        ("scope", p.scope_name, text(&batch.scopes.name) + &text(&batch.scopes.version)),
        (
            "summary",
            p.trace_summary,
            format!("{:?}", summaries.map(|s| (s.start.clone(), s.end.clone()))),
        ),
        (
            "roots",
            p.trace_summary && p.trace_roots,
            format!("{:?}", summaries.map(|s| (text(&s.root_service), text(&s.root_name)))),
        ),
        (
            "services",
            p.trace_summary && p.service_stats,
            format!(
                "{:?}",
                summaries.map(|s| (
                    s.service_starts.clone(),
                    text(&s.service_name),
                    s.service_spans.clone()
                ))
            ),
        ),
        ("events", events, format!("{:?}", batch.events.starts)),
        ("event_time", p.events, format!("{:?}", batch.events.time)),
        ("event_name", p.event_name, text(&batch.events.name)),
        (
            "event_dropped",
            events && p.dropped_counts,
            format!("{:?}", batch.events.dropped_attributes),
        ),
        ("links", links, format!("{:?}", batch.links.starts)),
        (
            "link_ids",
            p.links,
            format!(
                "{:?}{:?}{:?}",
                batch.links.trace_id,
                batch.links.span_id,
                batch.links.trace_state.len()
            ),
        ),
        (
            "link_dropped",
            links && p.dropped_counts,
            format!("{:?}", batch.links.dropped_attributes),
        ),
    ]
}

/// Checks every column and list of a partial read against the full one.
fn check(reader: &BlockReader, projection: &Projection) {
    for group in 0..reader.row_groups().len() {
        let full = reader.read_row_group(group, &Projection::all()).unwrap();
        let part = reader.read_row_group(group, projection).unwrap();
        // With a cache this comes from there.
        assert_eq!(reader.read_row_group(group, projection).unwrap(), part);
        let empty = SpanBatch::default();
        let all = columns(&full, &Projection::all());
        let none = columns(&empty, &Projection::all());
        for (i, (name, wanted, found)) in columns(&part, projection).into_iter().enumerate() {
            let expected = if wanted { &all[i].2 } else { &none[i].2 };
            // Of a few keys' resources, equal ones may be one; see below.
            if name == "resource rows" && !wanted {
                continue;
            }
            if ["summary", "roots", "services"].contains(&name) {
                // Without service statistics the other half of the summaries is still there.
                if wanted {
                    assert_eq!(&found, expected, "{name}");
                }
                continue;
            }
            assert_eq!(&found, expected, "{name} of row group {group}");
        }
        check_spans(reader, group, projection);
        check_spans(reader, group, &Projection { start: true, ..projection.clone() });
        let lists = [
            (&projection.span_attributes, &full.span_attributes, &part.span_attributes),
            (
                &projection.resource_attributes,
                &full.resources.attributes,
                &part.resources.attributes,
            ),
            (&projection.scope_attributes, &full.scopes.attributes, &part.scopes.attributes),
            (&projection.event_attributes, &full.events.attributes, &part.events.attributes),
            (&projection.link_attributes, &full.links.attributes, &part.links.attributes),
        ];
        for (selection, of_full, of_part) in lists {
            if selection.is_none() {
                assert_eq!(of_part, &AttributeList::default());
                continue;
            }
            let wanted = |owner| -> Vec<String> {
                let attributes = of_full.of(owner);
                let wanted = attributes.filter(|it| selection.wants(full.strings.get(it.key)));
                wanted.map(|attribute| show(&full, attribute)).collect()
            };
            if std::ptr::eq(of_part, &part.resources.attributes) {
                // Equal resources may be one.
                for (of_full, of_part_span) in
                    full.spans.resource.iter().zip(part.spans.resource.iter())
                {
                    assert_eq!(
                        shown(&part, of_part, *of_part_span as usize),
                        wanted(*of_full as usize)
                    );
                }
                continue;
            }
            assert_eq!(of_part.owners(), of_full.owners());
            for owner in 0..of_full.owners() {
                assert_eq!(shown(&part, of_part, owner), wanted(owner));
            }
        }
    }
}

/// Spans without their rows have the columns that they have with them.
fn check_spans(reader: &BlockReader, group: usize, projection: &Projection) {
    let mut spans = reader.read_spans(group, projection).unwrap();
    let expected = reader.read_row_group(group, projection).unwrap();
    assert_eq!(spans.len(), expected.len());
    let (found, rows) = (&mut spans.spans, &expected.spans);
    found.trace.clone_from(&rows.trace);
    found.resource.clone_from(&rows.resource);
    found.scope.clone_from(&rows.scope);
    assert_eq!(columns(&spans, projection), columns(&expected, projection));
    for owner in 0..expected.span_attributes.owners() {
        let shown = |batch: &SpanBatch| shown(batch, &batch.span_attributes, owner);
        assert_eq!(shown(&spans), shown(&expected));
    }
}

/// The sample blocks without a cache, with one that keeps everything, and with one that keeps next to nothing.
fn readers() -> Vec<BlockReader> {
    let mut readers = Vec::new();
    for version in VERSIONS {
        let sample = load(version);
        readers.push(sample.open());
        for max_bytes in [1 << 30, 4 << 10] {
            let source = Arc::new(BytesSource::new(sample.data.clone()));
            let cache = Some(Arc::new(ColumnCache::new(max_bytes)));
            readers.push(BlockReader::open_with_cache(source, &sample.facts, cache).unwrap());
        }
    }
    readers
}

#[test]
fn cached_columns_are_read_once() {
    let sample = load(BlockVersion::VParquet4);
    let cache = Arc::new(ColumnCache::new(1 << 30));
    let open = || {
        let source = Arc::new(BytesSource::new(sample.data.clone()));
        BlockReader::open_with_cache(source, &sample.facts, Some(Arc::clone(&cache))).unwrap()
    };
    let (reader, other) = (open(), open());
    let mut projection = Projection { name: true, start: true, ..Projection::default() };
    projection.span_attributes.add(b"customer");
    let first = reader.read_row_group(0, &projection).unwrap();
    assert_eq!(cache.hit_bytes(), 0);
    assert_eq!(reader.read_row_group(0, &projection).unwrap(), first);
    let hits = cache.hit_bytes();
    assert!(hits > first.len() as u64 * 8);
    // Another reader of the same bytes is another block.
    assert_eq!(other.read_row_group(0, &projection).unwrap(), first);
    assert_eq!(cache.hit_bytes(), hits);
}

#[test]
fn every_part_reads_as_the_whole_does() {
    for reader in readers() {
        check(&reader, &Projection::default());
        check(&reader, &Projection::all());
        let mut growing = Projection::default();
        for part in PARTS {
            let mut alone = Projection::default();
            part(&mut alone);
            check(&reader, &alone);
            part(&mut growing);
            check(&reader, &growing);
        }
    }
}

#[test]
fn selected_keys_read_as_the_whole_does() {
    let keys: [&[&str]; 8] = [
        &["absent"],
        &["n"],
        &["customer"],
        &["http.status_code", "strs", "emptyarr"],
        &["service.name"],
        &["ip", "res.int", "kv", "mixed", "ints"],
        &["exception.message", "retry", "link.attr", "scope.attr"],
        &["region", "bools", "doubles", "int", "double", "bool", "emptystr"],
    ];
    let targets: [fn(&mut Projection) -> &mut AttributeSelection; 5] = [
        |p| &mut p.span_attributes,
        |p| &mut p.resource_attributes,
        |p| &mut p.scope_attributes,
        |p| &mut p.event_attributes,
        |p| &mut p.link_attributes,
    ];
    for reader in readers() {
        for keys in keys {
            let mut everywhere = Projection::default();
            for target in targets {
                let mut alone = Projection::default();
                for key in keys {
                    target(&mut alone).add(key.as_bytes());
                    target(&mut everywhere).add(key.as_bytes());
                }
                check(&reader, &alone);
            }
            check(&reader, &everywhere);
        }
    }
}

#[test]
fn names_are_those_of_all_attributes() {
    let projection = |selection: AttributeSelection| Projection {
        span_attributes: selection.clone(),
        resource_attributes: selection.clone(),
        scope_attributes: selection.clone(),
        events: true,
        event_attributes: selection.clone(),
        links: true,
        link_attributes: selection,
        ..Projection::default()
    };
    let names = |batch: &SpanBatch| {
        let lists = [
            &batch.span_attributes,
            &batch.resources.attributes,
            &batch.scopes.attributes,
            &batch.events.attributes,
            &batch.links.attributes,
        ];
        lists.map(|list| {
            assert_eq!((list.types.len(), list.payloads.len()), (list.len(), list.len()));
            let of_owner = |owner| texts(batch, &list.keys[list.range(owner)]);
            (0..list.owners()).map(of_owner).collect::<Vec<_>>()
        })
    };
    let mut valued = 0;
    for reader in readers() {
        for group in 0..reader.row_groups().len() {
            let read = |selection| reader.read_row_group(group, &projection(selection)).unwrap();
            let expected = names(&read(AttributeSelection::All));
            let [of_spans, of_resources, ..] = &expected;
            assert!(!of_spans.concat().is_empty() && !of_resources.concat().is_empty());
            assert_eq!(names(&read(AttributeSelection::names())), expected);
            let all = read(AttributeSelection::All);
            // A key that has a column occurs with values of other types too.
            let keys = [&b"http.status_code"[..], b"n", b"strs", b"service.name", b"nowhere"];
            for keys in [&keys[..], &keys[..1]] {
                let mut some = AttributeSelection::names();
                keys.iter().for_each(|key| some.add(key));
                let some = read(some);
                assert_eq!(names(&some), expected);
                let values = |batch: &SpanBatch| {
                    let lists = [&batch.span_attributes, &batch.resources.attributes];
                    let of_owner = |list: &AttributeList, owner| {
                        let wanted =
                            list.of(owner).filter(|it| keys.contains(&batch.strings.get(it.key)));
                        wanted
                            .map(|it| format!("{:?}", it.value(&batch.strings)))
                            .collect::<Vec<_>>()
                    };
                    lists.map(|list| {
                        (0..list.owners()).map(|owner| of_owner(list, owner)).collect::<Vec<_>>()
                    })
                };
                assert_eq!(values(&some), values(&all));
                valued += values(&all)[0].concat().len();
            }
        }
    }
    assert!(valued > 20, "{valued}");
}

#[test]
fn rows_read_as_in_the_whole() {
    for reader in readers() {
        let whole = reader.read_row_group(0, &Projection::all()).unwrap();
        let names = |batch: &SpanBatch, spans: Range<usize>| texts(batch, &batch.spans.name[spans]);
        let offsets = whole.trace_offsets();
        for rows in [0..1u64, 3..7, 16..17, 0..17] {
            let part = reader.read_rows(0, rows.clone(), &Projection::all()).unwrap();
            let (start, end) = (rows.start as usize, rows.end as usize);
            assert_eq!(part.traces.ids.as_slice(), &whole.traces.ids[start..end]);
            let spans = offsets[start] as usize..offsets[end] as usize;
            assert_eq!(names(&part, 0..part.len()), names(&whole, spans));
        }
        let beyond = reader.read_rows(0, 1000..1001, &Projection::all()).unwrap();
        assert!(beyond.is_empty() && beyond.traces.ids.is_empty());
    }
}
