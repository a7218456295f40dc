//! An idempotent producer (KIP-98): numbers its records per partition, has up to five requests in
//! flight, and sends again in the same order whatever it has no answer to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, TopicName};
use millstream_protocol::{Compression, RecordBatchBuilder};

use super::record::{NAME_HEADER, Written};
use super::{Shared, admin, code};
use crate::actor::Me;
use crate::ledger::{Partition, RecordId};
use crate::link::{Link, Lost, TIMEOUT, text};

const PRODUCE: i16 = 9;
const INIT_PRODUCER_ID: i16 = 4;
/// As many as the broker remembers of each producer.
const IN_FLIGHT_MAX: u64 = 5;

struct Unacked {
    partition: Partition,
    first: RecordId,
    count: u64,
    request: ProduceRequest,
}

/// Produces until the run is closing.
pub(crate) async fn run(me: Me, shared: Shared) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    shared.sessions(&me, async |name| session(&me, &shared, name).await).await;
}

/// One producer id, as long as it serves.
async fn session(me: &Me, shared: &Shared, name: String) {
    let mut link = Link::reopen(me, shared.broker).await;
    let producer_id = loop {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        match link.ask(INIT_PRODUCER_ID, &request).await {
            Ok(response) if response.error_code == 0 => break response.producer_id.0,
            Ok(response) if code::is_retriable(response.error_code) => {}
            Ok(response) => {
                let code = response.error_code;
                me.host().violation(format!("{name} gets no producer id: code {code}"));
                return;
            }
            Err(Lost(_)) => link = Link::reopen(me, shared.broker).await,
        }
        me.sleep_ms(20, 200).await;
    };
    me.host().trace(format_args!("{name} is producer {producer_id}"));
    let era = shared.era();
    let mut numbers: BTreeMap<Partition, u64> = BTreeMap::new();
    let mut unacked: Vec<Unacked> = Vec::new();
    while !(unacked.is_empty() && shared.is_closing()) {
        if unacked.is_empty() {
            for _ in 0..me.between(1, IN_FLIGHT_MAX) {
                unacked.push(next_batch(me, shared, &name, producer_id, &mut numbers));
            }
        }
        match send_all(me, shared, &mut link, &mut unacked, era).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(Lost(_)) => link = Link::reopen(me, shared.broker).await,
        }
        match unacked.is_empty() {
            true => me.sleep_ms(5, 600).await,
            false => me.sleep_ms(10, 150).await,
        }
    }
}

fn next_batch(
    me: &Me,
    shared: &Shared,
    session: &str,
    producer_id: i64,
    numbers: &mut BTreeMap<Partition, u64>,
) -> Unacked {
    let partition = shared.any_source(me);
    let next = numbers.entry(partition).or_default();
    let first = RecordId { session: session.to_owned(), number: *next };
    let count = me.between(1, 6);
    *next += count;
    let compression = match me.between(0, 5) {
        0 => Compression::Lz4,
        _ => Compression::None,
    };
    let builder = RecordBatchBuilder::new(compression);
    let builder = builder.producer(producer_id, 0, first.number as i32);
    let compacted = shared.is_compacted(partition);
    for step in 0..count {
        shared.ledger.borrow_mut().sends(partition, &first.numbered(first.number + step));
    }
    let records = fill(me, builder, compacted, &first, count);
    Unacked { partition, request: produce(partition, records), first, count }
}

/// Notes an acknowledgement in the trace.
pub(crate) fn trace_acked(
    me: &Me,
    (topic, number): Partition,
    first: &RecordId,
    count: u64,
    offset: i64,
) {
    let (session, from, to) = (&first.session, first.number, first.number + count - 1);
    me.host().trace(format_args!("has {session} {from}..={to} at {offset} of {topic}-{number}"));
}

/// A batch of `count` records from `first` on.
pub(crate) fn fill(
    me: &Me,
    mut builder: RecordBatchBuilder,
    compacted: bool,
    first: &RecordId,
    count: u64,
) -> Bytes {
    for step in 0..count {
        let id = RecordId { session: first.session.clone(), number: first.number + step };
        let written = Written::new(&id, None, compacted, me.between(0, 200) as usize);
        let Written { key, value, header } = &written;
        let header = header.as_deref().map(|name| (NAME_HEADER, Some(name)));
        builder.push(me.wall(), Some(key.as_bytes()), value.as_deref(), header);
    }
    builder.finish(0).expect("there is a record").into()
}

/// A request with one batch.
pub(crate) fn produce(partition: Partition, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition.1).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(partition.0)))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

/// Sends all batches and takes the answers; what has none stays in `unacked`, in order. `false`:
/// the session is over, because a power loss took what it had written.
async fn send_all(
    me: &Me,
    shared: &Shared,
    link: &mut Link,
    unacked: &mut Vec<Unacked>,
    session_era: u32,
) -> Result<bool, Lost> {
    let era = shared.era();
    let sent: Vec<i32> = unacked.iter().map(|batch| link.send(PRODUCE, &batch.request)).collect();
    let mut refused: BTreeSet<Partition> = BTreeSet::new();
    let mut at = 0;
    for correlation in sent {
        let response = link.receive::<ProduceRequest>(PRODUCE, correlation, TIMEOUT).await?;
        let row = &response.responses[0].partition_responses[0];
        let batch = &unacked[at];
        match row.error_code {
            0 => {
                trace_acked(me, batch.partition, &batch.first, batch.count, row.base_offset);
                let mut ledger = shared.ledger.borrow_mut();
                ledger.acked(batch.partition, &batch.first, batch.count, row.base_offset, era);
                drop(ledger);
                unacked.remove(at);
                continue;
            }
            code if code::is_retriable(code) => {
                refused.insert(batch.partition);
            }
            // Behind one that was refused, every later one is out of order.
            code::OUT_OF_ORDER_SEQUENCE_NUMBER if refused.contains(&batch.partition) => {}
            _ if shared.ledger.borrow().may_be_lost(session_era) => return Ok(false),
            code => {
                me.host().violation(format!(
                    "{:?} and {} behind it in {:?} are refused with code {code}",
                    batch.first,
                    batch.count - 1,
                    batch.partition
                ));
                return Ok(false);
            }
        }
        at += 1;
    }
    Ok(true)
}
