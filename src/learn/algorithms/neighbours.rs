//! `kind = "neighbours"`: remember the newest examples, and let the nearest of them answer.
//!
//! Invariant: the newest example weighs most, so a correction works on the very next row like it.

use super::example::{Amendment, Known};
use crate::learn::memory::{ExampleBounds, StoredExample, load_examples, save_examples};
use crate::model::weights::{Error, Tensors};
use crate::model::{
    BaseRates, Encoded, Nearest, NeighbourWindow, Neighbourhood, Neighbours, RememberedRow, Spec,
    StoredRow, Target, Task, Voters,
};

/// The weight of an older example from the same place beside a newer one: the newest has four
/// fifths of their votes.
const REPEAT: f32 = 0.2;

/// A memory that learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NeighboursLearner {
    pub nearest: Nearest,
}

impl NeighboursLearner {
    /// A learner without remembered rows.
    pub(crate) fn new(spec: &Spec, settings: &Neighbourhood, n_dense: usize) -> NeighboursLearner {
        let window = NeighbourWindow {
            n_dense,
            n_rows: settings.examples,
            seed: spec.seed,
        };
        NeighboursLearner {
            nearest: Nearest {
                memory: Neighbours::new(window),
                base_rates: BaseRates::new(spec.task.n_outputs()),
                voters: Voters { repeat: REPEAT },
                k: settings.nearest,
            },
        }
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, settings: &Neighbourhood) {
        self.nearest.k = settings.nearest;
    }

    /// Remembers one example; false where it was not finite, and then nothing has changed.
    pub(crate) fn observe(&mut self, row: &Encoded, known: Known) -> bool {
        let target = known.target;
        if !row.is_finite() {
            return false;
        }
        match target {
            Target::Correction { .. } => self.nearest.memory.correct(row, target),
            _ => match known.raw {
                Some(raw) => self.nearest.memory.push_raw(raw, known.remembered()),
                None => self.nearest.memory.push(row, known.remembered()),
            },
        }
        self.nearest.base_rates.observe(target, known.weight);
        true
    }

    /// Corrects the remembered row of one example.
    pub(crate) fn amend(&mut self, amendment: &Amendment) -> bool {
        let Amendment {
            example,
            before,
            after,
            n_since,
            weight,
            ..
        } = *amendment;
        self.nearest.memory.amend(example, after);
        let both = [before, after];
        self.nearest.base_rates.amend(both, weight, n_since);
        true
    }

    /// The weights that are served: the examples themselves.
    pub(crate) fn weights(&self) -> Tensors {
        save(&self.nearest.memory, &self.nearest.base_rates)
    }

    /// Replaces the learned state by a saved one.
    pub(crate) fn load(
        &mut self,
        task: &Task,
        form: ExampleBounds,
        weights: &mut Tensors,
    ) -> Result<(), Error> {
        let Nearest {
            memory, base_rates, ..
        } = &mut self.nearest;
        load(memory, base_rates, (task, form), weights)
    }
}

/// A memory and the distribution of all truths, as tensors.
pub(crate) fn save(memory: &Neighbours, base_rates: &BaseRates) -> Tensors {
    let examples: Vec<StoredExample> = memory
        .rows()
        .map(|(row, example)| StoredExample {
            row,
            target: example.target,
            example: example.number,
            weight: example.weight,
            is_anchor: false,
            outputs: Vec::new(),
        })
        .collect();
    let mut tensors = save_examples(examples.iter());
    memory.save_reference(&mut tensors);
    let n_outputs = base_rates.counts.len();
    tensors.put_f64("past.counts", &[n_outputs], base_rates.counts.clone());
    tensors.put_f64("past.sums", &[n_outputs], base_rates.sums.clone());
    tensors
}

/// Reads the state that [`save`] wrote into an empty memory of the same shape.
pub(crate) fn load(
    memory: &mut Neighbours,
    base_rates: &mut BaseRates,
    (task, form): (&Task, ExampleBounds),
    tensors: &mut Tensors,
) -> Result<(), Error> {
    memory.load_reference(tensors)?;
    let examples = load_examples(form, tensors)?;
    let max = memory.n_held_max();
    if examples.len() > max {
        let what = format!("{} rows, at most {max}", examples.len());
        return Err(Error::value("dense", what));
    }
    for stored in &examples {
        if !stored.target.suits(task) {
            return Err(Error::value("target.kinds", format!("{:?}", stored.target)));
        }
        let example = RememberedRow {
            target: stored.target,
            number: stored.example,
            weight: stored.weight,
        };
        match &stored.row {
            StoredRow::Encoded(row) if row.is_finite() => memory.push(row, example),
            StoredRow::Encoded(_) => return Err(Error::value("dense", "a value is not finite")),
            StoredRow::Raw(row) => memory.push_raw(row, example),
        }
    }
    let n_outputs = Some(base_rates.counts.len());
    base_rates.counts = tensors.take_f64("past.counts", &[n_outputs])?;
    base_rates.sums = tensors.take_f64("past.sums", &[n_outputs])?;
    let sound = |values: &[f64]| values.iter().all(|value| value.is_finite());
    if !sound(&base_rates.sums)
        || !base_rates
            .counts
            .iter()
            .all(|count| (0.0..1e15).contains(count))
    {
        return Err(Error::value(
            "past.counts",
            format!("{:?}", base_rates.counts),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Scale, argmax};

    const SPEC: &str = "task = \"classification\"\nclasses = [\"a\", \"b\", \"c\"]\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n\
        [learner]\nkind = \"neighbours\"\nexamples = 50\nnearest = 5\n";

    fn learner() -> NeighboursLearner {
        let spec = Spec::parse(SPEC).unwrap();
        let settings = Neighbourhood {
            examples: 50,
            nearest: 5,
        };
        NeighboursLearner::new(&spec, &settings, 1)
    }

    fn task() -> Task {
        Spec::parse(SPEC).unwrap().task
    }

    fn row(x: f32) -> Encoded {
        Encoded {
            dense: vec![x],
            sparse: vec![],
            past: None,
        }
    }

    const FORM: ExampleBounds = ExampleBounds {
        n_dense: 1,
        n_buckets: 0,
        n_outputs: 3,
        n_numbers: 0,
        n_vectors: 0,
    };

    #[test]
    fn a_correction_works_on_the_next_row_like_it() {
        let mut learner = learner();
        for i in 0..40 {
            learner.observe(&row((i % 4) as f32), Target::Class(0).into());
        }
        learner.observe(&row(2.0), Target::Class(1).into());
        let answer = |x| argmax(&learner.nearest.outputs(&row(x), &Scale::default()));
        assert_eq!([answer(1.0), answer(2.0), answer(3.0)], [0, 1, 0]);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut one = learner();
        for i in 0..333 {
            one.observe(&row((i % 17) as f32), Target::Class(i % 3).into());
        }
        let mut other = learner();
        assert_eq!(other.load(&task(), FORM, &mut one.weights()), Ok(()));
        assert!(other == one);
    }

    #[test]
    fn p9_a_forged_memory_is_refused() {
        let mut one = learner();
        one.observe(&row(1.0), Target::Class(0).into());
        let check = |name: &str, change: fn(&mut Tensors)| {
            let mut saved = one.weights();
            change(&mut saved);
            let error = learner()
                .load(&task(), FORM, &mut saved)
                .unwrap_err()
                .to_string();
            assert!(error.contains(name), "{error}");
        };
        check("dense", |t| t.put_f32("dense", &[1, 1], vec![f32::NAN]));
        check("target.kinds", |t| t.put_u8("target.kinds", &[1], vec![1]));
        check("past.counts", |t| {
            t.put_f64("past.counts", &[3], vec![-1.0; 3]);
        });
        check("past.sums", |t| t.put_f64("past.sums", &[2], vec![0.0; 2]));
        let mut full = learner();
        for _ in 0..900 {
            full.nearest.memory = Neighbours::new(NeighbourWindow {
                n_dense: 1,
                n_rows: 5000,
                seed: 0,
            });
        }
        (0..900).for_each(|_| full.nearest.memory.push(&row(0.0), Target::Class(0).into()));
        assert!(learner().load(&task(), FORM, &mut full.weights()).is_err());
    }
}
