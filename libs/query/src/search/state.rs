//! The state of a running search.

use std::ops::ControlFlow;

use tactus_api::Result;
use tactus_api::search::SearchCombiner;
use tactus_proto::tactus::v1::SearchResponse as JobAnswer;
use tactus_proto::tempopb::TraceSearchMetadata;
use tactus_work::Held;

use super::Job;
use super::answer::is_long;
use super::selection::Selected;
use crate::jobs::Outcome;
use crate::offload::{hold, offload};
use crate::progress::{SearchProgress, TEXT_TIMES};
use crate::work::Work;

pub(super) struct State {
    pub(super) combiner: SearchCombiner,
    /// Memory of the traces found.
    pub(super) held: Held,
    pub(super) held_bytes: usize,
    pub(super) work: Work,
    pub(super) most_recent: bool,
    /// Shows this state to the client of a stream.
    pub(super) progress: Option<SearchProgress>,
}

impl State {
    /// False if the block of this job cannot change the answer.
    pub(super) fn wants(&self, job: &Job) -> bool {
        if !self.most_recent {
            return !self.combiner.is_full();
        }
        self.combiner.oldest_kept_start().is_none_or(|oldest| oldest <= job.block_end)
    }

    /// True for a stream that shows every trace as soon as it is found, even if newer ones may follow.
    pub(super) fn shows_as_found(&self) -> bool {
        self.progress.is_some() && !self.most_recent
    }

    /// Shows traces that ingesters have found so far.
    pub(super) async fn show(&mut self, traces: Vec<TraceSearchMetadata>) -> Result<()> {
        if traces.is_empty() {
            return Ok(());
        }
        self.hold(&traces).await?;
        self.combiner.preview(traces);
        if let Some(progress) = &mut self.progress {
            progress.has_news();
        }
        self.tell();
        Ok(())
    }

    async fn hold(&mut self, traces: &[TraceSearchMetadata]) -> Result<()> {
        let bytes: usize = traces.iter().map(prost::Message::encoded_len).sum();
        self.held_bytes += bytes * TEXT_TIMES;
        hold(&mut self.held, self.held_bytes).await
    }

    async fn add(&mut self, traces: Vec<TraceSearchMetadata>) -> Result<()> {
        let is_long = is_long(&traces);
        let mut combiner = std::mem::take(&mut self.combiner);
        let added = offload(is_long, move || {
            combiner.add(traces);
            combiner
        });
        self.combiner = added.await?;
        Ok(())
    }

    pub(super) fn tell(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.tell(&mut self.combiner, self.work.so_far(), self.most_recent);
        }
    }

    /// Counts jobs on blocks that cannot match as done.
    pub(super) fn leave_out(&mut self, selected: &Selected) -> Result<()> {
        self.work.leave_out(selected.needless.len(), selected.inspected_bytes);
        if let Some(progress) = &mut self.progress {
            progress.has_news();
        }
        self.tell();
        self.work.check()
    }

    pub(super) async fn take(&mut self, outcome: Outcome<JobAnswer>) -> Result<ControlFlow<()>> {
        match outcome {
            Outcome::Damaged => self.work.partial = true,
            Outcome::Answer(answer) => {
                self.work.add(answer.metrics.as_ref(), answer.explanations);
                self.work.partial |= answer.partial;
                self.hold(&answer.traces).await?;
                self.add(answer.traces).await?;
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.has_news();
        }
        self.tell();
        if self.combiner.is_full() && !self.most_recent {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }
}
