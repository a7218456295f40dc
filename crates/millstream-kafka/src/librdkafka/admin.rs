//! The admin client on librdkafka: an instance of the consumer kind without a group, because that
//! kind never asks brokers to create topics, and a fresh queue per request.

mod groups;
mod topics;

use std::collections::BTreeMap;
use std::ffi::{CString, c_int};
use std::ptr;
use std::time::Duration;

use millstream_types::{Clock, Offset, SystemClock, TopicPartition};

use super::client::{Common, CommonEvent, Conf, Event, Instance, Queue};
use super::errors::{c_string, check, text_of};
use super::list::millis;
use super::sys::{self, rd_kafka_admin_op_t as op};
use crate::{
    Admin, Broker, ClientConfig, Cluster, ConfigEntries, Error, GroupDescription, GroupListing,
    NewTopic, OffsetSpec, TopicDescription,
};

/// How often the log is looked at while a request is out.
const LOOK: Duration = Duration::from_millis(100);

/// librdkafka times requests out itself; this is how much later we stop to believe in it.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct RdAdmin {
    // Dropped in this order.
    events: Queue,
    instance: Instance,
    common: Common,
}

// SAFETY: librdkafka's objects may be used from any thread; `&mut self` keeps it to one at a time.
unsafe impl Send for RdAdmin {}

impl RdAdmin {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let conf = Conf::new(&config.properties, 0)?;
        let instance = conf.start(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER)?;
        // SAFETY: the instance is alive; the queue is ours.
        let events = unsafe {
            let events = Queue::from_raw(sys::rd_kafka_queue_get_main(instance.as_ptr()));
            let code = sys::rd_kafka_set_log_queue(instance.as_ptr(), events.as_ptr());
            check(code, || "set up the log".to_owned())?;
            events
        };
        Ok(Self { events, common: Common::new(config, &instance), instance })
    }

    /// Log lines, errors (which are logged too) and tokens.
    fn serve(&mut self) {
        while let Some(event) = self.events.poll(0) {
            if let CommonEvent::OAuthTokenNeeded(_) = self.common.event(&event, &self.instance) {
                let reason = "the admin client has no token source";
                // librdkafka logs the reason and asks again later.
                drop(self.instance.set_oauth_token(Err(reason)));
            }
        }
    }

    /// Sends a request and waits for its answer.
    fn request(
        &mut self,
        op: op,
        timeout: Duration,
        action: &str,
        send: impl FnOnce(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) -> Result<Event, Error> {
        let queue = Queue::new(&self.instance);
        self.serve();
        let mut text = super::client::ErrorText::new();
        // SAFETY: the instance is alive; the options are copied by whoever takes them, and freed. An
        // operation that has no such time limit refuses it, which changes nothing.
        unsafe {
            let rk = self.instance.as_ptr();
            let options = sys::rd_kafka_AdminOptions_new(rk, op);
            let ms = millis(timeout);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                ms,
                text.as_mut_ptr(),
                text.len(),
            );
            sys::rd_kafka_AdminOptions_set_operation_timeout(
                options,
                ms,
                text.as_mut_ptr(),
                text.len(),
            );
            send(rk, options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
        }
        let clock = SystemClock;
        let end = clock.monotonic() + timeout + GRACE;
        loop {
            let event = queue.poll(millis(LOOK));
            self.serve();
            match event {
                Some(event) => return settled(event, timeout, action),
                None if clock.monotonic() >= end => {
                    return Err(Error::TimedOut { action: action.to_owned(), after: timeout });
                }
                None => {}
            }
        }
    }
}

/// The event, unless the request as a whole failed.
fn settled(event: Event, timeout: Duration, action: &str) -> Result<Event, Error> {
    match event.code() {
        0 => Ok(event),
        crate::code::TIMED_OUT | -166 => {
            Err(Error::TimedOut { action: action.to_owned(), after: timeout })
        }
        _ => Err(Error::Kafka { action: action.to_owned(), error: event.error() }),
    }
}

/// The items of a result array.
///
/// # Safety
/// `array` points to `count` pointers that outlive the result, or `count` is 0.
unsafe fn items<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    if count == 0 || array.is_null() {
        return &[];
    }
    // SAFETY: by the caller.
    unsafe { std::slice::from_raw_parts(array.cast_const(), count) }
}

/// Names as C strings.
fn c_strings(names: &[&str], what: &str) -> Result<Vec<CString>, Error> {
    names.iter().map(|name| c_string(name, what)).collect()
}

/// A broker of a description; `None` where there is none.
///
/// # Safety
/// `node` is null or alive.
unsafe fn broker(node: *const sys::rd_kafka_Node_t) -> Option<Broker> {
    if node.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    unsafe {
        Some(Broker {
            id: sys::rd_kafka_Node_id(node),
            host: text_of(sys::rd_kafka_Node_host(node)),
            port: sys::rd_kafka_Node_port(node),
        })
    }
}

/// The broker ids of an array of nodes.
///
/// # Safety
/// As for [`items`].
unsafe fn broker_ids(nodes: *mut *const sys::rd_kafka_Node_t, count: usize) -> Vec<i32> {
    // SAFETY: by the caller; a node whose broker is unknown is null.
    unsafe { items(nodes, count) }
        .iter()
        .filter(|node| !node.is_null())
        // SAFETY: by the caller.
        .map(|node| unsafe { sys::rd_kafka_Node_id(*node) })
        .collect()
}

impl Admin for RdAdmin {
    fn cluster(&mut self, timeout: Duration) -> Result<Cluster, Error> {
        let op = op::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let event = self.request(op, timeout, "describe the cluster", |rk, options, queue| {
            // SAFETY: all three are alive.
            unsafe { sys::rd_kafka_DescribeCluster(rk, options, queue) }
        })?;
        // SAFETY: the event is alive and of this kind; what it refers to lives as long.
        unsafe {
            let result = sys::rd_kafka_event_DescribeCluster_result(event.as_ptr());
            let mut count = 0;
            let nodes = sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut count);
            Ok(Cluster {
                id: text_of(sys::rd_kafka_DescribeCluster_result_cluster_id(result)),
                controller: broker(sys::rd_kafka_DescribeCluster_result_controller(result))
                    .map(|broker| broker.id),
                brokers: items(nodes, count).iter().filter_map(|node| broker(*node)).collect(),
            })
        }
    }

    fn list_topics(&mut self, timeout: Duration) -> Result<Vec<TopicDescription>, Error> {
        topics::list(self, timeout)
    }

    fn describe_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<TopicDescription, Error>>, Error> {
        topics::describe(self, names, timeout)
    }

    fn describe_configs(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<ConfigEntries, Error>>, Error> {
        topics::describe_configs(self, names, timeout)
    }

    fn alter_configs(
        &mut self,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
        timeout: Duration,
    ) -> Result<(), Error> {
        topics::alter_configs(self, topic, changes, timeout)
    }

    fn create_topics(
        &mut self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        topics::create(self, topics, timeout)
    }

    fn await_topics(&mut self, names: &[&str], timeout: Duration) -> Result<(), Error> {
        let clock = SystemClock;
        let end = clock.monotonic() + timeout;
        let action = || format!("wait until topics are there: {}", names.join(", "));
        loop {
            let left = end.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Err(Error::TimedOut { action: action(), after: timeout });
            }
            let found = topics::describe(self, names, left)?;
            let mut all = true;
            for topic in found {
                match topic {
                    Ok(topic) => all &= topic.partitions.iter().all(|p| p.leader.is_some()),
                    Err(error) if error.is_topic_missing() => all = false,
                    Err(error) if error.kafka().is_some_and(|e| e.retriable) => all = false,
                    Err(error) => return Err(error),
                }
            }
            if all {
                return Ok(());
            }
            // A pause that still takes log lines.
            if let Some(event) = self.events.poll(millis(left.min(LOOK / 2))) {
                self.common.event(&event, &self.instance);
            }
        }
    }

    fn delete_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        topics::delete(self, names, timeout)
    }

    fn create_partitions(
        &mut self,
        topic: &str,
        total: i32,
        timeout: Duration,
    ) -> Result<(), Error> {
        topics::create_partitions(self, topic, total, timeout)
    }

    fn delete_records(
        &mut self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<Result<Offset, Error>>, Error> {
        topics::delete_records(self, before, timeout)
    }

    fn list_offsets(
        &mut self,
        partitions: &[(TopicPartition, OffsetSpec)],
        timeout: Duration,
    ) -> Result<Vec<Result<Option<Offset>, Error>>, Error> {
        topics::list_offsets(self, partitions, timeout)
    }

    fn list_groups(&mut self, timeout: Duration) -> Result<Vec<GroupListing>, Error> {
        groups::list(self, timeout)
    }

    fn describe_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
        groups::describe(self, groups, timeout)
    }

    fn delete_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        groups::delete(self, groups, timeout)
    }

    fn group_offsets(
        &mut self,
        group: &str,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, Error> {
        groups::offsets(self, group, timeout)
    }

    fn alter_group_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), Error> {
        groups::alter_offsets(self, group, offsets, timeout)
    }

    fn delete_group_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<(), Error> {
        groups::delete_offsets(self, group, partitions, timeout)
    }
}

/// A count as librdkafka takes it where -1 leaves the choice to the broker.
fn or_default(count: Option<i32>) -> c_int {
    count.unwrap_or(-1)
}

/// Null where librdkafka takes an optional pointer.
const fn none<T>() -> *const T {
    ptr::null()
}
