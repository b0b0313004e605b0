//! What is damaged: a journal cut at any byte, any bit turned, and every kind of file that does
//! not belong.
//!
//! Invariant: nothing that had been synced goes unseen. `cargo bench --bench damage` does the same
//! for every byte and for more bits.

#[path = "damage/case.rs"]
mod case;
#[path = "damage/checkpoints.rs"]
mod checkpoints;
mod common;
#[path = "damage/cuts.rs"]
mod cuts;
#[path = "damage/files.rs"]
mod files;
#[path = "damage/flips.rs"]
mod flips;
#[path = "common/layout.rs"]
mod layout;
#[path = "damage/log.rs"]
mod log;
#[path = "damage/scarce.rs"]
mod scarce;
#[path = "damage/segments.rs"]
mod segments;
#[path = "common/server.rs"]
mod server;
#[path = "common/special.rs"]
mod special;
#[path = "damage/special.rs"]
mod special_files;

#[test]
fn p1_a_journal_cut_at_any_byte_loses_nothing_that_was_known_synced() {
    let journal = cuts::Written::new(7, 1200, 80 << 10);
    let found = journal.cut_each(97);
    println!("{found:?}");
    assert!(found.refused > 1000 && found.torn > 500, "{found:?}");
    assert!(found.whole > 0, "{found:?}");
}

#[test]
fn p1_no_turned_bit_is_accepted_unseen() {
    let found = flips::turn(20_000, 101, 1);
    println!("{found:?}");
    assert_eq!(found.silent, 0);
}
