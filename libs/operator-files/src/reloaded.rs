//! Values made from files, which are made again when the files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use tactus_telemetry::error_text;
use tactus_telemetry::metrics::{Counter, Gauge, Registry};

type Load<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;

/// A value made from files. [`get`](Self::get) checks the files at most once in an interval, and makes the value again
/// if one of them has changed. If that fails, the old value stays, which is logged and counted in
/// `tactus_file_reload_failures_total`.
pub struct Reloaded<T, E> {
    name: String,
    files: Vec<PathBuf>,
    interval: Duration,
    load: Load<T, E>,
    current: RwLock<Arc<T>>,
    watch: Mutex<Watch>,
    successful: Gauge,
    failures: Counter,
}

struct Watch {
    looked: Instant,
    seen: Vec<Option<Stamp>>,
    failing: bool,
}

/// What changes whenever a file is written or replaced, or its symbolic link points elsewhere.
#[derive(PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl<T, E> fmt::Debug for Reloaded<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("name", &self.name).field("files", &self.files).finish()
    }
}

impl<T, E: std::error::Error> Reloaded<T, E> {
    /// Makes the value for the first time. `name` is a label of the metrics: the section or key of the configuration.
    /// Errors: those of `load`.
    pub fn new(
        name: &str,
        files: Vec<PathBuf>,
        interval: Duration,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Taken before the files are read, so that the first check notices a change in between.
        let seen = stamps(&files);
        let current = RwLock::new(Arc::new(load()?));
        let registry = Registry::global();
        let successful = registry.gauge_vec(
            "tactus_file_reload_successful",
            "Whether the files of a section of the configuration could be used at the last look.",
            ["section"],
        );
        let failures = registry.counter_vec(
            "tactus_file_reload_failures_total",
            "Changed files that could not be used, so that the former content stays in use.",
            ["section"],
        );
        let (successful, failures) = (successful.with([name]), failures.with([name]));
        successful.set(1.0);
        Ok(Self {
            name: name.to_owned(),
            files,
            interval,
            load: Box::new(load),
            current,
            watch: Mutex::new(Watch { looked: Instant::now(), seen, failing: false }),
            successful,
            failures,
        })
    }

    /// The value of the files as they were at most an interval ago. Reads small files on the calling thread.
    pub fn get(&self) -> Arc<T> {
        // If another thread holds the lock, return the old value, which was valid a moment ago.
        if let Some(mut watch) = self.watch.try_lock()
            && watch.looked.elapsed() >= self.interval
        {
            watch.looked = Instant::now();
            self.look(&mut watch);
        }
        self.current.read().clone()
    }

    fn look(&self, watch: &mut Watch) {
        let now = stamps(&self.files);
        let changed = now != watch.seen;
        // Files that failed are tried again, because not every cause, such as a lost mount, changes their stamps.
        if !changed && !watch.failing {
            return;
        }
        watch.seen = now;
        match (self.load)() {
            Ok(value) => {
                *self.current.write() = Arc::new(value);
                watch.failing = false;
                self.successful.set(1.0);
                tracing::info!(section = self.name, "changed files are in use");
            }
            Err(error) => {
                if changed {
                    let error = error_text(&error);
                    tracing::error!(section = self.name, error, "changed files cannot be used");
                    self.failures.inc();
                }
                watch.failing = true;
                self.successful.set(0.0);
            }
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    #[cfg(unix)]
    use std::os::unix::fs::MetadataExt;
    Some(Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        #[cfg(unix)]
        inode: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn number(file: PathBuf, interval: Duration) -> Reloaded<u32, io::Error> {
        let load = {
            let file = file.clone();
            move || {
                let text = std::fs::read_to_string(&file)?;
                text.trim().parse().map_err(io::Error::other)
            }
        };
        Reloaded::new("test", vec![file], interval, load).unwrap()
    }

    #[test]
    fn changed_file_is_read_and_a_broken_one_keeps_the_old_value() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let value = number(file.clone(), Duration::ZERO);
        assert_eq!(*value.get(), 1);
        std::fs::write(&file, "2").unwrap();
        assert_eq!(*value.get(), 2);
        std::fs::write(&file, "x").unwrap();
        assert_eq!(*value.get(), 2);
        assert_eq!((value.successful.get(), value.failures.get()), (0.0, 1));
        // The same broken file counts as one failure, however often it is checked.
        assert_eq!((*value.get(), value.failures.get()), (2, 1));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(*value.get(), 2);
        std::fs::write(&file, "3").unwrap();
        assert_eq!((*value.get(), value.successful.get()), (3, 1.0));
    }

    #[test]
    fn file_replaced_through_a_symbolic_link_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), "1").unwrap();
        std::fs::write(path("b"), "2").unwrap();
        std::os::unix::fs::symlink(path("a"), path("current")).unwrap();
        let value = number(path("current"), Duration::ZERO);
        std::os::unix::fs::symlink(path("b"), path("next")).unwrap();
        std::fs::rename(path("next"), path("current")).unwrap();
        assert_eq!(*value.get(), 2);
    }

    #[test]
    fn files_are_not_looked_at_before_the_interval_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let value = number(file.clone(), Duration::from_secs(3600));
        std::fs::write(&file, "2").unwrap();
        assert_eq!(*value.get(), 1);
    }
}
