use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use bytes::Bytes;

use super::*;
use crate::driver::script::{Scripted, echo, framed, serve};

fn settings() -> ConnectionSettings {
    ConnectionSettings::default()
}

/// A server that answers every connection by its frames. Ends with the test.
fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            serve(move || echo(&mut stream));
        }
    });
    port
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn frames_go_there_and_back() {
    let port = echo_server();
    let client = Scripted::start(&ConnectionSettings {
        keep_alive: true,
        send_buffer: Some(65_536),
        receive_buffer: Some(65_536),
        ..settings()
    });
    client.connect(1, "127.0.0.1", port);
    client.connected();
    for size in [1, 4, 70_000, 1_000_000] {
        let body = vec![size as u8; size];
        client.send(1, framed(&body));
        assert!(client.frame() == body, "{size}");
    }
}

#[test]
fn names_are_looked_up() {
    let port = echo_server();
    let client = Scripted::start(&ConnectionSettings {
        address_family: crate::settings::AddressFamily::V4,
        ..settings()
    });
    client.connect(1, "localhost", port);
    client.connected();
    // No resolver needs to be asked to know that there is no such name.
    client.connect(2, "no\0host", port);
    let (reason, tls) = client.closed();
    assert!(reason.contains("cannot find no") && !tls, "{reason}");
}

#[test]
fn a_refused_connection_is_told_with_its_address() {
    let port = closed_port();
    let client = Scripted::start(&settings());
    client.connect(1, "127.0.0.1", port);
    let (reason, tls) = client.closed();
    assert!(reason.contains(&format!("cannot connect to 127.0.0.1:{port}")) && !tls, "{reason}");
}

#[test]
fn many_connections_at_once() {
    const MANY: u64 = 150;
    let port = echo_server();
    let client = Scripted::start(&settings());
    for id in 0..MANY {
        client.connect(id, "127.0.0.1", port);
    }
    for input in client.inputs(MANY as usize) {
        assert!(matches!(input, Input::Connected { .. }), "{input:?}");
    }
    for id in 0..MANY {
        client.send(id, framed(&id.to_be_bytes()));
    }
    let mut seen = HashSet::new();
    for input in client.inputs(MANY as usize) {
        let Input::Frame { connection, frame } = input else { panic!("{input:?}") };
        assert_eq!(frame, connection.0.to_be_bytes()[..]);
        seen.insert(connection);
    }
    assert_eq!(seen.len(), MANY as usize);
}

#[test]
fn what_was_sent_before_the_end_still_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = serve(move || {
        for expected in [&b"closed"[..], b"dropped"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut all).unwrap();
            assert_eq!(all, framed(expected));
        }
    });
    let client = Scripted::start(&settings());
    let id = ConnectionId(1);
    client.connect(1, "127.0.0.1", port);
    client.connected();
    client.act([
        Action::Send { connection: id, bytes: framed(b"closed").into() },
        Action::Close { connection: id },
    ]);
    client.connect(2, "127.0.0.1", port);
    client.connected();
    client.send(2, framed(b"dropped"));
    drop(client);
    received.join().unwrap();
}

#[test]
fn wake_ups_are_not_lost() {
    let port = echo_server();
    let client = Scripted::start(&settings());
    client.connect(1, "127.0.0.1", port);
    client.connected();
    // Each goes out only if its own wake-up is seen.
    for number in 0..2000u32 {
        client.send(1, framed(&number.to_be_bytes()));
        assert_eq!(client.frame(), number.to_be_bytes()[..]);
    }
}

#[test]
fn a_broker_that_closes_is_told_apart_from_one_that_talks_nonsense() {
    for (answer, expected) in [
        (&b""[..], "the broker has closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n", "receive.message.max.bytes"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = serve(move || listener.accept().unwrap().0.write_all(answer).unwrap());
        let client = Scripted::start(&settings());
        client.connect(1, "127.0.0.1", port);
        client.connected();
        let (reason, tls) = client.closed();
        assert!(reason.starts_with("127.0.0.1: ") && reason.contains(expected), "{reason}");
        assert!(!tls);
        server.join().unwrap();
    }
}

/// Sockets without their thread.
fn sockets() -> Sockets {
    let poll = Poll::new().unwrap();
    let control = Arc::new(Control {
        waker: Waker::new(poll.registry(), WAKE).unwrap(),
        stopped: AtomicBool::new(false),
        woken: AtomicBool::new(false),
    });
    Sockets::new(poll, None, None, &settings(), control)
}

fn resolved(sockets: &mut Sockets, ports: &[u16]) {
    let addresses = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into()).collect();
    let connection = ConnectionId(1);
    let resolved =
        Resolved { connection, host: "broker".into(), port: 1, addresses: Ok(addresses) };
    sockets.resolved(resolved, Duration::ZERO);
}

fn run_until_input(sockets: &mut Sockets) -> Input {
    let mut events = Events::with_capacity(8);
    while sockets.inputs.is_empty() {
        sockets.poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
        assert!(!events.is_empty(), "nothing happens");
        sockets.mark(&events);
        sockets.pump(Duration::ZERO);
    }
    sockets.inputs.remove(0)
}

#[test]
fn addresses_are_tried_in_turn() {
    let port = echo_server();
    let mut sockets = sockets();
    sockets.resolving.insert(ConnectionId(1));
    resolved(&mut sockets, &[closed_port(), closed_port(), port, closed_port()]);
    let input = run_until_input(&mut sockets);
    assert!(matches!(input, Input::Connected { .. }), "{input:?}");
    assert_eq!(sockets.connections.len(), 1);

    let mut sockets = super::tests::sockets();
    sockets.resolving.insert(ConnectionId(1));
    let last = closed_port();
    resolved(&mut sockets, &[closed_port(), last]);
    let Input::Closed { reason, .. } = run_until_input(&mut sockets) else { panic!() };
    assert!(reason.contains(&last.to_string()), "{reason}");
    assert!(sockets.connections.is_empty() && sockets.by_id.is_empty());
}

#[test]
fn an_address_that_does_not_answer_is_given_up_for_the_next() {
    let port = echo_server();
    let mut sockets = sockets();
    sockets.resolving.insert(ConnectionId(1));
    resolved(&mut sockets, &[closed_port(), port]);
    let addresses =
        |sockets: &Sockets| sockets.connections.values().next().unwrap().addresses.len();
    sockets.try_next_addresses(ADDRESS_TIMEOUT - Duration::from_millis(1));
    assert_eq!(addresses(&sockets), 1);
    sockets.try_next_addresses(ADDRESS_TIMEOUT);
    assert_eq!(addresses(&sockets), 0);
    // The last one has all the time that the machine gives it, and no deadline keeps the thread busy.
    sockets.try_next_addresses(3 * ADDRESS_TIMEOUT);
    assert!(sockets.connections.values().all(|c| c.give_up_at.is_none()));
    assert!(matches!(run_until_input(&mut sockets), Input::Connected { .. }));
}

#[test]
fn a_look_up_that_is_given_up_opens_nothing() {
    let mut sockets = sockets();
    let connection = ConnectionId(1);
    sockets.resolving.insert(connection);
    sockets.act(Action::Close { connection }, Duration::ZERO);
    resolved(&mut sockets, &[echo_server()]);
    assert!(sockets.connections.is_empty() && sockets.inputs.is_empty());
}

#[test]
fn what_is_sent_to_nobody_is_dropped() {
    let mut sockets = sockets();
    let connection = ConnectionId(9);
    sockets.act(Action::Send { connection, bytes: Bytes::from_static(b"x") }, Duration::ZERO);
    sockets.act(Action::Close { connection }, Duration::ZERO);
    assert!(sockets.inputs.is_empty());
}
