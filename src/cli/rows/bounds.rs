//! The bounds on reading a file.
//!
//! Invariant: a row is bounded, and beyond its first bytes a packed file is held to so many unpacked
//! ones for each packed one, and a file of columns to so many rows.

/// The longest row; one without an end must not fill the memory.
pub(super) const ROW_BYTES_MAX: usize = 16 << 20;

/// Rows of columns that need no justification: as many as are read in some seconds.
const FREE_ROWS: u64 = 4 << 20;
/// Rows for each byte of a file of columns beyond these, at most.
const ROWS_PER_BYTE_MAX: u64 = 4;

/// Refuses more rows than a file of so many bytes has, as runs of one value make them of nothing.
pub(super) fn check_rows(n_rows: u64, n_packed: u64) -> Result<(), String> {
    if n_rows <= FREE_ROWS || n_rows / ROWS_PER_BYTE_MAX <= n_packed {
        return Ok(());
    }
    Err(format!(
        "{n_packed} bytes hold more than {ROWS_PER_BYTE_MAX} times as many rows: save the rows as CSV if the \
         file is sound"
    ))
}

/// The bound on the unpacked size of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct RatioBound {
    /// Unpacked bytes that need no justification.
    free_bytes: u64,
    /// Unpacked bytes for each packed one beyond these, at most.
    ratio_max: u64,
    /// The remedy for a file that is sound.
    remedy: &'static str,
}

/// The bound of packed text, a packed byte of which is seldom more than 100 bytes of rows.
pub(super) const OF_TEXT: RatioBound = RatioBound {
    free_bytes: 4 << 20,
    ratio_max: 250,
    remedy: "unpack the file first if it is sound",
};
/// The bound of columns, whose equal values take next to nothing, and which are counted as the text of their
/// rows.
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
