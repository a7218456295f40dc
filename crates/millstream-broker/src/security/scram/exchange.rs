//! The broker's half of a SCRAM exchange: two messages of the client, two answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::{Hash, ITERATIONS_MIN, Verifier};
use crate::random::Random;
use crate::security::Security;
use crate::security::sasl::{Authenticated, Refusal, Step};

/// Random bytes of our half of the nonce.
const NONCE_BYTES: usize = 24;
/// Without channel binding, which Kafka's clients do not know.
const GS2_FLAG: &str = "n";

/// Where an exchange stands.
pub(crate) struct ScramExchange {
    hash: Hash,
    asked: Option<Asked>,
}

/// What the first message said, for the second.
struct Asked {
    user: String,
    /// None for somebody who is not known.
    verifier: Option<Verifier>,
    nonce: String,
    gs2_header: String,
    /// The client's first message without its header, a comma, our answer.
    messages: String,
}

impl ScramExchange {
    pub(crate) fn new(hash: Hash) -> Self {
        Self { hash, asked: None }
    }

    /// Takes the client's next message.
    ///
    /// # Errors
    /// The exchange is over.
    pub(crate) fn step(
        &mut self,
        token: &[u8],
        security: &Security,
        random: &mut dyn Random,
    ) -> Result<Step, Refusal> {
        let text = std::str::from_utf8(token).map_err(|_| Refusal::invalid("not UTF-8"))?;
        match self.asked.take() {
            None => self.first(text, security, random),
            Some(asked) => self.last(text, &asked),
        }
    }

    fn first(
        &mut self,
        text: &str,
        security: &Security,
        random: &mut dyn Random,
    ) -> Result<Step, Refusal> {
        let bad = || Refusal::invalid("the first message is none of SCRAM");
        let mut parts = text.splitn(3, ',');
        let (flag, authzid) = (parts.next(), parts.next());
        let (Some(GS2_FLAG), Some(authzid), Some(bare)) = (flag, authzid, parts.next()) else {
            return Err(bad());
        };
        let mut fields = bare.split(',');
        let name = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or_else(bad)?;
        let user = unescape(name).filter(|user| !user.is_empty()).ok_or_else(bad)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(bad)?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad());
        }
        // Behind them extensions may come. Tokens of delegation are one; there are none here.
        if fields.any(|field| field == "tokenauth=true") {
            return Err(Refusal::invalid("delegation tokens are not served"));
        }
        if !authzid.is_empty() {
            let named = authzid.strip_prefix("a=").and_then(unescape).ok_or_else(bad)?;
            if named != user {
                return Err(Refusal::other_identity());
            }
        }
        let verifier = security.verifier(&user, self.hash).cloned();
        let (salt, iterations) = match &verifier {
            Some(verifier) => (verifier.salt.clone(), verifier.iterations),
            None => (security.secrets.users.salt_for_nobody(&user, self.hash), ITERATIONS_MIN),
        };
        let mut own = [0; NONCE_BYTES];
        random.secret(&mut own);
        let nonce = format!("{nonce}{}", STANDARD.encode(own));
        let answer = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
        self.asked = Some(Asked {
            user,
            verifier,
            nonce,
            gs2_header: format!("{GS2_FLAG},{authzid},"),
            messages: format!("{bare},{answer}"),
        });
        Ok(Step::Challenge(answer.into_bytes()))
    }

    fn last(&self, text: &str, asked: &Asked) -> Result<Step, Refusal> {
        let bad = || Refusal::invalid("the last message is none of SCRAM");
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(bad)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or_else(bad)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(bad)?;
        if binding != STANDARD.encode(&asked.gs2_header) {
            return Err(Refusal::invalid("the header has changed during the exchange"));
        }
        if !bool::from(nonce.as_bytes().ct_eq(asked.nonce.as_bytes())) {
            return Err(Refusal::invalid("a nonce that was not given out for this exchange"));
        }
        let proof = STANDARD.decode(proof).map_err(|_| bad())?;
        let hash = self.hash;
        if proof.len() != hash.len() {
            return Err(bad());
        }
        let wrong = || Refusal::invalid("wrong user or password");
        let verifier = asked.verifier.as_ref().ok_or_else(wrong)?;
        let message = format!("{},{without_proof}", asked.messages);
        let signature = hash.hmac(&verifier.stored_key, message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if !bool::from(hash.digest(&client_key).ct_eq(&verifier.stored_key)) {
            return Err(wrong());
        }
        let signature = hash.hmac(&verifier.server_key, message.as_bytes());
        let answer = format!("v={}", STANDARD.encode(signature)).into_bytes();
        Ok(Step::Done(Authenticated { user: asked.user.clone(), answer, expires_ms: None }))
    }
}

/// A name of SCRAM, in which `=2C` is a comma and `=3D` an equals sign.
fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut parts = name.split('=');
    out.push_str(parts.next()?);
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        out.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests;
