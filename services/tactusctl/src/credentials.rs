//! Headers of requests: those of the command line, and credentials from files.

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tactus_operator_files::Reloaded;
use tactus_server::tenancy::TENANT_HEADER;

use crate::arguments::Headers;
use crate::error::{Error, Result};

/// How often files with credentials are checked for changes.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);

/// Headers of each request.
#[derive(Debug)]
pub(crate) struct Credentials {
    headers: HeaderMap,
    authorization: Option<Reloaded<HeaderValue, Error>>,
}

impl Credentials {
    /// Errors: a header that is none; a file that cannot be read.
    pub(crate) fn new(arguments: &Headers) -> Result<Self> {
        let mut headers = HeaderMap::new();
        for text in &arguments.headers {
            let (name, value) = header(text)?;
            headers.append(name, value);
        }
        let authorization = match (&arguments.bearer_token_file, &arguments.basic_auth_file) {
            (Some(path), _) => {
                Some(secret("--bearer-token-file", path, |text| format!("Bearer {text}"))?)
            }
            (None, Some(path)) => {
                use base64::{Engine as _, prelude::BASE64_STANDARD};
                Some(secret("--basic-auth-file", path, |text| {
                    format!("Basic {}", BASE64_STANDARD.encode(text))
                })?)
            }
            (None, None) => None,
        };
        Ok(Self { headers, authorization })
    }

    /// The headers of a request for a tenant.
    pub(crate) fn headers(&self, tenant: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(tenant) = tenant {
            headers.insert(HeaderName::from_static(TENANT_HEADER), tenant.clone());
        }
        if let Some(value) = &self.authorization {
            headers.insert(http::header::AUTHORIZATION, value.get().as_ref().clone());
        }
        headers
    }
}

/// A header of the command line, `NAME: VALUE`. Errors: it is not of that form.
fn header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let wrong = || Error::Usage("--header: not of the form 'NAME: VALUE'".to_owned());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
    let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A header with the content of a file. The file may change, as tokens of Kubernetes do.
fn secret(
    flag: &'static str,
    path: &Path,
    value: fn(&str) -> String,
) -> Result<Reloaded<HeaderValue, Error>> {
    let file = path.to_path_buf();
    let load = move || {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::Setup(format!("{flag}: {}: {error}", file.display())))?;
        let mut value = HeaderValue::from_str(&value(text.trim_end_matches(['\r', '\n'])))
            .map_err(|_| Error::Setup(format!("{flag}: not one line of text")))?;
        value.set_sensitive(true);
        Ok(value)
    };
    Reloaded::new(flag, vec![path.to_path_buf()], LOOK_AT_FILES, load)
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn credentials_come_from_files_and_win_over_headers() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "user:secret\n").unwrap();
        let headers = vec!["authorization: x".to_owned(), "a: b".to_owned()];
        let bearer = Headers {
            headers: headers.clone(),
            bearer_token_file: Some(file.clone()),
            basic_auth_file: None,
        };
        let basic = Headers { headers, bearer_token_file: None, basic_auth_file: Some(file) };
        let tenant = HeaderValue::from_static("t");
        for (arguments, expected) in
            [(bearer, "Bearer user:secret"), (basic, "Basic dXNlcjpzZWNyZXQ=")]
        {
            let headers = Credentials::new(&arguments).unwrap().headers(Some(&tenant));
            assert_eq!(headers["a"], "b");
            assert_eq!(headers[TENANT_HEADER], tenant);
            let shown: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
            assert_eq!(shown, [expected]);
        }
    }
}
