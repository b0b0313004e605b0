//! The datatype of values, as described.
//!
//! Invariant: it decides the bits of answers and of the scores that judge them, and nothing else.

/// The datatype of a regression's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    /// 32 bits: seven digits.
    Fp32,
    /// 64 bits: fifteen digits.
    Fp64,
}

impl Datatype {
    /// Every datatype.
    pub(super) const ALL: [Datatype; 2] = [Datatype::Fp32, Datatype::Fp64];

    /// The word for it, in model.toml and in tensors.
    pub fn word(self) -> &'static str {
        match self {
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
        }
    }
}
