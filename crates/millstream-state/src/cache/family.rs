//! One ordered map from keys to native entries: a cache over one family of the backend.
//!
//! **What it costs.** [`Family::get_mut`] of a cached entry is one hash of the key, one probe
//! and one comparison: no encoding, no allocation, no lock. A miss asks the backend. Nothing is
//! written before the checkpoint; there each changed entry is encoded once.
//!
//! **How it works.** Slots live in a slab and a hash table points into it. A slot is *clean*
//! (as in the backend), *dirty* (changed since the last checkpoint) or a *tombstone* (removed
//! since then). Clean slots may be given up when memory is short (second chance); the others
//! may not. A scan merges the backend's pairs, overlaid by what is cached, with the *fresh*
//! entries that the backend does not have yet; those are sorted when the first scan asks, so a
//! family that is never scanned pays nothing for order. An entry that is added and removed
//! between two checkpoints leaves no trace if the backend is known not to have it.
//!
//! The hash is `foldhash` with a seed that is handed in. Nothing that can be observed depends on
//! the seed (dirty entries come in order of their first change, scans in order of keys), so a
//! random one, which keeps chosen keys from colliding, does not make runs differ.
//!
//! **Advice for windows.** Keep in an entry per message key ([`crate::families::WINDOW_KEYS`])
//! the watermark *and the starts of the key's open windows* (a tumbling window has `1 + grace /
//! duration` of them, rounded up). Then a record costs two hits, whether something is due is a
//! comparison, `key` closing walks that list in order of start with [`Family::take`] and never
//! scans, and a start that is not listed goes in by [`Family::insert_new`] without asking the
//! backend. `partition` closing keeps an index ([`crate::families::WINDOW_TIMES`], entry `()`)
//! ordered by end: [`Family::drain`] of everything up to the watermark touches what closes and
//! nothing else; remember the smallest end natively, so that a record which closes nothing does
//! not scan, and begin each drain at the end of the last one, so that it does not walk over the
//! backend's own tombstones.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::budget::BudgetShare;
use super::{Entry, KeyRange, MemoryBudget};
use crate::error::key_text;
use crate::keys::KeyBuf;
use crate::{Backend, Batch, FamilyId, Result, StateError, slot};

/// What caches are made with.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// The memory they share.
    pub budget: MemoryBudget,
    /// Seed of the hash; random in production.
    pub hash_seed: u64,
}

/// What a [`crate::FamilySet`] opens its families with.
#[derive(Debug)]
pub struct FamilyContext {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: CacheSettings,
}

impl FamilyContext {
    /// Opens a family of the store.
    pub fn family<E: Entry>(&self, id: FamilyId) -> Family<E> {
        Family {
            backend: Arc::clone(&self.backend),
            id,
            local: false,
            hasher: FixedState::with_seed(self.settings.hash_seed ^ u64::from(id.0)),
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            unsorted: Vec::new(),
            fresh: BTreeMap::new(),
            sealed: false,
            share: BudgetShare::new(self.settings.budget.clone()),
            dirty_bytes: 0,
            hand: 0,
            misses: 0,
            buffer: Vec::new(),
        }
    }

    /// Opens an index that is kept out of the changelog, because it can be made from another
    /// family. It is written and drained, not looked up: after a checkpoint nothing of it stays
    /// in memory.
    pub(crate) fn local_family<E: Entry>(&self, id: FamilyId) -> Family<E> {
        Family { local: true, ..self.family(id) }
    }
}

/// A cache over one family of a store. See the head of this file.
pub struct Family<E> {
    backend: Arc<dyn Backend>,
    id: FamilyId,
    /// See [`FamilyContext::local_family`].
    local: bool,
    hasher: FixedState,
    table: HashTable<u32>,
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    /// Slots changed since the last checkpoint, in order of their first change.
    dirty: Vec<u32>,
    /// Fresh slots that are not in `fresh` yet.
    unsorted: Vec<u32>,
    fresh: BTreeMap<KeyBuf, u32>,
    /// Between `prepare` and its end: what was encoded must stay as it is.
    sealed: bool,
    share: BudgetShare,
    dirty_bytes: usize,
    /// Where the search for a slot to give up goes on.
    hand: usize,
    misses: u64,
    buffer: Vec<u8>,
}

struct Slot<E> {
    key: KeyBuf,
    /// `None`: a tombstone, or a free slot.
    entry: Option<E>,
    /// Bytes counted for it.
    bytes: u32,
    flags: u8,
}

const USED: u8 = 1;
const DIRTY: u8 = 2;
/// The backend has the key, or may have it.
const STORED: u8 = 4;
/// A scan of the backend may not see the key.
const FRESH: u8 = 8;
/// Used since the hand last came by.
const REFERENCED: u8 = 16;
/// A tombstone that does not go to the changelog.
const LOCAL: u8 = 32;

/// Counted for each slot besides key and entry: flags, table, lists.
const OVERHEAD: usize = 32;

/// Slots looked at, and given up at most, when one is added while memory is short.
const EVICTION_STEPS: usize = 32;
const EVICTIONS: usize = 2;

/// Sizes of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Entries in the cache, tombstones included.
    pub cached: usize,
    /// Those of them that changed since the last checkpoint.
    pub dirty: usize,
    /// Bytes of the cache.
    pub bytes: usize,
    /// Look-ups that had to ask the backend.
    pub misses: u64,
}

/// A family whatever its entries: what a checkpoint needs.
pub trait AnyFamily {
    /// Its number.
    fn id(&self) -> FamilyId;
    /// Bytes that changed since the last checkpoint.
    fn dirty_bytes(&self) -> usize;
    /// Its sizes.
    fn stats(&self) -> FamilyStats;
    /// Appends every change to the batch and refuses further ones until one of the next two.
    fn prepare(&mut self, batch: &mut Batch);
    /// What was prepared is in the backend.
    fn committed(&mut self);
    /// Forgets every change since the last checkpoint.
    fn discard(&mut self);
}

/// Receives the entries of a merge.
type Visit<'v, E> = dyn FnMut(&[u8], Found<'_, E>) -> ControlFlow<()> + 'v;

enum Found<'a, E> {
    Cached(u32, &'a E),
    Stored(E),
}

impl<E: Entry> Family<E> {
    /// The entry of a key.
    ///
    /// # Errors
    /// If the backend fails or holds something that does not decode.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Result<Option<&E>> {
        let index = self.locate(key)?;
        Ok(index.and_then(|index| self.slots[index as usize].entry.as_ref()))
    }

    /// Whether the key has an entry.
    ///
    /// # Errors
    /// As [`Family::get`].
    pub fn contains(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The entry of a key, to be changed: it will be part of the next checkpoint.
    ///
    /// # Errors
    /// As [`Family::get`].
    #[inline]
    pub fn get_mut(&mut self, key: &[u8]) -> Result<Option<&mut E>> {
        let Some(index) = self.locate(key)? else { return Ok(None) };
        if self.slots[index as usize].entry.is_none() {
            return Ok(None);
        }
        self.change(index);
        Ok(self.slots[index as usize].entry.as_mut())
    }

    /// The entry of a key, made if it is not there; and whether it was made.
    ///
    /// # Errors
    /// As [`Family::get`].
    #[inline]
    pub fn get_or_insert_with(
        &mut self,
        key: &[u8],
        make: impl FnOnce() -> E,
    ) -> Result<(&mut E, bool)> {
        let located = self.locate(key)?;
        let live = located.filter(|index| self.slots[*index as usize].entry.is_some());
        let index = match (live, located) {
            (Some(index), _) => {
                self.change(index);
                index
            }
            (None, Some(index)) => {
                self.put(index, make());
                index
            }
            // The look-up has just said that the backend does not have it.
            (None, None) => self.add(key, Some(make()), DIRTY),
        };
        let entry = self.slots[index as usize].entry.as_mut().expect("it is live or was just made");
        Ok((entry, live.is_none()))
    }

    /// Sets an entry, whether the key has one or not. Does not ask the backend.
    pub fn insert(&mut self, key: &[u8], entry: E) {
        match self.find(key) {
            Some(index) => self.put(index, entry),
            None => {
                self.add(key, Some(entry), DIRTY | STORED);
            }
        }
    }

    /// Sets the entry of a key that the caller knows to have none. Does not ask the backend,
    /// and leaves no trace if it is removed before the next checkpoint.
    pub fn insert_new(&mut self, key: &[u8], entry: E) {
        match self.find(key) {
            Some(index) => {
                debug_assert!(self.slots[index as usize].entry.is_none(), "the key has an entry");
                self.put(index, entry);
            }
            None => {
                self.add(key, Some(entry), DIRTY);
            }
        }
    }

    /// Removes a key, whether it has an entry or not (ST-03). Does not ask the backend.
    pub fn remove(&mut self, key: &[u8]) {
        match self.find(key) {
            Some(index) => {
                self.bury(index);
            }
            None => {
                self.add(key, None, DIRTY | STORED);
            }
        }
    }

    /// Removes a key from the backend, and from the changelog only if it changed since the last
    /// checkpoint: what the changelog says of it otherwise is known to count for nothing.
    pub(crate) fn remove_stored(&mut self, key: &[u8]) {
        let index = match self.find(key) {
            Some(index) if self.slots[index as usize].flags & DIRTY != 0 => {
                self.bury(index);
                return;
            }
            Some(index) => {
                self.bury(index);
                index
            }
            None => self.add(key, None, DIRTY | STORED),
        };
        self.slots[index as usize].flags |= LOCAL;
    }

    /// Removes a key and gives the entry that it had.
    ///
    /// # Errors
    /// As [`Family::get`].
    pub fn take(&mut self, key: &[u8]) -> Result<Option<E>> {
        Ok(self.locate(key)?.and_then(|index| self.bury(index)))
    }

    /// Visits the entries of a range in ascending order of their keys, without caching those
    /// that only the backend has.
    ///
    /// # Errors
    /// As [`Family::get`].
    pub fn scan(
        &mut self,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8], &E) -> ControlFlow<()>,
    ) -> Result<()> {
        self.merge(range, &mut |key, found| match found {
            Found::Cached(_, entry) => visit(key, entry),
            Found::Stored(entry) => visit(key, &entry),
        })
    }

    /// The first key of a range that has an entry.
    ///
    /// # Errors
    /// As [`Family::get`].
    pub fn first_key(&mut self, range: &KeyRange) -> Result<Option<KeyBuf>> {
        let mut first = None;
        self.scan(range, |key, _| {
            first = Some(KeyBuf::new(key));
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// Removes the first `limit` entries of a range and gives them in ascending order of their
    /// keys. Its work is in what it removes; call it again for the rest.
    ///
    /// # Errors
    /// As [`Family::get`]; nothing is removed then.
    pub fn drain(&mut self, range: &KeyRange, limit: usize) -> Result<Vec<(KeyBuf, E)>> {
        enum Source<E> {
            Slot(u32),
            Backend(E),
        }
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.merge(range, &mut |key, entry| {
            let source = match entry {
                Found::Cached(index, _) => Source::Slot(index),
                Found::Stored(entry) => Source::Backend(entry),
            };
            found.push((KeyBuf::new(key), source));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let drained = found.into_iter().map(|(key, source)| {
            let entry = match source {
                Source::Slot(index) => self.bury(index).expect("the scan saw an entry"),
                Source::Backend(entry) => {
                    self.remove(&key);
                    entry
                }
            };
            (key, entry)
        });
        Ok(drained.collect())
    }

    /// The slot of a key, loaded from the backend if need be. It may be a tombstone.
    #[inline]
    fn locate(&mut self, key: &[u8]) -> Result<Option<u32>> {
        match self.find(key) {
            Some(index) => {
                self.slots[index as usize].flags |= REFERENCED;
                Ok(Some(index))
            }
            None => self.load(key),
        }
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = hash(&self.hasher, key);
        self.table.find(hash, |index| *self.slots[*index as usize].key == *key).copied()
    }

    #[cold]
    fn load(&mut self, key: &[u8]) -> Result<Option<u32>> {
        self.misses += 1;
        let mut buffer = std::mem::take(&mut self.buffer);
        let found = self.backend.get(self.id, key, &mut buffer);
        let entry = match found {
            Ok(true) => Some(decode(self.id, key, &buffer)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        self.buffer = buffer;
        let Some(entry) = entry.transpose()? else { return Ok(None) };
        Ok(Some(self.add(key, Some(entry), STORED)))
    }

    /// Marks a live slot changed, and counts what the change before this one did to its size.
    #[inline]
    fn change(&mut self, index: u32) {
        assert!(!self.sealed, "{SEALED}");
        let slot = &mut self.slots[index as usize];
        if slot.flags & DIRTY == 0 {
            slot.flags |= DIRTY;
            self.dirty_bytes += slot.bytes as usize;
            self.dirty.push(index);
        }
        let bytes = slot_bytes(&slot.key, slot.entry.as_ref());
        if bytes != slot.bytes {
            self.recount(index, bytes);
        }
    }

    /// Counts the new size of a dirty slot.
    fn recount(&mut self, index: u32, bytes: u32) {
        let slot = &mut self.slots[index as usize];
        let by = bytes as isize - slot.bytes as isize;
        slot.bytes = bytes;
        self.dirty_bytes = self.dirty_bytes.checked_add_signed(by).expect("it was counted before");
        self.share.change(by);
    }

    /// Sets the entry of a slot, a tombstone's too.
    fn put(&mut self, index: u32, entry: E) {
        self.change(index);
        let slot = &mut self.slots[index as usize];
        // A key that came from the backend is found there by a scan; one that came back from a
        // tombstone may not be.
        let was_buried = slot.entry.replace(entry).is_none();
        slot.flags &= !LOCAL;
        let bytes = slot_bytes(&slot.key, slot.entry.as_ref());
        if was_buried && slot.flags & FRESH == 0 {
            slot.flags |= FRESH;
            self.unsorted.push(index);
        }
        self.recount(index, bytes);
    }

    /// Makes a slot a tombstone and gives what it held.
    fn bury(&mut self, index: u32) -> Option<E> {
        self.change(index);
        let slot = &mut self.slots[index as usize];
        slot.flags &= !LOCAL;
        let entry = slot.entry.take();
        let bytes = slot_bytes(&slot.key, None::<&E>);
        self.recount(index, bytes);
        entry
    }

    fn add(&mut self, key: &[u8], entry: Option<E>, flags: u8) -> u32 {
        if self.share.over() {
            self.evict(EVICTION_STEPS, EVICTIONS);
        }
        let key = KeyBuf::new(key);
        let bytes = slot_bytes(&key, entry.as_ref());
        self.share.change(bytes as isize);
        let live = entry.is_some();
        let slot = Slot { key, entry, bytes, flags: flags | USED | REFERENCED };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("a cache has less than 2^32 entries")
            }
        };
        let slots = &self.slots;
        let hasher = &self.hasher;
        self.table.insert_unique(hash(hasher, &slots[index as usize].key), index, |index| {
            hash(hasher, &slots[*index as usize].key)
        });
        if flags & DIRTY != 0 {
            assert!(!self.sealed, "{SEALED}");
            self.dirty.push(index);
            self.dirty_bytes += bytes as usize;
            if live {
                self.slots[index as usize].flags |= FRESH;
                self.unsorted.push(index);
            }
        }
        index
    }

    fn merge(&mut self, range: &KeyRange, visit: &mut Visit<'_, E>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        for index in self.unsorted.drain(..) {
            self.fresh.insert(self.slots[index as usize].key.clone(), index);
        }
        let this = &*self;
        let end = range.end().map_or(Bound::Unbounded, Bound::Excluded);
        let mut fresh =
            this.fresh.range::<[u8], _>((Bound::Included(range.start()), end)).peekable();
        let cached = |index: u32, visit: &mut Visit<'_, E>| {
            let slot = &this.slots[index as usize];
            match &slot.entry {
                Some(entry) => visit(&slot.key, Found::Cached(index, entry)),
                None => ControlFlow::Continue(()),
            }
        };
        let mut outcome = Ok(());
        let mut stopped = false;
        this.backend.scan(this.id, range, &mut |key, value| {
            while let Some((_, index)) = fresh.next_if(|(fresh, _)| fresh[..] < *key) {
                if cached(*index, visit).is_break() {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match this.find(key) {
                Some(index) => {
                    // Where the backend has it after all, it comes once.
                    fresh.next_if(|(fresh, _)| fresh[..] == *key);
                    cached(index, visit)
                }
                None => match decode(this.id, key, value) {
                    Ok(entry) => visit(key, Found::Stored(entry)),
                    Err(error) => {
                        outcome = Err(error);
                        ControlFlow::Break(())
                    }
                },
            };
            stopped = flow.is_break();
            flow
        })?;
        outcome?;
        if !stopped {
            for (_, index) in fresh {
                if cached(*index, visit).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives up clean slots that were not used since the hand last passed them.
    fn evict(&mut self, steps: usize, mut evictions: usize) {
        for _ in 0..steps.min(self.slots.len()) {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let slot = &mut self.slots[self.hand];
            if slot.flags & (USED | DIRTY) != USED {
                continue;
            }
            if slot.flags & REFERENCED != 0 {
                slot.flags &= !REFERENCED;
                continue;
            }
            self.release(self.hand as u32);
            evictions -= 1;
            if evictions == 0 {
                break;
            }
        }
    }

    /// Frees a slot. Lists that name it are the caller's affair.
    fn release(&mut self, index: u32) {
        let hash = hash(&self.hasher, &self.slots[index as usize].key);
        self.table
            .find_entry(hash, |other| *other == index)
            .expect("every used slot is in the table")
            .remove();
        let slot = &mut self.slots[index as usize];
        self.share.change(-(slot.bytes as isize));
        *slot = Slot { key: KeyBuf::new(b""), entry: None, bytes: 0, flags: 0 };
        self.free.push(index);
    }

    /// Ends a checkpoint: nothing is dirty or fresh any more.
    fn settle(&mut self) {
        self.dirty.clear();
        self.unsorted.clear();
        self.fresh.clear();
        self.dirty_bytes = 0;
        self.sealed = false;
        let mut passes = 2;
        while self.share.over() && passes > 0 {
            self.evict(usize::MAX, usize::MAX);
            passes -= 1;
        }
        if self.table.is_empty() && self.slots.capacity() > 1024 {
            // After a burst (a million windows closed) the memory goes back.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.dirty = Vec::new();
            self.table = HashTable::new();
            self.hand = 0;
        }
    }
}

const SEALED: &str = "state changed between prepare and the end of the checkpoint";

#[inline]
fn hash(hasher: &FixedState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

#[inline]
fn slot_bytes<E: Entry>(key: &KeyBuf, entry: Option<&E>) -> u32 {
    let bytes = size_of::<KeyBuf>() + key.len() + OVERHEAD + entry.map_or(0, E::size);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn decode<E: Entry>(family: FamilyId, key: &[u8], value: &[u8]) -> Result<E> {
    let failed = |detail: String| StateError::Decode { family, key: key_text(key), detail };
    let (payload, expires) = slot::open(value).map_err(|detail| failed(detail.into()))?;
    let mut entry = E::decode(payload).map_err(|error| failed(error.0))?;
    if let Some(stamp) = expires {
        entry.set_expires(stamp);
    }
    Ok(entry)
}

impl<E: Entry> AnyFamily for Family<E> {
    fn id(&self) -> FamilyId {
        self.id
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    fn stats(&self) -> FamilyStats {
        FamilyStats {
            cached: self.table.len(),
            dirty: self.dirty.len(),
            bytes: self.share.bytes(),
            misses: self.misses,
        }
    }

    fn prepare(&mut self, batch: &mut Batch) {
        self.sealed = true;
        for index in &self.dirty {
            let slot = &self.slots[*index as usize];
            match &slot.entry {
                Some(entry) => batch.put_with(self.id, &slot.key, |out| {
                    slot::begin(out, entry.expires());
                    entry.encode(out);
                }),
                None if slot.flags & STORED != 0 => batch.delete(self.id, &slot.key),
                None => continue,
            }
            if self.local || slot.flags & LOCAL != 0 {
                batch.make_last_local();
            }
        }
    }

    fn committed(&mut self) {
        for at in 0..self.dirty.len() {
            let index = self.dirty[at];
            let slot = &mut self.slots[index as usize];
            if slot.entry.is_none() || self.local {
                self.release(index);
                continue;
            }
            slot.flags = (slot.flags & !(DIRTY | FRESH)) | STORED;
            let bytes = slot_bytes(&slot.key, slot.entry.as_ref());
            if bytes != slot.bytes {
                let by = bytes as isize - slot.bytes as isize;
                slot.bytes = bytes;
                self.share.change(by);
            }
        }
        self.settle();
    }

    fn discard(&mut self) {
        for at in 0..self.dirty.len() {
            self.release(self.dirty[at]);
        }
        self.settle();
    }
}
