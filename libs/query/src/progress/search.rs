//! Intermediate results of a search.

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
    /// Jobs were answered since the last difference.
    has_news: bool,
    /// Nothing was found that the client was shown.
    is_awaited: bool,
}

impl SearchProgress {
    pub(crate) fn new(outlet: Outlet<SearchResponse>, packet_bytes: usize) -> Self {
        let pending = Pending::new();
        Self { outlet, packet_bytes, pending, has_news: false, is_awaited: true }
    }

    /// A job was answered.
    pub(crate) fn has_news(&mut self) {
        self.has_news = true;
    }

    /// Sends the traces that are new or changed, if there are any and it is time.
    ///
    /// For a search for the most recent traces, sends only those that no remaining job can precede with newer ones.
    pub(crate) fn tell(
        &mut self,
        combiner: &mut SearchCombiner,
        metrics: SearchMetrics,
        most_recent: bool,
    ) {
        if !self.has_news {
            return;
        }
        let Some(place) = self.outlet.place(self.is_awaited) else { return };
        self.has_news = false;
        let after = if most_recent { self.pending.bound() } else { 0 };
        let traces = combiner.take_changes(after);
        self.is_awaited &= traces.is_empty();
        let difference = SearchResponse { traces, metrics: Some(metrics) };
        place.send(packets::search(difference, self.packet_bytes));
    }
}
