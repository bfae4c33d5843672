//! Instruction sets, and functions that are compiled for each of them.

/// Instruction sets that there are kernels for, the fastest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Set {
    /// AVX-512 (F, BW, DQ, VL, VNNI).
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// NEON with dot products.
    Neon,
    /// Plain Rust, for every processor.
    Portable,
}

/// An instruction set that this processor has: only detection makes such a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Isa(Set);

impl Isa {
    /// Those of this processor, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let sets = [Set::Avx512, Set::Avx2, Set::Neon, Set::Portable];
        sets.into_iter().filter(|set| is_here(*set)).map(Self)
    }

    /// The fastest of this processor.
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self(Set::Portable))
    }

    /// Which one it is.
    pub fn set(self) -> Set {
        self.0
    }

    /// Its name in build reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Avx512 => "avx512",
            Set::Avx2 => "avx2",
            Set::Neon => "neon",
            Set::Portable => "portable",
        }
    }
}

fn is_here(set: Set) -> bool {
    match set {
        Set::Portable => true,
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                && is_here(Set::Avx2)
        }
        #[cfg(target_arch = "aarch64")]
        Set::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
        #[allow(unreachable_patterns, reason = "all are reachable on some processor")]
        _ => false,
    }
}

/// Makes a function, whose first argument chooses the instruction set, of an `#[inline(always)]` body that is generic in
/// `const FMA: bool` (whether a fused multiply-add is one instruction).
macro_rules! by_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($isa:ident: Isa, $($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;) => {
        $(#[$meta])*
        $vis fn $name($isa: $crate::search::kernels::isa::Isa, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::search::kernels::isa::Set;

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $type),*) $(-> $ret)? { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $ret)? { $body::<true>($($arg),*) }
                match $isa.set() {
                    // SAFETY: an `Isa` is one that this processor has.
                    Set::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Set::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            let _ = $isa;
            $body::<false>($($arg),*)
        }
    };
}

pub(crate) use by_isa;
