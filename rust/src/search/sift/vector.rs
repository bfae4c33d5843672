//! The test in vector registers: one body, for the instructions that a file imports under common names.

/// Makes a `Test` of `add`, `convert`, `fused`, `load_floats`, `load_integers`, `multiply`, `set` and `not_below`.
macro_rules! vector_test {
    ($features:literal, $floats:ty, $integers:ty, $lanes:literal) => {
        use crate::gemm::PANEL;
        use crate::search::asked::Bound;
        use crate::search::panel::Panel;

        /// Vectors of a panel.
        const COUNT: usize = PANEL / $lanes;

        /// A panel's numbers in registers.
        pub(crate) struct Test {
            units: [$floats; COUNT],
            starts: [$integers; COUNT],
            norms: [$floats; COUNT],
            residuals: [$floats; COUNT],
        }

        impl super::Test for Test {
            #[inline(always)]
            fn new(panel: &Panel<'_>) -> Self {
                // SAFETY: only made where `Isa::runs` found the instructions.
                unsafe { new(panel) }
            }

            #[inline(always)]
            fn passing(&self, sums: &[u32; PANEL], bound: &Bound, limit: f32) -> u32 {
                // SAFETY: as above.
                unsafe { passing(self, sums, bound, limit) }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn new(panel: &Panel<'_>) -> Test {
            Test {
                units: floats(&panel.units()),
                starts: integers(&panel.starts().map(i32::cast_unsigned)),
                norms: floats(&panel.norms()),
                residuals: floats(&panel.residuals()),
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn passing(test: &Test, sums: &[u32; PANEL], bound: &Bound, limit: f32) -> u32 {
            let (by_norm, by_residual, limit) =
                (set(bound.by_norm), set(bound.by_residual), set(limit));
            let mut bits = 0;
            for (at, sum) in integers(sums).into_iter().enumerate() {
                let sum = convert(add(sum, test.starts[at]));
                let error = fused(
                    by_residual,
                    test.residuals[at],
                    multiply(by_norm, test.norms[at]),
                );
                let most = fused(sum, test.units[at], error);
                bits |= not_below(most, limit) << (at * $lanes);
            }
            bits
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn floats(values: &[f32; PANEL]) -> [$floats; COUNT] {
            // SAFETY: a panel is `COUNT` vectors long.
            std::array::from_fn(|at| unsafe { load_floats(values.as_ptr().add(at * $lanes)) })
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn integers(values: &[u32; PANEL]) -> [$integers; COUNT] {
            // SAFETY: as above.
            std::array::from_fn(|at| unsafe {
                load_integers(values.as_ptr().add(at * $lanes).cast())
            })
        }
    };
}

pub(crate) use vector_test;
