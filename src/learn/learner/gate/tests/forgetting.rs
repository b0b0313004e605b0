//! A candidate that forgot a class while it answers new rows better.
//!
//! Invariant: after some rows of both classes, whatever comes is of one.

use super::*;

/// A learner that was taught both classes by 1800 rows, and then the second alone by 2000, with this line of
/// its description.
fn forgetful(line: &str) -> (Story, u64) {
    let toml = toml("gated", GOOD) + line;
    let mut story = Story::new("gated");
    story.learner = Learner::new(Arc::new(Spec::parse(&toml).expect("a description")));
    story.apply(Event::Description(Description {
        toml: Spec::pin(&toml, &[], REVISION),
        ..Description::default()
    }));
    story.learn(1800);
    let (before, _) = story.learner.champion().expect("a gate");
    assert!(before > 1 && story.right() > 0.9);
    story.label = Some("high");
    story.learn(2000);
    (story, before)
}

#[test]
fn p11_a_contender_that_forgot_a_class_is_not_promoted_though_it_is_better_on_the_whole() {
    let (story, _) = forgetful("");
    let veto = story.learner.veto_of_newest().expect("it was looked at");
    assert_eq!(veto.class, "low");
    assert!(veto.anchors >= 30 && veto.lost() > 0.15, "{veto}");
    assert!(
        veto.to_string().contains("anchors of \"low\" right"),
        "{veto}"
    );
    // The evidence was enough, and the retention set was not.
    let mut verdicts = story.steps.iter().flat_map(|step| &step.verdicts);
    let is_it =
        |one: &&Verdict| one.judgement == Judgement::Rejected && one.version == veto.version;
    let rejected = verdicts.find(is_it).expect("a record of it");
    assert!(
        rejected.evidence >= 200.0 && rejected.difference < 0.0,
        "{rejected:?}"
    );
    assert!(
        story.right() > 0.9,
        "both classes are known: {}",
        story.right()
    );
    let loaded = Learner::load(story.learner.learned().weights(), story.learner.state());
    assert!(loaded.expect("it was saved") == story.learner);
}

#[test]
fn the_retention_of_an_answer_is_that_of_the_champion_that_gave_it() {
    let (story, _) = forgetful("");
    let gate = story.learner.accounts.gate.as_ref().expect("a gate");
    let of_champion = gate.champion().learned.retention();
    let of_candidate = story.learner.learned.retention();
    assert!(
        of_champion > of_candidate,
        "{of_champion:?} {of_candidate:?}"
    );
    let first = PredictionId(1);
    assert_eq!(story.learner.retention_of(first), of_champion);
}

#[test]
fn a_margin_of_one_lets_it_forget() {
    let (story, before) = forgetful("retention_margin = 1\n");
    assert_eq!(story.learner.veto_of_newest(), None);
    let (version, _) = story.learner.champion().expect("a gate");
    assert!(version > before);
    assert!(story.right() < 0.9, "{}", story.right());
}

#[test]
fn the_slices_of_anchors_are_compared_as_classes_are() {
    let (mut story, _) = forgetful("[monitor]\nsources = true\n");
    let gate = story.learner.accounts.gate.as_mut().expect("a gate");
    let anchored: Vec<u64> = story.learner.learned.anchored().collect();
    assert!(anchored.len() > 60, "{anchored:?}");
    for number in &anchored {
        let [slice] = gate.anchor_slices.of(*number) else {
            panic!("anchor {number} is of one source")
        };
        assert!(["source:desk", "source:turned"].contains(&slice.as_str()));
    }
    let veto = story.learner.veto_of_newest().cloned().expect("a class");
    assert_eq!((&veto.class[..], &veto.slice[..]), ("low", ""));
    let shown = Veto {
        class: String::new(),
        slice: "source:desk".to_owned(),
        ..veto
    };
    assert!(
        shown
            .to_string()
            .contains("anchors of the slice \"source:desk\" right")
    );
}
