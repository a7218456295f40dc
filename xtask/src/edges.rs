//! Which crate may use which, and the edges that must never be.

use crate::workspace::Workspace;

/// Our crates without the common `millstream-`; the bare `millstream` is `millstream` here too.
pub(crate) fn short(name: &str) -> &str {
    name.strip_prefix("millstream-").unwrap_or(name)
}

/// Who may use whom, in ordinary dependencies. `ARCHITECTURE.md` says who does, and is held against this.
pub(crate) const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("protocol", &["types"]),
    ("value", &["types"]),
    ("formats", &["types", "value"]),
    ("state", &["types"]),
    ("engine", &["types", "value", "state"]),
    ("kafka", &["types", "protocol", "client"]),
    ("runtime", &["types", "value", "state", "engine", "kafka"]),
    ("broker", &["types", "protocol"]),
    ("client", &["types", "protocol"]),
    ("sim", &["types", "protocol", "client", "broker"]),
    ("commands", &["types", "value", "formats", "kafka", "broker", "runtime"]),
    ("cli", &["commands"]),
    ("testing", &["types", "value", "state", "engine"]),
    ("millstream", &["types", "value", "formats", "state", "engine", "kafka", "runtime", "broker"]),
    (
        "python",
        &[
            "types",
            "protocol",
            "value",
            "formats",
            "state",
            "engine",
            "kafka",
            "runtime",
            "broker",
            "commands",
            "testing",
            "millstream",
        ],
    ),
];

/// Edges that no table may ever allow, over any number of steps: from, to, why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "engine",
        &[
            "millstream-kafka",
            "millstream-broker",
            "millstream-runtime",
            "pyo3",
            "rdkafka-sys",
            "tokio",
            "mio",
            "socket2",
        ],
        "a topology must be testable by calling functions, without Kafka, Python or a socket",
    ),
    (
        "state",
        &["millstream-kafka", "millstream-engine", "pyo3", "rdkafka-sys"],
        "the state hands out changelog records and produces none: the order at a checkpoint lives in the runtime alone",
    ),
    (
        "broker",
        &[
            "millstream-engine",
            "millstream-state",
            "millstream-kafka",
            "pyo3",
            "rdkafka-sys",
            "rocksdb",
        ],
        "broker and client share the codec and nothing else, so that each can expose the other's bugs",
    ),
    (
        "value",
        &["pyo3", "millstream-state", "millstream-engine"],
        "values of a host language stand behind traits",
    ),
    (
        "client",
        &["millstream-broker", "millstream-engine", "millstream-state", "pyo3", "rdkafka-sys"],
        "broker and client share the codec and nothing else, so that each can expose the other's bugs",
    ),
    ("runtime", &["pyo3", "millstream-broker"], "the runtime serves Rust programs and any broker"),
    ("millstream", &["pyo3"], "a Rust program must not need an interpreter"),
    ("cli", &["pyo3"], "the program must start without an interpreter"),
    (
        "types",
        &["millstream-value", "millstream-state", "millstream-engine", "millstream-kafka"],
        "the shared vocabulary is at the bottom, or everything hangs on everything",
    ),
];

/// Libraries that few crates wrap for all others: library, its homes, why.
const HOMES: &[(&str, &[&str], &str)] = &[
    (
        "rocksdb",
        &["state"],
        "RocksDB's types do not leave the state, so that another back end can stand beside it",
    ),
    ("rdkafka-sys", &["kafka"], "nobody else knows which Kafka client is underneath"),
    ("pyo3", &["python"], "the rest serves Rust programs, and is tested without an interpreter"),
    (
        "kafka-protocol",
        &["broker", "client", "sim"],
        "both ends of the wire decode messages, and the simulator's witnesses; batches are walked by millstream-protocol",
    ),
];

/// Every edge between our crates is in [`MAY_USE`].
pub(crate) fn only_allowed(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, found) in &workspace.crates {
        let Some((_, allowed)) = MAY_USE.iter().find(|(from, _)| *from == short(name)) else {
            findings.push(format!(
                "{name} is not in the table MAY_USE (xtask/src/edges.rs): a new crate says there what it may use"
            ));
            continue;
        };
        for used in found.direct.iter().filter(|used| workspace.crates.contains_key(*used)) {
            if !allowed.contains(&short(used)) {
                findings.push(format!(
                    "{name} uses {used}, which MAY_USE (xtask/src/edges.rs) does not allow: a new edge is a decision; \
                     write it into the table, into ARCHITECTURE.md, and its reason into the commit"
                ));
            }
        }
    }
    findings
}

/// None of [`NEVER`], however many crates are between; and nothing hangs on the rim.
pub(crate) fn none_forbidden(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, found) in &workspace.crates {
        for (from, targets, why) in NEVER.iter().filter(|(from, ..)| *from == short(name)) {
            for target in targets.iter().filter(|target| found.reached.contains(**target)) {
                findings.push(format!("{from} reaches {target}: {why}"));
            }
        }
        for rim in ["millstream-python", "millstream-cli"] {
            if found.reached.contains(rim) {
                findings
                    .push(format!("{name} uses {rim}: the rim wires the others and is no library"));
            }
        }
    }
    findings
}

/// A library with a home is named in the manifests of its homes only.
pub(crate) fn libraries_stay_home(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, found) in &workspace.crates {
        for (library, homes, why) in HOMES {
            if found.direct.contains(*library) && !homes.contains(&short(name)) {
                let homes = homes.join(", millstream-");
                findings.push(format!(
                    "{name} depends on {library}, whose home is millstream-{homes}: {why}"
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::workspace::Crate;

    fn workspace(edges: &[(&str, &[&str], &[&str])]) -> Workspace {
        let set =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let crates: BTreeMap<_, _> = edges
            .iter()
            .map(|(name, direct, reached)| {
                ((*name).to_owned(), Crate { direct: set(direct), reached: set(reached) })
            })
            .collect();
        Workspace { root: "".into(), crates, files: Vec::new() }
    }

    #[test]
    fn a_forbidden_edge_is_found_over_several_steps() {
        let reached = &["millstream-state", "rocksdb", "rdkafka-sys"];
        let found =
            none_forbidden(&workspace(&[("millstream-engine", &["millstream-state"], reached)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("engine reaches rdkafka-sys: a topology must be testable"),
            "{found:?}"
        );
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        let found = only_allowed(&workspace(&[
            ("millstream-types", &["millstream-value"], &["millstream-value"]),
            ("millstream-value", &["serde_json"], &["serde_json"]),
        ]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("millstream-types uses millstream-value"), "{found:?}");
    }

    #[test]
    fn a_library_away_from_home_is_found() {
        let found =
            libraries_stay_home(&workspace(&[("millstream-runtime", &["rocksdb"], &["rocksdb"])]));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
