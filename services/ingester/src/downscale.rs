//! Prepares this ingester to be removed: `/ingester/prepare-downscale`.
//!
//! A prepared ingester accepts no more writes. When it stops, it uploads everything to object storage and leaves the
//! ring, however long that takes. A file in its directory keeps this state across restarts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use tactus_process::Cluster;
use tactus_server::http::{error_line, text};

/// Name of the file below the ingester's directory.
const MARKER: &str = "prepare-downscale";

/// Whether the ingester is prepared. Clones share the state.
#[derive(Debug, Clone)]
pub(crate) struct Downscale(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    marker: Marker,
    cluster: Cluster,
}

/// The file that keeps the state.
#[derive(Debug)]
struct Marker {
    path: PathBuf,
    /// True if the file exists. Readers use this copy, so that they never wait for the disk.
    exists: AtomicBool,
    /// Requests may arrive at the same time; the file and what is told of it must not differ afterwards.
    changing: Mutex<()>,
}

impl Marker {
    fn new(path: PathBuf) -> Self {
        let exists = AtomicBool::new(path.exists());
        Self { path, exists, changing: Mutex::default() }
    }

    fn exists(&self) -> bool {
        self.exists.load(Ordering::Acquire)
    }

    /// Creates or deletes the file, and then calls `tell`.
    fn set(&self, exists: bool, tell: impl FnOnce()) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match exists {
            true => fs::write(&self.path, "")?,
            false => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.exists.store(exists, Ordering::Release);
        tell();
        Ok(())
    }
}

impl Downscale {
    /// Starts in the state that an earlier process left.
    pub(crate) fn new(directory: &Path, cluster: Cluster) -> Self {
        let marker = Marker::new(directory.join(MARKER));
        let downscale = Self(Arc::new(Inner { marker, cluster }));
        downscale.0.cluster.set_ingester_read_only(downscale.is_prepared());
        if downscale.is_prepared() {
            tracing::warn!(
                marker = %downscale.0.marker.path.display(),
                "this ingester is prepared for removal: it is ready but takes no spans; DELETE /ingester/prepare-downscale undoes that"
            );
        }
        downscale
    }

    pub(crate) fn is_prepared(&self) -> bool {
        self.0.marker.exists()
    }

    async fn set(&self, prepared: bool) -> io::Result<()> {
        let downscale = self.clone();
        tokio::task::spawn_blocking(move || downscale.set_now(prepared)).await?
    }

    fn set_now(&self, prepared: bool) -> io::Result<()> {
        self.0.marker.set(prepared, || {
            self.0.cluster.set_ingester_read_only(prepared);
            tracing::info!(prepared, "prepare-downscale");
        })
    }

    /// GET returns the state, POST prepares, DELETE cancels.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/ingester/prepare-downscale", get(show).post(prepare).delete(take_back))
            .route(
                "/ingester/prepare-partition-downscale",
                get(no_partitions).post(no_partitions).delete(no_partitions),
            )
            .with_state(self.clone())
    }
}

async fn show(State(downscale): State<Downscale>) -> Response {
    text(StatusCode::OK, if downscale.is_prepared() { "set\n" } else { "unset\n" })
}

async fn prepare(State(downscale): State<Downscale>) -> Response {
    answer(downscale.set(true).await)
}

async fn take_back(State(downscale): State<Downscale>) -> Response {
    answer(downscale.set(false).await)
}

/// As Tempo answers without Kafka. Operators of Kubernetes call it.
async fn no_partitions() -> Response {
    let text = "there are no partitions here: use /ingester/prepare-downscale";
    error_line(StatusCode::METHOD_NOT_ALLOWED, text)
}

fn answer(result: io::Result<()>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let message = format!("prepare-downscale: {error}");
            error_line(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[test]
    fn requests_at_the_same_time_leave_what_they_tell() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker::new(folder.path().join(MARKER));
        let told = AtomicBool::new(false);
        let barrier = Barrier::new(2);
        let set_often = |exists| {
            (0..2_000).fold(true, |all_told, _| {
                barrier.wait();
                let set = marker.set(exists, || told.store(exists, Ordering::Release));
                barrier.wait();
                let found = marker.path.exists();
                let is_told = marker.exists() == found && told.load(Ordering::Acquire) == found;
                all_told & is_told & set.is_ok()
            })
        };
        let all_told = thread::scope(|scope| {
            let other = scope.spawn(|| set_often(true));
            set_often(false) & other.join().unwrap()
        });
        assert!(all_told, "the file differs from what is told of it");
    }
}
