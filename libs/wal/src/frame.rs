//! Frames: payloads, and the eight bytes before each.

use std::io;

use bytes::Bytes;

use crate::{Error, Position, Result};

/// Longest payload of one frame in bytes. Replay allocates at most this much, whatever a damaged
/// header claims.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// Bytes before a payload: length and CRC32C, both little endian.
pub(crate) const HEADER_BYTES: usize = 8;

/// One frame read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its part and where in it the frame begins.
    pub position: Position,
    /// The payload, in one piece.
    pub payload: Bytes,
}

/// Why the payload of a frame cannot be returned.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The frame is bad, for this reason.
    Bad(String),
    /// The file system refused.
    Failed(io::Error),
}

impl Unread {
    /// True if reading it again may help, because the disk could not read it.
    pub(crate) fn is_of_disk(&self) -> bool {
        match self {
            Self::Bad(_) => false,
            // If the file is shorter than it was, that is damage.
            Self::Failed(error) => error.kind() != io::ErrorKind::UnexpectedEof,
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads and checks the payload of a frame that begins `left` bytes before the end of its part. `read` fills bytes from
/// an offset in the frame; it is asked for the header first, then for the payload.
pub(crate) fn read_payload(
    left: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<Bytes, Unread> {
    if left < HEADER_BYTES as u64 {
        return Err(Unread::Bad(format!("header cut off after {left} bytes")));
    }
    let mut header = [0; HEADER_BYTES];
    read(&mut header, 0)?;
    let header = Header::decode(header);
    let length = header.payload_bytes as usize;
    if length == 0 || length > MAX_PAYLOAD_BYTES {
        return Err(Unread::Bad(format!("length {length} out of range")));
    }
    let frame_bytes = header.frame_bytes();
    if frame_bytes > left {
        return Err(Unread::Bad(format!("frame of {frame_bytes} bytes cut off after {left}")));
    }
    let mut payload = vec![0; length];
    read(&mut payload, HEADER_BYTES as u64)?;
    if crc32c::crc32c(&payload) != header.crc32c {
        return Err(Unread::Bad("checksum mismatch".to_owned()));
    }
    Ok(Bytes::from(payload))
}

/// Length and checksum of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_bytes: u32,
    pub(crate) crc32c: u32,
}

impl Header {
    /// Describes the payload that `slices` form together.
    ///
    /// Errors: `EmptyFrame`, `FrameTooLarge`.
    pub(crate) fn of<S: AsRef<[u8]>>(slices: &[S]) -> Result<Self> {
        let bytes = slices.iter().map(|slice| slice.as_ref().len()).sum::<usize>();
        if bytes == 0 {
            return Err(Error::EmptyFrame);
        }
        let payload_bytes = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= MAX_PAYLOAD_BYTES)
            .ok_or(Error::FrameTooLarge { bytes, limit: MAX_PAYLOAD_BYTES })?;
        let crc32c = slices.iter().fold(0, |crc, slice| crc32c::crc32c_append(crc, slice.as_ref()));
        Ok(Self { payload_bytes, crc32c })
    }

    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[4..].copy_from_slice(&self.crc32c.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
        Self {
            payload_bytes: u32::from_le_bytes([l0, l1, l2, l3]),
            crc32c: u32::from_le_bytes([c0, c1, c2, c3]),
        }
    }

    /// Bytes of the whole frame in the file.
    pub(crate) fn frame_bytes(self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips() {
        let header = Header::of(&[&b"ab"[..], b"", b"c"]).unwrap();
        assert_eq!(header, Header { payload_bytes: 3, crc32c: crc32c::crc32c(b"abc") });
        assert_eq!(Header::decode(header.encode()), header);
        assert_eq!(header.frame_bytes(), 11);
    }

    #[test]
    fn payload_is_read_if_all_of_its_frame_is_there_and_sound() {
        let header = Header::of(&[b"abc"]).unwrap();
        let read = |frame: &[u8], left: usize| {
            let payload = read_payload(left as u64, |bytes, at| {
                let found = frame.get(at as usize..at as usize + bytes.len());
                bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            });
            payload.map_err(|unread| match unread {
                Unread::Bad(reason) => reason,
                Unread::Failed(error) => format!("failed: {:?}", error.kind()),
            })
        };
        let frame = [&header.encode()[..], b"abc"].concat();
        assert_eq!(read(&frame, 11).as_deref(), Ok(&b"abc"[..]));
        assert_eq!(read(&frame, 100).as_deref(), Ok(&b"abc"[..]), "others follow");
        assert_eq!(read(&frame, 7).unwrap_err(), "header cut off after 7 bytes");
        assert_eq!(read(&frame, 10).unwrap_err(), "frame of 11 bytes cut off after 10");
        assert_eq!(read(&frame[..10], 11).unwrap_err(), "failed: UnexpectedEof");
        assert_eq!(read(&[0; 11], 11).unwrap_err(), "length 0 out of range");
        let other = [&header.encode()[..], b"abd"].concat();
        assert_eq!(read(&other, 11).unwrap_err(), "checksum mismatch");
    }

    #[test]
    fn header_of_nothing_is_refused() {
        assert!(matches!(Header::of(&[&b""[..]]), Err(Error::EmptyFrame)));
        assert!(matches!(Header::of::<&[u8]>(&[]), Err(Error::EmptyFrame)));
    }

    #[test]
    fn header_of_too_long_payload_is_refused() {
        let mebibyte = vec![0_u8; 1 << 20];
        let slices = vec![mebibyte.as_slice(); 257];
        assert!(matches!(Header::of(&slices), Err(Error::FrameTooLarge { .. })));
    }
}
