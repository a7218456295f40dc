//! The client's idempotent producer: whatever it was given is there once and in order.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_client::producer::{DeliveryFailure, FlushId, ProducerEvent};
use millstream_client::settings::ProducerSettings;
use millstream_protocol::Compression;
use millstream_types::TopicPartition;

use super::writer::{Given, Writer};
use crate::actor::Me;
use crate::workload::{Shared, admin};

/// `delivery.timeout.ms` of those that give up.
const IMPATIENCE: Duration = Duration::from_secs(3);

/// Produces until the run is closing. `impatient`: gives up what is not acknowledged in time.
pub(crate) async fn run(me: Me, shared: Shared, impatient: bool) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    let session = async |name| {
        session(&me, &shared, &settings(&me, impatient), name).await;
        me.sleep_ms(10, 500).await;
    };
    shared.sessions(&me, session).await;
}

fn settings(me: &Me, impatient: bool) -> ProducerSettings {
    ProducerSettings {
        delivery_timeout: impatient.then_some(IMPATIENCE),
        request_timeout: Duration::from_secs(4),
        linger: Duration::from_millis(me.between(0, 40)),
        batch_records: me.between(1, 8) as usize,
        in_flight_max: me.between(1, 5) as usize,
        compression: match me.between(0, 4) {
            0 => Compression::Lz4,
            1 => Compression::Zstd,
            _ => Compression::None,
        },
        ..ProducerSettings::default()
    }
}

/// One producer, as long as it serves.
async fn session(me: &Me, shared: &Shared, settings: &ProducerSettings, name: String) {
    let mut writer = Writer::open(me, shared, settings, name);
    let mut given: Vec<Given> = Vec::new();
    let mut flushes: BTreeMap<FlushId, Vec<Given>> = BTreeMap::new();
    loop {
        let closing = shared.is_closing();
        if closing && given.is_empty() && flushes.is_empty() {
            return;
        }
        if !closing {
            for _ in 0..me.between(0, 8) {
                match writer.produce(me, shared) {
                    Ok(record) => given.push(record),
                    Err(error) => {
                        me.host().violation(format!("{} refuses: {error}", writer.session));
                        return;
                    }
                }
            }
        }
        if !given.is_empty() && (closing || me.chance(400_000)) {
            let id = writer.producer.begin_flush();
            flushes.insert(id, std::mem::take(&mut given));
        }
        let until = Some(me.now() + Duration::from_millis(me.between(5, 600)));
        let mut events = Vec::new();
        let flushing = !flushes.is_empty();
        let news = || {
            let from = events.len();
            writer.producer.poll(&mut events);
            note_given_up(shared, &writer.session, &events[from..]);
            (flushing && !events.is_empty()).then_some(())
        };
        me.look(until, news).await;
        for event in events {
            match event {
                ProducerEvent::FlushDone { id, failed } => {
                    let flushed = flushes.remove(&id).unwrap_or_default();
                    let last = given.is_empty() && flushes.is_empty();
                    flush_done(me, shared, &writer, flushed, failed, last);
                }
                ProducerEvent::DeliveryFailed(failure) => {
                    me.host().trace(format_args!("{}: {failure}", writer.session));
                    let expected = settings.delivery_timeout.is_some()
                        || shared.ledger.borrow().may_be_lost(writer.era);
                    if !expected {
                        me.host().violation(format!("{} gives up: {failure}", writer.session));
                    }
                }
                ProducerEvent::Fatal(error) => {
                    me.host().violation(format!("{} is of no more use: {error}", writer.session));
                    return;
                }
                event => me.host().trace(format_args!("{}: {event:?}", writer.session)),
            }
        }
    }
}

/// Notes what is given up at once: the process may die before it looks at it.
fn note_given_up(shared: &Shared, session: &str, events: &[ProducerEvent]) {
    for event in events {
        if let ProducerEvent::DeliveryFailed(DeliveryFailure { topic, partition, count, .. }) =
            event
            && let Some(number) = partition
            && let Some(partition) = shared.find(&TopicPartition::new(topic.clone(), *number))
        {
            shared.ledger.borrow_mut().gives_up(partition, session, *count);
        }
    }
}

fn flush_done(
    me: &Me,
    shared: &Shared,
    writer: &Writer,
    flushed: Vec<Given>,
    failed: u64,
    last: bool,
) {
    let session = &writer.session;
    me.host().trace(format_args!("{session} has flushed {}, {failed} failed", flushed.len()));
    if failed > 0 {
        return;
    }
    let mut ends = BTreeMap::new();
    let era = shared.era();
    for Given { partition, id, era: given_in } in flushed {
        shared.ledger.borrow_mut().delivered(partition, &id, given_in);
        ends.insert(partition, (id, given_in));
    }
    // Where the last one of a partition is, the producer knows as long as nothing is behind it.
    for (partition, (id, given_in)) in ends {
        if last && given_in == era && (writer.era == era || shared.ledger.borrow().is_strict()) {
            writer.note_end(me, shared, partition, &id);
        }
    }
}
