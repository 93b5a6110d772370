//! What logs and errors show of a type that has too much to show, or what nobody may see.

/// Implements `Debug` of a type by some of its fields: `debug_of!(Poller { settings })`. A value that is no field:
/// `debug_of!(it: Cluster { name = it.membership.name() })`.
#[macro_export]
macro_rules! debug_of {
    ($type:ident $({ $($field:ident),+ })?) => {
        $crate::debug_of!(it: $type { $($($field = it.$field),+)? });
    };
    ($it:ident: $type:ident { $($name:ident = $value:expr),* }) => {
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $it = self;
                let _ = $it;
                f.debug_struct(stringify!($type))$(.field(stringify!($name), &$value))*
                    .finish_non_exhaustive()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    struct Door {
        number: u32,
        lock: String,
    }
    struct Wall;

    debug_of!(it: Door { number = it.number, digits = it.lock.len() });
    debug_of!(Wall);

    #[test]
    fn fields_are_shown_and_the_rest_is_not() {
        let door = Door { number: 7, lock: "1234".to_owned() };
        assert_eq!(format!("{door:?}"), "Door { number: 7, digits: 4, .. }");
        assert_eq!(format!("{Wall:?}"), "Wall { .. }");
    }
}
