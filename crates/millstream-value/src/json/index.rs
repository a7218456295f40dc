//! Where the fields of a map lie, noted while its text is checked: what comes later finds a field
//! without walking the text once more.

use std::cell::RefCell;
use std::ops::Range;

use super::read::Span;

/// Fields that are noted. A map with more of them is walked.
const FIELDS_MAX: usize = 32;

/// Indexes that a thread keeps for its next texts: one record at a time is worked on.
const KEPT_MAX: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes themselves go to texts and come back")]
    static KEPT: RefCell<Vec<Box<Entries>>> = const { RefCell::new(Vec::new()) };
}

struct Entries {
    count: usize,
    /// Only the first `count` mean anything.
    fields: [Field; FIELDS_MAX],
}

/// A key without its quotes, and its value. Two bytes each: longer text has no index.
#[derive(Clone, Copy, Default)]
struct Field {
    key: (u16, u16),
    value: (u16, u16),
}

/// The fields of one text, whose keys have no escapes. Dropped, its memory serves the next one.
pub(super) struct FieldIndex(Option<Box<Entries>>);

impl FieldIndex {
    /// The value of the field `key` in `text`: of duplicates the last.
    #[inline]
    pub(super) fn find(&self, text: &[u8], key: &[u8]) -> Option<Span> {
        let at = self.fields().iter().rposition(|field| field.is(text, key))?;
        Some(self.fields()[at].span())
    }

    /// Whether there is no field.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    /// How many fields have that key.
    #[inline]
    pub(super) fn count(&self, text: &[u8], key: &[u8]) -> usize {
        self.fields().iter().filter(|field| field.is(text, key)).count()
    }

    #[inline]
    fn fields(&self) -> &[Field] {
        match &self.0 {
            Some(entries) => &entries.fields[..entries.count],
            None => &[],
        }
    }
}

impl Field {
    #[inline]
    fn is(&self, text: &[u8], key: &[u8]) -> bool {
        let (start, end) = (usize::from(self.key.0), usize::from(self.key.1));
        end - start == key.len() && text.get(start..end) == Some(key)
    }

    #[inline]
    fn span(&self) -> Span {
        Span::new(usize::from(self.value.0)..usize::from(self.value.1))
    }
}

impl Drop for FieldIndex {
    #[inline]
    fn drop(&mut self) {
        if let Some(entries) = self.0.take() {
            // At the end of a thread there is nobody left to keep it for.
            let _ = KEPT.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < KEPT_MAX {
                    kept.push(entries);
                }
            });
        }
    }
}

/// What the check tells of the outermost map, field after field.
pub(super) trait Notes {
    /// A key without its quotes, which may have escapes.
    fn key(&mut self, key: Range<usize>, escaped: bool);
    /// The value of the last key.
    fn value(&mut self, value: Range<usize>);
}

/// For who wants to know whether text is JSON, and no more.
impl Notes for () {
    #[inline(always)]
    fn key(&mut self, _: Range<usize>, _: bool) {}
    #[inline(always)]
    fn value(&mut self, _: Range<usize>) {}
}

/// Makes a [`FieldIndex`].
pub(super) struct Indexer(Option<Box<Entries>>);

impl Indexer {
    /// For text of that length.
    #[inline]
    pub(super) fn new(length: usize) -> Self {
        if length > usize::from(u16::MAX) {
            return Self(None);
        }
        let kept = KEPT.with_borrow_mut(Vec::pop);
        let mut entries = kept.unwrap_or_else(|| {
            // The only allocation, once for as many texts as are held at a time.
            Box::new(Entries { count: 0, fields: [Field::default(); FIELDS_MAX] })
        });
        entries.count = 0;
        Self(Some(entries))
    }

    /// `None` if the text cannot have an index.
    #[inline]
    pub(super) fn finish(self) -> Option<FieldIndex> {
        self.0.map(|entries| FieldIndex(Some(entries)))
    }
}

impl Notes for Indexer {
    #[inline(always)]
    fn key(&mut self, key: Range<usize>, escaped: bool) {
        let Some(entries) = &mut self.0 else { return };
        match entries.fields.get_mut(entries.count) {
            Some(field) if !escaped => field.key = (key.start as u16, key.end as u16),
            _ => self.give_up(),
        }
    }

    #[inline(always)]
    fn value(&mut self, value: Range<usize>) {
        let Some(entries) = &mut self.0 else { return };
        if let Some(field) = entries.fields.get_mut(entries.count) {
            field.value = (value.start as u16, value.end as u16);
            entries.count += 1;
        }
    }
}

impl Indexer {
    #[cold]
    fn give_up(&mut self) {
        drop(FieldIndex(self.0.take()));
    }
}
