//! The search finds the rows of a plain loop, and a correction counts.

use super::*;
use crate::event::{Batch, Column};
use crate::model::encoders::features::{Encoder, Scale};
use crate::model::spec::Spec;

fn window(n_dense: usize, n_rows: usize) -> NeighbourWindow {
    NeighbourWindow {
        n_dense,
        n_rows,
        seed: 1,
    }
}

fn row(dense: &[f32], sparse: &[(u32, f32)]) -> Encoded {
    Encoded {
        dense: dense.to_vec(),
        sparse: sparse.to_vec(),
        past: None,
    }
}

fn rows(n: usize, n_dense: usize, n_hashed: usize) -> Vec<Encoded> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let draw = |rng: &mut ChaCha8Rng| {
        let dense = (0..n_dense).map(|_| rng.random::<f32>() - 0.5).collect();
        let mut buckets: Vec<u32> = (0..n_hashed).map(|_| rng.random_range(0..200)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let sparse = buckets.iter().map(|bucket| (*bucket, rng.random::<f32>()));
        Encoded {
            dense,
            sparse: sparse.collect(),
            past: None,
        }
    };
    (0..n).map(|_| draw(&mut rng)).collect()
}

fn squared(a: &Encoded, b: &Encoded) -> f32 {
    let mut sum: f32 = a
        .dense
        .iter()
        .zip(&b.dense)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    let mut hashed = std::collections::BTreeMap::new();
    a.sparse
        .iter()
        .for_each(|(bucket, value)| *hashed.entry(*bucket).or_insert(0.0) += value);
    b.sparse
        .iter()
        .for_each(|(bucket, value)| *hashed.entry(*bucket).or_insert(0.0) -= value);
    sum += hashed.values().map(|value| value * value).sum::<f32>();
    sum
}

#[test]
fn the_nearest_of_a_window_are_those_of_a_plain_loop() {
    for (n_dense, n_hashed) in [(3, 0), (3, 2), (0, 2), (2, 90), (0, 120)] {
        let rows = rows(1300, n_dense, n_hashed);
        let mut memory = Neighbours::new(window(n_dense, 700));
        for (index, row) in rows[1..].iter().enumerate() {
            memory.push(row, Target::Class(index as u32 % 7).into());
        }
        assert_eq!(memory.len(), 700);
        for near in memory.nearest(&rows[0], &[700], 9) {
            let mut all: Vec<f32> = rows[600..]
                .iter()
                .map(|one| squared(&rows[0], one))
                .collect();
            all.sort_by(f32::total_cmp);
            for (near, expected) in near.iter().zip(&all) {
                let error = (near.squared - expected).abs();
                assert!(error < 1e-4, "{n_dense} {n_hashed}: {near:?} {expected}");
            }
        }
        let near = &memory.nearest(&rows[1299], &[1, 200], 1);
        assert!(
            near.iter()
                .all(|near| near[0].age == 0 && near[0].squared < 1e-4)
        );
    }
}

#[test]
fn wide_rows_are_found_by_their_projection() {
    let rows = rows(1000, 300, 3);
    let mut memory = Neighbours::new(window(300, 5000));
    rows.iter()
        .for_each(|row| memory.push(row, Target::Class(0).into()));
    for (index, row) in rows.iter().enumerate().step_by(37) {
        let mut moved = row.clone();
        moved
            .dense
            .iter_mut()
            .step_by(3)
            .for_each(|value| *value += 0.1);
        let near = memory.nearest(&moved, &[5000], 3);
        assert_eq!(near[0][0].age as usize, 999 - index);
        assert!((near[0][0].squared - squared(&moved, row)).abs() < 1e-3);
    }
}

#[test]
fn rows_come_back_as_they_went_in() {
    for n_dense in [4, 200] {
        let rows = rows(150, n_dense, 3);
        let mut memory = Neighbours::new(window(n_dense, 100));
        rows.iter()
            .for_each(|row| memory.push(row, Target::Value(1.0).into()));
        let held: Vec<_> = memory.rows().collect();
        assert!(held.len() >= 100 && held.len() <= memory.n_held_max());
        let expected = &rows[150 - held.len()..];
        assert!(
            held.iter()
                .zip(expected)
                .all(|((row, _), expected)| *row == StoredRow::from(expected.clone()))
        );
    }
}

#[test]
fn a_clone_does_not_see_later_rows() {
    let mut memory = Neighbours::new(window(1, 100));
    memory.push(&row(&[1.0], &[]), Target::Class(0).into());
    let published = memory.clone();
    memory.push(&row(&[2.0], &[]), Target::Class(1).into());
    assert_eq!((published.len(), memory.len()), (1, 2));
}

#[test]
fn the_newest_of_equal_rows_wins() {
    let mut memory = Neighbours::new(window(2, 1000));
    let mut base_rates = BaseRates::new(2);
    for other in rows(300, 2, 0) {
        memory.push(&other, Target::Class(0).into());
    }
    let asked = row(&[0.1, 0.2], &[]);
    for class in [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] {
        memory.push(&asked, Target::Class(class).into());
        base_rates.observe(Target::Class(class), 1.0);
    }
    let near = memory.nearest(&asked, &[1000], 10);
    let p = Voters { repeat: 0.2 }.outputs(&near[0], &base_rates, &Scale::default());
    assert!(p[1] > 0.6 && (p[0] + p[1] - 1.0).abs() < 1e-5, "{p:?}");
    let p = Voters { repeat: 1.0 }.outputs(&near[0], &base_rates, &Scale::default());
    assert!(p[0] > 0.8, "{p:?}");
}

#[test]
fn one_wild_value_does_not_carry_the_others() {
    let mut scale = Scale::default();
    (0..100).for_each(|i| scale.observe(f64::from(i % 10)));
    let near: Vec<Neighbour> = [3.0, 3.1, 2.9, 3.0, 1e9]
        .iter()
        .map(|value| Neighbour {
            squared: 1.0,
            age: 0,
            target: Target::Value(*value),
            weight: 1.0,
        })
        .collect();
    let value = Voters { repeat: 1.0 }.outputs(&near, &BaseRates::new(1), &scale)[0];
    assert!((scale.restore(value) - 3.0).abs() < 0.2, "{value}");
}

#[test]
fn an_action_without_neighbours_keeps_its_mean() {
    let mut scale = Scale::default();
    [0.0, 1.0]
        .repeat(50)
        .iter()
        .for_each(|value| scale.observe(*value));
    let mut base_rates = BaseRates::new(3);
    for (action, reward) in [(0, 1.0), (0, 1.0), (1, 0.0)] {
        base_rates.observe(Target::Reward { action, reward }, 1.0);
    }
    let near = [Neighbour {
        squared: 0.0,
        age: 0,
        target: Target::Reward {
            action: 1,
            reward: 1.0,
        },
        weight: 1.0,
    }];
    let e = Voters { repeat: 1.0 }.outputs(&near, &base_rates, &scale);
    assert_eq!(e[0], scale.standardise(1.0));
    assert!(e[1] > 0.5, "{e:?}");
    assert_eq!(e[2], 0.0);
}

/// An encoder of so many numbers, one of which may be missing, or of one vector.
fn encoder(n_numbers: usize, length: usize) -> Encoder {
    let mut toml = "task = \"regression\"\n".to_owned();
    for index in 0..n_numbers {
        toml += &format!("[[input]]\nname = \"x{index}\"\nkind = \"number\"\n");
    }
    if n_numbers > 0 {
        toml += "missing = \"mean\"\n";
    }
    if length > 0 {
        toml += &format!("[[input]]\nname = \"v\"\nkind = \"vector\"\nlength = {length}\n");
    }
    Encoder::new(&Spec::parse(&toml).expect("a description"), 0)
}

/// A row around a level, in which every seventh value of the last number is missing.
fn batch(n_numbers: usize, length: usize, turn: usize, level: f64) -> Batch {
    let mut rng = ChaCha8Rng::seed_from_u64(turn as u64);
    let mut columns: Vec<Column> = (0..n_numbers)
        .map(|_| Column::Numbers(vec![level + rng.random::<f64>()]))
        .collect();
    if turn.is_multiple_of(7)
        && let Some(last) = columns.last_mut()
    {
        *last = Column::Numbers(vec![f64::NAN]);
    }
    if length > 0 {
        let floats = (0..length).map(|_| level as f32 + rng.random::<f32>());
        let bytes: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
        columns.push(Column::Vectors(bytes.into()));
    }
    Batch { n_rows: 1, columns }
}

#[test]
fn raw_rows_stand_where_the_scale_of_now_puts_them() {
    for (n_numbers, length) in [(3, 0), (0, 5), (2, 120), (120, 0)] {
        let mut encoder = encoder(n_numbers, length);
        let mut memory = Neighbours::new(window(encoder.n_dense(), 700));
        let mut raw = Vec::new();
        for turn in 0..900 {
            // The first value is wild, and the level rises a thousandfold on the way.
            let level = match turn {
                0 => 1e12,
                1..500 => 1.0,
                _ => 1000.0,
            };
            let batch = batch(n_numbers, length, turn, level);
            encoder.observe(&batch, 0);
            memory.stand_in(&Arc::new(encoder.scales()));
            raw.push(encoder.raw(&batch, 0));
            let class = Target::Class(turn as u32 % 7);
            memory.push_raw(raw.last().expect("one was pushed"), class.into());
        }
        let scales = encoder.scales();
        for asked in [250, 700, 899] {
            let row = scales.encode(&raw[asked]);
            let mut all: Vec<f32> = raw[200..]
                .iter()
                .map(|one| squared(&row, &scales.encode(one)))
                .collect();
            all.sort_by(f32::total_cmp);
            let near = memory.nearest(&row, &[700], 5).remove(0);
            // Projections find the row itself, and the others nearly.
            assert_eq!(near[0].age as usize, 899 - asked, "{n_numbers} {length}");
            let exact = if encoder.n_dense() > 96 {
                1
            } else {
                near.len()
            };
            for (near, expected) in near.iter().zip(&all).take(exact) {
                let error = (near.squared - expected).abs();
                assert!(error < 1e-3 * (1.0 + expected), "{near:?} {expected}");
            }
        }
        let mut saved = Tensors::default();
        memory.save_reference(&mut saved);
        let mut loaded = Neighbours::new(window(encoder.n_dense(), 700));
        loaded.stand_in(&Arc::new(encoder.scales()));
        loaded.load_reference(&mut saved).expect("it was saved");
        for (row, example) in memory.rows() {
            let StoredRow::Raw(row) = row else {
                panic!("rows are raw")
            };
            loaded.push_raw(&row, example);
        }
        assert_eq!(loaded, memory);
        let row = scales.encode(&raw[700]);
        assert_eq!(
            loaded.nearest(&row, &[700], 9),
            memory.nearest(&row, &[700], 9)
        );
    }
}

#[test]
fn rows_that_were_stored_encoded_stay_until_they_age_out() {
    let mut encoder = encoder(2, 0);
    let mut memory = Neighbours::new(window(encoder.n_dense(), 100));
    let old = |x: f32| row(&[x, 0.0, 0.0], &[]);
    (0..150).for_each(|turn| memory.push(&old(turn as f32), Target::Class(0).into()));
    for turn in 0..50 {
        let batch = batch(2, 0, turn, 3.0);
        encoder.observe(&batch, 0);
        memory.stand_in(&Arc::new(encoder.scales()));
        memory.push_raw(&encoder.raw(&batch, 0), Target::Class(1).into());
    }
    let near = memory.nearest(&old(120.0), &[100], 1).remove(0);
    assert_eq!((near[0].squared, near[0].target), (0.0, Target::Class(0)));
    let newest = encoder.encode(&batch(2, 0, 49, 3.0), 0);
    assert_eq!(memory.nearest(&newest, &[100], 1)[0][0].age, 0);
    for turn in 50..200 {
        memory.push_raw(
            &encoder.raw(&batch(2, 0, turn, 3.0), 0),
            Target::Class(1).into(),
        );
    }
    assert!(
        memory
            .rows()
            .all(|(row, _)| matches!(row, StoredRow::Raw(_)))
    );
}

#[test]
fn the_smallest_are_those_that_sorting_gives() {
    // Few values, so that many are equal.
    let value = |place: usize| (place * 7919 % 31) as f32 / 4.0;
    let values: Vec<f32> = (0..1001).map(value).collect();
    let mut smallest = Smallest::default();
    for end in [0, 3, 10, 16, 17, 100, 1001, 50] {
        let mut sorted: Vec<(f32, u32)> = values[..end].iter().copied().zip(0..).collect();
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        sorted.truncate(10);
        smallest.look(&values, end, 10);
        assert_eq!(smallest.found, sorted, "{end}");
    }
}
