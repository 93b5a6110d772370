//! Who calculates.

use tactus_ring::{Instance, RingSettings, State};

use super::super::*;

#[test]
fn first_healthy_distributor_calculates() {
    let of_state = |id: &str, state, alive| Instance {
        state,
        alive,
        ..Instance::active(id, "host:1", Vec::new())
    };
    let view =
        |instances: Vec<Instance>| RingView::new(&RingSettings::new("distributor"), instances);
    let leaders = |view: &RingView| -> Vec<&str> {
        ["a", "b", "c"].into_iter().filter(|name| is_first(view, name)).collect()
    };
    let active = |id| of_state(id, State::Active, true);
    assert_eq!(leaders(&view(vec![active("c"), active("a"), active("b")])), ["a"]);
    let dead = of_state("a", State::Active, false);
    assert_eq!(leaders(&view(vec![dead, active("b"), active("c")])), ["b"]);
    let leaving = of_state("a", State::Leaving, true);
    let joining = of_state("b", State::Joining, true);
    assert_eq!(leaders(&view(vec![leaving, joining, active("c")])), ["c"]);
    assert!(leaders(&view(Vec::new())).is_empty());
}
