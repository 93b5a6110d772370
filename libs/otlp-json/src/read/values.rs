//! Scalars of OTLP/JSON.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::replace_surrogates;

use super::fields::{Field, Room};

/// Text, or `null` for the empty text.
pub(super) struct Text<'t>(pub(super) &'t mut Bytes);

impl Field for Text<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        *self.0 = json.deserialize_option(TextVisitor)?;
        Ok(())
    }
}

/// Reads the bytes of a string, which need not be UTF-8.
struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E: Error>(self) -> Result<Bytes, E> {
        Ok(Bytes::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Bytes, D::Error> {
        json.deserialize_bytes(self)
    }

    fn visit_borrowed_bytes<E: Error>(self, text: &'de [u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(text))
    }

    /// Of a text with escapes.
    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<Bytes, E> {
        let mut text = text.to_vec();
        replace_surrogates(&mut text);
        Ok(text.into())
    }
}

/// An id in hex, of `length` bytes or absent.
pub(super) struct HexId<'t> {
    pub(super) target: &'t mut Bytes,
    pub(super) length: usize,
}

impl Field for HexId<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        let text = json.deserialize_option(TextVisitor)?;
        if !text.is_empty() && text.len() != 2 * self.length {
            let digits = 2 * self.length;
            let found = text.len();
            return Err(D::Error::custom(format_args!(
                "length mismatch, expected {digits} hex digits, found {found} characters"
            )));
        }
        let id: Option<Vec<u8>> = text
            .chunks_exact(2)
            .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
            .collect();
        *self.target = id.ok_or_else(|| D::Error::custom("not a hex string"))?.into();
        Ok(())
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Bytes in standard base64 with padding.
pub(super) struct Base64<'t>(pub(super) &'t mut Bytes);

impl Field for Base64<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        let text = json.deserialize_option(TextVisitor)?;
        let decoded = STANDARD.decode(&text);
        *self.0 = decoded
            .map_err(|error| D::Error::custom(format_args!("invalid base64: {error}")))?
            .into();
        Ok(())
    }
}

/// A number, as a number or in a string. `null` is an error.
pub(super) struct Number<'t, T>(pub(super) &'t mut T);

/// The number types that occur.
pub(super) trait FromJsonNumber: Sized + Copy + FromStr {
    const EXPECTED: &'static str;
    fn from_u64(value: u64) -> Option<Self>;
    fn from_i64(value: i64) -> Option<Self>;
    /// `None` for integers: `1.0` is not one.
    fn from_f64(value: f64) -> Option<Self>;
}

macro_rules! integers {
    ($($type:ty: $expected:literal),*) => {$(
        impl FromJsonNumber for $type {
            const EXPECTED: &'static str = $expected;
            fn from_u64(value: u64) -> Option<Self> {
                value.try_into().ok()
            }
            fn from_i64(value: i64) -> Option<Self> {
                value.try_into().ok()
            }
            fn from_f64(_: f64) -> Option<Self> {
                None
            }
        }
    )*};
}

integers!(u32: "a 32-bit unsigned integer", u64: "a 64-bit unsigned integer");

impl FromJsonNumber for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_u64(value: u64) -> Option<Self> {
        Some(value as f64)
    }
    fn from_i64(value: i64) -> Option<Self> {
        Some(value as f64)
    }
    fn from_f64(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl<T: FromJsonNumber> Field for Number<'_, T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        *self.0 = json.deserialize_any(NumberVisitor(std::marker::PhantomData))?;
        Ok(())
    }
}

struct NumberVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromJsonNumber> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        T::from_u64(value).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::from_i64(value).ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        T::from_f64(value).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    // Covers NaN, Infinity and -Infinity as well, which JSON numbers cannot express.
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The integer of an attribute: a double where it does not fit, as JavaScript writes large numbers.
pub(super) struct Integer<'t>(pub(super) &'t mut Value);

impl Field for Integer<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        *self.0 = json.deserialize_any(IntegerVisitor)?;
        Ok(())
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(match i64::try_from(number) {
            Ok(number) => Value::IntValue(number),
            Err(_) => Value::DoubleValue(number as f64),
        })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::IntValue(number))
    }

    /// Integers beyond 64 bits come as doubles, which are whole at that size. Smaller ones have a fraction or an exponent.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        if number.abs() < i64::MAX as f64 {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        Ok(Value::DoubleValue(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        if let Ok(number) = text.parse() {
            return Ok(Value::IntValue(number));
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        match number {
            Some(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Value::DoubleValue(number))
            }
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// `true` or `false`.
pub(super) struct Bool<'t>(pub(super) &'t mut bool);

impl Field for Bool<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        *self.0 = serde::Deserialize::deserialize(json)?;
        Ok(())
    }
}

/// An enum, as its number or its name. Unknown numbers are kept.
pub(super) struct Enum<'t> {
    pub(super) target: &'t mut i32,
    /// The number of a name.
    pub(super) by_name: fn(&str) -> Option<i32>,
}

impl Field for Enum<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        *self.target = json.deserialize_any(EnumVisitor(self.by_name))?;
        Ok(())
    }
}

struct EnumVisitor(fn(&str) -> Option<i32>);

impl Visitor<'_> for EnumVisitor {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number or the name of an enum value")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i32, E> {
        i32::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i32, E> {
        i32::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<i32, E> {
        (self.0)(name).ok_or_else(|| E::custom(format_args!("unknown string value {name:?}")))
    }
}
