//! Everything that may happen to files, in full, each checked as `tests/damage.rs` and
//! `tests/recovery.rs` check a part of it: a journal cut at every byte, bits turned in every kind of
//! file, the power cut after every change of the disk, and every change refused.
//!
//! `cargo bench --bench damage`, or with a number of flips and a seed: `-- 100000 2`.

#[path = "../tests/recovery/clocked.rs"]
mod clocked;
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/damage/cuts.rs"]
mod cuts;
#[path = "../tests/recovery/disk.rs"]
mod disk;
#[path = "../tests/damage/flips.rs"]
mod flips;
#[path = "../tests/common/layout.rs"]
mod layout;
#[path = "../tests/recovery/life.rs"]
mod life;
#[path = "../tests/damage/log.rs"]
mod log;
#[path = "../tests/recovery/power.rs"]
mod power;
#[path = "../tests/recovery/refusing.rs"]
mod refusing;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let n_flips = numbers.first().copied().unwrap_or(20_000);
    let seed = numbers.get(1).copied().unwrap_or(1);
    let found = cuts::Written::new(seed, 400, 16 << 10).cut_each(1);
    println!("a journal cut at every byte: {found:?}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
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
