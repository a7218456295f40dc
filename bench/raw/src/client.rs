//! What a client must be able to do to be measured. Each does it in the fastest way that it offers.

use std::time::Duration;

/// A client, by its two halves.
pub(crate) trait Client {
    type Reader: Reader;
    type Writer: Writer;
}

/// Where to begin reading.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    Beginning,
    End,
}

/// Reads partitions of one topic.
pub(crate) trait Reader: Sized {
    /// Reads the partitions from 0 up to `partitions`, without a group. Where the end is, is known
    /// when this returns: what is written next is not missed.
    fn open(address: &str, topic: &str, partitions: i32, start: Start) -> Self;

    /// Hands what is there, or what comes within `wait`, to `take`: key, value, timestamp.
    fn read(&mut self, wait: Duration, take: impl FnMut(&[u8], &[u8], i64));
}

/// Writes to one topic, idempotently.
pub(crate) trait Writer: Sized {
    /// `settings` have librdkafka's names.
    fn open(address: &str, topic: &str, settings: &[(&str, &str)]) -> Self;

    /// Queues a copy of the record; waits while the queue is full.
    fn write(&mut self, partition: i32, key: &[u8], value: &[u8], timestamp_ms: i64);

    /// Lets the client report what became of earlier records. Does not wait.
    fn serve(&mut self);

    /// Waits until everything was acknowledged.
    fn finish(self);
}

/// How long nothing may come before something must be wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the program: nothing here is hardened, and a run that went wrong measures nothing.
pub(crate) fn give_up(why: &str) -> ! {
    eprintln!("bench-raw: {why}");
    std::process::exit(1);
}
