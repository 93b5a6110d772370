//! The committed code is what the generator makes of the `.proto` files.

#[path = "../examples/generate/codegen.rs"]
mod codegen;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

fn contents(dir: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let mut files = Vec::new();
    codegen::collect_files(dir, codegen::GENERATED, &mut files)?;
    let read = |path: &std::path::PathBuf| {
        Ok((path.file_name().unwrap_or_default().to_owned(), fs::read(path)?))
    };
    files.iter().map(read).collect()
}

#[test]
fn generated_code_is_current() {
    let fresh = tempfile::tempdir().unwrap();
    codegen::generate(fresh.path()).unwrap();
    let fresh = contents(fresh.path()).unwrap();
    let committed = contents(&codegen::committed_dir()).unwrap();
    let names = |files: &BTreeMap<OsString, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&fresh), names(&committed));
    for (name, code) in &fresh {
        assert!(
            committed[name] == *code,
            "{name:?} is stale: run `cargo run -p tactus-proto --example generate`"
        );
    }
}
