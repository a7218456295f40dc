//! Peers that are no brokers, or broken ones.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::super::*;
use crate::auth::authenticator;
use crate::settings::{SaslSettings, Secret, SecurityProtocol};
use crate::testing::allocations::allocated;
use crate::testing::frames::{self, Seeded};
use crate::testing::fuzz;

const NODE: NodeId = -1;

fn network(sasl: bool) -> Network {
    let mut settings = ConnectionSettings {
        bootstrap: vec![("broker".into(), 9092)],
        ..ConnectionSettings::default()
    };
    if sasl {
        settings.protocol = SecurityProtocol::SaslPlaintext;
        settings.sasl =
            Some(SaslSettings::Plain { username: "u".into(), password: Secret::new("p") });
    }
    let authenticator = authenticator(&settings);
    Network::new(Arc::new(settings), authenticator, Box::new(Seeded(1)))
}

/// What an honest broker answers.
fn answer(request: &frames::Arrived) -> Bytes {
    match ApiKey::try_from(request.key).unwrap() {
        ApiKey::ApiVersions => {
            let keys = [
                (ApiKey::Metadata, 13),
                (ApiKey::ApiVersions, 4),
                (ApiKey::SaslHandshake, 1),
                (ApiKey::SaslAuthenticate, 2),
            ]
            .map(|(key, max)| ApiVersion::default().with_api_key(key as i16).with_max_version(max));
            let response = ApiVersionsResponse::default().with_api_keys(keys.to_vec());
            request.answer::<ApiVersionsRequest>(&response)
        }
        ApiKey::SaslHandshake => {
            request.answer::<SaslHandshakeRequest>(&SaslHandshakeResponse::default())
        }
        ApiKey::SaslAuthenticate => {
            request.answer::<SaslAuthenticateRequest>(&SaslAuthenticateResponse::default())
        }
        ApiKey::Metadata => request.answer::<MetadataRequest>(&MetadataResponse::default()),
        other => panic!("{other:?} was not to be asked"),
    }
}

/// What has come of it.
#[derive(Debug, Default)]
struct Seen {
    /// Frames that the peer has sent.
    frames: usize,
    /// Requests of the owner, and how they ended.
    asked: usize,
    answered: usize,
    failed: usize,
    /// Whether the connection was given up.
    closed: bool,
    /// Bytes in the peer's frames, and bytes allocated while they were taken.
    bytes: usize,
    allocated: usize,
}

/// Connects, asks for metadata three times and reads what comes; `peer` changes what the broker
/// would have sent, given the number of the frame.
fn talk(net: &mut Network, now: Now, mut peer: impl FnMut(usize, &mut Vec<u8>)) -> Seen {
    let mut seen = Seen::default();
    net.ready(NODE, now);
    loop {
        while let Some(action) = net.action() {
            match action {
                Action::Connect { connection, .. } => {
                    net.input(Input::Connected { connection }, now)
                }
                Action::Close { .. } => seen.closed = true,
                Action::FetchToken => unreachable!("no endpoint was given"),
                Action::Send { connection, bytes } => {
                    let mut frame = answer(&frames::Arrived::read(bytes)).to_vec();
                    peer(seen.frames, &mut frame);
                    seen.frames += 1;
                    seen.bytes += frame.len();
                    let input = Input::Frame { connection, frame: frame.into() };
                    seen.allocated += allocated(|| net.input(input, now)).1;
                }
            }
        }
        while let Some(completion) = net.completion() {
            let (read, bytes) = allocated(|| {
                let body = completion.result?;
                body.decode_from::<MetadataRequest>(completion.node, net, now)
            });
            seen.allocated += bytes;
            match read {
                Ok(_) => seen.answered += 1,
                Err(_) => seen.failed += 1,
            }
        }
        if net.actions.is_empty() {
            let version = net.version::<MetadataRequest>(NODE, (1, 13));
            match version {
                Some(version) if net.ready(NODE, now) && seen.asked < 3 => {
                    seen.asked += 1;
                    let timeout = Duration::from_secs(1);
                    let request = MetadataRequest::default();
                    net.send(NODE, &request, version, timeout, Tag::Metadata, now);
                }
                _ => return seen,
            }
        }
    }
}

fn at(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), wall: 0 }
}

#[test]
fn an_honest_broker_is_talked_to() {
    for (sasl, frames) in [(false, 4), (true, 6)] {
        let seen = talk(&mut network(sasl), at(1), |_, _| {});
        assert_eq!((seen.frames, seen.answered, seen.failed), (frames, 3, 0), "{seen:?}");
        assert!(!seen.closed);
    }
}

/// At each step, during setup as well: the connection ends, whoever has asked is told, and an
/// honest broker at the same address is talked to later.
#[test]
fn garbage_closes_the_connection() {
    let garbage: [&[u8]; 5] = [
        b"",
        b"\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\0\x02\x02\x50",
        &[0xff; 200],
    ];
    for sasl in [false, true] {
        let setup = if sasl { 3 } else { 1 };
        for step in 0..setup + 3 {
            for garbage in garbage {
                let mut net = network(sasl);
                let seen = talk(&mut net, at(1), |frame, bytes| {
                    if frame == step {
                        *bytes = garbage.to_vec();
                    }
                });
                assert!(seen.closed, "step {step}: {seen:?}");
                assert_eq!(seen.frames, step + 1);
                let asked = (step + 1).saturating_sub(setup);
                assert_eq!((seen.asked, seen.failed), (asked, asked.min(1)), "step {step}");
                assert!(!net.ready(NODE, at(1)));
                assert!(matches!(net.health(at(1)), Health::Down(Failure::Disconnected(_))));

                let seen = talk(&mut net, at(100), |_, _| {});
                assert_eq!((seen.answered, seen.closed), (3, false), "step {step}");
            }
        }
    }
}

/// The right correlation id, and then a lie: that is seen when the body is read.
#[test]
fn a_body_that_lies_closes_the_connection() {
    let mut net = network(false);
    let seen = talk(&mut net, at(1), |frame, bytes| {
        if frame == 1 {
            // Tagged fields of the header, throttle time, two billion brokers.
            bytes.truncate(4);
            bytes.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        }
    });
    assert_eq!((seen.asked, seen.failed, seen.closed), (1, 1, true), "{seen:?}");
    assert!(seen.allocated < 10_000, "{seen:?}");
}

/// Damage at any step never panics, never costs more memory than a multiple of what has arrived,
/// and every request that was sent ends once. `MILLSTREAM_FUZZ=100` goes on a hundred times as
/// long.
#[test]
fn damaged_frames_do_no_harm() {
    let (mut closed, mut went_on) = (0u64, 0u64);
    for round in 0..fuzz::rounds(3_000) {
        let seed = fuzz::seed(round);
        let mut random = Seeded(seed);
        let sasl = random.below(2) == 0;
        let step = random.below(if sasl { 6 } else { 4 }) as usize;
        let mut net = network(sasl);
        let mut sent = Vec::new();
        let seen = talk(&mut net, at(1), |frame, bytes| {
            if frame == step {
                fuzz::damage(bytes, &mut random);
                sent = bytes.clone();
            }
        });
        let case = format!("seed {seed}: {seen:?}, {sent:?}");
        assert_eq!(seen.asked, seen.answered + seen.failed, "{case}");
        assert!(seen.allocated <= 20_000 + 300 * seen.bytes, "{case}");
        if sent.get(..4) != Some(&(step as i32).to_be_bytes()) {
            assert!(seen.closed, "{case}");
        }
        if seen.closed {
            closed += 1
        } else {
            went_on += 1
        }

        net.disconnect(NODE, "enough", at(1));
        while net.action().is_some() {}
        let seen = talk(&mut net, at(100), |_, _| {});
        assert_eq!((seen.answered, seen.closed), (3, false), "seed {seed}");
    }
    assert!(closed > 100 && went_on > 100, "{closed} closed, {went_on} went on");
}
