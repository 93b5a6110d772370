//! The decisions of tail sampling that are remembered for a tenant, and the settings for the next ones.

use std::{collections::HashSet, sync::Arc, time::Instant};

use tactus_tail_sampling::{Decider, Decision, DecisionCache};

use crate::{recent_view::RecentView, segment::OpenSegment, settings::TailSampling};

/// The remembered decisions of a tenant.
#[derive(Debug)]
pub(crate) struct Deciding {
    pub(crate) settings: Arc<TailSampling>,
    pub(crate) decider: Decider,
    pub(crate) cache: DecisionCache,
    /// When the newest decided segment was cut.
    pub(crate) through: Option<Instant>,
    /// The last time that something was decided.
    pub(crate) decided: Instant,
}

impl Deciding {
    /// For a tenant. Traces that are already on disk as decided segments count as kept.
    pub(crate) fn new(settings: &Arc<TailSampling>, view: &RecentView) -> Self {
        let (sampled, dropped) = cache_sizes(settings);
        let mut cache = DecisionCache::new(sampled, dropped);
        let made_at = tactus_clock::since_epoch().as_secs();
        for segment in view.segments.iter().filter(|segment| !segment.is_pending()) {
            let batch = segment.batch();
            let ids = batch.traces.ids.iter();
            ids.for_each(|&id| cache.remember(id, Decision { sampled: true, made_at }));
        }
        Self {
            decider: Decider::new(Arc::clone(&settings.policies)),
            settings: Arc::clone(settings),
            cache,
            through: None,
            decided: Instant::now(),
        }
    }

    /// Takes over settings that changed.
    pub(crate) fn follow(&mut self, settings: &Arc<TailSampling>) {
        if Arc::ptr_eq(settings, &self.settings) {
            return;
        }
        let (sampled, dropped) = cache_sizes(settings);
        self.cache.resize(sampled, dropped);
        self.decider = Decider::new(Arc::clone(&settings.policies));
        self.settings = Arc::clone(settings);
    }

    /// Tells the rate limits how much time the traces of these segments took to arrive: the time since the previous
    /// ones, but no longer than one cut can cover.
    pub(crate) fn advance(&mut self, due: &[OpenSegment]) {
        let Some(newest) = due.iter().map(|segment| segment.since()).max() else { return };
        let cuts: HashSet<_> = due.iter().map(|segment| segment.path().parent()).collect();
        let longest = self.settings.cut_period() * cuts.len() as u32;
        let since = self.through.map(|last| newest.saturating_duration_since(last));
        self.decider.advance(since.unwrap_or(longest).min(longest));
        self.through = Some(newest);
    }
}

/// Traces of one segment wait until it is decided, and segments are decided at different times. So at least that many
/// decisions are remembered.
fn cache_sizes(settings: &TailSampling) -> (usize, usize) {
    let at_least = settings.num_traces;
    (settings.sampled_cache_size.max(at_least), settings.non_sampled_cache_size.max(at_least))
}
