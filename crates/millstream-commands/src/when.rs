//! A point in time, as a user writes it.

use std::str::FromStr;

use millstream_types::Timestamp;

/// Forms that are understood, for messages.
pub(crate) const FORMS: &str = "milliseconds since the epoch (1357016400000), ISO 8601 \
     (2013-01-01T05:00:00Z), or a time ago (-90s, -15m, -3h, -2d)";

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// That many milliseconds after the epoch.
    At(Timestamp),
    /// That many milliseconds before now.
    Ago(i64),
}

impl When {
    /// The time it is, if it is `now` now.
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ms) => now.saturating_sub(ms),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_prefix('-') {
            Some(rest) => span(rest).map(Self::Ago),
            None => text.parse().ok().filter(|at| *at >= 0).or_else(|| iso8601(text)).map(Self::At),
        };
        parsed.ok_or_else(|| format!("{text:?} is no time; write {FORMS}"))
    }
}

/// Milliseconds of `90s`, `15m`, `3h`, `2d`, `250ms`.
fn span(text: &str) -> Option<i64> {
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(unit)
}

/// Milliseconds since the epoch of an ISO 8601 date, or date and time: `2013-01-01`,
/// `2013-01-01T05:00`, `2013-01-01 05:00:00.250`, with `Z`, `+01:00`, `+0100` or `+01` behind
/// them; without any of these it is UTC.
pub(crate) fn iso8601(text: &str) -> Option<Timestamp> {
    let mut rest = Digits(text.as_bytes());
    let year = rest.number(4)?;
    rest.expect(b'-')?;
    let month = rest.number(2)?;
    rest.expect(b'-')?;
    let day = rest.number(2)?;
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_since_epoch(year, month, day) * 86_400_000;
    if rest.0.is_empty() {
        return Some(midnight);
    }
    rest.any(b"Tt ")?;
    let hour = rest.number(2)?;
    rest.expect(b':')?;
    let minute = rest.number(2)?;
    let (mut second, mut ms) = (0, 0);
    if rest.expect(b':').is_some() {
        second = rest.number(2)?;
        if rest.any(b".,").is_some() {
            ms = rest.fraction()?;
        }
    }
    // A leap second is the last moment of its minute, as POSIX has it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = rest.offset()?;
    let of_day = ((hour * 60 + minute - offset) * 60 + second.min(59)) * 1_000 + ms;
    rest.0.is_empty().then_some(midnight + of_day)
}

/// What is left of a text of digits and signs.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        let all = head.iter().all(u8::is_ascii_digit);
        self.0 = rest;
        all.then(|| head.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn any(&mut self, signs: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if !signs.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(*first)
    }

    fn expect(&mut self, sign: u8) -> Option<u8> {
        self.any(&[sign])
    }

    /// Thousandths; what is finer is cut off.
    fn fraction(&mut self) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let thousandths = digits.iter().map(|digit| i64::from(digit - b'0'));
        let padded = thousandths.chain(std::iter::repeat(0)).take(3);
        (count > 0).then(|| padded.fold(0, |number, digit| number * 10 + digit))
    }

    /// Minutes east of Greenwich.
    fn offset(&mut self) -> Option<i64> {
        match self.any(b"Zz+-") {
            None | Some(b'Z' | b'z') => Some(0),
            Some(sign) => {
                let hours = self.number(2)?;
                let colon = self.expect(b':').is_some();
                let minutes = if colon || !self.0.is_empty() { self.number(2)? } else { 0 };
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let east = hours * 60 + minutes;
                Some(if sign == b'-' { -east } else { east })
            }
        }
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that
/// the leap day is their last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_times() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("2013-01-01T05:00:00Z", 1_357_016_400_000),
            ("2013-01-01 05:00", 1_357_016_400_000),
            ("2013-01-01T00:00:00-05:00", 1_357_016_400_000),
            ("2013-01-01T06:00:00.0+0100", 1_357_016_400_000),
            ("2013-01-01T06:00:00,000+01", 1_357_016_400_000),
            ("2013-01-01T05:00:00.123456", 1_357_016_400_123),
            ("2013-01-01T05:00:00.5Z", 1_357_016_400_500),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2024-12-31T23:59:60Z", 1_735_689_599_000),
            ("1969-12-31T23:59:59Z", -1_000),
        ] {
            assert_eq!(iso8601(text), Some(ms), "{text}");
        }
        for wrong in [
            "",
            "2013",
            "2013-13-01",
            "2013-02-29",
            "1900-02-29",
            "2013-00-01",
            "2013-01-01T",
            "2013-01-01T24:00",
            "2013-01-01T05:60",
            "2013-01-01T05:00:00+",
            "2013-01-01T05:00:00.Z",
            "2013-01-01T05:00:00Zx",
            "2013-01-01X05:00",
            "+013-01-01",
            "2013-01-01T05:00:00+1:00",
        ] {
            assert_eq!(iso8601(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = days_since_epoch(1599, 12, 31);
        for year in 1600..=2400 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    expected += 1;
                    assert_eq!(days_since_epoch(year, month, day), expected);
                }
            }
        }
    }

    #[test]
    fn every_form() {
        let parsed = |text: &str| text.parse::<When>().ok();
        assert_eq!(parsed("0"), Some(When::At(0)));
        assert_eq!(parsed("1357016400000"), Some(When::At(1_357_016_400_000)));
        assert_eq!(parsed("2013-01-01T05:00:00Z"), Some(When::At(1_357_016_400_000)));
        assert_eq!(parsed("-3h"), Some(When::Ago(10_800_000)));
        assert_eq!(parsed("-250ms"), Some(When::Ago(250)));
        assert_eq!(parsed("-2d").map(|when| when.resolve(172_800_005)), Some(5));
        for wrong in ["", "-", "-3", "-h", "-3w", "3h", "--3h", "-99999999999999999d", "yesterday"]
        {
            let error = wrong.parse::<When>().expect_err(wrong);
            assert!(error.contains("-3h"), "{error}");
        }
    }
}
