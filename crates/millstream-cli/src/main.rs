//! The `millstream` program.

use std::process::Command;

use millstream_commands::{Program, run};

fn main() {
    let program = Program {
        again: Box::new(|| {
            let mut command = Command::new(
                std::env::current_exe().expect("the system knows the path of a running program"),
            );
            command.arg("broker");
            command
        }),
    };
    std::process::exit(run(std::env::args_os(), &program));
}
