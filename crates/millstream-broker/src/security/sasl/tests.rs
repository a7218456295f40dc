use super::*;
use crate::random::SystemRandom;
use crate::security::jwt::tests::unsecured;
use crate::security::{SecurityConfig, Tokens, Users};

fn security() -> Security {
    let mut security = Security::open(&SecurityConfig::default(), None).unwrap();
    let users = "ann:secret\nbob:secret";
    security.secrets.users = Users::parse(users, &mut SystemRandom::default()).unwrap();
    security.secrets.tokens = Some(Tokens::unsecured());
    security
}

fn at(seconds: u64) -> Times {
    Times { monotonic: Duration::from_secs(seconds), wall_ms: 1000 * seconds as i64 }
}

fn token(
    session: &mut Session,
    token: &[u8],
    now: Times,
    longest: Option<i64>,
) -> Result<Answer, Refusal> {
    session.token(token, &security(), &mut SystemRandom::default(), now, longest)
}

fn lifetime(answer: Result<Answer, Refusal>) -> i64 {
    match answer {
        Ok(Answer::Done { lifetime_ms, .. }) => lifetime_ms,
        other => panic!("{other:?}"),
    }
}

fn bearer(user: &str, expires: u64) -> Vec<u8> {
    let jwt = unsecured(&format!(r#"{{"sub":"{user}","exp":{expires}}}"#));
    format!("n,,\u{1}auth=Bearer {jwt}\u{1}\u{1}").into_bytes()
}

#[test]
fn the_order_of_things() {
    let mut session = Session::new();
    assert_eq!(session.expected(), Expected::Handshake { versions: true });
    assert!(token(&mut session, b"\0ann\0secret", at(0), None).is_err());
    session.told_versions();
    assert_eq!(session.expected(), Expected::Handshake { versions: false });
    session.begin(Mechanism::Plain, true);
    assert_eq!(session.expected(), Expected::BareToken);
    session.begin(Mechanism::Plain, false);
    assert_eq!(session.expected(), Expected::Token);
    assert!(!session.was_open());
    assert_eq!(lifetime(token(&mut session, b"\0ann\0secret", at(0), None)), 0);
    assert_eq!(session.expected(), Expected::Request);
    assert!(session.was_open());
    // It does not end, and so is not opened anew.
    assert!(!session.has_ended(Duration::MAX) && !session.may_begin_again(Duration::MAX));
}

#[test]
fn a_session_ends_with_its_token_or_by_the_setting() {
    for (expires, longest, expected) in [
        (Some(100), None, 90_000),
        (Some(100), Some(60_000), 60_000),
        (Some(100), Some(600_000), 90_000),
        (None, Some(60_000), 60_000),
        (None, None, 0),
    ] {
        let mut session = Session::new();
        let message = match expires {
            Some(expires) => {
                session.begin(Mechanism::OauthBearer, false);
                bearer("ann", expires)
            }
            None => {
                session.begin(Mechanism::Plain, false);
                b"\0ann\0secret".to_vec()
            }
        };
        assert_eq!(lifetime(token(&mut session, &message, at(10), longest)), expected);
        let end = Duration::from_secs(10) + Duration::from_millis(expected as u64);
        assert!(!session.has_ended(end));
        let ended = session.has_ended(end + Duration::from_millis(1));
        assert_eq!(ended, expected > 0, "{expires:?} {longest:?}");
    }
}

#[test]
fn it_is_opened_anew_as_the_same_user_by_the_same_mechanism() {
    let open = || {
        let mut session = Session::new();
        session.begin(Mechanism::OauthBearer, false);
        lifetime(token(&mut session, &bearer("ann", 100), at(10), None));
        assert!(session.may_begin_again(Duration::from_secs(50)));
        session
    };
    let mut session = open();
    session.begin(Mechanism::OauthBearer, false);
    assert_eq!(lifetime(token(&mut session, &bearer("ann", 200), at(50), None)), 150_000);
    assert!(!session.has_ended(Duration::from_secs(150)));
    assert!(!session.may_begin_again(Duration::from_millis(50_900)));
    assert!(session.may_begin_again(Duration::from_secs(51)));

    let mut session = open();
    session.begin(Mechanism::OauthBearer, false);
    let refusal = token(&mut session, &bearer("bob", 200), at(50), None).unwrap_err();
    assert!(refusal.told_text("").contains("Cannot change principals"), "{refusal:?}");

    let mut session = open();
    session.begin(Mechanism::Plain, false);
    assert_eq!(session.expected(), Expected::Token);
    let refusal = token(&mut session, b"\0ann\0secret", at(50), None).unwrap_err();
    let text = refusal.told_text("");
    assert!(text.contains("'PLAIN'") && text.contains("'OAUTHBEARER'"), "{text}");
}
