//! Where reading begins, as a user writes it.

use std::str::FromStr;

use crate::when::When;

/// Where to begin in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The oldest record there is.
    Beginning,
    /// Behind the newest one.
    End,
    /// That offset.
    Offset(i64),
    /// That many records before the end.
    Last(i64),
    /// The first record at or after that time.
    Time(When),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            digits.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| {
                format!("{text:?} is none of: beginning, end, OFFSET, -N (the last N), @TIME")
            })
        };
        match text {
            "beginning" | "earliest" => Ok(Self::Beginning),
            "end" | "latest" => Ok(Self::End),
            _ => match text.as_bytes().first() {
                Some(b'@') => text[1..].parse().map(Self::Time),
                Some(b'-') => number(&text[1..]).map(Self::Last),
                _ => number(text).map(Self::Offset),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let parsed = |text: &str| text.parse::<Start>().ok();
        assert_eq!(parsed("beginning"), Some(Start::Beginning));
        assert_eq!(parsed("latest"), Some(Start::End));
        assert_eq!(parsed("17"), Some(Start::Offset(17)));
        assert_eq!(parsed("-5"), Some(Start::Last(5)));
        let time = Some(Start::Time(When::At(1_357_016_400_000)));
        assert_eq!(parsed("@1357016400000"), time);
        assert_eq!(parsed("@2013-01-01T05:00:00Z"), time);
        assert_eq!(parsed("@-2h"), Some(Start::Time(When::Ago(7_200_000))));
        for wrong in ["", "x", "--5", "@", "@-1", "1.5"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
