//! `ARCHITECTURE.md` against the workspace, so that the map never describes crates that are gone.

use std::collections::BTreeMap;

use crate::edges::{MAY_USE, short};
use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";

/// The paragraphs under each heading of the form ``### `millstream-types` ``.
fn paragraphs(map: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for line in map.lines() {
        if line.starts_with('#') {
            let name = line.trim_start_matches("### `").trim_end().trim_end_matches('`');
            current = line.starts_with("### `millstream").then(|| name.to_owned());
            if let Some(name) = &current {
                found.entry(name.clone()).or_default();
            }
        } else if let Some(text) = current.as_ref().and_then(|name| found.get_mut(name)) {
            text.push_str(line);
            text.push(' ');
        }
    }
    found
}

fn map(workspace: &Workspace) -> String {
    std::fs::read_to_string(workspace.root.join(MAP)).expect("ARCHITECTURE.md is in the root")
}

/// Every crate has its heading and every heading its crate.
pub(crate) fn crates_match(workspace: &Workspace) -> Vec<String> {
    let map = paragraphs(&map(workspace));
    let missing = workspace.crates.keys().filter(|name| !map.contains_key(*name));
    let gone = map.keys().filter(|name| !workspace.crates.contains_key(*name));
    missing
        .map(|name| format!("{MAP} has no heading ### `{name}`: who looks for it will not find it"))
        .chain(gone.map(|name| format!("{MAP} describes {name}, which is not in the workspace")))
        .collect()
}

/// Every crate says what never happens in it.
pub(crate) fn invariants_stand(workspace: &Workspace) -> Vec<String> {
    paragraphs(&map(workspace))
        .iter()
        .filter(|(_, text)| !text.contains("*Invariant:*"))
        .map(|(name, _)| {
            format!(
                "{MAP}: {name} has no *Invariant:* what a crate never does is what it is good for"
            )
        })
        .collect()
}

/// The sentence that begins with "Uses" names every crate that is used, and none that must not be.
pub(crate) fn edges_match(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, text) in paragraphs(&map(workspace)) {
        let Some((_, allowed)) = MAY_USE.iter().find(|(from, _)| *from == short(&name)) else {
            continue;
        };
        let Some(found) = workspace.crates.get(&name) else { continue };
        let Some(said) = uses(&text) else {
            findings.push(format!(
                "{MAP}: {name} does not say what it uses (a sentence \"Uses types, state.\")"
            ));
            continue;
        };
        // The rim is told in one word; the table has the list.
        if said.contains("everything") {
            continue;
        }
        let words: Vec<&str> = said.split(|c: char| !c.is_alphanumeric()).collect();
        for used in found.direct.iter().filter(|used| workspace.crates.contains_key(*used)) {
            if !words.contains(&short(used)) {
                findings
                    .push(format!("{MAP}: {name} uses {used} and does not say so after \"Uses\""));
            }
        }
        for (other, _) in MAY_USE {
            if words.contains(other) && !allowed.contains(other) {
                findings.push(format!(
                    "{MAP}: {name} says it uses {other}, which xtask/src/edges.rs does not allow"
                ));
            }
        }
    }
    findings
}

/// What follows "Uses", up to the end of the sentence.
fn uses(text: &str) -> Option<&str> {
    let begin = text.find("Uses ")? + "Uses ".len();
    let rest = &text[begin..];
    Some(&rest[..rest.find(". ").unwrap_or(rest.len())])
}

/// Paths in backquotes that begin with a folder of ours exist.
pub(crate) fn paths_lead_somewhere(workspace: &Workspace) -> Vec<String> {
    let text = map(workspace);
    let mut findings = Vec::new();
    for path in text.split('`').skip(1).step_by(2) {
        let ours = ["crates/", "python/", "tools/", "tests/", "examples/", "bench/", "docs/"];
        let is_path =
            ours.iter().any(|folder| path.starts_with(folder)) && !path.contains([' ', '*', '<']);
        if is_path && !workspace.root.join(path).exists() {
            findings.push(format!(
                "{MAP} points to `{path}`, which is not there: a map that errs is worse than none"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# A\n### `millstream-state`\nStores. Uses types. More.\n*Invariant:* none.\n## Other\nUses all.\n";

    #[test]
    fn paragraphs_end_at_the_next_heading() {
        let found = paragraphs(SMALL);
        assert_eq!(found.len(), 1);
        assert!(found["millstream-state"].contains("*Invariant:*"));
        assert!(!found["millstream-state"].contains("Uses all"));
    }

    #[test]
    fn uses_is_one_sentence() {
        assert_eq!(uses(&paragraphs(SMALL)["millstream-state"]), Some("types"));
    }
}
