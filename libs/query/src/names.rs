//! The values of a tag, as lists to choose from in the query APIs of Jaeger and Zipkin.

use std::collections::BTreeSet;
use std::time::Duration;

use tactus_api::request::{RequestedTag, TagValuesQuery, check_query_bytes};
use tactus_api::{RequestedRange, Result};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::TagValuesRequest;
use tactus_traceql::Attribute;
use tactus_work::Held;

use crate::frontend::Frontend;
use crate::jobs::Outcome;
use crate::metrics::METADATA;
use crate::offload::hold;
use crate::query_log::{Asked, note_answer, note_jobs};
use crate::work::check_inspected;

/// A list to choose from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed<L> {
    /// The entries.
    pub list: L,
    /// Something could not be read, so entries may be missing.
    pub partial: bool,
}

impl<L> Listed<L> {
    /// The same with another list made of this one.
    pub fn map<M>(self, list: impl FnOnce(L) -> M) -> Listed<M> {
        Listed { list: list(self.list), partial: self.partial }
    }
}

impl Frontend {
    /// The values of an attribute of the spans that match `query`, a filter in TraceQL or empty.
    ///
    /// They are those of all recent data, whenever its spans started, and of the blocks of the last `window`.
    pub async fn names(
        &self,
        tenants: &[TenantId],
        attribute: Attribute,
        query: String,
        window: Duration,
    ) -> Result<Listed<BTreeSet<String>>> {
        // One after the other: a tenant may have few queries at a time.
        let mut names = self.recent_names(tenants, attribute.to_string(), &query).await?;
        let since = window.min(self.longest_search(tenants).unwrap_or(Duration::MAX));
        let query = TagValuesQuery {
            query,
            range: RequestedRange { since: Some(since), ..RequestedRange::default() },
            limit: 0,
            max_stale: 0,
        };
        let tag = RequestedTag::Stored(vec![attribute]);
        let all = self.tag_values(tenants, &tag, &query, false).await?;
        names.list.extend(all.values.into_iter().map(|value| value.text));
        names.partial |= all.partial;
        Ok(names)
    }

    /// Values in recent data, whenever its spans started. A query like others.
    pub async fn recent_names(
        &self,
        tenants: &[TenantId],
        tag: String,
        query: &str,
    ) -> Result<Listed<BTreeSet<String>>> {
        let asked = Asked::new(format!("values of {tag} in recent data {query}"));
        let run = self.run_recent_names(tenants, tag, query);
        let found = self.counted(tenants, METADATA, asked, run, |found| found.1).await?;
        Ok(found.0)
    }

    /// The values, and the bytes that were read for them.
    async fn run_recent_names(
        &self,
        tenants: &[TenantId],
        tag: String,
        query: &str,
    ) -> Result<(Listed<BTreeSet<String>>, u64)> {
        check_query_bytes(query, self.settings.section.max_query_expression_size_bytes)?;
        let _admitted = self.admit(tenants)?;
        let limits = self.limits_of(tenants);
        let requests: Vec<_> = tenants
            .iter()
            .map(|tenant| TagValuesRequest {
                tenant: tenant.to_string(),
                tag: tag.clone(),
                query: query.to_owned(),
                max_bytes: limits.max_bytes_per_tag_values_query,
                ..TagValuesRequest::default()
            })
            .collect();
        note_jobs(requests.len());
        let (mut names, mut inspected) = (Listed::<BTreeSet<_>>::default(), 0u64);
        let (mut held, mut held_bytes) = (Held::default(), 0);
        for outcome in self.ask_all(&requests).await? {
            match outcome {
                Outcome::Answer(answer) => {
                    note_answer(answer.inspected_bytes);
                    inspected = inspected.saturating_add(answer.inspected_bytes);
                    held_bytes +=
                        answer.values.iter().map(prost::Message::encoded_len).sum::<usize>();
                    hold(&mut held, held_bytes).await?;
                    names.list.extend(answer.values.into_iter().map(|value| value.value));
                    names.partial |= answer.partial;
                }
                Outcome::Damaged => {
                    note_answer(0);
                    names.partial = true;
                }
            }
            check_inspected(inspected, limits.max_inspected_bytes)?;
        }
        Ok((names, inspected))
    }
}
