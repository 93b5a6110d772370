//! The region of a store when none is configured: the one that the store itself names.
//!
//! S3's signatures name a region, and a store refuses those for another one with the name of its own. The client has
//! signed its requests before they get here, so that they are signed again.

use std::sync::{Arc, OnceLock};

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::HttpRequest;

use super::diagnosis::word_in;
use crate::error::Source;

const CONTENT_DIGEST: &str = "x-amz-content-sha256";

/// Signs a request again, for this region. Its body is not read if its digest is known.
pub(super) async fn sign_again(
    request: &mut HttpRequest,
    provider: &AwsCredentialProvider,
    region: &str,
) -> Result<(), Source> {
    let credential = provider.get_credential().await?;
    let digest = request.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
    let digest = digest.and_then(bytes_of_hex);
    request.headers_mut().remove("authorization");
    let authorizer = AwsAuthorizer::new(&credential, "s3", region);
    Ok(authorizer.try_authorize(request, digest.as_deref())?)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (text.len() == 64).then(|| (0..text.len()).step_by(2).map(byte).collect())?
}

/// The region that a store names. It counts for the same store only, and the first that is named counts for ever.
#[derive(Debug, Default)]
pub(super) struct NamedRegion {
    named: OnceLock<String>,
    /// Known once the client is built.
    credentials: OnceLock<AwsCredentialProvider>,
}

impl NamedRegion {
    /// Sets the credentials that sign from now on.
    pub(super) fn sign_with(&self, credentials: &AwsCredentialProvider) {
        // Set twice only if one client were built twice, with the same credentials.
        let _ = self.credentials.set(Arc::clone(credentials));
    }

    /// Notes the region that a refusal names. False if it names none.
    pub(super) fn learn(&self, refusal: &str) -> bool {
        let code = word_in("Code", refusal).unwrap_or_default();
        let is_about_region = ["AuthorizationHeaderMalformed", "InvalidRegion"];
        let region = word_in("Region", refusal).filter(|region| !region.is_empty());
        let Some(region) = region.filter(|_| is_about_region.contains(&code.as_str())) else {
            return false;
        };
        if self.named.set(region.clone()).is_ok() {
            tracing::info!(region, "the store names its region, and none is configured");
        }
        true
    }

    /// Signs for the region that the store has named. False if it has named none, and the request is as it was.
    pub(super) async fn sign(&self, request: &mut HttpRequest) -> Result<bool, Source> {
        let (Some(region), Some(credentials)) = (self.named.get(), self.credentials.get()) else {
            return Ok(false);
        };
        sign_again(request, credentials, region).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use object_store::StaticCredentialProvider;
    use object_store::aws::AwsCredential;
    use object_store::client::HttpRequestBody;

    use super::*;

    fn refusal(code: &str, region: &str) -> String {
        format!("<Error><Code>{code}</Code><Region>{region}</Region></Error>")
    }

    #[test]
    fn first_region_that_a_refusal_of_the_signature_names_counts() {
        let region = NamedRegion::default();
        for text in [
            refusal("AccessDenied", "eu-1"),
            refusal("AuthorizationHeaderMalformed", ""),
            refusal("AuthorizationHeaderMalformed", "a b/c"),
            "<Code>AuthorizationHeaderMalformed</Code>".to_owned(),
        ] {
            assert!(!region.learn(&text) && region.named.get().is_none(), "{text}");
        }
        assert!(region.learn(&refusal("AuthorizationHeaderMalformed", "fr-par")));
        assert!(region.learn(&refusal("InvalidRegion", "other")));
        assert_eq!(region.named.get().unwrap(), "fr-par");
    }

    #[test]
    fn digest_is_read_back_from_its_text() {
        assert_eq!(bytes_of_hex(&"0f".repeat(32)), Some(vec![15; 32]));
        assert_eq!(bytes_of_hex("UNSIGNED-PAYLOAD"), None);
        assert_eq!(bytes_of_hex(&"é".repeat(32)), None);
    }

    #[tokio::test]
    async fn request_is_signed_for_the_region_once_it_is_named() {
        let credential = AwsCredential { key_id: "a".into(), secret_key: "s".into(), token: None };
        let provider: AwsCredentialProvider = Arc::new(StaticCredentialProvider::new(credential));
        let region = NamedRegion::default();
        region.sign_with(&provider);
        let mut request = HttpRequest::new(HttpRequestBody::from(b"hello".to_vec()));
        *request.uri_mut() = "https://store/traces/x".parse().unwrap();
        assert!(!region.sign(&mut request).await.unwrap());
        assert!(!request.headers().contains_key("authorization"));
        region.learn(&refusal("AuthorizationHeaderMalformed", "fr-par"));
        assert!(region.sign(&mut request).await.unwrap());
        let signed = request.headers()["authorization"].to_str().unwrap();
        assert!(signed.contains("/fr-par/s3/"), "{signed}");
    }
}
