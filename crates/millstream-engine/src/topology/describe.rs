//! The graph as text, and its fingerprint.

use std::fmt::Write;

use super::{Node, NodeId, Source, StoreKind, StoreMedium, StoreSpec, SubTopology};

pub(super) fn describe(
    nodes: &[Node],
    sources: &[Source],
    stores: &[StoreSpec],
    sub_topologies: &[SubTopology],
) -> String {
    let mut out = String::new();
    for sub_topology in sub_topologies {
        writeln!(out, "sub-topology {}", sub_topology.id.0).expect("writing to a string");
        let mut shown = vec![false; nodes.len()];
        for source in &sub_topology.sources {
            let source = &sources[*source];
            let kind = if source.is_repartition() { "repartition source" } else { "source" };
            writeln!(out, "  {kind} \"{}\" ({} partitions)", source.topic, source.partitions)
                .expect("writing to a string");
            for child in &nodes[source.root.at()].children {
                describe_node(nodes, *child, 2, &mut shown, &mut out);
            }
        }
        for store in &sub_topology.stores {
            let store = &stores[store.0 as usize];
            let kind = match (store.kind, store.medium) {
                (StoreKind::User, StoreMedium::Disk) => "user state",
                (StoreKind::User, StoreMedium::Memory) => "user state, in memory",
                (StoreKind::Window, _) => "window",
            };
            write!(out, "  store \"{}\" of \"{}\" ({kind}", store.name, store.stream_id)
                .expect("writing to a string");
            match &store.changelog_topic {
                Some(topic) => writeln!(out, ", changelog \"{topic}\")"),
                None => writeln!(out, ", no changelog)"),
            }
            .expect("writing to a string");
        }
    }
    out
}

fn describe_node(nodes: &[Node], id: NodeId, depth: usize, shown: &mut [bool], out: &mut String) {
    let node = &nodes[id.at()];
    // A node with several parents (concat) is written out below the first.
    let again = std::mem::replace(&mut shown[id.at()], true);
    writeln!(out, "{}{}{}", "  ".repeat(depth), node.name, if again { " (see above)" } else { "" })
        .expect("writing to a string");
    if again {
        return;
    }
    for child in &node.children {
        describe_node(nodes, *child, depth + 1, shown, out);
    }
}

/// FNV-1a, 64 bits: it is written into state directories, so it may never change.
pub(super) fn fingerprint(description: &str) -> String {
    let hash = description.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    /// The constants are FNV's own; the second value is from its published test suite.
    #[test]
    fn fingerprint_is_fnv_1a() {
        assert_eq!(super::fingerprint(""), "cbf29ce484222325");
        assert_eq!(super::fingerprint("foobar"), "85944171f73967e8");
    }
}
