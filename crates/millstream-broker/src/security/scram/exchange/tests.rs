use super::*;
use crate::random::SystemRandom;
use crate::security::{Secrets, SecurityConfig, Users};

/// Gives out the nonce of RFC 7677's example, whatever is asked for.
struct Fixed;

impl Random for Fixed {
    fn next_u64(&mut self) -> u64 {
        0
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
}

fn security(users: &str) -> Security {
    let mut security = Security::open(&SecurityConfig::default(), None).unwrap();
    let users = Users::parse(users, &mut SystemRandom::default()).unwrap();
    security.secrets = Secrets { users, ..Secrets::default() };
    security
}

/// A client that knows a password: its last message after ours, and the signature it expects.
fn client(
    hash: Hash,
    bare: &str,
    header: &str,
    password: &str,
    challenge: &str,
) -> (String, String) {
    let field = |name: &str| {
        challenge.split(',').find_map(|field| field.strip_prefix(name)).unwrap().to_owned()
    };
    let salt = STANDARD.decode(field("s=")).unwrap();
    let salted = hash.salted(password.as_bytes(), &salt, field("i=").parse().unwrap());
    let without_proof = format!("c={},r={}", STANDARD.encode(header), field("r="));
    let message = format!("{bare},{challenge},{without_proof}");
    let key = hash.hmac(&salted, b"Client Key");
    let signature = hash.hmac(&hash.digest(&key), message.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let server_key = hash.hmac(&salted, b"Server Key");
    let expected = STANDARD.encode(hash.hmac(&server_key, message.as_bytes()));
    (format!("{without_proof},p={}", STANDARD.encode(proof)), format!("v={expected}"))
}

fn challenge(exchange: &mut ScramExchange, security: &Security, first: &str) -> String {
    let step = exchange.step(first.as_bytes(), security, &mut SystemRandom::default());
    let Ok(Step::Challenge(challenge)) = step else { panic!("{first}: {step:?}") };
    String::from_utf8(challenge).unwrap()
}

#[test]
fn both_sides_prove_that_they_know_the_password() {
    let security = security("ann:secret\na,b=c:other");
    for hash in Hash::ALL {
        for (name, header, user, password) in [
            ("ann", "n,,", "ann", "secret"),
            ("ann", "n,a=ann,", "ann", "secret"),
            ("a=2Cb=3Dc", "n,,", "a,b=c", "other"),
        ] {
            let mut exchange = ScramExchange::new(hash);
            let bare = format!("n={name},r=abc");
            let answer = challenge(&mut exchange, &security, &format!("{header}{bare}"));
            assert!(answer.starts_with("r=abc") && answer.len() > 40, "{answer}");
            let (last, expected) = client(hash, &bare, header, password, &answer);
            let done = exchange.step(last.as_bytes(), &security, &mut Fixed).unwrap();
            let Step::Done(done) = done else { panic!("{done:?}") };
            assert_eq!((done.user.as_str(), done.expires_ms), (user, None));
            assert_eq!(done.answer, expected.as_bytes());
        }
    }
}

#[test]
fn a_wrong_password_an_unknown_user_and_a_replay_fail_at_the_end() {
    let security = security("ann:secret");
    let hash = Hash::Sha256;
    for (user, password) in [("ann", "Secret"), ("eve", "secret")] {
        let mut exchange = ScramExchange::new(hash);
        let bare = format!("n={user},r=abc");
        let answer = challenge(&mut exchange, &security, &format!("n,,{bare}"));
        let (last, _) = client(hash, &bare, "n,,", password, &answer);
        let refusal = exchange.step(last.as_bytes(), &security, &mut Fixed).unwrap_err();
        assert_eq!(refusal, Refusal::invalid("wrong user or password"));
    }
    // What an eavesdropper has heard is worth nothing in the next exchange.
    let bare = "n=ann,r=abc";
    let mut exchange = ScramExchange::new(hash);
    let answer = challenge(&mut exchange, &security, &format!("n,,{bare}"));
    let (last, _) = client(hash, bare, "n,,", "secret", &answer);
    let mut replay = ScramExchange::new(hash);
    let other = challenge(&mut replay, &security, &format!("n,,{bare}"));
    assert_ne!(answer, other);
    let refusal = replay.step(last.as_bytes(), &security, &mut Fixed).unwrap_err();
    assert!(format!("{refusal:?}").contains("nonce"), "{refusal:?}");
}

#[test]
fn an_unknown_user_is_asked_like_a_known_one() {
    let security = security("ann:secret");
    let salt = |user: &str| {
        let mut exchange = ScramExchange::new(Hash::Sha512);
        let answer = challenge(&mut exchange, &security, &format!("n,,n={user},r=abc"));
        let fields: Vec<String> = answer.split(',').map(str::to_owned).collect();
        (fields[1].clone(), fields[2].clone())
    };
    assert_eq!(salt("eve"), salt("eve"));
    assert_eq!(salt("eve").0.len(), salt("ann").0.len());
    assert_eq!(salt("eve").1, salt("ann").1);
}

#[test]
fn garbage_is_refused_at_every_step() {
    let security = security("ann:secret");
    for first in [
        "",
        "n",
        "n,,",
        "n,,n=ann",
        "n,,r=abc,n=ann",
        "n,,n=ann,r=",
        "y,,n=ann,r=abc",
        "p=tls-unique,,n=ann,r=abc",
        "n,,n=,r=abc",
        "n,,n=a=b,r=abc",
        "n,,n=a=2,r=abc",
        "n,a=bob,n=ann,r=abc",
        "n,b,n=ann,r=abc",
        "n,,n=ann,r=a\u{7f}",
        "n,,n=ann,r=a,tokenauth=true",
        "n,,n=a=\u{e4}\u{e4},r=abc",
    ] {
        let mut exchange = ScramExchange::new(Hash::Sha256);
        assert!(exchange.step(first.as_bytes(), &security, &mut Fixed).is_err(), "{first}");
    }
    for last in ["", ",p=", "c=biws,r=abc", "c=biws,r=abc,p=AAAA", "r=abc,c=biws,p=AAAA"] {
        let mut exchange = ScramExchange::new(Hash::Sha256);
        challenge(&mut exchange, &security, "n,,n=ann,r=abc");
        assert!(exchange.step(last.as_bytes(), &security, &mut Fixed).is_err(), "{last}");
    }
    // The header says afterwards that it was another one.
    let bare = "n=ann,r=abc";
    let mut exchange = ScramExchange::new(Hash::Sha256);
    let answer = challenge(&mut exchange, &security, &format!("n,,{bare}"));
    let (last, _) = client(Hash::Sha256, bare, "y,,", "secret", &answer);
    assert!(exchange.step(last.as_bytes(), &security, &mut Fixed).is_err());
    let mut exchange = ScramExchange::new(Hash::Sha256);
    assert!(exchange.step(&[0xff, 0xfe], &security, &mut Fixed).is_err());
}
