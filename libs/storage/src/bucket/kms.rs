//! The encryption context of SSE-KMS, which the store's client does not know of.
//!
//! The client has signed its requests before they get here, and an additional header needs a new signature.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::HeaderValue;
use object_store::aws::AwsCredentialProvider;
use object_store::client::HttpRequest;
use tactus_config::sections::object_store::S3Sse;

use super::region::sign_again;
use crate::error::{Error, Result, Source};

const ALGORITHM: &str = "x-amz-server-side-encryption";
const CONTEXT: &str = "x-amz-server-side-encryption-context";

/// Adds the context to every request that asks for encryption by a KMS key.
#[derive(Debug)]
pub(super) struct EncryptionContext {
    header: HeaderValue,
    region: String,
    /// Known once the client is built.
    credentials: OnceLock<AwsCredentialProvider>,
}

impl EncryptionContext {
    /// `None` when no context is set.
    pub(super) fn new(sse: &S3Sse, region: &str) -> Result<Option<Arc<Self>>> {
        let context = &sse.kms_encryption_context;
        if sse.type_ != "SSE-KMS" || context.trim().is_empty() {
            return Ok(None);
        }
        let refuse = |reason: String| Error::invalid("s3 sse.kms_encryption_context", reason);
        let pairs: BTreeMap<String, String> = serde_json::from_str(context)
            .map_err(|error| refuse(format!("not a JSON object of texts: {error}")))?;
        let json = serde_json::to_string(&pairs).map_err(|error| refuse(error.to_string()))?;
        let header = HeaderValue::from_str(&STANDARD.encode(json))
            .map_err(|error| refuse(error.to_string()))?;
        let (region, credentials) = (region.to_owned(), OnceLock::new());
        Ok(Some(Arc::new(Self { header, region, credentials })))
    }

    /// Sets the credentials that sign from now on.
    pub(super) fn sign_with(&self, credentials: &AwsCredentialProvider) {
        // Set twice only if one client were built twice, with the same credentials.
        let _ = self.credentials.set(Arc::clone(credentials));
    }

    /// Adds the context and signs again, if the request asks for encryption by a KMS key.
    pub(super) async fn apply(&self, request: &mut HttpRequest) -> Result<(), Source> {
        let algorithm = request.headers().get(ALGORITHM).and_then(|value| value.to_str().ok());
        if !algorithm.is_some_and(|name| name.starts_with("aws:kms")) {
            return Ok(());
        }
        request.headers_mut().insert(CONTEXT, self.header.clone());
        let Some(provider) = self.credentials.get() else { return Ok(()) };
        sign_again(request, provider, &self.region).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::StaticCredentialProvider;
    use object_store::aws::AwsCredential;
    use object_store::client::HttpRequestBody;

    use super::*;

    fn context(text: &str) -> Result<Option<Arc<EncryptionContext>>> {
        context_of("SSE-KMS", text)
    }

    fn context_of(kind: &str, text: &str) -> Result<Option<Arc<EncryptionContext>>> {
        let sse =
            S3Sse { type_: kind.into(), kms_encryption_context: text.into(), ..S3Sse::default() };
        EncryptionContext::new(&sse, "eu-1")
    }

    fn signed_request(algorithm: &'static str) -> HttpRequest {
        let mut request = HttpRequest::new(HttpRequestBody::from(b"hello".to_vec()));
        *request.uri_mut() = "https://store/traces/x".parse().unwrap();
        for (key, value) in [(ALGORITHM, algorithm), ("authorization", "old")] {
            request.headers_mut().insert(key, HeaderValue::from_static(value));
        }
        request
    }

    #[tokio::test]
    async fn context_is_added_and_signed_only_where_a_kms_key_is_asked_for() {
        let context = context(r#"{ "team": "tracing" }"#).unwrap().unwrap();
        let credential = AwsCredential { key_id: "a".into(), secret_key: "s".into(), token: None };
        let provider: AwsCredentialProvider = Arc::new(StaticCredentialProvider::new(credential));
        context.sign_with(&provider);

        let mut request = signed_request("aws:kms");
        context.apply(&mut request).await.unwrap();
        let header = request.headers().get(CONTEXT).unwrap().to_str().unwrap();
        assert_eq!(STANDARD.decode(header).unwrap(), br#"{"team":"tracing"}"#);
        let authorization = request.headers().get("authorization").unwrap().to_str().unwrap();
        assert!(authorization.contains(CONTEXT) && authorization.contains("/eu-1/s3/"));

        let mut other = signed_request("AES256");
        context.apply(&mut other).await.unwrap();
        assert!(other.headers().get(CONTEXT).is_none());
        assert_eq!(other.headers().get("authorization").unwrap(), "old");
    }

    #[test]
    fn context_must_be_an_object_of_texts() {
        for text in ["", "  "] {
            assert!(context(text).unwrap().is_none());
        }
        for text in ["{", "[]", r#"{"a": 1}"#] {
            assert!(matches!(context(text), Err(Error::Invalid { .. })), "{text}");
        }
        assert!(context_of("SSE-S3", r#"{"a": "b"}"#).unwrap().is_none());
    }
}
