//! A reader that does not keep up.

use perennial::engine::PredictOptions;
use perennial::proto::perennial::v1::WatchRequest;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use tonic::Code;
use tonic::transport::Endpoint;

use super::{GOOD, Served, described, freeze_and_resume, next, watch};
use crate::support::{Workspace, rows};

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_slow_watch_is_dropped_with_a_sentence_while_serving_goes_on() {
    let workspace = Workspace::new(&[("m", &described("live", GOOD))]);
    let served = Served::start(&workspace, None).await;
    let model = served.model();
    // So few bytes are on their way to a reader that the events soon wait at the server.
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(1024);
    let mut slow = RegistryClient::new(endpoint.connect().await.unwrap());
    let request = WatchRequest {
        model: "m".to_owned(),
        from_position: 0,
    };
    let mut slow = slow.watch(request).await.unwrap().into_inner();
    let mut client = served.client().await;
    let mut quick = watch(&mut client, "m", 0).await;
    let note = "n".repeat(1000);
    let (mut n_events, mut answered) = (0, rows(1000, 0.3));
    while served.engine.published().dropped_watches == 0 {
        assert!(n_events < 1000, "nobody is dropped");
        freeze_and_resume(&model, 2, &note).await;
        n_events += 2;
        for _ in 0..2 {
            assert_eq!(next(&mut quick).await.note, note);
        }
        let snapshot = model.snapshot("").unwrap();
        let (batch, _) = answered.next().unwrap();
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        assert_eq!(answer.await.unwrap().ids.len(), 1);
    }
    assert_eq!(
        served.engine.published().watches,
        2,
        "its place is taken until it goes"
    );
    let mut n_read = 0;
    let ended = loop {
        match slow.message().await {
            Ok(Some(_)) => n_read += 1,
            Ok(None) => panic!("it ended without a sentence"),
            Err(ended) => break ended,
        }
    };
    assert!((256..n_events).contains(&n_read), "{n_read} of {n_events}");
    assert_eq!(ended.code(), Code::ResourceExhausted);
    let expected = "the watch was dropped: 256 events waited for it to read them; watch again";
    assert!(ended.message().starts_with(expected), "{ended}");
    freeze_and_resume(&model, 2, "").await;
    assert_eq!(next(&mut quick).await.kind, "frozen");
    assert_eq!(next(&mut quick).await.kind, "resumed");
    super::until("its place is free", || {
        served.engine.published().watches == 1
    })
    .await;
    served.stop().await;
}
