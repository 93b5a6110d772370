//! Messages of chitchat, with a bound on what they decompress to and say.
//!
//! A message is its magic number, a version, a type and then, by type, a digest of what its sender knows and a delta of
//! what the other does not know. A delta comes in blocks, some of them compressed, of which chitchat takes as many as
//! there are: a message of a megabyte can hold gigabytes. So the blocks are looked at first.

use std::collections::HashSet;

use chitchat::{ChitchatMessage, Deserializable};
use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// Magic number and version.
const START_BYTES: usize = 3;
/// Types of messages with a digest, a delta, or both.
const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;
/// Heartbeat and two versions.
pub(super) const NODE_DIGEST_BYTES: usize = 24;
/// Kinds of blocks.
const NO_MORE: u8 = 0;
const COMPRESSED: u8 = 1;
/// Steps of a delta: a member, one of its values, its latest version.
const MEMBER: u8 = 0;
const VALUE: u8 = 1;
const LATEST: u8 = 2;
/// How much larger the deltas of real members may be once they are decompressed: names, addresses and numbers of members
/// do not shrink further.
const MAX_GROWTH: usize = 4;
/// A version counts the changes of a member since its start.
const MAX_VERSION: u64 = 1 << 48;
/// More changes than a member makes in a moment.
const RECENT_CHANGES: u64 = 1_000;

/// What a message adds to what is kept of members.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Ids of the members of its digest, as they are written.
    pub(super) members: Vec<Box<[u8]>>,
    /// Of its delta, once it is decompressed.
    pub(super) delta_bytes: usize,
}

/// The member that reads messages.
#[derive(Clone, Copy)]
pub(super) struct Own<'i> {
    /// Its id, as it is written.
    pub(super) id: &'i [u8],
    /// Its version a moment ago.
    pub(super) version: u64,
}

/// Reads a message. `None`: malformed, a delta of more than four times `max_message_bytes`, or one that no member sends and
/// that chitchat takes for a mistake of its own, with a panic.
pub(super) fn decode(
    bytes: &[u8],
    max_message_bytes: usize,
    own: Own<'_>,
) -> Option<(ChitchatMessage, Content)> {
    let content = content(bytes, max_message_bytes.saturating_mul(MAX_GROWTH), own)?;
    Some((ChitchatMessage::deserialize(&mut &*bytes).ok()?, content))
}

/// Reads a message that was read before, without these members of its digest.
pub(super) fn without(bytes: &[u8], left_out: &HashSet<Box<[u8]>>) -> Option<ChitchatMessage> {
    let (start, mut rest) = bytes.split_at_checked(START_BYTES + 1)?;
    let (mut count, mut digest) = (0_u16, Vec::new());
    for _ in 0..u16::from_le_bytes(take(&mut rest)?) {
        let from = rest;
        let id = member_id(&mut rest)?;
        slice(&mut rest, NODE_DIGEST_BYTES)?;
        if !left_out.contains(id) {
            count += 1;
            digest.extend_from_slice(&from[..from.len() - rest.len()]);
        }
    }
    let kept = [start, &count.to_le_bytes(), &digest, rest].concat();
    ChitchatMessage::deserialize(&mut &*kept).ok()
}

fn content(bytes: &[u8], max_delta_bytes: usize, own: Own<'_>) -> Option<Content> {
    let (&kind, mut rest) = bytes.get(START_BYTES..)?.split_first()?;
    let mut content = Content::default();
    if matches!(kind, SYN | SYN_ACK) {
        content.members = digest_members(&mut rest)?;
    }
    if matches!(kind, SYN_ACK | ACK) {
        content.delta_bytes = delta_bytes(rest)?;
        if content.delta_bytes > max_delta_bytes {
            return None;
        }
        check_delta(&decompressed(rest, content.delta_bytes)?, own)?;
    }
    Some(content)
}

/// Bytes of a delta once it is decompressed. `None`: malformed, or a block that is not one frame which says its size.
fn delta_bytes(mut rest: &[u8]) -> Option<usize> {
    let mut total = 0_usize;
    while let Some((block, content)) = next_block(&mut rest)? {
        let decompressed = match block {
            // Of several frames only the first would be looked at.
            COMPRESSED if find_frame_compressed_size(content) != Ok(content.len()) => return None,
            COMPRESSED => get_frame_content_size(content).ok()??,
            _ => content.len() as u64,
        };
        total = total.saturating_add(usize::try_from(decompressed).ok()?);
    }
    Some(total)
}

/// The kind of the next block and its content; `Some(None)` behind the last.
fn next_block<'b>(rest: &mut &'b [u8]) -> Option<Option<(u8, &'b [u8])>> {
    let [block] = take(rest)?;
    if block == NO_MORE {
        return Some(None);
    }
    let length = u16::from_le_bytes(take(rest)?);
    Some(Some((block, slice(rest, usize::from(length))?)))
}

/// The steps of a delta of this many bytes.
fn decompressed(mut rest: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut steps = Vec::with_capacity(bytes);
    let mut decompressor = Decompressor::new().ok()?;
    while let Some((block, content)) = next_block(&mut rest)? {
        if block == COMPRESSED {
            let size = usize::from(u16::MAX);
            steps.extend_from_slice(&decompressor.decompress(content, size).ok()?);
        } else {
            steps.extend_from_slice(content);
        }
    }
    Some(steps)
}

/// Nobody knows more of a member than itself, and its latest version is not below those of its values.
fn check_delta(mut rest: &[u8], own: Own<'_>) -> Option<()> {
    let (mut latest, mut limit) = (0, MAX_VERSION);
    let increased = |latest, limit, version| (latest..=limit).contains(&version).then_some(version);
    while !rest.is_empty() {
        match take(&mut rest)? {
            [MEMBER] => {
                let id = member_id(&mut rest)?;
                // What this member said since then may have come back already.
                limit = if id == own.id { own.version + RECENT_CHANGES } else { MAX_VERSION };
                let [collected, from] = [version(&mut rest)?, version(&mut rest)?];
                if collected.max(from) > limit {
                    return None;
                }
                latest = 0;
            }
            [VALUE] => {
                for _ in 0..2 {
                    let length = u16::from_le_bytes(take(&mut rest)?);
                    slice(&mut rest, usize::from(length))?;
                }
                latest = increased(latest, limit, version(&mut rest)?)?;
                let [_status] = take(&mut rest)?;
            }
            [LATEST] => latest = increased(latest, limit, version(&mut rest)?)?,
            _ => return None,
        }
    }
    Some(())
}

fn version(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest)?))
}

/// For each member its id, and behind it its heartbeat and versions.
fn digest_members(rest: &mut &[u8]) -> Option<Vec<Box<[u8]>>> {
    let count = u16::from_le_bytes(take(rest)?);
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(member_id(rest)?.into());
        let [_heartbeat, collected, latest] = [version(rest)?, version(rest)?, version(rest)?];
        if collected.max(latest) > MAX_VERSION {
            return None;
        }
    }
    Some(members)
}

/// Name, start and address of a member.
fn member_id<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let whole = *rest;
    let name = u16::from_le_bytes(take(rest)?);
    slice(rest, usize::from(name) + 8)?;
    let address = match take(rest)? {
        [4] => 4,
        [6] => 16,
        _ => return None,
    };
    slice(rest, address + 2)?;
    whole.get(..whole.len() - rest.len())
}

fn slice<'b>(rest: &mut &'b [u8], bytes: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(taken)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests;
