//! Measures the block reader: `read_bench BLOCK_DIRECTORY [RUNS] [NAME] [CACHE_MIB]`.
//!
//! The directory holds `meta.json` and `data.parquet`. Prints milliseconds of processor time of one thread for the
//! whole block, the least of the runs: from the file's bytes in memory, and from the cache of columns; with NAME only the reads whose name
//! contains it.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line tool for developers")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tactus_block::read::{
    AttributeOwner, BlockFacts, BlockReader, BytesSource, ColumnCache, StringColumn,
};
use tactus_model::{AttributeSelection, Projection, TraceId};
use tactus_storage::meta::BlockMeta;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn cpu_nanos() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let directory = Path::new(&arguments[1]);
    let runs: usize = arguments.get(2).map_or(5, |runs| runs.parse().unwrap());
    let wanted = arguments.get(3).cloned().unwrap_or_default();
    let cache_mib: u64 = arguments.get(4).map_or(1024, |mib| mib.parse().unwrap());
    let meta = BlockMeta::from_json(&std::fs::read(directory.join("meta.json")).unwrap()).unwrap();
    let facts = BlockFacts {
        size: meta.size,
        footer_size: meta.footer_size,
        version: meta.version().unwrap(),
        dedicated_columns: meta.dedicated_columns.to_vec(),
    };
    let data = Bytes::from(std::fs::read(directory.join("data.parquet")).unwrap());
    let open = |cache| {
        let source = BytesSource::new(data.clone());
        BlockReader::open_with_cache(Arc::new(source), &facts, cache).unwrap()
    };
    let cache = Arc::new(ColumnCache::new(cache_mib << 20));
    let (block, cached) = (open(None), open(Some(Arc::clone(&cache))));
    let groups = block.row_groups().len();
    let ids: Vec<TraceId> = (0..groups)
        .step_by(3)
        .map(|group| {
            let batch = block.read_row_group(group, &Projection::default()).unwrap();
            batch.traces.ids[batch.traces.ids.len() / 3]
        })
        .collect();

    let time = |name: &str, parts: usize, work: &mut dyn FnMut(&BlockReader) -> usize| {
        if !name.contains(&wanted) {
            return;
        }
        let mut found = 0;
        let mut least = |block: &BlockReader| {
            found = work(block);
            // The kernel counts in milliseconds, so short work is repeated.
            let mut repeats = 1;
            let mut time = || loop {
                let started = cpu_nanos();
                (0..repeats).for_each(|_| _ = work(block));
                let nanos = cpu_nanos() - started;
                if nanos > 50_000_000 {
                    break nanos as f64 / 1e6 / (parts * repeats) as f64;
                }
                repeats *= 2;
            };
            (0..runs).map(|_| time()).fold(f64::MAX, f64::min)
        };
        let (cold, warm) = (least(&block), least(&cached));
        println!("{cold:8.3} {warm:8.3} ms  {name}  ({found})");
    };

    time("open", 1, &mut |_| open(None).row_groups().len());
    for (name, projection) in projections() {
        time(name, 1, &mut |block| {
            (0..groups).map(|group| block.read_row_group(group, &projection).unwrap().len()).sum()
        });
    }
    time("trace by id", ids.len(), &mut |block| {
        ids.iter().map(|id| block.read_trace(*id).unwrap().unwrap().len()).sum()
    });
    let absent: Vec<TraceId> =
        (1..17u8).map(|first| TraceId([first.wrapping_mul(15); 16])).collect();
    time("trace by id, absent", absent.len(), &mut |block| {
        absent.iter().filter(|id| block.read_trace(**id).unwrap().is_some()).count()
    });
    let attribute = |key: &str| StringColumn::SpanAttribute(key.into());
    let prunes: [(&str, StringColumn, &[u8]); 3] = [
        ("prune user.id", attribute("user.id"), b"user-000001"),
        ("prune session.id", attribute("session.id"), b"nope"),
        ("prune name", StringColumn::Name, b"nope"),
    ];
    for (name, column, text) in prunes {
        time(name, 1, &mut |block| {
            let may = |group: &usize| {
                block
                    .row_group_may_contain_string(*group, &column, &|found: &[u8]| found == text)
                    .unwrap()
            };
            (0..groups).filter(may).count()
        });
    }
    time("prune db.statement contains", 1, &mut |block| {
        let column = attribute("db.statement");
        let holds = |text: &[u8]| text.windows(12).any(|part| part == b"nothing-here");
        let may =
            |group: &usize| block.row_group_may_contain_string(*group, &column, &holds).unwrap();
        (0..groups).filter(may).count()
    });
    time("tag names", 1, &mut |block| {
        let mut names = 0;
        for group in 0..groups {
            for owner in [AttributeOwner::Span, AttributeOwner::Resource, AttributeOwner::Event] {
                block.visit_attribute_keys(group, owner, &mut |_| names += 1).unwrap();
            }
        }
        names
    });
    time("tag values service.name", 1, &mut |block| {
        let (mut values, column) = (0, StringColumn::ResourceAttribute(b"service.name".to_vec()));
        for group in 0..groups {
            block.visit_strings(group, &column, &mut |_| values += 1).unwrap();
        }
        values
    });
    println!("{} MiB in the cache", cache.held_bytes() >> 20);
}

fn keys(all: &[&str]) -> AttributeSelection {
    AttributeSelection::Keys(all.iter().map(|key| key.as_bytes().to_vec()).collect())
}

fn projections() -> Vec<(&'static str, Projection)> {
    let none = Projection::default;
    let service = || keys(&["service.name"]);
    let nested = || Projection { nested_left: true, nested_right: true, ..none() };
    vec![
        ("nothing", none()),
        ("start", Projection { start: true, ..none() }),
        ("duration", Projection { duration: true, ..none() }),
        ("kind", Projection { kind: true, ..none() }),
        ("status", Projection { status: true, ..none() }),
        ("name", Projection { name: true, ..none() }),
        ("span id", Projection { span_id: true, ..none() }),
        ("nested set", nested()),
        ("service", Projection { resource_attributes: service(), ..none() }),
        ("start service", Projection { start: true, resource_attributes: service(), ..none() }),
        ("status name start", Projection { status: true, name: true, start: true, ..none() }),
        (
            "kind duration start service",
            Projection {
                kind: true,
                duration: true,
                start: true,
                resource_attributes: service(),
                ..none()
            },
        ),
        (
            "nested status service",
            Projection { status: true, resource_attributes: service(), ..nested() },
        ),
        ("name service", Projection { name: true, resource_attributes: service(), ..none() }),
        (
            "span.http.status_code",
            Projection { span_attributes: keys(&["http.status_code"]), ..none() },
        ),
        (
            "start span.http.status_code span.http.route",
            Projection {
                start: true,
                span_attributes: keys(&["http.status_code", "http.route"]),
                ..none()
            },
        ),
        ("span.user.id", Projection { span_attributes: keys(&["user.id"]), ..none() }),
        ("span.db.statement", Projection { span_attributes: keys(&["db.statement"]), ..none() }),
        ("span.absent", Projection { span_attributes: keys(&["absent"]), ..none() }),
        ("all", Projection::all()),
    ]
}
