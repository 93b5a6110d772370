//! Until when samples of tenants that were let go of were sent.
//!
//! A tenant that comes back goes on from there: its series begin with a zero sample, which is older than its first push.

use std::collections::HashMap;

use tactus_model::TenantId;

use super::MAX_TENANTS;

/// For each of at most [`MAX_TENANTS`] tenants a time that no sample of it that this process sent is newer than.
#[derive(Debug, Default)]
pub(super) struct Sent {
    until_ms: HashMap<TenantId, i64>,
}

impl Sent {
    /// Remembers a tenant, in Unix milliseconds. If there are too many, the one that sent nothing for longest is forgotten,
    /// and is as new as any other if it comes back.
    pub(super) fn note(&mut self, tenant: TenantId, until_ms: i64) {
        self.until_ms.insert(tenant, until_ms);
        if self.until_ms.len() <= MAX_TENANTS {
            return;
        }
        let oldest = self.until_ms.iter().min_by_key(|(_, until_ms)| **until_ms);
        if let Some(oldest) = oldest.map(|(tenant, _)| tenant.clone()) {
            self.until_ms.remove(&oldest);
        }
    }

    /// Unix milliseconds; `None` if it is not remembered.
    pub(super) fn of(&self, tenant: &TenantId) -> Option<i64> {
        self.until_ms.get(tenant).copied()
    }

    /// The tenant is there again.
    pub(super) fn forget(&mut self, tenant: &TenantId) {
        self.until_ms.remove(tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("tenant-{number}")).unwrap()
    }

    #[test]
    fn tenant_is_remembered_until_it_is_there_again() {
        let mut sent = Sent::default();
        sent.note(tenant(1), 10);
        sent.note(tenant(1), 20);
        assert_eq!((sent.of(&tenant(1)), sent.of(&tenant(2))), (Some(20), None));
        sent.forget(&tenant(1));
        assert_eq!(sent.of(&tenant(1)), None);
    }

    #[test]
    fn of_too_many_tenants_the_longest_silent_is_forgotten() {
        let mut sent = Sent::default();
        for number in 0..MAX_TENANTS {
            sent.note(tenant(number), if number == 7 { 1 } else { 100 });
        }
        assert_eq!(sent.of(&tenant(7)), Some(1));
        sent.note(tenant(MAX_TENANTS), 50);
        assert_eq!((sent.until_ms.len(), sent.of(&tenant(7))), (MAX_TENANTS, None));
        assert_eq!(sent.of(&tenant(MAX_TENANTS)), Some(50));
    }
}
