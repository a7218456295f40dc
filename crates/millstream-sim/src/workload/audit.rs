//! The auditor: when all others have ended, reads everything there is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, TopicName};

use super::fetching::{Unread, What, fetch};
use super::transactional::group_of;
use super::{COPIERS, COPIES, Shared, code};
use crate::actor::Me;
use crate::ledger::{Audit, Partition, PartitionAudit};
use crate::link::{Link, Lost, text};

/// By then every transaction that nobody ends has timed out.
const STABLE_WITHIN: Duration = Duration::from_secs(40);

/// Audits that are asked for and audits that are done.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    pub(crate) wanted: Rc<RefCell<u32>>,
    pub(crate) done: Rc<RefCell<Vec<Audit>>>,
}

/// Makes an audit each time one is wanted.
pub(crate) async fn run(
    me: Me,
    shared: Shared,
    orders: Orders,
    transactional_ids: Vec<&'static str>,
) {
    loop {
        while orders.done.borrow().len() >= *orders.wanted.borrow() as usize {
            me.sleep_ms(20, 20).await;
        }
        let audit = loop {
            let mut link = Link::reopen(&me, shared.broker).await;
            match audit(&me, &shared, &mut link, &transactional_ids).await {
                Ok(audit) => break audit,
                Err(Lost(_)) => me.sleep_ms(100, 300).await,
            }
        };
        orders.done.borrow_mut().push(audit);
    }
}

async fn audit(
    me: &Me,
    shared: &Shared,
    link: &mut Link,
    transactional_ids: &[&'static str],
) -> Result<Audit, Lost> {
    let mut audit = Audit::default();
    for partition in shared.partitions.iter() {
        settle(me, shared, link, *partition).await?;
        let found = read_all(me, shared, link, *partition).await?;
        audit.partitions.insert(*partition, found);
    }
    for id in transactional_ids {
        let first = shared.partitions[0];
        audit.carried.insert(id, committed(me, link, &group_of(id), first).await?);
    }
    for (topic, number) in shared.partitions.iter().filter(|(topic, _)| *topic == COPIES) {
        let original = (shared.partitions[0].0, *number);
        let upto = committed(me, link, COPIERS, original).await?;
        audit.copied.insert(original, ((*topic, *number), upto));
    }
    Ok(audit)
}

/// Waits until no transaction is open.
async fn settle(
    me: &Me,
    shared: &Shared,
    link: &mut Link,
    partition: Partition,
) -> Result<(), Lost> {
    let until = me.now() + STABLE_WITHIN;
    let mut position = 0;
    loop {
        let positions = BTreeMap::from([(partition, position)]);
        for outcome in fetch(me, shared, link, &positions, false, 0).await? {
            match outcome {
                Ok(fetched) if fetched.marks.stable == fetched.marks.high => return Ok(()),
                Ok(fetched) if me.now() > until => {
                    me.host().violation(format!(
                        "a transaction is open for ever in {partition:?}: {:?}",
                        fetched.marks
                    ));
                    return Ok(());
                }
                Ok(_) | Err((_, Unread::Later)) => me.sleep_ms(200, 400).await,
                Err((_, Unread::OutOfRange(start))) => position = start,
            }
        }
    }
}

async fn read_all(
    me: &Me,
    shared: &Shared,
    link: &mut Link,
    partition: Partition,
) -> Result<PartitionAudit, Lost> {
    let until = me.now() + STABLE_WITHIN;
    // Retention goes on meanwhile: a start that has moved makes it begin anew.
    'anew: loop {
        let mut found = PartitionAudit::default();
        let mut open: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let mut started = false;
        let mut grown = false;
        for committed in [false, true] {
            let mut position = found.start;
            loop {
                let positions = BTreeMap::from([(partition, position)]);
                let outcome = fetch(me, shared, link, &positions, committed, 0).await?.remove(0);
                let fetched = match outcome {
                    Ok(fetched) => fetched,
                    Err((_, Unread::Later)) => {
                        me.sleep_ms(20, 50).await;
                        continue;
                    }
                    Err((_, Unread::OutOfRange(start))) if !started => {
                        found.start = start;
                        position = start;
                        continue;
                    }
                    Err((_, Unread::OutOfRange(_))) => continue 'anew,
                };
                if !started && fetched.marks.start > position {
                    found.start = fetched.marks.start;
                    position = found.start;
                    started = true;
                    continue;
                }
                started = true;
                if fetched.next == position {
                    if position < fetched.marks.stable {
                        me.host().violation(format!(
                            "nothing is read at {position} of {partition:?}, which goes on to {}",
                            fetched.marks.stable
                        ));
                    }
                    break;
                }
                position = fetched.next;
                if committed {
                    grown = position > found.end;
                    found.committed.extend(fetched.shown);
                    continue;
                }
                found.bytes += fetched.bytes;
                for item in fetched.items {
                    let ended = open.entry(item.producer).or_default();
                    match item.what {
                        What::Record(Some(id)) => {
                            found.records.insert(item.offset, id);
                            found.sources.extend(item.source.map(|id| (item.offset, id)));
                            match item.transactional {
                                true => ended.push(item.offset),
                                false => {
                                    found.committed_by_markers.insert(item.offset);
                                }
                            }
                        }
                        What::Record(None) => me.host().violation(format!(
                            "offset {} of {partition:?} holds what nobody wrote",
                            item.offset
                        )),
                        What::Commit => found.committed_by_markers.extend(ended.drain(..)),
                        What::Abort => ended.clear(),
                    }
                }
                found.end = position;
            }
        }
        // Between the two looks records may have been compacted away, or have come by a connection
        // that their producer has given up.
        let moved = found.committed != found.committed_by_markers;
        if moved && (grown || shared.is_compacted(partition)) && me.now() < until {
            me.sleep_ms(50, 200).await;
            continue;
        }
        return Ok(found);
    }
}

/// A group's committed offset in a partition; -1 for nothing.
async fn committed(
    me: &Me,
    link: &mut Link,
    group: &str,
    partition: Partition,
) -> Result<i64, Lost> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(text(partition.0)))
        .with_partition_indexes(vec![partition.1]);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(Some(vec![topic]))
        .with_require_stable(true);
    let until = me.now() + STABLE_WITHIN;
    loop {
        let response = link.ask(7, &request).await?;
        let row = &response.topics[0].partitions[0];
        match row.error_code {
            0 => return Ok(row.committed_offset),
            code::UNSTABLE_OFFSET_COMMIT if me.now() < until => me.sleep_ms(100, 300).await,
            code => {
                me.host().violation(format!("the offset of {group} is not told: code {code}"));
                return Ok(-1);
            }
        }
    }
}
