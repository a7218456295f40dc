//! `State`: what stateful functions are given (ST-01 to ST-05, ST-50 to ST-52).

use std::sync::{Mutex, MutexGuard, PoisonError};

use std::cell::RefCell;

use millstream_value::{Failure, StateAccess};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDelta, PyDeltaAccess, PyString};

use crate::errors::{self, to_exception};
use crate::json::{self, NoJson, type_name};

/// A user's state, scoped to the key of the record being processed (ST-01 to ST-05, ST-50 to ST-57).
///
/// Functions with `stateful=True` get one as last argument. Keys and values are written as JSON, so a tuple
/// comes back as a list (ST-04). It works while the record is being processed; later use raises `RuntimeError`.
///
/// A value that is set with a `ttl` reads as missing once the time of the store partition has reached the timestamp of
/// the record that set it, plus the ttl. That time is event time, never the clock's: the greatest timestamp of the
/// records whose functions read or wrote the store since a value was first given a ttl (ST-50).
///
/// >>> from millstream.testing import MemoryApplication
/// >>> app = MemoryApplication()
/// >>> sdf = app.dataframe(app.topic("visits"))
/// >>> def count(value, state):
/// ...     total = state.get("total", 0) + 1
/// ...     state.set("total", total)
/// ...     return total
/// >>> sdf = sdf.apply(count, stateful=True)
/// >>> [sdf.test({}, key=key)[0][0] for key in (b"ann", b"bob", b"ann")]
/// [1, 1, 2]
// The lock is never waited for: a thread that user code starts may look into the state as long as the
// function that started it runs.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct State {
    access: Mutex<Option<Box<dyn StateAccess>>>,
}

/// A [`State`] that ends when this is dropped.
pub(crate) struct Lent<'py>(Bound<'py, State>);

impl<'py> Lent<'py> {
    pub(crate) fn object(&self) -> &Bound<'py, State> {
        &self.0
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.get().lock().take();
    }
}

impl State {
    /// Makes the object for one call of a stateful function.
    pub(crate) fn lend(
        py: Python<'_>,
        access: Option<Box<dyn StateAccess>>,
    ) -> Result<Lent<'_>, Failure> {
        let access = access.expect("the engine gives stateful functions their state");
        Bound::new(py, Self { access: Mutex::new(Some(access)) })
            .map(Lent)
            .map_err(errors::to_failure)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn StateAccess>>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&dyn StateAccess) -> Result<R, Failure>,
    ) -> PyResult<R> {
        match &*self.lock() {
            Some(access) => work(&**access).map_err(|failure| to_exception(py, failure)),
            None => Err(PyRuntimeError::new_err(
                "this State belongs to a record that has been processed; use the one that the \
                 function is given with each record",
            )),
        }
    }

    /// What cannot be stored fails the store's transaction (ST-04).
    fn fail(&self) {
        if let Some(access) = &*self.lock() {
            access.fail();
        }
    }

    fn refuse(&self, py: Python<'_>, message: String) -> PyErr {
        self.fail();
        errors::STATE_SERIALIZATION.error(py, message)
    }

    /// A ttl in ms, rounded up (ST-51).
    fn ttl_ms(&self, ttl: &Bound<'_, PyAny>) -> PyResult<i64> {
        let Ok(delta) = ttl.cast::<PyDelta>() else {
            return Err(PyTypeError::new_err(format!(
                "ttl is a timedelta, not {}; e.g. timedelta(minutes=5)",
                type_name(ttl)
            )));
        };
        // Below 10^20 microseconds.
        let seconds = i128::from(delta.get_days()) * 86_400 + i128::from(delta.get_seconds());
        let micros = seconds * 1_000_000 + i128::from(delta.get_microseconds());
        if micros <= 0 {
            self.fail();
            return Err(PyValueError::new_err(format!(
                "ttl must be positive, not {}",
                delta.repr()?
            )));
        }
        Ok(((micros + 999) / 1000) as i64)
    }

    fn write(&self, py: Python<'_>, key: &[u8], value: &[u8], ttl_ms: Option<i64>) -> PyResult<()> {
        self.with(py, |access| match ttl_ms {
            None => access.set(key, value),
            Some(ttl_ms) => access.set_expiring(key, value, ttl_ms),
        })
    }

    /// Encodes an argument that is to be written.
    fn encode_or_fail(&self, object: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u8>> {
        encode(object).map_err(|error| match error {
            NoJson::Refused(message) => {
                self.refuse(object.py(), format!("cannot store this {what}: {message}"))
            }
            NoJson::Raised(error) => error,
        })
    }

    fn key_to_write(&self, key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        match key.cast::<PyBytes>() {
            Ok(raw) => Ok(raw.as_bytes().to_vec()),
            Err(_) => self.encode_or_fail(key, "key"),
        }
    }

    fn get_encoded(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
        let encoded = key_to_read(key)?;
        self.with(key.py(), |access| access.get(&encoded))
    }
}

#[pymethods]
impl State {
    /// The value of a key, or `default` if it has none. A stored `None` is a value (ST-01).
    ///
    /// Raises:
    ///     StateSerializationError: the key has no JSON form, or the stored bytes are no JSON.
    ///
    /// >>> from millstream.testing import MemoryApplication
    /// >>> app = MemoryApplication()
    /// >>> sdf = app.dataframe(app.topic("visits"))
    /// >>> sdf = sdf.apply(lambda value, state: state.get("seen", "never"), stateful=True)
    /// >>> sdf.test({})[0][0]
    /// 'never'
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        match self.get_encoded(key)? {
            None => Ok(or_none(py, default)),
            Some(bytes) => decode(py, &bytes),
        }
    }

    /// Sets the value of a key (ST-02).
    ///
    /// Args:
    ///     key, value: anything that JSON has. A key of type `bytes` is taken as it is.
    ///     ttl: the value expires that long after the record's timestamp, by event time; `None`: never (ST-50, ST-52).
    ///
    /// Raises:
    ///     StateSerializationError: the key or the value has no JSON form. The checkpoint fails then, also if the
    ///         error is suppressed (ST-04).
    ///     ValueError: the ttl is not positive, or leads beyond the year 33658. The checkpoint fails as well (ST-51).
    ///     TypeError: the ttl is no `timedelta`.
    ///
    /// >>> from millstream.testing import MemoryApplication
    /// >>> app = MemoryApplication()
    /// >>> sdf = app.dataframe(app.topic("visits"))
    /// >>> def swap(value, state):
    /// ...     before = state.get("city")
    /// ...     state.set("city", value["city"])
    /// ...     return before
    /// >>> sdf = sdf.apply(swap, stateful=True)
    /// >>> [sdf.test({"city": city})[0][0] for city in ("Bern", "Chur")]
    /// [None, 'Bern']
    #[pyo3(signature = (key, value, ttl=None))]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let ttl_ms = ttl.map(|ttl| self.ttl_ms(&ttl)).transpose()?;
        let encoded_key = self.key_to_write(key)?;
        let encoded = self.encode_or_fail(value, "value")?;
        self.write(key.py(), &encoded_key, &encoded, ttl_ms)
    }

    /// The stored bytes of a key, or `default` if it has none (ST-05). Of what `set()` wrote, its JSON.
    ///
    /// >>> from millstream.testing import MemoryApplication
    /// >>> app = MemoryApplication()
    /// >>> sdf = app.dataframe(app.topic("visits"))
    /// >>> def raw(value, state):
    /// ...     state.set("city", "Chur")
    /// ...     return state.get_bytes("city")
    /// >>> sdf.apply(raw, stateful=True).test({})[0][0]
    /// b'"Chur"'
    #[pyo3(signature = (key, default=None))]
    fn get_bytes<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        Ok(match self.get_encoded(key)? {
            None => or_none(py, default),
            Some(bytes) => PyBytes::new(py, &bytes).into_any(),
        })
    }

    /// Sets the value of a key to bytes, as they are (ST-05).
    ///
    /// Args:
    ///     key: as in `set()`.
    ///     value: `bytes`.
    ///     ttl: the value expires that long after the record's timestamp, by event time; `None`: never (ST-50, ST-52).
    ///
    /// Raises:
    ///     StateSerializationError: the value is no `bytes`; as in `set()`.
    ///
    /// >>> from millstream.testing import MemoryApplication
    /// >>> app = MemoryApplication()
    /// >>> sdf = app.dataframe(app.topic("visits"))
    /// >>> def keep(value, state):
    /// ...     state.set_bytes("image", bytes([0, 255]))
    /// ...     return state.get_bytes("image")
    /// >>> sdf.apply(keep, stateful=True).test({})[0][0]
    /// b'\x00\xff'
    #[pyo3(signature = (key, value, ttl=None))]
    fn set_bytes(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let ttl_ms = ttl.map(|ttl| self.ttl_ms(&ttl)).transpose()?;
        let encoded_key = self.key_to_write(key)?;
        let Ok(bytes) = value.cast::<PyBytes>() else {
            let message = format!(
                "set_bytes() takes bytes, not {}; use set() for other values",
                type_name(value)
            );
            return Err(self.refuse(key.py(), message));
        };
        self.write(key.py(), &encoded_key, bytes.as_bytes(), ttl_ms)
    }

    /// Whether a key has a value, be it `None` (ST-03).
    ///
    /// >>> from millstream.testing import MemoryApplication
    /// >>> app = MemoryApplication()
    /// >>> sdf = app.dataframe(app.topic("visits"))
    /// >>> def first(value, state):
    /// ...     known = state.exists("known")
    /// ...     state.set("known", None)
    /// ...     return not known
    /// >>> sdf = sdf.filter(first, stateful=True)
    /// >>> len(sdf.test({})), len(sdf.test({}))
    /// (1, 0)
    fn exists(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let encoded = key_to_read(key)?;
        self.with(key.py(), |access| access.exists(&encoded))
    }

    /// Removes a key and its value; fine if there is none (ST-03).
    ///
    /// >>> from millstream.testing import MemoryApplication
    /// >>> app = MemoryApplication()
    /// >>> sdf = app.dataframe(app.topic("visits"))
    /// >>> def forget(value, state):
    /// ...     state.set("city", "Chur")
    /// ...     state.delete("city")
    /// ...     return state.get("city")
    /// >>> sdf.apply(forget, stateful=True).test({})[0][0] is None
    /// True
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let encoded = self.key_to_write(key)?;
        self.with(key.py(), |access| access.delete(&encoded))
    }
}

fn or_none<'py>(py: Python<'py>, default: Option<Bound<'py, PyAny>>) -> Bound<'py, PyAny> {
    default.unwrap_or_else(|| py.None().into_bound(py))
}

thread_local! {
    /// Set for the time of a run; JSON otherwise.
    static CODEC: RefCell<Codec> = const { RefCell::new(Codec { dumps: None, loads: None }) };
}

/// What users write and read keys and values with, in place of JSON (ST-06).
#[derive(Default)]
pub(crate) struct Codec {
    dumps: Option<Py<PyAny>>,
    loads: Option<Py<PyAny>>,
}

impl Codec {
    pub(crate) fn new(dumps: Option<Bound<'_, PyAny>>, loads: Option<Bound<'_, PyAny>>) -> Self {
        Self { dumps: dumps.map(Bound::unbind), loads: loads.map(Bound::unbind) }
    }

    /// Shows Python's collector what is held here.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.dumps)?;
        visit.call(&self.loads)
    }

    fn share(&self, py: Python<'_>) -> Self {
        let share = |one: &Option<Py<PyAny>>| one.as_ref().map(|one| one.clone_ref(py));
        Self { dumps: share(&self.dumps), loads: share(&self.loads) }
    }

    /// Runs `run` with this codec for all state on this thread.
    pub(crate) fn during<R>(&self, py: Python<'_>, run: impl FnOnce() -> R) -> R {
        /// Puts the outer one back, also when `run` panics.
        struct Restore(Option<Codec>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CODEC.set(self.0.take().expect("taken here only"));
            }
        }
        let _restore = Restore(Some(CODEC.replace(self.share(py))));
        run()
    }
}

fn encode(object: &Bound<'_, PyAny>) -> Result<Vec<u8>, NoJson> {
    let py = object.py();
    let dumps = CODEC.with_borrow(|codec| codec.dumps.as_ref().map(|dumps| dumps.clone_ref(py)));
    let mut out = Vec::new();
    match dumps {
        None => json::write(object, &mut out)?,
        Some(dumps) => {
            let written = dumps
                .bind(py)
                .call1((object,))
                .map_err(|error| NoJson::Refused(format!("dumps raised {}", error.value(py))))?;
            match (written.cast::<PyBytes>(), written.cast::<PyString>()) {
                (Ok(bytes), _) => out.extend_from_slice(bytes.as_bytes()),
                (_, Ok(text)) => out.extend_from_slice(text.to_str()?.as_bytes()),
                _ => {
                    let name = type_name(&written);
                    return Err(NoJson::Refused(format!("dumps returned {name}, not bytes")));
                }
            }
        }
    }
    Ok(out)
}

fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let loads = CODEC.with_borrow(|codec| codec.loads.as_ref().map(|loads| loads.clone_ref(py)));
    let read = match &loads {
        None => json::loads(py, bytes),
        Some(loads) => loads.bind(py).call1((PyBytes::new(py, bytes),)),
    };
    read.map_err(|error| {
        let what = if loads.is_some() { "refused by loads" } else { "no JSON" };
        let text = format!(
            "the stored bytes are {what} ({}); read them with get_bytes()",
            error.value(py)
        );
        let unreadable = errors::STATE_SERIALIZATION.error(py, text);
        unreadable.set_cause(py, Some(error));
        unreadable
    })
}

/// A key that cannot be encoded was never written: reading with it raises, and harms nothing (ST-04).
fn key_to_read(key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(raw) = key.cast::<PyBytes>() {
        return Ok(raw.as_bytes().to_vec());
    }
    encode(key).map_err(|error| match error {
        NoJson::Refused(message) => {
            errors::STATE_SERIALIZATION.error(key.py(), format!("cannot read this key: {message}"))
        }
        NoJson::Raised(error) => error,
    })
}
