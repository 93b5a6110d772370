use tactus_model::any_value::{AnyValueRef, encode_array};

use super::{evaluate_binary, evaluate_unary};
use crate::ast::{BinaryOperator, UnaryOperator};
use crate::eval::value::{ArrayValue, Value, calculate, compare, int_power, match_regex};
use crate::{CompiledRegex, Kind, Static, Status};

fn apply(left: Static, operator: &str, right: Static) -> Static {
    evaluate_binary(BinaryOperator::from_text(operator).expect("an operator"), &left, &right)
}

fn holds(left: Static, operator: &str, right: Static) -> bool {
    apply(left, operator, right) == Static::Bool(true)
}

use Static::{Duration, Float, Int, Nil};

#[test]
fn numbers_compare_across_types() {
    assert!(holds(Int(1), "=", Float(1.0)) && holds(Duration(5), "=", Int(5)));
    assert!(holds(Int(i64::MAX), "!=", Int(i64::MAX - 1)));
    assert!(holds(Float(2.5), ">", Int(2)) && holds(Int(2), "<=", Duration(2)));
    assert!(!holds(Float(f64::NAN), "=", Float(f64::NAN)));
    assert!(!holds(Float(f64::NAN), "<", Float(1.0)));
}

#[test]
fn operands_that_cannot_meet_compare_false_even_when_unequal() {
    for operator in ["=", "!=", "<", "<=", ">", ">="] {
        assert!(!holds(Int(1), operator, Static::string("1")), "{operator}");
        assert!(!holds(Nil, operator, Int(1)), "{operator}");
        assert!(!holds(Nil, operator, Nil), "{operator}");
        assert!(!holds(Static::Status(Status::Ok), operator, Static::Kind(Kind::Client)));
    }
    assert!(!holds(Static::Bool(false), "<", Static::Bool(true)));
    assert!(!holds(Static::Status(Status::Error), "<", Static::Status(Status::Ok)));
    assert!(holds(Static::Status(Status::Error), "!=", Static::Status(Status::Ok)));
}

#[test]
fn strings_compare_by_bytes_and_match_patterns() {
    assert!(holds(Static::string("B"), "<", Static::string("a")));
    assert!(holds(Static::string("GET /x"), "=~", Static::string("GET.*")));
    assert!(holds(Static::string("GET /x"), "!~", Static::string("GET")));
    assert!(!holds(Int(1), "!~", Static::string("x")) && !holds(Nil, "!~", Static::string("x")));
    assert!(!holds(Static::string("x"), "!~", Static::string("[")));
}

#[test]
fn arithmetic_keeps_integers_and_yields_nil_without_a_value() {
    assert_eq!(apply(Int(7), "/", Int(-2)), Int(-3));
    assert_eq!(apply(Int(-7), "%", Int(2)), Int(-1));
    assert_eq!(apply(Int(i64::MAX), "+", Int(1)), Int(i64::MIN));
    assert_eq!(apply(Int(i64::MIN), "/", Int(-1)), Int(i64::MIN));
    assert_eq!(apply(Int(2), "^", Int(3)), Int(8));
    assert_eq!(apply(Int(2), "^", Int(-1)), Float(0.5));
    assert_eq!(apply(Int(10), "^", Int(19)), Float(1e19));
    assert_eq!(apply(Int(1), "/", Int(0)), Nil);
    assert_eq!(apply(Int(1), "%", Int(0)), Nil);
    assert_eq!(apply(Float(1.0), "/", Int(0)), Float(f64::INFINITY));
    assert_eq!(apply(Duration(4), "*", Int(2)), Float(8.0));
    assert_eq!(apply(Static::string("a"), "+", Int(1)), Nil);
    assert_eq!(apply(Nil, "+", Int(1)), Nil);
}

fn texts(values: &[&str]) -> Vec<u8> {
    encode_array(values.iter().map(|text| AnyValueRef::String(text.as_bytes())))
}

fn array(encoded: &[u8]) -> Value<'_> {
    Value::Array(ArrayValue { encoded })
}

#[test]
fn arrays_compare_any_element_and_differ_by_all() {
    fn text(text: &str) -> Value<'_> {
        Value::String(text.as_bytes())
    }
    let holds = |left: Value<'_>, operator: &str, right: Value<'_>| {
        let result = match (BinaryOperator::from_text(operator).expect("an operator"), right) {
            (BinaryOperator::Comparison(operator), _) => compare(operator, left, right),
            (operator, Value::String(pattern)) => {
                let pattern = CompiledRegex::new(pattern).expect("a pattern");
                let negated = operator == BinaryOperator::NotRegex;
                match_regex(left, negated, |text| pattern.is_match(text))
            }
            _ => panic!("no pattern"),
        };
        result.is_bool(true)
    };
    let tags = texts(&["red", "green"]);
    let tags = array(&tags);
    assert!(holds(tags, "=", text("green")));
    assert!(holds(text("green"), "=", tags));
    assert!(!holds(tags, "!=", text("green")));
    assert!(holds(tags, "!=", text("blue")));
    assert!(holds(tags, "=~", text("gr.*")));
    assert!(!holds(tags, "!~", text("gr.*")));
    assert!(!holds(tags, "!=", Value::Int(1)) && !holds(tags, "=", tags));
    let numbers = encode_array([1, 2, 3].into_iter().map(AnyValueRef::Int));
    let numbers = array(&numbers);
    assert!(holds(numbers, ">", Value::Int(2)) && holds(Value::Int(2), "<", numbers));
    assert!(!holds(numbers, ">", Value::Int(3)) && holds(numbers, "=", Value::Float(2.0)));
    let sum = calculate(crate::ArithmeticOperator::Add, numbers, Value::Int(1));
    assert_eq!(sum.to_static(), Nil);
    let empty = texts(&[]);
    let empty = array(&empty);
    assert!(holds(empty, "!=", text("x")));
    assert!(holds(empty, "!~", text("x")));
    assert!(!holds(empty, "=", text("x")));
}

#[test]
fn prefix_operators_need_their_type() {
    assert_eq!(evaluate_unary(UnaryOperator::Negate, &Duration(3)), Duration(-3));
    assert_eq!(evaluate_unary(UnaryOperator::Negate, &Static::string("a")), Nil);
    assert_eq!(evaluate_unary(UnaryOperator::Not, &Nil), Nil);
    assert_eq!(evaluate_unary(UnaryOperator::Not, &Static::Bool(false)), Static::Bool(true));
    assert_eq!(evaluate_unary(UnaryOperator::NotExists, &Nil), Static::Bool(true));
    assert_eq!(evaluate_unary(UnaryOperator::Exists, &Int(0)), Static::Bool(true));
}

#[test]
fn arrays_have_a_text() {
    let strings = texts(&["a", "b\""]);
    assert_eq!(ArrayValue { encoded: &strings }.to_string(), r#"["a", "b\""]"#);
    let floats = encode_array([1.0, 2.5].into_iter().map(AnyValueRef::Double));
    assert_eq!(ArrayValue { encoded: &floats }.to_string(), "[1.0, 2.5]");
    assert_eq!(Duration(40_833_333).to_string(), "40.833333ms");
    assert_eq!(Duration(i64::MIN).to_string(), "-2562047h47m16.854775808s");
}

#[test]
fn power_of_a_large_exponent_is_whole_if_it_fits() {
    assert_eq!(int_power(1, i64::MAX), Some(1));
    assert_eq!(int_power(0, 1 << 40), Some(0));
    assert_eq!(int_power(-1, i64::MAX), Some(-1));
    assert_eq!(int_power(-1, 1 << 40), Some(1));
    assert_eq!((int_power(2, 62), int_power(2, 63), int_power(2, -1)), (Some(1 << 62), None, None));
}
