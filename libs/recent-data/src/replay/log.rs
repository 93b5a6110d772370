//! Reads back the write-ahead log at the start.

use std::{collections::BTreeSet, sync::Arc};

use tactus_model::TenantId;
use tactus_telemetry::{error_text, log_limited};
use tactus_wal::{Frame, PartId, Replay};

use crate::{
    error::{Error, PushError},
    frame,
    generation::{Generation, Sealing},
    head::Head,
    ingester::Ingester,
    large_traces::Inherited,
    layout::PartRange,
    settings::Limits,
    unreadable::What,
};

/// Log parts whose spans are in segments.
#[derive(Default)]
pub(super) struct Covered {
    pub(super) parts: Vec<PartRange>,
    /// Of these, those of which some segments are damaged or cannot be read.
    pub(super) damaged: Vec<PartRange>,
}

impl Covered {
    fn has(ranges: &[PartRange], part: u64) -> bool {
        ranges.iter().any(|range| range.contains(part))
    }
}

/// Cuts the spans of each log part that no segment holds into segments, then releases the part.
pub(super) fn replay_log(
    ingester: &Ingester,
    mut log: Replay,
    covered: &Covered,
) -> Result<(), Error> {
    let is_covered = |part: PartId| Covered::has(&covered.parts, part.number());
    let mut sealing = ingester.sealing.try_lock().expect("nothing else runs during start");
    let mut open: Option<(PartId, Arc<Generation>)> = None;
    let mut finished = Vec::new();
    let mut again = Vec::new();
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
            if Covered::has(&covered.damaged, frame.position.part.number()) {
                again.push(frame);
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
    let last = ingester.wal.parts().iter().map(|part| part.id.number()).max();
    drop(log);
    if !covered.parts.is_empty() {
        // The former process may have ended between the rename of a cut and its sync.
        ingester.sync_segments()?;
    }
    for part in ingester.wal.parts() {
        // The parts that are left are covered by segments, are damaged or empty; or their spans are only in memory.
        let number = part.id.number();
        if !sealing.is_waiting(number) && !Covered::has(&covered.damaged, number) {
            ingester.release_log(PartRange::of(number));
        }
    }
    let segments = covered.parts.iter().map(|range| range.last).max().unwrap_or(0);
    sealing.sealed_through = last.unwrap_or(0).max(segments);
    // A push needs no cut, but a part of the log, which comes after those that were cut.
    drop(sealing);
    push_again(ingester, &again).into_iter().for_each(wait_for_next_start);
    for &parts in &covered.damaged {
        ingester.release_log(parts);
    }
    Ok(())
}

/// Takes in once more what a log part holds of which some segments are damaged. The sound ones keep its place on the disk,
/// so its pushes go to the current part. Of those that segments hold, nothing is stored again. Returns the parts of which
/// something was refused: they are the only copy of it.
fn push_again(ingester: &Ingester, frames: &[Frame]) -> BTreeSet<PartId> {
    let push = |frame: &&Frame| {
        let Some((push, _)) = frame::decode(frame.payload.clone()) else { return true };
        let Ok(tenant) = TenantId::parse(&push.tenant) else { return true };
        let pushed = ingester.push(&push, &tenant);
        let log = |error: &PushError| {
            log_limited!(
                error,
                error = error_text(error),
                "spans of damaged segments, which the write-ahead log still holds, are not taken in again before the next start"
            );
        };
        pushed.inspect_err(log).is_ok()
    };
    frames.iter().filter(|frame| !push(frame)).map(|frame| frame.position.part).collect()
}

/// Writes replayed spans to segments. If the disk is full they stay live, within the limit of live spans, until flushes
/// have freed space.
fn keep_replayed(
    ingester: &Ingester,
    generation: Arc<Generation>,
    parts: PartRange,
    sealing: &mut Sealing,
) -> Result<(), Error> {
    let Err(error) = ingester.write_generation(&generation, parts) else { return Ok(()) };
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
    // Limits were applied when the push came in. The frame names the spans that were refused then.
    let limits = Limits {
        max_attribute_bytes: ingester.settings.limits.of(&tenant).max_attribute_bytes,
        ..Limits::default()
    };
    let chunk_spans = ingester.settings.chunk_spans;
    let head = generation
        .head_or_insert(&tenant, || Arc::new(Head::new(limits, chunk_spans, Inherited::default())));
    let known = &ingester.tenant_or_insert(&tenant).origins;
    // A frame may be there twice, and a log part may exist besides the segments that replaced it.
    let stored = head.append_replayed(push, refused, |origin| known.contains(origin));
    stored.map(|origins| known.add(&origins.into_iter().collect())).is_ok()
}
