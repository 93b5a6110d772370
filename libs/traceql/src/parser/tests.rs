use super::{MAX_DEPTH, parse, parse_attribute};
use crate::ast::{
    FieldExpression, LogicalOperator, MetricsExpression, PipelineStage, Query, SpansetExpression,
};

fn canonical(query: &str) -> String {
    match parse(query) {
        Ok(root) => root.to_string(),
        Err(error) => panic!("{query}: {error}"),
    }
}

fn error(query: &str) -> String {
    match parse(query) {
        Ok(root) => panic!("{query} parses as {root}"),
        Err(error) => error.to_string(),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (query, expected) in cases {
        assert_eq!(canonical(query), *expected, "{query}");
        assert_eq!(canonical(expected), *expected, "{expected}");
    }
}

#[test]
fn field_precedence_is_as_specified() {
    check(&[
        ("{ .a || .b && .c }", "{ (.a || .b) && .c }"),
        ("{ .a || (.b || .c) }", "{ .a || (.b || .c) }"),
        ("{ .a || .b || .c || .d }", "{ ((.a || .b) || .c) || .d }"),
        ("{ -.a * .b = 1 }", "{ (-(.a * .b)) = 1 }"),
        ("{ -.a + .b = 1 }", "{ ((-.a) + .b) = 1 }"),
        ("{ !.a = .b }", "{ (!.a) = .b }"),
        ("{ !.a * 2 }", "{ !(.a * 2) }"),
        ("{ .a ^ .b ^ .c }", "{ .a ^ (.b ^ .c) }"),
        ("{ .a + .b = nil }", "{ (.a + .b) = nil }"),
        ("{ .a && .b = nil }", "{ .a && (.b = nil) }"),
        ("{ nil = -.a + .b }", "{ ((-.a) = nil) + .b }"),
        ("{ .a = nil = .b }", "{ (.a = nil) = .b }"),
        ("{ .a + nil = 1 }", "{ .a + false }"),
    ]);
}

#[test]
fn constants_are_folded_where_the_operation_is_legal() {
    check(&[
        ("{ 1 + 1 > 1 }", "{ true }"),
        ("{ 1 = 1. }", "{ true }"),
        ("{ --1 = .a }", "{ 1 = .a }"),
        ("{ 2 ^ 3 = .a }", "{ 8 = .a }"),
        ("{ 2 ^ -1 = .a }", "{ 0.5 = .a }"),
        ("{ 1s * 2s > duration }", "{ 2e+18 > duration }"),
        ("{ \"ab\" =~ \"a.\" }", "{ true }"),
        ("{ \"ab\" =~ \"a[b]\" }", "{ `ab` =~ `a[b]` }"),
        ("{ \"ab\" =~ \"(?i)AB\" }", "{ `ab` =~ `(?i)AB` }"),
        ("{ !true || .a }", "{ false || .a }"),
        ("{ nil != nil }", "{ false }"),
        ("{ 1 != nil }", "{ true }"),
        ("{ 1 / 0 = 1 }", "{ (1 / 0) = 1 }"),
        ("{ 1.0 / 0 = 1 }", "{ (1.0 / 0) = 1 }"),
        ("{ \"a\" + \"b\" = \"ab\" }", "{ (`a` + `b`) = `ab` }"),
        ("{ -minInt = .a }", "{ minInt = .a }"),
        ("{ trace:id != \"000ab0\" }", "{ trace:id != `ab0` }"),
        ("{ \"00\" = trace:id }", "{ `` = trace:id }"),
        ("{ trace:id =~ \"00a\" }", "{ trace:id =~ `00a` }"),
    ]);
}

#[test]
fn literals_have_one_spelling() {
    check(&[
        ("{ .a = 100000.0 }", "{ .a = 100000.0 }"),
        ("{ .a = 1000000.0 }", "{ .a = 1e+06 }"),
        ("{ .a = 1234567.5 }", "{ .a = 1.2345675e+06 }"),
        ("{ .a = 0.0001 }", "{ .a = 0.0001 }"),
        ("{ .a = 0.00001 }", "{ .a = 1e-05 }"),
        ("{ .a = 1. }", "{ .a = 1.0 }"),
        ("{ .a = 1e300 }", "{ .a = 1e+300 }"),
        ("{ .a = -0.0 }", "{ .a = -0.0 }"),
        ("{ duration > 1h }", "{ duration > 1h0m0s }"),
        ("{ duration > 1500us }", "{ duration > 1.5ms }"),
        ("{ duration > 1ns }", "{ duration > 1ns }"),
        ("{ duration > 1500ns }", "{ duration > 1.5µs }"),
        ("{ duration > 0s }", "{ duration > 0s }"),
        ("{ .a = \"x`y\" }", "{ .a = \"x`y\" }"),
        ("{ .a = \"\\xff\\r`\" }", "{ .a = \"\\xff\\r`\" }"),
        ("{ span:name = \"x\" }", "{ name = `x` }"),
        ("{ trace:duration > 1m30s }", "{ traceDuration > 1m30s }"),
        ("{ (-1) * .a = 1 }", "{ ((-1) * .a) = 1 }"),
        ("{ .a * (-1) = 1 }", "{ (.a * -1) = 1 }"),
    ]);
}

#[test]
fn pipelines_combine_only_in_parentheses() {
    check(&[
        ("({} | {}) && ({})", "({ true }|{ true }) && ({ true })"),
        ("({}) && ({} | {})", "({ true }) && ({ true }|{ true })"),
        ("(({} | {}))", "{ true }|{ true }"),
        ("(count() > 1)", "(count()) > 1"),
        ("({.a} && {.b}) || {.c}", "(({ .a }) && ({ .b })) || ({ .c })"),
        ("({.a} | {.b}) >> ({.c} > {.d})", "({ .a }|{ .b }) >> (({ .c }) > ({ .d }))"),
        (
            "({.a}|{.b}) && ({.c}) || ({.d}|{.e})",
            "(({ .a }|{ .b }) && ({ .c })) || ({ .d }|{ .e })",
        ),
    ]);
    for query in ["({} | {}) && {}", "{} && ({} | {})", "({} | {}) | {}", "{} | ({} | {})"] {
        error(query);
    }
}

#[test]
fn scalars_combine() {
    check(&[
        ("max(duration) - min(duration) > 2s", "((max(duration)) - (min(duration))) > 2s"),
        ("count() * 2 + 1 > 6", "(((count()) * 2) + 1) > 6"),
        ("1 < sum(.a)", "1 < (sum(.a))"),
        ("sum(.a) > -(1 + 2) * 2", "(sum(.a)) > -6"),
        ("sum(.a) > 7 / 2", "(sum(.a)) > 3"),
        ("sum(.a) > 1 / 0", "(sum(.a)) > (1 / 0)"),
        ("{} | (count()) > 1 | {}", "{ true }|(count()) > 1|{ true }"),
        ("({} | count()) = \"x\"", "({ true }|count()) = `x`"),
    ]);
    for query in ["count() = 1 = 2", "sum(.a) > 1 % 2", "{} | rate() > 1 / 0", "-count() > 1"] {
        error(query);
    }
    assert!(error("sum(.a) > 1s + 1").ends_with("duration cannot be used in scalar arithmetic"));
}

#[test]
fn metrics_take_second_stages_and_arithmetic() {
    check(&[
        ("{} | rate() by(.x) > 0 | topk(5) <= 10.0", "{ true } | rate()by(.x) > 0 | topk(5) <= 10"),
        ("{} | rate() > 1 < 5.5", "{ true } | rate() > 1 < 5.5"),
        ("{} | rate() > 1 + 1", "{ true } | rate() > 2"),
        ("{} | rate() > 2000000.0", "{ true } | rate() > 2000000"),
        ("({} | rate())", "{ true } | rate()"),
        ("({} | rate() > 6) * 100 > 5", "({ true } | rate() > 6) * 100 > 5"),
        ("1 + 2 + ({} | rate())", "3 + ({ true } | rate())"),
        (
            "({} | rate()) + ({} | rate()) * 2 | topk(5) > 10",
            "({ true } | rate()) + (({ true } | rate()) * 2) | topk(5) > 10",
        ),
        (
            "{} | compare({status=error}, 5, 1, 2)",
            "{ true } | compare({ status = error }, 5, 1, 2)",
        ),
        (
            "{} | quantile_over_time(duration,.9,.99) by(resource.service.name,name)",
            "{ true } | quantile_over_time(duration,0.90000,0.99000)by(resource.service.name,name)",
        ),
        ("{} | rate() with(b=1) with(a=\"x\", c=1s)", "{ true } | rate() with(a=`x`,c=1s)"),
    ]);
    for query in [
        "{} | rate() + 1",
        "({} | rate()) > ({} | rate())",
        "5 < ({} | rate())",
        "({} | rate()) ^ 2",
        "1 + 2",
        "({} | rate()) + {}",
        "{} | rate() | {} | topk(1)",
        "({} | rate()) && ({} | rate())",
        "({} | rate() with(a=1))",
    ] {
        error(query);
    }
    assert!(
        error("({} | rate()) * 1s")
            .ends_with("duration cannot be used as a scalar operand in metric arithmetic")
    );
}

#[test]
fn second_stages_apply_to_the_combined_result() {
    let root = parse("({} | rate()) / ({} | rate()) > 1 | topk(2)").expect("valid");
    let Query::Metrics(MetricsExpression::SecondStages { expression, stages }) = root.query else {
        panic!("no second stages");
    };
    assert_eq!(stages.len(), 2);
    assert!(matches!(*expression, MetricsExpression::Binary { .. }));
}

#[test]
fn chains_of_one_logical_operator_are_flat() {
    let query = format!("{{ {} }}", vec![".a = 1"; 20_000].join(" || "));
    let root = parse(&query).expect("valid");
    let stage = root.search_pipeline().stages.first();
    let Some(PipelineStage::Spanset(SpansetExpression::Filter(filter))) = stage else {
        panic!("no filter");
    };
    let FieldExpression::Logical { operator: LogicalOperator::Or, operands } = &filter.expression
    else {
        panic!("no chain");
    };
    assert_eq!(operands.len(), 20_000);
    assert_eq!(canonical(&root.to_string()), root.to_string());
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let count = 100_000;
    let (open, close) = ("(".repeat(count), ")".repeat(count));
    assert_eq!(canonical(&format!("{{ {open}.a{close} }}")), "{ .a }");
    assert_eq!(canonical(&format!("{open}{{ .a }}{close}")), "{ .a }");
    let count = 10_000;
    for deep in [
        format!("{{ {open}"),
        open.clone(),
        format!("{{ {}.a }}", "!".repeat(count)),
        format!("{{ {}.a }}", "-".repeat(count)),
        format!("{{ {}.a }}", "nil != -".repeat(count)),
        format!("{{ .a{} }}", " + .b".repeat(count)),
        format!("{{ {}.a{close} }}", ".a + (".repeat(count)),
        format!("{{}}{}", " > {}".repeat(count)),
        format!("{}{{}}{close}", "{} > (".repeat(count)),
        format!("{}{{}}{close}", "({}|{}) > (".repeat(count)),
        format!("count(){} > 1", " + count()".repeat(count)),
        format!("({{}} | rate()){}", " + ({} | rate())".repeat(count)),
        format!("({{}} | rate() {})", "(".repeat(count)),
        "{} | by(".repeat(count),
        "-".repeat(count),
        close,
    ] {
        parse(&deep).expect_err("too deep or incomplete");
    }
    assert!(error(&format!("{{ {}.a }}", "!".repeat(count))).contains("nested too deeply"));
}

#[test]
fn the_deepest_tree_fits_a_small_stack() {
    let count = MAX_DEPTH - 5;
    let queries = [
        format!("{{ .a{} }}", " + .b".repeat(count)),
        format!("{{ {}.a{} }}", ".a ^ (".repeat(count), ")".repeat(count)),
        format!("{{ {}.a }}", "!".repeat(count)),
        format!("{{ {}.a }}", ".b && .c || ".repeat(count / 2)),
        format!("{{ .a }}{}", " > {}".repeat(count)),
        format!("{}{{}}{}", "{} > (".repeat(count), ")".repeat(count)),
        format!("({{}}|{{}}){}", " && ({}|{})".repeat(count / 2)),
        format!("count(){} > 1", " + count()".repeat(count)),
        format!("({{}} | rate()){}", " + ({} | rate())".repeat(count)),
    ];
    let check = move || {
        for query in queries {
            let root = parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let _ = crate::validate(&root);
            let copy = root.clone();
            assert_eq!(copy, root);
            assert_eq!(canonical(&copy.to_string()), root.to_string());
            assert!(format!("{root:?}").len() > count);
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(check);
    thread.expect("a thread").join().expect("no overflow");
}

#[test]
fn positions_count_lines_and_characters() {
    assert_eq!(error("{ .é = 1 &&\n  ; }"), "parse error at line 2, col 3: unknown identifier: ;");
    assert_eq!(error("{ `é` <> 3}"), "parse error at line 1, col 8: syntax error: unexpected >");
    assert_eq!(error(""), "parse error : syntax error: unexpected $end");
}

#[test]
fn invisible_characters_are_named() {
    for (query, column, name) in [
        ("{\u{a0}.a = 1 }", 2, "U+00A0"),
        ("{ .a\u{a0}= 1 }", 5, "U+00A0"),
        ("{ .a = 1 }\u{200b}", 11, "U+200B"),
        ("\u{feff}{ }", 1, "U+FEFF"),
        ("{ .a = 1 &&\u{3000}.b = 1 }", 12, "U+3000"),
        ("{ .a =\u{b}1 }", 7, "U+000B"),
    ] {
        let named = format!("parse error at line 1, col {column}: unknown identifier: {name}");
        assert_eq!(error(query), named, "{query:?}");
    }
    for visible in [";", "\\", "#", "\u{20ac}", "\u{1f600}"] {
        let named = format!("parse error at line 1, col 3: unknown identifier: {visible}");
        assert_eq!(error(&format!("{{ {visible} }}")), named);
    }
    assert_eq!(
        parse_attribute("\u{a0}name").map_err(|error| error.message),
        Err("unknown identifier: U+00A0".to_owned())
    );
}

#[test]
fn attributes_parse_alone() {
    let text = |source: &str| parse_attribute(source).map(|attribute| attribute.to_string());
    for name in ["resource.service.name", ".foo", "name", "span.\"a b\"", "event:name"] {
        assert_eq!(text(name).as_deref(), Ok(name));
    }
    assert_eq!(text("span:name").as_deref(), Ok("name"));
    assert_eq!(
        text("app.user.id").map_err(|error| error.to_string()),
        Err("parse error at line 1, col 2: unknown identifier: app".to_owned())
    );
    for name in ["", "1", ".a}{.b", ".a + .b", "span.", "childCount"] {
        assert!(text(name).is_err(), "{name}");
    }
}

#[test]
fn constant_false_pipelines_are_known() {
    let constant_false =
        |query: &str| parse(query).expect("valid").search_pipeline().is_constant_false();
    for query in ["{ false }", "{ nil = nil }", "{ false } || { 1 = 2 }", "{ false } | count() > 1"]
    {
        assert!(constant_false(query), "{query}");
    }
    for query in ["{}", "{ false } || { .a }", "count() > 1", "{ .a && false }"] {
        assert!(!constant_false(query), "{query}");
    }
}

#[test]
fn hints_are_read_by_name_and_type() {
    use crate::hints::SampleHint;
    let hints = |text: &str| parse(&format!("{{}} | rate() with({text})")).expect("valid").hints;
    assert!(hints("most_recent=1, most_recent=true, most_recent=false").most_recent());
    assert_eq!(hints("exemplars=5").exemplars(), Some(5));
    assert_eq!(hints("exemplars=false").exemplars(), Some(0));
    assert_eq!(hints("exemplars=true").exemplars(), None);
    assert_eq!(hints("exemplars=minInt").exemplars(), Some(0));
    assert_eq!(hints("sample=true").sampling(), Some(SampleHint::Adaptive));
    assert_eq!(hints("sample=0.1").sampling(), Some(SampleHint::Fixed(0.1)));
    assert_eq!(hints("sample=2").sampling(), None);
    assert_eq!(hints("trace_sample=0.5").sampling(), Some(SampleHint::Traces(0.5)));
    assert_eq!(hints("time_overlap_cutoff=1").float("time_overlap_cutoff"), Some(1.0));
    assert_eq!(hints("job_size=10, sample=true").only_safe().entries.len(), 1);
}
