//! What numbers are multiplied as, and with which instructions.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// How the numbers of a product are kept. Sums are f32 for the first two, i32 for the third.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of 8 bits of precision, multiplied in pairs.
    Bf16,
    /// 8-bit integers, a scale a row of either side, multiplied in fours.
    Int8,
}

impl Kind {
    /// The kind of a name: f32, bf16 or int8.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err(Error::input(
                format!("unknown kind of numbers {name:?}"),
                "use f32, bf16 or int8",
            )),
        }
    }

    /// Numbers in one 32-bit word.
    pub fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }
}

/// How a row of inputs is kept; both sides of a product have the same form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Form {
    /// What its numbers are.
    pub kind: Kind,
    /// K.
    pub inputs: usize,
    /// int8: inputs that share a unit, at least one; a multiple of 4 unless it is all of them.
    pub group: usize,
}

impl Form {
    /// One unit for a whole row.
    pub fn whole(kind: Kind, inputs: usize) -> Self {
        Self {
            kind,
            inputs,
            group: inputs,
        }
    }

    /// Groups of a row: 1 unless the numbers are int8.
    pub fn groups(self) -> usize {
        self.inputs.div_ceil(self.group.max(1)).max(1)
    }
}

/// Instruction sets, the best one first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Isa {
    /// AVX-512 (F, BW, DQ, VL); bf16 and int8 also need their own extensions.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// NEON with dot products; int8 alone.
    Neon,
    /// What every processor has.
    Portable,
}

impl Isa {
    /// Its name, as build reports print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Whether this processor can run a kind with this instruction set.
    pub fn runs(self, kind: Kind) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                let base = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                base && match kind {
                    Kind::F32 => true,
                    Kind::Bf16 => is_x86_feature_detected!("avx512bf16"),
                    Kind::Int8 => is_x86_feature_detected!("avx512vnni"),
                }
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => kind == Kind::Int8 && std::arch::is_aarch64_feature_detected!("dotprod"),
            #[allow(unreachable_patterns, reason = "all are reachable on some processors")]
            _ => false,
        }
    }
}

/// The best instruction set that runs a kind here; looked up once.
pub fn isa(kind: Kind) -> Isa {
    static FOUND: OnceLock<[Isa; 3]> = OnceLock::new();
    let best = |kind| {
        [Isa::Avx512, Isa::Avx2, Isa::Neon]
            .into_iter()
            .find(|isa| isa.runs(kind))
            .unwrap_or(Isa::Portable)
    };
    FOUND.get_or_init(|| [Kind::F32, Kind::Bf16, Kind::Int8].map(best))[kind as usize]
}
