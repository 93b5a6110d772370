//! Stores the records of jobs in the bucket.

use tactus_storage::{Bucket, Uuid};

use super::JobRecord;
use crate::error::{Error, Result};

/// Records are `tactus-job.<tenant>.<id>.json` at the first level of the bucket, where nobody looks for objects of
/// tenants.
const PREFIX: &str = "tactus-job.";

const SUFFIX: &str = ".json";

pub(crate) fn key(tenant: &str, id: Uuid) -> String {
    format!("{PREFIX}{tenant}.{id}{SUFFIX}")
}

/// Tenant and id of a key; a tenant may hold dots.
fn parse_key(key: &str) -> Option<(String, Uuid)> {
    let name = key.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (tenant, id) = name.rsplit_once('.')?;
    Some((tenant.to_owned(), Uuid::try_parse(id).ok()?))
}

pub(crate) async fn list(bucket: &Bucket) -> Result<Vec<(String, Uuid)>> {
    let files = bucket.list_files("", PREFIX).await?;
    Ok(files.iter().filter_map(|file| parse_key(&file.key)).collect())
}

/// The largest record: that of a job for which every block of a large tenant was rewritten.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// `None` if there is no such record.
pub(crate) async fn load(bucket: &Bucket, tenant: &str, id: Uuid) -> Result<Option<JobRecord>> {
    Ok(load_with_version(bucket, tenant, id).await?.map(|(record, _)| record))
}

/// A record, and the version to replace it by [`save`].
pub(crate) async fn load_with_version(
    bucket: &Bucket,
    tenant: &str,
    id: Uuid,
) -> Result<Option<(JobRecord, String)>> {
    let key = key(tenant, id);
    let (bytes, version) = match bucket.get_with_version(&key, MAX_RECORD_BYTES).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error @ tactus_storage::Error::Corrupt { .. }) => {
            return Err(Error::BadRecord { key, reason: error.to_string() });
        }
        Err(error) => return Err(error.into()),
    };
    let record: JobRecord = serde_json::from_slice(&bytes)
        .map_err(|error| Error::BadRecord { key: key.clone(), reason: error.to_string() })?;
    if record.tenant != tenant || record.id != id {
        let reason = "belongs to another job".to_owned();
        return Err(Error::BadRecord { key, reason });
    }
    Ok(Some((record, version)))
}

/// Writes a record in the place of the version `expected`; `None`: there is none yet. False if somebody else has
/// changed it.
pub(crate) async fn save(
    bucket: &Bucket,
    record: &JobRecord,
    expected: Option<&str>,
) -> Result<bool> {
    let key = key(&record.tenant, record.id);
    let bytes = serde_json::to_vec(record)
        .map_err(|error| Error::BadRecord { key: key.clone(), reason: error.to_string() })?;
    Ok(bucket.put_if_version(&key, bytes.into(), expected).await?.is_some())
}

pub(crate) async fn delete(bucket: &Bucket, tenant: &str, id: Uuid) -> Result<()> {
    Ok(bucket.delete(&key(tenant, id)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_tells_tenant_and_id() {
        let id = Uuid::from_u128(7);
        for tenant in ["single-tenant", "a.b", "(x)!*'"] {
            assert_eq!(parse_key(&key(tenant, id)), Some((tenant.to_owned(), id)));
        }
        for other in
            ["tempo_cluster_seed.json", "tactus-job.json", "tactus-job.t.x.json", "work.json"]
        {
            assert_eq!(parse_key(other), None);
        }
    }
}
