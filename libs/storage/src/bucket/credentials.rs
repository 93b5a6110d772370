//! Finds S3 credentials: in the settings, the environment, files of other tools, or the cloud.

use std::fs;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use object_store::aws::AmazonS3ConfigKey;
use serde_json::Value;
use tactus_config::sections::object_store::S3;

use super::client::NO_HEADER;
use crate::error::{Error, Result};

const AWS_VARIABLES: &str = "the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
const MINIO_VARIABLES: &str = "the MINIO_… environment variables";
const AWS_FILE: &str = "the AWS credentials file";
const MINIO_FILE: &str = "the MinIO client's configuration file";

/// Reads a variable of an environment; `None` when unset or empty.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Keys to sign with and where they were found; an empty token means none.
    Keys { from: &'static str, access_key: String, secret_key: String, token: String },
    /// Nothing fixed: the client asks the cloud (web identity, container, instance), with what the
    /// environment says about it.
    Chain(Vec<(AmazonS3ConfigKey, String)>),
}

impl Found {
    /// What an operator calls this source.
    pub(super) fn name(&self) -> &'static str {
        use AmazonS3ConfigKey as Key;
        if let Self::Keys { from, .. } = self {
            return from;
        }
        let has = |keys: &[Key]| self.asks_for(keys);
        if has(&[Key::WebIdentityTokenFile]) {
            "the web identity of AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN"
        } else if self.asks_container() {
            "the container's role (AWS_CONTAINER_CREDENTIALS_…)"
        } else {
            "the role of the EC2 instance"
        }
    }

    /// Refuses keys that no header can have.
    pub(super) fn check(&self) -> Result<()> {
        let Self::Keys { from, access_key, token, .. } = self else { return Ok(()) };
        for (name, text) in [("access key", access_key), ("session token", token)] {
            HeaderValue::from_str(text).map_err(|_| {
                Error::invalid("s3 credentials", format!("the {name} of {from}: {NO_HEADER}"))
            })?;
        }
        Ok(())
    }

    /// False if no setting, variable or file names any credentials.
    pub(super) fn is_configured(&self) -> bool {
        matches!(self, Self::Keys { .. }) || self.asks_over_tls() || self.asks_container()
    }

    /// True when the container's role is asked for: the client takes the full address only with the file of a token.
    fn asks_container(&self) -> bool {
        use AmazonS3ConfigKey as Key;
        let has = |key| self.asks_for(&[key]);
        has(Key::ContainerCredentialsRelativeUri)
            || (has(Key::ContainerCredentialsFullUri) && has(Key::ContainerAuthorizationTokenFile))
    }

    /// True if the address of the container's role cannot be used, for want of the file of a token.
    fn lacks_token(&self) -> bool {
        self.asks_for(&[AmazonS3ConfigKey::ContainerCredentialsFullUri])
            && !self.asks_container()
            && !self.asks_over_tls()
    }

    /// True when credentials are fetched from a cloud's public service.
    pub(super) fn asks_over_tls(&self) -> bool {
        self.asks_for(&[AmazonS3ConfigKey::WebIdentityTokenFile])
    }

    fn asks_for(&self, keys: &[AmazonS3ConfigKey]) -> bool {
        let Self::Chain(chain) = self else { return false };
        chain.iter().any(|(key, _)| keys.contains(key))
    }
}

/// The first source that has keys, in the order that Tempo's users know.
pub(super) fn find(settings: &S3, environment: Environment<'_>) -> Found {
    if !settings.access_key.is_empty() {
        let from = "access_key and secret_key of the configuration";
        let (secret, token) = (settings.secret_key.reveal(), settings.session_token.reveal());
        return keys(from, &settings.access_key, secret, token);
    }
    from_aws_environment(environment)
        .or_else(|| from_minio_environment(environment))
        .or_else(|| from_aws_file(environment))
        .or_else(|| from_minio_file(environment))
        .unwrap_or_else(|| from_cloud(environment))
}

/// Sources in front of the one that was found that name credentials and cannot be used, and why. Empty if there are none,
/// or if there are keys.
pub(super) fn passed_over(found: &Found, environment: Environment<'_>) -> String {
    if matches!(found, Found::Keys { .. }) {
        return String::new();
    }
    let container = "AWS_CONTAINER_CREDENTIALS_FULL_URI counts only together with \
                     AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    let container = found.lacks_token().then(|| container.to_owned());
    let reasons: Vec<_> = unusable_in_aws_file(environment).into_iter().chain(container).collect();
    reasons.join("; ")
}

fn unusable_in_aws_file(environment: Environment<'_>) -> Option<String> {
    let (path, profile) = aws_file(environment)?;
    let text = fs::read_to_string(&path).ok()?;
    let key = unusable_in_profile(&text, &profile)?;
    Some(format!("{key} of profile {profile} in {}: only keys are read there", path.display()))
}

/// A setting of a profile that would give credentials by other means than keys.
fn unusable_in_profile<'t>(text: &'t str, profile: &str) -> Option<&'t str> {
    let is_other =
        |key: &str| ["credential_process", "role_arn"].contains(&key) || key.starts_with("sso_");
    entries_of_profile(text, profile).into_iter().map(|(key, _)| key).find(|key| is_other(key))
}

/// Without the line breaks that files with secrets often end with.
fn keys(from: &'static str, access_key: &str, secret_key: &str, token: &str) -> Found {
    let [access_key, secret_key, token] =
        [access_key, secret_key, token].map(|text| text.trim().to_owned());
    Found::Keys { from, access_key, secret_key, token }
}

fn from_aws_environment(environment: Environment<'_>) -> Option<Found> {
    let access = environment("AWS_ACCESS_KEY_ID").or_else(|| environment("AWS_ACCESS_KEY"))?;
    let secret = environment("AWS_SECRET_ACCESS_KEY").or_else(|| environment("AWS_SECRET_KEY"))?;
    let token = environment("AWS_SESSION_TOKEN").unwrap_or_default();
    Some(keys(AWS_VARIABLES, &access, &secret, &token))
}

fn from_minio_environment(environment: Environment<'_>) -> Option<Found> {
    [("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")]
        .into_iter()
        .find_map(|(user, password)| {
            Some(keys(MINIO_VARIABLES, &environment(user)?, &environment(password)?, ""))
        })
}

fn home_file(environment: Environment<'_>, name: &str) -> Option<PathBuf> {
    environment("HOME").map(|home| Path::new(&home).join(name))
}

/// The file of AWS's tools, and the profile in it.
fn aws_file(environment: Environment<'_>) -> Option<(PathBuf, String)> {
    let path = environment("AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| home_file(environment, ".aws/credentials"))?;
    Some((path, environment("AWS_PROFILE").unwrap_or_else(|| "default".into())))
}

fn from_aws_file(environment: Environment<'_>) -> Option<Found> {
    let (path, profile) = aws_file(environment)?;
    keys_of_profile(&fs::read_to_string(path).ok()?, &profile)
}

fn keys_of_profile(text: &str, profile: &str) -> Option<Found> {
    let (mut access, mut secret, mut token) = (None, None, "");
    for (key, value) in entries_of_profile(text, profile) {
        match key {
            "aws_access_key_id" => access = Some(value),
            "aws_secret_access_key" => secret = Some(value),
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(keys(AWS_FILE, access?, secret?, token))
}

/// The settings below `[NAME]` or `[profile NAME]`.
fn entries_of_profile<'t>(text: &'t str, profile: &str) -> Vec<(&'t str, &'t str)> {
    let (mut found, mut inside) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let name = name.trim();
            let short = name.strip_prefix("profile ").map(str::trim);
            inside = name == profile || short == Some(profile);
        } else if inside && let Some((key, value)) = line.split_once('=') {
            found.push((key.trim(), value.trim()));
        }
    }
    found
}

fn from_minio_file(environment: Environment<'_>) -> Option<Found> {
    let path = environment("MINIO_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| home_file(environment, ".mc/config.json"))?;
    let alias = environment("MINIO_ALIAS").unwrap_or_else(|| "s3".into());
    keys_of_alias(&fs::read_to_string(path).ok()?, &alias)
}

fn keys_of_alias(text: &str, alias: &str) -> Option<Found> {
    let config: Value = serde_json::from_str(text).ok()?;
    let entry = config.get("aliases").or_else(|| config.get("hosts"))?.get(alias)?;
    let field = |name| entry.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    Some(keys(
        MINIO_FILE,
        field("accessKey")?,
        field("secretKey")?,
        field("sessionToken").unwrap_or(""),
    ))
}

fn from_cloud(environment: Environment<'_>) -> Found {
    use AmazonS3ConfigKey as Key;
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", Key::WebIdentityTokenFile),
        ("AWS_ROLE_ARN", Key::RoleArn),
        ("AWS_ROLE_SESSION_NAME", Key::RoleSessionName),
        ("AWS_ENDPOINT_URL_STS", Key::StsEndpoint),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", Key::ContainerCredentialsRelativeUri),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Key::ContainerCredentialsFullUri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Key::ContainerAuthorizationTokenFile),
        ("AWS_METADATA_ENDPOINT", Key::MetadataEndpoint),
    ];
    Found::Chain(
        variables.into_iter().filter_map(|(name, key)| Some((key, environment(name)?))).collect(),
    )
}

#[cfg(test)]
mod tests {
    use tactus_config::Secret;

    use super::*;

    fn find_in(variables: &[(&str, &str)]) -> Found {
        find(&S3::default(), &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn static_keys_win_over_the_environment() {
        let settings = S3 {
            access_key: "a".into(),
            secret_key: Secret::new("s"),
            session_token: Secret::new("t"),
            ..S3::default()
        };
        let from = "access_key and secret_key of the configuration";
        assert_eq!(find(&settings, &|_| Some("other".into())), keys(from, "a", "s", "t"));
    }

    #[test]
    fn aws_environment_wins_over_minio_environment() {
        let minio = [("MINIO_ROOT_USER", "mu"), ("MINIO_ROOT_PASSWORD", "mp")];
        assert_eq!(find_in(&minio), keys(MINIO_VARIABLES, "mu", "mp", ""));
        let mut both = minio.to_vec();
        both.extend([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")]);
        assert_eq!(find_in(&both), keys(AWS_VARIABLES, "a", "s", ""));
    }

    #[test]
    fn line_breaks_around_keys_are_dropped_and_others_refused() {
        let lines = [
            ("AWS_ACCESS_KEY_ID", "a\n"),
            ("AWS_SECRET_ACCESS_KEY", " s\n"),
            ("AWS_SESSION_TOKEN", "t\r\n"),
        ];
        let found = find_in(&lines);
        assert_eq!(found, keys(AWS_VARIABLES, "a", "s", "t"));
        assert!(found.check().is_ok() && find_in(&[]).check().is_ok());
        for (access_key, token) in [("a\nb", ""), ("a", "t\nu")] {
            let error = keys(AWS_VARIABLES, access_key, "s", token).check().unwrap_err();
            assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
        }
    }

    #[test]
    fn shared_file_is_read_by_profile() {
        let text = "[default]\naws_access_key_id = a\naws_secret_access_key = s\n\n[other]\n\
                    aws_access_key_id=b\naws_secret_access_key=t\naws_session_token=u\n";
        assert_eq!(keys_of_profile(text, "default"), Some(keys(AWS_FILE, "a", "s", "")));
        assert_eq!(keys_of_profile(text, "other"), Some(keys(AWS_FILE, "b", "t", "u")));
        assert_eq!(keys_of_profile(text, "absent"), None);
        assert_eq!(keys_of_profile("[default]\naws_access_key_id=a\n", "default"), None);
        let long = text.replace("[other]", "[profile other]");
        assert_eq!(keys_of_profile(&long, "other"), Some(keys(AWS_FILE, "b", "t", "u")));
    }

    #[test]
    fn profile_without_keys_says_what_is_passed_over() {
        for (line, key) in [
            ("credential_process = /bin/signer", Some("credential_process")),
            ("sso_role_name = reader", Some("sso_role_name")),
            ("role_arn = arn:aws:iam::1:role/x", Some("role_arn")),
            ("region = eu-west-1", None),
        ] {
            let text = format!("[other]\nsso_x = y\n[default]\n{line}\n");
            assert_eq!(unusable_in_profile(&text, "default"), key);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "[default]\ncredential_process = x\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let environment =
            |name: &str| (name == "AWS_SHARED_CREDENTIALS_FILE").then(|| path.clone());
        let found = find(&S3::default(), &environment);
        let text = passed_over(&found, &environment);
        assert!(text.contains("credential_process of profile default in /"), "{text}");
        assert_eq!(passed_over(&keys(AWS_FILE, "a", "s", ""), &environment), "");
    }

    #[test]
    fn address_of_the_container_without_a_token_is_passed_over() {
        const URI: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "u");
        let found = find_in(&[URI]);
        assert!(!found.is_configured() && found.name() == "the role of the EC2 instance");
        let text = passed_over(&found, &|_| None);
        assert!(text.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), "{text}");
        for others in [
            &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "f")][..],
            &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/r")],
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "f"), ("AWS_ROLE_ARN", "r")],
        ] {
            let found = find_in(&[&[URI][..], others].concat());
            assert!(found.is_configured() && passed_over(&found, &|_| None).is_empty());
        }
    }

    #[test]
    fn minio_file_is_read_by_alias() {
        let text = r#"{"aliases":{"s3":{"url":"u","accessKey":"a","secretKey":"s"}}}"#;
        assert_eq!(keys_of_alias(text, "s3"), Some(keys(MINIO_FILE, "a", "s", "")));
        assert_eq!(keys_of_alias(text, "play"), None);
        assert_eq!(keys_of_alias("{", "s3"), None);
    }

    #[test]
    fn without_keys_the_cloud_is_asked() {
        assert_eq!(find_in(&[]), Found::Chain(Vec::new()));
        assert!(!find_in(&[("AWS_METADATA_ENDPOINT", "e")]).is_configured());
        let container = find_in(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "u"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "f"),
        ]);
        assert!(container.is_configured() && !container.asks_over_tls());
        let web = find_in(&[("AWS_ROLE_ARN", "r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "f")]);
        assert_eq!(
            web,
            Found::Chain(vec![
                (AmazonS3ConfigKey::WebIdentityTokenFile, "f".into()),
                (AmazonS3ConfigKey::RoleArn, "r".into()),
            ])
        );
        assert!(web.is_configured() && web.asks_over_tls());
    }
}
