//! Credentials of SCRAM that are set while the broker runs.

use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;

use super::sasl::users;
use super::*;
use crate::broker::Peer;
use crate::security::SecurityConfig;
use crate::security::scram::{Hash, Verifier};

fn config() -> BrokerConfig {
    BrokerConfig::new("/data").security(SecurityConfig {
        users: Some("users".into()),
        super_users: vec!["User:root".into()],
        ..SecurityConfig::default()
    })
}

fn bench() -> Bench {
    let mut bench = Bench::with(config());
    bench.broker.secure(users("root:secret"));
    bench
}

impl Bench {
    fn ask_by<R: Request>(&mut self, who: &str, request: &R) -> R::Response {
        let mut peer = Peer::known("127.0.0.1", 0, who);
        match self.broker.receive(Self::frame(0, request), &mut peer).unwrap() {
            Reply::Now(frame) => Self::decode::<R>(0, frame.into_bytes().unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

fn set(name: &str, hash: Hash, iterations: i32) -> ScramCredentialUpsertion {
    ScramCredentialUpsertion::default()
        .with_name(text(name))
        .with_mechanism(hash as i8)
        .with_iterations(iterations)
        .with_salt(Bytes::from_static(b"salt"))
        .with_salted_password(vec![7; hash.len()].into())
}

fn delete(name: &str, hash: Hash) -> ScramCredentialDeletion {
    ScramCredentialDeletion::default().with_name(text(name)).with_mechanism(hash as i8)
}

fn alter(
    deletions: Vec<ScramCredentialDeletion>,
    upsertions: Vec<ScramCredentialUpsertion>,
) -> AlterUserScramCredentialsRequest {
    AlterUserScramCredentialsRequest::default()
        .with_deletions(deletions)
        .with_upsertions(upsertions)
}

#[test]
fn they_are_kept_as_verifiers_shown_and_deleted() {
    let mut bench = bench();
    let hash = Hash::Sha256;
    let request = alter(vec![], vec![set("ann", hash, 4096), set("ann", Hash::Sha512, 8192)]);
    let results = bench.ask_by("User:root", &request).results;
    assert_eq!((results.len(), results[0].error_code), (1, 0));
    let mut bench = Bench { broker: open(&bench.disk, &bench.clock, &config()), ..bench };
    bench.broker.secure(users("root:secret"));
    let kept = bench.broker.security.verifier("ann", hash).unwrap();
    assert_eq!(*kept, Verifier::of_salted(hash, &[7; 32], b"salt", 4096));
    let all = DescribeUserScramCredentialsRequest::default();
    let shown = bench.ask_by("User:root", &all).results;
    let names: Vec<(&str, usize)> =
        shown.iter().map(|row| (row.user.as_str(), row.credential_infos.len())).collect();
    assert_eq!(names, [("ann", 2), ("root", 2)]);
    assert_eq!(shown[0].credential_infos[1].iterations, 8192);
    let request = alter(vec![delete("ann", hash)], vec![]);
    assert_eq!(bench.ask_by("User:root", &request).results[0].error_code, 0);
    let bench = Bench { broker: open(&bench.disk, &bench.clock, &config()), ..bench };
    assert!(bench.broker.security.verifier("ann", hash).is_none());
    assert!(bench.broker.security.verifier("ann", Hash::Sha512).is_some());
}

#[test]
fn what_is_refused_and_why() {
    let mut bench = bench();
    let hash = Hash::Sha256;
    let unacceptable = ResponseError::UnacceptableCredential.code();
    let not_found = ResponseError::ResourceNotFound.code();
    let twice = ResponseError::DuplicateResource.code();
    let unknown = ResponseError::UnsupportedSaslMechanism.code();
    for (request, expected) in [
        (alter(vec![], vec![set("", hash, 4096)]), unacceptable),
        (alter(vec![], vec![set("ann", hash, 4095)]), unacceptable),
        (alter(vec![], vec![set("ann", hash, 16385)]), unacceptable),
        (alter(vec![], vec![set("ann", hash, -1)]), unacceptable),
        (alter(vec![], vec![set("ann", hash, 4096).with_salt(Bytes::new())]), unacceptable),
        (alter(vec![], vec![set("ann", hash, 4096).with_mechanism(2)]), unacceptable),
        (alter(vec![], vec![set("ann", hash, 4096).with_mechanism(0)]), unknown),
        (alter(vec![], vec![set("ann", hash, 4096), set("ann", hash, 4096)]), twice),
        (alter(vec![delete("ann", hash)], vec![]), not_found),
        (alter(vec![delete("root", hash)], vec![]), not_found),
        // A user's changes happen all or not at all.
        (alter(vec![delete("ann", hash)], vec![set("ann", Hash::Sha512, 4096)]), not_found),
    ] {
        let results = bench.ask_by("User:root", &request).results;
        assert_eq!((results.len(), results[0].error_code), (1, expected), "{request:?}");
        assert!(bench.broker.security.verifier("ann", hash).is_none());
        assert!(bench.broker.security.verifier("ann", Hash::Sha512).is_none());
    }
    let names = ["root", "eve", "twice", "twice"];
    let asked = names.map(|name| UserName::default().with_name(text(name))).to_vec();
    let request = DescribeUserScramCredentialsRequest::default().with_users(Some(asked));
    let codes: Vec<i16> =
        bench.ask_by("User:root", &request).results.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [0, not_found, twice]);
}

#[test]
fn only_a_super_user_may_where_there_are_no_lists() {
    let mut bench = bench();
    let denied = ResponseError::ClusterAuthorizationFailed.code();
    for who in ["User:ann", "User:ANONYMOUS", "root"] {
        let all = DescribeUserScramCredentialsRequest::default();
        assert_eq!(bench.ask_by(who, &all).error_code, denied);
        let request = alter(vec![], vec![set("ann", Hash::Sha256, 4096)]);
        assert_eq!(bench.ask_by(who, &request).results[0].error_code, denied);
    }
    assert!(bench.broker.security.verifier("ann", Hash::Sha256).is_none());
}
