//! Texts of the `/status` pages.

use std::fmt::Write as _;

use super::{BuildInfo, ConfigSource, ConfigView, Operational};

/// The pages in the order in which `/status` shows them.
pub(super) const NAMES: [&str; 5] =
    ["version", "services", "endpoints", "runtime_config", "config"];

/// One page. `None`: no such page. Errors: what is wrong with the `mode`.
pub(super) fn page(
    state: &Operational,
    name: &str,
    query: Option<&str>,
) -> Option<Result<String, String>> {
    match name {
        "version" => Some(Ok(version(&state.build))),
        "services" => Some(Ok(services(state))),
        "endpoints" => Some(Ok(endpoints(state))),
        "runtime_config" => Some(config(&state.runtime_config, query)),
        "config" => Some(config(&state.config, query)),
        _ => None,
    }
}

fn version(build: &BuildInfo) -> String {
    let BuildInfo { version, revision, branch, build_user, build_date, compiler } = build;
    format!(
        "tempo, version {version} (branch: {branch}, revision: {revision})\n  \
         build user:       {build_user}\n  \
         build date:       {build_date}\n  \
         compiler:         {compiler}\n\n"
    )
}

fn services(state: &Operational) -> String {
    let mut services = (state.services)();
    services.sort_by_key(|service| service.name);
    // A service that fails ends the process.
    let rows = services
        .iter()
        .map(|service| [service.name.to_owned(), service.state.to_string(), String::new()]);
    table(["service name", "status", "failure case"], rows.collect())
}

fn endpoints(state: &Operational) -> String {
    let mut endpoints = state.endpoints.clone();
    endpoints.sort_unstable();
    let rows = endpoints.into_iter().map(|path| [path.clone(), path]);
    table(["name", "regex"], rows.collect()) + "API documentation: docs/api.md\n"
}

/// In the view that `mode` names; the first occurrence counts, an empty one is none.
fn config(source: &ConfigSource, query: Option<&str>) -> Result<String, String> {
    let mut parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mode = parameters.find(|(key, _)| key == "mode").map(|(_, value)| value);
    let view = match mode.as_deref() {
        None | Some("") => ConfigView::Effective,
        Some("diff") => ConfigView::Diff,
        Some("defaults") => ConfigView::Defaults,
        Some(other) => return Err(format!("unknown value for mode query parameter: {other}")),
    };
    Ok(format!("---\n{}", source(view)))
}

/// A bordered table with a blank line after it.
fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut widths = header.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule = widths.map(|width| "-".repeat(width + 2)).join("+");
    let mut out = format!("+{rule}+\n");
    let line = |cells: &[String; N], out: &mut String| {
        for (cell, width) in cells.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(out, "| {cell:width$} ");
        }
        out.push_str("|\n");
    };
    line(&header.map(str::to_uppercase), &mut out);
    let _ = writeln!(out, "+{rule}+");
    for row in &rows {
        line(row, &mut out);
    }
    let _ = writeln!(out, "+{rule}+\n");
    out
}
