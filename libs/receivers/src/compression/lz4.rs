//! The outer structure of lz4 frames.

/// First bytes of a frame.
const MAGIC: &[u8] = b"\x04\x22\x4d\x18";

/// Flags of the frame descriptor.
const HAS_BLOCK_CHECKSUMS: u8 = 1 << 4;
const HAS_CONTENT_SIZE: u8 = 1 << 3;
const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
const HAS_DICTIONARY: u8 = 1;

/// Top bit of a block's length: the block is not compressed.
const IS_PLAIN: u32 = 1 << 31;

/// Whether `body` consists of whole frames, each with its end mark. Contents are not looked at.
pub(super) fn ends_with_a_frame(mut body: &[u8]) -> bool {
    loop {
        match skip_frame(body) {
            Some([]) => return true,
            Some(rest) => body = rest,
            None => return false,
        }
    }
}

fn skip_frame(body: &[u8]) -> Option<&[u8]> {
    let body = body.strip_prefix(MAGIC)?;
    let flags = *body.first()?;
    let checksum = |flag: u8| if flags & flag != 0 { 4 } else { 0 };
    let content_size = if flags & HAS_CONTENT_SIZE != 0 { 8 } else { 0 };
    // Flags, block size and header checksum are one byte each.
    let mut rest = body.get(3 + content_size + checksum(HAS_DICTIONARY)..)?;
    loop {
        let (length, blocks) = rest.split_first_chunk::<4>()?;
        let length = (u32::from_le_bytes(*length) & !IS_PLAIN) as usize;
        if length == 0 {
            return blocks.get(checksum(HAS_CONTENT_CHECKSUM)..);
        }
        rest = blocks.get(length + checksum(HAS_BLOCK_CHECKSUMS)..)?;
    }
}
