//! Feeds the target that `FUZZ_TARGET` names what libFuzzer makes up. `FUZZ_SEEDS`: a folder for the seeds.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tactus_fuzz::{TARGETS, Target, target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn prepare() {
    // libFuzzer's hook ends the process at any panic. A panic that somebody catches is none; all others end it later.
    drop(std::panic::take_hook());
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let found = target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET: one of {names:?}"));
    if let Ok(folder) = std::env::var("FUZZ_SEEDS") {
        for (number, seed) in found.seeds().into_iter().enumerate() {
            std::fs::write(format!("{folder}/seed-{number}"), seed).expect("a folder for seeds");
        }
    }
    TARGET.set(found).expect("once");
}

fuzz_target!(init: prepare(), |input: &[u8]| {
    TARGET.get().expect("it is set before").feed(input);
});
