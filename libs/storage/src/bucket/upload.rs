//! Uploads large local files to a remote store, in parts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use object_store::{MultipartUpload, ObjectStore, PutPayload, UploadPart};

use super::{Bucket, blocking_write, failure, local};
use crate::error::{Error, Result};

impl Bucket {
    /// Writes an object from a local file; returns its bytes. Needs memory for a few parts only. The file must not change meanwhile.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<u64> {
        if let Some(path) = self.checked_local_path(key)? {
            let file = file.to_owned();
            return self.local_io(key, move || local::put_file(&path, &file)).await;
        }
        let name = file.display().to_string();
        let path = file.to_owned();
        let (file, size) = blocking_write(key, move || {
            let open = || {
                let file = File::open(&path)?;
                let size = file.metadata()?.len();
                Ok((file, size))
            };
            open().map_err(|error| failure::from_io(&name, error))
        })
        .await?;
        let file = Arc::new(file);
        let part_bytes = self.inner.transfer.part_bytes_for(size);
        if size <= part_bytes {
            self.put(key, read_part(&file, key, 0, size).await?).await?;
            return Ok(size);
        }
        let path = self.object_path(key)?;
        let options = self.inner.write_options.multipart();
        let mut upload = self
            .inner
            .store
            .put_multipart_opts(&path, options)
            .await
            .map_err(|error| failure::from_store(key, error))?;
        let concurrency = self.inner.transfer.upload_concurrency;
        let sent = send_parts(&mut *upload, &file, key, size, part_bytes, concurrency).await;
        let sent = match sent {
            Ok(()) => complete(self, key, &mut *upload, size).await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            abort(key, &mut *upload).await;
        }
        sent.map(|()| size)
    }
}

/// Completes an upload, so that the object becomes visible.
pub(super) async fn complete(
    bucket: &Bucket,
    key: &str,
    upload: &mut dyn MultipartUpload,
    size: u64,
) -> Result<()> {
    match upload.complete().await {
        Ok(_) => Ok(()),
        // If the answer to the first attempt was lost, the retry finds no upload any more.
        Err(error @ object_store::Error::NotFound { .. }) => match bucket.head(key).await {
            Ok(object) if object.size == size => Ok(()),
            _ => Err(failure::from_store(key, error)),
        },
        Err(error) => Err(failure::from_store(key, error)),
    }
}

/// Aborts an upload and deletes its parts.
pub(super) async fn abort(key: &str, upload: &mut dyn MultipartUpload) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(key, %error, "parts of a failed upload stay in the bucket");
    }
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    file: &Arc<File>,
    key: &str,
    size: u64,
    part_bytes: u64,
    concurrency: usize,
) -> Result<()> {
    let mut running: FuturesUnordered<UploadPart> = FuturesUnordered::new();
    let mut offset = 0;
    while offset < size {
        let length = part_bytes.min(size - offset);
        let part = read_part(file, key, offset, length).await?;
        offset += length;
        running.push(upload.put_part(PutPayload::from_bytes(part)));
        if running.len() >= concurrency {
            wait_for_one(&mut running, key).await?;
        }
    }
    while !running.is_empty() {
        wait_for_one(&mut running, key).await?;
    }
    Ok(())
}

async fn wait_for_one(running: &mut FuturesUnordered<UploadPart>, key: &str) -> Result<()> {
    match running.next().await {
        Some(result) => result.map_err(|error| failure::from_store(key, error)),
        None => Ok(()),
    }
}

async fn read_part(file: &Arc<File>, key: &str, offset: u64, length: u64) -> Result<Bytes> {
    let (file, name) = (Arc::clone(file), key.to_owned());
    blocking_write(key, move || {
        let length = usize::try_from(length)
            .map_err(|_| Error::invalid("part size", "longer than the address space"))?;
        let mut part = vec![0; length];
        file.read_exact_at(&mut part, offset).map_err(|error| failure::from_io(&name, error))?;
        Ok(part.into())
    })
    .await
}
