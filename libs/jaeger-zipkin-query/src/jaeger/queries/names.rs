//! Services and operations.
//!
//! They are the values of `service.name` and of span names: of all recent data, whenever its spans started, and of the
//! blocks of the last `JaegerApis::names_window`.

use std::collections::BTreeSet;

use tactus_model::TenantId;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::Listed;
use tactus_traceql::{Attribute, AttributeScope, parse_attribute};

use super::{JaegerQueries, Result};
use crate::jaeger::matching;
use crate::jaeger::types::{KINDS, Operation, OperationsQuery, kind_name, parse_kind};

impl JaegerQueries {
    /// Names of services, sorted.
    pub(crate) async fn services(&self, tenants: &[TenantId]) -> Result<Listed<Vec<String>>> {
        let attribute = Attribute::Named {
            scope: AttributeScope::Resource,
            parent: false,
            name: "service.name".into(),
        };
        let mut names = self.values(tenants, attribute, String::new()).await?;
        names.list.remove("");
        Ok(names.map(|names| names.into_iter().collect()))
    }

    /// Operations of a service by name and kind, sorted.
    pub(crate) async fn operations(
        &self,
        tenants: &[TenantId],
        query: &OperationsQuery,
    ) -> Result<Listed<Vec<Operation>>> {
        let kinds = match query.span_kind.as_str() {
            "" => KINDS.to_vec(),
            name => parse_kind(name).into_iter().collect(),
        };
        // One after the other: a tenant may have few queries at a time.
        let mut operations = Listed::<Vec<_>>::default();
        for kind in kinds {
            let names = self.names_of_spans(tenants, &query.service, Some(kind)).await?;
            operations.list.extend(names.list.into_iter().map(|name| Operation { name, kind }));
            operations.partial |= names.partial;
        }
        operations.list.sort();
        Ok(operations)
    }

    /// Names of the operations of a service, each once, sorted.
    pub(crate) async fn operation_names(
        &self,
        tenants: &[TenantId],
        service: &str,
    ) -> Result<Listed<Vec<String>>> {
        let names = self.names_of_spans(tenants, service, None).await?;
        Ok(names.map(|names| names.into_iter().collect()))
    }

    async fn names_of_spans(
        &self,
        tenants: &[TenantId],
        service: &str,
        kind: Option<SpanKind>,
    ) -> Result<Listed<BTreeSet<String>>> {
        let name = parse_attribute("name")
            .map_err(|error| tactus_api::Error::Internal(error.to_string()))?;
        let mut query = format!("{{ {}", matching::service(service));
        if let Some(kind) = kind {
            query.push_str(&format!(" && kind = {}", kind_name(kind)));
        }
        query.push_str(" }");
        let mut names = self.values(tenants, name, query).await?;
        if names.list.remove("") {
            names.list.insert(matching::EMPTY_NAME.to_owned());
        }
        Ok(names)
    }

    /// Values of a tag of the spans that match.
    async fn values(
        &self,
        tenants: &[TenantId],
        attribute: Attribute,
        query: String,
    ) -> Result<Listed<BTreeSet<String>>> {
        let window = self.settings.names_window.as_std();
        Ok(self.frontend.names(tenants, attribute, query, window).await?)
    }
}
