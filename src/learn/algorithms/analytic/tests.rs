//! The learner on its own: classes in any order, interactions, actions, blocks and restarts.

use super::*;

fn spec(text: &str) -> Spec {
    Spec::parse(text).expect("a sound description")
}

fn learner(spec: &Spec, n_dense: usize) -> AnalyticLearner {
    let model::LearnerKind::Analytic(settings) = &spec.learner else {
        panic!("an analytic description")
    };
    AnalyticLearner::new(spec, settings, n_dense)
}

fn dense(values: &[f32]) -> Encoded {
    Encoded {
        dense: values.to_vec(),
        sparse: vec![],
        past: None,
    }
}

const CLASSES: &str = "task = \"classification\"\nclasses = [\"a\", \"b\", \"c\", \"d\"]\n\
    [[input]]\nname = \"x\"\nkind = \"vector\"\nlength = 2\n\
    [learner]\nkind = \"analytic\"\nfeatures = 40\n";

const CATEGORIES: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
    [[input]]\nname = \"x\"\nkind = \"category\"\n[[input]]\nname = \"y\"\nkind = \"category\"\n\
    [learner]\nkind = \"analytic\"\nfeatures = 100\n";

const ACTIONS: &str = "task = \"bandit\"\nactions = [\"a\", \"b\", \"c\"]\n\
    [[input]]\nname = \"x\"\nkind = \"vector\"\nlength = 2\n\
    [learner]\nkind = \"analytic\"\nfeatures = 10\n";

/// Four clouds, one for each class.
fn cloud(class: u32, index: u32) -> Encoded {
    let angle = f64::from(class) * 1.5 + f64::from(index % 13) * 0.06;
    dense(&[angle.cos() as f32, angle.sin() as f32])
}

#[test]
fn the_order_of_classes_does_not_matter() {
    let spec = spec(CLASSES);
    let scale = Scale::default();
    let examples = (0..4).flat_map(|class| (0..50).map(move |index| (class, index)));
    let mut by_class = learner(&spec, 2);
    let mut mixed = by_class.clone();
    let mut sorted: Vec<(u32, u32)> = examples.collect();
    for (class, index) in &sorted {
        by_class.observe(cloud(*class, *index), Target::Class(*class).into(), &scale);
    }
    sorted.sort_by_key(|(class, index)| (*index, *class));
    for (class, index) in sorted {
        mixed.observe(cloud(class, index), Target::Class(class).into(), &scale);
    }
    for class in 0..4 {
        let phi = by_class.features.phi(&cloud(class, 5));
        let scores = by_class.recursions[0].scores(&phi);
        assert_eq!(model::argmax(&scores), class as usize, "{scores:?}");
        let same = scores.iter().zip(mixed.recursions[0].scores(&phi));
        assert!(same.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn interactions_of_categories_are_learned() {
    let spec = spec(CATEGORIES);
    let mut learner = learner(&spec, 0);
    // Neither of two categories predicts anything alone.
    let row = |index: u32| {
        let (x, y) = (index % 3, index / 3 % 3);
        let sparse = vec![(100 + x, 1.0), (200 + y, 1.0)];
        let class = u32::from((x + y) % 3 == 0);
        (
            Encoded {
                dense: vec![],
                sparse,
                past: None,
            },
            class,
        )
    };
    for index in 0..200 {
        let (row, class) = row(index * 7);
        learner.observe(row, Target::Class(class).into(), &Scale::default());
    }
    let ridge = learner.ridge();
    for index in 0..9 {
        let (row, class) = row(index);
        let outputs = ridge.outputs(&row);
        assert_eq!(
            model::argmax(&outputs),
            class as usize,
            "{index}: {outputs:?}"
        );
        assert!((outputs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn an_action_learns_from_its_own_rewards_and_from_corrections() {
    let spec = spec(ACTIONS);
    let mut learner = learner(&spec, 2);
    let mut scale = Scale::default();
    let fresh = learner
        .ridge()
        .deviations(&dense(&[0.5, 0.5]))
        .expect("a bandit");
    for index in 0..200 {
        let target = Target::Reward {
            action: 1,
            reward: f64::from(index % 2),
        };
        target.observe(&mut scale);
        learner.observe(dense(&[0.5, 0.5]), target.into(), &scale);
    }
    let ridge = learner.ridge();
    let deviations = ridge.deviations(&dense(&[0.5, 0.5])).expect("a bandit");
    assert_eq!([deviations[0], deviations[2]], [fresh[0], fresh[2]]);
    assert!(deviations[1] < 0.2 * fresh[1], "{deviations:?}");
    assert_eq!(learner.recursions[0].scores(&[1.0; 13]), [0.0]);
    for _ in 0..200 {
        learner.observe(dense(&[0.5, 0.5]), Target::BestAction(2).into(), &scale);
    }
    let outputs = learner.ridge().outputs(&dense(&[0.5, 0.5]));
    assert_eq!(model::argmax(&outputs), 2, "{outputs:?}");
    assert!((scale.restore(outputs[0])).abs() < 0.1, "{outputs:?}");
}

#[test]
fn a_served_function_stays_as_it_was() {
    let spec = spec(ACTIONS);
    let mut learner = learner(&spec, 2);
    let mut scale = Scale::default();
    let mut teach = |learner: &mut AnalyticLearner, n: u32| {
        for index in 0..n {
            let reward = f64::from(index % 5);
            let target = Target::Reward { action: 0, reward };
            target.observe(&mut scale);
            learner.observe(cloud(index % 4, index), target.into(), &scale);
        }
    };
    teach(&mut learner, 40);
    let ridge = learner.ridge();
    let row = cloud(1, 1);
    let before = (ridge.outputs(&row), ridge.deviations(&row));
    teach(&mut learner, 100);
    assert_eq!((ridge.outputs(&row), ridge.deviations(&row)), before);
    assert_ne!(learner.ridge().outputs(&row), before.0);
}

#[test]
fn a_correction_moves_the_reward_that_was_learned() {
    let spec = spec(ACTIONS);
    let mut scale = Scale::default();
    [0.0, 2.0]
        .repeat(20)
        .into_iter()
        .for_each(|reward| scale.observe(reward));
    let teach = |rewards: [f64; 3]| {
        let mut learner = learner(&spec, 2);
        for (index, reward) in rewards.into_iter().enumerate() {
            let target = Target::Reward { action: 2, reward };
            learner.observe(cloud(index as u32, 0), target.into(), &scale);
        }
        learner
    };
    let mut corrected = teach([0.0, 1.0, 0.0]);
    assert!(corrected.correct(&cloud(1, 0), 2, 0.75, &scale));
    let meant = teach([0.0, 1.75, 0.0]);
    for class in 0..4 {
        let scores = [&corrected, &meant].map(|learner| learner.ridge().outputs(&cloud(class, 0)));
        let same = scores[0]
            .iter()
            .zip(&scores[1])
            .all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(same, "{scores:?}");
    }
    assert!(!corrected.correct(&cloud(1, 0), 2, f64::NAN, &scale));
}

#[test]
fn many_actions_share_the_budget() {
    assert_eq!(n_features_max(1, 2), 5791);
    for n_actions in [10usize, 1000, 100_000] {
        let n = n_features_max(n_actions, n_actions) as f64;
        let bytes = n_actions as f64 * (16.0 * n * n + 20.0 * n);
        assert!(
            (0.8 * BYTES_MAX..=BYTES_MAX).contains(&bytes),
            "{n_actions}: {bytes}"
        );
    }
}

#[test]
fn a_block_that_is_half_full_goes_on_after_a_restart() {
    let blocks = CLASSES.replace("features = 40", "features = 40\nexamples_per_update = 16");
    let spec = spec(&blocks);
    let mut learner = learner(&spec, 2);
    let scale = Scale::default();
    let teach = |learner: &mut AnalyticLearner, range: Range<u32>| {
        for index in range {
            let outcome = learner.observe(
                cloud(index % 4, index),
                Target::Class(index % 4).into(),
                &scale,
            );
            let expected = match index % 16 {
                15 => Outcome::Updated(16),
                _ => Outcome::Waits,
            };
            assert_eq!(outcome, expected);
        }
    };
    teach(&mut learner, 0..39);
    let mut loaded = self::learner(&spec, 2);
    loaded
        .load(&mut learner.weights(), &mut learner.state())
        .expect("it was saved");
    assert_eq!(loaded, learner);
    teach(&mut learner, 39..100);
    teach(&mut loaded, 39..100);
    assert_eq!(loaded, learner);
    let mut damaged = learner.weights();
    damaged.0.remove("sharpness");
    assert!(loaded.load(&mut damaged, &mut learner.state()).is_err());
}
