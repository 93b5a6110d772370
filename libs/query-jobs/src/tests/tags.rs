//! Names and values of tags.

use super::*;

#[tokio::test]
async fn tags_are_those_of_the_spans_that_pass() {
    let sample = Sample::new(&[V4, V5]).await;
    for block in [V4, V5] {
        let all = sample.tags(block, "", "").await.unwrap();
        let scopes: Vec<_> = all.scopes.iter().map(|scope| scope.name.as_str()).collect();
        assert_eq!(scopes, ["resource", "span", "event", "link", "instrumentation"]);
        let link = sample.tags(block, "link", "").await.unwrap();
        assert_eq!(link.scopes[0].tags, ["link.attr"]);
        let filtered =
            sample.tags(block, "span", r#"{ resource.service.name = "svc-1" }"#).await.unwrap();
        let tags = &filtered.scopes[0].tags;
        assert!(["customer", "n", "region"].iter().all(|tag| tags.contains(&(*tag).to_owned())));
        assert!(tags.iter().all(|tag| tag != "double" && tag != "strs"), "{tags:?}");
        assert!(sample.tags(block, "intrinsic", "").await.unwrap().scopes.is_empty());
    }
    let status = sample.tags(V4, "nope", "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn values_are_those_of_the_spans_that_pass() {
    let sample = Sample::new(&[V4, V5]).await;
    for block in [V4, V5] {
        assert_eq!(
            sample.values(block, "span.region", "").await,
            ["string:eu", "string:us-east-1"]
        );
        assert_eq!(sample.values(block, "span.bools", "").await, ["bool:false", "bool:true"]);
        assert_eq!(
            sample.values(block, "span.customer", r#"{ name = "GET /api" }"#).await,
            ["string:acme"]
        );
        assert_eq!(
            sample.values(block, "span.region", r#"{ span.region = "mars" }"#).await,
            ["string:mars"]
        );
        assert_eq!(
            sample.values(block, "instrumentation:name", "").await,
            ["string:", "string:filler", "string:otel-go", "string:otel-java"]
        );
    }
}
