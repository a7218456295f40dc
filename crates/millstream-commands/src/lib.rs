//! The commands of the `millstream` program, as a library: the Rust binary and the Python
//! package both call [`run`].
//!
//! One file per command. A command parses its arguments, asks the crates below, and prints: the
//! result to standard output, so that it can be piped, everything else to standard error.

mod broker;
mod connection;
mod consume;
mod failure;
mod interrupt;
mod produce;
mod topics;
mod when;

use std::ffi::OsString;
use std::process::Command;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

pub use failure::CommandError;

/// What a command needs to know of the program it runs in.
pub struct Program {
    /// Makes the command line by which the program starts itself again, without arguments; used
    /// for the embedded broker, which is a process of its own.
    pub again: Box<dyn Fn() -> Command + Send + Sync>,
}

#[derive(Parser)]
#[command(
    name = "millstream",
    version,
    about = "Stream processing for Apache Kafka",
    long_about = "Stream processing for Apache Kafka: the embedded broker, and tools to look at topics.\n\n\
        Commands talk to the broker of --broker, else of the environment variable \
        Quix__Broker__Address, else to the embedded broker of --data-dir, of MILLSTREAM_DATA_DIR, \
        or of this directory (.millstream/), which is started if it is not running and ends by \
        itself. An application without a broker address uses the same one.",
    after_help = "A first round:\n  \
        millstream topics create orders --partitions 3\n  \
        echo '{\"id\": 1, \"user\": \"ann\"}' | millstream produce orders --key-field user\n  \
        millstream consume orders\n  \
        millstream topics list\n\n\
        On a cluster:\n  \
        millstream topics list --broker kafka-1:9092 --settings-file client.properties\n\n\
        `millstream COMMAND --help` has examples of each command. Exit status: 0 done, 1 failed,\n\
        2 asked wrongly, 130 interrupted.",
    disable_help_subcommand = true
)]
struct Arguments {
    /// Say more on standard error: once for what is done, twice for how
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 900)]
    verbose: u8,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Broker(broker::Arguments),
    Topics(topics::Arguments),
    Produce(produce::Arguments),
    Consume(consume::Arguments),
}

/// Runs the program with `arguments` (the program's name first) and returns its exit code: 0 if
/// it did what was asked, 1 if it could not, 2 if it was asked wrongly, 130 after Ctrl-C.
pub fn run(arguments: impl IntoIterator<Item = OsString>, program: &Program) -> i32 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Whoever pipes the help into `head` does not care about the rest of it.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let _logging = log_to_stderr(arguments.verbose, matches!(arguments.command, Verb::Broker(_)));
    let outcome = match arguments.command {
        Verb::Broker(arguments) => broker::run(arguments),
        Verb::Topics(arguments) => topics::run(arguments, program),
        Verb::Produce(arguments) => produce::run(arguments, program),
        Verb::Consume(arguments) => consume::run(arguments, program),
    };
    match outcome {
        Ok(()) => 0,
        Err(CommandError::Interrupted) => 130,
        // The reader of our output went away (`millstream consume t | head`): nothing is wrong.
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(CommandError::Told) => 1,
        Err(error) => {
            error.tell();
            1
        }
    }
}

/// What the crates below have to say goes to standard error, as long as what this returns is kept.
/// In a process that listens already (Python's logging), that holds for this thread, on which
/// clients log; a broker's own thread goes on reporting there.
///
/// A tool reports its own errors, and what its client library warns of is in them; a broker that
/// runs for days has nobody else to tell of its warnings.
fn log_to_stderr(verbose: u8, is_broker: bool) -> Option<tracing::subscriber::DefaultGuard> {
    let level = match verbose {
        0 if is_broker => LevelFilter::WARN,
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let subscriber: Arc<dyn tracing::Subscriber + Send + Sync> = Arc::new(
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .finish(),
    );
    match tracing::subscriber::set_global_default(Arc::clone(&subscriber)) {
        Ok(()) => None,
        Err(_) => Some(tracing::subscriber::set_default(subscriber)),
    }
}
