use super::*;
use proptest::prelude::*;

fn env(name: &str) -> Option<String> {
    match name {
        "NAME" => Some("tactus".to_owned()),
        "PATHNAME" => Some("/a/b/c.tar.gz".to_owned()),
        "EMPTY" => Some(String::new()),
        "OTHER" => Some("other".to_owned()),
        _ => None,
    }
}

fn expanded(text: &str) -> String {
    expand(text, env).unwrap()
}

#[test]
fn expansion_of_plain_forms_follows_the_table() {
    for (text, result) in [
        ("${NAME}", "tactus"),
        ("a$$b ${UNSET} $HOME", "a$b  $HOME"),
        ("$${NAME}", "${NAME}"),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${NAME:-d}", "tactus"),
        ("${UNSET:=d}${UNSET=e}${UNSET:?f}${UNSET:+g}", "defg"),
        ("${NAME:+g}", "tactus"),
        ("${UNSET:-${OTHER}/x}", "other/x"),
        ("${UNSET:-${ALSO_UNSET:-${NAME}}}", "tactus"),
        ("${UNSET:-}", ""),
        ("a\\\\b \\/ \\d", "a\\b / \\d"),
        ("100$", "100$"),
        ("# ${NAME} é", "# tactus é"),
    ] {
        assert_eq!(expanded(text), result, "{text}");
    }
}

#[test]
fn expansion_of_operators_follows_bash() {
    for (text, result) in [
        ("${#NAME}", "6"),
        ("${NAME^}", "Tactus"),
        ("${NAME^^}", "TACTUS"),
        ("${NAME,,}", "tactus"),
        ("${NAME,}", "tactus"),
        ("${NAME:2}", "ctus"),
        ("${NAME:1:3}", "act"),
        ("${NAME:99:1}", ""),
        ("${PATHNAME#*/}", "a/b/c.tar.gz"),
        ("${PATHNAME##*/}", "c.tar.gz"),
        ("${PATHNAME%.*}", "/a/b/c.tar"),
        ("${PATHNAME%%.*}", "/a/b/c"),
        ("${NAME/t/T}", "Tactus"),
        ("${NAME//t/T}", "TacTus"),
        ("${NAME/#ta/Ra}", "Ractus"),
        ("${NAME/#ct/x}", "tactus"),
        ("${NAME/%us/ile}", "tactile"),
        ("${NAME/%ta/x}", "tactus"),
        ("${NAME//[a-c]/-}", "t--tus"),
        ("${NAME//[!t]}", "tt"),
        ("${PATHNAME//\\//_}", "_a_b_c.tar.gz"),
        ("${NAME/a*u/o}", "tos"),
    ] {
        assert_eq!(expanded(text), result, "{text}");
    }
}

#[test]
fn expansion_of_broken_text_is_refused() {
    for (text, error) in [
        ("${X-1}", ExpandError::MissingBrace),
        ("${X+1}", ExpandError::MissingBrace),
        ("${X?1}", ExpandError::MissingBrace),
        ("${X", ExpandError::MissingBrace),
        ("${", ExpandError::BadSubstitution),
        ("${}", ExpandError::Name),
        ("${ X}", ExpandError::Name),
        ("${X:-d", ExpandError::BadSubstitution),
        ("${X:d}", ExpandError::Default),
        ("${X/a", ExpandError::Operand),
    ] {
        assert_eq!(expand(text, env), Err(error), "{text}");
    }
    let deep = "${A:-".repeat(1_000);
    assert_eq!(expand(&deep, env), Err(ExpandError::BadSubstitution));
}

proptest! {
    #[test]
    fn text_without_dollar_and_backslash_stays(text in "[^$\\\\]*") {
        prop_assert_eq!(expand(&text, env).unwrap(), text);
    }

    #[test]
    fn any_text_never_panics(text in "[${}A-C:/#%^,*\\[\\]!a\\\\-]{0,40}") {
        let _ = expand(&text, |_| Some("abAB/é".to_owned()));
    }
}
