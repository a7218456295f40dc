use proptest::prelude::*;

use super::*;

/// The examples of RFC 7677 with a nonce that is not base64 of ours, so the exchange is made by
/// hand. The values for SHA-512 were computed with Python's hashlib.
fn exchange(algorithms: &'static Algorithms) -> ScramExchange {
    ScramExchange {
        algorithms,
        first: "n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
        nonce: "rOprNGfwEbeRWgbNEkqO".into(),
        password: Secret::new("pencil"),
        salted: Arc::default(),
        expects: Expects::First,
    }
}

const FIRST_256: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const LAST_256: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

#[test]
fn the_example_of_rfc_7677() {
    let mut exchange = exchange(&SHA256);
    assert_eq!(exchange.start().unwrap(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let proof = exchange.step(FIRST_256.as_bytes()).unwrap().unwrap();
    assert_eq!(
        str::from_utf8(&proof).unwrap(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert_eq!(exchange.step(LAST_256.as_bytes()).unwrap(), None);
    assert!(exchange.step(LAST_256.as_bytes()).is_err());
}

#[test]
fn the_same_with_sha_512() {
    let mut exchange = exchange(&SHA512);
    let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=,i=4096";
    let proof = exchange.step(first.as_bytes()).unwrap().unwrap();
    assert!(proof.ends_with(
        b",p=/3obeUE1tHCJjbQttd+ChF5ox2IU1rNjj2wVDnbQ5LdNT126oy4QgLz2tHw/Uj7Gwb6PRuHOS3HC+45exxT58A=="
    ));
    let last = "v=5AwW78p+EVPirB3A5lrHcvrN8pVKRlR3opLuRoxXrN9ubKokkPzVPzWNNNuBbrtZrv5mpfKZ7+QCDSZWeZQEqw==";
    assert_eq!(exchange.step(last.as_bytes()).unwrap(), None);
}

#[test]
fn names_are_escaped_and_nonces_are_used() {
    let mut byte = 0;
    let nonces: Nonces = Box::new(move |buffer| {
        byte += 1;
        buffer.fill(byte);
        Ok(())
    });
    let mut scram = Scram::new(true, "a=b,c", &Secret::new("hunter2"), nonces);
    assert_eq!(scram.mechanism(), "SCRAM-SHA-512");
    for nonce in ["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB", "AgICAgICAgICAgICAgICAgICAgICAgIC"] {
        let mut exchange = scram.begin(Now::default()).unwrap();
        let first = exchange.start().unwrap();
        assert_eq!(str::from_utf8(&first).unwrap(), format!("n,,n=a=3Db=2Cc,r={nonce}"));
    }
    scram.nonces = Box::new(|_| Err("no random numbers".into()));
    let refused = scram.begin(Now::default()).err();
    assert_eq!(refused, Some(NotYet::Refused("no random numbers".into())));
}

#[test]
fn a_derivation_serves_the_next_connection() {
    let one = exchange(&SHA256);
    let first = one.salted(b"salt".to_vec(), 4096);
    let password = one.salted.lock().unwrap().as_ref().map(|salted| salted.password.clone());
    assert_eq!(password, Some(first.clone()));
    assert_eq!(one.salted(b"salt".to_vec(), 4096), first);
    assert_ne!(one.salted(b"other".to_vec(), 4096), first);
    assert_ne!(one.salted(b"salt".to_vec(), 4097), first);
}

#[test]
fn first_messages_that_cannot_be_are_refused() {
    let cases = [
        ("", "r= expected"),
        ("r=rOprNGfwEbeRWgbNEkqO,s=QQ==,i=4096", "the nonce"),
        ("r=somebodyElsesNonceAltogether,s=QQ==,i=4096", "the nonce"),
        ("m=x,r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=4096", "r= expected"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=%%,i=4096", "the salt is not"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", "the salt is empty"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=4095", "iterations"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=131073", "iterations"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=-1", "iterations"),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=QQ==", "i= expected"),
        ("e=unknown-user", "the broker refused: unknown-user"),
    ];
    for (message, expected) in cases {
        let error = exchange(&SHA256).step(message.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{message}: {error}");
        assert!(!error.contains("pencil"));
    }
    assert!(exchange(&SHA256).step(b"r=\xff").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A last message that differs anywhere from the right one proves nothing.
    #[test]
    fn a_tampered_last_message_is_refused(at in 0..LAST_256.len(), flip in 1u8..=255) {
        let mut exchange = exchange(&SHA256);
        exchange.step(FIRST_256.as_bytes()).unwrap();
        let mut message = LAST_256.as_bytes().to_vec();
        message[at] ^= flip;
        prop_assert!(exchange.step(&message).is_err());
    }

    /// Whatever is changed in the first message, the right last one no longer fits.
    #[test]
    fn a_tampered_first_message_is_found_out(at in 0..FIRST_256.len(), flip in 1u8..=255) {
        let mut exchange = exchange(&SHA256);
        let mut message = FIRST_256.as_bytes().to_vec();
        message[at] ^= flip;
        if exchange.step(&message).is_ok() {
            prop_assert!(exchange.step(LAST_256.as_bytes()).is_err());
        }
    }
}
