//! A server that is killed at any moment loses nothing that it acknowledged.

/// `cargo test --release --test soak -- kills 10000` kills more often.
const N_KILLS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn p1_fifty_kills_lose_nothing_and_repeat_nothing() {
    let mut scenario = crate::support::crash::Scenario::new(1);
    let mut n_rounds = 0;
    // Orders come by chance; on a busy machine a kill may come before each of the few restores.
    while n_rounds < N_KILLS || !scenario.has_gone_back() && n_rounds < 4 * N_KILLS {
        scenario.round().await;
        n_rounds += 1;
    }
    let counts = scenario.end().await;
    println!("{counts:?}");
    assert_eq!(counts.kills, n_rounds);
    // Kills that hit nothing would show nothing.
    assert!(counts.acknowledged > N_KILLS, "{counts:?}");
    assert!(counts.repeated > 0, "{counts:?}");
    assert!(counts.early_kills > 0, "{counts:?}");
    assert!(counts.left > 0, "{counts:?}");
    assert!(
        counts.versions > counts.restored + counts.retracted,
        "{counts:?}"
    );
    assert!(counts.restored > 0 && counts.retracted > 0, "{counts:?}");
}
