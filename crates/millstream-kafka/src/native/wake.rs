//! One wake-up, two traits: ours and the client's.

use std::sync::Arc;

use millstream_client::driver;

use crate::Wake;

/// The client's waker, for a caller of ours.
pub(super) struct Woken(pub(super) Arc<dyn driver::Wake>);

impl Wake for Woken {
    fn wake(&self) {
        self.0.wake();
    }
}

/// A caller's waker, for the client.
pub(super) struct Wakes(pub(super) Arc<dyn Wake>);

impl driver::Wake for Wakes {
    fn wake(&self) {
        self.0.wake();
    }
}
