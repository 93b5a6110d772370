//! OTLP from files: export requests as lines of JSON, as the file exporter of OpenTelemetry collectors writes them.
//!
//! ```text
//! every interval: patterns -> files -> what was added to each, line by line -> the sink, one line at a time
//! ```
//!
//! A line is read once its end is written. Positions are kept in memory by device and inode, so that reading a renamed
//! file continues where it was, and a truncated file is read from its start. If the sink is busy, the same line is
//! tried again. A line that the sink refuses for good is skipped and counted.

mod pattern;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tactus_model::TenantId;
use tactus_otlp_json::read_export_request;
use tokio_util::sync::CancellationToken;

use crate::{PushError, ReceiverMetrics, TraceSink, metrics::SpanCounters, sink::push_traced};

pub use pattern::{InvalidPattern, Pattern};

/// The pause before a line that the sink had no room for is offered again, if the sink names none.
const RETRY: Duration = Duration::from_secs(1);
/// Files that are read; more are left out.
const MAX_FILES: usize = 10_000;

/// Settings of the receiver.
#[derive(Debug, Clone)]
pub struct OtlpFileSettings {
    /// Whose the spans are.
    pub tenant: TenantId,
    /// Files to read.
    pub include: Vec<Pattern>,
    /// Files not to read.
    pub exclude: Vec<Pattern>,
    /// Files that are there at the start are read from their beginning, not from their end.
    pub from_beginning: bool,
    /// Pause between two looks.
    pub poll_interval: Duration,
    /// Reads all files again and again.
    pub replay: bool,
    /// Longer lines are skipped.
    pub max_line_bytes: usize,
}

/// Reads files into the sink until `stop`.
pub async fn read_otlp_files(
    settings: OtlpFileSettings,
    sink: Arc<dyn TraceSink>,
    metrics: ReceiverMetrics,
    stop: CancellationToken,
) {
    let counters = metrics.of("otlpjsonfile", "file");
    let mut receiver = Receiver { settings, sink, counters, stop, places: HashMap::new() };
    let mut is_first = true;
    loop {
        if receiver.look(is_first).await.is_none() {
            return;
        }
        is_first = false;
        tokio::select! {
            () = tokio::time::sleep(receiver.settings.poll_interval) => {}
            () = receiver.stop.cancelled() => return,
        }
    }
}

struct Receiver {
    settings: OtlpFileSettings,
    sink: Arc<dyn TraceSink>,
    counters: SpanCounters,
    stop: CancellationToken,
    /// How far each file was read, in bytes.
    places: HashMap<FileId, u64>,
}

impl Receiver {
    /// Reads what was added to files. `None` when it is time to stop.
    async fn look(&mut self, is_first: bool) -> Option<()> {
        let (include, exclude) = (self.settings.include.clone(), self.settings.exclude.clone());
        let find = move || pattern::find(&include, &exclude, MAX_FILES);
        let files = tokio::task::spawn_blocking(find).await.unwrap_or_default();
        let mut seen = HashMap::new();
        for file in files {
            let Some(found) = identify(&file) else { continue };
            let begins_at = match self.places.get(&found.id) {
                Some(&place) if place <= found.bytes && !self.settings.replay => place,
                None if is_first && !self.settings.from_beginning => found.bytes,
                _ => 0,
            };
            let place = self.read(&file, found.id, begins_at).await?;
            seen.insert(found.id, place);
        }
        // What is gone is forgotten.
        self.places = seen;
        Some(())
    }

    /// Reads the lines of a file from a place on; how far it came.
    async fn read(&self, file: &Path, id: FileId, mut place: u64) -> Option<u64> {
        loop {
            let (path, max) = (file.to_owned(), self.settings.max_line_bytes);
            let read = move || read_lines(&path, id, place, max);
            let lines = match tokio::task::spawn_blocking(read).await {
                Ok(Ok(lines)) => lines,
                Ok(Err(error)) => {
                    tracing::warn!(file = %file.display(), %error, "cannot read a file of spans");
                    return Some(place);
                }
                Err(_) => return Some(place),
            };
            for line in lines.found {
                match line {
                    Line::Request(json) => self.push(file, json).await?,
                    Line::TooLong => {
                        let (file, limit) = (file.display(), self.settings.max_line_bytes);
                        tracing::warn!(%file, limit, "skipped a line that is too long");
                    }
                }
            }
            place = lines.end;
            if !lines.has_more {
                return Some(place);
            }
        }
    }

    /// Pushes a line until the sink has taken or refused it.
    async fn push(&self, file: &Path, json: Bytes) -> Option<()> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Some(());
        }
        let request = match tokio::task::spawn_blocking(move || read_export_request(&json)).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => {
                tactus_telemetry::log_limited!(warn, file = %file.display(), error = %error, "skipped a line that is no export request");
                return Some(());
            }
            Err(_) => return Some(()),
        };
        loop {
            let (tenant, headers) = (self.settings.tenant.clone(), http::HeaderMap::new());
            let pushed =
                push_traced(&*self.sink, "otlpjsonfile", &headers, tenant, request.clone());
            let result = tokio::select! {
                result = pushed => result,
                () = self.stop.cancelled() => return None,
            };
            let pause = match &result {
                Err(
                    PushError::RateLimited { retry_after, .. }
                    | PushError::Unavailable { retry_after, .. },
                ) => {
                    if retry_after.is_zero() {
                        RETRY
                    } else {
                        *retry_after
                    }
                }
                _ => {
                    self.counters.count(&result, &request);
                    if let Err(error) = result {
                        tracing::warn!(file = %file.display(), %error, "skipped a line that was refused");
                    }
                    return Some(());
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }
}

/// Lines are handed over when they come to this many bytes.
const CHUNK_BYTES: usize = 4 << 20;

/// Names a file, whatever its path: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId(u64, u64);

/// A file that is there.
#[derive(Debug, Clone, Copy)]
struct Found {
    id: FileId,
    bytes: u64,
}

/// Lines of a file.
#[derive(Debug)]
struct Lines {
    found: Vec<Line>,
    /// Where the next line begins.
    end: u64,
    /// There may be more at once.
    has_more: bool,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Request(Bytes),
    TooLong,
}

fn id_of(metadata: &std::fs::Metadata) -> FileId {
    FileId(metadata.dev(), metadata.ino())
}

/// `None` for what is no file, or is gone.
fn identify(path: &Path) -> Option<Found> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(Found { id: id_of(&metadata), bytes: metadata.len() })
}

/// Reads some lines from `place` on. What has no end yet stays for later.
///
/// Memory: the lines returned, and one of `max_line_bytes`. Errors: those of the file.
fn read_lines(path: &Path, id: FileId, place: u64, max_line_bytes: usize) -> io::Result<Lines> {
    let mut file = File::open(path)?;
    let mut lines = Lines { found: Vec::new(), end: place, has_more: false };
    if id_of(&file.metadata()?) != id {
        // Another file has the name now; it has its own turn.
        return Ok(lines);
    }
    file.seek(SeekFrom::Start(place))?;
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut bytes = 0;
    while bytes < CHUNK_BYTES {
        let Some((line, length)) = next_line(&mut reader, max_line_bytes)? else {
            return Ok(lines);
        };
        if let Line::Request(line) = &line {
            bytes += line.len();
        }
        // An empty line costs memory, too.
        bytes += size_of::<Line>();
        lines.found.push(line);
        lines.end += length;
    }
    lines.has_more = true;
    Ok(lines)
}

/// The next line, and its length with its end; `None` if it has none yet.
fn next_line(reader: &mut impl BufRead, max_bytes: usize) -> io::Result<Option<(Line, u64)>> {
    let mut line = Vec::new();
    // The end is one byte more.
    let limit = max_bytes as u64 + 1;
    let read = reader.by_ref().take(limit).read_until(b'\n', &mut line)? as u64;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some((Line::Request(line.into()), read)));
    }
    if read < limit {
        return Ok(None);
    }
    let mut length = read;
    drop(line);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let (used, is_end) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        reader.consume(used);
        length += used as u64;
        if is_end {
            return Ok(Some((Line::TooLong, length)));
        }
    }
}

#[cfg(test)]
mod tests;
