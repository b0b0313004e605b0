//! The bounds on what is read of a file.
//!
//! Invariant: a row is bounded, and beyond its first bytes a packed file is held to so many unpacked
//! ones for each packed one.

/// The longest row; one without an end must not fill the memory.
pub(super) const ROW_BYTES_MAX: usize = 16 << 20;

/// How far a file may unpack.
#[derive(Clone, Copy, Debug)]
pub(super) struct RatioBound {
    /// Unpacked bytes that need no justification.
    free_bytes: u64,
    /// Unpacked bytes for each packed one beyond these, at most.
    ratio_max: u64,
    /// The remedy for a file that is sound.
    remedy: &'static str,
}

/// Of packed text, a packed byte of which is seldom more than 100 bytes of rows.
pub(super) const OF_TEXT: RatioBound = RatioBound {
    free_bytes: 4 << 20,
    ratio_max: 250,
    remedy: "unpack the file first if it is sound",
};
/// Of columns, whose equal values take next to nothing, and which are counted as the text of their rows.
pub(super) const OF_COLUMNS: RatioBound = RatioBound {
    free_bytes: 64 << 20,
    ratio_max: 250,
    remedy: "save the rows as CSV if the file is sound",
};

impl RatioBound {
    /// Refuses an expansion that no file of rows has.
    pub(super) fn check(self, n_unpacked: u64, n_packed: u64) -> Result<(), String> {
        let RatioBound {
            free_bytes,
            ratio_max,
            remedy,
        } = self;
        if n_unpacked <= free_bytes || n_unpacked / ratio_max <= n_packed {
            return Ok(());
        }
        Err(format!(
            "{n_packed} packed bytes unpack to more than {ratio_max} times as many: {remedy}"
        ))
    }
}
