//! User state: the store `default` behind `State` (parity rows ST-01 to ST-12, ST-50 to ST-57).
//!
//! Keys and values come encoded (ST-04: JSON, or raw bytes) and stay bytes here.
//!
//! **Expiry** (*TTL*) is by event time. A value that was set with a ttl carries a *stamp*, record
//! timestamp + ttl, and is gone once the *time* of the store partition has reached it. That time
//! is the greatest timestamp of the records that accessed the store since its first write with a
//! ttl; it is part of every checkpoint ([`CheckpointMark::greatest_timestamp`]). Before that
//! write there is no time, and nothing is spent on any of this.
//!
//! Reads look at the stamp. Bytes are reclaimed at checkpoints, along an index by stamp
//! ([`families::USER_EXPIRY`]): its pairs up to the time of the store are taken out, and with
//! each its entry, if that has indeed expired. A write into a store with a time looks up what it
//! overwrites, to take its pair along; only a restore, which does not look, can leave pairs
//! behind that mean nothing.
//!
//! [`CheckpointMark::greatest_timestamp`]: crate::CheckpointMark::greatest_timestamp

use millstream_types::Timestamp;

use crate::cache::{AnyFamily, Entry, EntryError, Family, FamilyContext, KeyRange};
use crate::families::{self, expiry_key};
use crate::keys::{KeyReader, KeyWriter, MessageKey, timestamp_bytes};
use crate::{FamilySet, Result, StoreLayout, StorePartition};

/// Name of the store behind stateful functions (ST-10).
pub const DEFAULT_STORE: &str = "default";

/// Timestamps and stamps from here on (the year 33658) are taken for a mistake of units: one
/// record with nanoseconds for milliseconds must not expire a whole store.
const IMPLAUSIBLE: Timestamp = 1_000_000_000_000_000;

/// A store partition of user state. Accesses take the timestamp of the record for which they
/// happen, ms.
///
/// ```
/// use std::sync::Arc;
/// use millstream_state::{
///     CacheSettings, MemoryBackend, MemoryBudget, MessageKey, StoreId, UserStore, expiry_stamp,
/// };
///
/// let cache = CacheSettings { budget: MemoryBudget::new(1 << 20), hash_seed: 1 };
/// let id = StoreId::new("orders", "default", 0);
/// let mut store = UserStore::open(id, Arc::new(MemoryBackend::new()), &cache)?;
/// let key = MessageKey::Text("Ada");
/// store.set(key, b"\"total\"", b"12", 1_000)?;
/// assert_eq!(store.get(key, b"\"total\"", 1_001)?, Some(&b"12"[..]));
/// assert!(!store.exists(MessageKey::None, b"\"total\"", 1_001)?);
///
/// let stamp = expiry_stamp(2_000, 500)?.expect("the record has a timestamp");
/// store.set_until(key, b"\"seen\"", b"true", 2_000, stamp)?;
/// assert!(store.exists(key, b"\"seen\"", 2_499)?);
/// assert!(!store.exists(key, b"\"seen\"", 2_500)?);
/// // Time does not go back.
/// assert!(!store.exists(key, b"\"seen\"", 2_499)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type UserStore = StorePartition<UserFamilies>;

/// The families of user state.
pub struct UserFamilies {
    data: Family<UserValue>,
    expiry: Family<()>,
    /// No pair of the index has a lower stamp.
    earliest: Timestamp,
    settings: ExpirySettings,
    key: Vec<u8>,
    index_key: Vec<u8>,
}

/// How what expired is removed (ST-54).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpirySettings {
    /// How many entries a checkpoint removes at most, each partition.
    pub evictions: usize,
    /// Whether they are removed from the changelog, too. If not, it keeps those that were in it;
    /// a restore brings them back, unseen, and they are removed anew.
    pub tombstones: bool,
}

impl Default for ExpirySettings {
    fn default() -> Self {
        Self { evictions: 150_000, tombstones: true }
    }
}

/// A ttl that a value cannot have (ST-51).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TtlError {
    /// It is zero or negative.
    #[error("the ttl must be positive, but it is {0} ms")]
    NotPositive(i64),
    /// What it leads to is no time of this era.
    #[error(
        "a ttl of {ttl_ms} ms after the record's timestamp {at} leads beyond the year 33658; are \
         these milliseconds?"
    )]
    Implausible {
        /// Timestamp of the record, ms.
        at: Timestamp,
        /// The ttl.
        ttl_ms: i64,
    },
}

/// The expiry stamp of a value that is set with a ttl by a record of timestamp `at` (ST-50).
/// `None` for a record without a timestamp, which is what a negative one means: its value does
/// not expire (ST-51).
///
/// # Errors
/// If the ttl is not positive, or leads too far.
pub fn expiry_stamp(at: Timestamp, ttl_ms: i64) -> Result<Option<Timestamp>, TtlError> {
    if ttl_ms <= 0 {
        return Err(TtlError::NotPositive(ttl_ms));
    }
    let stamp = at.saturating_add(ttl_ms);
    if stamp >= IMPLAUSIBLE {
        return Err(TtlError::Implausible { at, ttl_ms });
    }
    Ok((at >= 0).then_some(stamp))
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

impl UserValue {
    fn is_expired(&self, now: Option<Timestamp>) -> bool {
        matches!((self.expires, now), (Some(stamp), Some(now)) if stamp <= now)
    }
}

impl FamilySet for UserFamilies {
    const LAYOUT: StoreLayout =
        StoreLayout { kind: "user state", families: &[families::USER_DATA, families::USER_EXPIRY] };

    fn open(context: &FamilyContext) -> Self {
        Self {
            data: context.family(families::USER_DATA),
            expiry: context.local_family(families::USER_EXPIRY),
            earliest: Timestamp::MIN,
            settings: ExpirySettings::default(),
            key: Vec::new(),
            index_key: Vec::new(),
        }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily)) {
        visit(&mut self.data);
        visit(&mut self.expiry);
    }

    fn rewind(&mut self) -> Result<()> {
        self.earliest = Timestamp::MIN;
        Ok(())
    }

    fn expire(&mut self, now: Timestamp) -> Result<()> {
        let limit = self.settings.evictions;
        if self.earliest > now || limit == 0 {
            return Ok(());
        }
        let end = now.saturating_add(1);
        let range = KeyRange::between(&timestamp_bytes(self.earliest), &timestamp_bytes(end));
        let due = self.expiry.drain(&range, limit)?;
        self.earliest = match due.last() {
            Some((last, ())) if due.len() == limit => {
                KeyReader::new(last).timestamp().unwrap_or(self.earliest)
            }
            // Later pairs are above the time of the store: see `set_until`.
            _ => end,
        };
        for (pair, ()) in &due {
            let Some((_, key)) = pair.split_first_chunk::<8>() else { continue };
            if !self.data.get(key)?.is_some_and(|value| value.is_expired(Some(now))) {
                continue;
            }
            if self.settings.tombstones {
                self.data.remove(key);
            } else {
                self.data.remove_stored(key);
            }
        }
        Ok(())
    }
}

impl UserFamilies {
    fn at(&mut self, scope: MessageKey<'_>, key: &[u8]) -> (&mut Family<UserValue>, &[u8]) {
        let key = KeyWriter::new(&mut self.key).message_key(scope).rest(key).key();
        (&mut self.data, key)
    }

    /// Sets or removes a value, and keeps the index in step if there may be stamps.
    fn put(
        &mut self,
        scope: MessageKey<'_>,
        key: &[u8],
        value: Option<UserValue>,
        stamps: bool,
    ) -> Result<()> {
        let key = KeyWriter::new(&mut self.key).message_key(scope).rest(key).key();
        if stamps {
            let before = self.data.get(key)?.and_then(|value| value.expires);
            let after = value.as_ref().and_then(|value| value.expires);
            if before != after {
                if let Some(stamp) = before {
                    self.expiry.remove(expiry_key(&mut self.index_key, stamp, key));
                }
                if let Some(stamp) = after {
                    self.expiry.insert_new(expiry_key(&mut self.index_key, stamp, key), ());
                    self.earliest = self.earliest.min(stamp);
                }
            }
        }
        match value {
            Some(value) => self.data.insert(key, value),
            None => self.data.remove(key),
        }
        Ok(())
    }
}

impl StorePartition<UserFamilies> {
    /// Says how what expired is removed.
    ///
    /// # Errors
    /// If the transaction failed before (ST-04).
    pub fn set_expiry(&mut self, settings: ExpirySettings) -> Result<()> {
        self.families()?.settings = settings;
        Ok(())
    }

    /// The time of the store after an access by a record of timestamp `at`; `None` if nothing in
    /// it ever expired.
    #[inline]
    fn time(&mut self, at: Timestamp) -> Option<Timestamp> {
        match self.greatest_timestamp() {
            Some(_) if (0..IMPLAUSIBLE).contains(&at) => Some(self.observe(at)),
            known => known,
        }
    }

    /// The encoded value of `key` in the scope of a message key, unless it has expired.
    ///
    /// # Errors
    /// If the transaction failed before (ST-04) or the backend fails.
    pub fn get(
        &mut self,
        scope: MessageKey<'_>,
        key: &[u8],
        at: Timestamp,
    ) -> Result<Option<&[u8]>> {
        self.families()?;
        let now = self.time(at);
        let (data, key) = self.families()?.at(scope, key);
        let value = data.get(key)?.filter(|value| !value.is_expired(now));
        Ok(value.map(|value| &*value.payload))
    }

    /// Sets the encoded value of `key`; it never expires (ST-52).
    ///
    /// # Errors
    /// If the transaction failed before (ST-04), or the backend fails.
    pub fn set(
        &mut self,
        scope: MessageKey<'_>,
        key: &[u8],
        value: &[u8],
        at: Timestamp,
    ) -> Result<()> {
        self.families()?;
        let now = self.time(at);
        let value = UserValue { payload: value.into(), expires: None };
        self.families()?.put(scope, key, Some(value), now.is_some())
    }

    /// Sets the encoded value of `key`, which expires at a stamp: see [`expiry_stamp`].
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_until(
        &mut self,
        scope: MessageKey<'_>,
        key: &[u8],
        value: &[u8],
        at: Timestamp,
        stamp: Timestamp,
    ) -> Result<()> {
        self.families()?;
        let now = self.observe(at);
        // A late record's value may have expired at once. It is not stored then: so the index
        // grows above the time of the store only, and need never be searched below it again.
        let value = UserValue { payload: value.into(), expires: Some(stamp) };
        let value = Some(value).filter(|value| !value.is_expired(Some(now)));
        self.families()?.put(scope, key, value, true)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn exists(&mut self, scope: MessageKey<'_>, key: &[u8], at: Timestamp) -> Result<bool> {
        Ok(self.get(scope, key, at)?.is_some())
    }

    /// Removes `key`; fine if it has no value (ST-03).
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn delete(&mut self, scope: MessageKey<'_>, key: &[u8]) -> Result<()> {
        let stamps = self.greatest_timestamp().is_some();
        self.families()?.put(scope, key, None, stamps)
    }
}
