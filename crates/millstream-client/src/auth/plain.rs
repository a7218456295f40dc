//! PLAIN (RFC 4616): name and password as they are. Only TLS keeps them secret.

use super::{Authenticator, Exchange, NotYet};
use crate::settings::Secret;
use crate::time::Now;

/// Name and password.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    username: String,
    password: Secret,
}

impl Plain {
    pub(super) fn new(username: &str, password: &Secret) -> Self {
        Self { username: username.to_owned(), password: password.clone() }
    }
}

impl Authenticator for Plain {
    fn mechanism(&self) -> &'static str {
        "PLAIN"
    }

    fn begin(&mut self, _now: Now) -> Result<Box<dyn Exchange>, NotYet> {
        let refused = |what: &str| Err(NotYet::Refused(what.to_owned()));
        // The message separates its parts by NUL.
        for (name, text) in
            [("sasl.username", self.username.as_str()), ("sasl.password", self.password.expose())]
        {
            if text.is_empty() {
                return refused(&format!("{name} is empty"));
            }
            if text.contains('\0') {
                return refused(&format!("{name} has a NUL in it, which PLAIN cannot send"));
            }
        }
        Ok(Box::new(self.clone()))
    }
}

impl Exchange for Plain {
    fn start(&mut self) -> Result<Vec<u8>, String> {
        Ok(["\0", &self.username, "\0", self.password.expose()].concat().into_bytes())
    }

    fn step(&mut self, _challenge: &[u8]) -> Result<Option<Vec<u8>>, String> {
        // Brokers answer with nothing; what others say does not matter, as PLAIN proves nothing.
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(username: &str, password: &str) -> Result<Box<dyn Exchange>, NotYet> {
        Plain::new(username, &Secret::new(password)).begin(Now::default())
    }

    #[test]
    fn the_message_is_that_of_the_rfc() {
        let mut exchange = begin("tim", "tanstaaftanstaaf").unwrap();
        assert_eq!(exchange.start().unwrap(), b"\0tim\0tanstaaftanstaaf");
        assert_eq!(exchange.step(b"").unwrap(), None);
        let mut exchange = begin("mäx", "pässword").unwrap();
        assert_eq!(exchange.start().unwrap(), "\0mäx\0pässword".as_bytes());
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_showing_it() {
        for (username, password) in [("a\0b", "hunter2"), ("a", "hunter2\0"), ("", "hunter2")] {
            let Err(NotYet::Refused(text)) = begin(username, password) else {
                panic!("{username:?} was taken");
            };
            assert!(text.starts_with("sasl.") && !text.contains("hunter2"), "{text}");
        }
        assert!(matches!(begin("a", ""), Err(NotYet::Refused(_))));
        assert!(!format!("{:?}", Plain::new("a", &Secret::new("hunter2"))).contains("hunter2"));
    }
}
