//! The influence of a source: the spent part of its budget, and the examples beyond it.
//!
//! Invariant: it is decided when an example is to be learned, so that another history decides it again.
//! Silence is of no source, and costs nothing.

use super::Learner;
use super::feedback::Example;
use crate::learn::records::ledger::Fate;
use crate::model::Spec;

impl Learner {
    /// The weights that each source has spent of its budget: the names that have one of their own, and at the end all
    /// others together, whose name is empty; nothing where there are no budgets.
    pub fn spent(&self) -> impl Iterator<Item = (&str, f64)> {
        let budget = self.spec.budget.iter();
        let names = budget.flat_map(|budget| {
            let vouched = budget.vouched.iter().map(String::as_str);
            vouched.chain([""])
        });
        let budgets = &self.accounts.budgets;
        names
            .enumerate()
            .map(|(place, name)| (name, budgets.spent(place)))
    }

    /// The largest spent part of a source's budget, as a fraction; 0 where there are no budgets.
    pub fn budget_used(&self) -> f64 {
        let budget = self.spec.budget.as_ref();
        let weight = budget.map_or(f64::INFINITY, |budget| budget.weight);
        self.spent()
            .fold(0.0, |most, (_, spent)| f64::max(most, spent / weight))
    }

    /// Forgets spending that counts no longer, as an entry comes.
    pub(super) fn forget_spent(&mut self) {
        if let Some(budget) = &self.spec.budget {
            self.accounts.budgets.forget(budget, self.stream.time);
        }
    }

    /// Spending under a description with other sources or another length counts no more.
    pub(super) fn budget_as(&mut self, earlier: &Spec) {
        let shape = |spec: &Spec| {
            let budget = spec.budget.as_ref();
            budget.map(|budget| (budget.per, budget.vouched.clone()))
        };
        if shape(earlier) != shape(&self.spec) {
            self.accounts.budgets = Default::default();
        }
    }

    /// True if a source has not so much of its budget left.
    pub(super) fn is_over_budget(&self, source: &str, cost: f64) -> bool {
        // A person has released it.
        let is_free = cost <= 0.0 || self.released.is_some();
        let Some(budget) = self.spec.budget.as_ref().filter(|_| !is_free) else {
            return false;
        };
        !self.accounts.budgets.allows(budget, source, cost)
    }

    /// True if the source of an example has not so much of its budget left.
    pub(super) fn is_beyond_budget(&self, example: &Example<'_>) -> bool {
        let source = example.source;
        source.is_some_and(|source| self.is_over_budget(source, example.cost))
    }

    /// The source of an example has spent its cost, if it is learned or waits to be.
    pub(super) fn spend(&mut self, example: &Example<'_>, fate: Fate) {
        let (Some(budget), Some(source)) = (&self.spec.budget, example.source) else {
            return;
        };
        let is_free = example.cost <= 0.0 || self.released.is_some();
        if !is_free && Learner::is_held(fate) {
            let (budgets, now) = (&mut self.accounts.budgets, self.stream.time);
            budgets.spend(budget, source, example.cost, now);
        }
    }
}
