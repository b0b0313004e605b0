//! A frozen network from an ONNX file: from the bytes to its output for a batch.
//!
//! The file is a list of nodes, each an operator over values before it (onnx.ai/onnx/repo-docs/IR).
//! Missing operators, types and attributes are reported when it is read, all of them at once. Values
//! that depend on nothing but the file are computed then, too.
//!
//! Invariant: a graph never changes, and nothing in it is followed backwards, so no file makes it
//! go in circles. File, nodes, values that stand at a time and multiplications are bounded.

mod call;
mod error;
mod file;
mod operators;
mod scan;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use candle_core::Tensor;

use crate::device::{Device, Use, compute};
use call::{Call, MultiplicationBudget};
pub use error::Error;
pub(crate) use file::{GraphInput, element};
use file::{Node, OnnxFile, quoted};
use operators::{Operator, find};
pub(crate) use value::Value;
use value::{ELEMENTS_MAX, Fault};

/// Nodes at most.
const NODES_MAX: usize = 1 << 16;
/// Values that stand at a time in a pass, at most: the tensors of the file do not count.
const STANDING_MAX: usize = 2 * ELEMENTS_MAX;
/// Values that stand at a time for a row that is tried, and that a file may unfold into beside four times its
/// own tensors: a row that takes more would have a batch refused.
const TRIED_MAX: usize = 1 << 24;
/// Multiplications of a pass at most; a large BERT takes as many for 2,048 tokens.
const PRODUCTS_MAX: u64 = 1 << 40;
/// Operators that a refusal names at most.
const NAMED_MAX: usize = 32;

/// A network that computes.
pub(crate) struct Graph {
    device: candle_core::Device,
    opset: i64,
    /// Values that are known before a pass, by their places.
    known: Vec<Option<Value>>,
    steps: Vec<GraphStep>,
    inputs: Vec<(GraphInput, usize)>,
    output: usize,
}

/// A node, with places for its values.
struct GraphStep {
    node: Node,
    operator: &'static Operator,
    inputs: Vec<Option<usize>>,
    /// The places of the outputs; nothing where no node needs one.
    outputs: Vec<Option<usize>>,
    /// Places that nothing behind it reads.
    last_read: Vec<usize>,
}

impl Graph {
    /// Reads a file, to compute the first of `outputs` that it has, or else its first output.
    ///
    /// # Errors
    /// [`Error::Unsound`] and [`Error::Unsupported`] of the file; [`Error::NoRoom`] and
    /// [`Error::Device`] of the device.
    pub(crate) fn new(bytes: Bytes, device: &Device, outputs: &[&str]) -> Result<Graph, Error> {
        let device = device.open(Use::Answers)?;
        let file = OnnxFile::read(bytes, &device)?;
        if file.nodes.len() > NODES_MAX {
            let what = format!("it has more than {NODES_MAX} nodes");
            return Err(Error::Unsupported(what));
        }
        check_operators(&file.nodes)?;
        let has = |name: &&&str| file.outputs.iter().any(|output| output == **name);
        let output = match (outputs.iter().find(has), file.outputs.first()) {
            (Some(name), _) => (*name).to_owned(),
            (None, Some(first)) => first.clone(),
            (None, None) => return Err(Error::Unsound("it has no output".to_owned())),
        };
        let mut graph = Graph {
            device,
            opset: file.opset,
            known: Vec::new(),
            steps: Vec::new(),
            inputs: Vec::new(),
            output: 0,
        };
        graph.place(file, &output)?;
        graph.keep_needed();
        compute(&graph.device.clone(), || graph.fold())?;
        graph.find_last_reads();
        Ok(graph)
    }

    pub(crate) fn inputs(&self) -> impl Iterator<Item = &GraphInput> {
        self.inputs.iter().map(|(input, _)| input)
    }

    pub(crate) fn device(&self) -> &candle_core::Device {
        &self.device
    }

    /// The output for a batch; values for all inputs, in their order.
    ///
    /// # Errors
    /// [`Error::Values`], which names the node; [`Error::NoRoom`] and [`Error::Device`] of the
    /// device. [`Error::Unsupported`] where the graph gives no floats for any values.
    pub(crate) fn run(&self, inputs: Vec<Value>) -> Result<Tensor, Error> {
        compute(&self.device, || self.run_here(inputs, STANDING_MAX))
    }

    /// The output for one row, which is given little room.
    ///
    /// # Errors
    /// As [`Graph::run`].
    pub(crate) fn try_row(&self, inputs: Vec<Value>) -> Result<Tensor, Error> {
        compute(&self.device, || self.run_here(inputs, TRIED_MAX))
    }

    fn run_here(&self, inputs: Vec<Value>, standing_max: usize) -> Result<Tensor, Error> {
        let mut values = self.known.clone();
        for ((_, place), value) in self.inputs.iter().zip(inputs) {
            values[*place] = Some(value);
        }
        let budget = MultiplicationBudget::new(PRODUCTS_MAX);
        let mut n_standing = 0;
        for step in &self.steps {
            let computed = self.compute(step, &values, &budget);
            let of_step = |fault| Error::of_node(fault, Error::Values).of(&step.node.title);
            for (place, value) in computed.map_err(of_step)? {
                n_standing += value.n_elements();
                if n_standing > standing_max {
                    let what = format!("more than {standing_max} values stand at a time");
                    return Err(Error::Values(what));
                }
                values[place] = Some(value);
            }
            for place in &step.last_read {
                let read = values[*place].take();
                n_standing -= read.map_or(0, |value| value.n_elements());
            }
        }
        match values[self.output].take() {
            Some(Value::Floats(tensor)) => Ok(tensor),
            Some(Value::Ints(_)) => {
                let what = "its output is of whole numbers".to_owned();
                Err(Error::Unsupported(what))
            }
            None => Err(Error::Unsound("nothing gives its output".to_owned())),
        }
    }
}

/// Names all that is missing.
fn check_operators(nodes: &[Node]) -> Result<(), Error> {
    let missing = nodes.iter().filter(|node| find(&node.operator).is_none());
    let missing: BTreeSet<&str> = missing.map(|node| node.operator.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut named: Vec<String> = missing
        .iter()
        .take(NAMED_MAX)
        .map(|name| quoted(name))
        .collect();
    if missing.len() > NAMED_MAX {
        named.push(format!("{} more", missing.len() - NAMED_MAX));
    }
    Err(Error::Unsupported(format!(
        "it needs operators that are not supported: {}",
        named.join(", ")
    )))
}

impl Graph {
    /// Gives every value a place.
    fn place(&mut self, file: OnnxFile, output: &str) -> Result<(), Error> {
        let mut places = BTreeMap::new();
        for (name, value) in file.tensors {
            self.name(&mut places, name, Some(value))?;
        }
        for input in file.inputs {
            // Old files list their tensors among the inputs, too.
            if !places.contains_key(&input.name) {
                let place = self.name(&mut places, input.name.clone(), None)?;
                self.inputs.push((input, place));
            }
        }
        for node in file.nodes {
            let operator = find(&node.operator).expect("all were looked for");
            let known = |name: &&String| operator.attributes.contains(&name.as_str());
            if let Some(other) = node.attributes.keys().find(|name| !known(name)) {
                let what = format!("attribute {} is not supported", quoted(other));
                return Err(Error::Unsupported(what).of(&node.title));
            }
            let inputs = node.inputs.iter().map(|name| match places.get(name) {
                _ if name.is_empty() => Ok(None),
                Some(place) => Ok(Some(*place)),
                None => Err(Error::Unsound(format!(
                    "{}: nothing before it gives its input {}; it is in a cycle, or out of order",
                    node.title,
                    quoted(name)
                ))),
            });
            let inputs = inputs.collect::<Result<_, _>>()?;
            let mut more = node.outputs.iter().skip(operator.n_outputs_max);
            if let Some(other) = more.find(|name| !name.is_empty()) {
                let what = format!("output {} is not supported", quoted(other));
                return Err(Error::Unsupported(what).of(&node.title));
            }
            let mut named = |name: &String| {
                if name.is_empty() {
                    Ok(None)
                } else {
                    self.name(&mut places, name.clone(), None).map(Some)
                }
            };
            let outputs = node.outputs.iter().map(&mut named);
            let outputs = outputs.collect::<Result<_, _>>()?;
            self.steps.push(GraphStep {
                node,
                operator,
                inputs,
                outputs,
                last_read: Vec::new(),
            });
        }
        let place = places.get(output).copied();
        let missing = || format!("nothing gives its output {}", quoted(output));
        self.output = place.ok_or_else(|| Error::Unsound(missing()))?;
        Ok(())
    }

    fn name(
        &mut self,
        places: &mut BTreeMap<String, usize>,
        name: String,
        value: Option<Value>,
    ) -> Result<usize, Error> {
        let place = self.known.len();
        self.known.push(value);
        match places.insert(name.clone(), place) {
            None => Ok(place),
            Some(_) => {
                let what = format!("two values are named {}", quoted(&name));
                Err(Error::Unsound(what))
            }
        }
    }

    /// Removes the nodes that the output does not need.
    fn keep_needed(&mut self) {
        let mut needed = BTreeSet::from([self.output]);
        let mut kept = Vec::new();
        for mut step in self.steps.drain(..).rev() {
            for output in &mut step.outputs {
                output.take_if(|place| !needed.contains(place));
            }
            if step.outputs.iter().any(Option::is_some) {
                needed.extend(step.inputs.iter().flatten());
                kept.push(step);
            }
        }
        kept.reverse();
        self.steps = kept;
        let known = self.known.iter_mut().enumerate();
        known
            .filter(|(place, _)| !needed.contains(place))
            .for_each(|(_, value)| *value = None);
    }

    /// Computes the values that depend on the file alone.
    fn fold(&mut self) -> Result<(), Error> {
        let budget = MultiplicationBudget::new(PRODUCTS_MAX);
        let of_file: usize = self.known.iter().flatten().map(Value::n_elements).sum();
        let unfolded_max = (4 * of_file + TRIED_MAX).min(STANDING_MAX);
        let mut n_standing = 0;
        let mut later = Vec::new();
        for step in std::mem::take(&mut self.steps) {
            let mut inputs = step.inputs.iter().flatten();
            if !inputs.all(|place| self.known[*place].is_some()) {
                later.push(step);
                continue;
            }
            let computed = self.compute(&step, &self.known, &budget);
            let of_step = |fault| Error::of_node(fault, Error::Unsupported).of(&step.node.title);
            for (place, value) in computed.map_err(of_step)? {
                n_standing += value.n_elements();
                if n_standing > unfolded_max {
                    let what = format!("it unfolds into more than {unfolded_max} values");
                    return Err(Error::Unsupported(what));
                }
                self.known[place] = Some(value);
            }
        }
        self.steps = later;
        Ok(())
    }

    fn find_last_reads(&mut self) {
        let fixed = self.known.iter().enumerate();
        let fixed = fixed.filter_map(|(place, value)| value.as_ref().map(|_| place));
        let mut read: BTreeSet<usize> = fixed.collect();
        read.insert(self.output);
        read.extend(self.inputs.iter().map(|(_, place)| *place));
        for step in self.steps.iter_mut().rev() {
            let places = step.inputs.iter().flatten().copied();
            step.last_read = places.filter(|place| read.insert(*place)).collect();
        }
    }

    /// The values of a step, with their places.
    fn compute(
        &self,
        step: &GraphStep,
        values: &[Option<Value>],
        budget: &MultiplicationBudget,
    ) -> Result<Vec<(usize, Value)>, Fault> {
        let of = |place: &Option<usize>| place.and_then(|place| values[place].as_ref());
        let mut call = Call {
            node: &step.node,
            inputs: step.inputs.iter().map(of).collect(),
            output: 0,
            opset: self.opset,
            device: &self.device,
            budget,
        };
        let mut given = Vec::new();
        for (output, place) in step.outputs.iter().enumerate() {
            let Some(place) = *place else { continue };
            call.output = output;
            let value = (step.operator.compute)(&call).and_then(|value| {
                call.room(value.shape(), 1)?;
                match &value {
                    Value::Floats(tensor) if tensor.elem_count() == 0 => Err(Fault::Node(format!(
                        "it gives no values, {:?}",
                        tensor.dims()
                    ))),
                    _ => Ok(value),
                }
            });
            given.push((place, value?));
        }
        Ok(given)
    }
}
