//! Windows: aggregations and callbacks in Python (W-20 to W-29, W-53 to W-56).

use std::sync::Arc;

use millstream_engine::{Aggregation, Aggregator, Collector, Late, LateCallback, WindowTrigger};
use millstream_types::Timestamp;
use millstream_value::{Call, Failure, Value};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert::{from_python, to_python, to_python_in_place};
use crate::errors::to_failure;
use crate::function::{PyFunction, Signature};
use crate::gil::enter;
use crate::isolation;
use crate::record::headers_to_python;

/// One column of a window's result.
#[pyclass(frozen, name = "Aggregation", module = "millstream._millstream")]
pub(crate) struct PyAggregation(pub(crate) Aggregation);

#[pymethods]
impl PyAggregation {
    #[staticmethod]
    #[pyo3(signature = (kind, column=None))]
    fn builtin(kind: &str, column: Option<String>) -> PyResult<Self> {
        Ok(Self(match kind {
            "sum" => Aggregation::Sum(column),
            "count" => Aggregation::Count(column),
            "mean" => Aggregation::Mean(column),
            "min" => Aggregation::Min(column),
            "max" => Aggregation::Max(column),
            "first" => Aggregation::First(column),
            "last" => Aggregation::Last(column),
            "earliest" => Aggregation::Earliest(column),
            "latest" => Aggregation::Latest(column),
            "collect" => Aggregation::Collect(column),
            _ => return Err(PyValueError::new_err(format!("unknown aggregation {kind:?}"))),
        }))
    }

    #[staticmethod]
    #[pyo3(signature = (reducer, initializer, merger=None))]
    fn reduce(
        reducer: &Bound<'_, PyAny>,
        initializer: &Bound<'_, PyAny>,
        merger: Option<&Bound<'_, PyAny>>,
    ) -> Self {
        let function = |callable| PyFunction::shared(callable, Signature::Plain);
        Self(Aggregation::Reduce {
            reducer: function(reducer),
            initializer: function(initializer),
            merger: merger.map(function),
        })
    }

    #[staticmethod]
    fn custom(aggregator: &Bound<'_, PyAny>) -> PyResult<Self> {
        let suffix = aggregator.getattr(intern!(aggregator.py(), "state_suffix"))?.extract()?;
        Ok(Self(Aggregation::Custom(Arc::new(PyAggregator {
            object: aggregator.clone().unbind(),
            suffix,
        }))))
    }

    #[staticmethod]
    fn custom_collector(collector: &Bound<'_, PyAny>) -> PyResult<Self> {
        let column = collector.getattr(intern!(collector.py(), "column"))?.extract()?;
        Ok(Self(Aggregation::CustomCollector(Arc::new(PyCollector {
            object: collector.clone().unbind(),
            column,
        }))))
    }
}

/// A `BaseAggregator`.
struct PyAggregator {
    object: Py<PyAny>,
    suffix: String,
}

impl PyAggregator {
    fn method<const N: usize>(
        &self,
        name: &'static str,
        arguments: [&Value; N],
        timestamp: Option<Timestamp>,
    ) -> Result<Value, Failure> {
        enter(|py| {
            isolation::record(py)?;
            let mut values: Vec<Bound<'_, PyAny>> =
                arguments.iter().map(|value| to_python(py, value)).collect::<PyResult<_>>()?;
            if let Some(timestamp) = timestamp {
                values.push(timestamp.into_pyobject(py)?.into_any());
            }
            let arguments = pyo3::types::PyTuple::new(py, values)?;
            self.object.bind(py).call_method1(name, arguments).map(from_python)
        })
        .map_err(to_failure)
    }
}

impl Aggregator for PyAggregator {
    fn state_suffix(&self) -> String {
        self.suffix.clone()
    }

    /// The object takes its column out of the value by itself.
    fn column(&self) -> Option<&str> {
        None
    }

    fn initialize(&self) -> Result<Value, Failure> {
        self.method("initialize", [], None)
    }

    fn aggregate(&self, old: Value, new: Value, timestamp: Timestamp) -> Result<Value, Failure> {
        self.method("agg", [&old, &new], Some(timestamp))
    }

    fn result(&self, state: Value) -> Result<Value, Failure> {
        self.method("result", [&state], None)
    }

    fn needs_host(&self) -> bool {
        true
    }
}

/// A `BaseCollector`.
struct PyCollector {
    object: Py<PyAny>,
    column: Option<String>,
}

impl Collector for PyCollector {
    fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    fn result(&self, items: Vec<Value>) -> Result<Value, Failure> {
        enter(|py| {
            isolation::record(py)?;
            let items: Vec<_> =
                items.iter().map(|value| to_python(py, value)).collect::<PyResult<_>>()?;
            let items = PyList::new(py, items)?;
            self.object.bind(py).call_method1(intern!(py, "result"), (items,)).map(from_python)
        })
        .map_err(to_failure)
    }

    fn needs_host(&self) -> bool {
        true
    }
}

/// `before_update` or `after_update`: `(aggregated, value, key, timestamp, headers) -> bool`.
pub(crate) struct PyTrigger(pub(crate) Py<PyAny>);

impl WindowTrigger for PyTrigger {
    fn fires(&self, aggregated: Value, call: &mut Call<'_>) -> Result<bool, Failure> {
        enter(|py| {
            isolation::record(py)?;
            let aggregated = to_python(py, &aggregated)?;
            let value = to_python_in_place(py, call.value)?;
            let key = to_python_in_place(py, call.key)?;
            let headers = headers_to_python(py, call.headers)?;
            self.0.bind(py).call1((aggregated, value, key, call.timestamp, headers))?.is_truthy()
        })
        .map_err(to_failure)
    }

    fn needs_host(&self) -> bool {
        true
    }
}

/// `on_late`: ten arguments, by position (W-53).
pub(crate) struct PyLate(pub(crate) Py<PyAny>);

impl LateCallback for PyLate {
    fn late(&self, value: &mut Value, key: &mut Value, late: &Late<'_>) -> Result<bool, Failure> {
        enter(|py| {
            isolation::record(py)?;
            let value = to_python_in_place(py, value)?;
            let key = to_python_in_place(py, key)?;
            self.0
                .bind(py)
                .call1((
                    value,
                    key,
                    late.timestamp,
                    late.late_by_ms,
                    late.start,
                    late.end,
                    late.store_name,
                    late.topic,
                    late.partition,
                    late.offset,
                ))?
                .is_truthy()
        })
        .map_err(to_failure)
    }

    fn needs_host(&self) -> bool {
        true
    }
}
