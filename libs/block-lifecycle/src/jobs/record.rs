//! The record of a job: what it must do, and what it has done. It is JSON, both for clients and in the bucket.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tactus_compaction::{
    Changes, Redaction, RedactionAction, RedactionScope, RemoveTraces, TimeRange,
};
use tactus_model::TraceId;
use tactus_storage::{Timestamp, Uuid};

use crate::classes::compile;
use crate::error::{Error, Result};

/// Most traces of one job: their ids are held in memory and looked up in every block.
pub const MAX_TRACES: usize = 10_000;

/// Attributes that a job redacts. Each of its queries is run on every block.
const MAX_REDACTIONS: usize = 100;

/// Bytes of a name or a text of a job.
const MAX_TEXT_BYTES: usize = 4096;

/// What shall be taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct JobRequest {
    /// Trace ids, hexadecimal: these traces are deleted.
    #[serde(rename = "deleteTraces", skip_serializing_if = "Vec::is_empty")]
    pub delete_traces: Vec<String>,
    /// Attributes whose values are removed or replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<RedactionRequest>,
    /// Who asks; for the record.
    pub requested_by: String,
    /// Why; for the record.
    pub reason: String,
}

/// One attribute to redact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedactionRequest {
    /// Whose attribute.
    #[serde(default)]
    pub scope: RedactionScope,
    /// Its name, exact.
    pub attribute: String,
    /// How its value is handled.
    pub action: RedactionKind,
    /// The new value, with `replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// TraceQL; only on spans that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Unix seconds; only on spans that start then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Unix seconds; only on spans that start before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
}

/// What a redaction does to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedactionKind {
    /// The attribute goes.
    Remove,
    /// A hash of the value: equal values stay equal.
    Hash,
    /// Another string.
    Replace,
}

tactus_model::words! {
    /// How far a job is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum JobStatus: name {
        /// Not begun.
        Pending = "pending",
        /// Blocks are written again.
        Running = "running",
        /// All known blocks are done. New blocks are being checked, and not all replaced blocks are deleted yet.
        Watching = "watching",
        /// What was asked to go is gone from the bucket.
        Done = "done",
        /// Ended by a client; what was done stays done.
        Cancelled = "cancelled",
    }
}

impl JobStatus {
    /// True if nothing more happens.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// A job and its audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// Its id.
    pub id: Uuid,
    /// Whose blocks.
    pub tenant: String,
    /// What was asked.
    pub request: JobRequest,
    /// How far it is.
    pub status: JobStatus,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When this record changed.
    pub updated_at: Timestamp,
    /// Each block that was written again.
    pub blocks: Vec<BlockChange>,
    /// The error of the last pass, which will be tried again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A block that was written again for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockChange {
    /// The original block, which is deleted after `compacted_block_retention`.
    pub block: Uuid,
    /// The new block; absent if nothing was left, or if the rewrite was not finished.
    pub replaced_by: Option<Uuid>,
    /// When.
    pub at: Timestamp,
    /// Traces that are not in the successor.
    pub traces_deleted: u64,
    /// Spans of these.
    pub spans_deleted: u64,
    /// Values removed or replaced.
    pub values_redacted: u64,
}

impl JobRecord {
    /// A new job.
    pub fn new(tenant: &str, request: JobRequest, now: Timestamp) -> Self {
        Self {
            id: Uuid::new_v4(),
            tenant: tenant.to_owned(),
            request,
            status: JobStatus::Pending,
            created_at: now,
            updated_at: now,
            blocks: Vec::new(),
            error: String::new(),
        }
    }

    /// Adds a change. It replaces what was recorded for the same block.
    pub(crate) fn note(&mut self, change: BlockChange) {
        match self.blocks.iter_mut().find(|known| known.block == change.block) {
            Some(known) => *known = change,
            None => self.blocks.push(change),
        }
    }

    /// Adds the changes that another process has finished.
    pub(crate) fn take_done(&mut self, stored: Vec<BlockChange>) {
        for change in stored.into_iter().filter(BlockChange::is_done) {
            let known = self.blocks.iter().find(|known| known.block == change.block);
            if known.is_none_or(|known| !known.is_done()) {
                self.note(change);
            }
        }
    }

    /// Forgets a block that is left as it is.
    pub(crate) fn forget(&mut self, block: Uuid) {
        self.blocks.retain(|change| change.block != block);
    }
}

impl BlockChange {
    /// A block that is about to be written again.
    pub(crate) fn of(block: Uuid) -> Self {
        Self {
            block,
            replaced_by: None,
            at: Timestamp::now(),
            traces_deleted: 0,
            spans_deleted: 0,
            values_redacted: 0,
        }
    }
}

impl BlockChange {
    /// True if the block was written again, or nothing of it was left.
    fn is_done(&self) -> bool {
        self.replaced_by.is_some() || self.spans_deleted > 0
    }
}

impl JobRequest {
    /// Checks that the request can be carried out. Errors: `Error::BadJob` with the name of the field.
    pub fn check(&self) -> Result<()> {
        if self.delete_traces.is_empty() && self.redact.is_empty() {
            return Err(bad("deleteTraces", "neither traces to delete nor attributes to redact"));
        }
        if self.delete_traces.len() > MAX_TRACES {
            return Err(bad("deleteTraces", format!("more than {MAX_TRACES} traces")));
        }
        if self.redact.len() > MAX_REDACTIONS {
            return Err(bad("redact", format!("more than {MAX_REDACTIONS} attributes")));
        }
        let of_redactions = self.redact.iter().flat_map(|redaction| {
            let replacement = redaction.replacement.as_deref().unwrap_or_default();
            [("redact.attribute", &*redaction.attribute), ("redact.replacement", replacement)]
        });
        let of_job = [("requestedBy", &*self.requested_by), ("reason", &*self.reason)];
        if let Some((field, _)) =
            of_job.into_iter().chain(of_redactions).find(|(_, text)| text.len() > MAX_TEXT_BYTES)
        {
            return Err(bad(field, format!("longer than {MAX_TEXT_BYTES} bytes")));
        }
        self.changes().map(drop)
    }

    /// The traces to delete. Errors: an id is invalid.
    pub fn traces(&self) -> Result<HashSet<TraceId>> {
        let parse = |id: &String| {
            TraceId::from_hex(id)
                .ok_or_else(|| bad("deleteTraces", format!("{id:?} is not a trace id")))
        };
        self.delete_traces.iter().map(parse).collect()
    }

    /// The changes to a block. Errors: `Error::BadJob` with the name of the field.
    pub fn changes(&self) -> Result<Changes> {
        let remove: RemoveTraces = self.traces()?;
        let redact = self.redact.iter().map(RedactionRequest::redaction).collect::<Result<_>>()?;
        Ok(Changes { retention: None, remove, redact })
    }
}

impl RedactionRequest {
    /// The range of start times of the spans that it applies to; `None` for all times.
    pub(super) fn range(&self) -> Option<TimeRange> {
        let nanos = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        self.start.or(self.end).map(|_| TimeRange {
            start: self.start.map_or(0, nanos),
            end: self.end.map_or(u64::MAX, |end| nanos(end).saturating_sub(1)),
        })
    }

    fn redaction(&self) -> Result<Redaction> {
        if self.attribute.is_empty() {
            return Err(bad("redact.attribute", "is empty"));
        }
        let action = match (self.action, &self.replacement) {
            (RedactionKind::Remove, None) => RedactionAction::Remove,
            (RedactionKind::Hash, None) => RedactionAction::Hash,
            (RedactionKind::Replace, Some(text)) => RedactionAction::Replace(text.clone()),
            (RedactionKind::Replace, None) => {
                return Err(bad("redact.replacement", "is missing"));
            }
            (_, Some(_)) => {
                return Err(bad("redact.replacement", "goes with the action replace only"));
            }
        };
        let filter = self.query.as_deref().map(compile).transpose();
        let filter = filter.map_err(|reason| bad("redact.query", reason))?;
        let range = self.range();
        if range.is_some_and(|range| range.start > range.end) {
            return Err(bad("redact.end", "is not after redact.start"));
        }
        let name = serde_json::to_string(self).unwrap_or_default();
        let key = self.attribute.clone().into_bytes();
        Ok(Redaction { name, scope: self.scope, key, action, filter, range })
    }
}

fn bad(field: &'static str, reason: impl Into<String>) -> Error {
    Error::BadJob { field, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> Result<JobRequest, String> {
        let request: JobRequest = serde_json::from_str(json).map_err(|error| error.to_string())?;
        request.check().map_err(|error| error.to_string())?;
        Ok(request)
    }

    #[test]
    fn good_requests_become_changes() {
        let both = request(
            r#"{"deleteTraces": ["0af7651916cd43dd8448eb211c80319c", "463ac35c9f6413ad"], "requestedBy": "dpo",
                "redact": [{"scope": "span", "attribute": "user.email", "action": "hash", "query": "{ name = \"login\" }", "start": 10}]}"#,
        );
        let changes = both.unwrap().changes().unwrap();
        assert_eq!(changes.remove.len(), 2);
        assert_eq!(changes.redact[0].scope, RedactionScope::Span);
        assert_eq!(
            changes.redact[0].range,
            Some(TimeRange { start: 10_000_000_000, end: u64::MAX })
        );
    }

    #[test]
    fn bad_requests_name_the_field() {
        for (json, field) in [
            ("{}", "deleteTraces"),
            (r#"{"deleteTraces": ["xyz"]}"#, "deleteTraces"),
            (r#"{"deleteTrace": []}"#, "deleteTrace"),
            (r#"{"redact": [{"attribute": "", "action": "remove"}]}"#, "redact.attribute"),
            (r#"{"redact": [{"attribute": "a", "action": "drop"}]}"#, "drop"),
            (r#"{"redact": [{"attribute": "a", "action": "replace"}]}"#, "redact.replacement"),
            (
                r#"{"redact": [{"attribute": "a", "action": "hash", "replacement": "b"}]}"#,
                "redact.replacement",
            ),
            (r#"{"redact": [{"attribute": "a", "action": "hash", "query": "{"}]}"#, "redact.query"),
            (
                r#"{"redact": [{"attribute": "a", "action": "hash", "query": "{} | rate()"}]}"#,
                "redact.query",
            ),
            (
                r#"{"redact": [{"attribute": "a", "action": "hash", "start": 2, "end": 2}]}"#,
                "redact.end",
            ),
        ] {
            let error = request(json).unwrap_err();
            assert!(error.contains(field), "{json}: {error}");
        }
    }

    #[test]
    fn record_keeps_its_form() {
        let request = JobRequest {
            delete_traces: vec!["463ac35c9f6413ad".to_owned()],
            requested_by: "dpo".to_owned(),
            reason: "ticket 7".to_owned(),
            ..JobRequest::default()
        };
        let mut record = JobRecord::new("acme", request, Timestamp::UNIX_EPOCH);
        record.id = Uuid::from_u128(7);
        record.blocks.push(BlockChange {
            block: Uuid::from_u128(8),
            replaced_by: None,
            at: Timestamp::UNIX_EPOCH,
            traces_deleted: 1,
            spans_deleted: 2,
            values_redacted: 0,
        });
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(
            json,
            r#"{"id":"00000000-0000-0000-0000-000000000007","tenant":"acme","request":{"deleteTraces":["463ac35c9f6413ad"],"requestedBy":"dpo","reason":"ticket 7"},"status":"pending","createdAt":"1970-01-01T00:00:00Z","updatedAt":"1970-01-01T00:00:00Z","blocks":[{"block":"00000000-0000-0000-0000-000000000008","replacedBy":null,"at":"1970-01-01T00:00:00Z","tracesDeleted":1,"spansDeleted":2,"valuesRedacted":0}]}"#
        );
        assert_eq!(serde_json::from_str::<JobRecord>(&json).unwrap(), record);
    }
}
