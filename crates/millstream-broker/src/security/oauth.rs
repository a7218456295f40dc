//! SASL/OAUTHBEARER (RFC 7628, KIP-255): a token that somebody else has signed. Whether it is
//! good, [`Tokens`](super::Tokens) says.

use super::Security;
use super::sasl::{Authenticated, Refusal, Step};

const SEPARATOR: char = '\u{1}';
/// What a client is told about a token that is no good; it answers with one separator.
const INVALID_TOKEN: &str = r#"{"status":"invalid_token"}"#;

/// Where an exchange stands.
#[derive(Default)]
pub(super) struct OauthExchange {
    /// Why the token was refused, if it was: the client's next message ends the exchange.
    refused: Option<String>,
}

impl OauthExchange {
    /// Takes the client's next message.
    ///
    /// # Errors
    /// The exchange is over.
    pub(super) fn step(
        &mut self,
        token: &[u8],
        security: &Security,
        now_ms: i64,
    ) -> Result<Step, Refusal> {
        if let Some(reason) = self.refused.take() {
            return Err(Refusal::told(INVALID_TOKEN, reason));
        }
        let bad = || Refusal::invalid("the message is none of SASL/OAUTHBEARER");
        let text = std::str::from_utf8(token).map_err(|_| bad())?;
        let (authzid, token) = parse(text).ok_or_else(bad)?;
        let tokens = security.secrets.tokens.as_ref().ok_or_else(bad)?;
        match tokens.check(token, now_ms) {
            Ok(claims) if authzid.is_empty() || authzid == claims.principal => {
                Ok(Step::Done(Authenticated {
                    user: claims.principal,
                    answer: Vec::new(),
                    expires_ms: Some(claims.expires_ms),
                }))
            }
            Ok(_) => Err(Refusal::other_identity()),
            Err(reason) => {
                self.refused = Some(reason);
                Ok(Step::Challenge(INVALID_TOKEN.as_bytes().to_vec()))
            }
        }
    }
}

/// The identity to act as (mostly empty) and the token of a client's first message. Extensions
/// (KIP-342) are for programs that look at them; here nobody does.
fn parse(text: &str) -> Option<(&str, &str)> {
    let (header, fields) = text.split_once(SEPARATOR)?;
    let authzid = header.strip_prefix("n,")?.strip_suffix(',')?;
    let authzid = if authzid.is_empty() { "" } else { authzid.strip_prefix("a=")? };
    let fields = fields.strip_suffix("\u{1}\u{1}")?;
    let value = fields.split(SEPARATOR).find_map(|field| field.strip_prefix("auth="))?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| (authzid, token.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::jwt::tests::unsecured;
    use crate::security::{SecurityConfig, Tokens};

    #[test]
    fn messages() {
        for (text, expected) in [
            ("n,,\u{1}auth=Bearer abc\u{1}\u{1}", Some(("", "abc"))),
            ("n,a=ann,\u{1}auth=bearer abc\u{1}x=y\u{1}\u{1}", Some(("ann", "abc"))),
            ("n,,\u{1}x=y\u{1}auth=Bearer abc\u{1}\u{1}", Some(("", "abc"))),
            ("n,,\u{1}auth=Bearer abc\u{1}", None),
            ("n,,\u{1}auth=Basic abc\u{1}\u{1}", None),
            ("n,,\u{1}auth=Bearer\u{1}\u{1}", None),
            ("n,,\u{1}\u{1}", None),
            ("y,,\u{1}auth=Bearer abc\u{1}\u{1}", None),
            ("n,ann,\u{1}auth=Bearer abc\u{1}\u{1}", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_token_that_is_no_good_is_told_in_two_steps() {
        let mut security = Security::open(&SecurityConfig::default(), None).unwrap();
        security.secrets.tokens = Some(Tokens::unsecured());
        let message = |token: &str, authzid: &str| {
            format!("n,{authzid},\u{1}auth=Bearer {token}\u{1}\u{1}").into_bytes()
        };
        let token = unsecured(r#"{"sub":"ann","exp":100}"#);
        let mut exchange = OauthExchange::default();
        let done = exchange.step(&message(&token, ""), &security, 99_000).unwrap();
        let Step::Done(done) = done else { panic!("{done:?}") };
        assert_eq!((done.user.as_str(), done.expires_ms), ("ann", Some(100_000)));

        let mut exchange = OauthExchange::default();
        let step = exchange.step(&message(&token, ""), &security, 100_000).unwrap();
        assert_eq!(step, Step::Challenge(INVALID_TOKEN.as_bytes().to_vec()));
        // Even a good one comes too late then.
        let refusal = exchange.step(&message(&token, ""), &security, 99_000).unwrap_err();
        assert_eq!(refusal.told_text("OAUTHBEARER"), INVALID_TOKEN);

        let mut exchange = OauthExchange::default();
        let refusal = exchange.step(&message(&token, "a=bob"), &security, 99_000).unwrap_err();
        assert_eq!(refusal, Refusal::other_identity());
    }
}
