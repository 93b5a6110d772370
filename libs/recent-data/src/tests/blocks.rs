use tactus_block::read::{BlockReader, BytesSource, facts_of};
use tactus_model::Projection;
use tactus_storage::meta::{BlockVersion, ColumnScope, DedicatedColumn};
use tactus_work::Stop;

use super::*;
use crate::upload_time::UploadTime;

/// The spans of the only block, by trace; with the number of its row groups.
fn stored(bench: &Bench) -> (usize, Vec<(usize, usize)>) {
    let blocks = bench.blocklist.tenant("t1");
    let meta = &blocks.live()[0];
    let path = bench.bucket_path().join("t1").join(meta.block_id.to_string());
    let data = std::fs::read(path.join("data.parquet")).unwrap();
    let source = Arc::new(BytesSource::new(data.into()));
    let reader = BlockReader::open(source, &facts_of(meta).unwrap()).unwrap();
    let groups = reader.row_groups().len();
    let counts = (0..groups).map(|group| {
        let batch = reader.read_row_group(group, &Projection::all()).unwrap();
        (batch.traces.ids.len(), batch.len())
    });
    (groups, counts.collect())
}

#[tokio::test]
async fn block_has_the_version_and_columns_of_the_settings() {
    for version in [BlockVersion::VParquet4, BlockVersion::VParquet5] {
        let bench = Bench::new();
        let mut settings = bench.settings();
        settings.block_version = version;
        let columns = vec![DedicatedColumn::string(ColumnScope::Span, "text")];
        let of_t1 = columns.clone();
        settings.dedicated_columns =
            OfTenant::new(
                move |tenant| {
                    if tenant.as_str() == "t1" { of_t1.clone() } else { Vec::new() }
                },
            );
        let ingester = bench.open_with(settings).unwrap();
        push_all(&ingester, 0..100);
        ingester.flush_all().await.unwrap();
        let blocks = bench.blocklist.tenant("t1");
        assert_eq!(blocks.live()[0].version().unwrap(), version);
        assert_eq!(blocks.live()[0].dedicated_columns[..], columns[..]);
        assert_eq!(stored(&bench), (1, vec![(7, 100)]));
    }
}

#[tokio::test]
async fn row_groups_are_cut_by_bytes_and_by_spans() {
    let groups = async |bytes: u64, spans: usize| {
        let bench = Bench::new();
        let mut settings = bench.settings();
        settings.block.parquet_row_group_size_bytes = bytes;
        settings.row_group_spans = spans;
        let ingester = bench.open_with(settings).unwrap();
        push_all(&ingester, 0..140);
        ingester.flush_all().await.unwrap();
        let (groups, counts) = stored(&bench);
        assert_eq!(counts.iter().map(|count| count.1).sum::<usize>(), 140);
        groups
    };
    // Seven traces of twenty spans of about 150 bytes.
    assert_eq!(groups(100_000_000, 64_000).await, 1);
    assert_eq!(groups(100_000_000, 40).await, 4);
    assert_eq!(groups(5_000, 64_000).await, 4);
    assert_eq!(groups(1, 64_000).await, 7);
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap().parse().unwrap()
}

#[tokio::test]
async fn block_of_many_row_groups_reads_no_more_of_its_segments_than_one_of_one() {
    let read = async |row_group_spans: usize| {
        let bench = Bench::new();
        let settings = Settings { row_group_spans, ..bench.settings() };
        let ingester = bench.open_with(settings).unwrap();
        for cut in 0..2 {
            push_all(&ingester, cut * 2_000..cut * 2_000 + 2_000);
            ingester.seal().await.unwrap();
        }
        let segments = ingester.tenant(&tenant()).unwrap().unflushed_segments();
        let held: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        let runtime = tokio::runtime::Handle::current();
        let build = move || {
            let (id, before) = (tactus_storage::Uuid::new_v4(), bytes_read());
            let time = UploadTime::default();
            let built =
                ingester.build_block(&tenant(), id, &segments, &runtime, &Stop::default(), &time);
            let (meta, _) = built.unwrap();
            (meta.total_objects, bytes_read() - before)
        };
        let (traces, read) = tokio::task::spawn_blocking(build).await.unwrap();
        assert_eq!(traces, 7);
        (read, held)
    };
    let ((of_one, held), (of_seven, _)) = (read(64_000).await, read(1).await);
    assert!(of_one < 3 * held, "{of_one} bytes are read of {held}");
    assert!(of_seven < of_one + of_one / 10, "{of_one} and {of_seven} bytes are read");
}
