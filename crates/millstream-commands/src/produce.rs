//! `millstream produce`: lines of standard input or of files, as records of a topic.

mod line;
mod progress;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use millstream_kafka::{
    Partition, ProduceError, ProduceRecord, Producer, ProducerEvent, TopicHandle,
};
use millstream_types::{HeadersView, encode_header};

use crate::connection::{Cluster, Connection};
use crate::interrupt::Interrupt;
use crate::{CommandError, Program};
use line::LineFormat;
use progress::Progress;

/// Longest line that is taken: more than any broker takes as a record.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Write lines of standard input or of files as records of a topic
#[derive(Args)]
#[command(
    after_help = "Each line is the value of one record. Empty lines are left out. A line that is wrong stops the\n\
    command with its number, after everything before it was delivered.\n\n\
    Examples:\n  \
    echo '{\"id\": 1, \"user\": \"ann\"}' | millstream produce orders --key-field user\n  \
    millstream produce orders january.jsonl february.jsonl --timestamp-field time_ms\n  \
    seq 1000 | millstream produce numbers --format text\n  \
    printf 'ann:5\\nbob:7\\n' | millstream produce scores --format text --key-separator :"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// The topic; it must exist
    topic: String,
    /// Files to read, - for standard input (the default)
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What a line is
    #[arg(long, value_enum, default_value_t = Lines::Json)]
    format: Lines,
    /// Key of every record
    #[arg(long, conflicts_with = "key_field")]
    key: Option<String>,
    /// Field of the JSON line that becomes the key: text as it is, anything else as JSON
    #[arg(long, value_name = "NAME")]
    key_field: Option<String>,
    /// What separates key and value in a text line
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key", "key_field"])]
    key_separator: Option<String>,
    /// Field of the JSON line that becomes the timestamp, in milliseconds since the epoch
    #[arg(long, value_name = "NAME")]
    timestamp_field: Option<String>,
    /// Header of every record; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Partition of every record; else the key decides, as the Java client does it
    #[arg(long, short = 'p', value_name = "NUMBER")]
    partition: Option<i32>,
    /// No progress on standard error
    #[arg(long, short = 'q')]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// JSON, checked
    Json,
    /// Text, taken as it is
    Text,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(arguments: Arguments, program: &Program) -> Result<(), CommandError> {
    let json = arguments.format == Lines::Json;
    if !json && (arguments.key_field.is_some() || arguments.timestamp_field.is_some()) {
        return Err(CommandError::new(
            "--key-field and --timestamp-field read JSON lines",
            "Use --key-separator for keys of text lines.",
        ));
    }
    if json && arguments.key_separator.is_some() {
        return Err(CommandError::new(
            "--key-separator is for text lines",
            "Add --format text, or use --key-field for keys of JSON lines.",
        ));
    }
    let interrupt = Interrupt::new();
    let cluster = arguments.connection.open(program)?;
    // A producer waits for minutes for a topic that is not there; asking first is kinder.
    cluster
        .admin()?
        .describe_topics(&[&arguments.topic], cluster.timeout)
        .and_then(|mut answers| answers.remove(0))
        .map_err(|e| cluster.explain(&e))?;
    let format = LineFormat {
        json,
        key: arguments.key,
        key_field: arguments.key_field,
        key_separator: arguments.key_separator,
        timestamp_field: arguments.timestamp_field,
    };
    let mut headers = Vec::new();
    for (name, value) in &arguments.headers {
        encode_header(&mut headers, name, Some(value.as_bytes()));
    }
    let mut producer = cluster.producer()?;
    let topic = producer.topic(&arguments.topic).map_err(|e| cluster.explain(&e))?;
    let mut feed = Feed {
        cluster: &cluster,
        producer,
        topic,
        partition: arguments.partition.map_or(Partition::ByKey, Partition::At),
        headers,
        header_count: arguments.headers.len(),
        events: Vec::new(),
        sent: 0,
    };
    let mut progress = Progress::new(total_bytes(&arguments.files), arguments.quiet);
    let outcome = feed_all(&mut feed, &arguments.files, &format, &interrupt, &mut progress);
    // What was read is delivered, whatever came after it.
    let flushed = feed.finish();
    progress.finish(feed.sent);
    outcome.and(flushed)
}

/// Bytes of all files together; none if standard input is among them.
fn total_bytes(files: &[PathBuf]) -> Option<u64> {
    if files.is_empty() {
        return None;
    }
    files.iter().map(|path| Some(std::fs::metadata(path).ok()?.len())).sum()
}

fn feed_all(
    feed: &mut Feed<'_>,
    files: &[PathBuf],
    format: &LineFormat,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<(), CommandError> {
    if files.is_empty() {
        return feed_lines(feed, &mut std::io::stdin().lock(), "-", format, interrupt, progress);
    }
    for path in files {
        let name = path.display().to_string();
        if name == "-" {
            let stdin = &mut std::io::stdin().lock();
            feed_lines(feed, stdin, &name, format, interrupt, progress)?;
            continue;
        }
        let file = File::open(path).map_err(|error| {
            CommandError::new(format!("{name}: {error}"), "Name files that can be read.")
        })?;
        feed_lines(feed, &mut BufReader::new(file), &name, format, interrupt, progress)?;
    }
    Ok(())
}

fn feed_lines(
    feed: &mut Feed<'_>,
    input: &mut dyn BufRead,
    name: &str,
    format: &LineFormat,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<(), CommandError> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        if interrupt.came() {
            return Err(CommandError::Interrupted);
        }
        line.clear();
        number += 1;
        let wrong = |what: String| CommandError::Failed {
            what: format!("{name}, line {number}: {what}"),
            hint: Some("The lines before it were sent.".to_owned()),
        };
        let read = (&mut *input)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| wrong(error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 == LINE_BYTES_MAX {
            return Err(wrong(format!("is longer than {LINE_BYTES_MAX} bytes")));
        }
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        let parts = format.read(text).map_err(wrong)?;
        feed.send(&parts)?;
        progress.add(read as u64, feed.sent);
    }
}

/// The producer and what all records have in common.
struct Feed<'a> {
    cluster: &'a Cluster,
    producer: Box<dyn Producer>,
    topic: TopicHandle,
    partition: Partition,
    headers: Vec<u8>,
    header_count: usize,
    events: Vec<ProducerEvent>,
    sent: u64,
}

impl Feed<'_> {
    fn send(&mut self, parts: &line::Parts<'_>) -> Result<(), CommandError> {
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
                Err(ProduceError::QueueFull) => {
                    self.producer.flush(Duration::from_millis(50), &mut self.events);
                    self.check()?;
                }
                Err(error) => {
                    return Err(CommandError::Failed { what: error.to_string(), hint: None });
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

    fn finish(&mut self) -> Result<(), CommandError> {
        let left = self.producer.flush(self.cluster.timeout, &mut self.events);
        self.check()?;
        if left > 0 {
            return Err(CommandError::new(
                format!("{left} record(s) were not confirmed within {:?}", self.cluster.timeout),
                format!("Is a broker running at {}?", self.cluster.address()),
            ));
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), CommandError> {
        for event in self.events.drain(..) {
            let what = match event {
                ProducerEvent::DeliveryFailed(failure) => failure.to_string(),
                ProducerEvent::Error(error) if error.fatal || error.is_authentication() => {
                    error.to_string()
                }
                ProducerEvent::BrokersDown(error) => {
                    eprintln!("warning: {} does not answer: {error}", self.cluster.address());
                    continue;
                }
                _ => continue,
            };
            return Err(CommandError::Failed { what, hint: None });
        }
        Ok(())
    }
}
