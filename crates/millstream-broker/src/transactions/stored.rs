//! Transactional ids on disk: the *transactions* [journal](crate::journal).
//!
//! Keys: `t`, id for the state; `p`, id, topic, partition for each partition of the open
//! transaction, without a value. Partitions have entries of their own, so that a transaction
//! which grows partition by partition does not write its whole list each time.

use super::transaction::{Partition, Transaction, TransactionState};
use crate::journal::{Change, Fields, Journal, put_bytes};

const VERSION: u8 = 1;
const STATE_KEY: u8 = b't';
const PARTITION_KEY: u8 = b'p';

/// The changes that turn what is stored of `id` from `old` into `new`.
pub(crate) fn changes(
    id: &str,
    old: Option<&Transaction>,
    new: Option<&Transaction>,
) -> Vec<Change> {
    let value = new.map(encode);
    let mut changes = Vec::new();
    if value != old.map(encode) {
        changes.push(([&[STATE_KEY], id.as_bytes()].concat(), value));
    }
    let partitions =
        |of: Option<&Transaction>| of.map(|of| of.partitions.clone()).unwrap_or_default();
    let (before, after) = (partitions(old), partitions(new));
    changes.extend(before.difference(&after).map(|gone| (partition_key(id, gone), None)));
    let added = after.difference(&before);
    changes.extend(added.map(|added| (partition_key(id, added), Some(Vec::new()))));
    changes
}

/// All transactional ids of a journal. An entry that cannot be read is an error: to forget a
/// decided transaction would be worse than not to start.
///
/// # Errors
/// The id whose entry is of a newer version.
pub(crate) fn load(journal: &Journal) -> Result<Vec<(String, Transaction)>, String> {
    let mut loaded = Vec::new();
    for (key, value) in journal.scan(&[STATE_KEY]) {
        let id = String::from_utf8_lossy(&key[1..]).into_owned();
        let mut transaction = decode(value).ok_or_else(|| id.clone())?;
        let prefix = partition_prefix(&id);
        for (key, _) in journal.scan(&prefix) {
            let mut fields = Fields(&key[prefix.len()..]);
            if let (Some(topic), Some(partition)) = (fields.string(), fields.i32()) {
                transaction.partitions.insert((topic, partition));
            }
        }
        loaded.push((id, transaction));
    }
    Ok(loaded)
}

fn partition_prefix(id: &str) -> Vec<u8> {
    let mut key = vec![PARTITION_KEY];
    put_bytes(&mut key, id.as_bytes());
    key
}

fn partition_key(id: &str, (topic, partition): &Partition) -> Vec<u8> {
    let mut key = partition_prefix(id);
    put_bytes(&mut key, topic.as_bytes());
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

fn encode(transaction: &Transaction) -> Vec<u8> {
    let state = TransactionState::ALL.iter().position(|state| *state == transaction.state);
    let mut out = vec![VERSION, state.expect("all states are listed") as u8];
    for id in [transaction.producer_id, transaction.previous_id, transaction.next_id] {
        out.extend_from_slice(&id.to_be_bytes());
    }
    out.extend_from_slice(&transaction.epoch.to_be_bytes());
    out.extend_from_slice(&transaction.last_epoch.to_be_bytes());
    out.extend_from_slice(&transaction.timeout_ms.to_be_bytes());
    out.extend_from_slice(&transaction.started_ms.to_be_bytes());
    out.extend_from_slice(&transaction.updated_ms.to_be_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Transaction> {
    let mut fields = Fields(bytes);
    let ([version], [state]) = (fields.fixed()?, fields.fixed()?);
    if version != VERSION {
        return None;
    }
    Some(Transaction {
        state: *TransactionState::ALL.get(usize::from(state))?,
        producer_id: fields.i64()?,
        previous_id: fields.i64()?,
        next_id: fields.i64()?,
        epoch: i16::from_be_bytes(fields.fixed()?),
        last_epoch: i16::from_be_bytes(fields.fixed()?),
        timeout_ms: fields.i32()?,
        partitions: Default::default(),
        started_ms: fields.i64()?,
        updated_ms: fields.i64()?,
    })
}
