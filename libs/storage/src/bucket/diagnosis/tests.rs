use super::super::failure::STATUS_WORDS;
use super::super::target::Credentials;
use super::*;

fn target(kind: Kind) -> Target {
    Target {
        kind,
        bucket: "traces".into(),
        address: "https://store".into(),
        region: "eu-1".into(),
        credentials: Credentials { name: "the keys", ..Credentials::nobody() },
    }
}

fn answered(kind: Kind, step: Step, answer: &str) -> (String, bool) {
    let source = io::Error::other(format!("{STATUS_WORDS}{answer}"));
    let error = object_store::Error::Generic { store: "S3", source: source.into() };
    match remote(&target(kind), step, error) {
        Error::Unusable { sentence, passing, .. } => (sentence, passing),
        other => unreachable!("{other:?}"),
    }
}

fn failed(kind: HttpErrorKind, source: impl StdError + Send + Sync + 'static) -> (String, bool) {
    let source = Box::new(HttpError::new(kind, source));
    let error = object_store::Error::Generic { store: "S3", source };
    match remote(&target(Kind::S3), Step::List, error) {
        Error::Unusable { sentence, passing, .. } => (sentence, passing),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn refusal_names_the_setting_and_the_reason() {
    let cases: [(Kind, Step, &str, &[&str]); 17] = [
        (
            Kind::S3,
            Step::List,
            "404 Not Found: <Error><Code>NoSuchBucket</Code></Error>",
            &["storage.trace.s3.bucket: ", "\"traces\" does not exist at https://store"],
        ),
        (
            Kind::S3,
            Step::List,
            "403 Forbidden: <Code>InvalidAccessKeyId</Code>",
            &["storage.trace.s3.access_key: ", "does not accept the keys (InvalidAccessKeyId)"],
        ),
        (
            Kind::S3,
            Step::List,
            "403 Forbidden: <Code>SignatureDoesNotMatch</Code>",
            &["does not accept the keys"],
        ),
        (
            Kind::S3,
            Step::List,
            "403 Forbidden: <Code>AccessDenied</Code>",
            &["the keys may not list the bucket \"traces\"", "s3:ListBucket"],
        ),
        (
            Kind::S3,
            Step::Write,
            "403 Forbidden: <Code>AccessDenied</Code>",
            &["may not write to", "s3:PutObject"],
        ),
        (
            Kind::S3,
            Step::Delete,
            "403 Forbidden: <Code>AccessDenied</Code>",
            &["may not delete from", "s3:DeleteObject"],
        ),
        (
            Kind::S3,
            Step::Write,
            "403 Forbidden: <Code>AccessDenied</Code><Message>not allowed: kms:GenerateDataKey</Message>",
            &["storage.trace.s3.sse.kms_key_id: "],
        ),
        (
            Kind::S3,
            Step::Write,
            "400 Bad Request: <Code>KMS.NotFoundException</Code>",
            &["storage.trace.s3.sse.kms_key_id: ", "KMS.NotFoundException"],
        ),
        (
            Kind::S3,
            Step::List,
            "301 Moved: <Code>PermanentRedirect</Code>",
            &["storage.trace.s3.region: ", "is not in region \"eu-1\""],
        ),
        (
            Kind::S3,
            Step::List,
            "400 Bad Request: <Code>AuthorizationHeaderMalformed</Code><Region>eu-2</Region>",
            &["storage.trace.s3.region: ", "but in \"eu-2\""],
        ),
        (
            Kind::S3,
            Step::List,
            "400 Bad Request: Client sent an HTTP request to an HTTPS server.",
            &["storage.trace.s3.insecure", "speaks TLS"],
        ),
        (
            Kind::Gcs,
            Step::Write,
            "400 Bad Request: {\"message\":\"invalid uploadType\"}",
            &["storage.trace.gcs.endpoint: ", "XML interface"],
        ),
        (Kind::Gcs, Step::List, "404 Not Found: ", &["storage.trace.gcs.bucket_name: "]),
        (Kind::Gcs, Step::List, "401 Unauthorized: ", &["storage.trace.gcs: ", "the keys"]),
        (
            Kind::Azure,
            Step::List,
            "404 Not Found: <Code>ContainerNotFound</Code>",
            &["storage.trace.azure.container_name: the container \"traces\" does not exist"],
        ),
        (
            Kind::Azure,
            Step::List,
            "403 Forbidden: <Code>AuthorizationFailure</Code><Message>Server failed to authenticate the request.",
            &["storage.trace.azure.storage_account_key: "],
        ),
        (
            Kind::Azure,
            Step::Write,
            "403 Forbidden: <Code>AuthorizationPermissionMismatch</Code>",
            &["may not write to the container", "Storage Blob Data Contributor"],
        ),
    ];
    for (kind, step, answer, expected) in cases {
        let (sentence, passing) = answered(kind, step, answer);
        for words in expected {
            assert!(sentence.contains(words), "{answer}: {sentence}");
        }
        assert!(!passing && !sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn what_may_pass_is_passing() {
    let skewed = "403 Forbidden: <Code>RequestTimeTooSkewed</Code>";
    let (sentence, passing) = answered(Kind::S3, Step::List, skewed);
    assert!(passing && sentence.contains("clock"), "{sentence}");
    for answer in ["503 Service Unavailable: <Code>SlowDown</Code>", "500 X: ", "429 X: "] {
        let (sentence, passing) = answered(Kind::S3, Step::List, answer);
        assert!(passing, "{sentence}");
    }
    let unknown = object_store::Error::Generic { store: "S3", source: "x".into() };
    assert!(remote(&target(Kind::S3), Step::Read, unknown).is_retryable());
}

#[test]
fn way_to_the_store_is_told_apart_and_always_passing() {
    use io::ErrorKind as Io;
    let dns = io::Error::other("dns error: failed to lookup address information");
    let tls = io::Error::other("invalid peer certificate: UnknownIssuer");
    for ((sentence, passing), words) in [
        (failed(HttpErrorKind::Connect, dns), "endpoint: the name in https://store is not known"),
        (
            failed(HttpErrorKind::Connect, io::Error::from(Io::ConnectionRefused)),
            "nobody listens at https://store",
        ),
        (failed(HttpErrorKind::Connect, tls), "UnknownIssuer"),
        (failed(HttpErrorKind::Timeout, io::Error::from(Io::TimedOut)), "in time"),
        (failed(HttpErrorKind::Interrupted, io::Error::from(Io::ConnectionReset)), "reached"),
    ] {
        assert!(passing && sentence.contains(words), "{sentence}");
    }
}

#[test]
fn missing_credentials_are_for_good_unless_some_are_configured() {
    let refused = || object_store::Error::Generic {
        store: "S3",
        source: Box::new(HttpError::new(
            HttpErrorKind::Connect,
            io::Error::from(io::ErrorKind::ConnectionRefused),
        )),
    };
    let mut target = target(Kind::S3);
    assert!(remote(&target, Step::Credentials, refused()).is_retryable());
    target.credentials.configured = false;
    let error = remote(&target, Step::Credentials, refused());
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("failed to get credentials: none"), "{error}");
    assert!(!error.to_string().contains("passed over"), "{error}");
    target.credentials.passed_over = "credential_process of profile x".into();
    let error = remote(&target, Step::Credentials, refused());
    assert!(error.to_string().contains("; passed over: credential_process of"), "{error}");
}

#[test]
fn directory_that_cannot_be_used_is_told_by_reason() {
    for (kind, words) in [
        (io::ErrorKind::AlreadyExists, "/x is not a directory"),
        (io::ErrorKind::PermissionDenied, "by this user"),
        (io::ErrorKind::ReadOnlyFilesystem, "read-only"),
        (io::ErrorKind::StorageFull, "no space"),
        (io::ErrorKind::InvalidFilename, "not set"),
    ] {
        let error = local_root("/x", kind.into());
        assert!(error.to_string().contains(words) && !error.is_retryable(), "{error}");
    }
    let full = Error::Full { key: "k".into(), source: "x".into() };
    let error = local(&Target::local("/x"), Step::Write, full);
    assert!(error.is_retryable() && error.to_string().contains("no space left on the disk of /x"));
}
