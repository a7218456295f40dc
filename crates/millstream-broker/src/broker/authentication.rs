//! The requests of a client that has not said yet who it is, or does so anew. The order is in
//! [`crate::security::sasl`].

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};

use super::{Broker, Context, Peer, Reply};
use crate::api::{self, text};
use crate::security::sasl::{Answer, Expected, Mechanism, Refusal, Session, Times};
use crate::wire::{self, Malformed};

/// Before that version of SaslHandshake tokens come without headers.
const TOKENS_HAVE_HEADERS: i16 = 1;
/// From that version of SaslAuthenticate on the answer says how long the session lasts.
const TELLS_LIFETIME: i16 = 1;

impl Broker {
    /// Takes a frame if it belongs to SASL; `None` if it is a request like others.
    pub(super) fn authenticate(
        &mut self,
        frame: &Bytes,
        peer: &mut Peer,
    ) -> Result<Option<Reply>, Malformed> {
        let Some(mut session) = peer.sasl.take() else { return Ok(None) };
        let outcome = self.authenticate_in(&mut session, frame, peer);
        peer.sasl = Some(session);
        outcome
    }

    fn authenticate_in(
        &mut self,
        session: &mut Session,
        frame: &Bytes,
        peer: &mut Peer,
    ) -> Result<Option<Reply>, Malformed> {
        if session.expected() == Expected::Request {
            let now = self.clock.monotonic();
            let key = frame.get(..2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
            let is_handshake = key == Some(ApiKey::SaslHandshake as i16);
            if !(is_handshake && session.may_begin_again(now)) {
                let ended = session.has_ended(now);
                return Ok(ended.then(|| Reply::Close("the session has ended".to_owned())));
            }
        }
        if session.expected() == Expected::BareToken {
            let reply = match self.token(session, frame, peer) {
                Ok(Answer::Challenge(bytes) | Answer::Done { answer: bytes, .. }) => {
                    Reply::Now(bare(&bytes).into())
                }
                // There is no way to say it.
                Err(refusal) => {
                    Reply::Unauthenticated { answer: Bytes::new(), reason: refusal.reason }
                }
            };
            return Ok(Some(reply));
        }
        let mut body = frame.clone();
        let header = wire::read_header(&mut body)?;
        let context = self.context(&header, peer);
        let reply = match (ApiKey::try_from(header.api_key), session.expected()) {
            (Ok(ApiKey::ApiVersions), Expected::Handshake { versions: true }) => {
                let known = api::find(header.api_key)
                    .is_some_and(|api| (api.min..=api.max).contains(&header.version));
                let reply = api::dispatch(self, header.api_key, &context, body)?;
                if known && !session.was_open() {
                    session.told_versions();
                }
                reply
            }
            (Ok(ApiKey::SaslHandshake), Expected::Handshake { .. }) => {
                let request = api::decode_checked(header.api_key, &context, body)?;
                self.handshake(session, &context, &request)
            }
            (Ok(ApiKey::SaslAuthenticate), Expected::Token) => {
                let request: SaslAuthenticateRequest =
                    api::decode_checked(header.api_key, &context, body)?;
                self.sasl_authenticate(session, &context, &request.auth_bytes, peer)
            }
            (Ok(key), expected) => out_of_order(key, &context, expected),
            (Err(_), _) => return Err(Malformed::UnknownApi(header.api_key)),
        };
        Ok(Some(reply))
    }

    fn handshake(
        &mut self,
        session: &mut Session,
        context: &Context,
        request: &SaslHandshakeRequest,
    ) -> Reply {
        let offered = &self.security.secrets.mechanisms;
        let names = offered.iter().map(|mechanism| text(mechanism.name())).collect();
        let response = SaslHandshakeResponse::default().with_mechanisms(names);
        let wanted = offered.iter().find(|known| known.name() == request.mechanism.as_str());
        let Some(mechanism) = wanted.copied() else {
            let code = ResponseError::UnsupportedSaslMechanism.code();
            return Reply::Unauthenticated {
                answer: context.frame(&response.with_error_code(code)),
                reason: format!("a mechanism that is not offered ({})", names_of(offered)),
            };
        };
        session.begin(mechanism, context.version < TOKENS_HAVE_HEADERS);
        context.reply(&response)
    }

    fn sasl_authenticate(
        &mut self,
        session: &mut Session,
        context: &Context,
        token: &[u8],
        peer: &mut Peer,
    ) -> Reply {
        let response = SaslAuthenticateResponse::default();
        match self.token(session, token, peer) {
            Ok(Answer::Challenge(bytes)) => context.reply(&response.with_auth_bytes(bytes.into())),
            Ok(Answer::Done { answer, lifetime_ms, .. }) => {
                let response = response.with_auth_bytes(answer.into());
                match context.version >= TELLS_LIFETIME {
                    true => context.reply(&response.with_session_lifetime_ms(lifetime_ms)),
                    false => context.reply(&response),
                }
            }
            Err(refusal) => {
                let response = response
                    .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                    .with_error_message(Some(text(refusal.told_text(session.mechanism()))));
                Reply::Unauthenticated { answer: context.frame(&response), reason: refusal.reason }
            }
        }
    }

    fn token(
        &mut self,
        session: &mut Session,
        token: &[u8],
        peer: &mut Peer,
    ) -> Result<Answer, Refusal> {
        let longest = self.settings.number("connections.max.reauth.ms");
        let times = Times { monotonic: self.clock.monotonic(), wall_ms: self.clock.wall() };
        let longest = (longest > 0).then_some(longest);
        let answer = session.token(token, &self.security, &mut *self.random, times, longest)?;
        if let Answer::Done { principal, .. } = &answer {
            peer.principal = principal.clone();
        }
        Ok(answer)
    }
}

/// Requests of SASL are told that they come out of order; others have no way to be told.
fn out_of_order(key: ApiKey, context: &Context, expected: Expected) -> Reply {
    let code = ResponseError::IllegalSaslState.code();
    let in_tokens = expected == Expected::Token;
    let answer = match key {
        ApiKey::SaslHandshake if in_tokens && (0..=1).contains(&context.version) => {
            context.frame(&SaslHandshakeResponse::default().with_error_code(code))
        }
        _ => Bytes::new(),
    };
    let reason = match in_tokens {
        true => format!("{key:?} where SaslAuthenticate is expected"),
        false => format!("{key:?} where SaslHandshake is expected"),
    };
    Reply::Unauthenticated { answer, reason }
}

/// A token as a frame without a header.
fn bare(token: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(token.len() + 4);
    out.put_u32(token.len() as u32);
    out.put_slice(token);
    out.freeze()
}

fn names_of(mechanisms: &[Mechanism]) -> String {
    mechanisms.iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>().join(", ")
}
