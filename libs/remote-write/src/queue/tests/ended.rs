//! Series that ended.

use super::*;

fn known(tenant: &Tenant) -> usize {
    tenant.writer.lock().series()
}

#[test]
fn ended_series_are_forgotten_by_time_however_rare_collections_are() {
    let tenant = Tenant::new();
    for minutes in (5_i64..=50).step_by(5) {
        let mut collection = tenant.begin(minutes * 60_000);
        for number in 0..10 {
            let reference = minutes as u64 * 10 + number;
            let name = format!("n{reference}");
            let series = Series { reference, labels: &[], name: &name, le: None };
            collection.float(&series, minutes * 60_000, 1.0);
        }
        collection.commit().unwrap();
        assert_eq!(known(&tenant), 10, "at minute {minutes}");
    }
}

#[test]
fn last_time_of_an_ended_series_is_known_for_as_long_as_zero_samples_reach_back() {
    let tenant = Tenant::new();
    let series = |reference| Series { reference, labels: &[], name: "n0", le: None };
    let mut collection = tenant.begin(100_000);
    collection.float(&series(1), 100_000, 1.0);
    collection.commit().unwrap();
    tenant.begin(161_000).commit().unwrap();
    assert_eq!(known(&tenant), 1);
    let mut collection = tenant.begin(161_001);
    collection.float(&series(2), 100_000, 0.0);
    collection.float(&series(2), 161_001, 1.0);
    collection.commit().unwrap();
    assert_eq!(tenant.read(0, 100).0, [(0, 100_000, 1.0), (0, 161_001, 1.0)]);
    // The second reference has the last time of both.
    tenant.begin(222_000).commit().unwrap();
    assert_eq!(known(&tenant), 1);
    tenant.begin(282_000).commit().unwrap();
    assert_eq!(known(&tenant), 0);
}
