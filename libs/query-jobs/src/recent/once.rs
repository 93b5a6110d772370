//! Searches in which each trace is evaluated by one ingester, instead of by all that have it.
//!
//! First all ingesters report which origins (see `tactus_model`) they have completely. Then each gets this list, in an
//! order that depends on the query, and leaves out traces of which an earlier ingester in the order has every span. If
//! one of them is slow, fails, has released something meanwhile or lacks spans that its disk cannot read, all are asked to
//! evaluate everything. One that was slow or failed takes no turn for some seconds or until it starts again, if the others
//! hold everything.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tactus_model::OriginSet;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::{
    Holder, HoldingsRequest, HoldingsResponse, SearchRequest, SearchResponse,
};
use tactus_ring::ReadSet;
use tactus_rpc::QueryContext;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::ask::{Answers, Question};
use super::{RecentData, service::call};

/// Ingesters can report what they have at once. One that takes longer than this is not waited for.
pub(super) const HOLDINGS_TIMEOUT: Duration = Duration::from_secs(1);
/// A report is used for further searches for this long. Newer spans are evaluated by each ingester that has them.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// Tenants whose reports are cached.
const MAX_KEPT: usize = 1_000;

/// The latest reports of ingesters, by tenant.
#[derive(Default)]
pub(super) struct KeptHoldings(Mutex<HashMap<String, Kept>>);

/// When the ingesters were asked, and their reports.
type Kept = (Instant, Arc<Vec<Holder>>);

impl KeptHoldings {
    /// The report of each ingester of a read set, if all of them are there.
    fn of(&self, tenant: &str, set: &ReadSet) -> Option<Arc<Vec<Holder>>> {
        let kept =
            self.0.lock().get(tenant).filter(|kept| is_new(kept)).map(|kept| Arc::clone(&kept.1));
        // An ingester that joined since may have spans that no other has.
        kept.filter(|holders| is_of(holders, set))
    }

    fn keep(&self, tenant: &str, asked: Instant, holders: &Arc<Vec<Holder>>) {
        let mut kept = self.0.lock();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, kept| is_new(kept));
        }
        if kept.len() < MAX_KEPT {
            kept.insert(tenant.to_owned(), (asked, Arc::clone(holders)));
        }
    }

    fn forget(&self, tenant: &str) {
        self.0.lock().remove(tenant);
    }
}

fn is_new(kept: &Kept) -> bool {
    kept.0.elapsed() < KEPT_FOR
}

/// True if these are the ingesters of a read set.
fn is_of(holders: &[Holder], set: &ReadSet) -> bool {
    let is_there = |id: &str| holders.iter().any(|holder| holder.ingester_id == id);
    holders.len() == set.instances.len() && set.instances.iter().all(|it| is_there(&it.id))
}

impl RecentData {
    /// Answers in which each trace was evaluated once; `None` if all ingesters have to evaluate everything.
    ///
    /// Errors: those of the query itself.
    pub(super) async fn search_once(
        &self,
        set: &ReadSet,
        context: QueryContext,
        search: &SearchRequest,
    ) -> Result<Option<Answers<SearchResponse>>, Status> {
        if self.parts.ring.view().replication_factor() < 2 || set.instances.len() < 2 {
            return Ok(None);
        }
        let others = self.silent.leave_out_of(set.clone());
        let Some(holders) = self.whole_of(&others, context, &search.tenant).await else {
            return Ok(None);
        };
        if holders.len() < 2 || holders.iter().all(|holder| holder.complete.is_empty()) {
            return Ok(None);
        }
        // Those that are left out may answer by now, and are asked if one of these does not. So these are not waited for any
        // longer than if nobody were left out.
        let others = ReadSet { tolerance: set.tolerance, ..others };
        let Ok(asked) = self.holders(&others, &holders) else { return Ok(None) };
        let request =
            SearchRequest { holders: in_order(&holders, &search.query), ..search.clone() };
        let lacks_spans = |answer: &SearchResponse| answer.partial;
        let question = self.question("search", (context, request), call!(search), lacks_spans);
        match self.ask_some(&asked, Question { needs_all: true, ..question }).await {
            Ok(answers) if !answers.partial => return Ok(Some(answers)),
            Ok(answers) => self.silent.note(&asked, &answers.silent),
            Err(status) if status.code() != Code::Aborted => return Err(status),
            Err(_) => {}
        }
        self.holdings.forget(&search.tenant);
        Ok(None)
    }

    /// The complete origins of each ingester of which no trace was dropped; `None` if too few ingesters answer.
    async fn whole_of(
        &self,
        set: &ReadSet,
        context: QueryContext,
        tenant: &str,
    ) -> Option<Arc<Vec<Holder>>> {
        let kept = self.holdings.of(tenant, set);
        if kept.is_some() {
            return kept;
        }
        let asked = Instant::now();
        let request = HoldingsRequest {
            tenant: tenant.to_owned(),
            origins_only: true,
            ..HoldingsRequest::default()
        };
        let lacks_spans = |answer: &HoldingsResponse| answer.lacks_spans;
        let mut question =
            self.question("search", (context, request), call!(holdings), lacks_spans);
        question.timeout = question.timeout.min(HOLDINGS_TIMEOUT);
        // If this fails, the full search reports the error.
        let held = self.ask_some(set, question).await.ok().filter(|held| !held.partial)?;
        // All of those that take turns have to give whole answers.
        if held.all.iter().any(lacks_spans) {
            return None;
        }
        let holders = held.all.into_iter().flat_map(|answer| answer.holders).map(whole);
        let holders = Arc::new(holders.collect::<Vec<_>>());
        if is_of(&holders, set) {
            self.holdings.keep(tenant, asked, &holders);
        }
        Some(holders)
    }
}

fn whole(holder: Holder) -> Holder {
    let set = |bounds: &[u64]| OriginSet::from_bounds(bounds).unwrap_or_default();
    let complete = set(&holder.complete).without(&set(&holder.thinned)).bounds();
    Holder { ingester_id: holder.ingester_id, complete, ..Holder::default() }
}

/// The order in which ingesters leave traces to each other. The same query begins with the same ingester, which has in
/// memory what it read for it; others begin with others.
fn in_order(holders: &[Holder], query: &str) -> Vec<Holder> {
    let place = |holder: &Holder| {
        let mut hasher = DefaultHasher::new();
        (query, &holder.ingester_id).hash(&mut hasher);
        hasher.finish()
    };
    let mut holders = holders.to_vec();
    holders.sort_by_cached_key(|holder| (place(holder), holder.ingester_id.clone()));
    holders
}
