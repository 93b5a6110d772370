//! Finds the time slots that a server has acknowledged, from its own newest traces.

use std::time::Duration;

use http::HeaderValue;

use super::compare;
use super::content::Derivation;
use super::queries::history_path;
use super::server::QueryServer;
use super::written::Written;
use crate::error::Failure;

/// The ranges that are searched one after the other, each from the previous one back to this long ago. The last is the
/// retention.
const RANGES: [Duration; 4] = [
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The slots that the server has acknowledged within `retention` before `now`, as its own newest traces tell.
///
/// Errors: a query failed. An answer without traces is an empty set.
pub(crate) async fn read(
    server: &QueryServer,
    tenant: Option<&HeaderValue>,
    derivation: &Derivation,
    now: Duration,
    retention: Duration,
) -> Result<Written, Failure> {
    let mut written = Written::default();
    let mut end = now + Duration::from_secs(60);
    let ranges = RANGES.into_iter().filter(|&range| range < retention).chain([retention]);
    for ago in ranges {
        let start = now.saturating_sub(ago);
        let path = history_path(derivation.origin(), start, end);
        let answer = server.get(&path, "application/json", tenant).await?;
        let traces = compare::history(&answer.unwrap_or_default())
            .map_err(|error| Failure::Failed(format!("the answer is not understood: {error}")))?;
        for (slot, before) in traces {
            written.merge(&before);
            // The rest of a divided trace may never have been sent.
            if !Derivation::is_divided(slot) {
                written.insert(slot);
            }
        }
        end = start;
    }
    written.forget_before(derivation.slot(now.saturating_sub(retention)));
    Ok(written)
}
