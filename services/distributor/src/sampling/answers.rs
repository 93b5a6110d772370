//! Who asks, and what they are told.

use std::sync::Arc;

use ::http::{HeaderMap, header::AUTHORIZATION};
use tactus_model::{TenantError, TenantId};
use tactus_sampling::{Strategies, Strategy};
use tactus_server::{
    auth::{Access, Authenticator},
    listener::ConnectionInfo,
    tenancy::{Tenancy, TenancyError},
};

/// Answers clients whatever port they ask on.
///
/// Clients that poll show no credentials, and often no tenant. They get what holds for everyone: the strategies of the
/// file, or the default ones. What is a tenant's own is for those who name it and, if there is authentication, may
/// write to it.
#[derive(Debug)]
pub struct Answers {
    strategies: Arc<Strategies>,
    tenancy: Tenancy,
    auth: Option<Arc<Authenticator>>,
}

impl Answers {
    /// `auth`: `None` if everyone is who they say.
    pub fn new(
        strategies: Arc<Strategies>,
        tenancy: Tenancy,
        auth: Option<Arc<Authenticator>>,
    ) -> Self {
        Self { strategies, tenancy, auth }
    }

    /// The strategy of a service, for a request with these headers. Errors: a tenant that cannot be.
    pub(crate) async fn strategy(
        &self,
        headers: &HeaderMap,
        connection: Option<&ConnectionInfo>,
        service: &str,
    ) -> Result<Arc<Strategy>, TenancyError> {
        let tenant = self.tenant(headers, connection).await?;
        Ok(self.strategies.of(tenant.as_ref(), service).await)
    }

    /// `None`: nobody in particular.
    async fn tenant(
        &self,
        headers: &HeaderMap,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Option<TenantId>, TenancyError> {
        let Some(auth) = &self.auth else { return known(self.tenancy.write_tenant(headers)) };
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        // The check settles the tenant in the headers.
        let mut headers = headers.clone();
        match auth.check(Access::Write, &mut headers, connection).await {
            Ok(_) => known(self.tenancy.write_tenant(&headers)),
            Err(_) => Ok(None),
        }
    }
}

fn known(tenant: Result<TenantId, TenancyError>) -> Result<Option<TenantId>, TenancyError> {
    match tenant {
        Ok(tenant) => Ok(Some(tenant)),
        // Also a header without content.
        Err(TenancyError::Missing | TenancyError::Invalid(TenantError::Missing)) => Ok(None),
        Err(error) => Err(error),
    }
}
