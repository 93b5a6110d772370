//! Polls a local store of many blocks and prints times and memory.
//!
//! `poll_bench <directory> [blocks]`: writes the metas below the directory once; a second run finds
//! them. Each process measures one role, so that its memory is its own: `POLL_ROLE=builder` (default)
//! or `reader`.
#![allow(clippy::print_stdout, reason = "it is a command-line program")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tactus_storage::blocklist::TenantBlocks;
use tactus_storage::layout::{META, block_key};
use tactus_storage::meta::{BlockVersion, DedicatedColumn, Extension, default_columns};
use tactus_storage::tenant_index::{META_FORM, TenantIndex};
use tactus_storage::{
    BlockMeta, Blocklist, Bucket, BucketSettings, Poller, PollerSettings, Timestamp, Uuid,
};

const TENANT: &str = "single-tenant";
const START: u64 = 1_700_000_000_000_000_000;

/// Every fourth block is a fresh one, the others were made of four that are long gone.
fn meta(number: u64, columns: &[DedicatedColumn]) -> BlockMeta {
    let mut meta = BlockMeta::new(BlockVersion::VParquet5, TENANT, id(number, 0));
    let start = START + number * 10_000_000_000;
    meta.set_time_range_unix_nanos(start, start + 3_600_000_000_000);
    meta.total_objects = 100_000 + number;
    meta.size = 500_000_000 + number;
    meta.total_records = 5;
    meta.bloom_shards = 2;
    meta.footer_size = 100_000;
    meta.dedicated_columns = columns.to_vec().into();
    if !number.is_multiple_of(4) {
        meta.compaction_level = 1;
        let sources = (1..=4).map(|part| id(number, part)).collect();
        meta.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
    }
    meta
}

/// As random as a real one, and the same in every run.
fn id(number: u64, part: u64) -> Uuid {
    let mut bits = (u128::from(number) << 3 | u128::from(part)) + 1;
    for _ in 0..3 {
        bits ^= bits >> 53;
        bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    }
    Uuid::from_u128(bits ^ bits >> 61)
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Time by the wall and of the processors: a busy machine stretches the first only.
struct Clock {
    started: Instant,
    cpu_millis: f64,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), cpu_millis: cpu_millis() }
    }

    fn millis(&self) -> (f64, f64) {
        (self.started.elapsed().as_secs_f64() * 1e3, cpu_millis() - self.cpu_millis)
    }
}

/// User and system time of the process, in steps of 10 ms.
fn cpu_millis() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

fn show(what: &str, clock: &Clock) {
    let (wall, cpu) = clock.millis();
    let resident = resident_mib();
    println!("{what:<40} {wall:>9.1} ms {cpu:>8.0} ms of CPU {resident:>7.1} MiB resident");
}

fn average(what: &str, times: u32, mut work: impl FnMut(u32)) {
    let clock = Clock::start();
    (0..times).for_each(&mut work);
    let (wall, cpu) = clock.millis();
    let times = f64::from(times);
    println!("{what:<40} {:>9.3} ms {:>8.2} ms of CPU each", wall / times, cpu / times);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: poll_bench <directory> [blocks]")?);
    let blocks: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let columns = default_columns();
    if !path.join(TENANT).is_dir() {
        let clock = Clock::start();
        for number in 0..blocks {
            let meta = meta(number, &columns);
            let file = path.join(block_key(TENANT, meta.block_id, META));
            std::fs::create_dir_all(file.parent().ok_or("a key has a directory")?)?;
            std::fs::write(file, meta.to_json())?;
        }
        show("writing the metas", &clock);
    }
    let bucket = Bucket::open(&BucketSettings::Local { path })?;
    let list = Arc::new(Blocklist::new());
    let settings = PollerSettings { fallback: false, ..PollerSettings::default() };
    let is_reader = std::env::var("POLL_ROLE").is_ok_and(|role| role == "reader");
    println!("{} blocks, {:.1} MiB before", blocks, resident_mib());
    let poller = if is_reader {
        Poller::reader(bucket, Arc::clone(&list), settings)
    } else {
        Poller::builder(bucket, Arc::clone(&list), settings)
    };
    for name in ["first poll", "second poll, nothing new", "third poll, nothing new"] {
        let clock = Clock::start();
        let report = poller.poll_once().await?;
        show(&format!("{name} ({} metas read)", report.metas_read), &clock);
    }
    measure_list(&list, blocks, &columns);
    Ok(())
}

fn measure_list(list: &Blocklist, blocks: u64, columns: &[DedicatedColumn]) {
    let clock = Clock::start();
    let again = TenantBlocks::new(list.tenant(TENANT).live().to_vec(), Vec::new());
    show("sorting out a polled list", &clock);
    drop(again);
    let tenant = list.tenant(TENANT);
    let index = TenantIndex {
        created_at: Timestamp::now(),
        live: tenant.live().to_vec(),
        compacted: Vec::new(),
        left_out: 0,
        unread: 0,
        form: META_FORM,
    };
    let clock = Clock::start();
    let proto = index.to_proto_zst();
    show("encoding the protobuf index", &clock);
    let clock = Clock::start();
    let json = index.to_json_gz();
    show("encoding the JSON index", &clock);
    println!("{} bytes of protobuf, {} of JSON", proto.len(), json.len());
    drop((index, tenant));
    average("adding a fresh block", 20, |number| {
        list.add_block(meta(4 * (blocks + u64::from(number)), columns));
    });
    average("adding a compacted block", 20, |number| {
        list.add_block(meta(4 * (blocks + u64::from(number)) + 1, columns));
    });
    average("taking a snapshot", 1000, |_| {
        std::hint::black_box(list.tenant(TENANT));
    });
    let poll = Duration::from_secs(300);
    average("queryable blocks, all", 50, |_| {
        let tenant = list.tenant(TENANT);
        let sizes = tenant.queryable(Timestamp::now(), poll).map(|meta| meta.size);
        std::hint::black_box(sizes.sum::<u64>());
    });
    let middle = (START / 1_000_000_000 + blocks * 5).cast_signed();
    for (name, window) in [
        ("selecting for a query of one hour", (middle, middle + 3600)),
        ("selecting for a query of all time", (0, i64::MAX)),
    ] {
        average(name, 50, |_| {
            let tenant = list.tenant(TENANT);
            let mut selected: Vec<_> = tenant
                .queryable(Timestamp::now(), poll)
                .map(|meta| (meta.end_unix_seconds(), meta.start_unix_seconds(), meta.block_id))
                .filter(|(end, start, _)| *start <= window.1 && *end >= window.0)
                .collect();
            selected.sort_unstable();
            std::hint::black_box(selected.len());
        });
    }
}
