//! What can be wrong with a block, and what was found.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use tactus_storage::{BlockMeta, Uuid};

/// A kind of problem; its name is part of the JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// `meta.json` is not the meta of this block.
    Meta,
    /// A block version that this program does not know.
    Version,
    /// `data.parquet` is not there.
    DataMissing,
    /// The footer of `data.parquet` cannot be read.
    DataUnreadable,
    /// Some pages of `data.parquet` cannot be read.
    DataDamaged,
    /// Traces are not in order of id.
    Order,
    /// Meta: size of the data.
    Size,
    /// Meta: size of the footer.
    Footer,
    /// Meta: number of row groups.
    RowGroups,
    /// Meta: number of traces.
    Traces,
    /// Meta: times that have nothing to do with the spans.
    Times,
    /// A bloom filter is missing, unreadable, or does not know a trace.
    Bloom,
    /// The index is missing, unreadable or wrong.
    Index,
    /// Positions of spans in their tree are missing or contradict each other.
    Tree,
    /// The list of all blocks is missing, unreadable or wrong.
    TenantIndex,
    /// A directory without meta: a block on its way, or the rest of one.
    Leftover,
    /// A block that a repair set aside.
    SetAside,
}

impl Problem {
    /// The name of the problem.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Version => "version",
            Self::DataMissing => "data-missing",
            Self::DataUnreadable => "data-unreadable",
            Self::DataDamaged => "data-damaged",
            Self::Order => "order",
            Self::Size => "size",
            Self::Footer => "footer",
            Self::RowGroups => "row-groups",
            Self::Traces => "traces",
            Self::Times => "times",
            Self::Bloom => "bloom",
            Self::Index => "index",
            Self::Tree => "tree",
            Self::TenantIndex => "tenant-index",
            Self::Leftover => "leftover",
            Self::SetAside => "set-aside",
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether somebody has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Answers are wrong, slow or incomplete because of it.
    Damage,
    /// Good to know.
    Note,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    /// Absent for what concerns the whole tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<Uuid>,
    pub(super) problem: Problem,
    pub(super) severity: Severity,
    /// What was expected and found.
    pub(super) what: String,
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repair: Option<String>,
}

impl Finding {
    /// Damage of a block.
    pub(super) fn damage(block: Uuid, problem: Problem, what: impl Into<String>) -> Self {
        let severity = Severity::Damage;
        Self { block: Some(block), problem, severity, what: what.into(), repair: None }
    }

    /// Something worth knowing about a block.
    pub(super) fn note(block: Uuid, problem: Problem, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::damage(block, problem, what) }
    }
}

/// What was found out about a block.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: Uuid,
    /// It has a `meta.json`.
    pub(super) is_live: bool,
    /// The meta, if it can be read.
    pub(super) meta: Option<Arc<BlockMeta>>,
    pub(super) findings: Vec<Finding>,
}

impl Check {
    pub(super) fn add(&mut self, problem: Problem, what: impl Into<String>) {
        self.findings.push(Finding::damage(self.id, problem, what));
    }

    /// True if the problem was found.
    pub(super) fn has(&self, problem: Problem) -> bool {
        self.findings.iter().any(|finding| finding.problem == problem)
    }
}
