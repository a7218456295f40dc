//! SASL/PLAIN (RFC 4616): the password itself, in one message. Only where the connection is
//! encrypted does nobody else read it.

use super::Security;
use super::sasl::{Authenticated, Refusal};

/// Takes the client's only message: an identity to act as, a name and a password, zero bytes
/// between them.
///
/// # Errors
/// It is no such message, or the password is wrong.
pub(super) fn authenticate(token: &[u8], security: &Security) -> Result<Authenticated, Refusal> {
    let bad = || Refusal::invalid("the message is none of SASL/PLAIN");
    let parts: Vec<&[u8]> = token.split(|byte| *byte == 0).collect();
    let [authzid, name, password] = parts[..] else { return Err(bad()) };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| bad());
    let (authzid, name) = (text(authzid)?, text(name)?);
    if name.is_empty() || password.is_empty() {
        return Err(bad());
    }
    if !security.secrets.users.has_password(name, password) {
        return Err(Refusal::wrong_password());
    }
    if !authzid.is_empty() && authzid != name {
        return Err(Refusal::other_identity());
    }
    Ok(Authenticated { user: name.to_owned(), answer: Vec::new(), expires_ms: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;
    use crate::security::{SecurityConfig, Users};

    #[test]
    fn one_message() {
        let mut security = Security::open(&SecurityConfig::default(), None).unwrap();
        security.secrets.users = Users::parse("ann:secret", &mut SystemRandom::default()).unwrap();
        for good in ["\0ann\0secret", "ann\0ann\0secret"] {
            let done = authenticate(good.as_bytes(), &security).unwrap();
            assert_eq!((done.user.as_str(), done.answer.len()), ("ann", 0));
        }
        assert_eq!(authenticate(b"\0ann\0wrong", &security), Err(Refusal::wrong_password()));
        assert_eq!(authenticate(b"\0eve\0secret", &security), Err(Refusal::wrong_password()));
        assert_eq!(authenticate(b"bob\0ann\0secret", &security), Err(Refusal::other_identity()));
        for bad in ["", "\0", "\0ann", "\0ann\0", "\0\0secret", "\0ann\0secret\0", "ann\0secret"] {
            assert!(authenticate(bad.as_bytes(), &security).is_err(), "{bad:?}");
        }
        assert!(authenticate(b"\0\xff\0secret", &security).is_err());
    }
}
