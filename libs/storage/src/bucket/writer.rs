//! An object that is written as a stream.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStore, PutPayload};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::local::{Root, Staged};
use super::options::grown_part_bytes;
use super::{Bucket, failure, off_runtime};
use crate::error::{Error, Result, Source};

/// An object that is being written, from [`Bucket::writer`]. Nobody sees anything of it before
/// [`ObjectWriter::finish`]; dropped without that, all that was sent is thrown away.
///
/// All calls but the drop block: never use it in async code. After a write has failed every
/// further call fails; [`Error::from_write`] gives the cause back.
#[derive(Debug)]
pub struct ObjectWriter {
    key: String,
    written: u64,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Local(Staged, Arc<Root>),
    Remote(Box<Remote>),
    Failed,
}

impl Bucket {
    /// Begins an object whose size is not known: what is written to the result goes to the store
    /// in parts and appears at once by [`ObjectWriter::finish`]. `expected_bytes` is a guess, from
    /// which the size of the parts comes; `runtime` carries the requests.
    ///
    /// For a thread that may block, such as one of `spawn_blocking`. Memory: parts in flight and
    /// one more.
    pub fn writer(&self, key: &str, expected_bytes: u64, runtime: &Handle) -> Result<ObjectWriter> {
        let sink = match (self.checked_local_path(key)?, self.inner.root.clone()) {
            (Some(path), Some(root)) => {
                root.check_for_change(key)?;
                let file = Staged::create(&path).map_err(|error| failure::from_io(key, error))?;
                Sink::Local(file, root)
            }
            _ => {
                self.object_path(key)?;
                Sink::Remote(Box::new(Remote {
                    bucket: self.clone(),
                    key: key.to_owned(),
                    runtime: runtime.clone(),
                    part_bytes: self.inner.transfer.part_bytes_for(expected_bytes),
                    part: Vec::new(),
                    sent_parts: 0,
                    upload: None,
                    running: JoinSet::new(),
                }))
            }
        };
        Ok(ObjectWriter { key: key.to_owned(), written: 0, sink })
    }

    /// Writes an object from a local file; returns its bytes. Needs memory for a few parts only.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<u64> {
        let (bucket, key_of_file, file) = (self.clone(), key.to_owned(), file.to_owned());
        let runtime = Handle::current();
        off_runtime(key, move || {
            let open = || {
                let file = File::open(&file)?;
                let size = file.metadata()?.len();
                Ok((file, size))
            };
            let opened =
                open().map_err(|error| failure::from_io(&file.display().to_string(), error));
            let (mut file, size) = opened?;
            let mut writer = bucket.writer(&key_of_file, size, &runtime)?;
            match io::copy(&mut file, &mut writer) {
                Ok(_) => writer.finish(),
                Err(error) => {
                    writer.abort();
                    Err(Error::from_write(&key_of_file, error))
                }
            }
        })
        .await
    }
}

impl Error {
    /// Converts an error of a write to an [`ObjectWriter`] of `key`: to the error of this crate that it holds, or to
    /// a new one.
    pub fn from_write(key: &str, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => failure::from_io(key, error),
        }
    }
}

impl ObjectWriter {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the object appear, in the place of any other under its key; returns its bytes.
    ///
    /// Errors: those of the store; `Unavailable` after a write that failed. Then nothing appears.
    pub fn finish(mut self) -> Result<u64> {
        match std::mem::replace(&mut self.sink, Sink::Failed) {
            Sink::Local(file, root) => {
                root.check_for_change(&self.key)?;
                file.publish().map_err(|error| failure::from_io(&self.key, error))?;
            }
            Sink::Remote(remote) => (*remote).finish(self.written)?,
            Sink::Failed => return Err(self.failed_before()),
        }
        Ok(self.written)
    }

    /// Aborts the upload and waits for that. A drop does the same in the background, where the end of the process may
    /// interrupt it.
    pub fn abort(mut self) {
        if let Sink::Remote(mut remote) = std::mem::replace(&mut self.sink, Sink::Failed)
            && let Some(abort) = remote.abort()
        {
            let _ = remote.runtime.block_on(abort);
        }
    }

    fn failed_before(&self) -> Error {
        let source = "an earlier write of it failed".into();
        Error::Unavailable { key: self.key.clone(), source }
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.sink {
            Sink::Local(file, _) => {
                file.write(bytes).map_err(|error| failure::from_io(&self.key, error))
            }
            Sink::Remote(remote) => remote.write(bytes),
            Sink::Failed => Err(self.failed_before()),
        };
        match written {
            Ok(count) => {
                self.written += count as u64;
                Ok(count)
            }
            Err(error) => {
                self.sink = Sink::Failed;
                Err(io::Error::other(error))
            }
        }
    }

    /// Does nothing: parts go to the store when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Remote {
    bucket: Bucket,
    key: String,
    runtime: Handle,
    part_bytes: u64,
    /// The part that is being filled.
    part: Vec<u8>,
    sent_parts: u64,
    /// Begun with the first full part: a small object needs one request.
    upload: Option<Box<dyn MultipartUpload>>,
    running: JoinSet<object_store::Result<()>>,
}

tactus_telemetry::debug_of!(Remote { key });

impl Remote {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        while let Some(done) = self.running.try_join_next() {
            part_done(&self.key, done)?;
        }
        let capacity = self.part_capacity()?;
        if self.part.len() >= capacity {
            self.send_part()?;
        }
        let capacity = self.part_capacity()?;
        if self.part.capacity() == 0 {
            // Pages that are never written to cost nothing.
            self.part.reserve_exact(capacity);
        }
        let count = bytes.len().min(capacity - self.part.len());
        self.part.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn part_capacity(&self) -> Result<usize> {
        usize::try_from(grown_part_bytes(self.part_bytes, self.sent_parts))
            .map_err(|_| Error::invalid("part size", "longer than the address space"))
    }

    fn send_part(&mut self) -> Result<()> {
        let concurrency = self.bucket.inner.transfer.upload_concurrency;
        while self.running.len() >= concurrency {
            if let Some(done) = self.runtime.block_on(self.running.join_next()) {
                part_done(&self.key, done)?;
            }
        }
        if self.upload.is_none() {
            self.upload = Some(self.begin()?);
        }
        if let Some(upload) = &mut self.upload {
            let part = Bytes::from(std::mem::take(&mut self.part));
            self.running.spawn_on(upload.put_part(PutPayload::from_bytes(part)), &self.runtime);
            self.sent_parts += 1;
        }
        Ok(())
    }

    fn begin(&self) -> Result<Box<dyn MultipartUpload>> {
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        self.wait(async move {
            let path = bucket.object_path(&key)?;
            let options = bucket.inner.write_options.multipart();
            let begun = bucket.inner.store.put_multipart_opts(&path, options).await;
            let right = bucket.inner.target.kind.right_of_parts();
            begun.map_err(|error| explained(failure::from_store(&key, error), right))
        })
    }

    fn finish(mut self, size: u64) -> Result<()> {
        if self.upload.is_none() {
            let (bucket, key) = (self.bucket.clone(), self.key.clone());
            let bytes = Bytes::from(std::mem::take(&mut self.part));
            return self.wait(async move { bucket.put(&key, bytes).await });
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        while let Some(done) = self.runtime.block_on(self.running.join_next()) {
            part_done(&self.key, done)?;
        }
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        self.wait(async move {
            let done = complete(&bucket, &key, &mut *upload, size).await;
            if done.is_err() {
                abort(&key, &mut *upload).await;
            }
            done
        })
    }

    /// Runs a request where its connections are driven, and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let running = self.runtime.spawn(request);
        self.runtime.block_on(running).map_err(|error| stopped(&self.key, error))?
    }

    fn abort(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        let mut upload = self.upload.take()?;
        let mut running = std::mem::take(&mut self.running);
        let key = std::mem::take(&mut self.key);
        Some(self.runtime.spawn(async move {
            // A part that arrives after the abort would stay in the store.
            running.shutdown().await;
            abort(&key, &mut *upload).await;
        }))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.abort());
    }
}

/// Completes an upload, so that the object becomes visible.
async fn complete(
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

/// A refusal, with the permission that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{right}")]
struct Missing {
    right: &'static str,
    #[source]
    source: Source,
}

/// The error, with a permission in its causes if something was refused.
fn explained(error: Error, right: Option<&'static str>) -> Error {
    match (error, right) {
        (Error::Denied { key, source }, Some(right)) => {
            Error::Denied { key, source: Missing { right, source }.into() }
        }
        (error, _) => error,
    }
}

/// Aborts an upload and deletes its parts.
async fn abort(key: &str, upload: &mut dyn MultipartUpload) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(key, %error, "parts of a failed upload stay in the bucket");
    }
}

fn part_done(
    key: &str,
    done: Result<object_store::Result<()>, tokio::task::JoinError>,
) -> Result<()> {
    done.map_err(|error| stopped(key, error))?.map_err(|error| failure::from_store(key, error))
}

fn stopped(key: &str, error: tokio::task::JoinError) -> Error {
    Error::Unavailable { key: key.into(), source: error.into() }
}

#[cfg(test)]
mod tests;
