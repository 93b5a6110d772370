use super::*;
use crate::{BlockWriter, Compression, WriterSettings};
use std::time::Instant;
use tactus_model::AttributeSelection;

fn best(name: &str, values: usize, mut f: impl FnMut()) {
    if let Ok(only) = std::env::var("ONLY") {
        if only != name {
            return;
        }
        for _ in 0..400 {
            f();
        }
    }
    let mut best = f64::MAX;
    for _ in 0..25 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:40} {:8.2} ms {:8.1} M/s", best * 1e3, values as f64 / best / 1e6);
}

#[test]
#[ignore]
fn timing() {
    let dedicated = tactus_storage::meta::filter_for_vparquet4(&tactus_storage::meta::default_columns());
    let path = std::path::Path::new("/tmp/bench-real.parquet");
    if !path.exists() {
        let bytes = std::fs::read("/tmp/bench.bin").unwrap();
        let mut builder = tactus_model::BatchBuilder::new(Default::default());
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (body, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            rest = after;
            let walk = tactus_model::walk::walk_export(body, |_| {}).unwrap();
            for run in &walk.runs {
                let resource = builder.resource(&body[walk.resources[run.resource as usize].clone()]).unwrap();
                let scope = builder.scope(&body[walk.scopes[run.scope as usize].clone()]).unwrap();
                builder.append_scope_spans(resource, scope, &body[run.scope_spans.clone()], |_, _| true).unwrap();
            }
        }
        let live = builder.finish();
        let (input, _) = tactus_model::merge::merge(&[&live]);
        let settings = WriterSettings { dedicated_columns: dedicated.clone(), ..WriterSettings::default() };
        let start = Instant::now();
        let mut writer = BlockWriter::new(Vec::new(), settings).unwrap();
        writer.write_row_group(&input).unwrap();
        let (data, summary) = writer.finish().unwrap();
        println!("write {:?} size {}", start.elapsed(), summary.size);
        std::fs::write(path, data).unwrap();
    }
    {
        let source = Arc::new(BytesSource::map(path).unwrap());
        let facts = BlockFacts {
            size: source.size(),
            footer_size: 0,
            version: BlockVersion::VParquet4,
            dedicated_columns: dedicated.clone(),
        };
        let mut reader = BlockReader::open(source.clone(), &facts).unwrap();
        let input = reader.read_row_group(0, &Projection::all()).unwrap();
        let (spans, attrs) = (input.len(), input.span_attributes.len());
        println!(
            "{spans} spans {attrs} attributes {} resources {} strings",
            input.resources.len(),
            input.strings.len()
        );
        best("open", 1, || {
            BlockReader::open(source.clone(), &facts).unwrap();
        });
        for verify in [true] {
            Arc::get_mut(&mut reader.file).unwrap().verify = verify;
            println!("verify {verify}");
            let run = |name: &str, values: usize, change: &dyn Fn(&mut Projection)| {
                let mut projection = Projection::default();
                change(&mut projection);
                best(name, values, || {
                    std::hint::black_box(reader.read_row_group(0, &projection).unwrap());
                });
            };
            run("nothing (spine)", spans, &|_| {});
            run("start", spans, &|p| p.start = true);
            run("start+duration", spans * 2, &|p| {
                p.start = true;
                p.duration = true;
            });
            run("kind+status", spans * 2, &|p| {
                p.kind = true;
                p.status = true;
            });
            run("name", spans, &|p| p.name = true);
            run("span ids", spans * 2, &|p| {
                p.span_id = true;
                p.parent_span_id = true
            });
            run("nested set", spans * 3, &|p| p.nested_set = true);
            run("status message", spans, &|p| p.status_message = true);
            run("service.name", spans, &|p| p.resource_attributes.add(b"service.name"));
            run("http.method", spans, &|p| p.span_attributes.add(b"http.request.method"));
            run("generic key", attrs, &|p| p.span_attributes.add(b"db.statement"));
            run("absent key", attrs, &|p| p.span_attributes.add(b"absent"));
            run("all span attributes", attrs, &|p| p.span_attributes = AttributeSelection::All);
            run("events+all", input.events.time.len(), &|p| {
                p.events = true;
                p.event_name = true;
                p.event_attributes = AttributeSelection::All;
            });
            run("all", spans, &|p| *p = Projection::all());
            let ids = input.traces.ids.to_vec();
            let mut n = 0;
            best("trace by id", 1, || {
                n += 7919;
                reader.read_trace(ids[n % ids.len()], None).unwrap().unwrap();
            });
            best("find_row", 1, || {
                n += 7919;
                reader.find_row(0, ids[n % ids.len()]).unwrap().unwrap();
            });
            best("absent trace", 1, || {
                assert!(reader.read_trace(TraceId([0x11; 16]), None).unwrap().is_none());
            });
            best("dictionary peek value", 1, || {
                reader
                    .row_group_may_contain_string(
                        0,
                        &StringColumn::SpanAttribute(b"db.statement".to_vec()),
                        &|s| s == b"zz",
                    )
                    .unwrap();
            });
        }
    }
}
