//! The problems that a block can have.

use std::sync::Arc;

use serde::Serialize;
use tactus_storage::{BlockMeta, Uuid};
use tactus_telemetry::error_text;

use crate::error::Error;

tactus_model::words! {
    /// A kind of problem; its name is part of the JSON output.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) enum Problem: as_str {
        /// `meta.json` is not the meta of this block.
        Meta = "meta",
        /// A block version that this program does not know.
        Version = "version",
        /// `data.parquet` is missing.
        DataMissing = "data-missing",
        /// The footer of `data.parquet` cannot be read.
        DataUnreadable = "data-unreadable",
        /// Some pages of `data.parquet` cannot be read.
        DataDamaged = "data-damaged",
        /// Traces are not in order of id.
        Order = "order",
        /// Meta: size of the data.
        Size = "size",
        /// Meta: size of the footer.
        Footer = "footer",
        /// Meta: number of row groups.
        RowGroups = "row-groups",
        /// Meta: number of traces.
        Traces = "traces",
        /// Meta: the time range does not overlap the spans.
        Times = "times",
        /// A bloom filter is missing, unreadable, or lacks a trace.
        Bloom = "bloom",
        /// The index is missing, unreadable or wrong.
        Index = "index",
        /// Positions of spans in their tree are missing or contradict each other.
        Tree = "tree",
        /// The list of all blocks is missing, unreadable or wrong.
        TenantIndex = "tenant-index",
        /// A directory without meta: a block that is being written, or the rest of a deleted one.
        Leftover = "leftover",
        /// A block that a repair set aside.
        SetAside = "set-aside",
        /// Something could not be read or written, because the store refuses it or the disk fails.
        Failed = "failed",
    }
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It makes answers wrong, slow or incomplete.
    Damage,
    /// Information; nobody has to act.
    Note,
    /// It is not known whether there is damage.
    Unknown,
}

/// One problem.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    /// Absent if the whole tenant is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<Uuid>,
    pub(super) problem: Problem,
    pub(super) severity: Severity,
    /// What was expected and found.
    pub(super) what: String,
    /// How it was repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repair: Option<String>,
}

impl Finding {
    /// Damage of a block.
    pub(super) fn damage(block: Uuid, problem: Problem, what: impl Into<String>) -> Self {
        let severity = Severity::Damage;
        Self { block: Some(block), problem, severity, what: what.into(), repair: None }
    }

    /// A note about a block.
    pub(super) fn note(block: Uuid, problem: Problem, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::damage(block, problem, what) }
    }

    /// An error that says nothing about the block, or about the tenant.
    pub(super) fn failed(block: Option<Uuid>, error: &Error) -> Self {
        let (problem, severity) = (Problem::Failed, Severity::Unknown);
        Self { block, problem, severity, what: error_text(error), repair: None }
    }
}

/// The result of checking a block.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: Uuid,
    /// It has a `meta.json`, and was checked.
    pub(super) is_live: bool,
    /// The meta, if it can be read.
    pub(super) meta: Option<Arc<BlockMeta>>,
    pub(super) findings: Vec<Finding>,
}

impl Check {
    pub(super) fn add(&mut self, problem: Problem, what: impl Into<String>) {
        self.findings.push(Finding::damage(self.id, problem, what));
    }

    /// True if the problem was found, and is no note.
    pub(super) fn has_damage(&self, problem: Problem) -> bool {
        let is_damage = |finding: &&Finding| finding.severity == Severity::Damage;
        self.findings.iter().filter(is_damage).any(|finding| finding.problem == problem)
    }

    /// True if the problem was found.
    pub(super) fn has(&self, problem: Problem) -> bool {
        self.findings.iter().any(|finding| finding.problem == problem)
    }
}
