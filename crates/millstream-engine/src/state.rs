//! A task's stores, and `State` for user functions (parity rows ST-01 to ST-12, ST-50 to
//! ST-57).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_state::{
    Backend, CacheSettings, FamilySet, StateError, Store, StoreId, StoreLayout, UserFamilies,
    UserStore, expiry_stamp,
};
use millstream_types::Timestamp;
use millstream_value::{Failure, FailureKind, StateAccess};

use crate::keys::OwnedKey;
use crate::topology::{StoreIndex, StoreKind, StoreSpec};
use crate::upstream::UpstreamTimes;
use crate::windows::store::{WindowFamilies, WindowStorePartition};

/// An open store partition of a task, made by [`StoreSpec::open`].
pub struct TaskStore(Kind);

enum Kind {
    /// Shared, because a generator of a user function (`expand=True`) may hold its `State` while
    /// operators behind it use the same store (D-20). The lock is never contended: a task runs
    /// on one thread at a time, and it is taken per access of `State`, not per record.
    User(Arc<Mutex<User>>),
    Window(Box<WindowStorePartition>),
}

/// A store of user state.
struct User {
    store: UserStore,
    /// The user was told that values of records without a timestamp do not expire.
    warned: bool,
}

impl fmt::Debug for TaskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::User(_) => "user store",
            Kind::Window(_) => "window store",
        })
    }
}

impl StoreSpec {
    /// The address of one partition of the store.
    pub fn id(&self, partition: i32) -> StoreId {
        StoreId::new(Arc::clone(&self.stream_id), Arc::clone(&self.name), partition)
    }

    /// What the store consists of; [`millstream_state::Storage::open`] wants it.
    pub fn layout(&self) -> &'static StoreLayout {
        match self.kind {
            StoreKind::User => &UserFamilies::LAYOUT,
            StoreKind::Window => &WindowFamilies::LAYOUT,
        }
    }

    /// Opens a partition over a backend whose restore is complete.
    ///
    /// # Errors
    /// What reading the backend gives.
    pub fn open(
        &self,
        partition: i32,
        backend: Arc<dyn Backend>,
        cache: &CacheSettings,
    ) -> Result<TaskStore, StateError> {
        let id = self.id(partition);
        Ok(TaskStore(match self.kind {
            StoreKind::User => {
                let mut store = UserStore::open(id, backend, cache)?;
                store.set_expiry(self.expiry)?;
                Kind::User(Arc::new(Mutex::new(User { store, warned: false })))
            }
            StoreKind::Window => {
                Kind::Window(Box::new(WindowStorePartition::open(id, backend, cache)?))
            }
        }))
    }
}

impl TaskStore {
    /// Runs `body` with the store as checkpoints see it.
    pub fn with<R>(&mut self, body: impl FnOnce(&mut dyn Store) -> R) -> R {
        match &mut self.0 {
            Kind::User(user) => body(&mut lock(user).store),
            Kind::Window(store) => body(&mut **store),
        }
    }
}

fn lock(user: &Mutex<User>) -> MutexGuard<'_, User> {
    // A panic in the middle of an access leaves the cache as it was or changed, never torn.
    user.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stores of a task by their number in the topology.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// `None`: another sub-topology's, or one that has no such partition.
    by_index: Vec<Option<TaskStore>>,
}

impl Stores {
    pub(crate) fn new(total: usize, stores: impl Iterator<Item = (StoreIndex, TaskStore)>) -> Self {
        let mut by_index: Vec<_> = (0..total).map(|_| None).collect();
        for (index, store) in stores {
            by_index[index.0 as usize] = Some(store);
        }
        Self { by_index }
    }

    pub(crate) fn each(&mut self) -> impl Iterator<Item = (StoreIndex, &mut TaskStore)> {
        let stores = self.by_index.iter_mut().enumerate();
        stores.filter_map(|(at, store)| Some((StoreIndex(at as u32), store.as_mut()?)))
    }

    /// The families of a window store.
    #[inline]
    pub(crate) fn window(&mut self, index: StoreIndex) -> Result<&mut WindowFamilies, Failure> {
        match self.by_index.get_mut(index.0 as usize) {
            Some(Some(TaskStore(Kind::Window(store)))) => store.families().map_err(failure),
            _ => unreachable!("the task was given the stores of its topology"),
        }
    }

    /// `State` of one message key, for a record of timestamp `at`.
    pub(crate) fn state(
        &self,
        index: StoreIndex,
        key: &millstream_value::Value,
        at: Timestamp,
    ) -> Result<Box<dyn StateAccess>, Failure> {
        match self.by_index.get(index.0 as usize) {
            Some(Some(TaskStore(Kind::User(user)))) => {
                // One allocation per call of a stateful function: the handle has to outlive the
                // call in a generator.
                Ok(Box::new(KeyState { user: Arc::clone(user), key: OwnedKey::of(key)?, at }))
            }
            _ => unreachable!("the task was given the stores of its topology"),
        }
    }

    /// What the upstream partitions had reached at the last checkpoint, as far as a window store
    /// knows.
    pub(crate) fn restore_upstream(&mut self, times: &mut UpstreamTimes) {
        for (_, store) in self.each() {
            if let Kind::Window(store) = &mut store.0
                && let Ok(families) = store.families()
                && let Some((reached, partitions)) = families.upstream()
            {
                times.restore(partitions, *reached);
            }
        }
    }

    /// Puts what lives beside the families into theirs, before a checkpoint is made.
    pub(crate) fn save(&mut self, upstream: Option<&UpstreamTimes>) {
        for (_, store) in self.each() {
            // A failed store refuses, and then refuses the checkpoint as well.
            if let Kind::Window(store) = &mut store.0
                && let Ok(families) = store.families()
            {
                families.save(upstream);
            }
        }
    }
}

/// A state error in terms of the record that met it.
pub(crate) fn failure(error: StateError) -> Failure {
    let kind = match error {
        StateError::TransactionAccess { .. } => FailureKind::StateTransaction,
        _ => FailureKind::State,
    };
    Failure::new(kind, error.to_string())
}

/// `State` of one message key.
struct KeyState {
    user: Arc<Mutex<User>>,
    key: OwnedKey,
    /// Timestamp of the record, ms.
    at: Timestamp,
}

impl StateAccess for KeyState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let mut user = lock(&self.user);
        let value = user.store.get(self.key.as_message_key(), key, self.at).map_err(failure)?;
        Ok(value.map(<[u8]>::to_vec))
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let mut user = lock(&self.user);
        user.store.set(self.key.as_message_key(), key, value, self.at).map_err(failure)
    }

    fn set_expiring(&self, key: &[u8], value: &[u8], ttl_ms: i64) -> Result<(), Failure> {
        let mut user = lock(&self.user);
        let scope = self.key.as_message_key();
        user.store.families().map_err(failure)?;
        match expiry_stamp(self.at, ttl_ms) {
            Ok(Some(stamp)) => {
                user.store.set_until(scope, key, value, self.at, stamp).map_err(failure)
            }
            Ok(None) => {
                user.store.set(scope, key, value, self.at).map_err(failure)?;
                let first = !std::mem::replace(&mut user.warned, true);
                let id = first.then(|| user.store.id().clone());
                // Logging runs code of the host, which may look into the state.
                drop(user);
                if let Some(store) = id {
                    tracing::warn!(
                        "{store}: a value was set with a ttl by a record without a timestamp ({}); \
                         it and others like it are stored without expiry",
                        self.at
                    );
                }
                Ok(())
            }
            Err(error) => {
                user.store.fail(&error.to_string());
                Err(Failure::new(FailureKind::Value, error.to_string()))
            }
        }
    }

    fn exists(&self, key: &[u8]) -> Result<bool, Failure> {
        let mut user = lock(&self.user);
        user.store.exists(self.key.as_message_key(), key, self.at).map_err(failure)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Failure> {
        lock(&self.user).store.delete(self.key.as_message_key(), key).map_err(failure)
    }

    fn fail(&self) {
        lock(&self.user).store.fail("a key, a value or a ttl could not be stored");
    }

    fn share(&self) -> Box<dyn StateAccess> {
        Box::new(Self { user: Arc::clone(&self.user), key: self.key.clone(), at: self.at })
    }
}
