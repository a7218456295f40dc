//! `Runner`: runs topologies against Kafka.

mod hooks;
mod leaves;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use millstream_engine::{TaskError, Topology};
use millstream_kafka::{
    ClientConfig, Clients, ConsumerConfig, ConsumerSettings, KafkaError, OffsetReset, Properties,
    admin_properties, consumer_properties, producer_properties,
};
use millstream_runtime::{
    Leaves, RunConfig, RunLimits, RunParams, RunReport, RuntimeError, SourceGap, StopHandle,
};
use millstream_state::{
    CacheSettings, LockHolder, MemoryBudget, RocksMemory, RocksOptions, RocksStorage,
};
use millstream_types::SystemClock;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::driver::task_exception;
use crate::errors::{self, to_exception};
use crate::gil::{IntoException, leave};
use crate::hooks::{Callbacks, PyHooks};
use crate::host::PyHost;
use crate::kafka::PyKafkaError;
use crate::signals::{self, Handlers};
use crate::state::Codec;
use crate::topology::PyTopology;
use leaves::CollectedLeaves;

/// Memory that the write-back caches of all stores of a process share, bytes.
const CACHE_BYTES: usize = 256 << 20;

/// Runs topologies, one run at a time.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct Runner {
    settings: Settings,
    callbacks: Callbacks,
    codec: Codec,
    stop: StopHandle,
    running: AtomicBool,
}

struct Settings {
    group: String,
    state_dir: PathBuf,
    rocksdb: RocksOptions,
    config: RunConfig,
}

/// What all stores of the process share.
fn process_memory(block_cache_size: usize) -> (RocksMemory, CacheSettings) {
    static MEMORY: OnceLock<(RocksMemory, CacheSettings)> = OnceLock::new();
    MEMORY
        .get_or_init(|| {
            let cache = CacheSettings {
                budget: MemoryBudget::new(CACHE_BYTES),
                // Random, as the standard library seeds its maps.
                hash_seed: RandomState::new().hash_one(0),
            };
            (RocksMemory::new(block_cache_size), cache)
        })
        .clone()
}

fn offset_reset(name: &str) -> PyResult<OffsetReset> {
    match name {
        "earliest" => Ok(OffsetReset::Earliest),
        "latest" => Ok(OffsetReset::Latest),
        "error" => Ok(OffsetReset::Error),
        _ => Err(PyValueError::new_err(format!(
            "auto_offset_reset is \"earliest\", \"latest\" or \"error\", not {name:?}"
        ))),
    }
}

fn source_gap(name: &str) -> PyResult<SourceGap> {
    match name {
        "fail" => Ok(SourceGap::Fail),
        "earliest" => Ok(SourceGap::Earliest),
        "latest" => Ok(SourceGap::Latest),
        _ => Err(PyValueError::new_err(format!(
            "source_gap is \"fail\", \"earliest\" or \"latest\", not {name:?}"
        ))),
    }
}

/// Time for a checkpoint: what the group grants between two polls.
fn flush_timeout(consumer: &Properties) -> Duration {
    let interval = consumer.get("max.poll.interval.ms").and_then(|interval| interval.parse().ok());
    Duration::from_millis(interval.unwrap_or(300_000))
}

#[pymethods]
impl Runner {
    #[new]
    #[pyo3(signature = (
        *, broker_address, consumer_group, auto_offset_reset="latest", consumer_config=None,
        producer_config=None, commit_interval_ms=5000, commit_every=0, state_dir="state",
        use_changelog_topics=true, consumer_poll_timeout_ms=1000, request_timeout_ms=30000,
        broker_availability_timeout_ms=120000, source_gap="earliest", rocksdb_options=None,
        on_consumer_error=None, on_processing_error=None, on_producer_error=None, on_message_processed=None,
        on_consumer_statistics=None, on_producer_statistics=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "all are keywords")]
    fn new(
        broker_address: &str,
        consumer_group: &str,
        auto_offset_reset: &str,
        consumer_config: Option<BTreeMap<String, String>>,
        producer_config: Option<BTreeMap<String, String>>,
        commit_interval_ms: u64,
        commit_every: u64,
        state_dir: &str,
        use_changelog_topics: bool,
        consumer_poll_timeout_ms: u64,
        request_timeout_ms: u64,
        broker_availability_timeout_ms: u64,
        source_gap: &str,
        rocksdb_options: Option<&Bound<'_, PyDict>>,
        on_consumer_error: Option<Py<PyAny>>,
        on_processing_error: Option<Py<PyAny>>,
        on_producer_error: Option<Py<PyAny>>,
        on_message_processed: Option<Py<PyAny>>,
        on_consumer_statistics: Option<Py<PyAny>>,
        on_producer_statistics: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        // The topology was built with or without changelog topics; the runtime reads it there.
        let _ = use_changelog_topics;
        let connection = Properties::from([("bootstrap.servers", broker_address)]);
        let consumer_extra = Properties::from(consumer_config.unwrap_or_default());
        let producer_extra = Properties::from(producer_config.unwrap_or_default());
        let grouped = ConsumerSettings {
            group_id: Some(consumer_group.to_owned()),
            auto_offset_reset: offset_reset(auto_offset_reset)?,
            ..ConsumerSettings::default()
        };
        let alone = ConsumerSettings {
            auto_offset_reset: OffsetReset::Earliest,
            ..ConsumerSettings::default()
        };
        let consumer = |settings| {
            let properties = consumer_properties(&consumer_extra, &connection, settings);
            ConsumerConfig::new(ClientConfig::new(properties))
        };
        let mut restoring = consumer(&alone);
        // Nobody asks how it is doing.
        restoring.client.properties.remove("statistics.interval.ms");
        let (rocksdb, codec) = rocksdb(rocksdb_options)?;
        let mut config = RunConfig::new(
            consumer(&grouped),
            restoring,
            ClientConfig::new(producer_properties(&producer_extra, &connection)),
            ClientConfig::new(admin_properties(&producer_extra, &connection)),
            process_memory(rocksdb.block_cache_size).1,
        );
        config.checkpoints.interval = Duration::from_millis(commit_interval_ms);
        config.checkpoints.every = commit_every;
        config.poll_timeout = Duration::from_millis(consumer_poll_timeout_ms);
        config.request_timeout = Duration::from_millis(request_timeout_ms);
        config.availability_timeout = Duration::from_millis(broker_availability_timeout_ms);
        config.source_gap = self::source_gap(source_gap)?;
        config.flush_timeout = flush_timeout(&config.consumer.client.properties);
        Ok(Self {
            settings: Settings {
                group: consumer_group.to_owned(),
                state_dir: PathBuf::from(state_dir),
                rocksdb,
                config,
            },
            callbacks: Callbacks {
                consumer_error: on_consumer_error,
                processing_error: on_processing_error,
                producer_error: on_producer_error,
                message_processed: on_message_processed,
                consumer_statistics: on_consumer_statistics,
                producer_statistics: on_producer_statistics,
            },
            codec,
            stop: StopHandle::new(),
            running: AtomicBool::new(false),
        })
    }

    #[pyo3(signature = (topology, *, timeout_ms=0, count=0, collect=true, metadata=false))]
    fn run<'py>(
        &self,
        topology: &Bound<'py, PyTopology>,
        timeout_ms: u64,
        count: u64,
        collect: bool,
        metadata: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = topology.py();
        if self.running.swap(true, Ordering::SeqCst) {
            return Err(PyRuntimeError::new_err("this application runs already"));
        }
        let limits = RunLimits { count, timeout: Duration::from_millis(timeout_ms) };
        let list = PyList::empty(py);
        let collects = collect && (count > 0 || timeout_ms > 0);
        let leaves = collects.then(|| (list.clone().unbind(), metadata));
        let outcome = self.run_watched(py, &topology.get().0, limits, leaves);
        // For the next run. Not before this one: somebody may have asked it to stop already.
        self.stop.reset();
        self.running.store(false, Ordering::SeqCst);
        outcome.map(|()| list)
    }

    #[pyo3(signature = (fail=false))]
    fn stop(&self, fail: bool) {
        if fail {
            self.stop.stop_failed();
        } else {
            self.stop.stop();
        }
    }

    #[getter]
    fn running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// Callbacks usually know their application, which knows its runner: a cycle that Python's
    /// collector must see.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.callbacks.traverse(&visit)?;
        self.codec.traverse(&visit)
    }
}

impl Runner {
    fn run_watched(
        &self,
        py: Python<'_>,
        topology: &Arc<Topology>,
        limits: RunLimits,
        leaves: Option<(Py<PyList>, bool)>,
    ) -> PyResult<()> {
        crate::logging::follow_python(py)?;
        let handlers = Handlers::install(py, &self.stop)?;
        let failed = Arc::new(Mutex::new(None));
        let leaves = leaves.map(|(list, metadata)| {
            let leaves = CollectedLeaves { list, metadata, failed: Arc::clone(&failed) };
            Box::new(leaves) as Box<dyn Leaves>
        });
        let callbacks = self.callbacks.share(py);
        let outcome = self
            .codec
            .during(py, || leave(py, || self.run_detached(topology, limits, leaves, callbacks)));
        if let Some(handlers) = handlers {
            handlers.remove(py)?;
        }
        if let Some(raised) = signals::take_pending() {
            return Err(raised);
        }
        let report = outcome?;
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        tracing::info!(
            "the run ended ({:?}): {} records read, {} outputs",
            report.reason,
            report.records,
            report.outputs
        );
        Ok(())
    }

    fn run_detached(
        &self,
        topology: &Arc<Topology>,
        limits: RunLimits,
        leaves: Option<Box<dyn Leaves>>,
        callbacks: Callbacks,
    ) -> Result<RunReport, RuntimeError> {
        let Settings { group, state_dir, rocksdb, config } = &self.settings;
        let holder = LockHolder { pid: Some(std::process::id()), host: None };
        let (memory, _) = process_memory(rocksdb.block_cache_size);
        let storage = RocksStorage::new(state_dir, group, rocksdb.clone(), memory, holder);
        millstream_runtime::run(RunParams {
            topology: Arc::clone(topology),
            config: config.clone(),
            clients: &Clients,
            storage: Arc::new(storage),
            clock: Arc::new(SystemClock),
            host: Arc::new(PyHost),
            hooks: &mut PyHooks(callbacks),
            stop: self.stop.clone(),
            limits,
            leaves,
        })
    }
}

/// `RocksDBOptions` as the Python layer hands them over: by name, custom `dumps` and `loads` only.
fn rocksdb(options: Option<&Bound<'_, PyDict>>) -> PyResult<(RocksOptions, Codec)> {
    let mut rocksdb = RocksOptions::default();
    let Some(options) = options else { return Ok((rocksdb, Codec::default())) };
    macro_rules! take {
        ($($field:ident),*) => {$(
            if let Some(value) = options.get_item(stringify!($field))? {
                rocksdb.$field = value.extract()?;
            }
        )*};
    }
    take!(
        write_buffer_size,
        target_file_size_base,
        max_write_buffer_number,
        block_cache_size,
        bloom_filter_bits_per_key,
        enable_pipelined_write,
        wal_dir,
        db_log_dir,
        use_fsync,
        open_max_retries,
        on_corrupted_recreate
    );
    if let Some(size) = options.get_item("max_total_wal_size")?
        && !size.is_none()
    {
        rocksdb.max_total_wal_size = size.extract()?;
    }
    if let Some(seconds) = options.get_item("open_retry_backoff")? {
        rocksdb.open_retry_backoff = Duration::try_from_secs_f64(seconds.extract()?)
            .map_err(|error| PyValueError::new_err(format!("open_retry_backoff: {error}")))?;
    }
    if let Some(compression) = options.get_item("compression_type")? {
        rocksdb.compression =
            compression.extract::<String>()?.parse().map_err(PyValueError::new_err)?;
    }
    let codec = Codec::new(options.get_item("dumps")?, options.get_item("loads")?);
    Ok((rocksdb, codec))
}

/// The exception of a Kafka error, with the whole story as its text.
fn kafka_exception(
    py: Python<'_>,
    class: &'static errors::ExceptionClass,
    error: KafkaError,
    text: String,
) -> PyErr {
    let error = PyKafkaError::from(KafkaError { description: text, ..error });
    match Bound::new(py, error) {
        Ok(error) => class.error_of(error.as_any()),
        Err(error) => error,
    }
}

impl IntoException for RuntimeError {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        let text = self.to_string();
        let name = self.exception_name();
        match self {
            RuntimeError::Task(TaskError::Produce(_)) => {
                kafka_exception(py, &errors::DELIVERY_ERROR, KafkaError::of_code(-1), text)
            }
            RuntimeError::Task(error) => task_exception(py, error),
            RuntimeError::Hook(failure) => to_exception(py, failure),
            RuntimeError::Kafka(error) => error.into_exception(py),
            RuntimeError::Consumer { error, .. } => {
                kafka_exception(py, &errors::CONSUMER_EXCEPTION, error, text)
            }
            RuntimeError::Delivery(failure) => {
                kafka_exception(py, &errors::DELIVERY_ERROR, failure.error, text)
            }
            RuntimeError::Commit { .. } => {
                kafka_exception(py, &errors::COMMIT_ERROR, KafkaError::of_code(-1), text)
            }
            _ => errors::named(py, name, text),
        }
    }
}
