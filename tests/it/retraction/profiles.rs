//! Answers and states derived again where their journal was written by another program or machine.

use perennial::engine::{Error, Offline};
use perennial::event::{Event, Order, Outputs};
use perennial::store::{Config, Directory, Journal, Reader, verify};

use super::{serve_rows, workspace};
use crate::support::{AUTO, Workspace, order};

/// The first journal of a model written again with some of its events changed, as a data directory
/// of its own.
fn rewritten(workspace: &Workspace, change: impl Fn(&mut Event)) -> Workspace {
    let other = Workspace::new(&[("m", AUTO)]);
    let journal = |workspace: &Workspace| workspace.data().join("m/journal");
    drop(Directory::open(&other.data()).expect("a directory"));
    let (mut copy, _) =
        Journal::create_or_open(&journal(&other), 0, Config::default()).expect("a journal");
    let mut reader = Reader::from_start(&journal(workspace), 0).expect("a journal");
    let last = verify(&journal(workspace))
        .expect("it is sound")
        .last_position;
    while let Some(mut entry) = reader.next(last).expect("an entry") {
        change(&mut entry.event);
        copy.append(entry.time, &entry.event).expect("room");
    }
    copy.close().expect("it is closed");
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_differs_is_explained() {
    let (workspace, engine) = workspace(AUTO);
    let ids = serve_rows(engine.model("m").unwrap(), 0, 10, None).await;
    engine.close();
    drop(engine);
    let check = |change: &dyn Fn(&mut Event), expected: Option<&str>| {
        let other = rewritten(&workspace, change);
        let offline = Offline::open(&other.data(), "m").unwrap();
        let found = offline.audit(ids[7], None).unwrap().expect("it is there");
        assert_eq!(found.bit_equal(), expected.is_none(), "{found:?}");
        match (found.difference, expected) {
            (None, None) => {}
            (Some(reason), Some(expected)) => assert!(reason.contains(expected), "{reason}"),
            (reason, _) => panic!("{reason:?}, expected {expected:?}"),
        }
    };
    let answered = |event: &mut Event| {
        if let Event::Prediction(prediction) = event
            && prediction.ids[0] == ids[7]
        {
            let Outputs::Probabilities(shares) = &mut prediction.outputs else {
                panic!("probabilities")
            };
            shares[0] = f32::from_bits(shares[0].to_bits() ^ 1);
        }
    };
    let profiled = |event: &mut Event| {
        if let Event::Description(description) = event {
            description.profile = "an abacus".to_owned();
        }
    };
    check(&|_| {}, None);
    check(&profiled, None);
    check(&answered, Some("damage that nothing explains"));
    let both = |event: &mut Event| {
        answered(event);
        profiled(event);
    };
    check(&both, Some("under the numeric profile an abacus, which is"));
    let built = |event: &mut Event| {
        answered(event);
        if let Event::Description(description) = event {
            description.build = "another program".to_owned();
        }
    };
    check(&built, Some("by another program, which is perennial"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_digests_of_another_numeric_profile_are_not_compared() {
    let (workspace, engine) = workspace(AUTO);
    let model = engine.model("m").unwrap();
    serve_rows(model, 0, 10, None).await;
    order(model, Order::Checkpoint).await;
    let ids = serve_rows(model, 10, 4, None).await;
    engine.close();
    drop(engine);
    let of_other_bits = |event: &mut Event| {
        if let Event::Version(version) = event {
            version.digest = blake3::hash(version.digest.as_bytes());
        }
    };
    // Under the profile of this machine, the digest of another state is damage.
    let damaged = rewritten(&workspace, of_other_bits);
    let offline = Offline::open(&damaged.data(), "m").unwrap();
    let mut replay = offline.replay(None).unwrap();
    let error = replay.advance(u64::MAX).unwrap_err().to_string();
    assert!(error.contains("applying the journal gave"), "{error}");
    drop((replay, offline));
    let engine = damaged.open();
    let snapshot = engine.model("m").unwrap().snapshot("");
    assert!(matches!(snapshot, Err(Error::Unavailable { .. })));
    engine.close();

    let moved = rewritten(&workspace, |event| {
        of_other_bits(event);
        if let Event::Description(description) = event {
            description.profile = "an abacus".to_owned();
        }
    });
    let audited = |when: &str| {
        let offline = Offline::open(&moved.data(), "m").unwrap();
        let audit = offline.audit(ids[0], None).unwrap().expect("it is there");
        assert!(audit.again.is_ok(), "{when}: {:?}", audit.again);
        let mut replay = offline.replay(None).unwrap();
        while replay.advance(7).unwrap() {}
        assert!(replay.outcome().has_other_bits, "{when}");
    };
    audited("before");
    // The first start journals the profile of this machine; the next one finds both.
    for from in [20, 30] {
        let engine = moved.open();
        let model = engine.model("m").unwrap();
        serve_rows(model, from, 2, None).await;
        order(model, Order::Checkpoint).await;
        engine.close();
        drop(engine);
        audited("since");
        std::fs::remove_dir_all(moved.data().join("m/checkpoints")).unwrap();
    }
}
