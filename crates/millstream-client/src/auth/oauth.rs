//! OAUTHBEARER (RFC 7628, KIP-255, KIP-342): a token that somebody else has made.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::Timestamp;

use super::{Authenticator, Exchange, NotYet, printable};
use crate::settings::Secret;
use crate::time::Now;

/// Asked for and not given, a token is asked for again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// A token lives for this long at least before the next one is asked for, whatever it says.
const REST: Duration = Duration::from_secs(1);

/// A token for SASL/OAUTHBEARER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthToken {
    /// The token itself.
    pub token: Secret,
    /// When it ends, in milliseconds since the epoch.
    pub expires_at_ms: Timestamp,
    /// Whose it is, for messages; may be empty. The broker takes it from the token.
    pub principal: String,
    /// SASL extensions by name (KIP-342).
    pub extensions: BTreeMap<String, String>,
}

impl OAuthToken {
    /// Why it cannot be sent, if it cannot.
    fn problem(&self) -> Option<String> {
        let token = self.token.expose().trim_end_matches('=');
        let fits = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/".contains(&c);
        if token.is_empty() || !token.bytes().all(fits) {
            return Some("the token is empty or has characters that a token cannot have".into());
        }
        self.extensions.iter().find_map(|(name, value)| extension_problem(name, value))
    }
}

/// Why that cannot be a SASL extension, if it cannot.
pub(crate) fn extension_problem(name: &str, value: &str) -> Option<String> {
    let named = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphabetic());
    if !named || name.eq_ignore_ascii_case("auth") {
        return Some(format!("{name:?} cannot be the name of a SASL extension"));
    }
    let fits = |c: u8| matches!(c, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    if value.is_empty() || !value.bytes().all(fits) {
        return Some(format!("the SASL extension {name} has a value that cannot be sent"));
    }
    None
}

/// The current token, and when to ask for the next.
#[derive(Debug, Default)]
pub(super) struct OAuth {
    token: Option<OAuthToken>,
    /// When four fifths of the token's life are over. It is asked for earlier than it ends,
    /// because somebody has to fetch it.
    refresh_at_ms: Timestamp,
    ask_again_at: Option<Duration>,
    /// From when on a broker's refusal counts again.
    heed_refusal_at: Duration,
}

impl Authenticator for OAuth {
    fn mechanism(&self) -> &'static str {
        "OAUTHBEARER"
    }

    fn begin(&mut self, now: Now) -> Result<Box<dyn Exchange>, NotYet> {
        match &self.token {
            Some(token) if token.expires_at_ms > now.wall => {
                Ok(Box::new(OAuthExchange { token: token.clone(), refusal: None }))
            }
            _ => Err(NotYet::TokenNeeded),
        }
    }

    fn set_token(&mut self, token: OAuthToken, now: Now) -> Result<(), String> {
        if let Some(problem) = token.problem() {
            return Err(problem);
        }
        if token.expires_at_ms <= now.wall {
            return Err("the token has expired already; is the clock right?".into());
        }
        let life = token.expires_at_ms.saturating_sub(now.wall);
        self.refresh_at_ms = now.wall.saturating_add(life / 5 * 4);
        self.token = Some(token);
        self.ask_again_at = Some(now.after(REST));
        Ok(())
    }

    fn token_refused(&mut self, now: Now) {
        if now.mono >= self.heed_refusal_at {
            self.heed_refusal_at = now.after(ASK_AGAIN);
            self.token = None;
        }
    }

    fn take_token_wanted(&mut self, now: Now) -> bool {
        if self.token.is_some() && now.wall < self.refresh_at_ms
            || self.ask_again_at.is_some_and(|at| now.mono < at)
        {
            return false;
        }
        self.ask_again_at = Some(now.after(ASK_AGAIN));
        true
    }

    fn token_wanted_at(&self, now: Now) -> Option<Duration> {
        let left = match &self.token {
            Some(_) => u64::try_from(self.refresh_at_ms.saturating_sub(now.wall)).unwrap_or(0),
            None => 0,
        };
        let refresh = now.after(Duration::from_millis(left));
        Some(self.ask_again_at.map_or(refresh, |at| at.max(refresh)))
    }
}

struct OAuthExchange {
    token: OAuthToken,
    /// What the broker said when it refused, until it says so once more.
    refusal: Option<String>,
}

impl Exchange for OAuthExchange {
    fn start(&mut self) -> Result<Vec<u8>, String> {
        let mut message = format!("n,,\u{1}auth=Bearer {}", self.token.token.expose());
        for (name, value) in &self.token.extensions {
            message.extend(["\u{1}", name, "=", value]);
        }
        message.push_str("\u{1}\u{1}");
        Ok(message.into_bytes())
    }

    fn step(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        if challenge.is_empty() {
            return Ok(None);
        }
        // The error is acknowledged; then the broker refuses for good.
        self.refusal = Some(readable(challenge, &self.token.principal));
        Ok(Some(vec![1]))
    }

    fn refused(&self, text: &str) -> String {
        match &self.refusal {
            Some(refusal) => format!("{refusal}: {text}"),
            None => text.to_owned(),
        }
    }
}

/// The broker's JSON (RFC 7628, section 3.2.2) as a sentence.
fn readable(challenge: &[u8], principal: &str) -> String {
    let whose = match principal {
        "" => String::new(),
        principal => format!(" of {principal:?}"),
    };
    let mut text = format!("the broker refused the OAuth token{whose}");
    let Ok(serde_json::Value::Object(error)) = serde_json::from_slice(challenge) else {
        return text;
    };
    let mut add = |before: &str, name: &str| {
        if let Some(value) = error.get(name).and_then(|value| value.as_str()) {
            text.push_str(before);
            text.push_str(&printable(value));
        }
    };
    add(" with status ", "status");
    add("; it wants the scope ", "scope");
    add("; its tokens are described at ", "openid-configuration");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(expires_at_ms: Timestamp) -> OAuthToken {
        OAuthToken {
            token: Secret::new("abc.DEF-1=="),
            expires_at_ms,
            principal: "alice".into(),
            extensions: BTreeMap::new(),
        }
    }

    fn at(ms: u64) -> Now {
        Now { mono: Duration::from_millis(ms), wall: 1_000_000 + ms as Timestamp }
    }

    fn begin(oauth: &mut OAuth, now: Now) -> Result<Box<dyn Exchange>, NotYet> {
        oauth.begin(now)
    }

    #[test]
    fn a_token_is_wanted_refreshed_and_expires() {
        let mut oauth = OAuth::default();
        assert_eq!(oauth.token_wanted_at(at(0)), Some(Duration::ZERO));
        assert_eq!(begin(&mut oauth, at(0)).err(), Some(NotYet::TokenNeeded));
        assert!(oauth.take_token_wanted(at(0)));
        // Asked for once, and again if nothing comes.
        assert!(!oauth.take_token_wanted(at(9_999)));
        assert_eq!(oauth.token_wanted_at(at(1)), Some(Duration::from_secs(10)));
        assert!(oauth.take_token_wanted(at(10_000)));

        oauth.set_token(token(1_000_000 + 110_000), at(10_000)).unwrap();
        assert!(!oauth.take_token_wanted(at(89_999)));
        assert_eq!(oauth.token_wanted_at(at(20_000)), Some(Duration::from_secs(90)));
        assert!(oauth.take_token_wanted(at(90_000)), "at 80 % of its life");
        assert!(begin(&mut oauth, at(109_999)).is_ok(), "it is still valid");
        assert_eq!(begin(&mut oauth, at(110_000)).err(), Some(NotYet::TokenNeeded));
    }

    #[test]
    fn tokens_are_asked_for_once_a_second_at_most_and_anew_when_they_are_refused() {
        let mut oauth = OAuth::default();
        oauth.set_token(token(1_000_000 + 10), at(0)).unwrap();
        assert!(!oauth.take_token_wanted(at(999)), "it lives for 10 ms");
        assert_eq!(oauth.token_wanted_at(at(500)), Some(Duration::from_secs(1)));
        assert!(oauth.take_token_wanted(at(1_000)));

        oauth.set_token(token(i64::MAX), at(1_000)).unwrap();
        oauth.token_refused(at(5_000));
        assert_eq!(begin(&mut oauth, at(5_000)).err(), Some(NotYet::TokenNeeded));
        assert!(oauth.take_token_wanted(at(5_000)));
        // Other brokers refuse the same one, and the next one.
        oauth.token_refused(at(5_001));
        assert!(!oauth.take_token_wanted(at(5_001)));
        oauth.set_token(token(i64::MAX), at(6_000)).unwrap();
        oauth.token_refused(at(14_999));
        assert!(!oauth.take_token_wanted(at(14_999)) && begin(&mut oauth, at(14_999)).is_ok());
        oauth.token_refused(at(15_000));
        assert!(oauth.take_token_wanted(at(15_000)));
    }

    #[test]
    fn tokens_that_cannot_be_sent_are_refused() {
        let mut oauth = OAuth::default();
        for bad in ["", "==", "a b", "a\u{1}auth=Bearer b", "ä"] {
            let token = OAuthToken { token: Secret::new(bad), ..token(i64::MAX) };
            let error = oauth.set_token(token, at(0)).unwrap_err();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        for (name, value) in [("auth", "x"), ("a.b", "x"), ("", "x"), ("a", "\u{1}"), ("a", "")] {
            let extensions = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert!(oauth.set_token(OAuthToken { extensions, ..token(i64::MAX) }, at(0)).is_err());
        }
        assert!(oauth.set_token(token(1_000_000), at(0)).unwrap_err().contains("expired"));
        assert_eq!(begin(&mut oauth, at(0)).err(), Some(NotYet::TokenNeeded));
        assert!(!format!("{:?}", token(0)).contains("abc"));
    }

    #[test]
    fn the_message_is_that_of_the_rfc() {
        let mut oauth = OAuth::default();
        let extensions = [("logicalCluster", "lkc-1"), ("identityPoolId", "p 2")]
            .map(|(a, b)| (a.into(), b.into()));
        let token = OAuthToken { extensions: extensions.into(), ..token(i64::MAX) };
        oauth.set_token(token, at(0)).unwrap();
        let mut exchange = begin(&mut oauth, at(0)).unwrap();
        assert_eq!(
            exchange.start().unwrap(),
            b"n,,\x01auth=Bearer abc.DEF-1==\x01identityPoolId=p 2\x01logicalCluster=lkc-1\x01\x01"
        );
        assert_eq!(exchange.step(b"").unwrap(), None);
    }

    #[test]
    fn a_refusal_is_acknowledged_and_told_in_words() {
        let mut oauth = OAuth::default();
        oauth.set_token(token(i64::MAX), at(0)).unwrap();
        let mut exchange = begin(&mut oauth, at(0)).unwrap();
        let json =
            br#"{"status":"invalid_token","scope":"kafka","openid-configuration":"https://x"}"#;
        assert_eq!(exchange.step(json).unwrap(), Some(vec![1]));
        assert_eq!(
            exchange.refused("Authentication failed"),
            "the broker refused the OAuth token of \"alice\" with status invalid_token; it wants the scope kafka; its tokens are described at https://x: Authentication failed"
        );
        assert!(exchange.step(b"").unwrap_err().contains("invalid_token"));

        let mut exchange = begin(&mut oauth, at(0)).unwrap();
        assert_eq!(exchange.step(b"no json").unwrap(), Some(vec![1]));
        assert!(exchange.step(b"").unwrap_err().contains("refused the OAuth token"));
    }
}
