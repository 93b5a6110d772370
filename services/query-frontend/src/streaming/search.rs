//! Differences of a search.

use tactus_api::search::SearchCombiner;
use tactus_proto::tempopb::{SearchMetrics, SearchResponse};

use super::outlet::Outlet;
use super::packets;
use super::pending::Pending;

/// What a streamed search shows of itself.
#[derive(Debug)]
pub(crate) struct SearchProgress {
    outlet: Outlet<SearchResponse>,
    packet_bytes: usize,
    pub(crate) pending: Pending,
}

impl SearchProgress {
    pub(super) fn new(outlet: Outlet<SearchResponse>, packet_bytes: usize) -> Self {
        Self { outlet, packet_bytes, pending: Pending::new() }
    }

    /// Sends the traces that are new or changed, if it is time.
    ///
    /// Of a search for the most recent traces only those that no job can find newer ones than.
    pub(crate) fn tell(
        &mut self,
        combiner: &mut SearchCombiner,
        metrics: SearchMetrics,
        most_recent: bool,
    ) {
        let Some(place) = self.outlet.place() else { return };
        let after = if most_recent { self.pending.bound() } else { 0 };
        let traces = combiner.take_changes(after);
        let difference = SearchResponse { traces, metrics: Some(metrics) };
        place.send(packets::search(difference, self.packet_bytes));
    }
}
