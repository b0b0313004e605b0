//! The weight check: a file of weights against a network, tensor by tensor.
//!
//! Invariant: a file that passes is complete: every tensor of the network is there under the name that
//! PyTorch's `nn.Sequential(Linear, ReLU, Linear, ...)` gives it, in its shape, with values that a
//! network here can have, and nothing else is there.

use std::fmt;

use super::layers::{Layer, Parameters, WEIGHT_MAX};
use crate::model::linear_algebra::sparse::SparseTable;
use crate::model::spec::{Gradient, Spec};
use crate::model::weights::{Data, Error, Foreign, Tensor};

/// One tensor of a network, or of a file, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMatch {
    /// Its name.
    pub name: String,
    /// The type and shape that the network has, if it has such a tensor.
    pub expected: Option<String>,
    /// The type and shape that the file has, if it has such a tensor.
    pub found: Option<String>,
    /// The mistake and its remedy; none where it fits.
    pub advice: Option<String>,
}

impl fmt::Display for TensorMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |form: &Option<String>| form.clone().unwrap_or_else(|| "none".to_owned());
        let (expected, found) = (or_none(&self.expected), or_none(&self.found));
        write!(f, "{}: expected {expected}, found {found}", self.name)?;
        match &self.advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

/// `[input, hidden.., output]` of the network that a description has.
pub(crate) fn widths(spec: &Spec, settings: &Gradient) -> Vec<usize> {
    let n_dense = spec.inputs.iter().map(|input| input.kind.n_dense()).sum();
    let mut widths = vec![n_dense];
    widths.extend(&settings.hidden);
    widths.push(spec.task.n_outputs());
    widths
}

/// Every tensor of a network of these widths, then those that only the file has.
pub(crate) fn weight_check(widths: &[usize], file: &Foreign) -> Vec<TensorMatch> {
    let mut matches = Vec::new();
    for (index, pair) in widths.windows(2).enumerate() {
        let (n_in, n_out) = (pair[0], pair[1]);
        let place = ExpectedLayer {
            file,
            widths,
            index,
        };
        matches.push(place.check("weight", &[n_out, n_in]));
        matches.push(place.check("bias", &[n_out]));
    }
    let n_expected = matches.len();
    let given = file.tensors.0.iter();
    let given = given.map(|(name, tensor)| (name, form(tensor)));
    let others = file.others.iter();
    let mut extra: Vec<_> = given
        .chain(others.map(|(name, form)| (name, form.clone())))
        .filter(|(name, _)| !matches.iter().any(|one| one.name == **name))
        .collect();
    extra.sort();
    matches.extend(extra.into_iter().map(|(name, form)| TensorMatch {
        name: name.clone(),
        expected: None,
        found: Some(form),
        advice: Some(format!(
            "the network has {} layers, named 0 to {} in steps of 2; leave it out",
            n_expected / 2,
            n_expected - 2
        )),
    }));
    matches
}

impl Parameters {
    /// The parameters that a file holds; rows of hashed features start at zero.
    ///
    /// # Errors
    /// The first tensor that does not fit.
    pub fn starting(
        widths: &[usize],
        n_buckets: usize,
        file: &Foreign,
    ) -> Result<Parameters, Error> {
        let wrong = weight_check(widths, file)
            .into_iter()
            .find(|one| one.advice.is_some());
        if let Some(wrong) = wrong {
            let what = wrong.to_string();
            let what = what.trim_start_matches(&format!("{}: ", wrong.name));
            return Err(Error::value(&wrong.name, what));
        }
        let values = |name: String| match &file.tensors.0[&name].data {
            Data::F32(values) => values.clone(),
            _ => unreachable!("it fits"),
        };
        let layers = widths.windows(2).enumerate().map(|(index, pair)| Layer {
            n_in: pair[0],
            n_out: pair[1],
            weight: values(format!("{}.weight", 2 * index)),
            bias: values(format!("{}.bias", 2 * index)),
        });
        Ok(Parameters {
            layers: layers.collect(),
            sparse: SparseTable::new(n_buckets, widths[1]),
        })
    }
}

/// A layer that a file is to have.
struct ExpectedLayer<'a> {
    file: &'a Foreign,
    widths: &'a [usize],
    index: usize,
}

impl ExpectedLayer<'_> {
    fn check(&self, part: &str, shape: &[usize]) -> TensorMatch {
        let name = format!("{}.{part}", 2 * self.index);
        let found = self.file.tensors.0.get(&name);
        let other = self.file.others.get(&name);
        let advice = match (found, other) {
            (Some(tensor), _) => self.judge(tensor, shape),
            (None, Some(_)) => Some("save it in 32 bits, as .float() does".to_owned()),
            (None, None) => Some(self.missing(&name, part)),
        };
        TensorMatch {
            expected: Some(format!("F32 {shape:?}")),
            found: found.map(form).or_else(|| other.cloned()),
            advice,
            name,
        }
    }

    /// The mistake in a tensor of the right name.
    fn judge(&self, tensor: &Tensor, shape: &[usize]) -> Option<String> {
        let Data::F32(values) = &tensor.data else {
            return Some("save it in 32 bits, as .float() does".to_owned());
        };
        if tensor.shape != shape {
            return Some(self.reshape(&tensor.shape, shape));
        }
        let wild = |value: &f32| value.is_nan() || value.abs() > WEIGHT_MAX;
        let index = values.iter().position(wild)?;
        Some(format!(
            "its value at index {index} is {}; weights are finite, and at most {WEIGHT_MAX} in size",
            values[index]
        ))
    }

    fn reshape(&self, found: &[usize], expected: &[usize]) -> String {
        let is_transposed = found.len() == 2 && expected == [found[1], found[0]];
        if is_transposed {
            return "transpose it: PyTorch's Linear keeps [out, in]".to_owned();
        }
        let (widths, index) = (self.widths, self.index);
        let differs = |place: usize| found.get(place) != expected.get(place);
        let n_last = widths.len() - 2;
        match (differs(0), index == n_last, index) {
            (true, true, _) => format!("the task has {} outputs", widths[index + 1]),
            (true, false, _) => format!("network.hidden has {}", widths[index + 1]),
            (false, _, 0) => format!("the inputs make {} numbers a row", widths[0]),
            (false, _, _) => format!("network.hidden has {}", widths[index]),
        }
    }

    /// The hint about a tensor that is not under its name.
    fn missing(&self, name: &str, part: &str) -> String {
        let names = || self.file.tensors.0.keys().chain(self.file.others.keys());
        if let Some(longer) = names().find(|other| other.ends_with(&format!(".{name}"))) {
            return format!("it may be {longer:?}: save the nn.Sequential itself");
        }
        let number = |other: &String| other.strip_suffix(&format!(".{part}"))?.parse().ok();
        let mut numbers: Vec<u64> = names().filter_map(number).collect();
        numbers.sort_unstable();
        match numbers.get(self.index) {
            Some(number) if *number != 2 * self.index as u64 => format!(
                "it may be \"{number}.{part}\": name the layers 0, 2, 4 and so on, as a \
                 Sequential with one ReLU between them does"
            ),
            _ => "the file has no such layer; see network.hidden".to_owned(),
        }
    }
}

fn form(tensor: &Tensor) -> String {
    format!("{} {:?}", tensor.data.dtype(), tensor.shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [usize; 3] = [3, 4, 2];

    fn file() -> Foreign {
        Foreign {
            tensors: Parameters::new(&WIDTHS, 0, 1).save(),
            others: Default::default(),
        }
    }

    #[test]
    fn what_was_saved_fits() {
        let matches = weight_check(&WIDTHS, &file());
        assert_eq!(matches.len(), 4);
        assert!(matches.iter().all(|one| one.advice.is_none()));
        let shown = "0.weight: expected F32 [4, 3], found F32 [4, 3]";
        assert_eq!(matches[0].to_string(), shown);
        let parameters = Parameters::starting(&WIDTHS, 0, &file());
        assert_eq!(parameters, Ok(Parameters::new(&WIDTHS, 0, 1)));
    }

    #[test]
    fn p9_what_does_not_fit_is_named_with_advice() {
        let check = |change: &dyn Fn(&mut Foreign), message: &str| {
            let mut file = file();
            change(&mut file);
            let error = Parameters::starting(&WIDTHS, 0, &file).unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        let put = |name: &'static str, shape: &'static [usize], value: f32| {
            move |file: &mut Foreign| {
                let values = vec![value; shape.iter().product()];
                file.tensors.put_f32(name, shape, values);
            }
        };
        let rename = |from: &'static str, to: &'static str| {
            move |file: &mut Foreign| {
                let tensor = file.tensors.0.remove(from).unwrap();
                file.tensors.0.insert(to.to_owned(), tensor);
            }
        };
        check(
            &put("0.weight", &[3, 4], 0.0),
            "tensor \"0.weight\": expected F32 [4, 3], found F32 [3, 4]: \
             transpose it: PyTorch's Linear keeps [out, in]",
        );
        check(
            &put("0.weight", &[4, 5], 0.0),
            "tensor \"0.weight\": expected F32 [4, 3], found F32 [4, 5]: \
             the inputs make 3 numbers a row",
        );
        check(
            &put("0.bias", &[5], 0.0),
            "tensor \"0.bias\": expected F32 [4], found F32 [5]: network.hidden has 4",
        );
        check(
            &put("2.weight", &[3, 4], 0.0),
            "tensor \"2.weight\": expected F32 [2, 4], found F32 [3, 4]: the task has 2 outputs",
        );
        check(
            &put("2.bias", &[2], f32::NAN),
            "tensor \"2.bias\": expected F32 [2], found F32 [2]: its value at index 0 is NaN; \
             weights are finite, and at most 10000 in size",
        );
        check(
            &put("4.bias", &[2], 0.0),
            "tensor \"4.bias\": expected none, found F32 [2]: \
             the network has 2 layers, named 0 to 2 in steps of 2; leave it out",
        );
        check(
            &rename("2.bias", "net.2.bias"),
            "tensor \"2.bias\": expected F32 [2], found none: \
             it may be \"net.2.bias\": save the nn.Sequential itself",
        );
        check(
            &rename("2.weight", "3.weight"),
            "tensor \"2.weight\": expected F32 [2, 4], found none: it may be \"3.weight\": \
             name the layers 0, 2, 4 and so on, as a Sequential with one ReLU between them does",
        );
        check(
            &|file| drop(file.tensors.0.remove("2.bias")),
            "tensor \"2.bias\": expected F32 [2], found none: \
             the file has no such layer; see network.hidden",
        );
        check(
            &|file| {
                file.tensors.0.remove("0.bias");
                file.others.insert("0.bias".into(), "F16 [4]".into());
            },
            "tensor \"0.bias\": expected F32 [4], found F16 [4]: \
             save it in 32 bits, as .float() does",
        );
        check(
            &|file| file.tensors.put_f64("0.bias", &[4], vec![0.0; 4]),
            "tensor \"0.bias\": expected F32 [4], found F64 [4]: \
             save it in 32 bits, as .float() does",
        );
    }
}
