//! Regular expressions that clients send, for names of topics (KIP-848) and transactional ids
//! (KIP-1152). They come from the network: matching takes linear time whatever they say, and
//! compiling takes a bounded amount of memory.
//!
//! Kafka takes RE2/J's syntax, of which `\Q...\E` and the names of scripts are missing here.

use regex::{Regex, RegexBuilder};

/// Bytes of an expression's text: what reading it takes grows with them, before the size of what
/// it compiles to is known.
const TEXT_MAX: usize = 16 << 10;
/// Bytes that a compiled expression may take.
const COMPILED_MAX: usize = 1 << 20;

/// A regular expression that must match a whole name.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Reads an expression.
    ///
    /// # Errors
    /// A text for the user if it is none, or too large.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("a regular expression has at most {TEXT_MAX} bytes"));
        }
        let compile = |text: &str| RegexBuilder::new(text).size_limit(COMPILED_MAX).build();
        // By itself first: `a)|(b` is no expression, though it would be one in the brackets.
        compile(text)
            .and_then(|_| compile(&format!("^(?:{text})$")))
            .map(Self)
            .map_err(|error| format!("`{text}` is not a valid regular expression: {error}"))
    }

    /// Whether it matches the whole name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_of_any_length_is_not_even_read() {
        assert!(Pattern::new(&"a".repeat(TEXT_MAX)).is_ok());
        let refused = Pattern::new(&"a".repeat(TEXT_MAX + 1)).unwrap_err();
        assert_eq!(refused, "a regular expression has at most 16384 bytes");
    }

    #[test]
    fn the_whole_name_must_match() {
        let pattern = Pattern::new("a|bc+").unwrap();
        assert!(pattern.matches("a") && pattern.matches("bccc"));
        assert!(!pattern.matches("ab") && !pattern.matches("xa") && !pattern.matches("bcx"));
        assert!(Pattern::new("(?i)orders-\\d{2}").unwrap().matches("Orders-07"));
        // A comment would swallow the closing bracket.
        assert!(!Pattern::new("(?x)a # b").is_ok_and(|pattern| pattern.matches("ab")));
    }

    #[test]
    fn what_is_none_or_too_large_is_refused() {
        for text in ["(", "a)|(b", "[z-a]", "a**{", "(a{1000}){1000}"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }
}
