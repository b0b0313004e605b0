//! Searches that go on for as long as they are asked to, each through what the tests of the same
//! name in `tests/it` try a part of.
//!
//! `cargo test --release --test soak -- kills 10000`, `histories 10000` and `damage 20000`; a second
//! number is the first seed. `ids 3000000` sends so many feedback ids.

mod damage;
mod histories;
mod kills;
mod recovery;
#[path = "../it/support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: kills | histories | damage | ids, then how many, then the first seed";
    let number = |place: usize| match arguments.get(place) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| usage.to_owned()),
    };
    let (n, seed) = (number(1)?, number(2)?);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("kills") => runtime.block_on(kills::search(n, seed.unwrap_or(0))),
        Some("histories") => histories::search(&runtime, n.unwrap_or(100), seed.unwrap_or(0)),
        Some("damage") => damage::search(&runtime, n.unwrap_or(20_000), seed.unwrap_or(1)),
        Some("ids") => {
            let n_ids = n.unwrap_or(3_000_000);
            let known = recovery::resent::known_after_a_kill_a_replay_and_jumps(n_ids, "");
            runtime.block_on(known);
        }
        _ => return Err(usage.to_owned()),
    }
    Ok(())
}
