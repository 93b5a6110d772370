//! Built-in authentication: who calls, for which tenants, and what the caller may do.
//!
//! Callers and the hashes of their secrets are in a file that is read again when it changes. A caller sends a password
//! (basic) or a token (bearer). The services of a cluster send each other a shared token or a client certificate.
//!
//! Passwords are slow to check by design, so that a stolen file is of little use. So results of checks are remembered
//! while they are used, few checks run at a time, and an address that fails often has to wait. A password that was right
//! before has a lane of its own, so that guesses from many addresses do not hold it up. Tokens are long and random, so one
//! fast hash and a look-up in a map are enough.
//!
//! No error, log line or metric contains a secret or a part of one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tactus_operator_files::Reloaded;
use tactus_proto::INTERNAL_TOKEN_HEADER;
use tactus_telemetry::metrics::{CounterVec, Registry};
use tokio::sync::Semaphore;

use crate::listener::ConnectionInfo;
use crate::single_header::single_value;
use crate::tenancy::{TENANT_HEADER, Tenancy, TenancyError};

mod attempts;
mod file;
mod guard;
mod known;
mod refused;
mod secret;

use attempts::Attempts;
pub use file::{AuthError, Caller, Tenants};
use file::{Users, Verified};
pub use guard::{GrpcAccess, PUBLIC_GRPC, STANDARD_GRPC, guard, guard_grpc};
use known::Known;
pub use refused::Refused;
pub use secret::{hash_password, hash_token, new_token};

/// Longer header values are not looked at.
const MAX_CREDENTIAL_BYTES: usize = 4096;

/// Password checks that may wait for their turn in a lane. Each that runs takes memory, see `secret`.
const MAX_WAITING_CHECKS: usize = 64;

/// Longest wait for the turn.
const CHECK_WAIT: Duration = Duration::from_secs(5);

/// What a route requires of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// Any known caller. No tenant is involved.
    Known,
    /// A caller that may read the tenants of the request.
    Read,
    /// A caller that may write to the tenant of the request.
    Write,
    /// A caller that may change what belongs to the tenant of the request: limits, deletion.
    Administer,
    /// A caller that may operate the process: an administrator of every tenant.
    Operate,
    /// A service of the same cluster.
    Internal,
}

tactus_model::words! {
    /// A permission of a caller for its tenants.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Role: name {
        /// Query.
        Read = "read",
        /// Send spans.
        Write = "write",
        /// Change limits, delete; with all tenants, operate the processes.
        Admin = "admin",
    }
}

/// The settings of authentication.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// The file of callers.
    pub users_file: PathBuf,
    /// The secret between services. `None`: a verified client certificate counts instead.
    pub internal_token: Option<Arc<InternalToken>>,
    /// Paths of HTTP that are open to everyone, as `/ready`; a final `*` matches any rest.
    pub public_paths: Vec<String>,
    /// Interval at which the files are checked for changes.
    pub reload_interval: Duration,
    /// Tenants of requests. Lists of tenants are understood whatever it says: all must be allowed.
    pub tenancy: Tenancy,
}

impl AuthSettings {
    /// A users file, `/ready` public, files looked at every ten seconds.
    pub fn new(users_file: impl Into<PathBuf>, tenancy: Tenancy) -> Self {
        Self {
            users_file: users_file.into(),
            internal_token: None,
            public_paths: vec!["/ready".to_owned()],
            reload_interval: tactus_tls::DEFAULT_RELOAD_INTERVAL,
            tenancy,
        }
    }
}

/// The secret that services show each other. It is shown also while callers are not authenticated, so that the processes
/// of a cluster can begin to ask for it one by one.
#[derive(Debug)]
pub struct InternalToken(Reloaded<String, AuthError>);

impl InternalToken {
    /// Reads the file, and again when it changes. Errors: no such file, or no token of 16 visible characters.
    pub fn load(path: PathBuf, reload_interval: Duration) -> Result<Self, AuthError> {
        let read = {
            let path = path.clone();
            move || file::read_token(&path)
        };
        Reloaded::new(file::INTERNAL_TOKEN_KEY, vec![path], reload_interval, read).map(Self)
    }

    /// The token as it is now.
    pub fn get(&self) -> Arc<String> {
        self.0.get()
    }
}

/// Decides about requests. One for the whole process.
#[derive(Debug)]
pub struct Authenticator {
    users: Reloaded<Users, AuthError>,
    internal_token: Option<Arc<InternalToken>>,
    public_paths: Vec<String>,
    tenancy: Tenancy,
    attempts: Arc<Attempts>,
    known: Arc<Known>,
    /// For passwords that nobody has shown yet.
    guesses: Lane,
    /// For those that were right before.
    returning: Lane,
    metrics: Metrics,
}

/// Places for password checks.
#[derive(Debug)]
struct Lane {
    /// Of those that run.
    running: Arc<Semaphore>,
    /// Of those that run or wait.
    waiting: Arc<Semaphore>,
}

impl Lane {
    fn new(running: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running.max(1))),
            waiting: Arc::new(Semaphore::new(MAX_WAITING_CHECKS)),
        }
    }
}

tactus_telemetry::metrics! {
    #[derive(Debug)]
    struct Metrics {
        requests: CounterVec<1> = "tactus_auth_requests_total",
            "Requests by what authentication decided: ok, missing, wrong, role, tenant, limited.", ["result"];
    }
}

/// The credentials in a request.
enum Credentials<'a> {
    Basic { name: String, password: String, header: &'a [u8] },
    Bearer(&'a str),
}

/// A password to check.
struct Login {
    users: Arc<Users>,
    name: String,
    password: String,
    /// The whole header, to remember the caller by.
    header: Vec<u8>,
    client: Option<IpAddr>,
}

impl Authenticator {
    /// Reads the files. Errors: what is wrong with them, by file and entry, without what they hold.
    pub fn load(settings: AuthSettings) -> Result<Arc<Self>, AuthError> {
        let interval = settings.reload_interval;
        let path = settings.users_file;
        let users = {
            let path = path.clone();
            move || Users::read(&path)
        };
        let users = Reloaded::new("auth.users_file", vec![path], interval, users)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Self {
            users,
            internal_token: settings.internal_token,
            public_paths: settings.public_paths,
            tenancy: settings.tenancy.with_lists(),
            attempts: Arc::default(),
            known: Arc::new(Known::new()?),
            // Half the machine, so that wrong passwords cannot take it all.
            guesses: Lane::new(cores / 2),
            returning: Lane::new(cores / 4),
            metrics: Metrics::register(Registry::global()),
        }))
    }

    /// Whether everyone may have this path of HTTP.
    pub(crate) fn is_public(&self, path: &str) -> bool {
        self.public_paths.iter().any(|public| match public.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == public,
        })
    }

    /// Decides about a request, and sets its tenant: a request without one gets the caller's own, if the caller has
    /// exactly one. Credentials are removed from the headers, so that no later code can log them. `None`: this request
    /// did not have to be authenticated.
    ///
    /// `connection`: from the request's extensions; without it, failed attempts share one limit.
    pub async fn check(
        &self,
        access: Access,
        headers: &mut HeaderMap,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Option<Caller>, Refused> {
        let checked = match access {
            Access::Public => Ok(None),
            Access::Internal => self.check_service(headers, connection).map(|()| None),
            _ => self.check_caller(access, headers, connection).await.map(Some),
        };
        headers.remove(AUTHORIZATION);
        headers.remove(INTERNAL_TOKEN_HEADER);
        if access != Access::Public {
            let result = checked.as_ref().map_or_else(Refused::label, |_| "ok");
            self.metrics.requests.with([result]).inc();
        }
        checked
    }

    async fn check_caller(
        &self,
        access: Access,
        headers: &mut HeaderMap,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Caller, Refused> {
        let caller = self.caller(headers, connection).await?;
        let needed = match access {
            Access::Read => Some(Role::Read),
            Access::Write => Some(Role::Write),
            Access::Administer => Some(Role::Admin),
            Access::Public | Access::Known | Access::Operate | Access::Internal => None,
        };
        if let Some(role) = needed
            && !caller.roles.contains(&role)
        {
            return Err(Refused::Role(role));
        }
        match access {
            Access::Operate => caller.may_operate().map(|()| caller),
            Access::Read | Access::Write | Access::Administer => {
                self.settle_tenants(&caller, headers)?;
                Ok(caller)
            }
            _ => Ok(caller),
        }
    }

    /// Every tenant that a handler can understand from these headers must be allowed.
    fn settle_tenants(&self, caller: &Caller, headers: &mut HeaderMap) -> Result<(), Refused> {
        let asked = match self.tenancy.read_tenants(headers) {
            Ok(asked) => asked,
            Err(TenancyError::Missing) => {
                let Some(only) = caller.tenants.only() else {
                    return Err(Refused::Tenancy(TenancyError::Missing));
                };
                let value = HeaderValue::from_str(only.as_str())
                    .map_err(|_| Refused::Tenancy(TenancyError::NotText))?;
                headers.insert(TENANT_HEADER, value);
                return Ok(());
            }
            // Not left to the handler, which might understand another tenant from it.
            Err(error) => return Err(Refused::Tenancy(error)),
        };
        match asked.into_iter().find(|tenant| !caller.tenants.contain(tenant)) {
            Some(tenant) => Err(Refused::Tenant(tenant)),
            None => Ok(()),
        }
    }

    async fn caller(
        &self,
        headers: &HeaderMap,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Caller, Refused> {
        match credentials(headers)? {
            Credentials::Bearer(token) => {
                let users = self.users.get();
                users.with_token(token).cloned().ok_or(Refused::Wrong)
            }
            Credentials::Basic { name, password, header } => {
                let users = self.users.get();
                if let Some(caller) = users.verified(header) {
                    return Ok(caller);
                }
                let client = connection.map(|connection| connection.client.ip());
                let login = Login { users, name, password, header: header.to_vec(), client };
                self.check_password(login).await?.ok_or(Refused::Wrong)
            }
        }
    }

    async fn check_password(&self, login: Login) -> Result<Verified, Refused> {
        self.may_try(login.client)?;
        let was_right = self.known.was_right(&login.name, &login.password);
        let lane = if was_right { &self.returning } else { &self.guesses };
        let waits = Arc::clone(&lane.waiting).try_acquire_owned().map_err(|_| Refused::Busy)?;
        let turn = Arc::clone(&lane.running).acquire_owned();
        let turn = tokio::time::timeout(CHECK_WAIT, turn).await;
        let runs = turn.map_err(|_| Refused::Busy)?.map_err(|_| Refused::Busy)?;
        // Others may have been first: the same caller, or more guesses than are allowed.
        if let Some(caller) = login.users.verified(&login.header) {
            return Ok(Some(caller));
        }
        self.may_try(login.client)?;
        let (attempts, known) = (Arc::clone(&self.attempts), Arc::clone(&self.known));
        // Runs to its end, and counts, even if the client does not wait for it.
        let check = move || {
            let Login { users, name, password, header, client } = login;
            let verified = users.check_password(&name, &password, &header);
            known.note(&name, &password, verified.is_some());
            if verified.is_none() {
                attempts.failed(client);
            }
            // In this order: who waited for the place finds a turn, too.
            drop(runs);
            drop(waits);
            verified
        };
        tokio::task::spawn_blocking(check).await.map_err(|_| Refused::Busy)
    }

    fn may_try(&self, client: Option<IpAddr>) -> Result<(), Refused> {
        self.attempts.wait(client).map_or(Ok(()), |wait| Err(Refused::TooMany(wait)))
    }

    fn check_service(
        &self,
        headers: &HeaderMap,
        connection: Option<&ConnectionInfo>,
    ) -> Result<(), Refused> {
        let Some(token) = &self.internal_token else {
            let verified = connection.is_some_and(|info| info.has_verified_certificate);
            return if verified { Ok(()) } else { Err(Refused::NoService) };
        };
        let shown = single_value(headers, INTERNAL_TOKEN_HEADER).map_err(|_| Refused::Wrong)?;
        let shown = shown.ok_or(Refused::NoService)?;
        // Hashes of both: how long the comparison takes says nothing about the token.
        let (shown, wanted) =
            (secret::digest(shown.as_bytes()), secret::digest(token.get().as_bytes()));
        if shown == wanted { Ok(()) } else { Err(Refused::Wrong) }
    }
}

fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, Refused> {
    let header = single_value(headers, AUTHORIZATION.as_str()).map_err(|_| Refused::Wrong)?;
    let header = header.ok_or(Refused::Nobody)?;
    if header.len() > MAX_CREDENTIAL_BYTES {
        return Err(Refused::Wrong);
    }
    let text = std::str::from_utf8(header.as_bytes()).map_err(|_| Refused::Wrong)?;
    let (scheme, secret) = text.split_once(' ').ok_or(Refused::Wrong)?;
    let secret = secret.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Bearer(secret));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refused::Wrong);
    }
    let decoded = STANDARD.decode(secret).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or(Refused::Wrong)?;
    let (name, password) = decoded.split_once(':').ok_or(Refused::Wrong)?;
    let (name, password) = (name.to_owned(), password.to_owned());
    Ok(Credentials::Basic { name, password, header: header.as_bytes() })
}

#[cfg(test)]
mod tests;
