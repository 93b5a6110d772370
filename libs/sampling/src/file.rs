//! Strategies from files, read again when they change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tactus_config::sections::sampling::SamplingFile;
use tactus_config::without_passwords;
use tactus_operator_files::{Location, ReadError, WatchedFile};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::document::parse_document;
use crate::{Error, Metrics, StrategySet};

/// A tenant's file that was not requested for this long is dropped. The next request reads it again.
const KEEP_UNUSED: Duration = Duration::from_secs(15 * 60);
/// A tenant's file that could not be read is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A file that must be readable at the start.
#[derive(Debug)]
pub struct StrategyFile {
    settings: SamplingFile,
    content: Content,
    current: ArcSwap<StrategySet>,
    metrics: Metrics,
}

impl StrategyFile {
    /// Reads the file. Errors: it is missing or refused; the text names what is wrong.
    pub async fn load(settings: SamplingFile, metrics: Metrics) -> Result<Arc<Self>, Error> {
        let refused = |reason| Error::File { path: without_passwords(&settings.path), reason };
        let content = Content::new(&settings).map_err(refused)?;
        let current =
            ArcSwap::from_pointee(StrategySet::uniform(settings.default_sampling_probability));
        if let Some(set) = content.read().await.map_err(refused)? {
            current.store(Arc::new(set));
        }
        metrics.last_reload_successful.set(1.0);
        Ok(Arc::new(Self { content, current, settings, metrics }))
    }

    /// The strategies as of now.
    pub fn current(&self) -> Arc<StrategySet> {
        self.current.load_full()
    }

    /// Reads the file again if it has changed. If it cannot be read, nothing changes.
    pub(crate) async fn reload(&self) {
        match self.content.read().await {
            Ok(changed) => {
                self.metrics.last_reload_successful.set(1.0);
                if let Some(set) = changed {
                    self.current.store(Arc::new(set));
                    let file = without_passwords(&self.settings.path);
                    tracing::info!(file, "sampling strategies are read again");
                }
            }
            Err(reason) => {
                self.metrics.last_reload_successful.set(0.0);
                self.content.refuse(&reason, &self.metrics);
            }
        }
    }

    /// Reloads each `reload_interval` until `stop`, which does not wait for a disk or a server that hangs.
    pub(crate) async fn watch(&self, stop: &CancellationToken) {
        while pause(self.settings.reload_interval.as_std(), stop).await {
            stop.run_until_cancelled(self.reload()).await;
        }
    }
}

/// Files of tenants, which are read when first requested. The operator's limits of tenants determine how many there
/// are. Files that are not used any more are dropped.
#[derive(Debug)]
pub(crate) struct TenantFiles {
    settings: SamplingFile,
    by_path: Mutex<HashMap<String, Arc<TenantFile>>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct TenantFile {
    /// `Err`: why no such file can be read.
    content: Result<Content, String>,
    current: ArcSwapOption<StrategySet>,
    asked: Mutex<Instant>,
    /// When reading was last attempted. Locked while the file is read for the first time.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

impl TenantFiles {
    pub(crate) fn new(settings: &SamplingFile, metrics: Metrics) -> Self {
        Self { settings: settings.clone(), by_path: Mutex::default(), metrics }
    }

    /// `None` if the file could not be read yet.
    pub(crate) async fn of(&self, path: &str) -> Option<Arc<StrategySet>> {
        let file = self.known(path);
        *file.asked.lock() = Instant::now();
        if let Some(set) = file.current.load_full() {
            return Some(set);
        }
        let mut tried = file.tried.lock().await;
        let is_due = tried.is_none_or(|tried| tried.elapsed() >= RETRY_AFTER);
        if file.current.load().is_none() && is_due {
            *tried = Some(Instant::now());
            self.read(path, &file).await;
        }
        file.current.load_full()
    }

    fn known(&self, path: &str) -> Arc<TenantFile> {
        let mut files = self.by_path.lock();
        if let Some(file) = files.get(path) {
            return Arc::clone(file);
        }
        let settings = SamplingFile { path: path.to_owned(), ..self.settings.clone() };
        let file = Arc::new(TenantFile {
            content: Content::new(&settings),
            current: ArcSwapOption::empty(),
            asked: Mutex::new(Instant::now()),
            tried: tokio::sync::Mutex::new(None),
        });
        files.insert(path.to_owned(), Arc::clone(&file));
        file
    }

    async fn read(&self, path: &str, file: &TenantFile) {
        let content = match &file.content {
            Ok(content) => content,
            Err(reason) => {
                let file = without_passwords(path);
                tracing::error!(file, reason, "sampling strategies of a tenant are refused");
                self.metrics.reload_failures.inc();
                return;
            }
        };
        match content.read().await {
            Ok(Some(set)) => file.current.store(Some(Arc::new(set))),
            Ok(None) => {}
            Err(reason) => content.refuse(&reason, &self.metrics),
        }
    }

    pub(crate) async fn watch(&self, stop: &CancellationToken) {
        while pause(self.settings.reload_interval.as_std(), stop).await {
            let files: Vec<_> = {
                let mut files = self.by_path.lock();
                files.retain(|_, file| file.asked.lock().elapsed() < KEEP_UNUSED);
                files.iter().map(|(path, file)| (path.clone(), Arc::clone(file))).collect()
            };
            for (path, file) in files {
                if file.current.load().is_some() {
                    stop.run_until_cancelled(self.read(&path, &file)).await;
                }
            }
        }
    }
}

/// The largest file of strategies, in bytes. Real ones are smaller, but the server of a URL may send anything.
const MAX_BYTES: u64 = 16 << 20;
/// Limit of a request for the file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);

/// A file as strategies.
#[derive(Debug)]
struct Content {
    /// `None`: no file is configured, so every service gets the default probability.
    file: Option<WatchedFile>,
    default_probability: f64,
}

impl Content {
    /// Errors: no client for a URL.
    fn new(settings: &SamplingFile) -> Result<Self, String> {
        let watched = |place| Location::new(place, MAX_BYTES, FETCH_TIMEOUT).map(WatchedFile::new);
        let place = settings.path.as_str();
        Ok(Self {
            file: (!place.is_empty()).then(|| watched(place)).transpose()?,
            default_probability: settings.default_sampling_probability,
        })
    }

    /// `None` if there is no file, or if it has not changed since it was last read.
    async fn read(&self) -> Result<Option<StrategySet>, String> {
        let Some(file) = &self.file else { return Ok(None) };
        let content = match file.read().await {
            // As in Jaeger, status 503 counts as a file without strategies.
            Err(ReadError::Status(status)) if status.as_u16() == 503 => {
                tactus_operator_files::Content::new(b"null".to_vec())
            }
            read => read.map_err(|error| error.to_string())?,
        };
        if file.is_used(&content) {
            return Ok(None);
        }
        let parsed = parse_document(&content.bytes, self.default_probability);
        let (set, warnings) = parsed.map_err(|error| error.to_string())?;
        for warning in warnings {
            let file = without_passwords(file.place());
            tracing::warn!(file, "sampling strategies: {warning}");
        }
        file.used(&content);
        Ok(Some(set))
    }

    /// Counts a failure, and says each reason once.
    fn refuse(&self, reason: &str, metrics: &Metrics) {
        metrics.reload_failures.inc();
        if let Some(file) = self.file.as_ref().filter(|file| file.refused(reason)) {
            let file = without_passwords(file.place());
            tracing::error!(file, reason, "sampling strategies are refused, the old ones stay");
        }
    }
}

/// Waits for this time. Returns false when it is time to stop, and at once if the time is zero.
async fn pause(period: Duration, stop: &CancellationToken) -> bool {
    !period.is_zero() && stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some()
}

#[cfg(test)]
mod tests;
