//! Turns every `.proto` file below `proto/` into Rust, without `protoc`.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[path = "reflection.rs"]
mod reflection;
#[path = "shapes.rs"]
mod shapes;

/// Name of the generated file that declares one Rust module per protobuf package.
const INCLUDE_FILE: &str = "packages.rs";

/// Name of the generated file that tells what messages between services take.
const SHAPES_FILE: &str = "shapes.rs";

/// Name of the generated file that tells clients what Jaeger's query services take and answer.
const REFLECTION_FILE: &str = "jaeger_query.binpb";

/// The generated file of the services that call each other, and the codec of their calls.
const SERVICES_FILE: &str = "tactus.v1.rs";
const USUAL_CODEC: &str = "tonic_prost::ProstCodec";
const CODEC: &str = "crate::codec::BoundedCodec";

/// Modules of services that Tactus does not call, or serves by code of its own.
const UNUSED: &[(&str, &[&str])] = &[
    ("jaeger.api_v2.rs", &["collector_service_server"]),
    (
        "jaeger.storage.v1.rs",
        &[
            "archive_span_writer_plugin_server",
            "span_writer_plugin_server",
            "streaming_span_writer_plugin_server",
        ],
    ),
    ("tactus.v1.rs", &["querier_client"]),
    ("tempopb.rs", &["metrics_generator_client", "querier_client"]),
    ("zipkin.proto3.rs", &["span_service_client", "span_service_server"]),
];

/// Where the `.proto` files lie.
pub(crate) fn proto_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// Extensions of generated files.
pub(crate) const GENERATED: &[&str] = &["rs", "binpb"];

/// Where the generated code is committed.
pub(crate) fn committed_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen")
}

/// Writes the code of all `.proto` files into the existing directory `out_dir`.
pub(crate) fn generate(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let root = proto_root();
    let mut files = Vec::new();
    collect_files(&root, &["proto"], &mut files)?;
    let descriptors = protox::compile(&files, [&root])?;
    fs::write(out_dir.join(SHAPES_FILE), shapes::code(&descriptors))?;
    fs::write(out_dir.join(REFLECTION_FILE), reflection::descriptors(&descriptors))?;
    tonic_prost_build::configure()
        .out_dir(out_dir)
        .include_file(INCLUDE_FILE)
        .bytes(".")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    let edit =
        |name: &str, change: &dyn Fn(String) -> Option<String>| -> Result<(), Box<dyn Error>> {
            let path = out_dir.join(name);
            let code = change(fs::read_to_string(&path)?);
            Ok(fs::write(path, code.ok_or_else(|| format!("{name} is not as expected"))?)?)
        };
    edit(SERVICES_FILE, &|code| Some(code.replace(USUAL_CODEC, CODEC)))?;
    for (name, modules) in UNUSED {
        edit(name, &|code| modules.iter().try_fold(code, |code, module| without(&code, module)))?;
    }
    Ok(())
}

/// The code without a module and its comment; `None` if it has no such module.
fn without(code: &str, module: &str) -> Option<String> {
    let (before, rest) = code.split_once(&format!("pub mod {module} {{\n"))?;
    let (_, after) = rest.split_once("\n}\n")?;
    let before = before.trim_end().trim_end_matches(|c| c != '\n');
    Some(format!("{before}{after}"))
}

/// Appends the files below `dir` whose name has one of `extensions`, sorted by path.
pub(crate) fn collect_files(
    dir: &Path,
    extensions: &[&str],
    files: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect_files(&path, extensions, files)?;
        } else if path.extension().is_some_and(|found| extensions.iter().any(|one| found == *one)) {
            files.push(path);
        }
    }
    Ok(())
}
