//! Records on their way: back-pressure, deliveries, the wait at the end.

use std::time::Duration;

use millstream_kafka::{
    KafkaError, Partition, ProduceError, ProduceRecord, Producer, ProducerEvent, TopicHandle, code,
};
use millstream_types::HeadersView;

use super::line::Parts;
use crate::CommandError;
use crate::connection::Cluster;
use crate::interrupt::Interrupt;

/// How long a full queue is given to make room before the next look.
const ROOM: Duration = Duration::from_millis(50);

/// How often the wait at the end looks whether deliveries come in.
const LOOK: Duration = Duration::from_millis(250);

/// The producer and what all records have in common.
pub(crate) struct Feed<'a> {
    producer: Box<dyn Producer>,
    topic: TopicHandle,
    /// Where all records go.
    pub(crate) partition: Partition,
    /// Headers of all records, encoded.
    pub(crate) headers: Vec<u8>,
    /// How many those are.
    pub(crate) header_count: usize,
    address: &'a str,
    patience: Duration,
    interrupt: &'a Interrupt,
    events: Vec<ProducerEvent>,
    sent: u64,
    failed: u64,
    told: bool,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(
        producer: Box<dyn Producer>,
        topic: TopicHandle,
        cluster: &'a Cluster,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            producer,
            topic,
            partition: Partition::ByKey,
            headers: Vec::new(),
            header_count: 0,
            address: cluster.address(),
            patience: cluster.timeout,
            interrupt,
            events: Vec::new(),
            sent: 0,
            failed: 0,
            told: false,
        }
    }

    /// Records that the producer took.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Records that a broker has confirmed.
    pub(crate) fn delivered(&self) -> u64 {
        self.sent.saturating_sub(self.failed + self.producer.in_flight())
    }

    pub(crate) fn send(&mut self, parts: &Parts<'_>) -> Result<(), CommandError> {
        loop {
            let record = ProduceRecord {
                topic: self.topic,
                partition: self.partition,
                key: parts.key.as_deref(),
                value: Some(parts.value),
                headers: HeadersView::new(&self.headers, self.header_count),
                timestamp: parts.timestamp,
            };
            match self.producer.produce(&record) {
                Ok(()) => break,
                Err(ProduceError::QueueFull) if self.interrupt.came() => {
                    return Err(CommandError::Interrupted);
                }
                Err(ProduceError::QueueFull) => {
                    self.producer.flush(ROOM, &mut self.events);
                    self.check()?;
                }
                Err(refused) => {
                    let hint = match &refused {
                        ProduceError::Refused { error, .. } => advice(error),
                        ProduceError::QueueFull => None,
                    };
                    return Err(CommandError::Failed { what: refused.to_string(), hint });
                }
            }
        }
        self.sent += 1;
        if self.sent.is_multiple_of(1024) {
            self.producer.poll(&mut self.events);
            self.check()?;
        }
        Ok(())
    }

    /// Waits until all records are delivered, for as long as deliveries come in.
    pub(crate) fn finish(&mut self) -> Result<(), CommandError> {
        let mut outcome = Ok(());
        let mut before = self.producer.in_flight();
        let mut silence = Duration::ZERO;
        let mut announced = false;
        loop {
            let look = LOOK.min(self.patience.saturating_sub(silence));
            // Comes back earlier only when nothing is in flight.
            let left = self.producer.flush(look, &mut self.events);
            outcome = outcome.and(self.check());
            if left == 0 {
                return outcome;
            }
            if left < before {
                (before, silence) = (left, Duration::ZERO);
            } else {
                silence += look;
            }
            if silence >= self.patience {
                let seconds = self.patience.as_secs_f64();
                return outcome.and(Err(CommandError::new(
                    format!(
                        "{left} record(s) are not confirmed, and none was for {seconds} s; {} were",
                        self.delivered()
                    ),
                    format!("Is a broker running at {}? --timeout waits longer.", self.address),
                )));
            }
            if self.interrupt.came() && !announced {
                announced = true;
                eprintln!("Waiting until {left} record(s) are confirmed; Ctrl-C gives them up.");
            }
        }
    }

    /// Looks at what the producer has to say; the first failure is an error, further ones are
    /// counted.
    fn check(&mut self) -> Result<(), CommandError> {
        let mut outcome = Ok(());
        for event in self.events.drain(..) {
            let (what, hint) = match event {
                ProducerEvent::DeliveryFailed(failure) => {
                    self.failed += failure.count;
                    (failure.to_string(), advice(&failure.error))
                }
                ProducerEvent::Error(error) if error.fatal || error.is_authentication() => {
                    (error.to_string(), advice(&error))
                }
                ProducerEvent::BrokersDown(error) => {
                    eprintln!("warning: {} does not answer: {error}", self.address);
                    continue;
                }
                _ => continue,
            };
            if !self.told {
                self.told = true;
                outcome = Err(CommandError::Failed { what, hint });
            }
        }
        outcome
    }
}

/// What to do about a record that was not taken.
fn advice(error: &KafkaError) -> Option<String> {
    const INVALID_TIMESTAMP: i32 = 32;
    let advice = match error.code {
        code::MESSAGE_TOO_LARGE => {
            "Raise the topic's max.message.bytes, and --setting message.max.bytes=N for longer \
             lines than 1 MB."
        }
        INVALID_TIMESTAMP => {
            "Brokers refuse timestamps more than an hour ahead of their clock (the topic's \
             message.timestamp.after.max.ms)."
        }
        _ if error.is_authentication() => {
            "Check security.protocol and the credentials; --settings-file keeps them in a file."
        }
        _ if error.is_authorization() => "The credentials need the right Write for this topic.",
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millstream_kafka::{DeliveryFailure, Error, FlushId, OAuthToken, Wake};

    use super::*;

    /// Delivers records at the pace of a script: how many at each flush.
    struct Slow {
        queued: u64,
        room: u64,
        pace: Vec<u64>,
        failures: Vec<DeliveryFailure>,
    }

    impl Slow {
        fn new(pace: impl IntoIterator<Item = u64>) -> Self {
            let pace: Vec<u64> = pace.into_iter().collect();
            Self { queued: 0, room: u64::MAX, pace, failures: Vec::new() }
        }
    }

    impl Producer for Slow {
        fn topic(&mut self, _: &str) -> Result<TopicHandle, Error> {
            Err(Error::Misuse("no topic is asked for"))
        }
        fn produce(&mut self, _: &ProduceRecord<'_>) -> Result<(), ProduceError> {
            if self.queued >= self.room {
                return Err(ProduceError::QueueFull);
            }
            self.queued += 1;
            Ok(())
        }
        fn poll(&mut self, events: &mut Vec<ProducerEvent>) {
            events.extend(self.failures.drain(..).map(ProducerEvent::DeliveryFailed));
        }
        fn set_waker(&mut self, _: Arc<dyn Wake>) {}
        fn begin_flush(&mut self) -> FlushId {
            FlushId(0)
        }
        fn in_flight(&self) -> u64 {
            self.queued
        }
        fn last_delivered(&self, _: TopicHandle, _: i32) -> Option<i64> {
            None
        }
        fn purge(&mut self) {}
        fn probe(&mut self) {}
        fn set_oauth_token(&mut self, _: Result<&OAuthToken, &str>) -> Result<(), Error> {
            Ok(())
        }
        fn flush(&mut self, _: Duration, events: &mut Vec<ProducerEvent>) -> u64 {
            self.poll(events);
            let done = if self.pace.is_empty() { 0 } else { self.pace.remove(0) };
            self.queued -= done.min(self.queued);
            self.queued
        }
    }

    /// A feed over `producer` that has sent `count` records.
    fn sent(producer: Slow, count: u64, patience: Duration, test: impl FnOnce(&mut Feed<'_>)) {
        let cluster = Cluster::of_test("127.0.0.1:1", patience);
        let interrupt = Interrupt::new().expect("signals can be listened for");
        // Handles come from producers only; the one that is fed does not look at it.
        let topic = cluster
            .producer()
            .and_then(|mut real| real.topic("t").map_err(|error| cluster.explain(&error)));
        let topic = topic.expect("no broker is asked");
        let mut feed = Feed::new(Box::new(producer), topic, &cluster, &interrupt);
        for _ in 0..count {
            feed.send(&Parts { key: None, value: b"x", timestamp: None }).expect("there is room");
        }
        test(&mut feed);
    }

    #[test]
    fn the_end_is_waited_for_while_deliveries_come_in() {
        // Each look is LOOK long, so 40 of them are more than the patience of one second.
        sent(Slow::new([1; 40]), 40, Duration::from_secs(1), |feed| {
            feed.finish().expect("all were delivered");
            assert_eq!(feed.delivered(), 40);
        });
    }

    #[test]
    fn a_pause_is_no_end() {
        let pace = [1, 0, 0, 0, 1, 0, 0, 0, 1];
        sent(Slow::new(pace), 3, Duration::from_secs(1), |feed| {
            feed.finish().expect("no pause was as long as the patience");
        });
    }

    #[test]
    fn without_progress_the_wait_ends() {
        sent(Slow::new([2]), 5, Duration::from_secs(1), |feed| {
            let error = feed.finish().expect_err("three are missing");
            let text = error.to_string();
            assert_eq!(text, "3 record(s) are not confirmed, and none was for 1 s; 2 were");
            assert!(error.hint().is_some_and(|hint| hint.contains("127.0.0.1:1")));
        });
        sent(Slow::new([]), 1, Duration::ZERO, |feed| {
            feed.finish().expect_err("nothing was waited for");
        });
    }

    #[test]
    fn a_failure_does_not_keep_the_rest_from_being_delivered() {
        let mut slow = Slow::new([0, 1, 1, 1]);
        let error = KafkaError::of_code(code::MESSAGE_TOO_LARGE);
        slow.failures.push(DeliveryFailure {
            topic: "t".into(),
            partition: Some(0),
            count: 1,
            error,
        });
        sent(slow, 3, Duration::from_secs(1), |feed| {
            let error = feed.finish().expect_err("one failed");
            assert!(error.to_string().contains("1 record(s) not delivered to t[0]"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("max.message.bytes")));
            assert_eq!(feed.delivered(), 2);
            feed.finish().expect("what was told once is not told again");
        });
    }

    #[test]
    fn a_full_queue_makes_room() {
        let mut slow = Slow::new([0, 0, 1]);
        slow.room = 1;
        sent(slow, 2, Duration::from_secs(1), |feed| assert_eq!(feed.delivered(), 1));
    }
}
