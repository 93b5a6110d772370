//! The data of a block: opened for a look at it, or taken out of sight.

use std::sync::Arc;

use tactus_block::read::{BlockFacts, BlockReader, StoredSource};
use tactus_storage::layout::{META, block_key};
use tactus_storage::{BlockMeta, Bucket};
use tokio::runtime::Handle;

use crate::error::Result;

/// Added to the version of a block that nobody shall read. No reader knows such a version: this product leaves the
/// block out of queries and merges, Tempo answers as if a version with `preview` in its name were empty.
pub(super) const SET_ASIDE: &str = "-damaged-preview";

/// Opens the data, whatever footer size the meta claims.
pub(super) fn open(
    bucket: &Bucket,
    meta: &BlockMeta,
    facts: &BlockFacts,
) -> tactus_block::Result<BlockReader> {
    // A remote source takes its size from the meta.
    let meta = BlockMeta { size: facts.size, ..meta.clone() };
    let source = StoredSource::new(bucket, &meta, &Handle::current())?;
    BlockReader::open(Arc::new(source), facts)
}

/// True for an error that says nothing about the block: the store cannot be reached, or refuses us.
pub(super) fn is_transient(error: &tactus_block::Error) -> bool {
    let tactus_block::Error::Io(error) = error else { return false };
    let stored = error.get_ref().and_then(|source| source.downcast_ref::<tactus_storage::Error>());
    stored.is_some_and(|error| {
        error.is_retryable() || matches!(error, tactus_storage::Error::Denied { .. })
    })
}

/// Takes a block out of every reader's sight by another version in its meta; all files stay, and age like others.
pub(super) async fn set_aside(bucket: &Bucket, meta: &BlockMeta) -> Result<()> {
    let mut hidden = meta.clone();
    hidden.format.push_str(SET_ASIDE);
    let key = block_key(&meta.tenant_id, meta.block_id, META);
    bucket.put(&key, hidden.to_json().into()).await?;
    Ok(())
}
