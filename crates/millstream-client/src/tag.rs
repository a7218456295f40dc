//! Whose request is out: each part of the client has a tag type of its own.

use crate::admin::AdminTag;
use crate::consumer::ConsumerTag;
use crate::coordinators::CoordinatorKey;
use crate::group::GroupTag;
use crate::producer::ProducerTag;

/// What a response is for.
#[derive(Clone, Debug)]
pub(crate) enum Tag {
    /// [`crate::metadata`].
    Metadata,
    /// [`crate::coordinators`].
    Coordinator(CoordinatorKey),
    /// A sign of life was asked for.
    Probe,
    /// [`crate::consumer`].
    Consumer(ConsumerTag),
    /// [`crate::group`].
    Group(GroupTag),
    /// [`crate::producer`].
    Producer(ProducerTag),
    /// [`crate::admin`].
    Admin(AdminTag),
}
