//! A server that is killed at any moment loses nothing that it acknowledged.

/// `cargo test --release --test soak -- kills 10000` kills more often.
const N_KILLS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn p1_fifty_kills_lose_nothing_and_repeat_nothing() {
    let mut life = crate::support::crash::Life::new(1);
    for _ in 0..N_KILLS {
        life.round().await;
    }
    let toll = life.end().await;
    println!("{toll:?}");
    assert_eq!(toll.kills, N_KILLS);
    // Kills that hit nothing would show nothing.
    assert!(toll.acknowledged > N_KILLS, "{toll:?}");
    assert!(toll.repeated > 0, "{toll:?}");
    assert!(toll.early_kills > 0, "{toll:?}");
    assert!(toll.versions > toll.restored + toll.retracted, "{toll:?}");
    assert!(toll.restored > 0 && toll.retracted > 0, "{toll:?}");
}
