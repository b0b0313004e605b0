//! A candidate that answers every row alike, or whose weights have exploded.
//!
//! Invariant: neither decides alone; it raises one incident and begins the test anew.

use super::*;

fn sure(share: f64) -> Option<RowOutputs> {
    Some(RowOutputs {
        outputs: vec![share, 1.0 - share],
    })
}

#[test]
fn a_broken_candidate_raises_one_incident_and_a_new_test() {
    let mut story = Story::new("live");
    story.learn(10);
    let spec = story.learner.spec().clone();
    let publish = spec.publish;
    let mut gate = story.learner.accounts.gate.clone().expect("a gate");
    let needed = gate.decline(&publish).needed;
    gate.note_health(5, Some([1e3, 1.0]), &publish);
    assert!(gate.incidents.all().is_empty());
    for row in 0..60_u32 {
        let answers = SideAnswers {
            candidate: sure(0.5),
            champion: sure(f64::from(row % 2)),
            contender: None,
        };
        let truth = Truth {
            target: Target::Class(row % 2),
            propensity: None,
        };
        gate.observe(&spec, truth, &answers, "desk");
        gate.note_health(u64::from(row) + 10, None, &publish);
    }
    let kinds = |gate: &Gate| -> Vec<IncidentKind> {
        gate.incidents.all().iter().map(|one| one.kind).collect()
    };
    assert_eq!(kinds(&gate), [IncidentKind::Constant]);
    let decline = gate.decline(&publish);
    assert!(
        decline.needed > needed && decline.labels < 15,
        "{decline:?}"
    );
    assert!(!gate.is_frozen() && gate.judgement(&publish).is_none());
    gate.note_health(80, Some([1e6, 1.0]), &publish);
    gate.note_health(90, Some([1e6, 1.0]), &publish);
    assert_eq!(
        kinds(&gate),
        [IncidentKind::Constant, IncidentKind::Exploding]
    );
    // All of the next examples are scored, of which otherwise few would be.
    let seldom = Spec::parse(&toml("live", GOOD).replace("score_every = 1", "score_every = 1000"));
    let seldom = seldom.expect("a description");
    assert!((0..1500).all(|_| gate.count(&seldom)));
    let mut tensors = Tensors::default();
    gate.save(&mut tensors);
    assert!(Gate::load(&spec, &mut tensors) == Ok(Some(gate)));
}
