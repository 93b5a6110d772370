//! Enums whose variants are words of a file, a query or a label. Each word is declared once, beside its variant.

/// Declares such enums: `Variant = "word"`, or `Variant = "word" | "other spelling"`. Each gets `ALL`, its variants
/// in order; `WORDS`, their words; `text`, the word of a variant; and `from_text`, the variant of a word. With `enum
/// Name: label { … }`, `text` is called `label`.
#[macro_export]
macro_rules! words {
    ($(
        $(#[$attr:meta])*
        $vis:vis enum $name:ident $(: $text:ident)? {
            $( $(#[$variant_attr:meta])* $variant:ident = $word:literal $(| $other:literal)*, )+
        }
    )+) => { $(
        $(#[$attr])*
        $vis enum $name {
            $( $(#[$variant_attr])* $variant, )+
        }

        #[allow(dead_code, reason = "not every enum is needed in each direction")]
        impl $name {
            /// All of them, in order.
            $vis const ALL: [Self; [$( $word ),+].len()] = [$( Self::$variant ),+];
            /// Their words, in order.
            $vis const WORDS: &'static [&'static str] = &[$( $word ),+];

            $crate::words! {
                @text ($vis) $($text)?;
                $( $variant = $word, )+
            }

            /// The one that a word names.
            $vis fn from_text(text: &str) -> Option<Self> {
                match text {
                    $( $word $(| $other)* => Some(Self::$variant), )+
                    _ => None,
                }
            }
        }
    )+ };
    (@text ($vis:vis); $($rest:tt)*) => { $crate::words! { @text ($vis) text; $($rest)* } };
    (@text ($vis:vis) $text:ident; $( $variant:ident = $word:literal, )+) => {
        /// Its word.
        $vis fn $text(self) -> &'static str {
            match self {
                $( Self::$variant => $word, )+
            }
        }
    };
}

#[cfg(test)]
mod tests {
    words! {
        #[derive(Debug, Clone, Copy, PartialEq)]
        enum Colour {
            /// Of the sky.
            Blue = "blue" | "azure",
            Green = "green",
        }

        #[derive(Debug, Clone, Copy, PartialEq)]
        enum Size: label {
            Small = "s",
        }
    }

    #[test]
    fn words_are_written_and_read() {
        assert_eq!(Colour::ALL.map(Colour::text), ["blue", "green"]);
        assert_eq!(Colour::from_text("azure"), Some(Colour::Blue));
        assert_eq!(Colour::from_text("red"), None);
        assert_eq!(Size::Small.label(), "s");
        assert_eq!((Size::ALL, Size::from_text("s")), ([Size::Small], Some(Size::Small)));
    }
}
