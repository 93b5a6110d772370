//! A compactor as part of a process.

use std::sync::Arc;
use std::time::Duration;

use tactus_block_lifecycle::{Compactor, http};
use tactus_process::{Error, Part, Process, settings::tenancy};

use crate::from_config;

/// When the process stops, a call of object storage may take this long.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Merges and deletes blocks in the background, unless that is turned off in the configuration.
///
/// Errors: invalid settings; object storage that refuses us.
pub async fn part(process: &Process) -> Result<Part, Error> {
    let config = process.config();
    let store = process.store().await?;
    let compactor = Compactor::new(
        from_config::settings(config, Arc::clone(process.overrides()))?,
        store.bucket,
        store.blocklist,
        process.cluster().compactor_owns(),
        process.registry(),
    );
    let mut part = Part::new("compactor");
    part.endpoints = vec!["/api/jobs", "/api/jobs/{id}"];
    part.change = http::router(Arc::clone(&compactor), tenancy(config, false));
    if !from_config::is_enabled(config) {
        let key = match config.compactor.disabled {
            true => "compactor.disabled",
            false => "storage.trace.blocklist_poll: 0",
        };
        tracing::info!("{key}: this process neither merges nor deletes blocks");
        return Ok(part);
    }
    let stop = process.background().child_token();
    let (ring, stopped) = (process.cluster().clone(), stop.clone());
    let (ended, end) = tokio::sync::oneshot::channel();
    part.start = Some(Box::pin(async move {
        ring.compactors().join().await;
        tokio::spawn(async move {
            compactor.run(stopped).await;
            let _ = ended.send(());
        });
        Ok(())
    }));
    let ring = process.cluster().clone();
    part.stop = Some(Box::pin(async move {
        stop.cancel();
        if tokio::time::timeout(STOP_GRACE, end).await.is_err() {
            tracing::warn!(
                "the compactor still waits for object storage: what it does is given up, as if it was killed"
            );
        }
        ring.compactors().leave().await;
    }));
    Ok(part)
}

/// A process with only a compactor.
///
/// Errors: as for [`part`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    Ok(vec![part(process).await?])
}

/// Errors: invalid settings.
pub async fn check(process: &Process) -> Result<(), Error> {
    from_config::settings(process.config(), Arc::clone(process.overrides())).map(drop)
}
