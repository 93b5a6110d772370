//! Prepares this ingester to be removed: `/ingester/prepare-downscale`.
//!
//! A prepared ingester accepts no more writes. When it stops, it uploads everything to object storage and leaves the
//! ring, however long that takes. A file in its directory keeps this state across restarts.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
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
    marker: PathBuf,
    /// True if the marker exists. Readers use this copy, so that they never wait for the disk.
    is_prepared: AtomicBool,
    cluster: Cluster,
}

impl Downscale {
    /// Starts in the state that an earlier process left.
    pub(crate) fn new(directory: &std::path::Path, cluster: Cluster) -> Self {
        let marker = directory.join(MARKER);
        let is_prepared = AtomicBool::new(marker.exists());
        let downscale = Self(Arc::new(Inner { marker, is_prepared, cluster }));
        downscale.0.cluster.set_ingester_read_only(downscale.is_prepared());
        downscale
    }

    pub(crate) fn is_prepared(&self) -> bool {
        self.0.is_prepared.load(Ordering::Acquire)
    }

    async fn set(&self, prepared: bool) -> io::Result<()> {
        let downscale = self.clone();
        tokio::task::spawn_blocking(move || downscale.set_now(prepared)).await?
    }

    fn set_now(&self, prepared: bool) -> io::Result<()> {
        match prepared {
            true => fs::write(&self.0.marker, "")?,
            false => match fs::remove_file(&self.0.marker) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.0.is_prepared.store(prepared, Ordering::Release);
        self.0.cluster.set_ingester_read_only(prepared);
        tracing::info!(prepared, "prepare-downscale");
        Ok(())
    }

    /// GET returns the state, POST prepares, DELETE cancels.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/ingester/prepare-downscale", get(show).post(prepare).delete(take_back))
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

fn answer(result: io::Result<()>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let message = format!("prepare-downscale: {error}");
            error_line(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}
