//! Decompresses bodies within a limit. Memory is counted before it is used.

use std::io::{self, BufRead, Read};

use super::NoRoom;

/// Why something could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The plain text is longer than the limit.
    #[error("decompressed body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There is no memory for the plain text; the body may be sent again.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Not in the format claimed, damaged, or cut off.
    #[error("{0}")]
    Corrupt(String),
}

impl DecompressError {
    /// An error of the decoder.
    pub fn corrupt(error: impl Into<io::Error>) -> Self {
        Self::Corrupt(error.into().to_string())
    }
}

/// Plain text as it is found.
#[derive(Debug)]
pub struct Plain<R> {
    /// The decompressed bytes.
    pub bytes: Vec<u8>,
    /// The most bytes.
    pub limit: usize,
    room: R,
}

/// Room for the usual ratio of span data; more is found by doubling.
pub fn first_capacity(compressed_bytes: usize, limit: usize) -> usize {
    compressed_bytes.saturating_mul(6).clamp(1 << 10, limit.saturating_add(1).max(1 << 10))
}

impl<R: FnMut(usize) -> bool> Plain<R> {
    /// Nothing yet of what is so long compressed. `room` is asked before memory is taken; when it says no, there is no more.
    ///
    /// Errors: there is no memory.
    pub fn new(compressed_bytes: usize, limit: usize, room: R) -> Result<Self, DecompressError> {
        let mut plain = Self { bytes: Vec::new(), limit, room };
        plain.reserve(first_capacity(compressed_bytes, limit))?;
        Ok(plain)
    }

    /// Makes room for this many bytes in all. Errors: there is no memory.
    pub fn reserve(&mut self, capacity: usize) -> Result<(), DecompressError> {
        let more = capacity.saturating_sub(self.bytes.capacity());
        if more > 0 {
            if !(self.room)(more) {
                return Err(NoRoom.into());
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        Ok(())
    }

    /// Doubles the room, to a byte more than the limit at most. Errors: the limit is exceeded, or there is no memory.
    pub fn grow(&mut self) -> Result<(), DecompressError> {
        let length = self.bytes.len();
        if length > self.limit {
            return Err(DecompressError::TooLarge { limit: self.limit });
        }
        self.reserve(length.saturating_mul(2).min(self.limit.saturating_add(1)).max(length + 1))
    }

    /// Adds what `decoder` reads to its end. Errors: the limit is exceeded, there is no memory, or those of the decoder.
    pub fn read(&mut self, mut decoder: impl Read) -> Result<(), DecompressError> {
        loop {
            let free = self.bytes.capacity() - self.bytes.len();
            let read = decoder.by_ref().take(free as u64).read_to_end(&mut self.bytes);
            if read.map_err(DecompressError::corrupt)? < free {
                break;
            }
            self.grow()?;
        }
        match self.bytes.len() {
            length if length > self.limit => Err(DecompressError::TooLarge { limit: self.limit }),
            _ => Ok(()),
        }
    }

    /// Adds what gzip holds, of one or more members. Errors: as of [`Self::read`].
    pub fn read_gzip(&mut self, compressed: impl BufRead) -> Result<(), DecompressError> {
        self.read(flate2::bufread::MultiGzDecoder::new(compressed))
    }

    /// Adds what zstd holds. Errors: as of [`Self::read`].
    pub fn read_zstd(&mut self, compressed: impl BufRead) -> Result<(), DecompressError> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)
            .map_err(DecompressError::corrupt)?;
        let window = zstd_window_log(self.limit);
        decoder.window_log_max(window).map_err(DecompressError::corrupt)?;
        self.read(decoder)
    }
}

/// Window of a frame that holds `limit` bytes in one segment. A larger one is not needed.
fn zstd_window_log(limit: usize) -> u32 {
    limit.max(8 << 20).next_power_of_two().ilog2().min(27)
}
