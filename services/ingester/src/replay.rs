//! Start: finds segments and reads back the write-ahead log.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tactus_model::TenantId;
use tactus_storage::Uuid;
use tactus_telemetry::{error_text, log_limited};
use tactus_wal::{PartId, Replay};

use crate::{
    error::Error,
    flush::{Manifest, PendingBlock},
    frame,
    generation::Generation,
    head::Head,
    ingester::Ingester,
    layout::{
        PartRange, decided_paths, has_segment_ending, is_deciding, is_pending, parse_part_range,
        parse_segment_file_name,
    },
    seal::Sealing,
    segment::{Segment, SegmentError},
    settings::Limits,
};

/// Takes over what an earlier process left: segments, blocks that were begun, and spans that are only in the log.
///
/// Memory: the spans of one log part. A damaged segment goes to quarantine, a damaged part of the log is kept aside
/// by the log; both are logged and counted.
pub(crate) fn restore(ingester: &Arc<Ingester>, log: Replay) -> Result<(), Error> {
    let _ = fs::remove_dir_all(ingester.layout.building());
    let building = ingester.layout.building();
    fs::create_dir_all(&building).map_err(Error::io("create", &building))?;
    let covered = find_segments(ingester)?;
    resume_blocks(ingester)?;
    replay_log(ingester, log, &covered)
}

/// Opens the segments on disk; returns the log parts whose spans they hold.
fn find_segments(ingester: &Ingester) -> Result<Vec<PartRange>, Error> {
    let root = ingester.layout.segments();
    let mut covered = Vec::new();
    // In order of their numbers: the oldest segments go to a block first.
    for path in list_sorted(&root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".writing-") {
            fs::remove_dir_all(&path).map_err(Error::io("delete", &path))?;
        } else if let Some(parts) = parse_part_range(&name) {
            open_segments(ingester, &path)?;
            covered.push(parts);
            // Fails unless it is empty.
            let _ = fs::remove_dir(&path);
        } else {
            tracing::warn!(path = %path.display(), "foreign entry among the segments, left alone");
        }
    }
    covered.sort_unstable();
    Ok(covered)
}

fn list_sorted(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        paths.push(entry.map_err(Error::io("list", directory))?.path());
    }
    paths.sort_unstable();
    Ok(paths)
}

fn open_segments(ingester: &Ingester, directory: &Path) -> Result<(), Error> {
    for path in list_sorted(directory)? {
        // What was decided is written before the pending segment goes; written half, it is decided again.
        if is_deciding(&path) || (is_pending(&path) && decided_paths(&path).1.exists()) {
            fs::remove_file(&path).map_err(Error::io("delete", &path))?;
            continue;
        }
        if is_pending(&path) {
            ingester.has_pending.store(true, Ordering::Release);
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(tenant) = name.and_then(parse_segment_file_name) else {
            if name.is_some_and(has_segment_ending) {
                // An earlier release took spans of tenants that no bucket stores.
                let kept = ingester.layout.quarantine(&path).map_err(Error::io("move", &path))?;
                ingester.metrics.replay_errors.with([""]).inc();
                log_limited!(
                    error, kept = %kept.display(),
                    "segment of a tenant whose name cannot be stored set aside"
                );
                continue;
            }
            tracing::warn!(path = %path.display(), "foreign file among the segments, left alone");
            continue;
        };
        match Segment::open(&path, true, &ingester.segment_maps) {
            Ok(segment) => ingester.tenant_or_insert(&tenant).add_segment(Arc::new(segment)),
            // The segment may be sound: set aside, its spans would be missing from then on.
            Err(error @ SegmentError::Io { .. }) => return Err(error.into()),
            Err(error) => {
                let kept = ingester.layout.quarantine(&path).map_err(Error::io("move", &path))?;
                ingester.metrics.replay_errors.with([tenant.as_str()]).inc();
                tracing::error!(
                    error = error_text(&error), kept = %kept.display(),
                    "damaged segment set aside: its spans are lost to queries"
                );
            }
        }
    }
    Ok(())
}

/// Finds the blocks that were begun, so that each is finished once and under its own id.
fn resume_blocks(ingester: &Ingester) -> Result<(), Error> {
    let root = ingester.layout.flushing();
    for tenant_entry in fs::read_dir(&root).map_err(Error::io("list", &root))? {
        let directory = tenant_entry.map_err(Error::io("list", &root))?.path();
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (Ok(tenant), true) = (TenantId::parse(name), directory.is_dir()) else { continue };
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let path = entry.map_err(Error::io("list", &directory))?.path();
            resume_block(ingester, &tenant, &path);
        }
    }
    Ok(())
}

fn resume_block(ingester: &Ingester, tenant: &TenantId, path: &Path) {
    let id = path.file_stem().and_then(|stem| Uuid::parse_str(stem.to_str()?).ok());
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read a manifest, left alone");
            return;
        }
    };
    let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
    let (Some(id), Some(manifest)) = (id, manifest) else {
        // A manifest is renamed into place: an unreadable one is a leftover from before its block began.
        let _ = fs::remove_file(path);
        return;
    };
    let listed: HashSet<&Path> = manifest.segments.iter().map(PathBuf::as_path).collect();
    let root = ingester.layout.segments();
    let is_listed = |segment: &Arc<Segment>| {
        segment.path().strip_prefix(&root).is_ok_and(|path| listed.contains(path))
    };
    let segments = ingester.tenant_or_insert(tenant).segments();
    let segments: Vec<_> = segments.into_iter().filter(is_listed).collect();
    if segments.is_empty() {
        let _ = fs::remove_file(path);
        return;
    }
    match manifest.flushed {
        Some(seconds) => {
            let flushed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let block = PendingBlock::new(id, segments, true);
            ingester.flushes.held.add(tenant.clone(), flushed, block);
        }
        None => ingester.flushes.resume(tenant, id, segments),
    }
}

/// Cuts the spans of each log part that no segment holds to segments of their own, then releases the part.
fn replay_log(ingester: &Ingester, mut log: Replay, covered: &[PartRange]) -> Result<(), Error> {
    let is_covered = |part: PartId| covered.iter().any(|range| range.contains(part.number()));
    let mut sealing = ingester.sealing.try_lock().expect("nothing else runs during start");
    let mut open: Option<(PartId, Arc<Generation>)> = None;
    let mut finished = Vec::new();
    loop {
        let frame = log.next();
        let part = frame.as_ref().map(|frame| frame.position.part);
        if let Some((done, generation)) = open.take_if(|(open, _)| Some(*open) != part) {
            finished.push((done, generation));
        }
        // The log lets a part go only once its reader has moved on.
        for (done, generation) in finished.drain(..) {
            keep_replayed(ingester, generation, PartRange::of(done.number()), &mut sealing)?;
        }
        let Some(frame) = frame else { break };
        if is_covered(frame.position.part) {
            continue;
        }
        let generation =
            &open.get_or_insert_with(|| (frame.position.part, Arc::new(Generation::new(true)))).1;
        let appended = frame::decode(frame.payload)
            .is_some_and(|(push, refused)| replay_push(ingester, generation, &push, &refused));
        if appended {
            ingester.metrics.replayed_frames.inc();
        } else {
            ingester.metrics.replay_errors.with([""]).inc();
            log_limited!(
                error, part = %frame.position.part,
                "frame of the log holds no push, or that of a tenant whose name cannot be stored: skipped"
            );
        }
    }
    let report = log.report();
    ingester.metrics.replay_dropped_bytes.inc_by(report.dropped_bytes);
    if report.dropped_bytes > 0 {
        ingester.metrics.replay_errors.with([""]).inc();
    }
    if report.frames > 0 || report.dropped_bytes > 0 {
        tracing::info!(
            parts = report.parts,
            pushes = report.frames,
            bytes = report.bytes,
            dropped_bytes = report.dropped_bytes,
            "write-ahead log replayed"
        );
    }
    let last = ingester.wal.parts().iter().map(|part| part.id.number()).max();
    drop(log);
    for part in ingester.wal.parts() {
        // What is left is covered by segments, damaged, or holds nothing; or its spans are in memory only.
        if !sealing.is_waiting(part.id.number()) {
            ingester.release_log(PartRange::of(part.id.number()));
        }
    }
    let segments = covered.iter().map(|range| range.last).max().unwrap_or(0);
    sealing.sealed_through = last.unwrap_or(0).max(segments);
    Ok(())
}

/// Writes replayed spans to segments. On a full disk they stay live, within the bound of live spans, until flushes have
/// made room.
fn keep_replayed(
    ingester: &Ingester,
    generation: Arc<Generation>,
    parts: PartRange,
    sealing: &mut Sealing,
) -> Result<(), Error> {
    let Err(error) = ingester.write_generation(&generation, parts) else { return Ok(()) };
    let live = ingester.measure_live_bytes() + generation.heap_bytes();
    if live > ingester.settings.max_live_bytes {
        return Err(error);
    }
    tracing::error!(
        error = error_text(&error),
        "cannot cut replayed spans to segments, kept in memory"
    );
    for (tenant, head) in generation.heads() {
        ingester.tenant_or_insert(&tenant).add_head(head);
    }
    ingester.wait_for_space(sealing, generation, parts);
    Ok(())
}

fn replay_push(
    ingester: &Ingester,
    generation: &Generation,
    push: &tactus_proto::tactus::v1::PushRequest,
    refused: &[u32],
) -> bool {
    let Ok(tenant) = TenantId::parse(&push.tenant) else { return false };
    // Limits were applied when the push came in; what was refused then is named in the frame.
    let limits = Limits {
        max_attribute_bytes: ingester.settings.limits.of(&tenant).max_attribute_bytes,
        ..Limits::default()
    };
    let chunk_spans = ingester.settings.chunk_spans;
    let head = generation
        .head_or_insert(&tenant, || Arc::new(Head::new(limits, chunk_spans, HashMap::new())));
    let known = &ingester.tenant_or_insert(&tenant).origins;
    // A frame may be there twice, and a part beside the segments that replaced it.
    let stored = head.append_replayed(push, refused, |origin| known.contains(origin));
    stored.map(|origins| known.add(&origins.into_iter().collect())).is_ok()
}
