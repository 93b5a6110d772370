//! Services and operations.
//!
//! They are the values of `service.name` and of span names: of all recent data, whenever its spans started, and of the
//! blocks of the last `JaegerApis::names_window`. What spans lack has a name in its place.

use std::collections::BTreeSet;

use tactus_model::TenantId;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::Listed;
use tactus_traceql::{Attribute, Intrinsic};

use super::{JaegerQueries, Result};
use crate::jaeger::matching;
use crate::jaeger::types::{Operation, OperationsQuery, kind_name, parse_kind};
use crate::services;

impl JaegerQueries {
    /// Names of services as adjusted traces show them, sorted.
    pub(crate) async fn services(&self, tenants: &[TenantId]) -> Result<Listed<Vec<String>>> {
        let window = self.settings.names_window.as_std();
        let names = services::adjusted_names(&self.frontend, tenants, window).await?;
        Ok(names.map(Vec::from_iter))
    }

    /// Names of services as traces show them to a Jaeger in front, sorted.
    pub(crate) async fn services_in_model(
        &self,
        tenants: &[TenantId],
    ) -> Result<Listed<Vec<String>>> {
        let window = self.settings.names_window.as_std();
        let names = services::model_names(&self.frontend, tenants, window).await?;
        Ok(names.map(Vec::from_iter))
    }

    /// The condition of spans of this service, or of one of several joined by commas if no service has that name.
    pub(crate) async fn of_service(&self, tenants: &[TenantId], name: &str) -> Result<String> {
        Ok(matching::any(self.of_services(tenants, &[name.to_owned()]).await?))
    }

    /// As [`Self::of_service`], of each of these.
    pub(crate) async fn of_services(
        &self,
        tenants: &[TenantId],
        names: &[String],
    ) -> Result<Vec<String>> {
        let mut known = BTreeSet::new();
        if names.iter().any(|name| name.contains(',')) {
            let window = self.settings.names_window.as_std();
            known = services::stored_names(&self.frontend, tenants, window).await?.list;
        }
        let condition = |name: &String| match name.contains(',') && !known.contains(name) {
            true => matching::services(name),
            false => matching::service(name),
        };
        Ok(names.iter().map(condition).collect())
    }

    /// Operations of a service by name and kind, sorted.
    pub(crate) async fn operations(
        &self,
        tenants: &[TenantId],
        query: &OperationsQuery,
    ) -> Result<Listed<Vec<Operation>>> {
        let service = self.of_service(tenants, &query.service).await?;
        let mut operations = Listed::<Vec<_>>::default();
        let kinds: Vec<SpanKind> = match query.span_kind.as_str() {
            "" => {
                // Services mostly have spans of few kinds, and each kind costs a query.
                let found = self.values(tenants, Intrinsic::Kind, &service).await?;
                operations.partial = found.partial;
                found.list.iter().filter_map(|name| parse_kind(name)).collect()
            }
            name => parse_kind(name).into_iter().collect(),
        };
        // One after the other: a tenant may have few queries at a time.
        for kind in kinds {
            let names = self.names_of_spans(tenants, &service, Some(kind)).await?;
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
        let service = self.of_service(tenants, service).await?;
        let names = self.names_of_spans(tenants, &service, None).await?;
        Ok(names.map(|names| names.into_iter().collect()))
    }

    /// Names of the spans that meet the condition `service`.
    async fn names_of_spans(
        &self,
        tenants: &[TenantId],
        service: &str,
        kind: Option<SpanKind>,
    ) -> Result<Listed<BTreeSet<String>>> {
        let condition = match kind {
            Some(kind) => format!("{service} && kind = {}", kind_name(kind)),
            None => service.to_owned(),
        };
        let mut names = self.values(tenants, Intrinsic::Name, &condition).await?;
        if names.list.remove("") {
            names.list.insert(matching::EMPTY_NAME.to_owned());
        }
        Ok(names)
    }

    /// Values of the spans that meet a condition.
    async fn values(
        &self,
        tenants: &[TenantId],
        intrinsic: Intrinsic,
        condition: &str,
    ) -> Result<Listed<BTreeSet<String>>> {
        let (attribute, query) = (Attribute::Intrinsic(intrinsic), format!("{{ {condition} }}"));
        let window = self.settings.names_window.as_std();
        Ok(self.frontend.names(tenants, attribute, query, window).await?)
    }
}
