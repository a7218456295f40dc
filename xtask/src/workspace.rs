//! What cargo and git know about this repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Programs for those who work on the repository; nothing is built on them.
const TOOLS: &[&str] = &["xtask", "bench-raw"];

/// The crates with their edges, and the files.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Our crates by name, without those of [`TOOLS`].
    pub(crate) crates: BTreeMap<String, Crate>,
    /// Files that are in the repository or could be added, relative to the root.
    pub(crate) files: Vec<PathBuf>,
}

/// A crate of ours. Dev-dependencies are left out: a test may use anything.
pub(crate) struct Crate {
    /// What it depends on itself, ours and foreign.
    pub(crate) direct: BTreeSet<String>,
    /// What it reaches through whatever it depends on.
    pub(crate) reached: BTreeSet<String>,
}

impl Workspace {
    /// Asks `cargo metadata` and `git ls-files`.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask lies in the root")
            .to_owned();
        let metadata =
            output(&root, env!("CARGO"), &["metadata", "--format-version", "1", "--locked"]);
        let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata prints JSON");
        let crates = read_crates(&metadata);
        let listed =
            output(&root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
        let files: BTreeSet<PathBuf> = listed.lines().map(PathBuf::from).collect();
        // A file that was deleted and not yet committed is still listed.
        let files = files.into_iter().filter(|file| root.join(file).is_file()).collect();
        Workspace { root, crates, files }
    }

    /// The text of a file of the repository; `None` for what is not text.
    pub(crate) fn text(&self, file: &Path) -> Option<String> {
        String::from_utf8(std::fs::read(self.root.join(file)).expect("a listed file can be read"))
            .ok()
    }

    /// The files under `folders` with one of these extensions.
    pub(crate) fn sources<'a>(
        &'a self,
        folders: &'a [&str],
        extensions: &'a [&str],
    ) -> impl Iterator<Item = &'a Path> {
        self.files.iter().map(PathBuf::as_path).filter(move |file| {
            folders.iter().any(|folder| file.starts_with(folder))
                && file
                    .extension()
                    .is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
        })
    }
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(
        done.status.success(),
        "{program} {} failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).expect("it prints text")
}

fn read_crates(metadata: &Value) -> BTreeMap<String, Crate> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();

    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        // `kind` is null for an ordinary dependency.
        let counts =
            |edge: &Value| list(&edge["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let targets = list(&node["deps"])
            .iter()
            .filter(|edge| counts(edge))
            .map(|edge| text(&edge["pkg"]))
            .collect();
        edges.insert(text(&node["id"]), targets);
    }
    let named = |ids: &BTreeSet<String>| ids.iter().map(|id| names[id].clone()).collect();

    let mut crates = BTreeMap::new();
    let members = list(&metadata["workspace_members"]);
    for id in members.iter().map(text).filter(|id| !TOOLS.contains(&names[id].as_str())) {
        let direct: BTreeSet<String> = edges[&id].iter().cloned().collect();
        let mut reached = direct.clone();
        let mut open: Vec<String> = direct.iter().cloned().collect();
        while let Some(next) = open.pop() {
            open.extend(
                edges[&next].iter().filter(|target| reached.insert((*target).clone())).cloned(),
            );
        }
        crates
            .insert(names[&id].clone(), Crate { direct: named(&direct), reached: named(&reached) });
    }
    crates
}
