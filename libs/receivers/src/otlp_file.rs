//! OTLP from files: export requests as lines of JSON, as the file exporter of OpenTelemetry collectors writes them.
//!
//! ```text
//! every interval: patterns -> files -> what was added to each, line by line -> the sink, one line at a time
//! ```
//!
//! A line is read once its end is written. Positions are kept in memory by device and inode, so that reading a renamed
//! file continues where it was, and a truncated file is read from its start. A file with several names is read once. If
//! the sink is busy, the same line is tried again. A line that the sink refuses for good is skipped and counted, and so is
//! one that is over a limit for a minute without a time to come again: it may be larger than the limit.

mod pattern;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tactus_model::TenantId;
use tactus_otlp_json::read_export_request;
use tactus_telemetry::log_limited;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{PushError, ReceiverMetrics, TraceSink, metrics::SpanCounters, sink::push_traced};

pub use pattern::{InvalidPattern, Pattern};

/// The pause before a line that the sink had no room for is offered again, if the sink names none.
const RETRY: Duration = Duration::from_secs(1);
/// How often a line that is over a limit is offered again, if the sink names no pause.
const MAX_RETRIES: u32 = 60;
/// A file that was not found for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(300);
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
    let places = HashMap::new();
    let mut receiver = Receiver { settings, sink, counters, stop, places, fails: false };
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
    places: HashMap<FileId, Place>,
    /// The last look could not list a directory.
    fails: bool,
}

/// How far a file was read.
struct Place {
    bytes: u64,
    /// When it was there last, or may have been.
    seen: Instant,
}

impl Receiver {
    /// Reads what was added to files. `None` when it is time to stop.
    async fn look(&mut self, is_first: bool) -> Option<()> {
        let (include, exclude) = (self.settings.include.clone(), self.settings.exclude.clone());
        let find = move || pattern::find(&include, &exclude, MAX_FILES);
        let Ok((files, failure)) = tokio::task::spawn_blocking(find).await else { return Some(()) };
        let started = Instant::now();
        let mut read = HashSet::new();
        for file in files {
            let Some(found) = identify(&file) else { continue };
            if !read.insert(found.id) {
                // Another name of it, as a link.
                continue;
            }
            let begins_at = match self.places.get(&found.id) {
                Some(place) if place.bytes <= found.bytes && !self.settings.replay => place.bytes,
                None if is_first && !self.settings.from_beginning => found.bytes,
                _ => 0,
            };
            let bytes = self.read(&file, found.id, begins_at).await?;
            self.places.insert(found.id, Place { bytes, seen: started });
        }
        let now = Instant::now();
        let failed_before = std::mem::replace(&mut self.fails, failure.is_some());
        if let Some((directory, error)) = failure
            && !failed_before
        {
            log_limited!(warn, directory = %directory.display(), %error, "cannot look for files of spans");
        }
        // After a failure files may be there that were not found.
        let may_be_there = self.fails && self.places.len() <= 2 * MAX_FILES;
        self.places.retain(|id, place| {
            if may_be_there || read.contains(id) {
                place.seen = now;
            }
            // A look may take long if the sink is busy.
            started.saturating_duration_since(place.seen) < FORGET_AFTER
        });
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
                log_limited!(warn, file = %file.display(), error = %error, "skipped a line that is no export request");
                return Some(());
            }
            Err(_) => return Some(()),
        };
        let mut tries = 0;
        loop {
            let (tenant, headers) = (self.settings.tenant.clone(), http::HeaderMap::new());
            let pushed =
                push_traced(&*self.sink, "otlpjsonfile", &headers, tenant, request.clone());
            let result = tokio::select! {
                result = pushed => result,
                () = self.stop.cancelled() => return None,
            };
            let hint = match &result {
                Err(PushError::Unavailable { retry_after, .. }) => Some(*retry_after),
                Err(PushError::RateLimited { retry_after, .. }) => {
                    Some(*retry_after).filter(|hint| !hint.is_zero() || tries < MAX_RETRIES)
                }
                _ => None,
            };
            let pause = match hint {
                Some(hint) if hint.is_zero() => RETRY,
                Some(hint) => hint,
                None => {
                    self.counters.count(&result, &request, || 0).await;
                    if let Err(error) = result {
                        log_limited!(warn, file = %file.display(), %error, "skipped a line that was refused");
                    }
                    return Some(());
                }
            };
            if let (Err(error), 0) = (&result, tries) {
                log_limited!(warn, file = %file.display(), %error, "a line was not taken, and is offered again");
            }
            tries = tries.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }
}

/// Lines are handed over when they come to this many bytes.
const CHUNK_BYTES: usize = 4 << 20;

/// Names a file, whatever its path: device, inode, and when it was made if the system knows. The number of an inode is
/// soon used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId(u64, u64, Option<SystemTime>);

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
    FileId(metadata.dev(), metadata.ino(), metadata.created().ok())
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
