//! `auth`: lines for the file of callers (`auth.users_file`).

use std::io::BufRead as _;

use serde::Serialize;
use tactus_server::auth::{hash_password, new_token};

use crate::arguments::Auth;
use crate::error::{Error, Result};
use crate::output::Output;

#[derive(Serialize)]
struct Made {
    /// Shown once; only its hash is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    key: &'static str,
    value: String,
}

pub(super) fn run(command: &Auth, output: &Output) -> Result<()> {
    let random = |error| Error::Setup(format!("make a hash: {error}"));
    let made = match command {
        Auth::Hash => {
            let value = hash_password(&password()?).map_err(random)?;
            Made { token: None, key: "password_hash", value }
        }
        Auth::Token => {
            let (token, value) = new_token().map_err(random)?;
            Made { token: Some(token), key: "token_sha256", value }
        }
    };
    let token = made.token.as_ref().map(|token| format!("token: {token}\n")).unwrap_or_default();
    let text = format!("{token}{}: \"{}\"\n", made.key, made.value);
    output.show(&made, || text)
}

/// The first line of standard input. An argument would be visible to everyone on the machine.
fn password() -> Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Error::Setup(format!("read the password: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Error::Usage(
            "give the password as the first line of standard input".to_owned(),
        ));
    }
    Ok(password.to_owned())
}
