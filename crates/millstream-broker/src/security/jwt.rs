//! Tokens of OAUTHBEARER (JSON Web Tokens): who they name and until when they count. The rules
//! are those of Kafka's validators: the unsecured one takes what nobody has signed, the other
//! RS256 and ES256 by the keys it was given. A token that names the algorithm `none`, or one for
//! which a public key would be the secret, is never taken for a signed one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::keys::Keys;
use crate::settings::Settings;

/// Seconds above this are no time of ours, and their milliseconds would not fit.
const SECONDS_MAX: f64 = 1e12;

/// Checks tokens.
pub(crate) struct Tokens {
    /// None takes unsigned tokens, and only these.
    keys: Option<Keys>,
    audience: Vec<String>,
    issuer: Option<String>,
    skew_ms: i64,
    principal_claim: String,
}

/// What a good token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) principal: String,
    /// Milliseconds since the epoch.
    pub(super) expires_ms: i64,
}

impl Tokens {
    /// Takes tokens without a signature, and looks at nothing but who and until when.
    pub(super) fn unsecured() -> Self {
        Self {
            keys: None,
            audience: Vec::new(),
            issuer: None,
            skew_ms: 0,
            principal_claim: "sub".to_owned(),
        }
    }

    /// Takes tokens that one of the keys has signed, by the settings `sasl.oauthbearer.*`.
    pub(super) fn signed(keys: Keys, settings: &Settings) -> Self {
        let text = |name: &str| settings.text(name).unwrap_or_default().to_owned();
        let audience = text("sasl.oauthbearer.expected.audience");
        Self {
            keys: Some(keys),
            audience: audience
                .split(',')
                .map(str::trim)
                .filter(|wanted| !wanted.is_empty())
                .map(str::to_owned)
                .collect(),
            issuer: settings.text("sasl.oauthbearer.expected.issuer").map(str::to_owned),
            skew_ms: settings.number("sasl.oauthbearer.clock.skew.seconds").saturating_mul(1000),
            principal_claim: text("sasl.oauthbearer.sub.claim.name"),
        }
    }

    /// Checks a token at a time.
    ///
    /// # Errors
    /// What is wrong, for the log; nothing of the token is in it.
    pub(super) fn check(&self, token: &str, now_ms: i64) -> Result<Claims, String> {
        let mut parts = token.split('.');
        let (header, payload, signature) = (parts.next(), parts.next(), parts.next());
        let (Some(header), Some(payload), Some(signature), None) =
            (header, payload, signature, parts.next())
        else {
            return Err("a token has three parts".to_owned());
        };
        let fields = object(header, "header")?;
        let algorithm = fields.get("alg").and_then(Value::as_str).unwrap_or_default();
        match &self.keys {
            None if algorithm == "none" && signature.is_empty() => {}
            None => return Err("the token is signed, and no keys are known".to_owned()),
            Some(keys) => {
                let signed = &token[..header.len() + 1 + payload.len()];
                let signature = URL_SAFE_NO_PAD
                    .decode(signature)
                    .map_err(|_| "the token's signature is not base 64".to_owned())?;
                let id = fields.get("kid").and_then(Value::as_str);
                keys.verify(algorithm, id, signed.as_bytes(), &signature)?;
            }
        }
        let claims = object(payload, "payload")?;
        self.check_claims(&claims, now_ms)
    }

    fn check_claims(&self, claims: &Value, now_ms: i64) -> Result<Claims, String> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
                .map(|seconds| Some((seconds * 1000.0) as i64))
                .ok_or_else(|| format!("the claim `{name}` is no time")),
        };
        let expires_ms = time("exp")?.ok_or("the claim `exp` is missing")?;
        if now_ms.saturating_sub(self.skew_ms) >= expires_ms {
            return Err("the token has expired".to_owned());
        }
        let issued_ms = time("iat")?;
        if issued_ms.is_some_and(|issued| issued >= expires_ms) {
            return Err("the token ends before it was issued".to_owned());
        }
        let latest = now_ms.saturating_add(self.skew_ms);
        if issued_ms.is_some_and(|issued| issued > latest) {
            return Err("the token was issued in the future".to_owned());
        }
        if self.keys.is_some() {
            if issued_ms.is_none() {
                return Err("the claim `iat` is missing".to_owned());
            }
            if time("nbf")?.is_some_and(|from| from > latest) {
                return Err("the token does not count yet".to_owned());
            }
            if let Some(issuer) = &self.issuer
                && claims.get("iss").and_then(Value::as_str) != Some(issuer)
            {
                return Err("another issuer is expected".to_owned());
            }
            if !self.audience.is_empty() && !self.is_for_us(claims.get("aud")) {
                return Err("the token is for somebody else".to_owned());
            }
        }
        let principal = claims.get(&self.principal_claim).and_then(Value::as_str);
        let principal = principal.map(str::trim).filter(|principal| !principal.is_empty());
        let principal =
            principal.ok_or_else(|| format!("the claim `{}` is missing", self.principal_claim))?;
        Ok(Claims { principal: principal.to_owned(), expires_ms })
    }

    /// The claim is a name or a list of names.
    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        let wanted = |value: &Value| {
            value.as_str().is_some_and(|name| self.audience.iter().any(|wanted| wanted == name))
        };
        match audience {
            Some(Value::Array(names)) => names.iter().any(wanted),
            Some(name) => wanted(name),
            None => false,
        }
    }
}

fn object(part: &str, what: &str) -> Result<Value, String> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok();
    let value = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    value.filter(Value::is_object).ok_or_else(|| format!("the token's {what} is no JSON object"))
}

#[cfg(test)]
pub(super) mod tests;
