//! Who may write and read the group's offsets.

use kafka_protocol::ResponseError;

use super::{ConsumerGroup, Partition};

impl ConsumerGroup {
    /// Whether a member may commit offsets. With an older epoch than the member's, each partition
    /// must pass [`check_commit_of`](Self::check_commit_of) as well.
    ///
    /// # Errors
    /// `UnknownMemberId`; `StaleMemberEpoch` for an epoch that the member has not reached.
    pub(crate) fn check_commit(&self, member_id: &str, epoch: i32) -> Result<(), ResponseError> {
        // A tool, or a consumer that assigns partitions to itself.
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(ResponseError::UnknownMemberId)?;
        let is_known = 0 <= epoch && epoch <= member.epoch;
        if is_known { Ok(()) } else { Err(ResponseError::StaleMemberEpoch) }
    }

    /// Whether a member's epoch is new enough for that partition: it has had the partition since
    /// that epoch, so nobody else can have read further in between (KIP-1251).
    ///
    /// # Errors
    /// `StaleMemberEpoch`.
    pub(crate) fn check_commit_of(
        &self,
        member_id: &str,
        epoch: i32,
        partition: Partition,
    ) -> Result<(), ResponseError> {
        let Some(member) = self.members.get(member_id) else { return Ok(()) };
        if epoch == member.epoch {
            return Ok(());
        }
        match member.holds(&partition) {
            Some(since) if since <= epoch => Ok(()),
            _ => Err(ResponseError::StaleMemberEpoch),
        }
    }

    /// Whether a member may read committed offsets; one that says neither id nor epoch may.
    ///
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch`.
    pub(crate) fn check_offset_fetch(
        &self,
        member_id: Option<&str>,
        epoch: i32,
    ) -> Result<(), ResponseError> {
        let member_id = match member_id {
            None if epoch < 0 => return Ok(()),
            id => id.unwrap_or_default(),
        };
        let member = self.members.get(member_id).ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(ResponseError::StaleMemberEpoch) }
    }
}
