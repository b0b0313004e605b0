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

#[test]
fn weights_are_looked_at_every_so_many_labels_and_those_of_a_portfolio_as_well() {
    let mut story = Story::new("live");
    let described = toml("live", GOOD).replace("every_examples = 200", "every_examples = 100000");
    let spec = Spec::parse(&described).expect("a description");
    story.learner = Learner::new(Arc::new(spec));
    story.apply(Event::Description(Description {
        toml: Spec::pin(&described, &[], REVISION),
        ..Description::default()
    }));
    story.learn(1100);
    // It was done by the learner at the 1,024th label.
    let learner = &mut story.learner;
    let gate = learner.accounts.gate.as_mut().expect("a gate");
    for _ in 1100..2048 {
        assert!(!gate.looks_at_weights(false));
        gate.count(&learner.spec);
    }
    assert!(gate.looks_at_weights(false) && !gate.looks_at_weights(false));
    assert!(learner.learned().network_norm().is_some());
    let images = "task = 'classification'\nclasses = ['a', 'b']\n[[input]]\nname = 'pixels'\n\
                  kind = 'vector'\nlength = 784\n";
    let wide = Learner::new(Arc::new(Spec::parse(images).expect("a description")));
    assert!(wide.learned().network_norm().is_some_and(|norm| norm > 0.0));
}
