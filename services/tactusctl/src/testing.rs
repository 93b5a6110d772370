//! A store with a sample block, for tests.

use std::path::{Path, PathBuf};

use tactus_storage::{Bucket, BucketSettings};

pub(crate) const TENANT: &str = "single-tenant";

/// A local store at `to` with the block of a sample, without a tenant index.
pub(crate) fn copy(version: &str, to: &Path) -> Bucket {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks")
        .join(version)
        .join(TENANT);
    for block in std::fs::read_dir(samples).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(TENANT).join(block.file_name().unwrap());
        if block.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            for file in std::fs::read_dir(&block).unwrap().map(|entry| entry.unwrap().path()) {
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(target.join(file.file_name().unwrap()), bytes).unwrap();
            }
        }
    }
    Bucket::open(&BucketSettings::Local { path: to.to_owned() }).unwrap()
}
