//! Rewrites `libs/proto/src/gen` from the files below `proto/`.
//!
//! Run it after every change of a `.proto` file: `cargo run -p tactus-proto --example generate`.

mod codegen;

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let committed = codegen::committed_dir();
    let mut stale = Vec::new();
    codegen::collect_files(&committed, codegen::GENERATED, &mut stale)?;
    // Generated aside first: a broken .proto file must not leave an empty directory behind.
    let fresh = tempfile::tempdir()?;
    codegen::generate(fresh.path())?;
    for path in stale {
        fs::remove_file(path)?;
    }
    let mut generated = Vec::new();
    codegen::collect_files(fresh.path(), codegen::GENERATED, &mut generated)?;
    for path in generated {
        if let Some(name) = path.file_name() {
            fs::copy(&path, committed.join(name))?;
        }
    }
    Ok(())
}
