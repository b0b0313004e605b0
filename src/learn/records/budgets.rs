//! The spent budget of each source: the weights of the newest learned examples, by the place of their source.
//!
//! Invariant: bounded, and of any `per` learned examples one after the other, within the time that the
//! description gives, a source has taught no more than its budget.

use std::collections::VecDeque;

use super::saved::{SavedReader, Writer};
use crate::event::Time;
use crate::model::Budget;
use crate::model::weights::{Error, Tensors};

/// The learned examples that a budget is of are counted in so many blocks, which leave one by one.
const BLOCKS: u64 = 16;
/// The error of a sum of weights by rounding.
const ROUNDING: f64 = 1e-6;

/// The weights that each source has spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Budgets {
    /// The blocks, from the oldest to the newest.
    blocks: VecDeque<ExampleBlock>,
}

/// Some learned examples, one after the other.
#[derive(Clone, Debug, PartialEq)]
struct ExampleBlock {
    n_examples: u64,
    /// The time of the newest.
    newest: Time,
    /// The weights of the examples of each place, `[places]`.
    spent: Vec<f64>,
}

impl Budgets {
    /// The sum of the weights that the sources of a place have taught.
    pub(crate) fn spent(&self, place: usize) -> f64 {
        self.blocks.iter().map(|block| block.spent[place]).sum()
    }

    /// True if a source has so much of its budget left.
    pub(crate) fn allows(&self, budget: &Budget, source: &str, weight: f64) -> bool {
        self.spent(budget.place(source)) + weight <= budget.weight + ROUNDING
    }

    /// A source has taught an example of this weight.
    pub(crate) fn spend(&mut self, budget: &Budget, source: &str, weight: f64, now: Time) {
        let n_each = budget.per.div_ceil(BLOCKS);
        let has_room = |block: &mut ExampleBlock| block.n_examples < n_each;
        if self.blocks.back_mut().is_none_or(|block| !has_room(block)) {
            self.blocks.push_back(ExampleBlock {
                n_examples: 0,
                newest: now,
                spent: vec![0.0; budget.n_places()],
            });
        }
        if let Some(block) = self.blocks.back_mut() {
            block.n_examples += 1;
            block.newest = now;
            block.spent[budget.place(source)] += weight;
        }
    }

    /// Forgets the examples that no longer count: the newest `per` are kept, as far as they are no older
    /// than the description allows.
    pub(crate) fn forget(&mut self, budget: &Budget, now: Time) {
        let mut n_examples: u64 = self.blocks.iter().map(|block| block.n_examples).sum();
        while let Some(oldest) = self.blocks.front() {
            let age = now.0.saturating_sub(oldest.newest.0);
            // The next example makes the one that the newest `per` no longer reach.
            let is_beyond = n_examples - oldest.n_examples + 1 >= budget.per;
            if age <= budget.within_us && !is_beyond {
                break;
            }
            n_examples -= oldest.n_examples;
            self.blocks.pop_front();
        }
    }

    /// U64 `budgets.counts` `[1 + 2 * blocks]` and F64 `budgets.numbers` `[blocks * places]`; nothing
    /// where nothing is spent.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        if self.blocks.is_empty() {
            return;
        }
        let mut writer = Writer::default();
        writer.counts([self.blocks.len() as u64]);
        for block in &self.blocks {
            writer.counts([block.n_examples, block.newest.0 as u64]);
            writer.numbers(&block.spent);
        }
        writer.save("budgets", tensors);
    }

    /// Reads the state that [`Budgets::save`] wrote.
    pub(crate) fn load(budget: Option<&Budget>, tensors: &mut Tensors) -> Result<Budgets, Error> {
        let Some(mut reader) = SavedReader::load("budgets", tensors)? else {
            return Ok(Budgets::default());
        };
        let n_places = budget.map_or(0, Budget::n_places);
        let [n_blocks] = reader.counts()?;
        let mut blocks = VecDeque::new();
        for _ in 0..n_blocks {
            let [n_examples, newest] = reader.counts()?;
            let spent = reader.many_numbers(n_places)?;
            if n_examples == 0 || spent.iter().any(|spent| *spent < 0.0) {
                return Err(SavedReader::wrong());
            }
            blocks.push_back(ExampleBlock {
                n_examples,
                newest: Time(newest as i64),
                spent,
            });
        }
        reader.end()?;
        Ok(Budgets { blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(weight: f64, per: u64) -> Budget {
        Budget {
            weight,
            per,
            within_us: 1000,
            vouched: vec!["lab".to_owned(), "web".to_owned()],
        }
    }

    /// Offers an example, and returns whether it is learned.
    fn offer(budgets: &mut Budgets, budget: &Budget, source: &str, weight: f64, now: i64) -> bool {
        budgets.forget(budget, Time(now));
        let allowed = budgets.allows(budget, source, weight);
        if allowed {
            budgets.spend(budget, source, weight, Time(now));
        }
        allowed
    }

    #[test]
    fn names_that_nobody_vouches_for_share_one_budget() {
        let (budget, mut budgets) = (budget(2.0, 100), Budgets::default());
        let mut offer = |source| offer(&mut budgets, &budget, source, 1.0, 0);
        assert_eq!(
            ["a", "b", "c", ""].map(&mut offer),
            [true, true, false, false]
        );
        assert_eq!(
            ["lab", "web", "lab", "lab"].map(offer),
            [true, true, true, false]
        );
    }

    #[test]
    fn no_source_teaches_more_than_its_budget_of_any_so_many_examples() {
        for (per, weight) in [(10, 3.0), (37, 5.5), (100, 20.0), (1000, 1.0)] {
            let (budget, mut budgets) = (budget(weight, per), Budgets::default());
            let mut learned = Vec::new();
            for index in 0..8 * per {
                let source = ["lab", "web", "a", "b"][(index * index % 7 % 4) as usize];
                let weight = [1.0, 0.5, 0.25][index as usize % 3];
                if offer(&mut budgets, &budget, source, weight, 0) {
                    learned.push((budget.place(source), weight));
                }
                // Without others a source would wait for ever: these count towards no budget.
                let others = Budget {
                    weight: f64::MAX,
                    ..budget.clone()
                };
                if index % 2 == 0 {
                    budgets.spend(&others, "lab", 0.0, Time(0));
                    learned.push((0, 0.0));
                }
            }
            for newest in learned.windows(per as usize) {
                for place in 0..3 {
                    let of_place = newest.iter().filter(|one| one.0 == place);
                    let sum: f64 = of_place.map(|one| one.1).sum();
                    assert!(sum <= weight + 1e-9, "{sum} of {weight} per {per}");
                }
            }
            assert!(budgets.blocks.len() <= BLOCKS as usize + 1);
        }
    }

    #[test]
    fn p12_a_source_that_is_alone_learns_on_after_a_while() {
        let (budget, mut budgets) = (budget(2.0, 100), Budgets::default());
        let mut offer = |now| offer(&mut budgets, &budget, "lab", 2.0, now);
        assert_eq!(
            [0, 1, 1000, 1001].map(&mut offer),
            [true, false, false, true]
        );
    }

    #[test]
    fn what_is_spent_is_loaded_and_a_forged_sum_is_refused() {
        let (budget, mut budgets) = (budget(2.0, 20), Budgets::default());
        let save = |budgets: &Budgets| {
            let mut tensors = Tensors::default();
            budgets.save(&mut tensors);
            tensors
        };
        assert!(save(&budgets).0.is_empty());
        for source in ["lab", "web", "lab", "c", "c"] {
            offer(&mut budgets, &budget, source, 0.5, -7);
        }
        let load = |tensors: &mut Tensors| Budgets::load(Some(&budget), tensors);
        assert_eq!(load(&mut save(&budgets)), Ok(budgets.clone()));
        let mut forged = save(&budgets);
        forged.put_f64("budgets.numbers", &[9], vec![-1.0; 9]);
        assert!(load(&mut forged).is_err());
        let mut forged = save(&budgets);
        forged.put_u64("budgets.counts", &[1], vec![u64::MAX]);
        assert!(load(&mut forged).is_err());
        assert!(Budgets::load(None, &mut save(&budgets)).is_err());
    }
}
