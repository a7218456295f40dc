//! Who a heartbeat is from: member ids, instance ids and epochs.

use kafka_protocol::ResponseError;

use super::{ConsumerGroup, HeartbeatRequest, JOINS, LEAVES_FOR_A_WHILE, Member, unknown_member};
use crate::topics::Refused;

impl ConsumerGroup {
    /// Checks a heartbeat's identity and epoch. Returns the id of the static member whose place it
    /// takes, if that is another one.
    pub(super) fn admit(&self, request: &HeartbeatRequest) -> Result<Option<String>, Refused> {
        let id = request.member_id.as_str();
        let Some(instance) = &request.instance else {
            let member = self.members.get(id);
            return match member {
                None if request.epoch == JOINS => Ok(None),
                None => Err(unknown_member(id)),
                Some(member) => member.check_epoch(request).map(|()| None),
            };
        };
        if request.epoch != JOINS {
            return self.static_member(instance, id)?.check_epoch(request).map(|()| None);
        }
        let Some(holder) = self.instances.get(instance) else { return Ok(None) };
        if holder == id && self.members[id].epoch != LEAVES_FOR_A_WHILE {
            return Ok(None);
        }
        if self.members[holder].epoch != LEAVES_FOR_A_WHILE {
            let message = format!("another member has the instance id `{instance}`");
            return Err(Refused::new(ResponseError::UnreleasedInstanceId, message));
        }
        Ok(Some(holder.clone()))
    }

    /// The static member of that instance, if it has that id.
    pub(super) fn static_member(&self, instance: &str, id: &str) -> Result<&Member, Refused> {
        let Some(holder) = self.instances.get(instance) else {
            let message = format!("there is no member with the instance id `{instance}`");
            return Err(Refused::new(ResponseError::UnknownMemberId, message));
        };
        if holder != id {
            let message = format!("another member has taken the instance id `{instance}`");
            return Err(Refused::new(ResponseError::FencedInstanceId, message));
        }
        Ok(&self.members[id])
    }
}
