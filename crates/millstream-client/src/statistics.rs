//! Statistics as JSON (`statistics.interval.ms`), in the shape that users of librdkafka know.
//!
//! What is told comes from counters that machines keep per request and per batch, and from their
//! state at that moment. `docs/statistics.md` lists the fields.

mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use serde_json::{Map, Value, json};

pub(crate) use window::Window;

use crate::base::Base;
use crate::time::Now;

/// librdkafka's number for an offset that is not known.
pub(crate) const INVALID_OFFSET: i64 = -1001;

/// When statistics are due.
pub(crate) struct Schedule {
    every: Option<Duration>,
    born: Option<Duration>,
    next: Option<Duration>,
}

impl Schedule {
    pub(crate) fn new(every: Option<Duration>) -> Self {
        Self { every, born: None, next: None }
    }

    /// Whether they are due now; true once an interval.
    pub(crate) fn is_due(&mut self, now: Now) -> bool {
        let Some(every) = self.every else { return false };
        self.born.get_or_insert(now.mono);
        let due = self.next.is_some_and(|next| next <= now.mono);
        if due || self.next.is_none() {
            self.next = Some(now.after(every));
        }
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.next
    }

    fn age(&self, now: Now) -> Duration {
        self.born.map_or(Duration::ZERO, |born| now.mono.saturating_sub(born))
    }
}

/// What went over the connections to one broker.
#[derive(Default)]
pub(crate) struct Traffic {
    tx: u64,
    tx_bytes: u64,
    rx: u64,
    rx_bytes: u64,
    last_tx: Option<Duration>,
    last_rx: Option<Duration>,
    /// Requests by the number of their kind.
    requests: BTreeMap<i16, u64>,
    pub(crate) timeouts: u64,
    pub(crate) connects: u64,
    pub(crate) disconnects: u64,
    /// From a request to its response, microseconds.
    rtt: Window,
    /// What brokers asked to wait, milliseconds.
    pub(crate) throttle: Window,
    /// How long batches waited until they were sent, microseconds.
    pub(crate) waited: Window,
}

impl Traffic {
    pub(crate) fn sent(&mut self, api_key: i16, bytes: usize, now: Now) {
        self.tx += 1;
        self.tx_bytes += bytes as u64;
        self.last_tx = Some(now.mono);
        *self.requests.entry(api_key).or_default() += 1;
    }

    pub(crate) fn received(&mut self, bytes: usize, after: Duration, now: Now) {
        self.rx += 1;
        self.rx_bytes += bytes as u64;
        self.last_rx = Some(now.mono);
        self.rtt.add(micros(after));
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.tx += other.tx;
        self.tx_bytes += other.tx_bytes;
        self.rx += other.rx;
        self.rx_bytes += other.rx_bytes;
        self.last_tx = self.last_tx.max(other.last_tx);
        self.last_rx = self.last_rx.max(other.last_rx);
        for (key, count) in other.requests {
            *self.requests.entry(key).or_default() += count;
        }
        self.timeouts += other.timeouts;
        self.connects += other.connects;
        self.disconnects += other.disconnects;
        self.rtt.merge(&other.rtt);
        self.throttle.merge(&other.throttle);
        self.waited.merge(&other.waited);
    }

    /// The counters so far, and the windows since the last time.
    fn report(&mut self, now: Now) -> Map<String, Value> {
        let idle = |last: Option<Duration>| {
            last.map_or(-1, |last| {
                i64::try_from(micros(now.mono.saturating_sub(last))).unwrap_or(-1)
            })
        };
        let requests: Map<String, Value> = self
            .requests
            .iter()
            .filter_map(|(key, count)| {
                Some((format!("{:?}", ApiKey::try_from(*key).ok()?), json!(count)))
            })
            .collect();
        fields(json!({
            "tx": self.tx,
            "txbytes": self.tx_bytes,
            "txidle": idle(self.last_tx),
            "req_timeouts": self.timeouts,
            "rx": self.rx,
            "rxbytes": self.rx_bytes,
            "rxidle": idle(self.last_rx),
            "connects": self.connects,
            "disconnects": self.disconnects,
            "int_latency": self.waited.take(),
            "rtt": self.rtt.take(),
            "throttle": self.throttle.take(),
            "req": requests,
        }))
    }
}

/// One broker as the network sees it.
pub(crate) struct BrokerState<'a> {
    pub(crate) id: i32,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) state: &'static str,
    pub(crate) waiting: usize,
}

/// Counters of all brokers, those included that are gone.
pub(crate) struct Brokers {
    pub(crate) by_name: Map<String, Value>,
    total: [u64; 4],
}

impl Brokers {
    /// Reports `traffic`, whose windows begin anew.
    pub(crate) fn new<'a>(
        traffic: &mut BTreeMap<i32, Traffic>,
        states: impl Iterator<Item = BrokerState<'a>>,
        now: Now,
    ) -> Self {
        let sum = |of: fn(&Traffic) -> u64| traffic.values().map(of).sum();
        let total = [sum(|t| t.tx), sum(|t| t.tx_bytes), sum(|t| t.rx), sum(|t| t.rx_bytes)];
        let mut by_name = Map::new();
        for BrokerState { id, host, port, state, waiting } in states {
            let (source, of) = match id {
                0.. => ("learned", id.to_string()),
                _ => ("configured", "bootstrap".to_owned()),
            };
            let name = format!("{host}:{port}/{of}");
            let mut broker = fields(json!({
                "name": name,
                "nodeid": id.max(-1),
                "nodename": format!("{host}:{port}"),
                "source": source,
                "state": state,
                "waitresp_cnt": waiting,
            }));
            broker.append(&mut traffic.entry(id).or_default().report(now));
            by_name.insert(name, Value::Object(broker));
        }
        Self { by_name, total }
    }
}

impl Base {
    /// What every kind of client tells. `kind` is `consumer` or `producer`.
    pub(crate) fn statistics(&mut self, kind: &str, now: Now) -> Map<String, Value> {
        let Brokers { by_name, total: [tx, tx_bytes, rx, rx_bytes] } = self.net.statistics(now);
        fields(json!({
            "name": format!("{}#{kind}-{}", self.settings.client_id, self.number),
            "client_id": self.settings.client_id,
            "type": kind,
            "ts": micros(now.mono),
            "time": now.wall.div_euclid(1000),
            "age": micros(self.schedule.age(now)),
            "metadata_cache_cnt": self.metadata.topics().count(),
            "tx": tx,
            "tx_bytes": tx_bytes,
            "rx": rx,
            "rx_bytes": rx_bytes,
            "brokers": by_name,
        }))
    }

    /// Whether statistics are due now; true once an interval.
    pub(crate) fn statistics_due(&mut self, now: Now) -> bool {
        self.schedule.is_due(now)
    }
}

/// Entries of an object; nothing of any other value.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Adds a partition to `topics`, and to its leader's among `brokers`.
pub(crate) fn add_partition(
    all: &mut Map<String, Value>,
    topic: &str,
    partition: i32,
    leader: Option<i32>,
    told: Value,
) {
    if let Some(topics) = all.entry("topics").or_insert_with(|| json!({})).as_object_mut()
        && let Some(entry) = topics
            .entry(topic)
            .or_insert_with(|| json!({ "topic": topic, "partitions": {} }))
            .as_object_mut()
        && let Some(partitions) = entry["partitions"].as_object_mut()
    {
        partitions.insert(partition.to_string(), told);
    }
    let broker = all.get_mut("brokers").and_then(Value::as_object_mut).and_then(|brokers| {
        brokers
            .values_mut()
            .find(|broker| leader.is_some() && broker["nodeid"].as_i64() == leader.map(i64::from))
    });
    if let Some(Value::Object(broker)) = broker
        && let Some(led) = broker.entry("toppars").or_insert_with(|| json!({})).as_object_mut()
    {
        let name = format!("{topic}-{partition}");
        led.insert(name, json!({ "topic": topic, "partition": partition }));
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_due_once_an_interval_also_after_a_pause() {
        let mut schedule = Schedule::new(Some(Duration::from_secs(10)));
        let at = |s| Now { mono: Duration::from_secs(s), wall: 0 };
        let due: Vec<bool> =
            [5, 14, 15, 16, 24, 25, 100, 101, 109, 110].map(|s| schedule.is_due(at(s))).into();
        let expected = [false, false, true, false, false, true, true, false, false, true];
        assert_eq!(due, expected);
        assert_eq!(schedule.next_deadline(), Some(Duration::from_secs(120)));
        let mut never = Schedule::new(None);
        assert!(!never.is_due(at(1)) && never.next_deadline().is_none());
    }
}
