//! Makes sure that others have seen what this process announced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::shared::Shared;

/// Members asked at a time.
const CONCURRENCY: usize = 16;
/// Failed questions in a row after which a member counts as gone.
const MAX_FAILURES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// How many others have seen the news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Members whose rings show it.
    pub seen: usize,
    /// Members that are alive.
    pub of: usize,
}

impl Shared {
    /// Gossips our news with every member that is alive, and waits, for at most the leave timeout,
    /// until the rings of each show them.
    pub(crate) async fn confirm(self: &Arc<Self>) -> Confirmed {
        let version = self.say().await;
        self.refresh().await;
        let Some(settings) = self.gossip_settings() else { return Confirmed { seen: 0, of: 0 } };
        let peers: Vec<SocketAddr> = self.record.with_ledger(|ledger, now| {
            let others = ledger
                .nodes()
                .filter(|node| !node.is_own() && !node.has_left() && ledger.is_present(node, now));
            others.map(|node| node.id.gossip_advertise_addr).collect()
        });
        let of = peers.len();
        let places = Arc::new(Semaphore::new(CONCURRENCY));
        let mut asked = JoinSet::new();
        for peer in peers {
            let (shared, places) = (Arc::clone(self), Arc::clone(&places));
            asked.spawn(async move {
                let _place = places.acquire().await;
                shared.confirm_with(peer, version).await
            });
        }
        let mut seen = 0;
        let count = async {
            while let Some(confirmed) = asked.join_next().await {
                seen += usize::from(confirmed.unwrap_or(false));
            }
        };
        let _ = timeout(settings.leave_timeout, count).await;
        Confirmed { seen, of }
    }

    async fn confirm_with(&self, peer: SocketAddr, version: u64) -> bool {
        let Some(gossip) = &self.gossip else { return false };
        let (mut pause, mut failures) = (FIRST_PAUSE, 0);
        while failures < MAX_FAILURES {
            let _ = gossip.handle.gossip(peer);
            tokio::time::sleep(pause).await;
            let name = &self.id.node_id;
            match gossip.wire.probe(peer, name, self.id.generation_id).await {
                Ok(known) if known >= version => return true,
                Ok(_) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%peer, error, "member does not confirm our news");
                }
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
        false
    }
}
