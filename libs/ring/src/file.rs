//! Small files of JSON that survive a restart.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a file; `None` if there is none, or it is not one. `what` is in the log, e.g. `tokens file`.
pub(crate) fn load<T: DeserializeOwned>(path: &Path, what: &str) -> Option<T> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "{what} cannot be read");
            return None;
        }
    };
    let parsed = serde_json::from_str(&text);
    let warn = |error: &serde_json::Error| {
        tracing::warn!(path = %path.display(), %error, "{what} is not understood");
    };
    parsed.inspect_err(warn).ok()
}

fn read(path: &Path) -> io::Result<String> {
    let found = std::fs::metadata(path)?;
    // To open a pipe would wait for somebody who writes to it.
    if !found.is_file() || found.len() > MAX_BYTES {
        let text = format!("not a file of at most {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    std::fs::read_to_string(path)
}

/// Writes a file, in a directory that is made if need be. It is replaced at once, never half written.
pub(crate) fn save(path: &Path, content: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(content).expect("numbers and strings have a JSON form");
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let unfinished = path.with_extension("tmp");
        // To open a pipe that lies there would wait for somebody who reads it.
        let _ = std::fs::remove_file(&unfinished);
        let mut file = File::create_new(&unfinished)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        // Without this, a power cut may bring the old file back.
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| Error::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_place_of_an_unfinished_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["tokens", "other"].map(|name| folder.path().join(name));
        std::fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, path.with_extension("tmp")).unwrap();
        save(&path, &[5_u32, 3]).unwrap();
        let loaded: Option<[u32; 2]> = load(&path, "tokens file");
        assert_eq!(loaded, Some([5, 3]));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
    }
}
