//! Turns every `.proto` file below `proto/` into Rust, without `protoc`.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[path = "shapes.rs"]
mod shapes;

/// Name of the generated file that declares one Rust module per protobuf package.
const INCLUDE_FILE: &str = "packages.rs";

/// Name of the generated file that tells what messages between services take.
const SHAPES_FILE: &str = "shapes.rs";

/// The generated file of the services that call each other, and the codec of their calls.
const SERVICES_FILE: &str = "tactus.v1.rs";
const USUAL_CODEC: &str = "tonic_prost::ProstCodec";
const CODEC: &str = "crate::codec::BoundedCodec";

/// Where the `.proto` files lie.
pub(crate) fn proto_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// Where the generated code is committed.
pub(crate) fn committed_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen")
}

/// Writes the code of all `.proto` files into the existing directory `out_dir`.
pub(crate) fn generate(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let root = proto_root();
    let mut files = Vec::new();
    collect_files(&root, "proto", &mut files)?;
    let descriptors = protox::compile(&files, [&root])?;
    fs::write(out_dir.join(SHAPES_FILE), shapes::code(&descriptors))?;
    tonic_prost_build::configure()
        .out_dir(out_dir)
        .include_file(INCLUDE_FILE)
        .bytes(".")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    let services = out_dir.join(SERVICES_FILE);
    let code = fs::read_to_string(&services)?.replace(USUAL_CODEC, CODEC);
    fs::write(services, code)?;
    Ok(())
}

/// Appends the files below `dir` whose name ends with `.extension`, sorted by path.
pub(crate) fn collect_files(
    dir: &Path,
    extension: &str,
    files: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect_files(&path, extension, files)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}
