use ::http::HeaderValue;

use super::*;

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("X-Scope-OrgID", HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn read(value: &str) -> Result<String, TenancyError> {
    let tenants = Tenancy::by_header(true).read_tenants(&headers(&[value]))?;
    Ok(tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(","))
}

#[test]
fn multitenancy_off_ignores_the_header() {
    let tenancy = Tenancy::single();
    assert_eq!(tenancy.write_tenant(&headers(&["a/b", "c"])).unwrap().as_str(), "single-tenant");
    assert_eq!(tenancy.read_tenant(&headers(&[])).unwrap().as_str(), "single-tenant");
}

#[test]
fn missing_tenant_is_unauthenticated_with_the_known_text() {
    for absent in [headers(&[]), headers(&[""])] {
        let error = Tenancy::by_header(true).write_tenant(&absent).unwrap_err();
        assert_eq!(error.to_string(), "no org id");
        assert_eq!(error.http_status(), StatusCode::UNAUTHORIZED);
        assert_eq!(error.grpc_code(), Code::Unauthenticated);
    }
}

#[test]
fn illegal_character_is_a_bad_request_that_names_it() {
    let error = read("a/b").unwrap_err();
    assert_eq!(error.to_string(), "tenant ID 'a/b' contains unsupported character '/'");
    assert_eq!(error.http_status(), StatusCode::BAD_REQUEST);
    assert_eq!(error.grpc_code(), Code::InvalidArgument);
}

#[test]
fn empty_part_of_a_list_is_a_bad_request_without_org_id() {
    for list in ["a|", "|a", "a||b"] {
        let error = read(list).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.http_status().as_u16()), ("no org id", 400));
    }
}

#[test]
fn list_is_sorted_and_deduplicated() {
    assert_eq!(read("b|a|b"), Ok("a,b".to_owned()));
}

#[test]
fn list_where_only_one_tenant_is_allowed_is_refused() {
    let list = headers(&["a|b"]);
    assert_eq!(Tenancy::by_header(false).read_tenants(&list), Err(TenancyError::Several));
    assert_eq!(Tenancy::by_header(true).read_tenant(&list), Err(TenancyError::Several));
    let error = Tenancy::by_header(true).write_tenant(&list).unwrap_err();
    assert_eq!(error.to_string(), "tenant ID 'a|b' contains unsupported character '|'");
}

#[test]
fn list_of_more_tenants_than_a_query_may_name_is_refused() {
    let tenancy = Tenancy::by_header(true).with_max_listed(2);
    let read = |list: &str| tenancy.read_tenants(&headers(&[list])).map(|tenants| tenants.len());
    assert_eq!(read("a|b|a|b"), Ok(2));
    assert_eq!(read("a|b|c"), Err(TenancyError::TooMany { max: 2 }));
    assert_eq!(TenancyError::TooMany { max: 2 }.http_status(), 400);
}

#[test]
fn names_that_cannot_be_stored_are_refused_when_they_are_sent_and_asked_for() {
    for name in [".x", "...", "tactus-clock", "overrides"] {
        let error = Tenancy::by_header(true).write_tenant(&headers(&[name])).unwrap_err();
        assert_eq!((error.http_status().as_u16(), error.grpc_code()), (400, Code::InvalidArgument));
        assert!(error.to_string().contains("cannot be stored"), "{error}");
        assert!(read(&format!("a|{name}")).is_err(), "{name}");
    }
}

#[test]
fn repeated_header_counts_once_if_its_values_are_equal() {
    let tenancy = Tenancy::by_header(true);
    let repeated = headers(&["a", "a", "a"]);
    assert_eq!(tenancy.write_tenant(&repeated).unwrap().as_str(), "a");
    assert_eq!(tenancy.read_tenant(&repeated).unwrap().as_str(), "a");
    assert_eq!(tenancy.read_tenants(&headers(&["b|a", "b|a"])).unwrap().len(), 2);
    assert_eq!(tenancy.write_tenant(&headers(&["", ""])), Err(TenancyError::Missing));
    let differing: [&[&str]; 6] =
        [&["a", "b"], &["a", "a", "b"], &["a", "a|a"], &["a", "a:k=v"], &["a", ""], &["", "a"]];
    for values in differing {
        let sent = headers(values);
        assert_eq!(tenancy.write_tenant(&sent), Err(TenancyError::Several), "{values:?}");
        assert_eq!(tenancy.read_tenants(&sent), Err(TenancyError::Several), "{values:?}");
    }
}

#[test]
fn values_that_a_proxy_joined_by_commas_are_refused() {
    for joined in ["a,a", "a, b", "a:,b", "a:k=v,b", "a|b:k=v, c"] {
        let error = Tenancy::by_header(true).write_tenant(&headers(&[joined])).unwrap_err();
        assert_eq!(error.http_status(), StatusCode::BAD_REQUEST, "{joined}");
        assert!(read(joined).is_err(), "{joined}");
    }
}

#[test]
fn tenant_metadata_is_cut_off() {
    assert_eq!(read("a:zone=eu|b"), Ok("a,b".to_owned()));
}
