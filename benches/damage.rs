//! A journal cut at every byte of its last 64 KiB, and bits turned in every kind of file, each
//! checked as `tests/damage.rs` checks them.
//!
//! `cargo bench --bench damage`, or with a number of flips and a seed: `-- 100000 2`.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/damage/cuts.rs"]
mod cuts;
#[path = "../tests/damage/flips.rs"]
mod flips;
#[path = "../tests/common/layout.rs"]
mod layout;
#[path = "../tests/damage/log.rs"]
mod log;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let n_flips = numbers.first().copied().unwrap_or(20_000);
    let seed = numbers.get(1).copied().unwrap_or(1);
    let found = cuts::Written::new(seed).cut_each(1, 64 << 10);
    println!("every byte of the last 64 KiB: {found:?}");
    let found = flips::turn(n_flips, 9, seed);
    println!("{found:?}");
    assert_eq!(found.silent, 0);
}
