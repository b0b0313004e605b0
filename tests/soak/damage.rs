//! Everything that may happen to files, in full: a journal cut at every byte, bits turned in every
//! kind of file, the power cut after every change of the disk, and every change refused.

#[path = "../it/damage/cuts.rs"]
pub(crate) mod cuts;
#[path = "../it/damage/flips.rs"]
pub(crate) mod flips;
#[path = "../it/damage/log.rs"]
pub(crate) mod log;

use tokio::runtime::Runtime;

use crate::recovery::{power, refusing};

/// Turns `n_flips` bits, each in a file that is opened afterwards.
pub(crate) fn search(runtime: &Runtime, n_flips: u64, seed: u64) {
    let found = cuts::Written::new(seed, 400, 16 << 10).cut_each(1);
    println!("a journal cut at every byte: {found:?}");
    runtime.block_on(async {
        power::cut_each(1).await;
        println!(
            "{} of them lose something unsynced",
            power::cut_each_unsynced(1).await
        );
        refusing::refuse_each(1, libc::EIO, false).await;
        refusing::refuse_each(1, libc::ENOSPC, true).await;
    });
    let found = flips::turn(n_flips, 1, seed);
    println!("each of them opened: {found:?}");
    assert_eq!(found.silent, 0);
}
