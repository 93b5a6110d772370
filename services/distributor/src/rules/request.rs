//! Rules on a request on its way through the distributor.

use std::sync::Arc;

use tactus_receivers::PushError;

use super::{RuleBook, RuleSet};
use crate::{Arrived, Distributor, malformed, push::CheckedExport};

/// Rules on larger requests take a thread of their own.
pub(crate) const SMALL_REQUEST_BYTES: usize = 32 << 10;

impl Distributor {
    /// Checks a request and puts what the rules leave of it in its place; returns the spans that they dropped.
    pub(crate) async fn apply_rules(
        &self,
        request: &mut Arrived<'_>,
        book: &RuleBook,
        rules: Arc<RuleSet>,
    ) -> Result<u64, PushError> {
        let export = CheckedExport::read(&request.bytes, |_| {}).map_err(malformed)?;
        if export.received == 0 {
            return Ok(0);
        }
        self.check(request, &export)?;
        let (bytes, set) = (request.bytes.clone(), Arc::clone(&rules));
        let applied = if bytes.len() <= SMALL_REQUEST_BYTES {
            set.apply(&bytes)
        } else {
            tokio::task::spawn_blocking(move || set.apply(&bytes))
                .await
                .map_err(|error| PushError::Internal(error.to_string()))?
        };
        let applied = applied.map_err(malformed)?;
        book.count(request.tenant, &rules, &applied);
        self.metrics.discard(request.tenant, "drop_rule", applied.dropped);
        request.bytes = applied.request;
        Ok(applied.dropped)
    }
}
