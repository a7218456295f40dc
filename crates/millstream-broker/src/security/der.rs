//! The few structures of X.509 that are looked at: elements of DER, one behind the other. No
//! length is trusted.

/// An element: its tag and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
}

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Elements that lie behind each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The next element; `None` at the end, or if what is there is none.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let [tag, first, ..] = *self.0 else { return None };
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            // Four bytes of length are more than any certificate has.
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let bytes = self.0.get(2..2 + count)?;
                let length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (2 + count, length)
            }
            _ => return None,
        };
        let end = header.checked_add(length)?;
        let (whole, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(Element { tag, content: &whole[header..], whole })
    }

    /// The next element, if it has that tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag == tag).map(|element| element.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_lengths_that_lie() {
        let mut der = Der(&[0x30, 3, 0x06, 1, 9, 0x31, 0x81, 1, 7]);
        let first = der.next().unwrap();
        assert_eq!((first.tag, first.content), (SEQUENCE, &[0x06, 1, 9][..]));
        assert_eq!(der.expect(SET), Some(&[7][..]));
        assert_eq!(der.next(), None);
        for lie in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80],
            &[0x30, 0x82, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x30, 0x85, 0, 0, 0, 0, 1, 1],
            &[0x30, 0xff],
        ] {
            assert_eq!(Der(lie).next(), None, "{lie:?}");
        }
    }
}
