//! The client's consumer and transactional producer together: each record of a topic is copied
//! exactly once, for the position goes with the copies (KIP-447).

use std::collections::BTreeMap;

use millstream_client::consumer::{ConsumerEvent, StartOffset};
use millstream_client::settings::Assignor;

use super::joining::{Member, Nature};
use super::reader::named;
use super::transacting::{Over, Session, offset};
use crate::actor::Me;
use crate::ledger::{Partition, RecordId};
use crate::workload::{COPIERS, COPIES, Shared, admin};

/// Copies until the run is closing. `id`: the `transactional.id`.
pub(crate) async fn run(me: Me, shared: Shared, id: &'static str, assignor: Option<Assignor>) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    me.sleep_ms(0, 2_000).await;
    let nature = Nature { group: COPIERS, assignor, is_static: false };
    let mut sessions = 0;
    while !shared.is_closing() {
        let mut member = Member::join(&me, &shared, nature);
        let mut session = None;
        let mut leaving = false;
        loop {
            let events = member.reader.wait(&me, &shared, 5, 400).await;
            // Whatever is taken away is not copied: the next owner begins at the same position.
            let gone: Vec<Partition> =
                events.iter().flat_map(taken).filter_map(|p| shared.find(p)).collect();
            if member.take(events).await {
                break;
            }
            let mut records = std::mem::take(&mut member.reader.records);
            records.retain(|(partition, _)| !gone.contains(partition));
            if leaving {
                continue;
            }
            if session.is_none() {
                let name = format!("{}.{}.{sessions}", me.host().name(), me.host().life());
                sessions += 1;
                session = Session::begin(&me, &shared, id, false, name).await;
            }
            if let Some(open) = &mut session
                && !records.is_empty()
            {
                match copy(&shared, &mut member, open, &records).await {
                    Ok(()) => {}
                    Err(over) => {
                        go_back(&mut member, &shared, &records);
                        if let Over::Fatal = over {
                            session = None;
                        }
                    }
                }
            } else if session.is_none() {
                go_back(&mut member, &shared, &records);
            }
            if shared.is_closing() || me.chance(5_000) {
                leaving = true;
                member.reader.consumer.begin_close();
            }
        }
        me.sleep_ms(100, 2_000).await;
    }
}

fn taken(event: &ConsumerEvent) -> &[millstream_types::TopicPartition] {
    match event {
        ConsumerEvent::Revoked(gone) | ConsumerEvent::Lost(gone) => gone,
        _ => &[],
    }
}

/// Copies records in one transaction, with the positions behind them.
async fn copy(
    shared: &Shared,
    member: &mut Member,
    session: &mut Session,
    records: &[(Partition, RecordId)],
) -> Result<(), Over> {
    let number = session.open();
    let began = session.now_there();
    let mut positions: BTreeMap<Partition, i64> = BTreeMap::new();
    for (partition, _) in records {
        if let Some(position) = member.reader.consumer.position(&named(*partition)) {
            positions.insert(*partition, position);
        }
    }
    for (partition, position) in &positions {
        shared.ledger.borrow_mut().commit_asked(COPIERS, *partition, *position);
    }
    let place = member.reader.consumer.group_metadata().expect("it has a group");
    let offsets =
        positions.iter().map(|((topic, partition), at)| offset(topic, *partition, *at)).collect();
    let done = async {
        session.begin_transaction()?;
        for ((_, partition), id) in records {
            session.write(number, (COPIES, *partition), Some(id))?;
        }
        session.carry(offsets, place).await?;
        session.commit(number).await
    }
    .await;
    session.conclude(number, began, true, done).await?;
    let era = shared.era();
    for (partition, position) in positions {
        shared.ledger.borrow_mut().offset_committed(COPIERS, partition, position, era);
    }
    Ok(())
}

/// Reads again what was not copied.
fn go_back(member: &mut Member, shared: &Shared, records: &[(Partition, RecordId)]) {
    let mut partitions: Vec<Partition> = records.iter().map(|(partition, _)| *partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    for partition in partitions {
        // Not if it was taken away meanwhile, which is told by the next event.
        if member.reader.consumer.seek(&named(partition), StartOffset::Committed).is_ok() {
            member.read_anew(shared, partition);
        }
    }
}
