//! One body, compiled for each instruction set and chosen at run time.

/// Makes a function of an `#[inline(always)]` body that is generic in `const FMA: bool`.
macro_rules! by_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $type),*) $(-> $ret)? { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn middle($($arg: $type),*) $(-> $ret)? { $body::<true>($($arg),*) }
                match $crate::gemm::isa($crate::gemm::Kind::F32) {
                    // SAFETY: `isa` found these instructions on this processor.
                    $crate::gemm::Isa::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: as above.
                    $crate::gemm::Isa::Avx2 => return unsafe { middle($($arg),*) },
                    _ => {}
                }
            }
            $body::<false>($($arg),*)
        }
    };
}
