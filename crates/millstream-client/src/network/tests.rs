mod garbage;

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
};

use super::*;
use crate::consumer::ConsumerTag;
use crate::testing::frames::{Arrived, Seeded};

const BOOTSTRAP: NodeId = -1;

fn at(ms: u64) -> Now {
    Now { mono: Duration::from_millis(ms), wall: ms as i64 }
}

fn network(max_idle: Option<Duration>) -> Network {
    let bootstrap = vec![("b".into(), 9001)];
    let settings = ConnectionSettings { bootstrap, max_idle, ..ConnectionSettings::default() };
    Network::new(Arc::new(settings), None, Box::new(Seeded(1)))
}

fn actions(net: &mut Network) -> Vec<Action> {
    std::iter::from_fn(|| net.action()).collect()
}

/// The only request that is to be sent.
fn sent(net: &mut Network) -> Arrived {
    match &actions(net)[..] {
        [Action::Send { bytes, .. }] => Arrived::read(bytes.clone()),
        other => panic!("one request: {other:?}"),
    }
}

fn versions() -> ApiVersionsResponse {
    let metadata = ApiVersion::default().with_api_key(MetadataRequest::KEY).with_max_version(12);
    ApiVersionsResponse::default().with_api_keys(vec![metadata])
}

fn connect(net: &mut Network, now: Now) -> ConnectionId {
    assert!(!net.ready(BOOTSTRAP, now));
    let connection = match &actions(net)[..] {
        [Action::Connect { connection, .. }] => *connection,
        other => panic!("one connection: {other:?}"),
    };
    net.input(Input::Connected { connection }, now);
    let frame = sent(net).answer::<ApiVersionsRequest>(&versions());
    net.input(Input::Frame { connection, frame }, now);
    assert!(net.ready(BOOTSTRAP, now));
    connection
}

fn ask(net: &mut Network, number: u64, now: Now) -> Arrived {
    let tag = Tag::Consumer(ConsumerTag::Offsets(number));
    let timeout = Duration::from_secs(1);
    net.send(BOOTSTRAP, &MetadataRequest::default(), 9, timeout, tag, now);
    sent(net)
}

/// What has ended: number and whether with a response.
fn ended(net: &mut Network) -> Vec<(u64, bool)> {
    std::iter::from_fn(|| net.completion())
        .map(|completion| match completion.tag {
            Tag::Consumer(ConsumerTag::Offsets(number)) => (number, completion.result.is_ok()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_response_that_is_not_the_next_ends_the_connection_and_nobody_waits_for_ever() {
    let mut net = network(None);
    let connection = connect(&mut net, at(0));
    let first = ask(&mut net, 0, at(1));
    let _second = ask(&mut net, 1, at(1));
    let third = ask(&mut net, 2, at(1));
    let answer = |asked: &Arrived| asked.answer::<MetadataRequest>(&MetadataResponse::default());
    net.input(Input::Frame { connection, frame: answer(&first) }, at(2));
    net.input(Input::Frame { connection, frame: answer(&third) }, at(2));
    assert_eq!(ended(&mut net), [(0, true), (1, false), (2, false)]);
    assert!(matches!(actions(&mut net)[..], [Action::Close { .. }]));
    assert!(net.connections.is_empty() && net.take_failed());
    // Reports of a connection that was given up change nothing.
    net.input(Input::Frame { connection, frame: answer(&third) }, at(3));
    assert_eq!((ended(&mut net), actions(&mut net).len()), (vec![], 0));
}

#[test]
fn a_request_that_takes_too_long_ends_the_connection() {
    let mut net = network(None);
    connect(&mut net, at(0));
    ask(&mut net, 0, at(0));
    ask(&mut net, 1, at(500));
    assert_eq!(net.next_deadline(at(500)), Some(at(1000).mono));
    net.tick(at(999));
    assert_eq!(ended(&mut net), []);
    net.tick(at(1000));
    assert_eq!(ended(&mut net), [(0, false), (1, false)]);
    assert!(net.connections.is_empty());
    assert!(net.is_unreachable(BOOTSTRAP, at(1001)));
    assert!(!net.ready(BOOTSTRAP, at(1001)));
    assert_eq!(actions(&mut net).len(), 1, "closed, and not opened again at once");
}

#[test]
fn a_broker_that_does_not_know_our_api_versions_is_asked_again_in_version_0() {
    let mut net = network(None);
    net.ready(BOOTSTRAP, at(0));
    actions(&mut net);
    let connection = ConnectionId(0);
    net.input(Input::Connected { connection }, at(0));
    let asked = sent(&mut net);
    assert_eq!(asked.version, 3);
    let mut frame = asked.correlation.to_be_bytes().to_vec();
    frame.extend([0, 35, 0, 0, 0, 0]);
    net.input(Input::Frame { connection, frame: frame.into() }, at(1));
    let again = sent(&mut net);
    assert_eq!(again.version, 0);
    let frame = again.answer::<ApiVersionsRequest>(&versions());
    net.input(Input::Frame { connection, frame }, at(2));
    assert!(net.ready(BOOTSTRAP, at(2)));
    assert_eq!(net.version::<MetadataRequest>(BOOTSTRAP, (1, 13)), Some(12));
}

#[test]
fn what_is_idle_is_closed_and_what_waits_is_not() {
    let mut net = network(Some(Duration::from_millis(100)));
    let connection = connect(&mut net, at(0));
    let asked = ask(&mut net, 0, at(10));
    net.tick(at(300));
    // The next thing to happen is its time-out, not something that is over.
    assert_eq!(net.next_deadline(at(300)), Some(at(1010).mono));
    let frame = asked.answer::<MetadataRequest>(&MetadataResponse::default());
    net.input(Input::Frame { connection, frame }, at(400));
    assert_eq!(net.next_deadline(at(400)), Some(at(500).mono));
    net.tick(at(500));
    assert!(net.connections.is_empty() && !net.take_failed());
    assert_eq!(ended(&mut net), [(0, true)]);
}

#[test]
fn a_throttle_holds_requests_back_and_a_shorter_one_does_not_end_it() {
    let mut net = network(None);
    connect(&mut net, at(0));
    net.throttle(BOOTSTRAP, 100, at(0));
    net.throttle(BOOTSTRAP, 10, at(1));
    assert!(!net.ready(BOOTSTRAP, at(99)));
    assert_eq!(net.next_deadline(at(50)), Some(at(100).mono));
    assert!(net.ready(BOOTSTRAP, at(100)));
}

#[test]
fn numbers_of_bootstrap_addresses_cannot_be_taken_over_by_brokers() {
    let mut net = network(None);
    net.set_nodes(&[(1, "a".into(), 1), (-1, "evil".into(), 2)]);
    net.learn_node(-1, "evil", 2);
    assert!(net.knows(1));
    net.ready(BOOTSTRAP, at(0));
    assert!(matches!(&actions(&mut net)[..], [Action::Connect { host, .. }] if **host == *"b"));
    // One that has moved loses its connection.
    net.ready(1, at(0));
    net.set_nodes(&[(1, "c".into(), 1)]);
    net.ready(1, at(0));
    let hosts = actions(&mut net).into_iter().filter_map(|action| match action {
        Action::Connect { host, .. } => Some(host.to_string()),
        _ => None,
    });
    assert_eq!(hosts.collect::<Vec<_>>(), ["a", "c"]);
}
