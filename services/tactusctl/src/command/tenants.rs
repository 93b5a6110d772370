//! `tenants`.

use std::collections::HashMap;

use serde::Serialize;
use tactus_storage::Bucket;

use crate::bucket;
use crate::error::Result;
use crate::output::{Output, Table, format};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tenant {
    tenant: String,
    blocks: usize,
    bytes: u64,
    traces: u64,
    compacted_blocks: usize,
    /// Blocks whose meta cannot be read, or of a version that cannot be.
    unreadable_blocks: usize,
    /// RFC 3339; absent without blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

pub(super) async fn run(bucket: &Bucket, output: &Output) -> Result<()> {
    let mut tenants = Vec::new();
    for tenant in bucket::tenants(bucket).await? {
        let blocks = bucket::blocks_of_known(bucket, &tenant).await?;
        let live = &blocks.live;
        let of_unknown_version = live.iter().filter(|meta| meta.version().is_err()).count();
        tenants.push(Tenant {
            tenant,
            blocks: live.len(),
            bytes: live.iter().map(|meta| meta.size).fold(0, u64::saturating_add),
            traces: live.iter().map(|meta| meta.total_objects).fold(0, u64::saturating_add),
            compacted_blocks: blocks.compacted.len(),
            unreadable_blocks: blocks.unreadable.len() + of_unknown_version,
            start: live.iter().map(|meta| meta.start_time).min().map(format::time),
            end: live.iter().map(|meta| meta.end_time).max().map(format::time),
        });
    }
    output.show(&HashMap::from([("tenants", &tenants)]), || text(&tenants))
}

fn text(tenants: &[Tenant]) -> String {
    let shown = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
    Table::of(tenants)
        .left("TENANT", |tenant| format::clean(&tenant.tenant))
        .right("BLOCKS", |tenant| tenant.blocks.to_string())
        .right("SIZE", |tenant| format::bytes(tenant.bytes))
        .right("TRACES", |tenant| tenant.traces.to_string())
        .right("COMPACTED", |tenant| tenant.compacted_blocks.to_string())
        .right("UNREADABLE", |tenant| tenant.unreadable_blocks.to_string())
        .left("FROM", |tenant| shown(&tenant.start))
        .left("TO", |tenant| shown(&tenant.end))
        .render()
}
