//! User state: the store `default` behind `State` (parity rows ST-01 to ST-12).
//!
//! Keys and values come encoded (ST-04: JSON, or raw bytes) and stay bytes here.

use millstream_types::Timestamp;

use crate::cache::{AnyFamily, Entry, EntryError, Family, FamilyContext};
use crate::keys::{KeyWriter, MessageKey};
use crate::{FamilySet, Result, StoreLayout, StorePartition, families};

/// Name of the store behind stateful functions (ST-10).
pub const DEFAULT_STORE: &str = "default";

/// A store partition of user state.
///
/// ```
/// use std::sync::Arc;
/// use millstream_state::{CacheSettings, MemoryBackend, MemoryBudget, MessageKey, StoreId, UserStore};
///
/// let cache = CacheSettings { budget: MemoryBudget::new(1 << 20), hash_seed: 1 };
/// let id = StoreId::new("orders", "default", 0);
/// let mut store = UserStore::open(id, Arc::new(MemoryBackend::new()), &cache)?;
/// let key = MessageKey::Text("Ada");
/// store.set(key, b"\"total\"", b"12")?;
/// assert_eq!(store.get(key, b"\"total\"")?, Some(&b"12"[..]));
/// assert!(!store.exists(MessageKey::None, b"\"total\"")?);
/// # Ok::<(), millstream_state::StateError>(())
/// ```
pub type UserStore = StorePartition<UserFamilies>;

/// The one family of user state.
pub struct UserFamilies {
    data: Family<UserValue>,
    key: Vec<u8>,
}

/// A user's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserValue {
    /// As the user's encoder gave it.
    pub payload: Box<[u8]>,
    /// Event time in ms from which it is gone (ST-50).
    pub expires: Option<Timestamp>,
}

impl Entry for UserValue {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.payload);
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        Ok(Self { payload: bytes.into(), expires: None })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }

    fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    fn set_expires(&mut self, stamp: Timestamp) {
        self.expires = Some(stamp);
    }
}

impl FamilySet for UserFamilies {
    const LAYOUT: StoreLayout =
        StoreLayout { kind: "user state", families: &[families::USER_DATA] };

    fn open(context: &FamilyContext) -> Self {
        Self { data: context.family(families::USER_DATA), key: Vec::new() }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily)) {
        visit(&mut self.data);
    }
}

impl UserFamilies {
    fn at(&mut self, scope: MessageKey<'_>, key: &[u8]) -> (&mut Family<UserValue>, &[u8]) {
        let key = KeyWriter::new(&mut self.key).message_key(scope).rest(key).key();
        (&mut self.data, key)
    }
}

impl StorePartition<UserFamilies> {
    /// The encoded value of `key` in the scope of a message key.
    ///
    /// # Errors
    /// If the transaction failed before (ST-04) or the backend fails.
    pub fn get(&mut self, scope: MessageKey<'_>, key: &[u8]) -> Result<Option<&[u8]>> {
        let (data, key) = self.families()?.at(scope, key);
        Ok(data.get(key)?.map(|value| &*value.payload))
    }

    /// Sets the encoded value of `key`; it never expires.
    ///
    /// # Errors
    /// If the transaction failed before (ST-04).
    pub fn set(&mut self, scope: MessageKey<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        let (data, key) = self.families()?.at(scope, key);
        data.insert(key, UserValue { payload: value.into(), expires: None });
        Ok(())
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn exists(&mut self, scope: MessageKey<'_>, key: &[u8]) -> Result<bool> {
        Ok(self.get(scope, key)?.is_some())
    }

    /// Removes `key`; fine if it has no value (ST-03).
    ///
    /// # Errors
    /// If the transaction failed before (ST-04).
    pub fn delete(&mut self, scope: MessageKey<'_>, key: &[u8]) -> Result<()> {
        let (data, key) = self.families()?.at(scope, key);
        data.remove(key);
        Ok(())
    }
}
