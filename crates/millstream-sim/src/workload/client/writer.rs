//! A producer of the client with what it was given.

use std::collections::BTreeMap;

use millstream_client::Remedy;
use millstream_client::producer::{
    Partition as At, ProduceError, ProduceRecord, Producer, ProducerEvent, TopicHandle,
    TransactionError, TransactionRequest,
};
use millstream_client::settings::ProducerSettings;
use millstream_types::{HeadersView, encode_header};

use super::connection;
use crate::actor::{Driven, Me};
use crate::ledger::{Partition, RecordId};
use crate::workload::Shared;
use crate::workload::record::{NAME_HEADER, Written};

/// A record that a producer has taken.
pub(super) struct Given {
    pub(super) partition: Partition,
    pub(super) id: RecordId,
    /// When it was given: its acknowledgement is of no earlier era.
    pub(super) era: u32,
}

pub(super) struct Writer {
    pub(super) producer: Producer,
    pub(super) session: String,
    /// When it was opened.
    pub(super) era: u32,
    is_transactional: bool,
    numbers: BTreeMap<Partition, u64>,
    topics: BTreeMap<&'static str, TopicHandle>,
    _driven: Driven,
}

impl Writer {
    pub(super) fn open(
        me: &Me,
        shared: &Shared,
        settings: &ProducerSettings,
        session: String,
    ) -> Self {
        let (clock, random) = (me.host().clock(), Box::new(me.fork()));
        let mut producer = Producer::by_hand(&connection(), settings, clock, random)
            .expect("the settings fit together");
        producer.set_waker(me.bell());
        let mut topics = BTreeMap::new();
        for (topic, _) in shared.partitions.iter() {
            topics.insert(*topic, producer.topic(topic).expect("a name that can be"));
        }
        let _driven = me.drive(producer.machine());
        me.host().trace(format_args!("{session} opens"));
        let (era, numbers) = (shared.era(), BTreeMap::new());
        let is_transactional = settings.transactional_id.is_some();
        Self { producer, session, era, is_transactional, numbers, topics, _driven }
    }

    /// Gives it a record for any partition that is not only for copies.
    pub(super) fn produce(&mut self, me: &Me, shared: &Shared) -> Result<Given, ProduceError> {
        self.produce_to(me, shared, shared.any_source(me), None)
    }

    /// Gives it a record, perhaps one that copies `source`.
    pub(super) fn produce_to(
        &mut self,
        me: &Me,
        shared: &Shared,
        partition: Partition,
        source: Option<&RecordId>,
    ) -> Result<Given, ProduceError> {
        let next = self.numbers.entry(partition).or_default();
        let id = RecordId { session: self.session.clone(), number: *next };
        let filler = me.between(0, 200) as usize;
        let written = Written::new(&id, source, shared.is_compacted(partition), filler);
        let mut headers = Vec::new();
        if let Some(name) = &written.header {
            encode_header(&mut headers, NAME_HEADER, Some(name));
        }
        let record = ProduceRecord {
            topic: self.topics[partition.0],
            partition: At::At(partition.1),
            key: Some(written.key.as_bytes()),
            value: written.value.as_deref(),
            headers: HeadersView::new(&headers, usize::from(written.header.is_some())),
            timestamp: None,
        };
        if !self.is_transactional {
            shared.ledger.borrow_mut().sends(partition, &id);
        }
        // Nothing here is so large that a queue would be full.
        self.producer.produce(&record)?;
        *next += 1;
        Ok(Given { partition, id, era: shared.era() })
    }

    /// Notes where the last record of a partition is, nothing being on its way any more.
    pub(super) fn note_end(&self, me: &Me, shared: &Shared, partition: Partition, id: &RecordId) {
        let Some(offset) = self.producer.last_delivered(self.topics[partition.0], partition.1)
        else {
            let what = format!("{id:?} is flushed, and {partition:?} has acknowledged nothing");
            me.host().violation(what);
            return;
        };
        let (topic, number) = partition;
        let RecordId { session, number: last } = id;
        me.host().trace(format_args!("has {session} {last} at {offset} of {topic}-{number}"));
        let era = shared.era();
        shared.ledger.borrow_mut().acked(partition, id, 1, offset, era);
    }

    /// Waits for the answer to a request about the transaction.
    pub(super) async fn answer(
        &mut self,
        me: &Me,
        request: TransactionRequest,
    ) -> Result<(), TransactionError> {
        let mut events = Vec::new();
        let producer = &mut self.producer;
        let look = || {
            producer.poll(&mut events);
            events.drain(..).find_map(|event| match event {
                ProducerEvent::TransactionDone { request: of, result } if of == request => {
                    Some(result)
                }
                ProducerEvent::Fatal(error) => {
                    Some(Err(TransactionError { error, remedy: Remedy::Fatal }))
                }
                _ => None,
            })
        };
        me.look(None, look).await.expect("waited for without a limit")
    }
}
