//! What is ours, and what the owner has been told about it and has not answered yet.

use std::collections::BTreeSet;

use millstream_types::TopicPartition;

use super::GroupEvent;

/// Told and not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Assigned,
    Revoked(BTreeSet<TopicPartition>),
    Lost,
}

/// To be told as soon as what is open is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Assigned(BTreeSet<TopicPartition>),
    Revoked(BTreeSet<TopicPartition>),
    /// All that is ours. Does not wait for what is open.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Conversation {
    owned: Vec<TopicPartition>,
    open: Option<Open>,
    next: Option<Next>,
}

impl Conversation {
    /// In order.
    pub(super) fn owned(&self) -> &[TopicPartition] {
        &self.owned
    }

    pub(super) fn owned_set(&self) -> BTreeSet<TopicPartition> {
        self.owned.iter().cloned().collect()
    }

    pub(super) fn owns(&self, partition: &TopicPartition) -> bool {
        self.owned.binary_search(partition).is_ok()
    }

    /// Whether everything was told and answered.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_none() && self.next.is_none()
    }

    /// These are ours from now on, in addition. Only when [settled](Self::is_settled).
    pub(super) fn assign(&mut self, added: BTreeSet<TopicPartition>) {
        debug_assert!(self.is_settled());
        self.owned.extend(added.iter().cloned());
        self.owned.sort();
        self.owned.dedup();
        self.next = Some(Next::Assigned(added));
    }

    /// These are wanted back. Only when [settled](Self::is_settled).
    pub(super) fn revoke(&mut self, wanted: BTreeSet<TopicPartition>) {
        debug_assert!(self.is_settled());
        self.next = Some(Next::Revoked(wanted));
    }

    /// All that is ours may be someone else's already.
    pub(super) fn lose(&mut self) {
        if let Some(Next::Assigned(untold)) = self.next.take() {
            self.owned.retain(|partition| !untold.contains(partition));
        }
        if !self.owned.is_empty() && self.open != Some(Open::Lost) {
            self.next = Some(Next::Lost);
        }
    }

    /// Whether a loss is not answered yet.
    pub(super) fn is_losing(&self) -> bool {
        self.open == Some(Open::Lost) || self.next == Some(Next::Lost)
    }

    /// Whether partitions are wanted back and not given up yet.
    pub(super) fn is_revoking(&self) -> bool {
        matches!(self.open, Some(Open::Revoked(_))) || matches!(self.next, Some(Next::Revoked(_)))
    }

    pub(super) fn event(&mut self) -> Option<GroupEvent> {
        if self.open.is_some() && self.next != Some(Next::Lost) {
            return None;
        }
        let (open, event) = match self.next.take()? {
            Next::Assigned(added) => {
                (Open::Assigned, GroupEvent::Assigned(added.into_iter().collect()))
            }
            Next::Revoked(wanted) => {
                let list = wanted.iter().cloned().collect();
                (Open::Revoked(wanted), GroupEvent::Revoked(list))
            }
            Next::Lost => (Open::Lost, GroupEvent::Lost(self.owned.clone())),
        };
        self.open = Some(open);
        Some(event)
    }

    pub(super) fn ack_assigned(&mut self) {
        if self.open == Some(Open::Assigned) {
            self.open = None;
        }
    }

    /// Returns what is not ours any more.
    pub(super) fn ack_revoked(&mut self) -> BTreeSet<TopicPartition> {
        match self.open.take() {
            Some(Open::Revoked(wanted)) => {
                self.owned.retain(|partition| !wanted.contains(partition));
                if self.owned.is_empty() && self.next == Some(Next::Lost) {
                    self.next = None;
                }
                wanted
            }
            Some(Open::Lost) => std::mem::take(&mut self.owned).into_iter().collect(),
            other => {
                self.open = other;
                BTreeSet::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[i32]) -> BTreeSet<TopicPartition> {
        numbers.iter().map(|number| TopicPartition::new("t", *number)).collect()
    }

    fn list(numbers: &[i32]) -> Vec<TopicPartition> {
        set(numbers).into_iter().collect()
    }

    #[test]
    fn a_loss_takes_the_place_of_an_open_revocation() {
        let mut talk = Conversation::default();
        talk.assign(set(&[0, 1]));
        assert_eq!(talk.event(), Some(GroupEvent::Assigned(list(&[0, 1]))));
        talk.ack_assigned();
        talk.revoke(set(&[1]));
        assert_eq!(talk.event(), Some(GroupEvent::Revoked(list(&[1]))));
        talk.lose();
        assert_eq!(talk.event(), Some(GroupEvent::Lost(list(&[0, 1]))));
        assert_eq!(talk.ack_revoked(), set(&[0, 1]));
        assert!(talk.is_settled());
        assert_eq!(talk.owned(), &[]);
    }

    #[test]
    fn what_was_given_up_in_time_is_not_lost() {
        let mut talk = Conversation::default();
        talk.assign(set(&[0, 1]));
        talk.event();
        talk.ack_assigned();
        talk.revoke(set(&[0, 1]));
        talk.event();
        talk.lose();
        assert_eq!(talk.ack_revoked(), set(&[0, 1]));
        assert_eq!(talk.event(), None);
        assert!(talk.is_settled());
    }

    #[test]
    fn what_nobody_was_told_of_is_not_lost() {
        let mut talk = Conversation::default();
        talk.assign(set(&[0]));
        talk.lose();
        assert_eq!(talk.event(), None);
        assert_eq!(talk.owned(), &[]);
        assert!(talk.is_settled());
    }

    #[test]
    fn one_thing_is_said_at_a_time() {
        let mut talk = Conversation::default();
        talk.assign(set(&[0]));
        assert!(talk.event().is_some());
        assert_eq!(talk.event(), None);
        // An answer to something else changes nothing.
        assert_eq!(talk.ack_revoked(), set(&[]));
        assert!(!talk.is_settled());
        talk.ack_assigned();
        assert!(talk.is_settled());
        assert_eq!(talk.owned(), list(&[0]));
    }
}
