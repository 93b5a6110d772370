use super::*;

fn refused(body: &str) -> (Value, i32, String) {
    let (id, error) = parse(body.as_bytes()).expect_err(body);
    (id, error.kind.code(), error.reason)
}

#[test]
fn request_is_read_and_unknown_members_are_skipped() {
    let body = r#"{"jsonrpc": "2.0", "more": [{}], "id": 7, "method": "tools/call", "params":
        {"_meta": {"progressToken": 1}, "name": "get-trace", "arguments": {"trace_id": "ab", "query": 5, "x": [1], "name": null}}}"#;
    let Ok(Some(Message { id, method, params })) = parse(body.as_bytes()) else {
        panic!("not a request")
    };
    assert_eq!((id, method.as_str()), (json!(7), "tools/call"));
    assert_eq!(params.name, Member::Is("get-trace".to_owned()));
    let Member::Is(arguments) = params.arguments else { panic!("no arguments") };
    assert_eq!(arguments.trace_id, Member::Is("ab".to_owned()));
    assert_eq!((arguments.query, arguments.name), (Member::Other, Member::Absent));
}

#[test]
fn times_are_read_as_texts_and_as_numbers() {
    let body = r#"{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params":
        {"arguments": {"start": 1700000000.5, "end": "now", "query": 5}}}"#;
    let Ok(Some(Message { params, .. })) = parse(body.as_bytes()) else { panic!("not a request") };
    let Member::Is(arguments) = params.arguments else { panic!("no arguments") };
    let text = |text: &str| Member::Is(text.to_owned());
    assert_eq!((arguments.start, arguments.end), (text("1700000000.5"), text("now")));
    assert_eq!(arguments.query, Member::Other);
}

#[test]
fn messages_that_want_no_response_get_none() {
    for body in [
        r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#,
        r#"{"jsonrpc": "2.0", "method": "tools/list", "params": 5}"#,
        r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#,
        r#"{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}}"#,
    ] {
        assert!(matches!(parse(body.as_bytes()), Ok(None)), "{body}");
    }
}

#[test]
fn wrong_messages_are_refused_with_their_id() {
    let batch = "a batch is not supported: send one message at a time";
    let id = "id: expected a string or a number";
    for (body, expected) in [
        (" [{}]", (json!(null), -32600, batch)),
        ("5", (json!(null), -32600, "expected an object")),
        ("null", (json!(null), -32600, "expected an object")),
        (r#"{"jsonrpc": "1.0", "id": "a"}"#, (json!("a"), -32600, "jsonrpc: expected \"2.0\"")),
        (r#"{"jsonrpc": "2.0", "id": 1.5}"#, (json!(1.5), -32600, "method: expected a string")),
        (r#"{"jsonrpc": "2.0", "id": null, "method": "ping"}"#, (json!(null), -32600, id)),
        (r#"{"jsonrpc": "2.0", "id": {}, "method": "ping"}"#, (json!(null), -32600, id)),
        (
            r#"{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}"#,
            (json!(1), -32602, "params: expected an object"),
        ),
    ] {
        let (id, code, reason) = expected;
        assert_eq!(refused(body), (id, code, reason.to_owned()), "{body}");
    }
}

#[test]
fn text_that_is_no_json_is_refused() {
    let deep = format!("{{\"params\":{}", "[".repeat(100_000));
    for body in ["", "{", r#"{"jsonrpc": "2.0"} x"#, "{\"id\": \"\u{1}\"}", &deep] {
        assert_eq!(refused(body).1, -32700, "{body:.40}");
    }
    assert!(parse(b"{\"id\": \"\xff\"}").is_err());
    let twice = refused(r#"{"id": 1, "id": 2}"#);
    assert_eq!((twice.1, twice.2.contains("duplicate field")), (-32600, true));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = parse(&body);
    }
}
