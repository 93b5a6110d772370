//! What members remember of instances that nobody hears of any more.

use std::collections::{BTreeMap, HashMap};

use chitchat::ChitchatId;
use tokio::time::Instant;

use super::{Ledger, Node};
use crate::instance::State;
use crate::news::{Claim, News, Tombstone};

impl Ledger {
    /// Updates the instances that members remember, with tokens for which there is room.
    pub(super) fn take_recalled(&mut self, now: Instant, mut room: usize) {
        let mut starts: HashMap<&str, u64> = HashMap::new();
        for id in self.nodes.keys() {
            let start = starts.entry(&id.node_id).or_default();
            *start = id.generation_id.max(*start);
        }
        // Former starts of a member may still be passed on, with what it remembered then.
        let is_latest =
            |node: &&Node| starts.get(&*node.id.node_id) == Some(&node.id.generation_id);
        let mut latest: HashMap<(String, String), &Claim> = HashMap::new();
        for claim in self.nodes.values().filter(is_latest).flat_map(|node| &node.news.recalled) {
            let known = latest.entry((claim.ring.clone(), claim.id.clone())).or_insert(claim);
            if known.incarnation < claim.incarnation {
                *known = claim;
            }
        }
        let mut former = std::mem::take(&mut self.recalled);
        for (key, claim) in latest {
            let node = former.remove(&key).filter(|node| node.news.claims[..] == [claim.clone()]);
            let node = node.unwrap_or_else(|| {
                let id = ChitchatId::new(&*claim.id, claim.incarnation, ([0, 0, 0, 0], 0).into());
                let mut node = Node { recalled: true, ..Node::new(id, 0, now) };
                node.take(News { claims: vec![claim.clone()], ..News::default() }, room);
                node
            });
            room = room.saturating_sub(node.token_count());
            self.recalled.insert(key, node);
        }
    }

    /// Whether a remembered claim is of no more use: its instance was heard of since, has left or was forgotten.
    pub(crate) fn supersedes(&self, remembered: &Claim, now: Instant) -> bool {
        let key = (remembered.ring.clone(), remembered.id.clone());
        let forgotten = self.forgotten.get(&key);
        forgotten.is_some_and(|it| it.incarnation >= remembered.incarnation)
            || self.claims_like(remembered).any(|(node, claim)| {
                let is_same = claim.incarnation == remembered.incarnation;
                claim.incarnation > remembered.incarnation
                    || is_same && (claim.state == State::Left || self.is_heard(node, now))
            })
    }

    /// Ids and incarnations of the instances of a ring that left or were forgotten.
    pub(crate) fn gone(&self, ring: &str) -> impl Iterator<Item = (&str, u64)> {
        let claims = self.nodes.values().flat_map(|node| &node.news.claims);
        let left = claims.filter(move |claim| claim.ring == ring && claim.state == State::Left);
        let left = left.map(|claim| (&*claim.id, claim.incarnation));
        let forgotten = self.forgotten.iter().filter(move |((of, _), _)| of == ring);
        left.chain(forgotten.map(|((_, id), forgotten)| (&**id, forgotten.incarnation)))
    }

    /// Tombstones of instances that are gone, by id, and that a member remembers from an older file.
    pub(crate) fn recalled_again(
        &self,
        ring: &str,
        gone: &BTreeMap<String, u64>,
    ) -> Vec<Tombstone> {
        let recalled = self.recalled.iter().filter(|((of, _), _)| of == ring);
        let again = recalled.filter_map(|(key, node)| {
            let incarnation = *gone.get(&key.1)?;
            let is_old = node.news.claims.iter().all(|claim| claim.incarnation <= incarnation);
            let is_said = self.forgotten.get(key).is_some_and(|it| it.incarnation >= incarnation);
            let (ring, id) = key.clone();
            (is_old && !is_said).then_some(Tombstone { ring, id, incarnation })
        });
        again.collect()
    }

    /// Whether the instance of a remembered claim has been there ever since.
    pub(crate) fn is_alive_since(&self, remembered: &Claim, now: Instant) -> bool {
        self.claims_like(remembered).any(|(node, claim)| {
            claim.incarnation == remembered.incarnation && self.is_heard(node, now)
        })
    }

    /// The claims of members to the same place in a ring.
    fn claims_like(&self, one: &Claim) -> impl Iterator<Item = (&Node, &Claim)> {
        self.nodes.values().flat_map(|node| {
            let claims = node.news.claims.iter().map(move |claim| (node, claim));
            claims.filter(|(_, claim)| claim.ring == one.ring && claim.id == one.id)
        })
    }
}
