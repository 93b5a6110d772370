//! Asks a member how much of another member's news has reached its rings.
//!
//! Gossip itself gives no confirmation, but an instance that leaves must know that nobody writes to it any more. The
//! question is the name of a member and the number of its start. The answer is the version of its news that the asked
//! member's rings show; 0 if that is unknown.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::proof::Link;

/// Version of the news of each start of each member, as far as the rings show it.
#[derive(Default)]
pub(crate) struct Known(RwLock<HashMap<(Arc<str>, u64), u64>>);

impl Known {
    pub(crate) fn replace(&self, versions: HashMap<(Arc<str>, u64), u64>) {
        *self.0.write() = versions;
    }

    pub(super) fn version(&self, name: &str, start: u64) -> u64 {
        self.0.read().get(&(name.into(), start)).copied().unwrap_or(0)
    }
}

/// Asks on a connection that was welcomed.
pub(super) async fn ask(link: &mut Link, name: &str, start: u64) -> io::Result<u64> {
    let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
    link.stream.write_u16(name.len() as u16).await?;
    link.write(&[name, &start.to_be_bytes()].concat()).await?;
    let mut version = [0; 8];
    link.read(&mut version).await?;
    Ok(u64::from_be_bytes(version))
}

/// Answers one question.
pub(super) async fn answer(known: &Known, link: &mut Link) -> io::Result<()> {
    let length = link.stream.read_u16().await?;
    let mut asked = vec![0; usize::from(length) + 8];
    link.read(&mut asked).await?;
    let (name, start) = asked.split_at(usize::from(length));
    let start = start.try_into().map_or(0, u64::from_be_bytes);
    let version = std::str::from_utf8(name).map_or(0, |name| known.version(name, start));
    link.write(&version.to_be_bytes()).await?;
    link.stream.shutdown().await
}
