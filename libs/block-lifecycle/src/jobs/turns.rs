//! The order in which jobs have their turns.

use std::collections::{BTreeMap, HashMap};

use tactus_storage::Uuid;

/// Who had the last turns. A round has time for a part of the jobs only, so the next one goes on where it ended.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last_tenant: String,
    /// Of each tenant, the job that had the last turn.
    last_jobs: HashMap<String, Uuid>,
}

impl Turns {
    /// The jobs in the order of their turns. Tenants take turns, so that one with many jobs does not delay others; so do
    /// the jobs of each.
    pub(crate) fn order(
        &mut self,
        jobs: impl Iterator<Item = (String, Uuid)>,
    ) -> Vec<(String, Uuid)> {
        let mut by_tenant: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
        for (tenant, id) in jobs {
            by_tenant.entry(tenant).or_default().push(id);
        }
        self.last_jobs.retain(|tenant, _| by_tenant.contains_key(tenant));
        let mut order = Vec::new();
        for (tenant, mut ids) in by_tenant {
            ids.sort_unstable();
            if let Some(last) = self.last_jobs.get(&tenant) {
                let next = ids.partition_point(|id| id <= last);
                ids.rotate_left(next);
            }
            let is_before = tenant <= self.last_tenant;
            order.extend(
                ids.into_iter().enumerate().map(|(turn, id)| (turn, is_before, tenant.clone(), id)),
            );
        }
        order.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        order.into_iter().map(|(_, _, tenant, id)| (tenant, id)).collect()
    }

    /// Notes that a job had its turn.
    pub(crate) fn had(&mut self, tenant: &str, id: Uuid) {
        tenant.clone_into(&mut self.last_tenant);
        self.last_jobs.insert(tenant.to_owned(), id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> impl Iterator<Item = (String, Uuid)> {
        let job = |(tenant, id): (&str, u128)| (tenant.to_owned(), Uuid::from_u128(id));
        [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)].into_iter().map(job)
    }

    fn numbers(turns: &mut Turns) -> Vec<u128> {
        turns.order(jobs()).iter().map(|(_, id)| id.as_u128()).collect()
    }

    #[test]
    fn tenants_take_turns() {
        assert_eq!(numbers(&mut Turns::default()), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn a_round_goes_on_where_the_last_one_ended() {
        let mut turns = Turns::default();
        turns.had("a", Uuid::from_u128(1));
        assert_eq!(numbers(&mut turns), [4, 5, 2, 6, 3, 1]);
        turns.had("b", Uuid::from_u128(4));
        assert_eq!(numbers(&mut turns), [5, 2, 4, 6, 3, 1]);
    }

    #[test]
    fn each_job_has_its_turn_if_a_round_has_time_for_one() {
        let mut turns = Turns::default();
        let mut had = std::collections::HashSet::new();
        for _ in 0..9 {
            let (tenant, id) = turns.order(jobs()).remove(0);
            turns.had(&tenant, id);
            had.insert(id);
        }
        assert_eq!(had.len(), 6);
    }
}
