//! The file of callers.
//!
//! ```yaml
//! users:
//!   - name: grafana
//!     password_hash: $argon2id$v=19$m=19456,t=2,p=1$...
//!     tenants: [team-a, team-b]
//!     roles: [read]
//!   - name: collector
//!     token_sha256: 9f86d081884c7d65...
//!     tenants: "*"
//!     roles: [write]
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::hmac;
use serde_yaml::Value;
use tactus_model::TenantId;

use super::Refused;
use super::secret;

/// Larger files are no lists of users.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Shorter secrets between services could be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// How long a checked password is remembered. A changed file forgets them all.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Checked passwords remembered at a time.
const MAX_REMEMBERED: usize = 1024;

/// Why the files of authentication cannot be used. Never quotes what they hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A file cannot be read.
    #[error("{key}: {path}: {source}")]
    Read {
        /// The key of the configuration that names the file.
        key: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file that says something else than it should.
    #[error("{key}: {path}: {reason}")]
    Invalid {
        /// The key of the configuration that names the file.
        key: &'static str,
        /// The file.
        path: String,
        /// Where and what.
        reason: String,
    },
    /// The system gives no randomness.
    #[error("random numbers")]
    Random(#[from] std::io::Error),
}

/// What a caller may do for its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Query.
    Read,
    /// Send spans.
    Write,
    /// Change limits, delete; with all tenants, operate the processes.
    Admin,
}

impl Role {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Tenants of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Every one.
    All,
    /// These.
    Some(Arc<BTreeSet<TenantId>>),
}

impl Tenants {
    /// Whether the tenant is one of them.
    pub fn contain(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Some(tenants) => tenants.contains(tenant),
        }
    }

    /// The tenant, if there is exactly one.
    pub fn only(&self) -> Option<&TenantId> {
        match self {
            Self::Some(tenants) if tenants.len() == 1 => tenants.first(),
            _ => None,
        }
    }
}

/// Someone whose credentials were right. Clone: cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name in the file.
    pub name: Arc<str>,
    /// What it may have.
    pub tenants: Tenants,
    /// What it may do.
    pub roles: BTreeSet<Role>,
}

impl Caller {
    /// Whether the caller is an administrator of every tenant. Errors: what is missing.
    pub fn may_operate(&self) -> Result<(), Refused> {
        if !self.roles.contains(&Role::Admin) {
            return Err(Refused::Role(Role::Admin));
        }
        if self.tenants == Tenants::All { Ok(()) } else { Err(Refused::Operator) }
    }
}

/// The caller, if the password was right.
pub(super) type Verified = Option<Caller>;

/// All callers.
pub(super) struct Users {
    passwords: HashMap<String, (String, Caller)>,
    tokens: HashMap<[u8; 32], Caller>,
    /// Checked for names that do not exist, so that time does not tell which do.
    decoy: String,
    key: hmac::Key,
    /// By keyed hash of the header: a dump of memory shows no passwords. Lives as long as the file.
    remembered: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({} passwords, {} tokens)", self.passwords.len(), self.tokens.len())
    }
}

impl Users {
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        let key = "auth.users_file";
        let text = read_text(key, path)?;
        let invalid = |reason| AuthError::Invalid { key, path: path.display().to_string(), reason };
        // The parser's own words may quote a line, which may hold a secret.
        let document: Value = serde_yaml::from_str(&text).map_err(|error| {
            let line =
                error.location().map_or(String::new(), |at| format!(" (line {})", at.line()));
            invalid(format!("not YAML{line}"))
        })?;
        let mut users = Self::empty()?;
        users.fill(&document).map_err(invalid)?;
        Ok(users)
    }

    fn empty() -> Result<Self, AuthError> {
        Ok(Self {
            passwords: HashMap::new(),
            tokens: HashMap::new(),
            decoy: secret::hash_password("")?,
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret::random_key()?),
            remembered: Mutex::default(),
        })
    }

    fn fill(&mut self, document: &Value) -> Result<(), String> {
        let users = match document.as_mapping() {
            Some(root) if root.len() == 1 => root.get("users").and_then(Value::as_sequence),
            _ => None,
        };
        let users = users.ok_or("want one list under the key `users`")?;
        let mut names = BTreeSet::new();
        for (index, user) in users.iter().enumerate() {
            let place = |reason: String| format!("users[{index}]: {reason}");
            let name = self.add(user).map_err(place)?;
            if !names.insert(name) {
                return Err(place("a name that another user has".to_owned()));
            }
        }
        Ok(())
    }

    fn add(&mut self, user: &Value) -> Result<String, String> {
        let known = ["name", "password_hash", "token_sha256", "tenants", "roles"];
        let user = user.as_mapping().ok_or("want a mapping")?;
        for key in user.keys() {
            if !key.as_str().is_some_and(|key| known.contains(&key)) {
                return Err(format!("a key that is none of {}", known.join(", ")));
            }
        }
        let text = |key: &str| match user.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
            Some(_) => Err(format!("{key}: want a text")),
        };
        let name = text("name")?.ok_or("name is missing")?;
        if name.contains(':') {
            return Err("name: basic authentication allows no colon in it".to_owned());
        }
        let caller = Caller {
            name: name.into(),
            tenants: tenants(user.get("tenants"))?,
            roles: roles(user.get("roles"))?,
        };
        let (password, token) = (text("password_hash")?, text("token_sha256")?);
        if password.is_none() && token.is_none() {
            return Err("password_hash or token_sha256 is missing".to_owned());
        }
        if let Some(hash) = password {
            secret::check_hash(hash).map_err(|reason| format!("password_hash: {reason}"))?;
            self.passwords.insert(name.to_owned(), (hash.to_owned(), caller.clone()));
        }
        if let Some(hash) = token {
            let hash = hex(hash).ok_or("token_sha256: want 64 hexadecimal digits")?;
            if self.tokens.insert(hash, caller).is_some() {
                return Err("token_sha256: a token that another user has".to_owned());
            }
        }
        Ok(name.to_owned())
    }

    pub(super) fn with_token(&self, token: &str) -> Option<&Caller> {
        self.tokens.get(&secret::digest(token.as_bytes()))
    }

    /// The caller of a header whose password was checked a short time ago.
    pub(super) fn verified(&self, header: &[u8]) -> Option<Caller> {
        let remembered = self.remembered.lock();
        let (since, caller) = remembered.get(&self.keyed(header))?;
        (since.elapsed() < REMEMBERED).then(|| caller.clone())
    }

    /// Slow: tens of milliseconds, whether the name exists or not. `header`: to remember it by.
    pub(super) fn check_password(&self, name: &str, password: &str, header: &[u8]) -> Verified {
        let Some((hash, caller)) = self.passwords.get(name) else {
            secret::verify(&self.decoy, password);
            return None;
        };
        if !secret::verify(hash, password) {
            return None;
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
        }
        remembered.insert(self.keyed(header), (Instant::now(), caller.clone()));
        Some(caller.clone())
    }

    fn keyed(&self, header: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.key, header).as_ref());
        out
    }
}

fn tenants(value: Option<&Value>) -> Result<Tenants, String> {
    let all = |value: &Value| value.as_str() == Some("*");
    match value {
        Some(value) if all(value) => Ok(Tenants::All),
        Some(Value::Sequence(names)) if names.len() == 1 && all(&names[0]) => Ok(Tenants::All),
        Some(Value::Sequence(names)) if !names.is_empty() => {
            let parse = |name: &Value| {
                let name = name.as_str().ok_or("tenants: want texts")?;
                TenantId::parse(name).map_err(|error| format!("tenants: {error}"))
            };
            let tenants = names.iter().map(parse).collect::<Result<BTreeSet<_>, String>>()?;
            Ok(Tenants::Some(Arc::new(tenants)))
        }
        _ => Err("tenants: want a list of tenants or \"*\"".to_owned()),
    }
}

fn roles(value: Option<&Value>) -> Result<BTreeSet<Role>, String> {
    let wrong = "roles: want a list of read, write, admin";
    let names =
        value.and_then(Value::as_sequence).filter(|names| !names.is_empty()).ok_or(wrong)?;
    let parse = |name: &Value| {
        let found = [Role::Read, Role::Write, Role::Admin];
        let found = found.into_iter().find(|role| name.as_str() == Some(role.name()));
        found.ok_or_else(|| wrong.to_owned())
    };
    names.iter().map(parse).collect()
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}

/// The secret between services: the file without white space around it.
pub(super) fn read_token(path: &Path) -> Result<String, AuthError> {
    let key = "auth.internal_token_file";
    let token = read_text(key, path)?.trim().to_owned();
    let reason = match &token {
        token if token.len() < MIN_TOKEN_BYTES => "the token is shorter than 16 characters",
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "want one token of visible characters"
        }
        _ => return Ok(token),
    };
    let path = path.display().to_string();
    Err(AuthError::Invalid { key, path, reason: reason.to_owned() })
}

fn read_text(key: &'static str, path: &Path) -> Result<String, AuthError> {
    let read = || {
        if std::fs::metadata(path)?.len() > MAX_FILE_BYTES {
            return Err(std::io::Error::other("the file is too large"));
        }
        std::fs::read_to_string(path)
    };
    read().map_err(|source| AuthError::Read { key, path: path.display().to_string(), source })
}
