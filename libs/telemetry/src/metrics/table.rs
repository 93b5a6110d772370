//! Metrics of a part as a table: a struct whose fields are its metrics, declared by one macro.

use super::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, Registry};

/// Something that a row of [`metrics!`](crate::metrics!) makes. `More`: what the row has after name and meaning.
pub trait Registered<More> {
    /// The metric of this name, made or found in the registry.
    fn registered(registry: &Registry, name: &'static str, help: &'static str, more: More) -> Self;
}

/// `type < const parameters >, names and types of what a row has more, method of the registry;`
macro_rules! registered {
    ($( $metric:ty { $($const:tt)* } ($($more:ident: $more_ty:ty),*) $method:ident; )*) => { $(
        impl<$($const)*> Registered<($($more_ty,)*)> for $metric {
            fn registered(
                registry: &Registry,
                name: &'static str,
                help: &'static str,
                ($($more,)*): ($($more_ty,)*),
            ) -> Self {
                registry.$method(name, help $(, $more)*)
            }
        }
    )* };
}

registered! {
    Counter {} () counter;
    Gauge {} () gauge;
    Histogram {} (bounds: &[f64]) histogram;
    CounterVec<N> { const N: usize } (labels: [&'static str; N]) counter_vec;
    GaugeVec<N> { const N: usize } (labels: [&'static str; N]) gauge_vec;
    HistogramVec<N> { const N: usize } (labels: [&'static str; N], bounds: &[f64]) histogram_vec;
}

/// Declares a struct of metrics, and its `register(&Registry)`, which makes them or finds those that are registered
/// already. A row is `field: Type = "name", "meaning";`, with the names of labels and the bounds of buckets behind the
/// meaning where the type has them. `field: Type;` is a table within the table, and `field: Type => make;` what a
/// function makes of the registry.
#[macro_export]
macro_rules! metrics {
    (
        $(#[$attr:meta])*
        $vis:vis struct $table:ident {
            $(
                $(#[$field_attr:meta])*
                $field_vis:vis $field:ident: $ty:ty
                    $(= $name:expr, $help:expr $(, $more:expr)*)?
                    $(=> $make:expr)?;
            )*
        }
    ) => {
        $(#[$attr])*
        $vis struct $table {
            $( $(#[$field_attr])* $field_vis $field: $ty, )*
        }

        impl $table {
            /// The metrics, made or found in the registry.
            $vis fn register(registry: &$crate::metrics::Registry) -> Self {
                Self {
                    $( $field: $crate::metrics!(
                        @row registry, $ty $(, $name, $help $(, $more)*)? $(=> $make)?
                    ), )*
                }
            }
        }
    };
    (@row $registry:ident, $ty:ty) => { <$ty>::register($registry) };
    (@row $registry:ident, $ty:ty => $make:expr) => { $make($registry) };
    (@row $registry:ident, $ty:ty, $name:expr, $help:expr $(, $more:expr)*) => {
        <$ty as $crate::metrics::Registered<_>>::registered($registry, $name, $help, ($($more,)*))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    metrics! {
        #[derive(Debug)]
        struct Inner {
            depth: Gauge = "test_depth", "How deep.";
        }
    }

    metrics! {
        /// Of each kind one.
        #[derive(Debug, Clone)]
        struct Outer {
            /// Documented as fields are.
            pub(super) calls: CounterVec<2> = "test_calls_total", "Calls.", ["tenant", "op"];
            seconds: Histogram = "test_seconds", "Seconds.", &[1.0, 2.0];
            sizes: HistogramVec<1> = "test_sizes", "Sizes.", ["op"], &[8.0];
        }
    }

    #[test]
    fn rows_are_registered_under_their_names_and_found_again() {
        let registry = Registry::new();
        let (first, second) = (Outer::register(&registry), Outer::register(&registry));
        first.calls.with(["t", "get"]).inc();
        second.calls.with(["t", "get"]).inc();
        first.seconds.observe(1.5);
        second.sizes.with(["get"]).observe(9.0);
        Inner::register(&registry).depth.set(3.0);
        let page = registry.encode();
        for line in [
            "# HELP test_calls_total Calls.",
            "test_calls_total{tenant=\"t\",op=\"get\"} 2",
            "test_seconds_bucket{le=\"2\"} 1",
            "test_sizes_bucket{le=\"8\",op=\"get\"} 0",
            "test_depth 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }
}
