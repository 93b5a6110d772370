//! The threads and the jobs that wait at the gate. Tenants take turns, and so do the queries of each tenant.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Line, Waiter};

/// What waits, by tenant and query; the front of each queue is next. No queue is empty.
#[derive(Default)]
pub(super) struct WaitQueue(VecDeque<(u64, VecDeque<OfQuery>)>);

type OfQuery = (u64, VecDeque<Arc<Waiter>>);

impl WaitQueue {
    /// True if a thread of another query waits.
    pub(super) fn has_other(&self, line: Line) -> bool {
        let mut lines = self.0.iter().flat_map(|(tenant, queries)| {
            queries.iter().map(|(query, _)| Line { tenant: *tenant, query: *query })
        });
        lines.any(|other| other != line)
    }

    pub(super) fn push(&mut self, line: Line, waiter: Arc<Waiter>) {
        let queries = entry(&mut self.0, line.tenant);
        entry(queries, line.query).push_back(waiter);
    }

    pub(super) fn next(&self) -> Option<&Waiter> {
        let (_, queries) = self.0.front()?;
        queries.front()?.1.front().map(|waiter| &**waiter)
    }

    /// Takes the next thread. Its query then moves to the end of its tenant's queue, and its tenant to the end of the
    /// outer queue.
    pub(super) fn take_next(&mut self) -> Option<Arc<Waiter>> {
        self.take(0, 0, 0)
    }

    /// Takes the first thread that may go on.
    pub(super) fn take_first(&mut self, may: impl Fn(&Waiter) -> bool) -> Option<Arc<Waiter>> {
        let lines = self.0.iter().enumerate().flat_map(|(tenant, (_, queries))| {
            queries.iter().enumerate().map(move |(query, (_, waiters))| (tenant, query, waiters))
        });
        let (tenant, query, place) = { lines }.find_map(|(tenant, query, waiters)| {
            let place = waiters.iter().position(|waiter| may(waiter))?;
            Some((tenant, query, place))
        })?;
        self.take(tenant, query, place)
    }

    fn take(&mut self, tenant: usize, query: usize, place: usize) -> Option<Arc<Waiter>> {
        let (tenant_number, mut queries) = self.0.remove(tenant)?;
        let taken = queries.remove(query).and_then(|(number, mut waiters)| {
            let taken = waiters.remove(place);
            if !waiters.is_empty() {
                queries.push_back((number, waiters));
            }
            taken
        });
        if !queries.is_empty() {
            self.0.push_back((tenant_number, queries));
        }
        taken
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().flat_map(|(_, queries)| queries).map(|(_, waiters)| waiters.len()).sum()
    }
}

/// The entry with this number. A new one is added at the end.
fn entry<T: Default>(entries: &mut VecDeque<(u64, T)>, number: u64) -> &mut T {
    let place = entries.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
        entries.push_back((number, T::default()));
        entries.len() - 1
    });
    &mut entries[place].1
}
