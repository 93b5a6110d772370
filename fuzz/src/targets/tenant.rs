//! The header that names tenants.

use http::{HeaderMap, HeaderValue};
use tactus_model::TenantId;
use tactus_server::tenancy::{TENANT_HEADER, Tenancy};

/// One header for each line.
pub(crate) fn feed(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let lines: Vec<_> = input.split(|&byte| byte == b'\n').take(3).collect();
    for line in &lines {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(TENANT_HEADER, value);
    }
    // Else a proxy in front and this process could mean different tenants.
    let is_one = |line: &&[u8]| *line == lines[0] && !line.contains(&b',');
    let is_clear = lines.iter().all(is_one);
    let tenancy = Tenancy::by_header(true).with_max_listed(10);
    if let Ok(tenant) = tenancy.write_tenant(&headers) {
        assert!(is_clear);
        TenantId::check(tenant.as_str()).expect("a tenant can be stored");
    }
    if let Ok(tenants) = tenancy.read_tenants(&headers) {
        assert!(is_clear);
        assert!((1..=10).contains(&tenants.len()));
        assert!(tenants.is_sorted_by(|a, b| a < b));
        for tenant in tenants {
            TenantId::check(tenant.as_str()).expect("a tenant can be stored");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "a",
        "team-a|team-b",
        "a:k=v|b:k=v",
        "a:,b",
        "a\nb",
        "a\na",
        ".hidden",
        "overrides",
        "t\u{e9}",
        "||",
        "!-_.*'()",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
