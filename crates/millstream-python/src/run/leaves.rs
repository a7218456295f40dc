//! Collected outputs.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::Leaf;
use millstream_runtime::Leaves;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping};

use crate::convert::to_python;
use crate::gil::enter;
use crate::record::headers_to_python;

/// Outputs as dicts.
pub(crate) struct CollectedLeaves {
    pub(crate) list: Py<PyList>,
    pub(crate) metadata: bool,
    /// The first output that could not be made a dict of.
    pub(crate) failed: Arc<Mutex<Option<PyErr>>>,
}

impl CollectedLeaves {
    fn add(&self, py: Python<'_>, leaf: Leaf<'_>) -> PyResult<()> {
        let value = to_python(py, leaf.value)?;
        let list = self.list.bind(py);
        if !self.metadata {
            if value.cast::<PyMapping>().is_ok() {
                return list.append(value);
            }
            let dict = PyDict::new(py);
            dict.set_item(intern!(py, "_value"), value)?;
            return list.append(dict);
        }
        let dict = PyDict::new(py);
        dict.set_item(intern!(py, "_key"), to_python(py, leaf.key)?)?;
        dict.set_item(intern!(py, "_timestamp"), leaf.timestamp)?;
        dict.set_item(intern!(py, "_headers"), headers_to_python(py, leaf.headers)?)?;
        dict.set_item(intern!(py, "_topic"), &*leaf.context.topic_partition.topic)?;
        dict.set_item(intern!(py, "_partition"), leaf.context.topic_partition.partition)?;
        dict.set_item(intern!(py, "_offset"), leaf.context.offset)?;
        match value.cast::<PyMapping>() {
            Ok(mapping) => dict.update(mapping)?,
            Err(_) => dict.set_item(intern!(py, "_value"), value)?,
        }
        list.append(dict)
    }
}

impl Leaves for CollectedLeaves {
    fn collect(&mut self, leaf: Leaf<'_>) {
        if let Err(error) = enter(|py| self.add(py, leaf)) {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    }
}
