//! The tenant of a request.
//!
//! HTTP carries it in the header `X-Scope-OrgID`, gRPC in the metadata key of the same name, which
//! is a header as well. With multitenancy off every request belongs to `single-tenant` and the
//! header is ignored.

use ::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tactus_model::{TenantError, TenantId};
use tonic::Code;

use crate::single_header::single_value;
use crate::text_answer::{error_line, text};

/// Header and gRPC metadata key of the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// Why a request has no usable tenant. The texts are those that clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenancyError {
    /// Multitenancy is on and no tenant was named.
    #[error("no org id")]
    Missing,
    /// One of the tenants of a list `a|b` is empty.
    #[error("no org id")]
    EmptyInList,
    /// Headers that differ, or a list of tenants where only one is allowed.
    #[error("multiple org IDs present")]
    Several,
    /// A list of more tenants than a query may name.
    #[error("too many tenants: a query may name {max} at most")]
    TooMany {
        /// `query_frontend.max_tenants_per_query`.
        max: usize,
    },
    /// The header is not text.
    #[error("tenant ID is not valid text")]
    NotText,
    /// The id breaks the grammar of tenant ids.
    #[error(transparent)]
    Invalid(#[from] TenantError),
}

impl TenancyError {
    /// 401 for a missing tenant, else 400: clients retry neither.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Missing => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Unauthenticated for a missing tenant, else InvalidArgument: clients retry neither.
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Missing => Code::Unauthenticated,
            _ => Code::InvalidArgument,
        }
    }

    /// The gRPC status of this error.
    pub fn grpc_status(&self) -> tonic::Status {
        tonic::Status::new(self.grpc_code(), self.to_string())
    }
}

/// As the query API answers: the text, with a final newline if the tenant is missing.
impl IntoResponse for TenancyError {
    fn into_response(self) -> Response {
        match self {
            Self::Missing => error_line(self.http_status(), &self.to_string()),
            _ => text(self.http_status(), self.to_string()),
        }
    }
}

/// Finds the tenants of requests. There is one for the whole process.
#[derive(Debug, Clone)]
pub struct Tenancy {
    /// The tenant of everything, when multitenancy is off.
    fixed: Option<TenantId>,
    lists_allowed: bool,
    /// Tenants of a list; 0: no limit.
    max_listed: usize,
}

impl Tenancy {
    /// Multitenancy off: one tenant, headers ignored.
    pub fn single() -> Self {
        Self { fixed: Some(TenantId::single()), lists_allowed: false, max_listed: 0 }
    }

    /// Multitenancy on. `lists_allowed`: queries may name several tenants, `a|b`.
    pub fn by_header(lists_allowed: bool) -> Self {
        Self { fixed: None, lists_allowed, max_listed: 0 }
    }

    /// As `self`, and a list has this many different tenants at most; 0: no limit.
    #[must_use]
    pub fn with_max_listed(self, max_listed: usize) -> Self {
        Self { max_listed, ..self }
    }

    /// As `self`, and lists are understood: for those who ask who is meant before anyone acts on it.
    pub(crate) fn with_lists(&self) -> Self {
        Self { lists_allowed: true, ..self.clone() }
    }

    /// The one tenant of a write. Errors: see [`TenancyError`]; a list is an invalid id here.
    pub fn write_tenant(&self, headers: &HeaderMap) -> Result<TenantId, TenancyError> {
        match &self.fixed {
            Some(tenant) => Ok(tenant.clone()),
            None => Ok(TenantId::parse(without_metadata(header_text(headers)?))?),
        }
    }

    /// The tenants of a query: at least one, sorted, without duplicates.
    pub fn read_tenants(&self, headers: &HeaderMap) -> Result<Vec<TenantId>, TenancyError> {
        if let Some(tenant) = &self.fixed {
            return Ok(vec![tenant.clone()]);
        }
        let mut tenants = Vec::new();
        for name in header_text(headers)?.split('|') {
            match TenantId::parse(without_metadata(name)) {
                Ok(tenant) => tenants.push(tenant),
                Err(TenantError::Missing) => return Err(TenancyError::EmptyInList),
                Err(error) => return Err(error.into()),
            }
        }
        tenants.sort();
        tenants.dedup();
        if tenants.len() > 1 && !self.lists_allowed {
            return Err(TenancyError::Several);
        }
        if self.max_listed > 0 && tenants.len() > self.max_listed {
            return Err(TenancyError::TooMany { max: self.max_listed });
        }
        Ok(tenants)
    }

    /// The tenant of a query that cannot span tenants.
    pub fn read_tenant(&self, headers: &HeaderMap) -> Result<TenantId, TenancyError> {
        let mut tenants = self.read_tenants(headers)?;
        match (tenants.pop(), tenants.is_empty()) {
            (Some(tenant), true) => Ok(tenant),
            _ => Err(TenancyError::Several),
        }
    }
}

fn header_text(headers: &HeaderMap) -> Result<&str, TenancyError> {
    let value = single_value(headers, TENANT_HEADER).map_err(|_| TenancyError::Several)?;
    let value = value.ok_or(TenancyError::Missing)?;
    match std::str::from_utf8(value.as_bytes()) {
        Ok("") => Err(TenancyError::Missing),
        Ok(text) if hides_values(text) => Err(TenancyError::Several),
        Ok(text) => Ok(text),
        Err(_) => Err(TenancyError::NotText),
    }
}

/// Whether there is a comma in tenant metadata. Proxies join several headers by it: a client that sends `other:` through a
/// gateway that adds `own` would be `other`, because `other:,own` is cut at the colon. Ids cannot have a comma anyway.
fn hides_values(text: &str) -> bool {
    text.split_once(':').is_some_and(|(_, rest)| rest.contains(','))
}

/// Cuts off tenant metadata, `tenant:key=value`, which some gateways add.
fn without_metadata(name: &str) -> &str {
    name.split_once(':').map_or(name, |(tenant, _)| tenant)
}

#[cfg(test)]
mod tests;
