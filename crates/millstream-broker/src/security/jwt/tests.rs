use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use super::*;
use crate::settings::Values;

const NOW_MS: i64 = 1_700_000_000_000;

fn encoded(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// A token that nobody has signed.
pub(in crate::security) fn unsecured(claims: &str) -> String {
    format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(claims))
}

/// A key of ES256 and the JWKS that shows its public half.
fn es256(id: &str) -> (EcdsaKeyPair, String) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .unwrap();
    let point = pair.public_key().as_ref();
    let jwk = format!(
        r#"{{"kty":"EC","crv":"P-256","kid":"{id}","use":"sig","x":"{}","y":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(&point[1..33]),
        URL_SAFE_NO_PAD.encode(&point[33..])
    );
    (pair, jwk)
}

fn signed(pair: &EcdsaKeyPair, header: &str, claims: &str) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn tokens(jwks: &str, given: &[(&str, &str)]) -> Tokens {
    let given: Values = given.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let keys = Keys::parse(format!(r#"{{"keys":[{jwks}]}}"#).as_bytes()).unwrap();
    Tokens::signed(keys, &Settings::new(&given).unwrap())
}

#[test]
fn unsigned_tokens_only_where_they_are_asked_for() {
    let tokens = Tokens::unsecured();
    let at = |exp: i64| format!(r#"{{"sub":"ann","exp":{exp}}}"#);
    let check = |claims: &str| tokens.check(&unsecured(claims), NOW_MS);
    let expected = Claims { principal: "ann".into(), expires_ms: NOW_MS + 1000 };
    assert_eq!(check(&at(NOW_MS / 1000 + 1)), Ok(expected));
    for (claims, reason) in [
        (at(NOW_MS / 1000), "expired"),
        (at(NOW_MS / 1000 - 1), "expired"),
        (r#"{"sub":"ann"}"#.into(), "exp"),
        (r#"{"sub":"ann","exp":"soon"}"#.into(), "exp"),
        (r#"{"sub":"ann","exp":1e300}"#.into(), "exp"),
        (r#"{"sub":"ann","exp":-1}"#.into(), "exp"),
        (r#"{"exp":9999999999}"#.into(), "sub"),
        (r#"{"sub":" ","exp":9999999999}"#.into(), "sub"),
        (r#"{"sub":7,"exp":9999999999}"#.into(), "sub"),
        (r#"{"sub":"ann","exp":9999999999,"iat":9999999999}"#.into(), "issued"),
        (r#"{"sub":"ann","exp":9999999999,"iat":9999999998}"#.into(), "future"),
        ("[]".into(), "payload"),
    ] {
        let error = check(&claims).unwrap_err();
        assert!(error.contains(reason), "{claims}: {error}");
    }
    for garbage in ["", ".", "..", "a.b.c", "a.b.c.d", "\u{e4}.\u{e4}."] {
        assert!(tokens.check(garbage, NOW_MS).is_err(), "{garbage}");
    }
    let (_, jwk) = es256("a");
    let good = unsecured(&at(NOW_MS / 1000 + 1));
    assert!(self::tokens(&jwk, &[]).check(&good, NOW_MS).is_err());
}

#[test]
fn signed_tokens() {
    let (pair, jwk) = es256("a");
    let (other, other_jwk) = es256("b");
    let tokens = tokens(&format!("{jwk},{other_jwk}"), &[]);
    let claims = format!(r#"{{"sub":"ann","iat":{0},"exp":{0}9}}"#, NOW_MS / 1000);
    let header = r#"{"alg":"ES256","kid":"a"}"#;
    let good = signed(&pair, header, &claims);
    assert_eq!(tokens.check(&good, NOW_MS).unwrap().principal, "ann");
    // Without an id of the key, each is tried.
    assert!(tokens.check(&signed(&other, r#"{"alg":"ES256"}"#, &claims), NOW_MS).is_ok());
    for bad in [
        signed(&other, header, &claims),
        signed(&pair, r#"{"alg":"ES256","kid":"c"}"#, &claims),
        signed(&pair, r#"{"alg":"RS256","kid":"a"}"#, &claims),
        signed(&pair, r#"{"alg":"HS256","kid":"a"}"#, &claims),
        signed(&pair, r#"{"alg":"none"}"#, &claims),
        signed(&pair, "{}", &claims),
        signed(&pair, header, r#"{"sub":"ann","exp":9999999999}"#),
        format!(
            "{}.{}.{}",
            encoded(header),
            encoded(r#"{"sub":"eve"}"#),
            good.rsplit('.').next().unwrap()
        ),
        good[..good.len() - 4].to_owned(),
    ] {
        assert!(tokens.check(&bad, NOW_MS).is_err(), "{bad}");
    }
}

#[test]
fn issuer_audience_and_the_clocks_of_others() {
    let (pair, jwk) = es256("a");
    let seconds = NOW_MS / 1000;
    let check = |given: &[(&str, &str)], claims: &str| {
        let token = signed(&pair, r#"{"alg":"ES256"}"#, claims);
        tokens(&jwk, given).check(&token, NOW_MS).map(|claims| claims.principal)
    };
    let issuer = ("sasl.oauthbearer.expected.issuer", "us");
    let audience = ("sasl.oauthbearer.expected.audience", "x,kafka");
    let base = format!(r#""sub":"ann","iat":{seconds},"exp":{}"#, seconds + 9);
    let with = |more: &str| format!("{{{base}{more}}}");
    assert!(check(&[issuer], &with(r#","iss":"us""#)).is_ok());
    assert!(check(&[issuer], &with(r#","iss":"them""#)).is_err());
    assert!(check(&[issuer], &with("")).is_err());
    assert!(check(&[audience], &with(r#","aud":"kafka""#)).is_ok());
    assert!(check(&[audience], &with(r#","aud":["a","kafka"]"#)).is_ok());
    assert!(check(&[audience], &with(r#","aud":["a"]"#)).is_err());
    assert!(check(&[audience], &with("")).is_err());
    let name = ("sasl.oauthbearer.sub.claim.name", "client");
    assert_eq!(check(&[name], &with(r#","client":"bob""#)).as_deref(), Ok("bob"));
    // Thirty seconds of difference are forgiven, unless set otherwise.
    let late = format!(r#"{{"sub":"ann","iat":1,"exp":{}}}"#, seconds - 29);
    assert!(check(&[], &late).is_ok());
    assert!(check(&[("sasl.oauthbearer.clock.skew.seconds", "10")], &late).is_err());
    assert!(check(&[], &with(&format!(r#","nbf":{}"#, seconds + 29))).is_ok());
    assert!(check(&[], &with(&format!(r#","nbf":{}"#, seconds + 31))).is_err());
}
