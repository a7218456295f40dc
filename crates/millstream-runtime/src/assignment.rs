//! The life of a task under a consumer group.
//!
//! ```text
//!             Assigned                 stores ready
//!  (nothing) ─────────► Restoring ───────────────────► Running ◄──┐ Assigned again
//!                │          │                             │       │
//!                │          │ Revoked, Lost               │ Revoked (after its checkpoint)
//!                │          ▼                             ▼       │
//!                │       Closed ◄──────────────────── Suspended ──┘
//!                │                 not assigned again
//!                └─ stateless: Running at once; Lost: Closed without a commit
//! ```
//!
//! With the eager protocol every rebalance takes all partitions away first. A suspended task
//! keeps its stores open, so that one which comes back goes on at once.

use millstream_engine::{Task, TaskId};
use millstream_state::SourceOffsets;
use millstream_types::{Offset, TopicPartition};

use crate::restore::StoreRestore;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Its stores are being brought to the committed offsets.
    Restoring,
    /// It processes records.
    Running,
    /// Its partitions were revoked after its checkpoint; they may come back.
    Suspended,
    /// It is gone.
    Closed,
}

impl TaskState {
    /// Whether the life of a task goes that way.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use TaskState::{Closed, Restoring, Running, Suspended};
        matches!(
            (self, next),
            (Restoring, Running | Closed)
                | (Running, Suspended | Closed)
                | (Suspended, Running | Closed)
        )
    }
}

/// A task and what the worker knows of it.
pub(crate) struct Slot {
    pub(crate) id: TaskId,
    /// Its source partitions.
    pub(crate) partitions: Vec<TopicPartition>,
    /// What the group has committed of them.
    pub(crate) committed: SourceOffsets,
    pub(crate) stage: Stage,
    /// Offset at which a source partition had no more records, when that was last said.
    pub(crate) ends: Vec<(TopicPartition, Offset)>,
}

/// A task's state, with what belongs to it.
pub(crate) enum Stage {
    Restoring(Vec<StoreRestore>),
    Running(Box<Task>),
    Suspended(Box<Task>),
}

impl Slot {
    pub(crate) fn state(&self) -> TaskState {
        match self.stage {
            Stage::Restoring(_) => TaskState::Restoring,
            Stage::Running(_) => TaskState::Running,
            Stage::Suspended(_) => TaskState::Suspended,
        }
    }

    /// The task, if it may process records.
    pub(crate) fn running(&mut self) -> Option<&mut Task> {
        match &mut self.stage {
            Stage::Running(task) => Some(task),
            _ => None,
        }
    }

    /// Takes the stores of a task that restores; [`Slot::start`] follows.
    pub(crate) fn take_stores(&mut self) -> Vec<StoreRestore> {
        match &mut self.stage {
            Stage::Restoring(stores) => std::mem::take(stores),
            _ => Vec::new(),
        }
    }

    /// The stores are where they should be: records may come.
    pub(crate) fn start(&mut self, task: Task) {
        self.go(TaskState::Running, |_| Stage::Running(Box::new(task)));
    }

    /// The partitions were revoked, after the task's checkpoint.
    pub(crate) fn suspend(&mut self) {
        self.ends.clear();
        self.go(TaskState::Suspended, |stage| match stage {
            Stage::Running(task) => Stage::Suspended(task),
            other => other,
        });
    }

    /// The partitions came back.
    pub(crate) fn resume(&mut self) {
        self.go(TaskState::Running, |stage| match stage {
            Stage::Suspended(task) => Stage::Running(task),
            other => other,
        });
    }

    /// The task is gone; its stores are closed.
    pub(crate) fn close(self) {
        self.check(TaskState::Closed);
    }

    fn go(&mut self, next: TaskState, change: impl FnOnce(Stage) -> Stage) {
        self.check(next);
        let stage = std::mem::replace(&mut self.stage, Stage::Restoring(Vec::new()));
        self.stage = change(stage);
    }

    fn check(&self, next: TaskState) {
        let now = self.state();
        assert!(now.may_become(next), "a task does not go from {now:?} to {next:?}");
    }

    /// Notes that a partition has nothing more for now.
    pub(crate) fn reached_end(&mut self, partition: TopicPartition, end: Offset) {
        match self.ends.iter_mut().find(|(known, _)| *known == partition) {
            Some((_, offset)) => *offset = end,
            None => self.ends.push((partition, end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TaskState::{Closed, Restoring, Running, Suspended};

    /// The diagram at the head of this file.
    #[test]
    fn life_of_a_task() {
        let all = [Restoring, Running, Suspended, Closed];
        let legal = [
            (Restoring, Running),
            (Restoring, Closed),
            (Running, Suspended),
            (Running, Closed),
            (Suspended, Running),
            (Suspended, Closed),
        ];
        for from in all {
            for to in all {
                assert_eq!(from.may_become(to), legal.contains(&(from, to)), "{from:?} {to:?}");
            }
        }
    }
}
