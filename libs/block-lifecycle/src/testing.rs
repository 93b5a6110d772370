//! A compactor of a local store, for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tactus_compaction::RewriteSettings;
use tactus_config::sections::compactor::{Compaction, CompactorJobs};
use tactus_storage::block_io::read_meta;
use tactus_storage::blocklist::BlockChanges;
use tactus_storage::layout::parse_block_id;
use tactus_storage::{BlockMeta, Blocklist, Bucket, BucketSettings, Uuid};
use tactus_telemetry::metrics::Registry;
use tempfile::TempDir;

use crate::compactor::Compactor;
use crate::settings::{LimitsOf, Settings};

pub(crate) const SOON: Duration = Duration::from_millis(1);

/// The tenant of the sample block.
pub(crate) const SAMPLE_TENANT: &str = "single-tenant";

const SAMPLE: &str = "11111111-1111-4111-8111-111111111111";

/// The data of the sample block in a store.
pub(crate) fn sample_data(store: &Path) -> PathBuf {
    store.join(SAMPLE_TENANT).join(SAMPLE).join("data.parquet")
}

/// A compactor of the store in a directory. It responds for everything, and its block list is empty.
pub(crate) fn compactor(
    directory: &TempDir,
    limits: LimitsOf,
    registry: &Registry,
) -> Arc<Compactor> {
    let path = directory.path().to_owned();
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    let settings = Settings {
        compaction: Compaction {
            compaction_cycle: SOON.into(),
            max_time_per_tenant: SOON.into(),
            compacted_block_retention: SOON.into(),
            retention_concurrency: 1,
            orphan_age: Duration::ZERO.into(),
            ..Compaction::default()
        },
        jobs: CompactorJobs {
            watch_period: SOON.into(),
            max_open_per_tenant: 1,
            ..CompactorJobs::default()
        },
        retention_interval: Duration::from_secs(3600),
        rewrite: RewriteSettings::new(tactus_block::BuilderSettings {
            writer: tactus_block::WriterSettings::default(),
            bloom_false_positive: 0.01,
            bloom_shard_bytes: 1 << 10,
        }),
        limits,
    };
    Compactor::new(settings, bucket, Arc::new(Blocklist::new()), Arc::new(|_| true), registry)
}

/// Shows blocks to a compactor.
pub(crate) fn show(compactor: &Compactor, tenant: &str, blocks: Vec<BlockMeta>) {
    let add = blocks.into_iter().map(Arc::new).collect();
    compactor.blocklist.change(tenant, BlockChanges { add, ..BlockChanges::default() });
}

/// Copies the vParquet4 sample block into the store and shows it to the compactor.
pub(crate) async fn add_sample(directory: &TempDir, compactor: &Compactor) -> Uuid {
    let block = Path::new(SAMPLE_TENANT).join(SAMPLE);
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks/vParquet4")
        .join(&block);
    let to = directory.path().join(block);
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let id = parse_block_id(SAMPLE).unwrap();
    let meta = read_meta(&compactor.bucket, SAMPLE_TENANT, id).await.unwrap();
    show(compactor, SAMPLE_TENANT, vec![meta]);
    id
}
