//! Makes one block, from the manifest of its segments to its last object.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tactus_allocator::for_ingest;
use tactus_model::TenantId;
use tactus_storage::{BlockMeta, Uuid, block_io};
use tactus_telemetry::{error_text, log_limited};
use tactus_work::Stop;
use tokio::runtime::Handle;

use crate::{
    begun_blocks::PendingBlock, error::Error, ingester::Ingester, layout::sync_directory,
    segment::Segment, upload_time::UploadTime,
};

impl Ingester {
    /// Records on disk which segments become the block, so that a restart finishes the same block.
    ///
    /// If the disk does not take the manifest, the block is made without it, because that frees space and saves what is
    /// on a failing disk. Only if this process is killed between the block's last object and the deletion of its
    /// segments, a restart writes their spans again; readers still return them once.
    pub(super) fn begin_block(&self, id: &TenantId, segments: Vec<Arc<Segment>>) -> PendingBlock {
        let block = PendingBlock::new(Uuid::new_v4(), segments, false);
        // No older manifest can be there.
        let _ = self.write_manifest(id, &block);
        block
    }

    /// Writes the manifest. If that fails, there is none.
    ///
    /// Errors: an older one may be there, which lists segments that are not in the block.
    fn write_manifest(&self, id: &TenantId, block: &PendingBlock) -> Result<(), Error> {
        let path = self.manifest_path(id, block.id);
        let Err(error) = self.manifest_of(block, None).write(&path) else { return Ok(()) };
        let _ = fs::remove_file(path.with_extension("partial"));
        let error = error_text(&error);
        log_limited!(warn, error, tenant = %id, block = %block.id, "cannot write the manifest of a block, the block is made without it");
        remove_durably(&path).map_err(Error::io("remove", &path))
    }

    pub(crate) fn manifest_path(&self, tenant: &TenantId, block: Uuid) -> PathBuf {
        self.layout.flushing().join(tenant.as_str()).join(format!("{block}.json"))
    }

    /// Makes the block, unless an earlier process did. Returns of which block readers are to be told: from then on they
    /// answer for its spans, and its segments can go.
    pub(super) async fn write_block(
        self: &Arc<Self>,
        tenant: &TenantId,
        block: &mut PendingBlock,
    ) -> Result<Option<BlockMeta>, Error> {
        if block.resumed {
            match block_io::read_meta(&self.bucket, tenant.as_str(), block.id).await {
                Ok(meta) => match block_io::missing_file(&self.bucket, &meta).await? {
                    None => return Ok(Some(meta)),
                    // A store may lose what it has confirmed, and these segments are the last copy.
                    Some(file) => {
                        tracing::error!(
                            %tenant, block = %block.id, file,
                            "object storage lost an object of a block that it had taken, the block is written again"
                        );
                    }
                },
                Err(error) if error.is_not_found() => {
                    let compacted =
                        block_io::read_compacted_meta(&self.bucket, tenant.as_str(), block.id);
                    match compacted.await {
                        // A compactor has already merged it into another block.
                        Ok(_) => return Ok(None),
                        // What is not the meta of this block says nothing of it: a gateway may answer anything.
                        Err(error) if error.is_not_found() || error.is_corrupt() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                // Nobody else writes a block with this id: a store may keep the beginning of an object whose upload
                // ended with the earlier process.
                Err(error) if error.is_corrupt() => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Segments that cannot be read are in no block.
        let readable = block.segments.iter().filter(|segment| !segment.is_set_aside());
        let readable =
            PendingBlock { id: block.id, segments: readable.cloned().collect(), resumed: false };
        if readable.segments.is_empty() {
            *block = readable;
            return Ok(None);
        }
        if block.resumed || readable.segments.len() < block.segments.len() {
            // What is left out, here or by the start, may be readable later. It must not be taken for a part of this block.
            let (ingester, id) = (Arc::clone(self), tenant.clone());
            let write = move || ingester.write_manifest(&id, &readable).map(|()| readable);
            *block = tokio::task::spawn_blocking(write).await??;
        }
        // What could not be read when the block was begun may be readable now.
        block.segments.iter().for_each(|segment| segment.set_block(block.id));
        let meta = self.store_block(tenant, block).await?;
        self.metrics.blocks_flushed.inc();
        self.metrics.flushed_bytes.inc_by(meta.size);
        self.metrics.flush_size.observe(meta.size as f64);
        tracing::info!(
            %tenant, block = %block.id, traces = meta.total_objects, bytes = meta.size,
            "block written to object storage"
        );
        Ok(Some(meta))
    }

    /// Builds the block in object storage. A failed attempt leaves objects that nobody reads, and the next attempt
    /// replaces them.
    async fn store_block(
        self: &Arc<Self>,
        tenant: &TenantId,
        block: &PendingBlock,
    ) -> Result<BlockMeta, Error> {
        let (ingester, tenant, id) = (Arc::clone(self), tenant.clone(), block.id);
        let (segments, runtime) = (block.segments.clone(), Handle::current());
        let time = UploadTime::default();
        let ((abandoned, _abandon), timed) = (Stop::new(), time.clone());
        let mut build = tokio::task::spawn_blocking(move || {
            let (segments, abandoned) = (&segments, &abandoned);
            for_ingest(|| ingester.build_block(&tenant, id, segments, &runtime, abandoned, &timed))
        });
        let limit = self.settings.ingester.flush_op_timeout.as_std();
        let left = || limit.checked_sub(time.spent()).filter(|left| !left.is_zero());
        let (meta, files) = loop {
            let left = left().ok_or(Error::Timeout)?;
            // Only the time spent on the upload counts against the limit.
            if let Ok(built) = tokio::time::timeout(left, &mut build).await {
                break built??;
            }
        };
        let write = block_io::write_block(&self.bucket, &meta, &files);
        let written = tokio::time::timeout(left().unwrap_or_default(), write).await;
        written.map_err(|_| Error::Timeout)??;
        Ok(meta)
    }
}

/// Removes a file so that no crash brings it back. Also if it is gone already: an earlier call may have failed half-way.
fn remove_durably(path: &Path) -> io::Result<()> {
    let removed = fs::remove_file(path);
    for done in [removed, path.parent().map_or(Ok(()), sync_directory)] {
        match done {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
