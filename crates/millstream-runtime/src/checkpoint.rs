//! The steps of a checkpoint, decided over facts; the worker carries them out.
//!
//! Under at-least-once the order is: changelog entries and markers to the producer, everything
//! delivered, offsets committed, local state written (parity rows CK-03, CK-08). The worker keeps
//! polling between the steps, so that a slow broker does not cost the group membership.

use std::time::Duration;

/// When a checkpoint is due (parity rows A-05, A-06, CK-02).
#[derive(Clone, Copy, Debug)]
pub struct CheckpointPolicy {
    /// Due when it has been open for that long.
    pub interval: Duration,
    /// Due when it covers that many input offsets; 0: never for that reason.
    pub every: u64,
    /// Due when stores hold that many changed bytes. A soft bound: one record may close many
    /// windows.
    pub dirty_bytes_max: usize,
}

/// What an open checkpoint has gathered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gathered {
    /// How long it has been open.
    pub open_for: Duration,
    /// Input offsets it covers, over all partitions.
    pub covered: u64,
    /// Bytes changed in stores.
    pub dirty_bytes: usize,
}

impl CheckpointPolicy {
    /// Whether the checkpoint is to be committed now. One that covers nothing never is.
    pub fn due(&self, gathered: &Gathered) -> bool {
        gathered.covered > 0
            && (gathered.open_for >= self.interval
                || (self.every > 0 && gathered.covered >= self.every)
                || gathered.dirty_bytes >= self.dirty_bytes_max)
    }
}

/// How far the commit of the offsets has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitProgress {
    /// Not asked for.
    #[default]
    NotSent,
    /// Asked for, not answered.
    Sent,
    /// The group coordinator has the offsets.
    Confirmed,
    /// It refused them.
    Failed,
}

/// Where the commit of a checkpoint stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Every changelog entry and marker was taken by the producer.
    pub changelog_written: bool,
    /// Records taken by the producer that no broker has confirmed yet.
    pub undelivered: usize,
    /// A record of this checkpoint could not be delivered.
    pub delivery_failed: bool,
    /// The offsets.
    pub commit: CommitProgress,
    /// Every store partition was written.
    pub state_written: bool,
    /// The time allowed for the checkpoint has passed (CK-05).
    pub overdue: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointStep {
    /// Hand changelog entries and markers to the producer.
    WriteChangelog,
    /// Let the producer deliver.
    AwaitDelivery,
    /// Ask the group coordinator to take the offsets.
    CommitOffsets,
    /// Let it answer.
    AwaitCommit,
    /// Write the local stores.
    WriteState,
    /// The checkpoint is complete.
    Done,
    /// A record was not delivered: nothing is committed, the run fails.
    FailDelivery,
    /// Records are still under way after the time allowed.
    FailOverdue,
    /// The coordinator refused the offsets, or did not answer in time.
    FailCommit,
}

/// The next step of a checkpoint under at-least-once.
///
/// ```
/// use millstream_runtime::checkpoint::{CheckpointStep, Facts, next_step};
/// let facts = Facts { changelog_written: true, undelivered: 3, ..Facts::default() };
/// assert_eq!(next_step(&facts), CheckpointStep::AwaitDelivery);
/// ```
pub fn next_step(facts: &Facts) -> CheckpointStep {
    match facts.commit {
        CommitProgress::Confirmed if facts.state_written => CheckpointStep::Done,
        CommitProgress::Confirmed => CheckpointStep::WriteState,
        CommitProgress::Failed => CheckpointStep::FailCommit,
        CommitProgress::Sent if facts.overdue => CheckpointStep::FailCommit,
        CommitProgress::Sent => CheckpointStep::AwaitCommit,
        CommitProgress::NotSent if facts.delivery_failed => CheckpointStep::FailDelivery,
        CommitProgress::NotSent if facts.overdue => CheckpointStep::FailOverdue,
        CommitProgress::NotSent if !facts.changelog_written => CheckpointStep::WriteChangelog,
        CommitProgress::NotSent if facts.undelivered > 0 => CheckpointStep::AwaitDelivery,
        CommitProgress::NotSent => CheckpointStep::CommitOffsets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_facts() -> impl Iterator<Item = Facts> {
        let commits = [
            CommitProgress::NotSent,
            CommitProgress::Sent,
            CommitProgress::Confirmed,
            CommitProgress::Failed,
        ];
        (0..32_u32).flat_map(move |bits| {
            commits.map(|commit| Facts {
                changelog_written: bits & 1 != 0,
                undelivered: (bits >> 1 & 1) as usize,
                delivery_failed: bits & 4 != 0,
                commit,
                state_written: bits & 8 != 0,
                overdue: bits & 16 != 0,
            })
        })
    }

    /// CK-03, over every combination of facts: offsets go only when everything is delivered,
    /// state only when the offsets are in, and nothing after a failure.
    #[test]
    fn order_holds_for_all_facts() {
        for facts in all_facts() {
            match next_step(&facts) {
                CheckpointStep::CommitOffsets => {
                    assert!(facts.changelog_written, "{facts:?}");
                    assert_eq!(facts.undelivered, 0, "{facts:?}");
                    assert!(!facts.delivery_failed && !facts.overdue, "{facts:?}");
                    assert_eq!(facts.commit, CommitProgress::NotSent, "{facts:?}");
                }
                CheckpointStep::WriteState | CheckpointStep::Done => {
                    assert_eq!(facts.commit, CommitProgress::Confirmed, "{facts:?}");
                }
                CheckpointStep::WriteChangelog | CheckpointStep::AwaitDelivery => {
                    assert_eq!(facts.commit, CommitProgress::NotSent, "{facts:?}");
                    assert!(!facts.delivery_failed && !facts.overdue, "{facts:?}");
                }
                CheckpointStep::AwaitCommit => assert!(!facts.overdue, "{facts:?}"),
                CheckpointStep::FailDelivery => assert!(facts.delivery_failed, "{facts:?}"),
                CheckpointStep::FailOverdue => assert!(facts.overdue, "{facts:?}"),
                CheckpointStep::FailCommit => {
                    assert_ne!(facts.commit, CommitProgress::Confirmed, "{facts:?}");
                }
            }
        }
    }

    /// A-05, A-06, CK-02: time, covered offsets or changed bytes; nothing covered, nothing due.
    #[test]
    fn what_makes_a_checkpoint_due() {
        let policy = CheckpointPolicy {
            interval: Duration::from_secs(5),
            every: 100,
            dirty_bytes_max: 1_000,
        };
        let open = Gathered { covered: 1, ..Gathered::default() };
        assert!(!policy.due(&open));
        assert!(policy.due(&Gathered { open_for: Duration::from_secs(5), ..open }));
        assert!(policy.due(&Gathered { covered: 100, ..open }));
        assert!(policy.due(&Gathered { dirty_bytes: 1_000, ..open }));
        let empty = Gathered { open_for: Duration::from_secs(50), ..Gathered::default() };
        assert!(!policy.due(&empty));
    }
}
