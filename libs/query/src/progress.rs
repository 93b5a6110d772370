//! Intermediate results of streamed queries: what is sent to the client, when, and in messages of which size.
//!
//! A query reports its state after each answer to a job. If the client has taken the last message and enough time has
//! passed, it is sent the difference to what it knows.

mod metrics;
pub(crate) mod outlet;
pub(crate) mod packets;
mod pending;
mod weight;

use tactus_api::search::SearchCombiner;
use tactus_proto::tempopb::{SearchMetrics, SearchResponse};

pub(crate) use metrics::MetricsProgress;
use outlet::Outlet;
use pending::Pending;
pub(crate) use weight::{TEXT_TIMES, Weight, series_bytes};

/// What a streamed search shows of itself.
#[derive(Debug)]
pub(crate) struct SearchProgress {
    outlet: Outlet<SearchResponse>,
    packet_bytes: usize,
    /// The client is not told what is in the answer, and adds up what it is sent.
    pub(crate) adds_up: bool,
    pub(crate) pending: Pending,
    /// Jobs were answered since the last difference.
    has_news: bool,
    /// Nothing was found that the client was shown.
    is_awaited: bool,
}

impl SearchProgress {
    pub(crate) fn new(outlet: Outlet<SearchResponse>, packet_bytes: usize, adds_up: bool) -> Self {
        let pending = Pending::new();
        Self { outlet, packet_bytes, adds_up, pending, has_news: false, is_awaited: true }
    }

    /// A job was answered.
    pub(crate) fn has_news(&mut self) {
        self.has_news = true;
    }

    /// Sends the traces that are new or changed, if there is news and it is time.
    ///
    /// Of a search for the most recent traces only those that no job can find newer ones than.
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
