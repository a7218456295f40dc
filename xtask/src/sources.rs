//! Rules for the files themselves.

use std::path::Path;

use crate::workspace::Workspace;

const CODE: &[&str] = &["crates", "python", "tools", "tests", "examples", "bench", "xtask"];

/// Files that may be long lists of foreign names: the lock file records where crates came from.
const NOT_OURS: &[&str] = &["Cargo.lock", "LICENSE"];

/// No module whose name only says that things were left over.
pub(crate) fn modules_have_a_subject(workspace: &Workspace) -> Vec<String> {
    let empty_names = ["utils", "util", "common", "helpers", "helper", "misc"];
    workspace
        .sources(CODE, &["rs", "py", "pyi"])
        .filter_map(|file| {
            let named = file
                .iter()
                .filter_map(|part| part.to_str())
                .map(|part| part.split('.').next().unwrap_or(part));
            let bad = named.into_iter().find(|part| empty_names.contains(part))?.to_owned();
            Some(format!(
                "{}: a module is named for what is in it, and \"{bad}\" names nothing",
                file.display()
            ))
        })
        .collect()
}

/// Nothing that is true only on the machine of who wrote it.
pub(crate) fn nothing_of_one_machine(workspace: &Workspace) -> Vec<String> {
    // Written in two halves, or this file would be the first to break the rule.
    let strings = [
        (concat!("/wo", "rk/"), "a path of somebody's machine"),
        (concat!("../sha", "red"), "a folder that is not in the repository"),
        (concat!("/ro", "ot/"), "a path of somebody's machine"),
        (
            concat!("pypi", ".org"),
            "the host of a package registry: name the package, the client knows where it is",
        ),
        (
            concat!("python", "hosted"),
            "the host of a package registry: name the package, the client knows where it is",
        ),
        (
            concat!("index.crates", ".io"),
            "the host of a package registry: name the crate, cargo knows where it is",
        ),
        (
            concat!("static.crates", ".io"),
            "the host of a package registry: name the crate, cargo knows where it is",
        ),
        (
            concat!("repo.maven", ".apache"),
            "the host of a package registry: Maven knows where it is",
        ),
        (concat!("repo1.", "maven"), "the host of a package registry: Maven knows where it is"),
        (concat!("registry.", "npmjs"), "the host of a package registry: npm knows where it is"),
        (concat!("deb.", "debian"), "the host of a package registry: apt knows where it is"),
    ];
    let mut findings = Vec::new();
    for file in workspace
        .files
        .iter()
        .filter(|file| !NOT_OURS.iter().any(|name| file.as_path() == Path::new(name)))
    {
        let Some(text) = workspace.text(file) else { continue };
        each_line(
            file,
            &text,
            |line| {
                let (found, why) = strings.iter().find(|(string, _)| line.contains(string))?;
                Some(format!("\"{found}\" is {why}"))
            },
            &mut findings,
        );
    }
    findings
}

/// What is missing is an error that says so, or an issue; not a note in the source.
pub(crate) fn nothing_unfinished(workspace: &Workspace) -> Vec<String> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
    ];
    let mut findings = Vec::new();
    for file in workspace.sources(CODE, &["rs", "py", "pyi", "sh", "toml"]) {
        let text = workspace.text(file).unwrap_or_default();
        each_line(
            file,
            &text,
            |line| {
                let word = words.iter().find(|word| line.contains(**word))?;
                Some(format!(
                    "\"{word}\": what is not done is an error \"not supported yet\" or an issue"
                ))
            },
            &mut findings,
        );
    }
    findings
}

/// Each crate opens with its idea (`//!`), each Python module with a docstring.
pub(crate) fn heads_say_what_it_is(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for file in workspace.sources(&["crates", "xtask"], &["rs"]) {
        let is_head = ["src/lib.rs", "src/main.rs"].iter().any(|head| file.ends_with(head));
        if is_head && !workspace.text(file).unwrap_or_default().starts_with("//!") {
            findings.push(format!(
                "{}: begins with `//!`: first the idea, then the types",
                file.display()
            ));
        }
    }
    for file in workspace.sources(&["python", "tools", "bench", "examples"], &["py"]) {
        let text = workspace.text(file).unwrap_or_default();
        let first =
            text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        if first.is_some_and(|line| !line.starts_with("\"\"\"") && !line.starts_with("r\"\"\"")) {
            findings.push(format!(
                "{}: begins with a docstring that says what the module is for",
                file.display()
            ));
        }
    }
    findings
}

/// The crates whose invariant is that they decide and do nothing: no sockets, and but for the state no files.
pub(crate) fn pure_crates_do_no_io(workspace: &Workspace) -> Vec<String> {
    let rules: [(&str, &[&str]); 4] = [
        ("crates/millstream-engine/src", &["std::net", "std::fs"]),
        ("crates/millstream-value/src", &["std::net", "std::fs"]),
        ("crates/millstream-protocol/src", &["std::net", "std::fs"]),
        ("crates/millstream-state/src", &["std::net"]),
    ];
    let mut findings = Vec::new();
    for (folder, banned) in rules {
        for file in workspace.sources(&[folder], &["rs"]) {
            let text = workspace.text(file).unwrap_or_default();
            each_line(
                file,
                &text,
                |line| {
                    let word = banned.iter().find(|word| line.contains(**word))?;
                    Some(format!(
                        "{word} in a crate that must be runnable by a simulator: hand in what does the I/O"
                    ))
                },
                &mut findings,
            );
        }
    }
    findings
}

/// Adds what `check` says of a line, with the place.
fn each_line(
    file: &Path,
    text: &str,
    check: impl Fn(&str) -> Option<String>,
    findings: &mut Vec<String>,
) {
    for (number, line) in text.lines().enumerate() {
        if let Some(said) = check(line) {
            findings.push(format!("{}:{}: {said}", file.display(), number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_with_its_number() {
        let mut findings = Vec::new();
        let check = |line: &str| line.contains('b').then(|| "has a b".to_owned());
        each_line(Path::new("x.rs"), "a\nb\n", check, &mut findings);
        assert_eq!(findings, ["x.rs:2: has a b"]);
    }
}
