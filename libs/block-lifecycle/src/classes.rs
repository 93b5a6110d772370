//! Retention by class: traces that a query selects are kept for a different time than the rest.
//!
//! A block is rewritten once for each age that it passes, even if nothing in it expires then: only the marker in its new
//! meta says that this age is done. Without it, each compactor that starts would have to read all blocks again.

use std::time::Duration;

use tactus_compaction::{RetentionClass, RetentionClasses};
use tactus_config::PromDuration;
use tactus_config::sections::overrides::{CompactionLimits, RetentionPolicy};
use tactus_model::fnv1a_32;
use tactus_storage::{BlockMeta, Timestamp};
use tactus_traceql::eval::CompiledQuery;
use tactus_traceql::parse_and_validate;

use crate::error::{Error, Result};
use crate::settings::Limits;

/// The ages at which some traces of a tenant expire, but not all.
pub(crate) fn marker_due(limits: &Limits, end: Timestamp, now: Timestamp) -> Option<String> {
    let CompactionLimits { block_retention, retention_policies, .. } = &limits.compaction;
    if retention_policies.is_empty() {
        return None;
    }
    let of_policies = retention_policies.iter().map(|policy| policy.retention);
    let ages = of_policies.chain([*block_retention]).filter_map(PromDuration::non_zero);
    let passed = |age: &Duration| now.checked_sub(*age).is_ok_and(|limit| end < limit);
    let due = ages.filter(passed).max()?;
    Some(format!("{:08x}:{}", policies_hash(&limits.compaction), due.as_secs()))
}

/// As [`marker_due`], but `None` if the block was already rewritten for these ages.
pub(crate) fn marker_missing(limits: &Limits, meta: &BlockMeta, now: Timestamp) -> Option<String> {
    let done = meta.extension.as_ref().map_or("", |extension| extension.retention.as_str());
    marker_due(limits, meta.last_time(), now).filter(|marker| marker != done)
}

/// The classes that a rewrite applies; `None` without policies.
///
/// Errors: a query cannot be compiled. The configuration is checked at start, so this happens only if a file changed.
pub(crate) fn classes_of(
    limits: &Limits,
    now: Timestamp,
    within: (Timestamp, Timestamp),
) -> Result<Option<RetentionClasses>> {
    let CompactionLimits { block_retention, retention_policies, .. } = &limits.compaction;
    if retention_policies.is_empty() {
        return Ok(None);
    }
    let class = |policy: &RetentionPolicy| {
        let query = compile(&policy.query)
            .map_err(|reason| Error::Policy { query: policy.query.clone(), reason })?;
        let name = policy.query.clone();
        Ok(RetentionClass { name, query, keep: policy.retention.non_zero() })
    };
    Ok(Some(RetentionClasses {
        classes: retention_policies.iter().map(class).collect::<Result<_>>()?,
        keep: block_retention.non_zero(),
        now: nanos(now),
        within: (nanos(within.0), nanos(within.1)),
    }))
}

/// The nearest time that unix nanoseconds can tell: a meta may name any year.
fn nanos(time: Timestamp) -> u64 {
    let nanos = time.as_nanosecond().clamp(0, u64::MAX.into());
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// A query that selects traces. Errors: what is wrong with it, for people.
pub(crate) fn compile(query: &str) -> Result<CompiledQuery, String> {
    let root = parse_and_validate(query).map_err(|error| error.to_string())?;
    if root.metrics().is_some() {
        return Err("a metrics query selects no traces".to_owned());
    }
    CompiledQuery::compile(&root).map_err(|error| error.to_string())
}

/// Refuses policies that can never work.
///
/// Errors: `Error::Policy` with the query that is wrong.
pub fn check_policies(policies: &[RetentionPolicy]) -> Result<()> {
    let mut limits = Limits::default();
    limits.compaction.retention_policies = policies.to_vec();
    let epoch = Timestamp::UNIX_EPOCH;
    classes_of(&limits, epoch, (epoch, epoch)).map(drop)
}

/// Part of the marker: a block that was rewritten for other policies is rewritten again.
fn policies_hash(limits: &CompactionLimits) -> u32 {
    let mut text = limits.block_retention.as_std().as_secs().to_string();
    for RetentionPolicy { query, retention } in &limits.retention_policies {
        text.push_str(&format!("\n{}\n{query}", retention.as_std().as_secs()));
    }
    fnv1a_32(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_storage::Uuid;
    use tactus_storage::meta::{BlockVersion, Extension};

    const DAY: u64 = 24 * 3600;

    fn limits() -> Limits {
        let policy = |query: &str, days: u64| RetentionPolicy {
            query: query.to_owned(),
            retention: Duration::from_secs(days * DAY).into(),
        };
        let policies = vec![policy("{ status = error }", 90), policy("{ name = \"ping\" }", 1)];
        limits_of(14, policies)
    }

    fn limits_of(days: u64, retention_policies: Vec<RetentionPolicy>) -> Limits {
        let block_retention = Duration::from_secs(days * DAY).into();
        let of_all = CompactionLimits::default();
        let compaction = CompactionLimits { block_retention, retention_policies, ..of_all };
        Limits { compaction, ..Limits::default() }
    }

    fn block(days_old: i64, now: Timestamp, retention: &str) -> BlockMeta {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
        meta.end_time = Timestamp::from_second(now.as_second() - days_old * DAY as i64).unwrap();
        let extension = Extension { retention: retention.to_owned(), ..Extension::default() };
        meta.extension = Some(Box::new(extension));
        meta
    }

    #[test]
    fn block_is_due_once_for_each_age_that_it_passes() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(marker_missing(&limits(), &block(0, now, ""), now).is_none());
        let two_days = block(2, now, "");
        assert!(marker_missing(&limits(), &two_days, now).is_some());
        let done = marker_due(&limits(), two_days.end_time, now).unwrap();
        assert!(marker_missing(&limits(), &block(2, now, &done), now).is_none());
        assert!(marker_missing(&limits(), &block(15, now, &done), now).is_some());
        let done = marker_due(&limits(), block(15, now, "").end_time, now).unwrap();
        assert!(marker_missing(&limits(), &block(80, now, &done), now).is_none());
        let other = limits_of(7, limits().compaction.retention_policies);
        assert!(marker_missing(&other, &block(80, now, &done), now).is_some(), "other policies");
        let none = limits_of(14, Vec::new());
        assert!(marker_missing(&none, &block(80, now, ""), now).is_none());
    }

    #[test]
    fn time_that_unix_nanoseconds_cannot_tell_is_the_nearest_one() {
        assert_eq!(nanos(Timestamp::MIN), 0);
        assert_eq!(nanos(Timestamp::from_second(1).unwrap()), 1_000_000_000);
        assert_eq!(nanos(Timestamp::MAX), u64::MAX);
    }

    #[test]
    fn policy_that_is_no_query_is_named() {
        let policy = RetentionPolicy { query: "{ status = }".to_owned(), ..Default::default() };
        let error = check_policies(&[policy]).unwrap_err().to_string();
        assert!(error.contains("{ status = }"), "{error}");
        assert!(check_policies(&limits().compaction.retention_policies).is_ok());
    }
}
