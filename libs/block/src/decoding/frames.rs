//! Finds the frames of a zstd stream (RFC 8878, section 3.1) without decompressing them.

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The frame itself.
    pub(crate) bytes: &'a [u8],
    /// Bytes that it declares to decompress to.
    pub(crate) content: usize,
    /// The content, if it is stored uncompressed in one piece.
    pub(crate) raw: Option<&'a [u8]>,
}

/// The length of the first frame of a stream, and the length of its content; `None` if the frame does not declare it.
pub(crate) fn first(stream: &[u8]) -> Option<(usize, usize)> {
    read_frame(stream).map(|frame| (frame.bytes.len(), frame.content))
}

/// The last frame of a stream and the bytes before it, if every frame declares its size.
pub(crate) fn split_last(stream: &[u8]) -> Option<(&[u8], Frame<'_>)> {
    let mut rest = stream;
    loop {
        let frame = read_frame(rest)?;
        let after = &rest[frame.bytes.len()..];
        if after.is_empty() {
            return Some((&stream[..stream.len() - rest.len()], frame));
        }
        rest = after;
    }
}

/// The frame at the start of `input`; `None` if it is malformed, skippable or does not declare its size.
fn read_frame(input: &[u8]) -> Option<Frame<'_>> {
    let rest = input.strip_prefix(&MAGIC)?;
    let (&descriptor, mut rest) = rest.split_first()?;
    let is_single_segment = descriptor & 1 << 5 != 0;
    let has_checksum = descriptor & 1 << 2 != 0;
    if descriptor & 1 << 3 != 0 || descriptor & 3 != 0 {
        return None;
    }
    if !is_single_segment {
        rest = rest.get(1..)?;
    }
    let (size_bytes, offset) = match (descriptor >> 6, is_single_segment) {
        (0, true) => (1, 0),
        (0, false) => return None,
        (1, _) => (2, 256),
        (2, _) => (4, 0),
        _ => (8, 0),
    };
    let (size, mut rest) = rest.split_at_checked(size_bytes)?;
    let size = size.iter().rev().fold(0u64, |size, &byte| size << 8 | u64::from(byte));
    let content = usize::try_from(size.checked_add(offset)?).ok()?;
    let mut raw = None;
    for block in 0.. {
        let (header, after) = rest.split_first_chunk::<3>()?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let (is_last, kind, size) = (header & 1 != 0, header >> 1 & 3, (header >> 3) as usize);
        let stored = match kind {
            0 | 2 => size,
            1 => 1,
            _ => return None,
        };
        let (body, after) = after.split_at_checked(stored)?;
        rest = after;
        if is_last {
            raw = (block == 0 && kind == 0 && size == content).then_some(body);
            break;
        }
    }
    if has_checksum {
        // Whoever used the raw bytes would have to verify the checksum.
        raw = None;
        rest = rest.get(4..)?;
    }
    Some(Frame { bytes: &input[..input.len() - rest.len()], content, raw })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_split_where_they_end() {
        let first = zstd::bulk::compress(&[7; 1000], 1).unwrap();
        let noise: Vec<u8> =
            (0..200u32).map(|i| (i.wrapping_mul(i * 2_654_435) >> 13) as u8).collect();
        for content in [b"".to_vec(), b"x".to_vec(), noise, vec![1; 300_000]] {
            let second = zstd::bulk::compress(&content, 1).unwrap();
            let stream = [first.as_slice(), &first, &second].concat();
            let (before, last) = split_last(&stream).unwrap();
            assert_eq!(before, [first.as_slice(), &first].concat());
            assert_eq!((last.bytes, last.content), (&second[..], content.len()));
            assert!(last.raw.is_none_or(|raw| raw == content));
            assert_eq!(split_last(&stream[..stream.len() - 1]), None);
            assert_eq!(split_last(&[stream.as_slice(), &[0]].concat()), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            split_last(&bytes);
            for (byte, magic) in bytes.iter_mut().zip(MAGIC) {
                *byte = magic;
            }
            split_last(&bytes);
        }
    }
}
