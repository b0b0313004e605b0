//! The number of a connection.

/// The number of a connection: no two of a server have the same, also where they have no address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionNumber(pub u64);
