//! Checks on the repository itself: `cargo run -p xtask` prints what is wrong, `cargo test -p xtask` fails for it.
//!
//! A rule that nobody checks is kept until the first hurry. Each check returns its findings as text, one per place,
//! and each finding says why the rule is there, because that is what the reader needs in order to agree.

mod architecture;
mod edges;
mod sources;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

/// What a check found, one text per place.
type Check = fn(&Workspace) -> Vec<String>;

/// The checks, each also a test of its own, so that a run names the rule that was broken.
macro_rules! checks {
    ($($name:ident: $check:path;)*) => {
        const CHECKS: &[(&str, Check)] = &[$((stringify!($name), $check),)*];

        #[cfg(test)]
        mod repository {
            use super::*;

            $(
                #[test]
                fn $name() {
                    let findings = $check(&Workspace::read());
                    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n"));
                }
            )*
        }
    };
}

checks! {
    every_crate_is_on_the_map: architecture::crates_match;
    every_crate_has_an_invariant: architecture::invariants_stand;
    the_map_tells_the_edges: architecture::edges_match;
    the_map_leads_somewhere: architecture::paths_lead_somewhere;
    edges_are_allowed_ones: edges::only_allowed;
    no_forbidden_edge: edges::none_forbidden;
    libraries_stay_in_their_crate: edges::libraries_stay_home;
    modules_have_a_subject: sources::modules_have_a_subject;
    nothing_of_one_machine: sources::nothing_of_one_machine;
    nothing_unfinished: sources::nothing_unfinished;
    heads_say_what_it_is: sources::heads_say_what_it_is;
    pure_crates_do_no_io: sources::pure_crates_do_no_io;
}

fn main() -> ExitCode {
    let workspace = Workspace::read();
    let mut clean = true;
    for (name, check) in CHECKS {
        for finding in check(&workspace) {
            clean = false;
            eprintln!("{name}: {finding}");
        }
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
