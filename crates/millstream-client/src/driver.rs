//! Runs a [`Machine`] on real sockets: one thread per client, whatever the number of brokers.
//!
//! The front ends (consumer, producer, admin) share their machine with the thread by a lock that
//! each holds for microseconds: the thread while it takes what has arrived, the front end while it
//! takes what is ready. Bytes are read and written, batches packed and unpacked, outside of it.

mod connection;
mod names;
#[cfg(test)]
mod script;
mod signal;
mod sockets;
mod stream;
mod system;
mod tls;
mod tokens;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use millstream_types::{Clock, SystemClock};

pub use signal::{Signal, Wake};
pub use system::SystemRandom;
pub(crate) use system::{next_number, system_nonce};

use crate::base::Machine;
use crate::error::{KafkaError, code};
use crate::settings::{ConnectionSettings, SettingError};
use crate::time::Now;

/// A machine that something drives, and the way to reach both. Dropping it ends the thread.
pub(crate) struct Driven<M> {
    machine: Arc<Mutex<M>>,
    clock: Arc<dyn Clock>,
    thread: Option<(Arc<sockets::Control>, JoinHandle<()>)>,
    /// Whether the end of the thread was reported.
    death_told: bool,
}

impl<M: Machine + 'static> Driven<M> {
    /// Runs `machine` on a thread of that name, on real sockets, by the system's clock.
    ///
    /// # Errors
    /// What the operating system says if it has no thread or no descriptor to give; a
    /// [`SettingError`] if the files of TLS are not what they should
    /// be. [`start_error`] makes an error for the user of both.
    pub(crate) fn start(machine: M, settings: &ConnectionSettings, name: &str) -> io::Result<Self> {
        let machine = Arc::new(Mutex::new(machine));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let thread = sockets::spawn(machine.clone(), clock.clone(), settings, name)?;
        Ok(Self { machine, clock, thread: Some(thread), death_told: false })
    }

    /// Leaves it to the caller to drive the machine: the simulator's way.
    pub(crate) fn by_hand(machine: M, clock: Arc<dyn Clock>) -> Self {
        Self { machine: Arc::new(Mutex::new(machine)), clock, thread: None, death_told: false }
    }
}

impl<M> Driven<M> {
    /// The machine. Hold it briefly. After a change that wants the driver's attention, let go and
    /// [`wake`](Self::wake).
    pub(crate) fn lock(&self) -> MutexGuard<'_, M> {
        // A machine whose driver has panicked is still fit to be asked and closed.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine, to be driven by someone else.
    pub(crate) fn share(&self) -> Arc<Mutex<M>> {
        self.machine.clone()
    }

    /// Makes the driver take a step soon.
    pub(crate) fn wake(&self) {
        if let Some((control, _)) = &self.thread {
            control.wake();
        }
    }

    /// Whether the thread has ended by itself: a panic, or the system's refusal to wait on sockets.
    /// Nothing will ever happen to the machine again.
    pub(crate) fn is_dead(&self) -> bool {
        self.thread.as_ref().is_some_and(|(_, thread)| thread.is_finished())
    }

    /// What to tell the user if the thread [has ended](Self::is_dead); once.
    pub(crate) fn take_death(&mut self) -> Option<KafkaError> {
        let is_news = !self.death_told && self.is_dead();
        self.death_told |= is_news;
        is_news.then(death)
    }

    /// What time it is for this client.
    pub(crate) fn now(&self) -> Now {
        now(&*self.clock)
    }
}

impl<M> Drop for Driven<M> {
    fn drop(&mut self) {
        if let Some((control, thread)) = self.thread.take() {
            control.stop();
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// What a front end reports once its [`Driven::is_dead`].
pub(crate) fn death() -> KafkaError {
    let text = "the client's thread has ended; what it said before is in the log. Start again";
    KafkaError::with(code::FATAL, Some(text))
}

/// What [`Driven::start`] says, for the user: a setting that cannot be, or the system's refusal.
pub(crate) fn start_error(error: io::Error) -> crate::Error {
    match error.downcast::<SettingError>() {
        Ok(error) => error.into(),
        Err(error) => crate::Error::kafka(
            "start the client's thread",
            KafkaError::with(code::STATE, Some(&error.to_string())),
        ),
    }
}

fn now(clock: &dyn Clock) -> Now {
    Now { mono: clock.monotonic(), wall: clock.wall() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Action, Input};

    /// A machine with a bug.
    struct Faulty;

    impl Machine for Faulty {
        fn input(&mut self, _: Input, _: Now) {}

        fn advance(&mut self, _: Now) {
            panic!("a bug");
        }

        fn action(&mut self) -> Option<Action> {
            None
        }

        fn take_wake(&mut self) -> Option<Arc<dyn Wake>> {
            None
        }

        fn next_deadline(&self, _: Now) -> Option<std::time::Duration> {
            None
        }
    }

    #[test]
    fn the_end_of_the_thread_is_seen_and_survived() {
        let driven = Driven::start(Faulty, &ConnectionSettings::default(), "faulty").unwrap();
        while !driven.is_dead() {
            std::thread::yield_now();
        }
        assert!(driven.lock().action().is_none());
        driven.wake();
        assert_eq!((death().code, death().remedy()), (code::FATAL, crate::Remedy::Fatal));
    }
}
