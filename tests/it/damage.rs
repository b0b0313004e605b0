//! Damage: a journal cut at any byte, any bit turned, and every kind of file that does
//! not belong.
//!
//! Invariant: nothing that had been synced goes unseen. `cargo test --release --test soak -- damage` does the same
//! for every byte and for more bits.

mod case;
mod checkpoints;
mod cuts;
mod files;
mod flips;
mod ids;
pub(crate) mod log;
mod scarce;
mod segments;
mod special;

#[test]
fn p1_a_journal_cut_at_any_byte_loses_nothing_that_was_known_synced() {
    let journal = cuts::Written::new(7, 1200, 70 << 10);
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
