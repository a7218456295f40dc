//! `millstream topics`: list, create, describe and delete topics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use clap::{Args, Subcommand};
use millstream_kafka::{Admin, NewTopic, TopicDescription, code};
use millstream_types::TopicPartition;
use serde_json::json;

use crate::connection::{Cluster, Connection};
use crate::{CommandError, Program};

/// List, create, describe and delete topics
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    millstream topics list\n  \
    millstream topics create orders payments --partitions 3\n  \
    millstream topics describe orders\n  \
    millstream topics delete orders payments")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Topics with their partitions and how many records they hold
    #[command(
        after_help = "RECORDS is the distance between first and end offset; compacted topics hold fewer.\n\n\
        Examples:\n  \
        millstream topics list\n  \
        millstream topics list --internal --broker localhost:9092\n  \
        millstream topics list --json | jq -r .topic"
    )]
    List {
        /// Kafka's own topics as well
        #[arg(long)]
        internal: bool,
        /// One JSON object per topic
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Create topics
    #[command(
        after_help = "Each topic is tried; one that is refused does not keep the others from being made. \
        Settings\nhave Kafka's names; retention.ms=-1 keeps records for ever.\n\n\
        Examples:\n  \
        millstream topics create orders\n  \
        millstream topics create orders payments --partitions 3 --if-not-exists\n  \
        millstream topics create clicks --config retention.ms=3600000 --config segment.bytes=16777216"
    )]
    Create {
        /// Names of the topics
        #[arg(required = true, value_name = "TOPIC")]
        names: Vec<String>,
        /// Number of partitions
        #[arg(long, short = 'p', value_name = "COUNT", default_value_t = 1)]
        partitions: i32,
        /// Copies of each partition; the embedded broker has one
        #[arg(long, short = 'r', value_name = "COUNT", default_value_t = 1)]
        replication_factor: i32,
        /// A topic setting; may be given several times
        #[arg(long = "config", short = 'c', value_name = "KEY=VALUE", value_parser = setting)]
        config: Vec<(String, String)>,
        /// Do nothing for topics that are there already
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Partitions with their offsets, and the settings that differ from the defaults
    #[command(after_help = "Examples:\n  \
        millstream topics describe orders\n  \
        millstream topics describe orders payments --json\n  \
        millstream topics describe orders --all | grep retention")]
    Describe {
        /// Names of the topics
        #[arg(required = true, value_name = "TOPIC")]
        names: Vec<String>,
        /// All settings, not only those that were set
        #[arg(long)]
        all: bool,
        /// One JSON object per topic
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete topics with all their records
    #[command(after_help = "There is no question first, and no way back.\n\n\
        Examples:\n  \
        millstream topics delete orders\n  \
        millstream topics delete orders payments --if-exists")]
    Delete {
        /// Names of the topics
        #[arg(required = true, value_name = "TOPIC")]
        names: Vec<String>,
        /// Do nothing for topics that are not there
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        connection: Connection,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn run(arguments: Arguments, program: &Program) -> Result<(), CommandError> {
    match arguments.verb {
        Verb::List { connection, internal, json } => {
            list(&connection.open(program)?, internal, json)
        }
        Verb::Create {
            connection,
            names,
            partitions,
            replication_factor,
            config,
            if_not_exists,
        } => {
            let config: BTreeMap<String, String> = config.into_iter().collect();
            let topics: Vec<NewTopic> = once(names)
                .into_iter()
                .map(|name| NewTopic {
                    name,
                    partitions: Some(partitions),
                    replication_factor: Some(replication_factor),
                    config: config.clone(),
                })
                .collect();
            create(&connection.open(program)?, &topics, if_not_exists)
        }
        Verb::Describe { connection, names, all, json } => {
            describe(&connection.open(program)?, &once(names), all, json)
        }
        Verb::Delete { connection, names, if_exists } => {
            delete(&connection.open(program)?, &once(names), if_exists)
        }
    }
}

fn list(cluster: &Cluster, internal: bool, as_json: bool) -> Result<(), CommandError> {
    let mut admin = cluster.admin()?;
    let mut topics = admin.list_topics(cluster.timeout).map_err(|e| cluster.explain(&e))?;
    topics.retain(|topic| internal || !topic.internal);
    let mut out = std::io::stdout().lock();
    if topics.is_empty() {
        eprintln!("No topics at {}. `millstream topics create NAME` makes one.", cluster.address());
        return Ok(());
    }
    let width = topics.iter().map(|topic| topic.name.len()).max().unwrap_or(0).max(5);
    if !as_json {
        writeln!(out, "{:<width$}  PARTITIONS  RECORDS", "TOPIC").map_err(CommandError::Output)?;
    }
    for topic in &topics {
        let records: i64 =
            ranges(cluster, admin.as_mut(), topic)?.iter().map(|(low, high)| high - low).sum();
        let partitions = topic.partitions.len();
        if as_json {
            let line = json!({"topic": topic.name, "partitions": partitions, "records": records});
            writeln!(out, "{line}")
        } else {
            writeln!(out, "{:<width$}  {partitions:>10}  {records:>7}", topic.name)
        }
        .map_err(CommandError::Output)?;
    }
    Ok(())
}

/// First offset and end of each partition.
fn ranges(
    cluster: &Cluster,
    admin: &mut dyn Admin,
    topic: &TopicDescription,
) -> Result<Vec<(i64, i64)>, CommandError> {
    let partitions: Vec<TopicPartition> = topic
        .partitions
        .iter()
        .map(|p| TopicPartition::new(topic.name.as_str(), p.partition))
        .collect();
    let found = admin.watermarks(&partitions, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    Ok(found.into_iter().map(|w| (w.low, w.high)).collect())
}

/// What went wrong with some of several topics: each is told at once, the others go on.
#[derive(Default)]
struct Refusals(usize);

impl Refusals {
    fn tell(&mut self, error: &CommandError) {
        error.tell();
        self.0 += 1;
    }

    fn outcome(self) -> Result<(), CommandError> {
        if self.0 == 0 { Ok(()) } else { Err(CommandError::Told) }
    }
}

/// Names in the order given, each once.
fn once(mut names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn create(cluster: &Cluster, topics: &[NewTopic], if_not_exists: bool) -> Result<(), CommandError> {
    let mut admin = cluster.admin()?;
    let answers = admin.create_topics(topics, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    let mut refusals = Refusals::default();
    let mut there = Vec::new();
    for (topic, answer) in topics.iter().zip(answers) {
        let name = topic.name.as_str();
        match answer {
            Ok(()) => {
                eprintln!("Created {name}.");
                there.push(name);
            }
            Err(error) if error.code() == Some(code::TOPIC_ALREADY_EXISTS) => {
                if if_not_exists {
                    eprintln!("{name} exists already.");
                    there.push(name);
                } else {
                    refusals.tell(&CommandError::new(
                        format!("topic {name:?} exists already"),
                        "Use --if-not-exists to leave it as it is, or `millstream topics \
                         describe` to look at it.",
                    ));
                }
            }
            Err(error) => refusals.tell(&cluster.explain(&error)),
        }
    }
    if !there.is_empty() {
        admin.await_topics(&there, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    }
    refusals.outcome()
}

fn describe(
    cluster: &Cluster,
    names: &[String],
    all: bool,
    as_json: bool,
) -> Result<(), CommandError> {
    let mut admin = cluster.admin()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let topics = admin.describe_topics(&names, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    let configs =
        admin.describe_configs(&names, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    let mut out = std::io::stdout().lock();
    let mut refusals = Refusals::default();
    for answers in topics.into_iter().zip(configs) {
        let (topic, settings) = match answers {
            (Ok(topic), Ok(settings)) => (topic, settings),
            (Err(error), _) | (_, Err(error)) => {
                refusals.tell(&cluster.explain(&error));
                continue;
            }
        };
        let settings: BTreeMap<String, String> = settings
            .into_iter()
            .filter(|(_, entry)| all || !entry.is_default)
            .map(|(name, entry)| (name, entry.value.unwrap_or_else(|| "(secret)".to_owned())))
            .collect();
        let ranges = ranges(cluster, admin.as_mut(), &topic)?;
        if as_json {
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .zip(&ranges)
                .map(|(p, (low, high))| {
                    json!({"partition": p.partition, "leader": p.leader, "replicas": p.replicas,
                           "in_sync": p.in_sync, "first_offset": low, "end_offset": high})
                })
                .collect();
            let line = json!({"topic": topic.name, "partitions": partitions, "config": settings});
            writeln!(out, "{line}").map_err(CommandError::Output)?;
        } else {
            print_topic(&mut out, &topic, &ranges, &settings).map_err(CommandError::Output)?;
        }
    }
    refusals.outcome()
}

fn print_topic(
    out: &mut impl Write,
    topic: &TopicDescription,
    ranges: &[(i64, i64)],
    settings: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    writeln!(out, "{}", topic.name)?;
    writeln!(out, "  PARTITION  FIRST OFFSET  END OFFSET  LEADER  REPLICAS")?;
    for (partition, (low, high)) in topic.partitions.iter().zip(ranges) {
        let leader = partition.leader.map_or("none".to_owned(), |id| id.to_string());
        let replicas: Vec<String> = partition.replicas.iter().map(i32::to_string).collect();
        let number = partition.partition;
        writeln!(out, "  {number:>9}  {low:>12}  {high:>10}  {leader:>6}  {}", replicas.join(","))?;
    }
    for (name, value) in settings {
        writeln!(out, "  {name}={value}")?;
    }
    Ok(())
}

fn delete(cluster: &Cluster, names: &[String], if_exists: bool) -> Result<(), CommandError> {
    let mut admin = cluster.admin()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = admin.delete_topics(&names, cluster.timeout).map_err(|e| cluster.explain(&e))?;
    let mut refusals = Refusals::default();
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(()) => eprintln!("Deleted {name}."),
            Err(error) if error.is_topic_missing() => {
                if if_exists {
                    eprintln!("{name} does not exist.");
                } else {
                    refusals.tell(&CommandError::new(
                        format!("topic {name:?} does not exist"),
                        "Use --if-exists to do nothing for such topics; `millstream topics list` \
                         shows what is there.",
                    ));
                }
            }
            Err(error) => refusals.tell(&cluster.explain(&error)),
        }
    }
    refusals.outcome()
}
