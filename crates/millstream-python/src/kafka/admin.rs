//! `KafkaAdmin`.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_kafka::{Admin, ClientFactory, Clients, Error, NewTopic, code};
use pyo3::prelude::*;

use super::{PyKafkaError, Shared, client_config, wait_of};
use crate::errors::TOPIC_PERMISSION;
use crate::gil::{IntoException, leave};

/// Waiting for ever, for calls that need a time.
const A_DAY: Duration = Duration::from_secs(86_400);

/// Cluster metadata and administration.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct KafkaAdmin(Shared<Box<dyn Admin>>);

/// A topic to create: name, partitions, copies, settings.
type Order = (String, i32, i32, BTreeMap<String, String>);
/// What a topic is like: partitions, copies, settings.
type Description = (usize, usize, BTreeMap<String, Option<String>>);

fn time(seconds: f64) -> Duration {
    wait_of(Some(seconds)).unwrap_or(A_DAY)
}

/// An error while looking at topics: what the cluster does not let us see is named.
enum Look {
    Denied(String, Error),
    Failed(Error),
}

impl From<Error> for Look {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl IntoException for Look {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Failed(error) => error.into_exception(py),
            Self::Denied(topic, error) => {
                let text = format!(
                    "topic \"{topic}\" must not be looked at: {error}; the credentials need the rights \
                     Describe and DescribeConfigs on it"
                );
                let cause = error.into_exception(py);
                let denied = TOPIC_PERMISSION.error(py, text);
                denied.set_cause(py, Some(cause));
                denied
            }
        }
    }
}

fn denied(name: &str, error: Error) -> Look {
    match error.kafka().is_some_and(|error| error.is_authorization()) {
        true => Look::Denied(name.to_owned(), error),
        false => Look::Failed(error),
    }
}

/// Looks at topics: settings are asked for those that exist.
fn inspect(
    admin: &mut dyn Admin,
    names: &[String],
    timeout: Duration,
) -> Result<Vec<(String, Option<Description>)>, Look> {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for (name, topic) in names.iter().zip(admin.describe_topics(&asked, timeout)?) {
        match topic {
            Ok(topic) => found.push((name.clone(), Some(topic))),
            // A name that Kafka does not allow is that of no topic; creating it says why.
            Err(error) if error.is_topic_missing() || error.code() == Some(code::INVALID_TOPIC) => {
                found.push((name.clone(), None));
            }
            Err(error) => return Err(denied(name, error)),
        }
    }
    let there: Vec<&str> =
        found.iter().filter(|(_, topic)| topic.is_some()).map(|(name, _)| name.as_str()).collect();
    let mut settings = match there.is_empty() {
        true => Vec::new(),
        false => admin.describe_configs(&there, timeout)?,
    }
    .into_iter();
    let mut described = Vec::new();
    for (name, topic) in found {
        let Some(topic) = topic else {
            described.push((name, None));
            continue;
        };
        let settings = settings.next().expect("settings are answered for each topic asked about");
        let settings = settings.map_err(|error| denied(&name, error))?;
        let settings = settings.into_iter().map(|(option, entry)| (option, entry.value)).collect();
        let description = (topic.partitions.len(), topic.replication_factor(), settings);
        described.push((name, Some(description)));
    }
    Ok(described)
}

/// Answers by name, the Kafka errors among them; others are of the request as a whole.
fn answers(
    py: Python<'_>,
    names: impl Iterator<Item = String>,
    results: Vec<Result<(), Error>>,
) -> PyResult<BTreeMap<String, Option<PyKafkaError>>> {
    let mut answers = BTreeMap::new();
    for (name, result) in names.zip(results) {
        let answer = match result {
            Ok(()) => None,
            Err(Error::Kafka { error, .. }) => Some(PyKafkaError::from(error)),
            Err(error) => return Err(error.into_exception(py)),
        };
        answers.insert(name, answer);
    }
    Ok(answers)
}

#[pymethods]
impl KafkaAdmin {
    #[new]
    fn new(py: Python<'_>, config: BTreeMap<String, String>) -> PyResult<Self> {
        let config = client_config(config);
        Ok(Self(Shared::new(leave(py, || Clients.admin(&config))?)))
    }

    #[pyo3(signature = (timeout=30.0))]
    fn list_topics(&self, py: Python<'_>, timeout: f64) -> PyResult<BTreeMap<String, usize>> {
        let topics = self.0.call(py, |admin| admin.list_topics(time(timeout)))?;
        Ok(topics.into_iter().map(|topic| (topic.name, topic.partitions.len())).collect())
    }

    #[pyo3(signature = (names, timeout=30.0))]
    fn inspect_topics(
        &self,
        py: Python<'_>,
        names: Vec<String>,
        timeout: f64,
    ) -> PyResult<BTreeMap<String, Option<Description>>> {
        let found = self.0.call(py, |admin| inspect(&mut **admin, &names, time(timeout)))?;
        Ok(found.into_iter().collect())
    }

    #[pyo3(signature = (topics, timeout=30.0))]
    fn create_topics(
        &self,
        py: Python<'_>,
        topics: Vec<Order>,
        timeout: f64,
    ) -> PyResult<BTreeMap<String, Option<PyKafkaError>>> {
        let wanted: Vec<NewTopic> = topics
            .into_iter()
            .map(|(name, partitions, replication_factor, config)| NewTopic {
                name,
                partitions: (partitions > 0).then_some(partitions),
                replication_factor: (replication_factor > 0).then_some(replication_factor),
                config,
            })
            .collect();
        let results = self.0.call(py, |admin| admin.create_topics(&wanted, time(timeout)))?;
        answers(py, wanted.into_iter().map(|topic| topic.name), results)
    }

    #[pyo3(signature = (names, timeout=30.0))]
    fn delete_topics(
        &self,
        py: Python<'_>,
        names: Vec<String>,
        timeout: f64,
    ) -> PyResult<BTreeMap<String, Option<PyKafkaError>>> {
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let results = self.0.call(py, |admin| admin.delete_topics(&asked, time(timeout)))?;
        answers(py, names.iter().cloned(), results)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let client = self.0.take(py)?;
        leave(py, || {
            drop(client);
            Ok::<_, PyErr>(())
        })
    }
}
