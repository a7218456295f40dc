//! Tokens for a client's id and secret (RFC 6749, section 4.4; KIP-768): what the token endpoint is
//! asked, and what its answer means. Who asks is the driver.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use millstream_types::Timestamp;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{OAuthToken, printable};
use crate::settings::{Secret, TokenEndpoint};

/// Longest answer of an endpoint that is read, in bytes: as much as brokers take in one message of
/// SASL.
pub(crate) const ANSWER_MAX: u64 = 524_288;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// What happened, where, and what to do; holds no secret.
    pub text: String,
    /// Whether the endpoint has refused, which no waiting mends.
    pub refused: bool,
}

impl NoToken {
    /// `what` happened at the endpoint, which may be better the next time.
    pub(crate) fn of(endpoint: &TokenEndpoint, what: &str) -> Self {
        let text = format!("the token endpoint {} {what}", endpoint.shown());
        Self { text, refused: false }
    }
}

/// The header `Authorization`. Id and secret go as they are, as librdkafka and Kafka send them.
pub(crate) fn authorization(endpoint: &TokenEndpoint) -> Zeroizing<String> {
    let TokenEndpoint { client_id, client_secret, .. } = endpoint;
    let pair = Zeroizing::new(format!("{client_id}:{}", client_secret.expose()));
    Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(&*pair))))
}

/// The body, `application/x-www-form-urlencoded`.
pub(crate) fn form(endpoint: &TokenEndpoint) -> String {
    let mut form = String::from("grant_type=client_credentials");
    if !endpoint.scope.is_empty() {
        form.push_str("&scope=");
        for byte in endpoint.scope.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                    form.push(byte.into());
                }
                _ => form.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    form
}

/// The token that an answer holds.
///
/// # Errors
/// [`NoToken`] if the answer is a refusal, or has no token whose end is known.
pub(crate) fn token(
    endpoint: &TokenEndpoint,
    status: u16,
    body: &[u8],
    wall: Timestamp,
) -> Result<OAuthToken, NoToken> {
    let bad = |what: &str| NoToken::of(endpoint, what);
    let fields = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    };
    if !(200..300).contains(&status) {
        return Err(refusal(endpoint, status, fields.as_ref()));
    }
    let fields = fields.ok_or_else(|| {
        bad("answered with something else than JSON; check sasl.oauthbearer.token.endpoint.url")
    })?;
    let token = fields.get("access_token").and_then(Value::as_str).ok_or_else(|| {
        bad("answered without access_token; check sasl.oauthbearer.token.endpoint.url")
    })?;
    let claims = claims(token);
    let lives = fields.get("expires_in").and_then(seconds).map(|ms| wall.saturating_add(ms));
    let ends = claims.get("exp").and_then(seconds);
    let expires_at_ms = lives.into_iter().chain(ends).min().ok_or_else(|| {
        bad("gave a token without an end: it needs expires_in in the answer, or exp in the token")
    })?;
    Ok(OAuthToken {
        token: Secret::new(token),
        expires_at_ms,
        principal: claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned(),
        extensions: endpoint.extensions.clone(),
    })
}

/// What the status says, and the fields of RFC 6749, section 5.2.
fn refusal(endpoint: &TokenEndpoint, status: u16, fields: Option<&Map<String, Value>>) -> NoToken {
    let refused = (400..500).contains(&status) && status != 408 && status != 429;
    let mut what = format!("answered with status {status}");
    for (before, name) in [(" ", "error"), (": ", "error_description")] {
        if let Some(text) = fields.and_then(|fields| fields.get(name)).and_then(Value::as_str) {
            // Some repeat what they were sent.
            let text = text.replace(endpoint.client_secret.expose(), "***");
            let sent = authorization(endpoint);
            let text = text.replace(sent.trim_start_matches("Basic "), "***");
            what.extend([before, &printable(&text)]);
        }
    }
    what.push_str(match status {
        300..400 => "; redirections are not followed, give the address that it leads to",
        404 | 405 => "; check sasl.oauthbearer.token.endpoint.url",
        _ if refused => {
            "; check sasl.oauthbearer.client.id, sasl.oauthbearer.client.secret and sasl.oauthbearer.scope"
        }
        _ => "; it is asked again",
    });
    NoToken { refused, ..NoToken::of(endpoint, &what) }
}

/// What a JSON Web Token says; nothing, if the token is none.
fn claims(token: &str) -> Map<String, Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Map::new();
    };
    let Ok(json) = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')) else {
        return Map::new();
    };
    serde_json::from_slice(&json).unwrap_or_default()
}

/// Seconds, which some write as a text, as milliseconds.
fn seconds(value: &Value) -> Option<i64> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = 1_000_000;

    fn endpoint() -> TokenEndpoint {
        TokenEndpoint {
            url: "https://id.example/token?tenant=secret-tenant".into(),
            client_id: "app".into(),
            client_secret: Secret::new("hunter2"),
            scope: String::new(),
            extensions: [("cluster".to_owned(), "lkc".to_owned())].into(),
            authorities: None,
        }
    }

    fn answer(status: u16, body: &str) -> Result<OAuthToken, NoToken> {
        token(&endpoint(), status, body.as_bytes(), NOW)
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_request_is_that_of_the_rfc() {
        let mut endpoint = endpoint();
        assert_eq!(*authorization(&endpoint), "Basic YXBwOmh1bnRlcjI=");
        assert_eq!(form(&endpoint), "grant_type=client_credentials");
        endpoint.scope = "kafka:read ä&b".into();
        assert_eq!(
            form(&endpoint),
            "grant_type=client_credentials&scope=kafka%3Aread%20%C3%A4%26b"
        );
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn a_token_ends_when_the_answer_or_itself_says_whichever_is_first() {
        let jwt = jwt(r#"{"sub":"ann","exp":1600.5}"#);
        for (expires_in, ends) in [
            ("", 1_600_500),
            (r#","expires_in":300"#, 1_300_000),
            (r#","expires_in":"300""#, 1_300_000),
            (r#","expires_in":3600"#, 1_600_500),
        ] {
            let token = answer(200, &format!(r#"{{"access_token":"{jwt}"{expires_in}}}"#)).unwrap();
            assert_eq!((token.expires_at_ms, &*token.principal), (ends, "ann"));
            assert_eq!(token.token.expose(), jwt);
            assert_eq!(token.extensions, endpoint().extensions);
        }
        // One that only the broker can read.
        let token = answer(200, r#"{"access_token":"opaque","expires_in":60}"#).unwrap();
        assert_eq!((token.expires_at_ms, &*token.principal), (1_060_000, ""));
    }

    #[test]
    fn what_is_no_token_is_told_with_the_endpoint_and_what_to_do() {
        let endless = format!(r#"{{"access_token":"{}"}}"#, jwt(r#"{"sub":"ann"}"#));
        let echo =
            r#"{"error":"invalid_client","error_description":"hunter2, YXBwOmh1bnRlcjI=\n"}"#;
        for (status, body, words, refused) in [
            (200, &*endless, "without an end", false),
            (200, r#"{"access_token":"opaque","expires_in":"soon"}"#, "without an end", false),
            (200, r#"{"access_token":"a..b","expires_in":-1}"#, "without an end", false),
            (200, r#"{"access_token":7,"expires_in":60}"#, "without access_token", false),
            (200, "<html>", "something else than JSON", false),
            (200, "[]", "something else than JSON", false),
            (
                401,
                echo,
                "status 401 invalid_client: ***, ***; check sasl.oauthbearer.client.id",
                true,
            ),
            (400, "garbage", "status 400; check sasl.oauthbearer.client.id", true),
            (404, "", "status 404; check sasl.oauthbearer.token.endpoint.url", true),
            (302, "", "redirections are not followed", false),
            (429, "", "asked again", false),
            (503, "", "asked again", false),
        ] {
            let NoToken { text, refused: is_refused } = answer(status, body).unwrap_err();
            assert!(text.starts_with("the token endpoint https://id.example/token "), "{text}");
            assert!(text.contains(words) && !text.contains("hunter2"), "{text}");
            assert_eq!(is_refused, refused, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_reading_panic(status in any::<u16>(), claims in "\\PC{0,40}", field in "\\PC{0,20}") {
            let body = serde_json::json!({ "access_token": jwt(&claims), "expires_in": field });
            let _ = answer(status, &body.to_string());
            let _ = answer(status, &claims);
        }
    }
}
