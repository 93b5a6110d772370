//! A file that is checked again and again.

use parking_lot::Mutex;

use crate::location::{Location, ReadError};

/// A file, its content when it was last used, and why it was rejected since then.
#[derive(Debug)]
pub struct WatchedFile {
    location: Location,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    used: Option<[u8; 32]>,
    refused: Option<String>,
}

/// What is in a file.
#[derive(Debug)]
pub struct Content {
    /// The bytes as they lie there.
    pub bytes: Vec<u8>,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

impl Content {
    /// Of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
        Self { bytes, sha256 }
    }
}

impl WatchedFile {
    /// A file that was not used yet.
    pub fn new(location: Location) -> Self {
        Self { location, seen: Mutex::default() }
    }

    /// Its path or URL.
    pub fn place(&self) -> &str {
        self.location.place()
    }

    /// What is in the file now.
    pub async fn read(&self) -> Result<Content, ReadError> {
        self.location.read().await.map(Content::new)
    }

    /// True if this is the content in use. Then earlier rejections are forgotten.
    pub fn is_used(&self, content: &Content) -> bool {
        let mut seen = self.seen.lock();
        let is_used = seen.used == Some(content.sha256);
        if is_used {
            seen.refused = None;
        }
        is_used
    }

    /// Remembers that this is in use from now on.
    pub fn used(&self, content: &Content) {
        *self.seen.lock() = Seen { used: Some(content.sha256), refused: None };
    }

    /// Remembers why the file is rejected. True if the reason differs from the last time, because each reason is logged
    /// once.
    pub fn refused(&self, reason: &str) -> bool {
        let before = self.seen.lock().refused.replace(reason.to_owned());
        before.as_deref() != Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn file_is_used_until_it_changes_and_each_refusal_is_new_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let place = path.to_str().unwrap();
        let file = WatchedFile::new(Location::new(place, 4, Duration::from_secs(1)).unwrap());
        assert!(matches!(file.read().await, Err(ReadError::Unreachable(_))));
        std::fs::write(&path, "one").unwrap();
        let one = file.read().await.unwrap();
        assert!(!file.is_used(&one));
        file.used(&one);
        assert!(file.is_used(&file.read().await.unwrap()));
        std::fs::write(&path, "two").unwrap();
        assert!(!file.is_used(&file.read().await.unwrap()));
        assert_eq!(
            [file.refused("bad"), file.refused("bad"), file.refused("worse")],
            [true, false, true]
        );
        assert!(file.is_used(&one) && file.refused("worse"));
        std::fs::write(&path, "seven").unwrap();
        assert!(matches!(file.read().await, Err(ReadError::TooLarge(4))));
    }
}
