//! `KafkaConsumer`.
//!
//! The client underneath reports events and hands out batches; this gives messages one by one, calls
//! back on rebalances, and keeps what confluent-kafka's consumer keeps: the position after the message
//! given out last, and the offsets stored for the next commit.

mod client;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_kafka::{ClientFactory, Clients, ConsumerConfig, Error, RequestId, code};
use millstream_types::{Offset, TopicPartition};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{Deadline, Message, PyKafkaError, PyTopicPartition, Shared, client_config, wait_of};
use crate::errors::KAFKA_EXCEPTION;
use crate::gil::{IntoException, leave};
use client::{Client, CommitAnswer, Found, Habits, Ready, Rebalance};

/// Longest wait for the group to take note of us at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Time for a request where the caller sets none.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Code of the pseudo error at a partition's end.
const PARTITION_EOF: i32 = -191;

/// Reads records, alone or in a group.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct KafkaConsumer {
    client: Shared<Client>,
    callbacks: std::sync::Mutex<Callbacks>,
    statistics: Option<Py<PyAny>>,
}

#[derive(Default)]
struct Callbacks {
    assign: Option<Py<PyAny>>,
    revoke: Option<Py<PyAny>>,
    lost: Option<Py<PyAny>>,
}

/// Raises a Kafka error of a request as a whole.
struct Refused(i32, &'static str);

impl IntoException for Refused {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        PyKafkaError::of(self.0, self.1).exception(py)
    }
}

fn partitions_of(partitions: &[PyTopicPartition]) -> Vec<TopicPartition> {
    partitions.iter().map(PyTopicPartition::topic_partition).collect()
}

fn limit(timeout: Option<f64>) -> Duration {
    wait_of(timeout).unwrap_or(REQUEST_LIMIT)
}

impl KafkaConsumer {
    fn callback(&self, py: Python<'_>, rebalance: &Rebalance) -> Option<Py<PyAny>> {
        // Held for a moment and without running Python code, so it may be taken while attached.
        let callbacks = self.callbacks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let callback = match rebalance {
            Rebalance::Assigned(_) => &callbacks.assign,
            Rebalance::Revoked(_) => &callbacks.revoke,
            // As confluent-kafka has it: without a callback of its own, a loss is a revocation.
            Rebalance::Lost(_) if callbacks.lost.is_none() => &callbacks.revoke,
            Rebalance::Lost(_) => &callbacks.lost,
        };
        callback.as_ref().map(|callback| callback.clone_ref(py))
    }

    /// Calls back, then answers the rebalance if the callback did not by `assign` or `unassign`. An
    /// exception out of the callback leaves the rebalance answered, too, or the group would wait for ever.
    fn rebalance(&self, py: Python<'_>, rebalance: &Rebalance) -> PyResult<()> {
        let called = match self.callback(py, rebalance) {
            None => Ok(()),
            Some(callback) => {
                let (Rebalance::Assigned(partitions)
                | Rebalance::Revoked(partitions)
                | Rebalance::Lost(partitions)) = rebalance;
                let partitions: Vec<_> = partitions
                    .iter()
                    .map(|partition| PyTopicPartition::of(partition, None))
                    .collect();
                callback.call1(py, (partitions,)).map(|_| ())
            }
        };
        let settled = self.client.call(py, Client::settle);
        called.and(settled)
    }

    fn next(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Option<Message>> {
        loop {
            let wait = deadline.next_wait();
            let found = self
                .client
                .call(py, |client| Ok::<_, PyErr>(client.find(wait.unwrap_or(Duration::ZERO))))?;
            match found {
                Found::Message(ready) => return message(py, ready).map(Some),
                Found::Rebalance(rebalance) => self.rebalance(py, &rebalance)?,
                Found::Statistics(json) => {
                    if let Some(callback) = &self.statistics {
                        callback.call1(py, (json,))?;
                    }
                }
                Found::Nothing if wait.is_none() => return Ok(None),
                Found::Nothing => {}
            }
        }
    }
}

fn message(py: Python<'_>, ready: Ready) -> PyResult<Message> {
    Ok(match ready {
        Ready::Records(batch, index) => Message::of(batch, index),
        Ready::End(partition, offset) => {
            let error = Py::new(py, PyKafkaError::of(PARTITION_EOF, "the end of the partition"))?;
            Message::of_error(Some(&partition), Some(offset), error)
        }
        Ready::Failed(partition, error) => {
            Message::of_error(partition.as_ref(), None, Py::new(py, PyKafkaError::from(error))?)
        }
    })
}

/// Whether a setting is on.
fn flag(config: &BTreeMap<String, String>, name: &str, default: bool) -> bool {
    config.get(name).map_or(default, |value| value.eq_ignore_ascii_case("true"))
}

#[pymethods]
impl KafkaConsumer {
    #[new]
    #[pyo3(signature = (config, stats_cb=None))]
    fn new(
        py: Python<'_>,
        config: BTreeMap<String, String>,
        stats_cb: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let interval_ms = config
            .get("auto.commit.interval.ms")
            .and_then(|interval| interval.parse().ok())
            .unwrap_or(5_000);
        let habits = Habits {
            auto_commit: flag(&config, "enable.auto.commit", true)
                .then(|| Duration::from_millis(interval_ms)),
            auto_store: flag(&config, "enable.auto.offset.store", true),
            partition_end: flag(&config, "enable.partition.eof", false),
        };
        let mut client = client_config(config);
        // What these ask for is done here, because the client hands out whole batches.
        client.properties.set("enable.auto.commit", "false");
        client.properties.set("enable.auto.offset.store", "false");
        client.properties.set("enable.partition.eof", "true");
        let config = ConsumerConfig::new(client);
        let consumer = leave(py, || Clients.consumer(&config))?;
        let client = Client::new(consumer, habits);
        let callbacks = std::sync::Mutex::default();
        Ok(Self { client: Shared::new(client), callbacks, statistics: stats_cb })
    }

    #[pyo3(signature = (topics, on_assign=None, on_revoke=None, on_lost=None))]
    fn subscribe(
        &self,
        py: Python<'_>,
        topics: Vec<String>,
        on_assign: Option<Py<PyAny>>,
        on_revoke: Option<Py<PyAny>>,
        on_lost: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let new = Callbacks { assign: on_assign, revoke: on_revoke, lost: on_lost };
        let old = {
            let mut callbacks =
                self.callbacks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::replace(&mut *callbacks, new)
        };
        // Dropping a callback may run Python code, so not under the lock.
        drop(old);
        self.client.call(py, |client| client.consumer.subscribe(&topics))
    }

    fn unsubscribe(&self, py: Python<'_>) -> PyResult<()> {
        self.client.call(py, |client| client.consumer.unsubscribe())
    }

    fn assign(&self, py: Python<'_>, partitions: Vec<PyTopicPartition>) -> PyResult<()> {
        let starts: Vec<_> = partitions.iter().map(PyTopicPartition::partition_start).collect();
        self.client.call(py, |client| match &client.rebalance {
            // Inside of `on_assign`: where to begin with what the group gave.
            Some(Rebalance::Assigned(_)) => {
                client.consumer.ack_assigned(&starts)?;
                client.rebalance = None;
                Ok(())
            }
            _ => {
                client.ready.clear();
                client.positions.clear();
                client.consumer.assign(&starts)
            }
        })
    }

    fn unassign(&self, py: Python<'_>) -> PyResult<()> {
        self.client.call(py, |client| match &client.rebalance {
            Some(Rebalance::Revoked(_) | Rebalance::Lost(_)) => client.settle(),
            _ => {
                client.ready.clear();
                client.positions.clear();
                client.consumer.assign(&[])
            }
        })
    }

    fn assignment(&self, py: Python<'_>) -> PyResult<Vec<PyTopicPartition>> {
        let partitions =
            self.client.call(py, |client| Ok::<_, PyErr>(client.consumer.assignment()))?;
        Ok(partitions.iter().map(|partition| PyTopicPartition::of(partition, None)).collect())
    }

    #[pyo3(signature = (timeout=None))]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Message>> {
        self.next(py, Deadline::after(wait_of(timeout)))
    }

    #[pyo3(signature = (num_messages=1, timeout=None))]
    fn consume(
        &self,
        py: Python<'_>,
        num_messages: usize,
        timeout: Option<f64>,
    ) -> PyResult<Vec<Message>> {
        let deadline = Deadline::after(wait_of(timeout));
        let mut messages = Vec::new();
        while messages.len() < num_messages {
            match self.next(py, deadline)? {
                Some(message) => messages.push(message),
                None => break,
            }
        }
        Ok(messages)
    }

    #[pyo3(signature = (message=None, offsets=None))]
    fn store_offsets(
        &self,
        py: Python<'_>,
        message: Option<&Bound<'_, Message>>,
        offsets: Option<Vec<PyTopicPartition>>,
    ) -> PyResult<()> {
        let Some(offsets) = offsets_of(message, offsets)? else {
            return Err(PyRuntimeError::new_err(
                "store_offsets() needs a message, or offsets=[TopicPartition(...)]",
            ));
        };
        self.client.call(py, |client| {
            client.stored.extend(offsets);
            Ok::<_, PyErr>(())
        })
    }

    #[pyo3(signature = (message=None, offsets=None, asynchronous=true))]
    fn commit(
        &self,
        py: Python<'_>,
        message: Option<&Bound<'_, Message>>,
        offsets: Option<Vec<PyTopicPartition>>,
        asynchronous: bool,
    ) -> PyResult<Option<Vec<PyTopicPartition>>> {
        let offsets = offsets_of(message, offsets)?;
        let id = self.client.call(py, |client| {
            let offsets = match offsets {
                Some(offsets) => offsets,
                None => client.stored.drain().collect(),
            };
            if offsets.is_empty() {
                return Ok(Err(Refused(code::NO_OFFSET, "there is no offset to commit")));
            }
            let id = client.consumer.commit(&offsets)?;
            if !asynchronous {
                client.answers.insert(id, Vec::new());
            }
            Ok::<_, Error>(Ok(id))
        })?;
        let id = id.map_err(|refused| refused.into_exception(py))?;
        if asynchronous {
            return Ok(None);
        }
        self.await_commit(py, id).map(Some)
    }

    #[pyo3(signature = (partitions, timeout=None))]
    fn committed(
        &self,
        py: Python<'_>,
        partitions: Vec<PyTopicPartition>,
        timeout: Option<f64>,
    ) -> PyResult<Vec<PyTopicPartition>> {
        let asked = partitions_of(&partitions);
        let offsets =
            self.client.call(py, |client| client.consumer.committed(&asked, limit(timeout)))?;
        Ok(asked.iter().zip(offsets).map(|(tp, offset)| PyTopicPartition::of(tp, offset)).collect())
    }

    fn position(
        &self,
        py: Python<'_>,
        partitions: Vec<PyTopicPartition>,
    ) -> PyResult<Vec<PyTopicPartition>> {
        let asked = partitions_of(&partitions);
        let offsets: Vec<_> = self.client.call(py, |client| {
            let offsets = asked.iter().map(|partition| client.positions.get(partition).copied());
            Ok::<_, PyErr>(offsets.collect())
        })?;
        Ok(asked.iter().zip(offsets).map(|(tp, offset)| PyTopicPartition::of(tp, offset)).collect())
    }

    #[pyo3(signature = (partition, timeout=None, cached=false))]
    fn get_watermark_offsets(
        &self,
        py: Python<'_>,
        partition: PyTopicPartition,
        timeout: Option<f64>,
        cached: bool,
    ) -> PyResult<(Offset, Offset)> {
        let partition = partition.topic_partition();
        let watermarks = self.client.call(py, |client| {
            if cached {
                return Ok(client.consumer.cached_watermarks(&partition));
            }
            client.consumer.watermarks(&partition, limit(timeout)).map(Some)
        })?;
        // What confluent-kafka gives for a partition that was not fetched yet.
        Ok(watermarks.map_or((-1001, -1001), |watermarks| (watermarks.low, watermarks.high)))
    }

    #[pyo3(signature = (partitions, timeout=None))]
    fn offsets_for_times(
        &self,
        py: Python<'_>,
        partitions: Vec<PyTopicPartition>,
        timeout: Option<f64>,
    ) -> PyResult<Vec<PyTopicPartition>> {
        let times: Vec<_> =
            partitions.iter().map(|tp| (tp.topic_partition(), tp.offset())).collect();
        let offsets = self
            .client
            .call(py, |client| client.consumer.offsets_for_times(&times, limit(timeout)))?;
        // -1 is the end: no record is that late.
        let found = times.iter().zip(offsets);
        Ok(found.map(|((tp, _), offset)| PyTopicPartition::of(tp, offset.or(Some(-1)))).collect())
    }

    fn seek(&self, py: Python<'_>, partition: PyTopicPartition) -> PyResult<()> {
        let start = partition.start();
        let partition = partition.topic_partition();
        self.client.call(py, |client| {
            client.consumer.seek(&partition, start)?;
            client.forget_unread(std::slice::from_ref(&partition));
            Ok::<_, Error>(())
        })
    }

    fn pause(&self, py: Python<'_>, partitions: Vec<PyTopicPartition>) -> PyResult<()> {
        let partitions = partitions_of(&partitions);
        self.client.call(py, |client| {
            client.consumer.pause(&partitions)?;
            client.rewind_unread(&partitions)
        })
    }

    fn resume(&self, py: Python<'_>, partitions: Vec<PyTopicPartition>) -> PyResult<()> {
        let partitions = partitions_of(&partitions);
        self.client.call(py, |client| client.consumer.resume(&partitions))
    }

    fn memberid(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.client.call(py, |client| Ok::<_, PyErr>(client.consumer.member_id()))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut client) = self.client.take(py)? else { return Ok(()) };
        leave(py, || {
            if client.habits.auto_commit.is_some()
                && let Err(error) = client.commit_and_wait()
            {
                tracing::warn!("commit at the end: {error}");
            }
            client.consumer.close(CLOSE_LIMIT);
            drop(client);
            Ok::<_, PyErr>(())
        })
    }
}

impl KafkaConsumer {
    fn await_commit(&self, py: Python<'_>, id: RequestId) -> PyResult<Vec<PyTopicPartition>> {
        let deadline = Deadline::after(Some(REQUEST_LIMIT));
        loop {
            let wait = deadline.next_wait();
            let answer = self.client.call(py, |client| {
                if client.answers.get(&id).is_some_and(Vec::is_empty) {
                    client.take_in(wait.unwrap_or(Duration::ZERO));
                }
                let answered = client.answers.get(&id).is_none_or(|answer| !answer.is_empty());
                let over = answered || wait.is_none();
                Ok::<_, PyErr>(over.then(|| client.answers.remove(&id).unwrap_or_default()))
            })?;
            let Some(answer) = answer else { continue };
            if answer.is_empty() {
                return Err(Refused(code::TIMED_OUT, "the commit was not answered in time")
                    .into_exception(py));
            }
            return commit_result(py, answer);
        }
    }
}

/// Each partition with its own error; one that all have is raised.
fn commit_result(py: Python<'_>, answer: CommitAnswer) -> PyResult<Vec<PyTopicPartition>> {
    if answer.iter().all(|(_, _, result)| result.is_err())
        && let Some((_, _, Err(error))) = answer.first()
    {
        let error = Bound::new(py, PyKafkaError::from(error.clone()))?;
        return Err(KAFKA_EXCEPTION.error_of(error.as_any()));
    }
    let partitions = answer.into_iter().map(|(partition, offset, result)| {
        PyTopicPartition::failed(&partition, offset, result.err().map(PyKafkaError::from))
    });
    Ok(partitions.collect())
}

/// Offsets to store or commit: after a message, or as given.
fn offsets_of(
    message: Option<&Bound<'_, Message>>,
    offsets: Option<Vec<PyTopicPartition>>,
) -> PyResult<Option<Vec<(TopicPartition, Offset)>>> {
    if let Some(message) = message {
        let message = message.get();
        let (Some(partition), Some(offset)) = (message.topic_partition(), message.record_offset())
        else {
            return Err(PyRuntimeError::new_err("this message is an error and has no offset"));
        };
        return Ok(Some(vec![(partition, offset + 1)]));
    }
    Ok(offsets.map(|offsets| {
        offsets.iter().map(|partition| (partition.topic_partition(), partition.offset())).collect()
    }))
}
