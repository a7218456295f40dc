//! Checkpoints, crashes and restores of the driver.

use std::sync::Arc;

use millstream_engine::{StoreMedium, StoreSpec, TaskId};
use millstream_state::changelog::position_after;
use millstream_state::{
    Backend, ChangelogRange, CheckpointFacts, MemoryBackend, RestoreFacts, RestoreStep, Restorer,
    SourceOffsets, StateError, changelog::ChangelogRecord, plan,
};
use millstream_types::{HeadersView, Offset, TopicPartition, encode_header};

use crate::ProducedRecord;
use crate::driver::{CrashPoint, DriverError, Guarantee, TopologyTestDriver};
use crate::logs::{LogRecord, Logs};

/// Kafka's default of `delete.retention.ms`.
const DELETE_RETENTION_MS: i64 = 24 * 3_600_000;

impl TopologyTestDriver {
    /// Makes a checkpoint of all tasks: changelogs, offsets, local state (CK-03).
    ///
    /// # Errors
    /// [`DriverError::State`] if a store's transaction failed (ST-04).
    pub fn checkpoint(&mut self) -> Result<(), DriverError> {
        self.write_changelogs()?;
        self.commit_offsets();
        self.write_state()?;
        Ok(())
    }

    /// Dies without a checkpoint, and starts again from the last one: what was processed since
    /// then is processed again by the next [`TopologyTestDriver::run`].
    ///
    /// # Errors
    /// If a store cannot be opened.
    pub fn crash(&mut self) -> Result<(), DriverError> {
        self.tasks.clear();
        if self.guarantee == Guarantee::ExactlyOnce {
            let sink = &mut self.sink;
            sink.produced.truncate(sink.covered.0);
            sink.leaves.truncate(sink.covered.1);
            let topology = Arc::clone(&self.topology);
            let repartition = |topic: &str| {
                topology.sources().iter().any(|s| s.is_repartition() && &*s.topic == topic)
            };
            for partition in sink.logs.ends(repartition).into_keys() {
                let end = sink.covered_logs.get(&partition).copied().unwrap_or(0);
                sink.logs.truncate(&partition, end);
            }
        }
        self.start()
    }

    /// Dies in the middle of a checkpoint, and starts again.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::checkpoint`] and [`TopologyTestDriver::crash`].
    pub fn crash_at(&mut self, point: CrashPoint) -> Result<(), DriverError> {
        self.write_changelogs()?;
        if point == CrashPoint::AfterCommit {
            self.commit_offsets();
        }
        self.crash()
    }

    /// Loses what is on disk: the next start builds all state from the changelogs. To be followed
    /// by a crash, since running tasks hold theirs.
    pub fn lose_disk(&mut self) {
        self.disk.clear();
    }

    fn write_changelogs(&mut self) -> Result<(), DriverError> {
        let positions = self.positions();
        let Self { tasks, changelogs, changelog_records, now_ms, .. } = self;
        let mut failed: Option<StateError> = None;
        for (id, task) in tasks {
            let own: SourceOffsets = task
                .partitions()
                .filter_map(|partition| Some((partition.clone(), positions.get(partition)?)))
                .collect();
            task.each_store(&mut |spec, store| {
                if failed.is_some() {
                    return;
                }
                let facts = CheckpointFacts { covered: own.clone(), written_ms: *now_ms };
                match store.prepare(facts) {
                    Err(error) => failed = Some(error),
                    Ok(None) => {}
                    Ok(Some(prepared)) => {
                        if let Some(topic) = &spec.changelog_topic {
                            let partition = TopicPartition::new(Arc::clone(topic), id.partition);
                            for record in prepared.records() {
                                changelog_records.push(produced(&partition, record));
                                append(changelogs, &partition, record);
                            }
                        }
                    }
                }
            });
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn commit_offsets(&mut self) {
        self.committed = self.positions();
        let topology = Arc::clone(&self.topology);
        self.sink.covered = (self.sink.produced.len(), self.sink.leaves.len());
        self.sink.covered_logs = self.sink.logs.ends(|topic| {
            topology.sources().iter().any(|s| s.is_repartition() && &*s.topic == topic)
        });
    }

    fn write_state(&mut self) -> Result<(), DriverError> {
        let Self { tasks, changelogs, .. } = self;
        let mut failed: Option<StateError> = None;
        for (id, task) in tasks {
            task.each_store(&mut |spec, store| {
                let position = spec.changelog_topic.as_ref().map(|topic| {
                    changelogs.end(&TopicPartition::new(Arc::clone(topic), id.partition))
                });
                if let Err(error) = store.commit(position) {
                    failed.get_or_insert(error);
                }
            });
            task.checkpointed();
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The backend of a store, brought to the state of the committed offsets.
    pub(crate) fn restored(
        &mut self,
        id: TaskId,
        spec: &StoreSpec,
    ) -> Result<Arc<dyn Backend>, DriverError> {
        let store = spec.id(id.partition);
        if spec.medium == StoreMedium::Memory {
            self.disk.remove(&store);
        }
        let backend = self
            .disk
            .entry(store.clone())
            .or_insert_with(|| Arc::new(MemoryBackend::new()))
            .clone();
        let Some(topic) = &spec.changelog_topic else { return Ok(backend) };
        let changelog = TopicPartition::new(Arc::clone(topic), id.partition);
        let local = backend.mark()?;
        let facts = RestoreFacts {
            store: &store,
            local: &local,
            changelog: Some(ChangelogRange { low: 0, high: self.changelogs.end(&changelog) }),
            committed: &self.committed,
            now_ms: self.now_ms,
            delete_retention_ms: DELETE_RETENTION_MS,
        };
        let plan = plan(&facts)?;
        let restorer = Restorer::new(
            store.clone(),
            *spec.layout(),
            backend.clone(),
            &plan,
            self.committed.clone(),
            self.now_ms,
        )?;
        let Some(mut restorer) = restorer else { return Ok(backend) };
        while let RestoreStep::Read { from, to } = restorer.step() {
            let records = self.changelogs.read(&changelog, from, (to - from) as usize);
            let position = records.as_ref().map_or(to, |records| from + records.len() as Offset);
            restorer.feed(records.as_ref(), position)?;
            for op in restorer.take_rewrites().iter() {
                let record = ChangelogRecord { key: op.record_key, value: op.value };
                append(&mut self.changelogs, &changelog, record);
            }
        }
        for op in restorer.take_rewrites().iter() {
            let record = ChangelogRecord { key: op.record_key, value: op.value };
            append(&mut self.changelogs, &changelog, record);
        }
        let marker = restorer.marker();
        let position = marker.map(|marker| {
            position_after(append(&mut self.changelogs, &changelog, marker.record()))
        });
        let backend = restorer.complete(position)?;
        self.disk.insert(store, backend.clone());
        Ok(backend)
    }
}

/// A changelog record as those look who read the topic.
fn produced(partition: &TopicPartition, record: ChangelogRecord<'_>) -> ProducedRecord {
    let headers = ChangelogRecord::HEADERS.iter();
    let owned = |bytes: &[u8]| bytes.to_vec();
    ProducedRecord {
        topic: Arc::clone(&partition.topic),
        partition: Some(partition.partition),
        key: Some(owned(record.key)),
        value: record.value.map(owned),
        timestamp: 0,
        headers: headers.map(|(name, value)| ((*name).to_owned(), value.map(owned))).collect(),
    }
}

fn append(logs: &mut Logs, partition: &TopicPartition, record: ChangelogRecord<'_>) -> Offset {
    let mut headers = Vec::new();
    for (name, value) in ChangelogRecord::HEADERS {
        encode_header(&mut headers, name, value);
    }
    let headers = HeadersView::new(&headers, ChangelogRecord::HEADERS.len());
    logs.append(partition, LogRecord::new(record.key.into(), record.value, 0, headers))
}
