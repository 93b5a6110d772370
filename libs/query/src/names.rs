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
    ) -> Result<BTreeSet<String>> {
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
        names.extend(all.values.into_iter().map(|value| value.text));
        Ok(names)
    }

    /// Values in recent data, whenever its spans started.
    async fn recent_names(
        &self,
        tenants: &[TenantId],
        tag: String,
        query: &str,
    ) -> Result<BTreeSet<String>> {
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
        let mut values = BTreeSet::new();
        for outcome in self.ask_all(&requests).await? {
            if let Outcome::Answer(answer) = outcome {
                values.extend(answer.values.into_iter().map(|value| value.value));
            }
        }
        Ok(values)
    }
}
