//! The module `millstream._millstream`: the engine and the runtime for Python.
//!
//! The Python layer (`python/millstream/`) is thin and typed, and calls this module; its stub
//! `_millstream.pyi` is the contract between the two. This is the only crate that knows PyO3: to the
//! crates below, Python objects are [`HostObject`]s, callables are [`Function`]s, and the interpreter
//! is a [`Host`]. A thread attaches to the interpreter once per run of records.
//!
//! [`HostObject`]: millstream_value::HostObject
//! [`Function`]: millstream_value::Function
//! [`Host`]: millstream_value::Host

use pyo3::prelude::*;

mod columns;
mod context;
mod convert;
mod driver;
mod embedded;
mod errors;
mod expr;
mod formats;
mod function;
mod gil;
mod hooks;
mod host;
mod isolation;
mod json;
mod kafka;
mod logging;
mod object;
mod record;
mod run;
mod signals;
mod state;
mod topic;
mod topology;
mod window;

#[pymodule(gil_used = true)]
mod _millstream {
    use super::*;

    #[pymodule_export]
    use crate::context::{MessageContext, message_context, set_message_context};
    #[pymodule_export]
    use crate::driver::TestDriver;
    #[pymodule_export]
    use crate::embedded::{cli_main, ensure_broker};
    #[pymodule_export]
    use crate::expr::PyExpr;
    #[pymodule_export]
    use crate::formats::{NativeDeserializer, NativeSerializer};
    #[pymodule_export]
    use crate::json::{json_dumps, json_loads};
    #[pymodule_export]
    use crate::kafka::{
        KafkaAdmin, KafkaConsumer, KafkaProducer, Message, PyKafkaError, PyTopicPartition,
        connection_settings, librdkafka_version,
    };
    #[pymodule_export]
    use crate::logging::set_log_level;
    #[pymodule_export]
    use crate::record::Row;
    #[pymodule_export]
    use crate::run::Runner;
    #[pymodule_export]
    use crate::state::State;
    #[pymodule_export]
    use crate::topic::{InternalTopic, TopicSpec};
    #[pymodule_export]
    use crate::topology::{PyTopology, PyTopologyBuilder};
    #[pymodule_export]
    use crate::window::PyAggregation;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::logging::install();
        module.setattr("__version__", env!("CARGO_PKG_VERSION"))?;
        // The stub says what there is; the module is private, and nobody imports `*` from it.
        module.delattr("__all__")
    }
}
