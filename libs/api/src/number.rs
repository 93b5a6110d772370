//! Integers of parameters, with the error texts that clients know.

/// Parses a decimal integer of `bits` bits as Go's `strconv.ParseInt` does; `function` names it in the error.
pub(crate) fn parse_int(text: &str, bits: u32, function: &str) -> Result<i64, String> {
    let wrong = |why| format!("strconv.{function}: parsing {text:?}: {why}");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("invalid syntax"));
    }
    let largest = i64::MAX >> (64 - bits);
    match text.parse::<i64>() {
        Ok(value) if (-largest - 1..=largest).contains(&value) => Ok(value),
        _ => Err(wrong("value out of range")),
    }
}

/// Parses seconds since 1970 that fit 32 bits without a sign.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    let value = parse_int(text, 64, "ParseInt")?;
    u32::try_from(value)
        .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_refused_with_the_texts_of_go() {
        assert_eq!(parse_int("-5", 64, "Atoi"), Ok(-5));
        assert_eq!(parse_int("+2147483647", 32, "ParseInt"), Ok(2_147_483_647));
        for (text, expected) in [
            ("x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("", "strconv.ParseInt: parsing \"\": invalid syntax"),
            ("1.5", "strconv.ParseInt: parsing \"1.5\": invalid syntax"),
            ("2147483648", "strconv.ParseInt: parsing \"2147483648\": value out of range"),
        ] {
            assert_eq!(parse_int(text, 32, "ParseInt"), Err(expected.to_owned()));
        }
        assert_eq!(parse_seconds("4294967295"), Ok(u32::MAX));
        assert!(parse_seconds("-1").is_err());
    }
}
