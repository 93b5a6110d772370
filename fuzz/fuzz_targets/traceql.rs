//! Any text as a query: parsing, validation, completion and compilation neither panic nor overflow the stack, and
//! the canonical text of a query reads back as itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tactus_traceql::eval::CompiledQuery;
use tactus_traceql::{RootExpr, completion, parse, validate};

fuzz_target!(|query: &str| {
    let _ = completion(query, None, 100);
    let Ok(root) = parse(query) else { return };
    let canonical = root.to_string();
    let again = parse(&canonical).expect("canonical text parses");
    assert_eq!(again.to_string(), canonical);
    let class = |root: &RootExpr| validate(root).map_err(|error| error.to_string());
    assert_eq!(class(&root), class(&again));
    if class(&root).is_ok() {
        let _ = CompiledQuery::compile(&root);
    }
});
