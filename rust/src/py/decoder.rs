//! `umr._rust.Linear`, `Decoder` and `instructions`.

use std::sync::Arc;

use numpy::{Ix1, Ix2, PyArray1, PyReadonlyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{borrow, slice, vector};
use super::enter::enter;
use super::errors::{to_python, usage};
use crate::decoder as core;
use crate::decoder::{Activation, Layer, Prefix, Rope, Shape, Source, Wanted};
use crate::gemm::{Form, Kind, isa};

/// The instruction set that a kind of numbers is multiplied with here.
#[pyfunction]
pub fn instructions(py: Python<'_>, kind: &str) -> PyResult<&'static str> {
    let kind = Kind::parse(kind).map_err(|error| to_python(py, &error))?;
    Ok(isa(kind).name())
}

/// Packed weights of one layer.
#[pyclass(frozen, module = "umr._rust")]
pub struct Linear(Arc<core::Linear>);

enum Borrowed<'py> {
    F32(PyReadonlyArray<'py, f32, Ix2>),
    Bf16(PyReadonlyArray<'py, u16, Ix2>),
}

impl<'py> Borrowed<'py> {
    fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        match borrow::<u16, Ix2>(value, "weights", "[N, K]") {
            Ok(bits) => Ok(Self::Bf16(bits)),
            Err(_) => Ok(Self::F32(borrow::<f32, Ix2>(value, "weights", "[N, K]")?)),
        }
    }

    fn inputs(&self) -> usize {
        match self {
            Self::F32(array) => array.shape()[1],
            Self::Bf16(array) => array.shape()[1],
        }
    }

    fn source(&self) -> PyResult<Source<'_>> {
        Ok(match self {
            Self::F32(array) => Source::F32(slice(array)?),
            Self::Bf16(array) => Source::Bf16(slice(array)?),
        })
    }
}

#[pymethods]
impl Linear {
    /// Packs weights that lie one below the other.
    #[new]
    #[pyo3(signature = (kind, weights, *, group=0, units=None, bias=None, smooth=None, turned=false, paired=false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        kind: &str,
        weights: Vec<Bound<'_, PyAny>>,
        group: usize,
        units: Option<&Bound<'_, PyAny>>,
        bias: Option<Vec<f32>>,
        smooth: Option<Vec<f32>>,
        turned: bool,
        paired: bool,
    ) -> PyResult<Self> {
        let kind = Kind::parse(kind).map_err(|error| to_python(py, &error))?;
        let arrays = weights
            .iter()
            .map(Borrowed::of)
            .collect::<PyResult<Vec<_>>>()?;
        let inputs = arrays.first().map_or(0, Borrowed::inputs);
        if arrays.iter().any(|array| array.inputs() != inputs) {
            return Err(usage(
                py,
                "weights: all must have the same number of columns".to_owned(),
            ));
        }
        let form = Form {
            group: if group == 0 || kind != Kind::Int8 {
                inputs
            } else {
                group.min(inputs)
            },
            ..Form::whole(kind, inputs)
        };
        let sources = arrays
            .iter()
            .map(Borrowed::source)
            .collect::<PyResult<Vec<_>>>()?;
        let units = units
            .map(|units| borrow::<f32, Ix2>(units, "units", "[N, groups]"))
            .transpose()?;
        let units = units.as_ref().map(slice).transpose()?;
        let linear = enter(py, None, |_| {
            let matrix = core::stack(form, &sources, units, paired)?;
            let bias = bias.map(|bias| {
                if paired {
                    core::spread(&bias, 1, bias.len() / 2)
                } else {
                    bias
                }
            });
            core::Linear::new(matrix, bias, smooth, turned)
        })?;
        Ok(Self(Arc::new(linear)))
    }

    /// Log-probabilities of targets, this being a vocabulary head.
    #[pyo3(signature = (states, rows, targets, *, cap=None))]
    fn target_logp<'py>(
        &self,
        py: Python<'py>,
        states: &Bound<'py, PyAny>,
        rows: &Bound<'py, PyAny>,
        targets: &Bound<'py, PyAny>,
        cap: Option<f32>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let states = borrow::<f32, Ix2>(states, "states", "[m, H]")?;
        let rows = borrow::<i64, Ix1>(rows, "rows", "[t]")?;
        let targets = borrow::<i64, Ix1>(targets, "targets", "[t]")?;
        let (mut values, rows, targets) =
            (slice(&states)?.to_vec(), slice(&rows)?, slice(&targets)?);
        let made = enter(py, None, |progress| {
            core::target_logp(&self.0, &mut values, cap, rows, targets, progress)
        })?;
        Ok(vector(py, made))
    }
}

/// A layer as Python gives it: a dict of these names.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Parts {
    before_attention: Vec<f32>,
    qkv: Py<Linear>,
    query_norm: Option<Vec<f32>>,
    key_norm: Option<Vec<f32>>,
    rope: usize,
    window: Option<usize>,
    out: Py<Linear>,
    after_attention: Option<Vec<f32>>,
    before_mlp: Vec<f32>,
    gate_up: Py<Linear>,
    down: Py<Linear>,
    after_mlp: Option<Vec<f32>>,
    prefix: Option<(Vec<f32>, Vec<f32>)>,
}

impl From<Parts> for Layer {
    fn from(parts: Parts) -> Self {
        Self {
            before_attention: parts.before_attention,
            qkv: parts.qkv.get().0.clone(),
            query_norm: parts.query_norm,
            key_norm: parts.key_norm,
            rope: parts.rope,
            window: parts.window,
            out: parts.out.get().0.clone(),
            after_attention: parts.after_attention,
            before_mlp: parts.before_mlp,
            gate_up: parts.gate_up.get().0.clone(),
            down: parts.down.get().0.clone(),
            after_mlp: parts.after_mlp,
            prefix: parts.prefix.map(|(keys, values)| Prefix { keys, values }),
        }
    }
}

/// What all layers share, as Python gives it: a dict of these names.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Sizes {
    width: usize,
    heads: usize,
    shared: usize,
    size: usize,
    eps: f32,
    scale: f32,
    activation: String,
    cap: Option<f32>,
    kind: String,
    ropes: Vec<(Vec<f32>, f32)>,
    norm: Vec<f32>,
}

fn shape(py: Python<'_>, sizes: Sizes) -> PyResult<Shape> {
    let activation = match sizes.activation.as_str() {
        "silu" => Activation::Silu,
        "gelu_tanh" => Activation::GeluTanh,
        other => {
            return Err(usage(
                py,
                format!("activation: {other:?} is neither silu nor gelu_tanh"),
            ));
        }
    };
    Ok(Shape {
        width: sizes.width,
        heads: sizes.heads,
        shared: sizes.shared,
        size: sizes.size,
        eps: sizes.eps,
        scale: sizes.scale,
        activation,
        cap: sizes.cap,
        kind: Kind::parse(&sizes.kind).map_err(|error| to_python(py, &error))?,
        ropes: sizes
            .ropes
            .into_iter()
            .map(|(frequencies, factor)| Rope::new(frequencies, factor))
            .collect(),
        norm: sizes.norm,
    })
}

/// A causal language model.
#[pyclass(frozen, module = "umr._rust")]
pub struct Decoder(core::Decoder);

#[pymethods]
impl Decoder {
    #[new]
    fn new(py: Python<'_>, sizes: Sizes, layers: Vec<Parts>, head: &Linear) -> PyResult<Self> {
        let layers = layers.into_iter().map(Layer::from).collect();
        let made = core::Decoder::new(shape(py, sizes)?, layers, head.0.clone());
        made.map(Self).map_err(|error| to_python(py, &error))
    }

    /// Log-probabilities of target tokens of a forest.
    #[allow(clippy::too_many_arguments)]
    fn logp<'py>(
        &self,
        py: Python<'py>,
        states: &Bound<'py, PyAny>,
        parent: &Bound<'py, PyAny>,
        trees: &Bound<'py, PyAny>,
        known: &Bound<'py, PyAny>,
        predict: &Bound<'py, PyAny>,
        rows: &Bound<'py, PyAny>,
        targets: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let states = borrow::<f32, Ix2>(states, "states", "[T, H]")?;
        let parent = borrow::<i64, Ix1>(parent, "parent", "[T]")?;
        let trees = borrow::<i64, Ix2>(trees, "trees", "[n, 3]")?;
        let known = borrow::<i32, Ix1>(known, "known", "[T]")?;
        let predict = borrow::<i64, Ix1>(predict, "predict", "[m]")?;
        let rows = borrow::<i64, Ix1>(rows, "rows", "[t]")?;
        let targets = borrow::<i64, Ix1>(targets, "targets", "[t]")?;
        if trees.shape()[1] != 3 {
            return Err(usage(
                py,
                format!("trees: expected shape [n, 3], got {:?}", trees.shape()),
            ));
        }
        let (values, parent, trees, known) = (
            slice(&states)?,
            slice(&parent)?,
            slice(&trees)?.as_chunks::<3>().0,
            slice(&known)?,
        );
        let wanted = Wanted {
            predict: slice(&predict)?,
            rows: slice(&rows)?,
            targets: slice(&targets)?,
        };
        let made = enter(py, None, |progress| {
            let forest = core::Forest::new(parent, trees)?;
            self.0
                .logp(&forest, values.to_vec(), known, &wanted, progress)
        })?;
        Ok(vector(py, made))
    }
}
