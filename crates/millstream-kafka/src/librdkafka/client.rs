//! What consumer, producer and admin have in common: an instance of librdkafka, the queue of its
//! events, its log.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::Arc;

use super::errors::{c_string, check, kafka_error, text_of};
use super::sys;
use super::wake::{Signal, on_queue_event};
use crate::{
    ClientConfig, Error, KafkaError, OAuthToken, Properties, TokenSource, code, is_secret,
};

/// Events that every kind of client wants to be told of.
const COMMON_EVENTS: c_int = sys::RD_KAFKA_EVENT_LOG
    | sys::RD_KAFKA_EVENT_ERROR
    | sys::RD_KAFKA_EVENT_STATS
    | sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;

/// A configuration on its way into an instance.
pub(super) struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    pub(super) fn new(properties: &Properties, events: c_int) -> Result<Self, Error> {
        // SAFETY: returns a new configuration.
        let conf = Self(unsafe { sys::rd_kafka_conf_new() });
        for (name, value) in properties.iter() {
            conf.set(name, value)?;
        }
        conf.set("log.queue", "true")?;
        // SAFETY: the configuration is ours.
        unsafe { sys::rd_kafka_conf_set_events(conf.0, COMMON_EVENTS | events) };
        Ok(conf)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let refused = |reason: String| {
            // The reason may quote the value.
            let reason = match is_secret(name) && !value.is_empty() {
                true => reason.replace(value, "***"),
                false => reason,
            };
            Error::Config { name: name.to_owned(), reason }
        };
        let (Ok(c_name), Ok(c_value)) = (CString::new(name), CString::new(value)) else {
            return Err(refused("contains a NUL character".to_owned()));
        };
        let mut text = ErrorText::new();
        // SAFETY: all strings are alive and copied.
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.0,
                c_name.as_ptr(),
                c_value.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            _ => Err(refused(text.text())),
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_conf_t {
        self.0
    }

    /// Makes the instance.
    pub(super) fn start(mut self, kind: sys::rd_kafka_type_t) -> Result<Instance, Error> {
        let mut text = ErrorText::new();
        // SAFETY: on success the instance takes the configuration over.
        let rk = unsafe { sys::rd_kafka_new(kind, self.0, text.as_mut_ptr(), text.len()) };
        if rk.is_null() {
            return Err(Error::Config { name: String::new(), reason: text.text() });
        }
        self.0 = ptr::null_mut();
        Ok(Instance(rk))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: no instance took it over, so it is ours.
            unsafe { sys::rd_kafka_conf_destroy(self.0) }
        }
    }
}

/// Room for an error text.
pub(super) struct ErrorText([c_char; 512]);

impl ErrorText {
    pub(super) fn new() -> Self {
        Self([0; 512])
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn text(&self) -> String {
        text_of(self.0.as_ptr())
    }
}

/// An owned `rd_kafka_t`.
pub(super) struct Instance(*mut sys::rd_kafka_t);

impl Instance {
    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_t {
        self.0
    }

    /// The fatal error, once there is one.
    pub(super) fn fatal_error(&self) -> Option<KafkaError> {
        let mut text = ErrorText::new();
        // SAFETY: the instance is alive.
        let code = unsafe { sys::rd_kafka_fatal_error(self.0, text.as_mut_ptr(), text.len()) };
        (code != 0).then(|| KafkaError { fatal: true, ..kafka_error(code, Some(&text.text())) })
    }

    /// Hands a token over, or says that there is none.
    pub(super) fn set_oauth_token(&self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        let action = || "set the OAuth token".to_owned();
        let token = match token {
            Ok(token) => token,
            Err(reason) => {
                let reason = c_string(reason, "error text")?;
                // SAFETY: the instance is alive, the text is copied.
                let code =
                    unsafe { sys::rd_kafka_oauthbearer_set_token_failure(self.0, reason.as_ptr()) };
                return check(code, action);
            }
        };
        let value = c_string(&token.token, "OAuth token")?;
        let principal = c_string(&token.principal, "OAuth principal")?;
        let mut extensions = Vec::with_capacity(2 * token.extensions.len());
        for (name, value) in &token.extensions {
            extensions.push(c_string(name, "SASL extension")?);
            extensions.push(c_string(value, "SASL extension")?);
        }
        let mut pointers: Vec<_> = extensions.iter().map(|text| text.as_ptr()).collect();
        let mut text = ErrorText::new();
        // SAFETY: all strings are alive and copied; `pointers` holds as many as it says.
        let code = unsafe {
            sys::rd_kafka_oauthbearer_set_token(
                self.0,
                value.as_ptr(),
                token.expires_at_ms,
                principal.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        match code {
            0 => Ok(()),
            code => {
                Err(Error::Kafka { action: action(), error: kafka_error(code, Some(&text.text())) })
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Without the flag a consumer that was not closed would be closed now, for as long as its
        // coordinator pleases.
        // SAFETY: the instance is ours, and everything made from it is gone: owners declare it
        // after their queues and topics.
        unsafe {
            sys::rd_kafka_destroy_flags(self.0, sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
}

/// An owned `rd_kafka_queue_t`.
pub(super) struct Queue(*mut sys::rd_kafka_queue_t);

impl Queue {
    /// # Safety
    /// `queue` is a queue that nobody else will free.
    pub(super) unsafe fn from_raw(queue: *mut sys::rd_kafka_queue_t) -> Self {
        Self(queue)
    }

    pub(super) fn new(instance: &Instance) -> Self {
        // SAFETY: the instance is alive; the queue is ours.
        Self(unsafe { sys::rd_kafka_queue_new(instance.as_ptr()) })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0
    }

    /// Raises `signal` whenever the queue is no longer empty.
    ///
    /// # Safety
    /// `signal` must outlive the instance that the queue belongs to.
    pub(super) unsafe fn signal_to(&self, signal: &Arc<Signal>) {
        let opaque = Arc::as_ptr(signal).cast_mut().cast();
        // SAFETY: the queue is alive; the signal by the caller.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.0, Some(on_queue_event), opaque) }
    }

    /// The next event, if there is one within `timeout_ms`.
    pub(super) fn poll(&self, timeout_ms: c_int) -> Option<Event> {
        // SAFETY: the queue is alive; the event is ours.
        let event = unsafe { sys::rd_kafka_queue_poll(self.0, timeout_ms) };
        (!event.is_null()).then_some(Event(event))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// An owned `rd_kafka_event_t`.
pub(super) struct Event(*mut sys::rd_kafka_event_t);

impl Event {
    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0
    }

    pub(super) fn kind(&self) -> c_int {
        // SAFETY: the event is alive.
        unsafe { sys::rd_kafka_event_type(self.0) }
    }

    pub(super) fn code(&self) -> c_int {
        // SAFETY: the event is alive.
        unsafe { sys::rd_kafka_event_error(self.0) }
    }

    /// The next message of an event that has some.
    pub(super) fn next_message(&self) -> Option<&sys::Message> {
        // SAFETY: the event is alive, and its messages live as long.
        unsafe { sys::rd_kafka_event_message_next(self.0).as_ref() }
    }

    /// The error that the event carries, with its text.
    pub(super) fn error(&self) -> KafkaError {
        // SAFETY: the event is alive.
        let text = text_of(unsafe { sys::rd_kafka_event_error_string(self.0) });
        kafka_error(self.code(), Some(&text))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// What an event means that any kind of client can get.
pub(super) enum CommonEvent {
    /// Dealt with: a log line, a token from the token source.
    Handled,
    BrokersDown(KafkaError),
    BrokersUp,
    Error(KafkaError),
    OAuthTokenNeeded(String),
    Statistics(String),
}

/// The state behind the common events.
pub(super) struct Common {
    token_source: Option<Arc<dyn TokenSource>>,
    name: String,
    brokers_down: bool,
    probing: bool,
}

impl Common {
    pub(super) fn new(config: &ClientConfig, instance: &Instance) -> Self {
        // SAFETY: the instance is alive; its name lives as long.
        let name = text_of(unsafe { sys::rd_kafka_name(instance.as_ptr()) });
        Self {
            token_source: config.token_source.clone(),
            name,
            brokers_down: false,
            probing: false,
        }
    }

    pub(super) fn brokers_down(&self) -> bool {
        self.brokers_down
    }

    /// Something came from a broker; whether that is news.
    pub(super) fn alive(&mut self) -> bool {
        std::mem::take(&mut self.brokers_down)
    }

    /// Asks for a sign of life, to be answered on `queue`.
    pub(super) fn probe(&mut self, instance: &Instance, queue: &Queue) {
        if std::mem::replace(&mut self.probing, true) {
            return;
        }
        let op = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        // SAFETY: instance and queue are alive; the options are copied and freed.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(instance.as_ptr(), op);
            sys::rd_kafka_DescribeCluster(instance.as_ptr(), options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
        }
    }

    pub(super) fn event(&mut self, event: &Event, instance: &Instance) -> CommonEvent {
        match event.kind() {
            sys::RD_KAFKA_EVENT_LOG => {
                self.log(event);
                CommonEvent::Handled
            }
            sys::RD_KAFKA_EVENT_ERROR => self.error(event, instance),
            sys::RD_KAFKA_EVENT_STATS => {
                // SAFETY: the event is alive.
                CommonEvent::Statistics(text_of(unsafe {
                    sys::rd_kafka_event_stats(event.as_ptr())
                }))
            }
            sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => {
                // SAFETY: the event is alive.
                let config = unsafe { sys::rd_kafka_event_config_string(event.as_ptr()) };
                self.token_needed(text_of(config), instance)
            }
            sys::RD_KAFKA_EVENT_DESCRIBECLUSTER_RESULT => {
                self.probing = false;
                match event.code() == 0 && self.alive() {
                    true => CommonEvent::BrokersUp,
                    false => CommonEvent::Handled,
                }
            }
            _ => CommonEvent::Handled,
        }
    }

    fn token_needed(&self, config: String, instance: &Instance) -> CommonEvent {
        let Some(source) = &self.token_source else {
            return CommonEvent::OAuthTokenNeeded(config);
        };
        let set = match source.token(&config) {
            Ok(token) => instance.set_oauth_token(Ok(&token)),
            Err(reason) => instance.set_oauth_token(Err(&reason)),
        };
        if let Err(error) = set {
            tracing::error!(target: "millstream::kafka", client = self.name, "{error}");
        }
        CommonEvent::Handled
    }

    fn error(&mut self, event: &Event, instance: &Instance) -> CommonEvent {
        let mut error = event.error();
        // SAFETY: the event is alive.
        let fatal = unsafe { sys::rd_kafka_event_error_is_fatal(event.as_ptr()) } != 0;
        if fatal || error.fatal {
            error = instance.fatal_error().unwrap_or(KafkaError { fatal: true, ..error });
        }
        // Parity row C-13: what waiting cannot heal is loud, the rest is not.
        if error.fatal || error.is_authentication() || error.is_authorization() {
            tracing::error!(target: "millstream::kafka", client = self.name, "{error}");
        } else {
            tracing::warn!(target: "millstream::kafka", client = self.name, "{error}");
        }
        match error.code {
            code::ALL_BROKERS_DOWN if std::mem::replace(&mut self.brokers_down, true) => {
                CommonEvent::Handled
            }
            code::ALL_BROKERS_DOWN => CommonEvent::BrokersDown(error),
            _ => CommonEvent::Error(error),
        }
    }

    fn log(&self, event: &Event) {
        let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive and so are the strings, until it is freed.
        let found = unsafe {
            sys::rd_kafka_event_log(
                event.as_ptr(),
                &raw mut facility,
                &raw mut text,
                &raw mut level,
            )
        };
        if found != 0 {
            return;
        }
        let (client, facility, text) = (&*self.name, text_of(facility), text_of(text));
        // Levels of syslog.
        match level {
            0..=3 => tracing::error!(target: "millstream::kafka", client, facility, "{text}"),
            4 => tracing::warn!(target: "millstream::kafka", client, facility, "{text}"),
            5..=6 => tracing::info!(target: "millstream::kafka", client, facility, "{text}"),
            _ => tracing::debug!(target: "millstream::kafka", client, facility, "{text}"),
        }
    }
}
