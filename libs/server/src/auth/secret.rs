//! Hashes of secrets.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{self, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// Most memory that a hash of the file may ask for, in KiB.
const MAX_MEMORY_KIB: u32 = 256 << 10;

/// Most passes that a hash of the file may ask for.
const MAX_PASSES: u32 = 16;

/// SHA-256.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    out
}

/// The line for `password_hash`: argon2id with 19 MiB and two passes, and a new salt.
///
/// Takes tens of milliseconds. Errors: the system gives no randomness.
pub fn hash_password(password: &str) -> std::io::Result<String> {
    let mut salt = [0; 16];
    fill(&mut salt)?;
    let other = |error: argon2::password_hash::Error| std::io::Error::other(error.to_string());
    let salt = SaltString::encode_b64(&salt).map_err(other)?;
    let hash = argon2().hash_password(password.as_bytes(), &salt).map_err(other)?;
    Ok(hash.to_string())
}

/// A new token, and the line for `token_sha256`. Errors: the system gives no randomness.
pub fn new_token() -> std::io::Result<(String, String)> {
    let mut random = [0; TOKEN_BYTES];
    fill(&mut random)?;
    let token = format!("tactus_{}", URL_SAFE_NO_PAD.encode(random));
    let hash = hash_token(&token);
    Ok((token, hash))
}

/// The line for `token_sha256` of a token: 64 hexadecimal digits.
pub fn hash_token(token: &str) -> String {
    digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the text is a hash that [`verify`] can check at a bearable price. Errors: what is wrong,
/// in words that do not quote it.
pub(super) fn check_hash(hash: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(hash).map_err(|_| "no hash in PHC form ($argon2id$v=19$...)")?;
    let algorithm = Algorithm::try_from(hash.algorithm);
    if !matches!(algorithm, Ok(Algorithm::Argon2id)) {
        return Err("a hash of another kind than argon2id");
    }
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err("a hash that is cut off");
    }
    let parameters = Params::try_from(&hash).map_err(|_| "a hash with bad parameters")?;
    if parameters.m_cost() > MAX_MEMORY_KIB || parameters.t_cost() > MAX_PASSES {
        return Err("a hash that takes more than 256 MiB or 16 passes to check");
    }
    Ok(())
}

/// Whether the password has this hash, which [`check_hash`] accepted. Slow.
pub(super) fn verify(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    argon2().verify_password(password.as_bytes(), &hash).is_ok()
}

/// How long a check of this hash takes, for comparisons: KiB of memory times passes. 0 for what is no hash.
pub(super) fn cost(hash: &str) -> u64 {
    let parameters = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    parameters.map_or(0, |it| u64::from(it.m_cost()) * u64::from(it.t_cost()))
}

/// A key for this run of the process. Errors: the system gives no randomness.
pub(super) fn random_key() -> std::io::Result<[u8; 32]> {
    let mut key = [0; 32];
    fill(&mut key)?;
    Ok(key)
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| std::io::Error::other("no randomness"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_has_its_hash_and_no_other() {
        let (one, two) = (hash_password("secret").unwrap(), hash_password("secret").unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two, "{one}");
        check_hash(&one).unwrap();
        assert!(verify(&one, "secret") && verify(&two, "secret"));
        assert!(!verify(&one, "Secret") && !verify(&one, "") && !verify("", "secret"));
    }

    #[test]
    fn token_is_long_and_has_the_hash_that_sha256sum_prints() {
        let (token, hash) = new_token().unwrap();
        assert!(token.len() > 40);
        assert_eq!(hash_token(&token), hash);
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_token("abc"), known);
    }

    #[test]
    fn memory_and_passes_are_what_a_check_costs() {
        let usual = hash_password("x").unwrap();
        assert_eq!(cost(&usual), 19_456 * 2);
        assert_eq!(cost(&usual.replace("m=19456,t=2", "m=65536,t=4")), 65_536 * 4);
        assert_eq!(cost("secret"), 0);
    }

    #[test]
    fn hash_that_is_weak_damaged_or_ruinous_is_refused() {
        let good = hash_password("x").unwrap();
        for hash in [
            "",
            "secret",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ",
            &good.replace("argon2id", "argon2i"),
            &good.replace("m=19456", "m=4000000"),
            &good.replace("t=2", "t=1000"),
        ] {
            assert!(check_hash(hash).is_err(), "{hash}");
        }
    }
}
