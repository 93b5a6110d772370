//! Queriers that cannot be relied on: which workers a job may run on, and jobs that run on two.
//!
//! A suspect worker is given a copy of a job now and then, which shows when it is well again. A job on a worker that answers nothing
//! is copied to one that does. The first good answer counts.

use std::collections::BTreeMap;

use super::super::route::WorkerId;
use super::super::turns::JobId;
use super::super::worker::Worker;
use super::{Job, State};

/// Which workers a job may run on, besides that they have room.
pub(super) struct Choice {
    /// There is one that it did not fail on.
    has_fresh: bool,
    /// Such a one that is not suspect.
    has_sound: bool,
}

impl Choice {
    pub(super) fn of(job: &Job, workers: &BTreeMap<WorkerId, Worker>) -> Self {
        let is_fresh = |worker: &&Worker| !worker.leaving && !job.failed_on.contains(&worker.name);
        let has_sound = workers.values().filter(is_fresh).any(|worker| !worker.is_suspect());
        Self { has_fresh: has_sound || workers.values().any(|worker| is_fresh(&worker)), has_sound }
    }

    pub(super) fn admits(&self, job: &Job, worker: &Worker) -> bool {
        let has_failed = || job.failed_on.contains(&worker.name);
        !(self.has_sound && worker.is_suspect() || self.has_fresh && has_failed())
    }
}

impl State {
    /// Gives copies of a job that was started to suspect workers whose turn it is. Nobody waits for these.
    pub(super) fn try_suspects(&mut self, id: JobId) {
        let runs_on = self.jobs.get(&id).map_or(&[][..], |job| &job.runs_on);
        let to_try = self.workers.iter().filter(|(worker, it)| {
            !runs_on.is_empty() && !runs_on.contains(worker) && it.is_to_be_tried()
        });
        let to_try: Vec<WorkerId> = to_try.map(|(worker, _)| *worker).collect();
        for worker in to_try {
            self.start(id, worker);
        }
    }

    /// Copies the jobs of a worker that answers nothing to others that have little to do.
    pub(in super::super) fn rescue(&mut self, worker: WorkerId) {
        let Some(silent) = self.workers.get(&worker).filter(|worker| worker.is_silent()) else {
            return;
        };
        for id in silent.jobs().collect::<Vec<_>>() {
            let Some(job) = self.jobs.get(&id).filter(|job| job.runs_on.len() == 1) else {
                continue;
            };
            let choice = Choice::of(job, &self.workers);
            let others = self.workers.iter().filter(|(_, other)| {
                !other.is_silent()
                    && !other.is_suspect()
                    && other.has_little_to_do()
                    && choice.admits(job, other)
            });
            let least = others.min_by_key(|(_, other)| other.load()).map(|(other, _)| *other);
            if let Some(other) = least {
                self.start(id, other);
            }
        }
    }

    /// The job of these is done. A copy at a suspect worker goes on, unless that may never end: nobody is suspect for being the slower
    /// one.
    pub(super) fn end_copies(&mut self, id: JobId, workers: &[WorkerId]) {
        for worker in workers {
            if let Some(worker) = self.workers.get_mut(worker)
                && (worker.is_silent() || !worker.is_suspect())
            {
                worker.cancel(id);
            }
        }
    }
}
