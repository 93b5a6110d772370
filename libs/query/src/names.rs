//! The values of a tag, as lists to choose from in the query APIs of Jaeger and Zipkin.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join;
use tactus_api::request::{RequestedTag, TagValuesQuery};
use tactus_api::{RequestedRange, Result};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::TagValuesRequest;
use tactus_traceql::Attribute;

use crate::frontend::Frontend;
use crate::jobs::Outcome;

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
        let recent = self.recent_names(tenants, attribute.to_string(), &query);
        let since = window.min(self.longest_search(tenants).unwrap_or(Duration::MAX));
        let query = TagValuesQuery {
            query: query.clone(),
            range: RequestedRange { since: Some(since), ..RequestedRange::default() },
            limit: 0,
            max_stale: 0,
        };
        let tag = RequestedTag::Stored(vec![attribute]);
        let all = self.tag_values(tenants, &tag, &query, false);
        let (mut names, all) = try_join(recent, all).await?;
        names.list.extend(all.values.into_iter().map(|value| value.text));
        names.partial |= all.partial;
        Ok(names)
    }

    /// Values in recent data, whenever its spans started.
    pub async fn recent_names(
        &self,
        tenants: &[TenantId],
        tag: String,
        query: &str,
    ) -> Result<Listed<BTreeSet<String>>> {
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
        let mut names = Listed::<BTreeSet<_>>::default();
        for outcome in self.ask_all(&requests).await? {
            match outcome {
                Outcome::Answer(answer) => {
                    names.list.extend(answer.values.into_iter().map(|value| value.value));
                    names.partial |= answer.partial;
                }
                Outcome::Damaged => names.partial = true,
            }
        }
        Ok(names)
    }
}
