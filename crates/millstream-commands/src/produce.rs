//! `millstream produce`: lines of standard input or of files, as records of a topic.

mod feed;
mod line;
mod progress;

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use millstream_kafka::Partition;
use millstream_types::{Clock, SystemClock, encode_header};

use crate::connection::{Cluster, Connection};
use crate::interrupt::{Input, Interrupt};
use crate::when::When;
use crate::{CommandError, Program};
use feed::Feed;
use line::LineFormat;
use progress::Progress;

/// Longest line that is taken: more than any broker takes as a record.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// Write lines of standard input or of files as records of a topic
#[derive(Args)]
#[command(
    after_help = "Each line is the value of one record. Blank lines are left out. A line that is wrong stops the\n\
    command with its number, after everything before it was delivered. Ctrl-C stops reading, delivers\n\
    what was read, and says how much that was.\n\n\
    Examples:\n  \
    echo '{\"id\": 1, \"user\": \"ann\"}' | millstream produce orders --key-field user\n  \
    millstream produce orders january.jsonl february.jsonl --timestamp-field time\n  \
    echo '{\"id\": 2}' | millstream produce orders --key ann --timestamp -3h\n  \
    seq 1000 | millstream produce numbers --format text\n  \
    printf 'ann:5\\nbob:7\\n' | millstream produce scores --format text --key-separator :\n\n\
    `millstream consume TOPIC` shows what arrived."
)]
pub(crate) struct Arguments {
    /// The topic; it must exist (`millstream topics create`)
    topic: String,
    /// Files to read, - for standard input (the default)
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What a line is
    #[arg(long, value_enum, default_value_t = Lines::Json)]
    format: Lines,
    /// Key of every record; records with the same key go to the same partition
    #[arg(long, value_name = "TEXT", conflicts_with = "key_field")]
    key: Option<String>,
    /// Field of the JSON line that becomes the key: text as it is, anything else as JSON
    #[arg(long, value_name = "NAME")]
    key_field: Option<String>,
    /// What separates key and value in a text line
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key", "key_field"],
          value_parser = separator)]
    key_separator: Option<String>,
    /// Timestamp of every record: milliseconds since the epoch, ISO 8601, or a time ago such as
    /// -90s, -15m, -3h, -2d [default: now]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "timestamp_field"
    )]
    timestamp: Option<When>,
    /// Field of the JSON line that becomes the timestamp: milliseconds since the epoch, or a text
    /// in ISO 8601 (UTC if it names no offset)
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
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// JSON, checked and sent as it stands
    Json,
    /// Text, sent as it stands
    Text,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn separator(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("it is empty; give what stands between key and value, such as ':'".into()),
        false => Ok(text.to_owned()),
    }
}

pub(crate) fn run(arguments: Arguments, program: &Program) -> Result<(), CommandError> {
    let json = arguments.format == Lines::Json;
    if !json && (arguments.key_field.is_some() || arguments.timestamp_field.is_some()) {
        return Err(CommandError::new(
            "--key-field and --timestamp-field read JSON lines",
            "Use --key-separator for keys of text lines, and --timestamp for one time for all.",
        ));
    }
    if json && arguments.key_separator.is_some() {
        return Err(CommandError::new(
            "--key-separator is for text lines",
            "Add --format text, or use --key-field for keys of JSON lines.",
        ));
    }
    let interrupt = Interrupt::new()?;
    let cluster = arguments.connection.open(program)?;
    check_target(&cluster, &arguments.topic, arguments.partition)?;
    let format = LineFormat {
        json,
        key: arguments.key,
        key_field: arguments.key_field,
        key_separator: arguments.key_separator,
        timestamp: arguments.timestamp.map(|when| when.resolve(SystemClock.wall())),
        timestamp_field: arguments.timestamp_field,
    };
    let mut headers = Vec::new();
    for (name, value) in &arguments.headers {
        encode_header(&mut headers, name, Some(value.as_bytes()));
    }
    let mut producer = cluster.producer()?;
    let topic = producer.topic(&arguments.topic).map_err(|e| cluster.explain(&e))?;
    interrupt.finish_in_order();
    let mut feed = Feed::new(producer, topic, &cluster, &interrupt);
    feed.partition = arguments.partition.map_or(Partition::ByKey, Partition::At);
    feed.header_count = arguments.headers.len();
    feed.headers = headers;
    let mut progress = Progress::new(total_bytes(&arguments.files), arguments.quiet);
    let input = InputFiles { files: &arguments.files, quiet: arguments.quiet, format: &format };
    let outcome = input.feed_all(&mut feed, &interrupt, &mut progress);
    // What was read is delivered, whatever came after it.
    let flushed = feed.finish();
    progress.finish(feed.sent());
    match (outcome, flushed) {
        (Ok(()), flushed) => flushed,
        (Err(CommandError::Interrupted), flushed) => {
            let (count, topic) = (feed.delivered(), &arguments.topic);
            eprintln!("Interrupted; {count} record(s) were produced to {topic}.");
            flushed.and(Err(CommandError::Interrupted))
        }
        (Err(error), Ok(())) => Err(error),
        (Err(first), Err(second)) => {
            first.tell();
            Err(second)
        }
    }
}

/// A producer waits for minutes for a topic that is not there; asking first is kinder.
fn check_target(
    cluster: &Cluster,
    topic: &str,
    partition: Option<i32>,
) -> Result<(), CommandError> {
    let described = cluster
        .admin()?
        .describe_topics(&[topic], cluster.timeout)
        .and_then(|mut answers| answers.remove(0))
        .map_err(|e| cluster.explain(&e))?;
    if let Some(wanted) = partition
        && !described.partitions.iter().any(|p| p.partition == wanted)
    {
        return Err(cluster.no_partition(&described, wanted));
    }
    Ok(())
}

/// Bytes of all files together; none if standard input is among them.
fn total_bytes(files: &[PathBuf]) -> Option<u64> {
    if files.is_empty() {
        return None;
    }
    files.iter().map(|path| Some(std::fs::metadata(path).ok()?.len())).sum()
}

/// What is read, and how.
struct InputFiles<'a> {
    files: &'a [PathBuf],
    quiet: bool,
    format: &'a LineFormat,
}

impl InputFiles<'_> {
    fn feed_all(
        &self,
        feed: &mut Feed<'_>,
        interrupt: &Interrupt,
        progress: &mut Progress,
    ) -> Result<(), CommandError> {
        let stdin = [PathBuf::from("-")];
        for path in if self.files.is_empty() { &stdin } else { self.files } {
            let name = path.display().to_string();
            let input = if name == "-" {
                if !self.quiet && std::io::stdin().is_terminal() {
                    eprintln!("Each line that you type is a record; Ctrl-D ends.");
                }
                Input::stdin(interrupt)
            } else {
                Input::open(path, interrupt)
            };
            let input = input.map_err(|error| {
                CommandError::new(format!("{name}: {error}"), "Name files that can be read.")
            })?;
            let mut input = BufReader::with_capacity(READ_BYTES, input);
            self.feed_lines(feed, &mut input, &name, interrupt, progress)?;
        }
        Ok(())
    }

    fn feed_lines(
        &self,
        feed: &mut Feed<'_>,
        input: &mut impl BufRead,
        name: &str,
        interrupt: &Interrupt,
        progress: &mut Progress,
    ) -> Result<(), CommandError> {
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            line.clear();
            number += 1;
            let wrong = |what: String| CommandError::Failed {
                what: format!("{name}, line {number}: {what}"),
                hint: Some("The lines before it were sent.".to_owned()),
            };
            let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if interrupt.came() {
                // A line that has no end yet is no record.
                return Err(CommandError::Interrupted);
            }
            let read = read.map_err(|error| wrong(error.to_string()))?;
            if read == 0 {
                return Ok(());
            }
            if read as u64 == LINE_BYTES_MAX {
                return Err(wrong(format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            let text = line::without_end(&line);
            if self.format.is_blank(text) {
                continue;
            }
            let parts = self.format.read(text).map_err(wrong)?;
            feed.send(&parts)?;
            progress.add(read as u64, feed.sent());
        }
    }
}
