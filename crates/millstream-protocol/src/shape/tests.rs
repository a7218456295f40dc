use proptest::prelude::*;

use super::example::{Style, write};
use super::*;

const PLENTY: Limit = Limit::Elements(500_000);

/// All that a shape can have.
const SHAPE: Shape = Shape::parse(
    "2 s [4]@1.. [s]@0..1 [{8}] [{[b]}] 16@1..2 ?{s [2 b]}@2.. {4 s} #0:[4 s 4@2..]@2.. #3:{8 #1:[s]}",
);

fn random(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    }
}

proptest! {
    /// What is written by the shape passes, with a stray byte behind it as well; cut anywhere, it
    /// does not; neither does it with any length replaced by a huge one.
    #[test]
    fn nothing_passes_but_what_is_there(
        seed: u64, version in 0i16..4, flexible: bool, nulls: bool,
    ) {
        let style = Style { nulls, ..Style::default() };
        let mut example = write(&SHAPE, version, flexible, &style, &mut random(seed));
        prop_assert_eq!(SHAPE.check(version, flexible, &example.bytes, PLENTY), Ok(()));
        for end in 0..example.bytes.len() {
            let cut = SHAPE.check(version, flexible, &example.bytes[..end], PLENTY);
            prop_assert_eq!(cut, Err(ShapeError::Cut), "cut at {}", end);
        }
        for index in 0..example.lengths.len() {
            let lie = example.with_a_lie(index, flexible);
            prop_assert!(SHAPE.check(version, flexible, &lie, PLENTY).is_err(), "length {}", index);
        }
        example.bytes.push(1);
        prop_assert_eq!(SHAPE.check(version, flexible, &example.bytes, PLENTY), Ok(()));
    }

    #[test]
    fn random_bytes_do_not_panic(bytes: Vec<u8>, version in 0i16..4, flexible: bool) {
        let _ = SHAPE.check(version, flexible, &bytes, PLENTY);
        let _ = tags_length(&bytes, PLENTY);
    }
}

#[test]
fn a_stated_count_alone_is_refused() {
    // Two billion topics in an array that ends after its count.
    let topics = Shape::parse("[16@10.. s] 1@4..");
    let body = [0x7f, 0xff, 0xff, 0xff];
    assert_eq!(topics.check(1, false, &body, PLENTY), Err(ShapeError::Cut));
    // The same, of numbers, which are not walked one by one.
    let numbers = Shape::parse("[16]");
    assert_eq!(numbers.check(1, false, &body, PLENTY), Err(ShapeError::Cut));
    // Fewer than none.
    assert_eq!(numbers.check(1, false, &(-2i32).to_be_bytes(), PLENTY), Err(ShapeError::Cut));
    // Elements that take no bytes in this version are counted all the same.
    let nothing = Shape::parse("[4@3.. s@5..]");
    let limit = Limit::Elements(10);
    assert_eq!(nothing.check(1, false, &body, limit), Err(ShapeError::TooMany(10)));
}

#[test]
fn elements_are_limited_all_together() {
    let shape = Shape::parse("[s] [4] [{1}]");
    let mut body = vec![0, 0, 0, 2, 0, 0, 0, 0];
    body.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend([0, 0, 0, 2, 1, 1]);
    let check = |limit| shape.check(0, false, &body, limit);
    assert_eq!(check(Limit::Elements(6)), Ok(()));
    assert_eq!(check(Limit::Elements(5)), Err(ShapeError::TooMany(5)));
    assert_eq!(check(Limit::ButNumbers(4)), Ok(()));
    assert_eq!(check(Limit::ButNumbers(3)), Err(ShapeError::TooMany(3)));
}

#[test]
fn tagged_fields_are_limited() {
    // Three of them, the numbers 5, 6 and 7, of no bytes.
    let tags = [3, 5, 0, 6, 0, 7, 0, 99];
    assert_eq!(tags_length(&tags, Limit::Elements(3)), Ok(7));
    assert_eq!(tags_length(&tags, Limit::Elements(2)), Err(ShapeError::TooMany(2)));
}

#[test]
fn a_tagged_field_is_walked_by_its_kind_and_must_have_its_size() {
    let shape = Shape::parse("1 #2:[4]@1..");
    let check = |version, body: &[u8]| shape.check(version, true, body, PLENTY);
    // The field's number, its size, two elements.
    assert_eq!(check(1, &[0, 1, 2, 9, 3, 0, 0, 0, 1, 0, 0, 0, 2]), Ok(()));
    // The size says less, or more, than the array takes.
    assert_eq!(check(1, &[0, 1, 2, 5, 3, 0, 0, 0, 1, 0, 0, 0, 2]), Err(ShapeError::Cut));
    assert_eq!(check(1, &[0, 1, 2, 10, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0]), Err(ShapeError::Cut));
    // A count that the size would cover by far, but not the bytes.
    assert_eq!(check(1, &[0, 1, 2, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(ShapeError::Cut));
    // A version that does not have the field, and another field: skipped by the size.
    assert_eq!(check(0, &[0, 1, 2, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(()));
    assert_eq!(check(1, &[0, 1, 3, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(()));
}

#[test]
fn what_is_no_shape_is_refused() {
    for text in ["x", "[4", "4]", "[4}", "[]", "?[4]", "4@", "4@3", "#1 4", "#1:4 4", "0", "17"] {
        let parsed = std::panic::catch_unwind(|| Shape::parse(text));
        assert!(parsed.is_err(), "{text}");
    }
}
