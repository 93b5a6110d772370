//! Generates a table of the files built from `web/`. If they are missing, it has one page that says how to build them.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

/// The output folder of the build of `web/`. Cargo watches the folder above it, which always exists.
const SITE: &str = "web/dist/site";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=missing.html");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let site = root.join(SITE);
    let mut files = BTreeMap::new();
    if site.join("index.html").is_file() {
        collect(&site, &site, &mut files)?;
    } else {
        files.insert("index.html".to_owned(), root.join("missing.html"));
    }
    let table = table(&root, &files)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("files.rs"), table)?;
    Ok(())
}

/// Collects all files below `folder`, by their paths below `site`, with slashes.
fn collect(
    site: &Path,
    folder: &Path,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(site, &path, files)?;
            continue;
        }
        let parts: Vec<_> =
            path.strip_prefix(site)?.iter().map(|part| part.to_string_lossy()).collect();
        files.insert(parts.join("/"), path);
    }
    Ok(())
}

fn table(root: &Path, files: &BTreeMap<String, PathBuf>) -> Result<String, Box<dyn Error>> {
    // The path is resolved when the crate is compiled, because another checkout may use the same build folder later.
    let included = |path: &Path| -> Result<String, Box<dyn Error>> {
        let below = Path::new("/").join(path.strip_prefix(root)?);
        Ok(format!("include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {below:?}))"))
    };
    let mut table = "&[\n".to_owned();
    for (name, path) in files {
        if is_encoded(name) {
            continue;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&fs::read(path)?);
        let encoded = |ending: &str| match files.get(&format!("{name}.{ending}")) {
            Some(path) => included(path).map(|bytes| format!("Some({bytes})")),
            None => Ok("None".to_owned()),
        };
        writeln!(
            table,
            "File {{ path: {name:?}, tag: \"{:016x}\", plain: {}, brotli: {}, gzip: {} }},",
            hasher.finish(),
            included(path)?,
            encoded("br")?,
            encoded("gz")?,
        )?;
    }
    table.push(']');
    Ok(table)
}

fn is_encoded(name: &str) -> bool {
    name.ends_with(".br") || name.ends_with(".gz")
}
