//! librdkafka's errors as ours.

use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use super::sys;
use crate::{Error, KafkaError, code};

/// The error of that code; `text` where librdkafka has more to say than the code's description.
pub(super) fn kafka_error(code: c_int, text: Option<&str>) -> KafkaError {
    // SAFETY: both return static strings, for unknown codes as well.
    let (name, description) =
        unsafe { (sys::rd_kafka_err2name(code), sys::rd_kafka_err2str(code)) };
    let text = text.filter(|text| !text.is_empty());
    KafkaError {
        code,
        name: text_of(name),
        description: text.map_or_else(|| text_of(description), str::to_owned),
        retriable: is_retriable(code),
        fatal: code == code::FATAL,
    }
}

/// Codes after which the same request may succeed: connection trouble, elections, a coordinator on
/// the move, throttling. After Kafka's `RetriableException` and its subclasses.
fn is_retriable(code: i32) -> bool {
    matches!(
        code,
        -195 | -193
            | -192
            | -187
            | -185
            | -184
            | -180
            | -166
            | -153
            | 2
            | 3
            | 5
            | 6
            | 7
            | 8
            | 9
            | 13
            | 14
            | 15
            | 16
            | 19
            | 20
            | 27
            | 41
            | 51
            | 56
            | 70
            | 71
            | 72
            | 74
            | 75
            | 78
            | 80
            | 83
            | 84
            | 88
            | 89
            | 100
    )
}

/// An error of doing `action`, by its code.
pub(super) fn failed(action: impl Into<String>, code: c_int) -> Error {
    Error::Kafka { action: action.into(), error: kafka_error(code, None) }
}

/// `Ok` for code 0.
pub(super) fn check(code: c_int, action: impl FnOnce() -> String) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(failed(action(), code)) }
}

/// The same for a call with a time limit.
pub(super) fn check_in_time(
    code: c_int,
    after: Duration,
    action: impl FnOnce() -> String,
) -> Result<(), Error> {
    match code {
        0 => Ok(()),
        code::TIMED_OUT => Err(Error::TimedOut { action: action(), after }),
        code => Err(failed(action(), code)),
    }
}

/// What an error object says; `None` for null, which means success.
///
/// # Safety
/// `error` is null or a live error object.
pub(super) unsafe fn from_object(error: *const sys::rd_kafka_error_t) -> Option<KafkaError> {
    if error.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    unsafe {
        let code = sys::rd_kafka_error_code(error);
        if code == 0 {
            return None;
        }
        let mut found = kafka_error(code, Some(&text_of(sys::rd_kafka_error_string(error))));
        found.fatal |= sys::rd_kafka_error_is_fatal(error) != 0;
        found.retriable |= sys::rd_kafka_error_is_retriable(error) != 0;
        Some(found)
    }
}

/// Takes an error object that a call returned; null is success.
///
/// # Safety
/// `error` is null or an error object that nobody else will free.
pub(super) unsafe fn check_object(
    error: *mut sys::rd_kafka_error_t,
    action: impl FnOnce() -> String,
) -> Result<(), Error> {
    // SAFETY: by the caller; it is read before it is freed, and freed once.
    unsafe {
        let found = from_object(error);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        found.map_or(Ok(()), |error| Err(Error::Kafka { action: action(), error }))
    }
}

/// The text behind a C string of librdkafka's; empty for null.
pub(super) fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end with NUL, and callers pass live ones.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// `text` as a C string.
pub(super) fn c_string(text: &str, what: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Nul { what: what.to_owned() })
}
