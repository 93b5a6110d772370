//! The end of the file, which tells the length of its footer.

use std::io::{self, Write};

const TAIL: usize = 8;

/// Passes bytes on, counts them, and remembers the last eight.
#[derive(Debug)]
pub(super) struct Sink<W> {
    inner: W,
    written: u64,
    tail: [u8; TAIL],
    /// What was written since the end began.
    end: Option<Vec<u8>>,
}

impl<W> Sink<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, written: 0, tail: [0; TAIL], end: None }
    }

    /// From now on what is written is kept, too.
    pub(super) fn keep_end(&mut self) {
        self.end = Some(Vec::new());
    }

    /// What was kept.
    pub(super) fn take_end(&mut self) -> Vec<u8> {
        self.end.take().unwrap_or_default()
    }

    /// The sink, the bytes written to it, and the length of the thrift footer they end with.
    pub(super) fn finish(self) -> (W, u64, u32) {
        let [a, b, c, d, ..] = self.tail;
        (self.inner, self.written, u32::from_le_bytes([a, b, c, d]))
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        let accepted = &bytes[..count];
        let kept = &accepted[count.saturating_sub(TAIL)..];
        self.tail.rotate_left(kept.len());
        self.tail[TAIL - kept.len()..].copy_from_slice(kept);
        self.written += count as u64;
        if let Some(end) = &mut self.end {
            end.extend_from_slice(accepted);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
