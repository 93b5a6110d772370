//! Where the query-frontends are.

use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Every address of a name `host:port`, or of several with commas between them, as `address:port`.
///
/// Errors: a name is unknown, or has no port.
pub async fn addresses_of(names: &str) -> std::io::Result<Vec<String>> {
    let mut addresses = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        addresses.extend(lookup_host(name).await?.map(|address| address.to_string()));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Looks a name up so often, until `stop`, and publishes its addresses. While it has none the last ones hold.
pub async fn keep_resolving(
    name: String,
    every: Duration,
    addresses: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    let mut failed = false;
    loop {
        match addresses_of(&name).await {
            Ok(found) => {
                failed = false;
                addresses.send_if_modified(|known| {
                    let differs = *known != found;
                    if differs {
                        tracing::info!(name, addresses = ?found, "query-frontends found");
                        *known = found;
                    }
                    differs
                });
            }
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(name, %error, "cannot find the query-frontends, keeping those known");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(every.max(Duration::from_millis(100))) => {}
            () = stop.cancelled() => return,
        }
    }
}
