//! `millstream consume`: print the records of a topic.

mod format;
mod start;

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::time::Duration;

use clap::Args;
use millstream_kafka::{ConsumerEvent, OffsetSpec, PartitionStart, StartOffset};
use millstream_types::{Clock, SystemClock, TopicPartition};

use crate::connection::{Cluster, Connection};
use crate::interrupt::Interrupt;
use crate::{CommandError, Program};
use format::Format;
use start::Start;

/// Print the records of a topic
#[derive(Args)]
#[command(
    after_help = "Reads up to the records that were there when it started, and ends; --follow goes on.\n\
    It joins no group and commits nothing: looking leaves no trace.\n\n\
    Examples:\n  \
    millstream consume orders --limit 5\n  \
    millstream consume orders --from end --follow --format json\n  \
    millstream consume orders --from -10 --partition 2\n  \
    millstream consume orders --from @2013-01-01T05:00:00Z --format key-value\n  \
    millstream consume orders --from @-15m | jq .user"
)]
pub(crate) struct Arguments {
    /// The topic
    topic: String,
    /// Where to begin: beginning, end, OFFSET, -N (the last N of each partition), or @TIME (the
    /// first record at or after it: milliseconds since the epoch, ISO 8601, or a time ago as @-2h)
    #[arg(long, value_name = "WHERE", default_value = "beginning", allow_hyphen_values = true)]
    from: Start,
    /// Only this partition; may be given several times
    #[arg(long, short = 'p', value_name = "NUMBER")]
    partition: Vec<i32>,
    /// End after that many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<u64>,
    /// Wait for more records at the end, until Ctrl-C
    #[arg(long, short = 'f')]
    follow: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Value)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: Arguments, program: &Program) -> Result<(), CommandError> {
    let interrupt = Interrupt::new()?;
    let cluster = arguments.connection.open(program)?;
    let ranges = ranges(&cluster, &arguments.topic, &arguments.partition, arguments.from)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut open: HashMap<TopicPartition, i64> = ranges
        .iter()
        .filter(|range| arguments.follow || range.start < range.end)
        .map(|range| (range.partition.clone(), range.end))
        .collect();
    let starts: Vec<PartitionStart> = ranges
        .iter()
        .filter(|range| open.contains_key(&range.partition))
        .map(|range| PartitionStart::new(range.partition.clone(), StartOffset::At(range.start)))
        .collect();
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut consumer = cluster.consumer()?;
    interrupt.finish_in_order();
    consumer.assign(&starts).map_err(|e| cluster.explain(&e))?;
    let mut events = Vec::new();
    while left > 0 && !open.is_empty() && !interrupt.came() {
        consumer.poll(Duration::from_millis(200), &mut events);
        for event in events.drain(..) {
            match event {
                ConsumerEvent::Records(batch) => {
                    let partition = batch.topic_partition();
                    let end = open.get(partition).copied();
                    for record in batch.iter() {
                        let wanted = arguments.follow || end.is_some_and(|e| record.offset() < e);
                        if left == 0 || !wanted {
                            break;
                        }
                        arguments
                            .format
                            .write(&mut out, &arguments.topic, partition.partition, record)
                            .map_err(CommandError::Output)?;
                        left -= 1;
                    }
                    let position = consumer.position(partition);
                    if !arguments.follow && end.is_some_and(|e| position.is_some_and(|p| p >= e)) {
                        open.remove(partition);
                    }
                }
                ConsumerEvent::PartitionEnd(partition, _) if !arguments.follow => {
                    open.remove(&partition);
                }
                ConsumerEvent::PartitionError(partition, error) if !error.retriable => {
                    return Err(CommandError::Failed {
                        what: format!("{partition}: {error}"),
                        hint: None,
                    });
                }
                ConsumerEvent::BrokersDown(error) => {
                    eprintln!("warning: {} does not answer: {error}", cluster.address());
                }
                ConsumerEvent::Error(error) if error.fatal || error.is_authentication() => {
                    return Err(CommandError::Failed { what: error.to_string(), hint: None });
                }
                _ => {}
            }
        }
        // Whoever follows wants to see a record when it comes, not when a buffer is full.
        out.flush().map_err(CommandError::Output)?;
    }
    out.flush().map_err(CommandError::Output)?;
    consumer.close(Duration::from_secs(5));
    // Following has no other end than Ctrl-C, so that is a success.
    if interrupt.came() && !arguments.follow {
        return Err(CommandError::Interrupted);
    }
    Ok(())
}

/// What to read of a partition: from `start`, up to what is there now.
struct Range {
    partition: TopicPartition,
    start: i64,
    end: i64,
}

fn ranges(
    cluster: &Cluster,
    topic: &str,
    only: &[i32],
    from: Start,
) -> Result<Vec<Range>, CommandError> {
    let mut admin = cluster.admin()?;
    let described = admin
        .describe_topics(&[topic], cluster.timeout)
        .and_then(|mut answers| answers.remove(0))
        .map_err(|e| cluster.explain(&e))?;
    if let Some(unknown) =
        only.iter().find(|n| !described.partitions.iter().any(|p| p.partition == **n))
    {
        return Err(cluster.no_partition(&described, *unknown));
    }
    let partitions: Vec<TopicPartition> = described
        .partitions
        .iter()
        .filter(|p| only.is_empty() || only.contains(&p.partition))
        .map(|p| TopicPartition::new(topic, p.partition))
        .collect();
    let marks = admin.watermarks(&partitions, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    let times = match from {
        Start::Time(when) => {
            let at = when.resolve(SystemClock.wall());
            let asked: Vec<_> =
                partitions.iter().map(|p| (p.clone(), OffsetSpec::AtOrAfter(at))).collect();
            admin.list_offsets(&asked, cluster.timeout).map_err(|e| cluster.explain(&e))?
        }
        _ => Vec::new(),
    };
    let mut times = times.into_iter();
    partitions
        .into_iter()
        .zip(marks)
        .map(|(partition, mark)| {
            let start = match from {
                Start::Beginning => mark.low,
                Start::End => mark.high,
                Start::Offset(offset) => offset.clamp(mark.low, mark.high),
                Start::Last(count) => (mark.high - count).max(mark.low),
                Start::Time(_) => times
                    .next()
                    .expect("one answer per partition")
                    .map_err(|e| cluster.explain(&e))?
                    .unwrap_or(mark.high),
            };
            Ok(Range { partition, start, end: mark.high })
        })
        .collect()
}
