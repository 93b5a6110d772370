//! Starts an ingester: opens its directory and reads back the spans in it.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use tactus_storage::{Bucket, Uuid};
use tactus_telemetry::metrics::{Collected, Kind, Registry};
use tactus_wal::Wal;

use crate::{
    error::Error, ingester::Ingester, layout::Layout, replay, settings::Settings,
    written::BlockWritten,
};

impl Ingester {
    /// Opens the directory, reads back what an earlier process left, and becomes ready for pushes.
    ///
    /// `written` is called for each block that is in object storage, before its spans are released here.
    ///
    /// Errors: another process has locked the directory, or it cannot be written, or listed. Damaged files are set aside
    /// and reported, and never keep the ingester from starting.
    pub fn open(
        settings: Settings,
        bucket: Bucket,
        written: BlockWritten,
        registry: &Registry,
    ) -> Result<Arc<Self>, Error> {
        let root = settings.directory.clone();
        // It has the spans of all tenants, in plain.
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&root);
        created.map_err(Error::io("storage.trace.wal.path: create", &root))?;
        let wal_settings = tactus_wal::Settings {
            fsync_interval: settings.fsync_interval,
            ..tactus_wal::Settings::default()
        };
        let (wal, log_replay) =
            Wal::open_with(Layout::log(&root), wal_settings, Arc::clone(&settings.log_files))?;
        warn_of_tempo(&root, &bucket);
        let layout = Layout::create(&root).map_err(|(path, source)| Error::Io {
            action: "create",
            path,
            source,
        })?;
        let ingester = Self::new(settings, (wal, layout), (bucket, written), registry);
        replay::restore(&ingester, log_replay)?;
        let weak = ingester.weak();
        registry.register_collector(move |out| {
            if let Some(ingester) = weak.upgrade() {
                ingester.collect_disk_metrics(out);
            }
        });
        Ok(ingester)
    }

    fn collect_disk_metrics(&self, out: &mut Collected) {
        let help = "Seconds since the oldest write or sync of the write-ahead log that the disk has not answered.";
        out.family("tactus_ingester_disk_wait_seconds", help, Kind::Gauge);
        let wait = self.wal.longest_wait().map_or(Duration::ZERO, |wait| wait.age);
        out.sample(&[], wait.as_secs_f64());
        let help = "Syncs of the write-ahead log that failed; live spans are cut at once then.";
        out.family("tactus_ingester_log_sync_failures_total", help, Kind::Counter);
        out.sample(&[], self.wal.stats().sync_errors as f64);
    }
}

/// Says how many write-ahead logs and blocks of Tempo's ingester lie in the directory: their spans are not read.
fn warn_of_tempo(root: &Path, bucket: &Bucket) {
    let names_in = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let is_id = |name: &str| Uuid::try_parse(name).is_ok();
    let logs = names_in(root);
    let logs = logs.iter().filter(|name| name.split_once('+').is_some_and(|(id, _)| is_id(id)));
    let of_blocks = root.join("blocks");
    // Our own may be there as well, in a local store.
    let is_store = bucket.local_path("").is_some_and(|store| store == of_blocks);
    let blocks = if is_store { Vec::new() } else { names_in(&of_blocks) };
    let blocks = blocks.iter().flat_map(|tenant| names_in(&of_blocks.join(tenant)));
    let (logs, blocks) = (logs.count(), blocks.filter(|name| is_id(name)).count());
    if logs + blocks > 0 {
        tracing::warn!(
            path = %root.display(),
            logs,
            blocks,
            "Tempo has left spans here that are not in object storage, and they are not read: start Tempo on this directory \
             once more and have it flush (/shutdown)"
        );
    }
}
