//! The `millstream` program.

use std::process::Command;

use millstream_commands::{Program, run};

fn main() {
    let program = Program {
        again: Box::new(|| {
            Command::new(
                std::env::current_exe().expect("the system knows the path of a running program"),
            )
        }),
    };
    std::process::exit(run(std::env::args_os(), &program));
}
