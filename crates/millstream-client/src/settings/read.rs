//! From named settings to the structures of [`super`]: what contradicts what, and what follows
//! from what. The rules are librdkafka's.

mod connection;

use std::time::Duration;

use millstream_protocol::Compression;

use self::connection::connection;
use super::names::{ClientKind, Setting, SettingError};
use super::values::{SettingWarning, Values};
use super::{
    Acks, Assignor, ConnectionSettings, ConsumerSettings, GroupSettings, OffsetReset, Partitioner,
    ProducerSettings,
};

/// How many full fetches may be fetched ahead, unless `fetch.max.bytes` says otherwise.
const FETCHES_AHEAD: usize = 16;

/// What was read.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// What every client has.
    pub connection: ConnectionSettings,
    /// What this kind of client has beside that.
    pub own: T,
    /// Settings that were left aside.
    pub warnings: Vec<SettingWarning>,
}

/// The settings of a consumer by their names.
///
/// # Errors
/// A name that does not exist, a value that cannot be, settings that contradict each other, or one
/// that only librdkafka honours.
pub fn consumer<K: AsRef<str>, V: AsRef<str>>(
    given: impl IntoIterator<Item = (K, V)>,
) -> Result<Read<ConsumerSettings>, SettingError> {
    let mut values = Values::check(ClientKind::Consumer, given)?;
    let mut connection = connection(&mut values)?;
    connection.allow_auto_create_topics = values.flag("allow.auto.create.topics");
    let own = consumer_settings(&mut values, &mut connection)?;
    Ok(Read { connection, own, warnings: values.warnings })
}

/// The settings of a producer by their names.
///
/// # Errors
/// As [`consumer`].
pub fn producer<K: AsRef<str>, V: AsRef<str>>(
    given: impl IntoIterator<Item = (K, V)>,
) -> Result<Read<ProducerSettings>, SettingError> {
    let mut values = Values::check(ClientKind::Producer, given)?;
    let mut connection = connection(&mut values)?;
    // As in librdkafka, a producer lets the brokers create what is missing if they do.
    connection.allow_auto_create_topics =
        !values.has("allow.auto.create.topics") || values.flag("allow.auto.create.topics");
    let own = producer_settings(&values, &mut connection)?;
    Ok(Read { connection, own, warnings: values.warnings })
}

/// The settings of an admin client by their names.
///
/// # Errors
/// As [`consumer`].
pub fn admin<K: AsRef<str>, V: AsRef<str>>(
    given: impl IntoIterator<Item = (K, V)>,
) -> Result<Read<()>, SettingError> {
    let mut values = Values::check(ClientKind::Admin, given)?;
    let connection = connection(&mut values)?;
    Ok(Read { connection, own: (), warnings: values.warnings })
}

fn consumer_settings(
    values: &mut Values,
    connection: &mut ConnectionSettings,
) -> Result<ConsumerSettings, SettingError> {
    if values.millis("fetch.wait.max.ms") + Duration::from_secs(1) > connection.request_timeout {
        let reason = "should be below socket.timeout.ms by a second or more".to_owned();
        values.warn("fetch.wait.max.ms", reason);
    }
    let queued_max_bytes = values.size("queued.max.messages.kbytes") * 1024;
    let message_max = values.size("message.max.bytes");
    let mut fetch_max = values.size("fetch.max.bytes");
    if !values.has("fetch.max.bytes") {
        let least = values.size("fetch.message.max.bytes").max(values.size("fetch.min.bytes"));
        let share = (queued_max_bytes / FETCHES_AHEAD).max(least).min(queued_max_bytes);
        fetch_max = fetch_max.min(share).max(message_max);
    } else if fetch_max < message_max {
        return Err(values.error("fetch.max.bytes", "must not be below message.max.bytes"));
    }
    // Room for the frame around the records.
    if !values.has("receive.message.max.bytes") {
        connection.receive_max = connection.receive_max.max(fetch_max + 512);
    } else if fetch_max + 512 > connection.receive_max {
        return Err(values
            .error("receive.message.max.bytes", "must be above fetch.max.bytes by 512 or more"));
    }
    // All of them are within the bounds of their rows, which fit.
    let bytes = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
    Ok(ConsumerSettings {
        group: group(values)?,
        offset_reset: match values.text("auto.offset.reset") {
            "smallest" | "earliest" | "beginning" => OffsetReset::Earliest,
            "error" => OffsetReset::Error,
            _ => OffsetReset::Latest,
        },
        read_committed: values.text("isolation.level") == "read_committed",
        fetch_wait: values.millis("fetch.wait.max.ms"),
        fetch_min_bytes: bytes(values.size("fetch.min.bytes")),
        fetch_max_bytes: bytes(fetch_max),
        partition_fetch_bytes: bytes(values.size("fetch.message.max.bytes")),
        queued_max_bytes,
        check_crcs: values.flag("check.crcs"),
        partition_end: values.flag("enable.partition.eof"),
    })
}

fn group(values: &mut Values) -> Result<Option<GroupSettings>, SettingError> {
    let broker_assigns = values.text("group.protocol") == "consumer";
    if broker_assigns {
        const OF_THE_BROKER: [(&str, &str); 3] = [
            ("session.timeout.ms", "the broker's group.consumer.session.timeout.ms is used"),
            ("heartbeat.interval.ms", "the broker's group.consumer.heartbeat.interval.ms is used"),
            ("partition.assignment.strategy", "group.remote.assignor is the one"),
        ];
        for (name, instead) in OF_THE_BROKER {
            if values.has(name) {
                return Err(values.error(
                    name,
                    format!("cannot be given with group.protocol=consumer; {instead}"),
                ));
            }
        }
    } else {
        let session = values.millis("session.timeout.ms");
        if values.millis("max.poll.interval.ms") < session {
            return Err(
                values.error("max.poll.interval.ms", "must not be below session.timeout.ms")
            );
        }
        if values.millis("heartbeat.interval.ms") >= session {
            let reason = "should be a third of session.timeout.ms or less".to_owned();
            values.warn("heartbeat.interval.ms", reason);
        }
    }
    let assignors: Vec<Assignor> = values
        .text("partition.assignment.strategy")
        .split(',')
        .filter_map(|name| match name {
            "range" => Some(Assignor::Range),
            "roundrobin" => Some(Assignor::RoundRobin),
            "cooperative-sticky" => Some(Assignor::CooperativeSticky),
            "co-partitioned-sticky" => Some(Assignor::CoPartitioned),
            _ => None,
        })
        .collect();
    let cooperative = assignors.iter().filter(|assignor| assignor.is_cooperative()).count();
    if cooperative > 0 && cooperative < assignors.len() {
        return Err(values.error(
            "partition.assignment.strategy",
            "range and roundrobin (eager) cannot be mixed with the sticky ones (cooperative)",
        ));
    }
    let Some(group_id) = values.optional("group.id") else { return Ok(None) };
    // Nothing but the client itself stores offsets, so without that nothing is there to commit.
    let commits = values.flag("enable.auto.commit") && values.flag("enable.auto.offset.store");
    Ok(Some(GroupSettings {
        group_id,
        instance_id: values.optional("group.instance.id"),
        assignors,
        session_timeout: values.millis("session.timeout.ms"),
        heartbeat_interval: values.millis("heartbeat.interval.ms"),
        max_poll_interval: values.millis("max.poll.interval.ms"),
        broker_assigns,
        remote_assignor: values.optional("group.remote.assignor"),
        auto_commit_interval: values.limit("auto.commit.interval.ms").filter(|_| commits),
    }))
}

fn producer_settings(
    values: &Values,
    connection: &mut ConnectionSettings,
) -> Result<ProducerSettings, SettingError> {
    let transactional_id = values.optional("transactional.id");
    let acks = match values.text("request.required.acks") {
        "0" => Acks::None,
        "1" => Acks::Leader,
        _ => Acks::All,
    };
    let transaction_timeout = values.millis("transaction.timeout.ms");
    let mut delivery_timeout = values.limit("message.timeout.ms");
    if transactional_id.is_some() {
        // At least one request must be able to fail before the transaction does.
        let margin = Duration::from_millis(100);
        if !values.has("socket.timeout.ms") {
            connection.request_timeout =
                transaction_timeout.saturating_sub(margin).max(Duration::from_millis(900));
        } else if connection.request_timeout > transaction_timeout + margin {
            return Err(values.error(
                "socket.timeout.ms",
                "must not be above transaction.timeout.ms by more than 100",
            ));
        }
        if !values.has("message.timeout.ms") {
            delivery_timeout = Some(transaction_timeout);
        } else if delivery_timeout.is_some_and(|limit| limit > transaction_timeout) {
            return Err(
                values.error("message.timeout.ms", "must not be above transaction.timeout.ms")
            );
        }
    }
    let mut linger = Duration::from_secs_f64(values.float("queue.buffering.max.ms") / 1000.0);
    if let Some(limit) = delivery_timeout
        && limit <= linger
    {
        if values.has("queue.buffering.max.ms") {
            return Err(values.error("message.timeout.ms", "must be above linger.ms"));
        }
        linger = limit.saturating_sub(Duration::from_micros(100));
    }
    let sticky_linger = match values.has("sticky.partitioning.linger.ms") {
        true => values.millis("sticky.partitioning.linger.ms"),
        false => (2 * linger).min(Duration::from_secs(900)),
    };
    let mut settings = ProducerSettings {
        idempotent: values.flag("enable.idempotence"),
        transactional_id,
        transaction_timeout,
        acks,
        request_timeout: values.millis("request.timeout.ms"),
        delivery_timeout,
        topic_propagation: values.millis("topic.metadata.propagation.max.ms"),
        linger,
        batch_bytes: values.size("batch.size"),
        batch_records: values.size("batch.num.messages"),
        message_max_bytes: values.size("message.max.bytes"),
        queue_max_bytes: values.size("queue.buffering.max.kbytes").saturating_mul(1024),
        queue_max_records: match values.size("queue.buffering.max.messages") {
            0 => usize::MAX,
            records => records,
        },
        // "inherit" is a topic's word for the client's, which is none unless it is given.
        compression: Compression::from_name(values.text("compression.codec"))
            .unwrap_or(Compression::None),
        compression_level: i32::try_from(values.int("compression.level"))
            .ok()
            .filter(|level| *level >= 0),
        in_flight_max: values.size("max.in.flight.requests.per.connection"),
        retries: u32::try_from(values.int("message.send.max.retries")).unwrap_or(u32::MAX),
        partitioner: match values.text("partitioner") {
            "random" => Partitioner::Random,
            "consistent" => Partitioner::Consistent,
            "consistent_random" => Partitioner::ConsistentRandom,
            "murmur2" => Partitioner::Murmur2,
            "fnv1a" => Partitioner::Fnv1a,
            "fnv1a_random" => Partitioner::Fnv1aRandom,
            _ => Partitioner::Murmur2Random,
        },
        sticky_linger,
    };
    // librdkafka's default is false: what works with it is not refused for our default's sake.
    if !values.has("enable.idempotence")
        && settings.transactional_id.is_none()
        && let Err(error) = settings.check()
    {
        let name = error.name;
        tracing::info!(target: "millstream::kafka", "enable.idempotence is off: it cannot go with {name} as that is set");
        settings.idempotent = false;
    }
    settings.check().map_err(|error| match Setting::of(&error.name) {
        Some(setting) => values.error(setting.name, error.reason),
        None => error,
    })?;
    Ok(settings)
}
