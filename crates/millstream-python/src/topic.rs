//! Topics as the engine needs to know them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_engine::topics::TopicConfig;
use millstream_engine::{InternalTopicKind, SinkTopic, SourceSpec, TimestampExtractor};
use millstream_types::{Timestamp, TimestampType};
use millstream_value::{Call, Deserializer, Failure, FailureKind, Function, Headers, Value};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::convert::to_python_in_place;
use crate::errors::to_failure;
use crate::formats::{deserializer, serializer};
use crate::function::PyFunction;
use crate::gil::enter;
use crate::isolation;
use crate::json::type_name;
use crate::record::headers_to_python;

/// A topic: name, size, settings and formats.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct TopicSpec {
    config: TopicConfig,
    key_deserializer: Arc<dyn Deserializer>,
    value_deserializer: Arc<dyn Deserializer>,
    timestamp_extractor: Option<Arc<dyn TimestampExtractor>>,
    sink: Arc<SinkTopic>,
}

impl TopicSpec {
    /// The topic to read.
    pub(crate) fn source(&self) -> SourceSpec {
        SourceSpec {
            topic: self.sink.name.to_string(),
            config: self.config.clone(),
            key_deserializer: Arc::clone(&self.key_deserializer),
            value_deserializer: Arc::clone(&self.value_deserializer),
            timestamp_extractor: self.timestamp_extractor.clone(),
        }
    }

    /// The topic to write.
    pub(crate) fn sink(&self) -> Arc<SinkTopic> {
        Arc::clone(&self.sink)
    }
}

#[pymethods]
impl TopicSpec {
    #[new]
    #[pyo3(signature = (
        name, *, partitions=1, replication_factor=1, configs=None, key_deserializer=None,
        value_deserializer=None, key_serializer=None, value_serializer=None, timestamp_extractor=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "all but the name are keywords")]
    fn new(
        name: &str,
        partitions: i32,
        replication_factor: i16,
        configs: Option<BTreeMap<String, Option<String>>>,
        key_deserializer: Option<&Bound<'_, PyAny>>,
        value_deserializer: Option<&Bound<'_, PyAny>>,
        key_serializer: Option<&Bound<'_, PyAny>>,
        value_serializer: Option<&Bound<'_, PyAny>>,
        timestamp_extractor: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        if partitions < 1 {
            return Err(PyValueError::new_err(format!(
                "topic \"{name}\" has {partitions} partitions; it needs at least one"
            )));
        }
        let settings = configs.unwrap_or_default().into_iter();
        let config = TopicConfig {
            partitions,
            replication_factor,
            // Secret settings have no value.
            settings: settings.filter_map(|(option, value)| Some((option, value?))).collect(),
        };
        let sink = SinkTopic {
            name: name.into(),
            key_serializer: serializer(key_serializer)?,
            value_serializer: serializer(value_serializer)?,
        };
        Ok(Self {
            config,
            key_deserializer: deserializer(key_deserializer)?,
            value_deserializer: deserializer(value_deserializer)?,
            timestamp_extractor: timestamp_extractor
                .map(|callable| Arc::new(PyExtractor(callable)) as Arc<dyn TimestampExtractor>),
            sink: Arc::new(sink),
        })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.sink.name
    }

    #[getter]
    fn partitions(&self) -> i32 {
        self.config.partitions
    }

    #[getter]
    fn replication_factor(&self) -> i16 {
        self.config.replication_factor
    }

    #[getter]
    fn configs(&self) -> BTreeMap<String, String> {
        self.config.settings.clone()
    }

    fn __repr__(&self) -> String {
        format!("<TopicSpec {:?} of {} partition(s)>", self.sink.name, self.config.partitions)
    }
}

/// `timestamp_extractor(value, headers, timestamp_ms, timestamp_type)` (T-07). The type is a number;
/// the Python layer makes its enum of it.
struct PyExtractor(Py<PyAny>);

impl TimestampExtractor for PyExtractor {
    fn extract(
        &self,
        value: &mut Value,
        headers: &Headers,
        timestamp: Timestamp,
        timestamp_type: TimestampType,
    ) -> Result<Timestamp, Failure> {
        enter(|py| {
            isolation::record(py).map_err(to_failure)?;
            let value = to_python_in_place(py, value).map_err(to_failure)?;
            let headers = headers_to_python(py, headers).map_err(to_failure)?;
            let extracted = self
                .0
                .bind(py)
                .call1((value, headers, timestamp, timestamp_type as u8))
                .map_err(to_failure)?;
            timestamp_of(&extracted, "timestamp_extractor")
        })
    }

    fn needs_host(&self) -> bool {
        true
    }
}

/// What a function that gives timestamps returned (T-07, D-51): an int, or what Python takes for one
/// (`__index__`), as numpy's are.
fn timestamp_of(object: &Bound<'_, PyAny>, what: &str) -> Result<Timestamp, Failure> {
    object.extract().map_err(|error: PyErr| {
        let returned = format!("{what} returned {}", type_name(object));
        if error.is_instance_of::<PyOverflowError>(object.py()) {
            Failure::new(FailureKind::Overflow, format!("{returned} beyond 64 bits"))
        } else if error.is_instance_of::<PyTypeError>(object.py()) {
            Failure::new(
                FailureKind::Type,
                format!("{returned}; it must return an int, milliseconds since 1970"),
            )
        } else {
            to_failure(error)
        }
    })
}

/// The function of `set_timestamp(value, key, timestamp, headers)` (D-51).
pub(crate) struct TimestampFunction(pub(crate) PyFunction);

impl Function for TimestampFunction {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn needs_host(&self) -> bool {
        true
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        enter(|py| {
            self.0.invoke(py, call, |result| {
                timestamp_of(&result, "the function given to set_timestamp()").map(Value::Int)
            })
        })
    }

    fn call_expand(
        &self,
        _: &mut Call<'_>,
        _: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        unreachable!("a timestamp expands nothing")
    }

    fn call_values(&self, _: Vec<Value>) -> Result<Value, Failure> {
        unreachable!("a timestamp is no reducer")
    }
}

/// A repartition or changelog topic.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct InternalTopic(millstream_engine::InternalTopic);

impl From<&millstream_engine::InternalTopic> for InternalTopic {
    fn from(topic: &millstream_engine::InternalTopic) -> Self {
        Self(topic.clone())
    }
}

#[pymethods]
impl InternalTopic {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.0.kind {
            InternalTopicKind::Repartition => "repartition",
            InternalTopicKind::Changelog => "changelog",
        }
    }

    #[getter]
    fn partitions(&self) -> i32 {
        self.0.config.partitions
    }

    #[getter]
    fn replication_factor(&self) -> i16 {
        self.0.config.replication_factor
    }

    #[getter]
    fn configs(&self) -> BTreeMap<String, String> {
        self.0.config.settings.clone()
    }

    fn __repr__(&self) -> String {
        format!("<InternalTopic {:?}>", self.0.name)
    }
}
