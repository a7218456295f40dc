//! The topics: names, ids, settings and the logs of their partitions.
//!
//! What must survive lies in the *meta* [`Journal`]: per topic its id, number of partitions and
//! own settings; per partition where deleted records end; the ids of topics that are being
//! deleted. Logs lie in `DATA/topics/<topic id>/<partition>/`: an id is never used twice, so what
//! a half-done deletion leaves can never be taken for the data of a new topic of the same name.
//! The next start sweeps it away. A folder that *meta* does not know is somebody's data, and stays.

mod stored;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use uuid::Uuid;

use crate::consumer_group::Catalog;
use crate::disk::Disk;
use crate::journal::{Fields, Journal};
use crate::log::{LogConfig, PartitionLog, Recovery};
use crate::settings::{Settings, Values};
use stored::{
    DELETING_KEY, START_KEY, TOPIC_KEY, decode_topic, deleting_key, encode_topic, start_key,
    topic_key,
};

/// Longest name of a topic, as in Kafka.
pub(crate) const NAME_MAX: usize = 249;
/// Partitions of all topics together. Each costs a few hundred bytes and up to three open files
/// in turn; a request must not be able to ask for two billion.
const PARTITIONS_MAX: usize = 100_000;

/// A request that is refused: Kafka's code and a text for the user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) code: ResponseError,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(code: ResponseError, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::new(ResponseError::KafkaStorageError, format!("the broker's disk fails: {error}"))
    }
}

/// A topic.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<PartitionLog>,
    /// Settings of its own.
    pub(crate) own: Values,
    /// What its logs obey, computed from its own settings and the broker's.
    pub(crate) config: LogConfig,
}

/// All topics.
pub(crate) struct Topics {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    by_name: BTreeMap<Arc<str>, Topic>,
    names: HashMap<Uuid, Arc<str>>,
    shortest_flush_ms: i64,
    /// Deleted topics whose files are gone: their entries in *meta* go with the next deletion.
    swept: Vec<Uuid>,
    /// Counts the topics that came, went or grew.
    generation: u64,
}

impl Topics {
    /// Opens all logs that `meta` knows and ends the deletions that it says were begun.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        meta: &Journal,
        settings: &Settings,
        recovery: Recovery,
    ) -> io::Result<Self> {
        let mut topics = Self {
            disk,
            dir,
            by_name: BTreeMap::new(),
            names: HashMap::new(),
            shortest_flush_ms: i64::MAX,
            swept: Vec::new(),
            generation: 0,
        };
        let mut starts: HashMap<(Uuid, i32), i64> = HashMap::new();
        for (key, value) in meta.scan(&[START_KEY]) {
            let mut key = Fields(&key[1..]);
            if let (Some(id), Some(partition), Some(offset)) =
                (key.fixed(), key.i32(), Fields(value).i64())
            {
                starts.insert((Uuid::from_bytes(id), partition), offset);
            }
        }
        for (key, value) in meta.scan(&[TOPIC_KEY]) {
            let name: Arc<str> = String::from_utf8_lossy(&key[1..]).into();
            let Some((id, count, own)) = decode_topic(value) else {
                return Err(io::Error::other(format!(
                    "the entry of the topic `{name}` is of a newer version of this broker"
                )));
            };
            let config = settings.log_config(&own);
            let mut partitions = Vec::with_capacity(count.max(0) as usize);
            for partition in 0..count {
                let start = starts.get(&(id, partition)).copied().unwrap_or(0);
                partitions.push(topics.open_log(id, partition, &config, start, recovery)?);
            }
            topics.names.insert(id, Arc::clone(&name));
            topics.by_name.insert(Arc::clone(&name), Topic { name, id, partitions, own, config });
        }
        topics.sweep(meta)?;
        topics.note_flush_ms();
        Ok(topics)
    }

    /// Removes what half-done deletions have left, and nothing else.
    fn sweep(&mut self, meta: &Journal) -> io::Result<()> {
        for (key, _) in meta.scan(&[DELETING_KEY]) {
            if let Some(id) = Fields(&key[1..]).fixed().map(Uuid::from_bytes) {
                self.disk.remove_dir_all(&self.topic_dir(id))?;
                self.swept.push(id);
            }
        }
        let mut foreign = self.disk.list(&self.dir)?;
        foreign.retain(|name| !Uuid::try_parse(name).is_ok_and(|id| self.names.contains_key(&id)));
        if !foreign.is_empty() {
            foreign.sort_unstable();
            tracing::warn!(
                dir = %self.dir.display(),
                ?foreign,
                "no topic of this broker owns these; they are left alone. If `journals` beside \
                 that folder was lost, put it back; if not, they can be removed"
            );
        }
        Ok(())
    }

    fn open_log(
        &self,
        id: Uuid,
        partition: i32,
        config: &LogConfig,
        start: i64,
        recovery: Recovery,
    ) -> io::Result<PartitionLog> {
        let dir = self.topic_dir(id).join(partition.to_string());
        PartitionLog::open(Arc::clone(&self.disk), &dir, config, start, recovery)
    }

    fn topic_dir(&self, id: Uuid) -> PathBuf {
        self.dir.join(id.simple().to_string())
    }

    /// The shortest time after which a topic wants its records on the medium (`flush.ms`).
    pub(crate) fn shortest_flush_ms(&self) -> i64 {
        self.shortest_flush_ms
    }

    fn note_flush_ms(&mut self) {
        let shortest = self.by_name.values().map(|topic| topic.config.flush_ms).min();
        self.shortest_flush_ms = shortest.unwrap_or(i64::MAX);
    }

    /// All topics in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }

    /// All topics, to change.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.by_name.values_mut()
    }

    /// The highest producer id below `limit` that any log remembers.
    pub(crate) fn highest_producer_id(&self, limit: i64) -> Option<i64> {
        let logs = self.iter().flat_map(|topic| &topic.partitions);
        logs.filter_map(|log| log.highest_producer_id(limit)).max()
    }

    /// The topic of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    /// The topic of that name, to change.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// The name that belongs to an id.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<Arc<str>> {
        self.names.get(&id).cloned()
    }

    /// Checks whether a topic could be made, without making it.
    ///
    /// # Errors
    /// Kafka's code and a text.
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> Result<(), Refused> {
        check_name(name)?;
        if self.by_name.contains_key(name) {
            let message = format!("the topic `{name}` exists already");
            return Err(Refused::new(ResponseError::TopicAlreadyExists, message));
        }
        // Kafka's metric names cannot tell these apart, so it refuses the second one.
        let collides = |other: &&Topic| other.name.replace('.', "_") == name.replace('.', "_");
        if let Some(other) = self.iter().find(collides) {
            let message =
                format!("`{name}` differs from the topic `{}` only by . and _", other.name);
            return Err(Refused::new(ResponseError::InvalidTopicException, message));
        }
        if partitions < 1 {
            let message = format!("a topic cannot have {partitions} partitions");
            return Err(Refused::new(ResponseError::InvalidPartitions, message));
        }
        self.check_room(partitions)
    }

    fn check_room(&self, more: i32) -> Result<(), Refused> {
        let now: usize = self.iter().map(|topic| topic.partitions.len()).sum();
        if now + more.max(0) as usize > PARTITIONS_MAX {
            let message = format!("this broker holds {PARTITIONS_MAX} partitions at most");
            return Err(Refused::new(ResponseError::InvalidPartitions, message));
        }
        Ok(())
    }

    /// Makes a topic that [`check_new`](Self::check_new) has passed.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn create(
        &mut self,
        meta: &mut Journal,
        settings: &Settings,
        name: &str,
        id: Uuid,
        partitions: i32,
        own: Values,
    ) -> Result<(), Refused> {
        let config = settings.log_config(&own);
        let logs: io::Result<Vec<PartitionLog>> = (0..partitions)
            .map(|partition| self.open_log(id, partition, &config, 0, Recovery::Clean))
            .collect();
        let logs = logs?;
        meta.commit(vec![(topic_key(name), Some(encode_topic(id, partitions, &own)))])?;
        let name: Arc<str> = name.into();
        self.names.insert(id, Arc::clone(&name));
        let topic = Topic { name: Arc::clone(&name), id, partitions: logs, own, config };
        self.by_name.insert(name, topic);
        self.generation += 1;
        self.note_flush_ms();
        Ok(())
    }

    /// Deletes a topic with its records.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, or what the disk says.
    pub(crate) fn delete(&mut self, meta: &mut Journal, name: &str) -> Result<Uuid, Refused> {
        let topic = self.by_name.get(name).ok_or_else(|| unknown_topic(name))?;
        let id = topic.id;
        let mut changes = vec![(topic_key(name), None), (deleting_key(id), Some(Vec::new()))];
        changes.extend(self.swept.iter().map(|id| (deleting_key(*id), None)));
        for partition in 0..topic.partitions.len() {
            let key = start_key(id, partition as i32);
            if meta.get(&key).is_some() {
                changes.push((key, None));
            }
        }
        meta.commit(changes)?;
        self.swept.clear();
        self.by_name.remove(name);
        self.names.remove(&id);
        self.generation += 1;
        match self.disk.remove_dir_all(&self.topic_dir(id)) {
            Ok(()) => self.swept.push(id),
            Err(error) => {
                tracing::warn!(topic = name, %error, "cannot remove a deleted topic's files; the next start will");
            }
        }
        Ok(id)
    }

    /// Adds partitions up to `count`.
    ///
    /// # Errors
    /// Kafka's code and a text.
    pub(crate) fn grow(
        &mut self,
        meta: &mut Journal,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<(), Refused> {
        let topic = self.by_name.get(name).ok_or_else(|| unknown_topic(name))?;
        let now = topic.partitions.len() as i32;
        if count <= now {
            let message = format!(
                "the topic `{name}` has {now} partitions already; their number can only grow"
            );
            return Err(Refused::new(ResponseError::InvalidPartitions, message));
        }
        self.check_room(count - now)?;
        if validate_only {
            return Ok(());
        }
        let (id, config) = (topic.id, topic.config.clone());
        let value = encode_topic(id, count, &topic.own);
        let logs: io::Result<Vec<PartitionLog>> = (now..count)
            .map(|partition| self.open_log(id, partition, &config, 0, Recovery::Clean))
            .collect();
        let logs = logs?;
        meta.commit(vec![(topic_key(name), Some(value))])?;
        self.by_name.get_mut(name).expect("looked up above").partitions.extend(logs);
        self.generation += 1;
        Ok(())
    }

    /// Replaces a topic's own settings.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, or what the disk says.
    pub(crate) fn configure(
        &mut self,
        meta: &mut Journal,
        settings: &Settings,
        name: &str,
        own: Values,
    ) -> Result<(), Refused> {
        let topic = self.by_name.get_mut(name).ok_or_else(|| unknown_topic(name))?;
        let value = encode_topic(topic.id, topic.partitions.len() as i32, &own);
        meta.commit(vec![(topic_key(name), Some(value))])?;
        topic.config = settings.log_config(&own);
        topic.own = own;
        self.note_flush_ms();
        Ok(())
    }

    /// Computes anew what the logs obey, after the broker's settings have changed.
    pub(crate) fn settings_changed(&mut self, settings: &Settings) {
        for topic in self.by_name.values_mut() {
            topic.config = settings.log_config(&topic.own);
        }
        self.note_flush_ms();
    }

    /// Makes the records of a partition below `offset` unreadable; -1 stands for the high
    /// watermark. Returns the first offset that is left. It is for good once `meta` is synced,
    /// which the caller does for all partitions at once.
    ///
    /// # Errors
    /// Kafka's code and a text.
    pub(crate) fn delete_records(
        &mut self,
        meta: &mut Journal,
        name: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, Refused> {
        let topic = self.by_name.get_mut(name).ok_or_else(|| unknown_topic(name))?;
        let id = topic.id;
        let log = usize::try_from(partition)
            .ok()
            .and_then(|at| topic.partitions.get_mut(at))
            .ok_or_else(|| unknown_topic(name))?;
        let offset = if offset == -1 { log.end_offset() } else { offset };
        if offset < 0 || offset > log.end_offset() {
            let message = format!("offset {offset} is not within {name}[{partition}]");
            return Err(Refused::new(ResponseError::OffsetOutOfRange, message));
        }
        if offset > log.start_offset() {
            meta.commit_cached(vec![(
                start_key(id, partition),
                Some(offset.to_be_bytes().to_vec()),
            )])?;
            log.delete_below(offset)?;
        }
        Ok(log.start_offset())
    }

    /// Closes all logs, so that the next start need not scan.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        for topic in self.by_name.values_mut() {
            for log in &mut topic.partitions {
                log.close()?;
            }
        }
        Ok(())
    }
}

impl Catalog for Topics {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.by_name.get(name).map(|topic| (topic.id, topic.partitions.len() as i32))
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.by_name.keys().map(|name| &**name))
    }
}

impl Topic {
    /// The log of a partition.
    pub(crate) fn log(&self, partition: i32) -> Option<&PartitionLog> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The log of a partition, to change, and what it obeys.
    pub(crate) fn log_mut(&mut self, partition: i32) -> Option<(&mut PartitionLog, &LogConfig)> {
        Some((self.partitions.get_mut(usize::try_from(partition).ok()?)?, &self.config))
    }
}

/// The refusal for a topic that is not there.
pub(crate) fn unknown_topic(name: &str) -> Refused {
    let message = format!("there is no topic or partition `{name}`");
    Refused::new(ResponseError::UnknownTopicOrPartition, message)
}

/// Kafka's rules for names of topics.
///
/// # Errors
/// `InvalidTopicException` with the rule that is broken.
pub(crate) fn check_name(name: &str) -> Result<(), Refused> {
    let problem = if name.is_empty() {
        "a topic's name must not be empty".to_owned()
    } else if name == "." || name == ".." {
        format!("a topic must not be called `{name}`")
    } else if name.len() > NAME_MAX {
        format!("a topic's name has {NAME_MAX} characters at most, this one {}", name.len())
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        format!("the topic name {name:?} has characters other than letters, digits, . _ and -")
    } else {
        return Ok(());
    };
    Err(Refused::new(ResponseError::InvalidTopicException, problem))
}
