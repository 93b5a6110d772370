//! Names in a bucket: `<prefix>/<tenant>/<block id>/<file>`, joined with `/`, no leading slash.

use tactus_model::TenantId;
use uuid::Uuid;

use crate::error::{Error, Result};

/// The block's Parquet file.
pub const DATA: &str = "data.parquet";
/// The block's meta; its presence makes the block exist.
pub const META: &str = "meta.json";
/// The meta of a block that was compacted away or is past its retention.
pub const COMPACTED_META: &str = "meta.compacted.json";
/// Largest trace id of every row group.
pub const INDEX: &str = "index";
/// The parts of a block that most queries need first. Only this product writes and reads this file.
pub const SUMMARY: &str = "tactus-summary";
/// The data of a block of Tempo's version v2.
const DATA_OF_V2: &str = "data";
/// The meta of a block that an operator took out.
const DELETED_META: &str = "meta.deleted.json";
/// Marker: leave this block out of compaction.
pub const NO_COMPACT: &str = "nocompact.flg";
/// Tenant index, zstd of protobuf.
pub const TENANT_INDEX_PROTO: &str = "index.pb.zst";
/// Tenant index, gzip of JSON.
pub const TENANT_INDEX_JSON: &str = "index.json.gz";
/// An object that is written to learn the store's time. Not a tenant: those are directories.
pub(crate) const CLOCK: &str = "tactus-clock";
/// Beginning of the keys of all objects at the first level of the bucket that only this product writes: jobs, probabilities of
/// sampling, probes.
pub(crate) const OWN_PREFIX: &str = "tactus-";
/// The directory of the limits that tenants set, which has one of each tenant.
pub const OVERRIDES_DIRECTORY: &str = "overrides";
/// The limits that a tenant set, in its directory of these.
pub const OVERRIDES_FILE: &str = "overrides.json";

/// Key of one file of a block.
pub fn block_key(tenant: &str, block_id: Uuid, file: &str) -> String {
    format!("{tenant}/{block_id}/{file}")
}

/// Key of the block's directory, with a trailing slash.
pub fn block_prefix(tenant: &str, block_id: Uuid) -> String {
    format!("{tenant}/{block_id}/")
}

/// File name of bloom shard `shard`.
pub fn bloom_name(shard: u32) -> String {
    format!("bloom-{shard}")
}

/// True for the names of the files that blocks have. A directory with other files belongs to another program.
pub(crate) fn is_block_file(name: &str) -> bool {
    const NAMES: [&str; 8] =
        [DATA, META, COMPACTED_META, INDEX, SUMMARY, NO_COMPACT, DATA_OF_V2, DELETED_META];
    let shard = name.strip_prefix("bloom-");
    NAMES.contains(&name) || shard.is_some_and(|shard| shard.parse::<u32>().is_ok())
}

/// Key of bloom shard `shard` of a block.
pub fn bloom_key(tenant: &str, block_id: Uuid, shard: u32) -> String {
    format!("{tenant}/{block_id}/bloom-{shard}")
}

/// Key of the tenant index file `name` ([`TENANT_INDEX_PROTO`] or [`TENANT_INDEX_JSON`]).
pub fn tenant_index_key(tenant: &str, name: &str) -> String {
    format!("{tenant}/{name}")
}

/// True for the key of either file of a tenant's index.
pub(crate) fn is_tenant_index(key: &str) -> bool {
    let name = key.split_once('/').map(|(_, name)| name);
    name.is_some_and(|name| [TENANT_INDEX_PROTO, TENANT_INDEX_JSON].contains(&name))
}

/// Splits `<tenant>/<block id>/<file>`; `None` for every other key.
///
/// The block id must be written as a lower-case hyphenated UUID, else the key that is built from
/// it again would be another one.
pub fn parse_block_key(key: &str) -> Option<(&str, Uuid, &str)> {
    let (tenant, rest) = key.split_once('/')?;
    let (id, file) = rest.split_once('/')?;
    let id = parse_block_id(id)?;
    (is_tenant_name(tenant) && !file.is_empty()).then_some((tenant, id, file))
}

/// Parses a block directory name: a lower-case hyphenated UUID.
pub fn parse_block_id(name: &str) -> Option<Uuid> {
    let lower_hyphenated = name.len() == 36 && !name.bytes().any(|b| b.is_ascii_uppercase());
    if lower_hyphenated { Uuid::try_parse(name).ok() } else { None }
}

/// True when `name` may own blocks: [`TenantId::check`], the rule for those who send.
pub(crate) fn is_tenant_name(name: &str) -> bool {
    TenantId::check(name).is_ok()
}

/// [`is_tenant_name`] as an error.
pub fn check_tenant(name: &str) -> Result<()> {
    TenantId::check(name).map_err(|error| Error::invalid("tenant", error.to_string()))
}

/// Joins the configured bucket prefix and a key; slashes around the prefix do not matter.
pub(crate) fn join_prefix(prefix: &str, key: &str) -> String {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-1111-4111-8111-111111111111";

    #[test]
    fn block_key_round_trips() {
        let id = parse_block_id(ID).unwrap();
        let key = block_key("t(1)'s!*", id, DATA);
        assert_eq!(key, format!("t(1)'s!*/{ID}/data.parquet"));
        assert_eq!(parse_block_key(&key), Some(("t(1)'s!*", id, DATA)));
        assert_eq!(bloom_key("t", id, 12), block_key("t", id, &bloom_name(12)));
    }

    #[test]
    fn only_files_of_blocks_are_block_files() {
        for name in [DATA, META, COMPACTED_META, "bloom-0", "bloom-12", "data", "nocompact.flg"] {
            assert!(is_block_file(name), "{name}");
        }
        for name in ["", "photo.jpg", "bloom-", "bloom-x", "data/1", "index.json.gz"] {
            assert!(!is_block_file(name), "{name}");
        }
    }

    #[test]
    fn foreign_keys_are_not_block_keys() {
        for key in [
            "",
            "t",
            "t/index.pb.zst",
            "t/not-a-uuid/meta.json",
            "overrides/11111111-1111-4111-8111-111111111111/meta.json",
            "t/11111111-1111-4111-8111-111111111111/",
            "t/11111111111141118111111111111111/meta.json",
            "t/11111111-1111-4111-8111-11111111111A/meta.json",
        ] {
            assert_eq!(parse_block_key(key), None, "{key}");
            assert_eq!(is_tenant_index(key), key == "t/index.pb.zst", "{key}");
        }
        assert!(is_tenant_index(&tenant_index_key("t", TENANT_INDEX_JSON)));
    }

    #[test]
    fn reserved_and_odd_names_are_not_tenants() {
        for name in [
            "",
            ".",
            "..",
            "overrides",
            "tempo_cluster_seed.json",
            "work.json",
            CLOCK,
            ".snapshot",
            ".t",
            "lost+found",
            "a/b",
        ] {
            assert!(!is_tenant_name(name), "{name}");
        }
        assert!(!is_tenant_name(&"a".repeat(151)));
        assert!(is_tenant_name(&"a".repeat(150)));
        assert!(is_tenant_name("aZ09!-_.*'()"));
    }

    #[test]
    fn prefix_is_joined_without_doubled_slashes() {
        assert_eq!(join_prefix("", "a/b"), "a/b");
        assert_eq!(join_prefix("/p/q/", "a/b"), "p/q/a/b");
    }
}
