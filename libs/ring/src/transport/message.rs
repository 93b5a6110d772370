//! Messages of chitchat, with a bound on what they decompress to.
//!
//! A message is its magic number, a version, a type and then, by type, a digest of what its sender knows and a delta of
//! what the other does not know. A delta comes in blocks, some of them compressed, of which chitchat takes as many as
//! there are: a message of a megabyte can hold gigabytes. So the blocks are looked at first.

use chitchat::{ChitchatMessage, Deserializable};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// Magic number and version.
const START_BYTES: usize = 3;
/// Types of messages with a delta.
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;
/// Heartbeat and two versions.
const NODE_DIGEST_BYTES: usize = 24;
/// Kinds of blocks.
const NO_MORE: u8 = 0;
const COMPRESSED: u8 = 1;
/// How much larger the deltas of real members may be once they are decompressed: names, addresses and numbers of members
/// do not shrink further.
const MAX_GROWTH: usize = 4;

/// Reads a message. `None`: malformed, or a delta of more than four times `max_message_bytes`.
pub(super) fn decode(bytes: &[u8], max_message_bytes: usize) -> Option<ChitchatMessage> {
    let delta = delta_bytes(bytes)?;
    if delta > max_message_bytes.saturating_mul(MAX_GROWTH) {
        return None;
    }
    ChitchatMessage::deserialize(&mut &*bytes).ok()
}

/// Bytes of a message's delta once it is decompressed; 0 without one. `None`: malformed, or a block
/// that is not one frame which says its size.
fn delta_bytes(bytes: &[u8]) -> Option<usize> {
    let (&kind, mut rest) = bytes.get(START_BYTES..)?.split_first()?;
    match kind {
        SYN_ACK => skip_digest(&mut rest)?,
        ACK => {}
        _ => return Some(0),
    }
    let mut total = 0_usize;
    loop {
        let [block] = take(&mut rest)?;
        if block == NO_MORE {
            return Some(total);
        }
        let length = u16::from_le_bytes(take(&mut rest)?);
        let (content, after) = rest.split_at_checked(usize::from(length))?;
        rest = after;
        let decompressed = match block {
            // Of several frames only the first would be looked at.
            COMPRESSED if find_frame_compressed_size(content) != Ok(content.len()) => return None,
            COMPRESSED => get_frame_content_size(content).ok()??,
            _ => u64::from(length),
        };
        total = total.saturating_add(usize::try_from(decompressed).ok()?);
    }
}

/// Skips for each member its name, start, address and versions.
fn skip_digest(rest: &mut &[u8]) -> Option<()> {
    for _ in 0..u16::from_le_bytes(take(rest)?) {
        let name = u16::from_le_bytes(take(rest)?);
        skip(rest, usize::from(name) + 8)?;
        let address = match take(rest)? {
            [4] => 4,
            [6] => 16,
            _ => return None,
        };
        skip(rest, address + 2 + NODE_DIGEST_BYTES)?;
    }
    Some(())
}

fn skip(rest: &mut &[u8], bytes: usize) -> Option<()> {
    *rest = rest.get(bytes..)?;
    Some(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[0x53, 0xb0, 0, kind], body].concat()
    }

    /// A delta of blocks of 60 000 zeros each, and its end.
    fn bomb(blocks: usize) -> Vec<u8> {
        let block = zstd::bulk::compress(&[0; 60_000], 3).unwrap();
        let block = [&[COMPRESSED][..], &(block.len() as u16).to_le_bytes(), &block].concat();
        [block.repeat(blocks), vec![NO_MORE]].concat()
    }

    /// Of one member at an address of IPv4 and one of IPv6.
    fn digest() -> Vec<u8> {
        let mut digest = vec![2, 0];
        for (version, address) in [(4, 4), (6, 16)] {
            digest.extend([1, 0, b'a' + version]);
            digest.extend([0; 8]);
            digest.push(version);
            digest.extend(vec![0; address + 2 + NODE_DIGEST_BYTES]);
        }
        digest
    }

    #[test]
    fn delta_that_decompresses_to_too_much_is_refused() {
        for (kind, start) in [(ACK, Vec::new()), (SYN_ACK, digest())] {
            let bytes = message(kind, &[start.clone(), bomb(1000)].concat());
            assert!(bytes.len() < 50_000, "{}", bytes.len());
            assert_eq!(delta_bytes(&bytes), Some(60_000_000));
            assert_eq!(decode(&bytes, 1 << 20), None);
            let small = message(kind, &[start, vec![NO_MORE]].concat());
            assert_eq!(delta_bytes(&small), Some(0));
            assert!(decode(&small, 1 << 20).is_some());
        }
    }

    #[test]
    fn block_that_does_not_say_its_size_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        std::io::Write::write_all(&mut encoder, &[0; 9]).unwrap();
        let block = encoder.finish().unwrap();
        let length = (block.len() as u16).to_le_bytes();
        let body = [&[COMPRESSED][..], &length, &block, &[NO_MORE]].concat();
        assert_eq!(delta_bytes(&message(ACK, &body)), None);
    }

    #[test]
    fn block_of_several_frames_is_refused() {
        let frames =
            [zstd::bulk::compress(b"a", 1).unwrap(), zstd::bulk::compress(&[0; 9], 1).unwrap()]
                .concat();
        let length = (frames.len() as u16).to_le_bytes();
        let body = [&[COMPRESSED][..], &length, &frames, &[NO_MORE]].concat();
        assert_eq!(delta_bytes(&message(ACK, &body)), None);
    }

    #[test]
    fn messages_without_a_delta_and_those_cut_off_are_told() {
        assert!(matches!(decode(&message(3, &[]), 1), Some(ChitchatMessage::BadCluster)));
        let whole = message(SYN_ACK, &[digest(), bomb(2)].concat());
        for length in 0..whole.len() {
            assert_eq!(delta_bytes(&whole[..length]), None, "{length}");
        }
        // A member whose address is of neither kind.
        assert_eq!(delta_bytes(&message(SYN_ACK, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5])), None);
    }
}
