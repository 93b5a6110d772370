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
use tactus_config::{YamlNode, parse_yaml};
use tactus_model::TenantId;

use super::Role;
use super::{Refused, secret};

/// Larger files are no lists of users.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The key of the file with the secret between services.
pub(super) const INTERNAL_TOKEN_KEY: &str = "auth.internal_token_file";

/// Shorter secrets between services could be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// A checked password is remembered for this long since its last use, or until the file changes.
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
        /// The place and the problem.
        reason: String,
    },
    /// The system gives no randomness.
    #[error("random numbers")]
    Random(#[from] std::io::Error),
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

/// A caller whose credentials were right. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name in the file.
    pub name: Arc<str>,
    /// The tenants that it may access.
    pub tenants: Tenants,
    /// Its roles.
    pub roles: BTreeSet<Role>,
}

impl Caller {
    /// Whether the caller is an administrator of every tenant. Errors: what is missing.
    pub(crate) fn may_operate(&self) -> Result<(), Refused> {
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
    /// Checked for names that do not exist, so that time does not tell which do: the hash of the file that takes longest.
    /// In a file whose hashes differ in this, names whose hash takes less time can still be told.
    decoy: String,
    key: hmac::Key,
    /// The last use and the caller by keyed hash of the header: a dump of memory shows no passwords. Lives as long as the
    /// file.
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
        let document =
            parse_yaml(&text).map_err(|error| invalid(format!("not YAML ({})", error.place())))?;
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

    fn fill(&mut self, document: &YamlNode) -> Result<(), String> {
        let mut entries = document.pairs().into_iter().flatten();
        let users = match (entries.next(), entries.next()) {
            (Some(("users", users)), None) => users.items(),
            _ => None,
        };
        let users = users.ok_or("want one list under the key `users`")?;
        let mut names = BTreeSet::new();
        for (index, user) in users.iter().enumerate() {
            let place = |Wrong { line, reason }| format!("users[{index}]: {reason} (line {line})");
            let name = self.add(user).map_err(place)?;
            if !names.insert(name) {
                return Err(place(wrong(user, "a name that another user has")));
            }
        }
        let hashes = self.passwords.values().map(|(hash, _)| hash);
        if let Some(slowest) = hashes.max_by_key(|hash| secret::cost(hash)) {
            self.decoy.clone_from(slowest);
        }
        Ok(())
    }

    fn add(&mut self, user: &YamlNode) -> Result<String, Wrong> {
        let known = ["name", "password_hash", "token_sha256", "tenants", "roles"];
        let pairs = user.pairs().ok_or_else(|| wrong(user, "want a mapping"))?;
        let mut fields: HashMap<&str, &YamlNode> = HashMap::new();
        for (key, value) in pairs {
            if !known.contains(&key) {
                return Err(wrong(value, format!("a key that is none of {}", known.join(", "))));
            }
            if fields.insert(key, value).is_some() {
                return Err(wrong(value, format!("{key} stands there twice")));
            }
        }
        let text = |key: &str| match fields.get(key) {
            None => Ok(None),
            Some(value) if value.is_null() => Ok(None),
            Some(value) => match value.text() {
                Some(text) if !text.is_empty() => Ok(Some((*value, text))),
                _ => Err(wrong(value, format!("{key}: want a text"))),
            },
        };
        let (place, name) = text("name")?.ok_or_else(|| wrong(user, "name is missing"))?;
        if name.contains(':') {
            return Err(wrong(place, "name: basic authentication allows no colon in it"));
        }
        let list = |key| fields.get(key).copied();
        let at = |value: Option<&YamlNode>, reason| wrong(value.unwrap_or(user), reason);
        let caller = Caller {
            name: name.into(),
            tenants: tenants(list("tenants")).map_err(|reason| at(list("tenants"), reason))?,
            roles: roles(list("roles")).map_err(|reason| at(list("roles"), reason))?,
        };
        let (password, token) = (text("password_hash")?, text("token_sha256")?);
        if password.is_none() && token.is_none() {
            return Err(wrong(user, "password_hash or token_sha256 is missing"));
        }
        if let Some((place, hash)) = password {
            secret::check_hash(hash)
                .map_err(|reason| wrong(place, format!("password_hash: {reason}")))?;
            self.passwords.insert(name.to_owned(), (hash.to_owned(), caller.clone()));
        }
        if let Some((place, hash)) = token {
            let hash = hex(hash)
                .ok_or_else(|| wrong(place, "token_sha256: want 64 hexadecimal digits"))?;
            if self.tokens.insert(hash, caller).is_some() {
                return Err(wrong(place, "token_sha256: a token that another user has"));
            }
        }
        Ok(name.to_owned())
    }

    pub(super) fn with_token(&self, token: &str) -> Option<&Caller> {
        self.tokens.get(&secret::digest(token.as_bytes()))
    }

    /// The caller of a header whose password was checked, and that was used a short time ago.
    pub(super) fn verified(&self, header: &[u8]) -> Option<Caller> {
        self.verified_at(header, Instant::now())
    }

    fn verified_at(&self, header: &[u8], now: Instant) -> Option<Caller> {
        let keyed = self.keyed(header);
        let mut remembered = self.remembered.lock();
        let (used, caller) = remembered.get_mut(&keyed)?;
        if now.saturating_duration_since(*used) >= REMEMBERED {
            return None;
        }
        *used = now;
        Some(caller.clone())
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
            remembered.retain(|_, (used, _)| used.elapsed() < REMEMBERED);
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

/// The problem with a user, and the line in the file.
struct Wrong {
    line: usize,
    reason: String,
}

fn wrong(place: &YamlNode, reason: impl Into<String>) -> Wrong {
    Wrong { line: place.line(), reason: reason.into() }
}

fn tenants(value: Option<&YamlNode>) -> Result<Tenants, String> {
    let all = |value: &YamlNode| value.text() == Some("*");
    let names = value.and_then(YamlNode::items);
    match (value, names) {
        (Some(value), None) if all(value) => Ok(Tenants::All),
        (_, Some([name])) if all(name) => Ok(Tenants::All),
        (_, Some(names)) if !names.is_empty() => {
            let parse = |name: &YamlNode| {
                let name = name.text().ok_or("tenants: want texts")?;
                TenantId::parse(name).map_err(|error| format!("tenants: {error}"))
            };
            let tenants = names.iter().map(parse).collect::<Result<BTreeSet<_>, String>>()?;
            Ok(Tenants::Some(Arc::new(tenants)))
        }
        _ => Err("tenants: want a list of tenants or \"*\"".to_owned()),
    }
}

fn roles(value: Option<&YamlNode>) -> Result<BTreeSet<Role>, String> {
    let wrong = "roles: want a list of read, write, admin";
    let names = value.and_then(YamlNode::items).filter(|names| !names.is_empty()).ok_or(wrong)?;
    let parse =
        |name: &YamlNode| name.text().and_then(Role::from_text).ok_or_else(|| wrong.to_owned());
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
    let key = INTERNAL_TOKEN_KEY;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_remembered_while_it_is_used() {
        let mut users = Users::empty().unwrap();
        let caller = Caller { name: "u".into(), tenants: Tenants::All, roles: BTreeSet::new() };
        let hash = secret::hash_password("p").unwrap();
        users.passwords.insert("u".to_owned(), (hash, caller.clone()));
        let start = Instant::now();
        assert_eq!(users.check_password("u", "p", b"header"), Some(caller.clone()));
        let pause = REMEMBERED - Duration::from_secs(1);
        for pauses in 1..5 {
            let found = users.verified_at(b"header", start + pause * pauses);
            assert_eq!(found, Some(caller.clone()), "{pauses}");
        }
        assert_eq!(users.verified_at(b"other", start), None);
        assert_eq!(users.verified_at(b"header", start + pause * 4 + REMEMBERED), None);
    }

    /// The users of a file with these names and hashes.
    fn users(hashes: &[(&str, &str)]) -> Users {
        let mut text = "users:\n".to_owned();
        for (name, hash) in hashes {
            text += &format!("  - name: {name}\n    password_hash: {hash}\n");
            text += "    tenants: \"*\"\n    roles: [read]\n";
        }
        let mut users = Users::empty().unwrap();
        users.fill(&parse_yaml(&text).unwrap()).unwrap();
        users
    }

    #[test]
    fn unknown_name_takes_as_long_as_the_slowest_hash() {
        let usual = secret::hash_password("p").unwrap();
        for slow in [usual.replace("t=2", "t=4"), usual.replace("m=19456", "m=65536")] {
            assert_eq!(users(&[("a", &usual), ("b", &slow), ("c", &usual)]).decoy, slow);
        }
    }

    #[test]
    fn password_of_the_decoy_is_nobodys() {
        let hash = secret::hash_password("p").unwrap();
        let users = users(&[("a", &hash)]);
        assert_eq!(users.check_password("nobody", "p", b"header"), None);
        assert!(users.check_password("a", "p", b"header").is_some());
    }
}
