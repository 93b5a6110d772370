//! Remotes that come and go between two starts.

use super::*;

/// Samples that remotes which are gone had not read.
fn removed(tenant: &Tenant) -> u64 {
    tenant.queue().removed().iter().map(|counts| counts.floats).sum()
}

#[test]
fn remote_with_another_url_goes_on_and_what_others_leave_is_counted() {
    let mut tenant = Tenant::new();
    let mut expected = tenant.collect(1_000, 6);
    tenant.restart(LIMITS, &["b"]);
    assert!(tenant.queue().removed().is_empty());
    expected.extend(tenant.collect(2_000, 2));
    assert_eq!(tenant.read(0, 100).0, expected);
    // Which of the two it was is not known.
    tenant.restart(LIMITS, &["c", "d"]);
    assert_eq!(removed(&tenant), 8);
    let later = tenant.collect(3_000, 3);
    tenant.restart(LIMITS, &["c"]);
    assert_eq!(removed(&tenant), 3);
    assert_eq!(tenant.read(0, 100).0, later);
}

#[test]
fn remote_that_was_one_of_several_alike_keeps_its_place_when_the_first_goes() {
    let mut tenant = Tenant::new();
    let key =
        |key: &str, content: &str| RemoteKey { key: key.to_owned(), content: content.to_owned() };
    let first = tenant.collect(1_000, 4);
    tenant.restart_with(LIMITS, &[key("a", "x"), key("y", "y")]);
    let later = tenant.collect(2_000, 3);
    tenant.restart_with(LIMITS, &[key("a", "y")]);
    assert_eq!(tenant.read(0, 100).0, later);
    let lost = removed(&tenant);
    assert_eq!(lost, (first.len() + later.len()) as u64);
    // The other way round.
    tenant.restart_with(LIMITS, &[key("a", "y"), key("x", "x")]);
    tenant.restart_with(LIMITS, &[key("a", "x"), key("y", "y")]);
    assert!(tenant.queue().removed().is_empty());
    assert_eq!(tenant.read(0, 100).0, []);
    assert_eq!(tenant.read(1, 100).0, later);
}
