//! Measures how long the building of a block waits for object storage.
//!
//! Only the upload has a time limit, as if it came after building.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The time spent on an upload, and since when it has been waiting. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct UploadTime(Arc<Mutex<(Duration, Option<Instant>)>>);

impl UploadTime {
    /// Runs a part of the upload. For one thread at a time.
    pub(crate) fn measure<R>(&self, upload: impl FnOnce() -> R) -> R {
        self.0.lock().1 = Some(Instant::now());
        let result = upload();
        let mut time = self.0.lock();
        let spent = time.1.take().map_or(Duration::ZERO, |began| began.elapsed());
        time.0 += spent;
        result
    }

    /// The time spent so far.
    pub(crate) fn spent(&self) -> Duration {
        let (spent, began) = *self.0.lock();
        spent + began.map_or(Duration::ZERO, |began| began.elapsed())
    }
}

/// A sink whose writes are part of an upload.
#[derive(Debug)]
pub(crate) struct Timed<W> {
    pub(crate) inner: W,
    pub(crate) time: UploadTime,
}

impl<W: Write> Write for Timed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { inner, time } = self;
        time.measure(|| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        let Self { inner, time } = self;
        time.measure(|| inner.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_between_writes_does_not_count() {
        let time = UploadTime::default();
        let pause = Duration::from_millis(20);
        let slow = |_| std::thread::sleep(pause);
        assert_eq!(time.spent(), Duration::ZERO);
        let mut seen = Duration::ZERO;
        time.measure(|| {
            slow(());
            seen = time.spent();
        });
        assert!(seen >= pause, "while it goes on: {seen:?}");
        let spent = time.spent();
        slow(());
        assert_eq!(time.spent(), spent);
        Timed { inner: Vec::new(), time: time.clone() }.write_all(b"x").unwrap();
        assert!(time.spent() > spent);
    }
}
