//! Reads back the write-ahead log at the start.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tactus_model::TenantId;
use tactus_telemetry::{error_text, log_limited};
use tactus_wal::{Frame, PartId, Replay};

use super::held::HeldSpans;
use crate::{
    error::{Error, PushError},
    frame,
    generation::{Generation, Sealing},
    head::Head,
    ingester::Ingester,
    large_traces::Inherited,
    layout::PartRange,
    pushes::bytes_of,
    settings::Limits,
    unreadable::What,
};

/// Log parts of which there are segments, or were. These need not have all of their spans: the directory of a cut may have
/// lost its file, or it comes from another disk, whose numbers are the same.
#[derive(Default)]
pub(super) struct Covered {
    pub(super) parts: Vec<PartRange>,
    /// Of these, those of which some segments are damaged, cannot be read, or are not there.
    pub(super) damaged: Vec<PartRange>,
}

impl Covered {
    fn has(ranges: &[PartRange], part: u64) -> bool {
        ranges.iter().any(|range| range.contains(part))
    }
}

/// Cuts the spans of each log part that has no segments into segments, then releases the part. Of one that has some, what
/// they lack is taken in again.
pub(super) fn replay_log(
    ingester: &Ingester,
    mut log: Replay,
    covered: &Covered,
) -> Result<(), Error> {
    let is_covered = |part: PartId| Covered::has(&covered.parts, part.number());
    let mut sealing = ingester.sealing.try_lock().expect("nothing else runs during start");
    let mut open: Option<(PartId, Arc<Generation>)> = None;
    let mut finished = Vec::new();
    let mut held = HeldSpans::new(ingester);
    let (mut again, mut again_bytes) = (Vec::new(), 0);
    let mut refused = BTreeSet::new();
    let wait_for_next_start = |part: PartId| {
        let path = ingester.wal.part_path(part);
        ingester.unreadable.add(&path, What::Unknown, ingester.settings.retry_pause);
    };
    loop {
        let frame = log.next();
        let part = frame.as_ref().map(|frame| frame.position.part);
        if let Some((done, generation)) = open.take_if(|(open, _)| Some(*open) != part) {
            finished.push((done, generation));
        }
        // The log allows a part to be released only after its reader has moved on.
        for (done, generation) in finished.drain(..) {
            keep_replayed(ingester, generation, PartRange::of(done.number()), &mut sealing)?;
        }
        let Some(frame) = frame else { break };
        if is_covered(frame.position.part) {
            if !held.has(&frame) {
                again_bytes += frame.payload.len();
                // Of more than that some would be refused anyway.
                if again_bytes <= ingester.settings.ingester.max_live_bytes as usize {
                    again.push(frame);
                } else {
                    refused.insert(frame.position.part);
                }
            }
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
                "skipped a frame of the write-ahead log: it holds no push, or the name of its tenant is invalid"
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
    for kept in report.damaged_parts.iter().filter(|damaged| damaged.is_kept) {
        let is_damaged = Covered::has(&covered.damaged, kept.part.number());
        // Answers lack its spans, unless they are in segments.
        if is_damaged || !is_covered(kept.part) {
            wait_for_next_start(kept.part);
        }
    }
    let left = ingester.wal.parts();
    drop(log);
    if !covered.parts.is_empty() {
        // The former process may have ended between the rename of a cut and its sync.
        ingester.sync_segments()?;
    }
    let numbers = left.iter().map(|part| part.id.number());
    let numbers = numbers.chain(covered.parts.iter().map(|range| range.last));
    sealing.sealed_through = numbers.max().unwrap_or(0);
    // A push needs no cut, but a part of the log, which comes after those that were cut.
    refused.extend(push_again(ingester, again));
    refused.into_iter().for_each(wait_for_next_start);
    for part in left {
        // The parts that are left are covered by segments, are damaged or empty; or their spans are only in memory.
        let number = part.id.number();
        if !sealing.is_waiting(number) {
            ingester.release_log(PartRange::of(number));
        }
    }
    Ok(())
}

/// Takes in once more what a log part holds and its segments lack. They keep its place on the disk, so its frames go to the
/// current part. Returns the parts of which something was refused: they are the only copy of it.
fn push_again(ingester: &Ingester, frames: Vec<Frame>) -> BTreeSet<PartId> {
    let parts: BTreeSet<_> = frames.iter().map(|frame| frame.position.part).collect();
    if parts.is_empty() {
        return parts;
    }
    tracing::warn!(
        parts = parts.len(),
        pushes = frames.len(),
        "the write-ahead log has spans that the segments of its parts lack: they are taken in again"
    );
    let generation = Arc::clone(&ingester.current.read());
    // Until then the tenants of these frames have no limits.
    generation.cut_within(Duration::ZERO);
    let mut refused = BTreeSet::new();
    for frame in frames {
        if let Err(error) = push_frame(ingester, &generation, &frame) {
            refused.insert(frame.position.part);
            log_limited!(
                error,
                error = error_text(&error),
                "spans that segments lack, and the write-ahead log still holds, are not taken in again before the next start"
            );
        }
    }
    // The parts that had them go next.
    if ingester.settings.fsync_interval.is_some()
        && let Err(error) = ingester.wal.sync()
    {
        tracing::error!(
            error = error_text(&error),
            "cannot sync spans that were taken in again: the parts of the log that had them stay"
        );
        return parts;
    }
    refused
}

/// Limits were applied when the push came in, so that only a lack of memory or of disk refuses it.
fn push_frame(
    ingester: &Ingester,
    generation: &Generation,
    frame: &Frame,
) -> Result<(), PushError> {
    let Some((push, refused)) = frame::decode(frame.payload.clone()) else { return Ok(()) };
    let Ok(tenant) = TenantId::parse(&push.tenant) else { return Ok(()) };
    let state = ingester.tenant_or_insert(&tenant);
    if push.runs.iter().all(|run| state.origins.contains(run.origin)) {
        return Ok(());
    }
    let bytes = bytes_of(&push);
    ingester.check_room(&tenant, bytes)?;
    ingester.wal.append(&[&frame.payload[..]]).map_err(PushError::Wal)?;
    if generation.head(&tenant).is_none() {
        let new = || unlimited_head(ingester, &tenant);
        state.add_head(generation.head_or_insert(&tenant, new));
    }
    if !replay_push(ingester, generation, &push, &refused) {
        return Err(PushError::Failed);
    }
    generation.note_push();
    ingester.add_live_bytes(bytes);
    Ok(())
}

/// Writes replayed spans to segments. If the disk is full they stay live, within the limit of live spans, until flushes
/// have freed space.
fn keep_replayed(
    ingester: &Ingester,
    generation: Arc<Generation>,
    parts: PartRange,
    sealing: &mut Sealing,
) -> Result<(), Error> {
    let Err(error) = ingester.write_generation(&generation, &[parts]) else { return Ok(()) };
    let live = ingester.measure_live_bytes() + generation.heap_bytes();
    if live > ingester.settings.ingester.max_live_bytes as usize {
        return Err(error);
    }
    tracing::error!(
        error = error_text(&error),
        "cannot cut replayed spans to segments, kept in memory"
    );
    for (tenant, head) in generation.heads() {
        ingester.tenant_or_insert(&tenant).add_head(head);
    }
    ingester.wait_for_space(sealing, generation, vec![parts]);
    Ok(())
}

fn replay_push(
    ingester: &Ingester,
    generation: &Generation,
    push: &tactus_proto::tactus::v1::PushRequest,
    refused: &[u32],
) -> bool {
    let Ok(tenant) = TenantId::parse(&push.tenant) else { return false };
    let head = generation.head_or_insert(&tenant, || unlimited_head(ingester, &tenant));
    let known = &ingester.tenant_or_insert(&tenant).origins;
    // A frame may be there twice, and a log part may exist besides the segments that replaced it.
    let stored = head.append_replayed(push, refused, |origin| known.contains(origin));
    stored.map(|origins| known.add(&origins.into_iter().collect())).is_ok()
}

/// Limits were applied when the pushes came in. The frames name the spans that were refused then.
fn unlimited_head(ingester: &Ingester, tenant: &TenantId) -> Arc<Head> {
    let limits = Limits {
        max_attribute_bytes: ingester.settings.limits.of(tenant).max_attribute_bytes,
        ..Limits::default()
    };
    Arc::new(Head::new(limits, ingester.settings.chunk_spans, Inherited::default()))
}
