//! The revisions of the learning rules.
//!
//! Invariant: a released revision never changes; a change of the rules is a new one.

/// The newest revision of the learning rules: the mapping from a journal's entries to a state.
///
/// Under each revision a journal leads, bit for bit, to the state it led to under the program that wrote
/// it. 1: the rules before revisions were stated. 2: rewards that change later are learned as whole
/// examples where nothing is held of them, and a corrected label supersedes the older one.
/// 3: a classifier has a retention set, whose anchors are withheld from memories, and `auto` answers
/// for kept examples as well as for new ones, with a network that keeps; the scale of a column is
/// judged robustly by its first values; memories store rows raw, and standardise them by the scale of
/// the moment; members of a regression's portfolio see the past of its target; amended rewards are
/// learned again from a state that is held before them; members are judged by an example by no more than
/// its weight.
pub const REVISION: u32 = 3;

/// The first revision with a retention set.
pub(super) const RETAINS: u32 = 3;
