//! The decisions that are remembered for a tenant, and the settings for the next ones.

use std::{collections::HashSet, sync::Arc, time::Instant};

use tactus_tail_sampling::{Decider, Decision, DecisionCache};

use crate::{recent_view::RecentView, segment::OpenSegment, settings::TailSampling};

/// The remembered decisions of a tenant.
#[derive(Debug)]
pub(crate) struct Deciding {
    pub(crate) settings: Arc<TailSampling>,
    pub(crate) decider: Decider,
    pub(crate) cache: DecisionCache,
    /// When the newest segment was cut of which traces were decided.
    pub(crate) through: Option<Instant>,
    /// The last time that something was decided.
    pub(crate) decided: Instant,
}

impl Deciding {
    /// Of a tenant whose traces that are on disk are kept.
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

    /// Tells the rates how long the traces of these segments took to arrive: since the last ones, but no longer than what
    /// is cut together can take.
    pub(crate) fn advance(&mut self, due: &[OpenSegment]) {
        let Some(newest) = due.iter().map(|segment| segment.since()).max() else { return };
        let cuts: HashSet<_> = due.iter().map(|segment| segment.path().parent()).collect();
        let longest = self.settings.cut_period() * cuts.len() as u32;
        let since = self.through.map(|last| newest.saturating_duration_since(last));
        self.decider.advance(since.unwrap_or(longest).min(longest));
        self.through = Some(newest);
    }
}

/// What is undecided lies in segments that are decided at different times: as many decisions are remembered at least.
fn cache_sizes(settings: &TailSampling) -> (usize, usize) {
    let at_least = settings.num_traces;
    (settings.sampled_cache_size.max(at_least), settings.non_sampled_cache_size.max(at_least))
}
