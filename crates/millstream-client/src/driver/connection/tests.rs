use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::driver::script::framed;

const MAX: usize = 10_000_000;

/// A connection and the broker's end of it.
fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ours = TcpStream::connect(address).unwrap();
    ours.set_nonblocking(true).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_nodelay(true).unwrap();
    let stream = Stream::Plain(mio::net::TcpStream::from_std(ours));
    let mut connection = Connection::new(
        ConnectionId(1),
        stream,
        "broker".into(),
        address,
        VecDeque::new(),
        Duration::ZERO,
    );
    connection.writable = true;
    let mut inputs = Vec::new();
    assert_eq!(connection.go_on(MAX, &mut inputs).unwrap(), Progress::Waits);
    assert!(matches!(inputs[..], [Input::Connected { .. }]));
    (connection, theirs)
}

/// Goes on, with a readable socket, until that many frames are there.
fn frames(connection: &mut Connection, count: usize) -> Vec<Bytes> {
    let mut inputs = Vec::new();
    while inputs.len() < count {
        connection.readable = true;
        connection.go_on(MAX, &mut inputs).unwrap();
    }
    assert_eq!(inputs.len(), count);
    inputs
        .into_iter()
        .map(|input| match input {
            Input::Frame { frame, .. } => frame,
            input => panic!("{input:?}"),
        })
        .collect()
}

/// Goes on until the connection ends; the frames before that, and why.
fn ends(connection: &mut Connection, max: usize) -> (usize, String) {
    let mut inputs = Vec::new();
    loop {
        connection.readable = true;
        if let Err(error) = connection.go_on(max, &mut inputs) {
            return (inputs.len(), error.to_string());
        }
    }
}

#[test]
fn frames_may_be_cut_anywhere() {
    let bodies: [&[u8]; 3] = [b"a", &[7; 300], b"the last one"];
    let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
    for cut in 0..=stream.len() {
        let (mut connection, mut broker) = pair();
        let before = [5, 309, stream.len()].iter().filter(|end| **end <= cut).count();
        broker.write_all(&stream[..cut]).unwrap();
        let mut got = frames(&mut connection, before);
        // A look at the part of a frame changes nothing.
        connection.readable = true;
        assert_eq!(connection.go_on(MAX, &mut Vec::new()).unwrap(), Progress::Waits);
        broker.write_all(&stream[cut..]).unwrap();
        got.extend(frames(&mut connection, 3 - before));
        assert_eq!(got, bodies, "cut at {cut}");
    }
}

#[test]
fn every_byte_may_come_alone() {
    let (mut connection, mut broker) = pair();
    for byte in framed(b"slow") {
        broker.write_all(&[byte]).unwrap();
        connection.readable = true;
        if byte != b'w' {
            let mut inputs = Vec::new();
            connection.go_on(MAX, &mut inputs).unwrap();
            assert!(inputs.is_empty());
        }
    }
    assert_eq!(frames(&mut connection, 1), [&b"slow"[..]]);
}

#[test]
fn lengths_that_cannot_be_end_the_connection() {
    for (prefix, expected) in [
        (1001u32, "receive.message.max.bytes is 1000"),
        (0x7fff_ffff, "2147483647 bytes"),
        (0xffff_ffff, "-1 bytes"),
        (0, "an empty response"),
    ] {
        let (mut connection, mut broker) = pair();
        broker.write_all(&framed(b"good")).unwrap();
        broker.write_all(&prefix.to_be_bytes()).unwrap();
        let (before, error) = ends(&mut connection, 1000);
        assert_eq!(before, 1);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_stated_length_costs_nothing_before_the_bytes_are_there() {
    let (mut connection, mut broker) = pair();
    broker.write_all(&(2u32 << 29).to_be_bytes()).unwrap();
    broker.write_all(&[1; 100]).unwrap();
    let mut inputs = Vec::new();
    while connection.frame.len() < 100 {
        connection.readable = true;
        connection.go_on(i32::MAX as usize, &mut inputs).unwrap();
    }
    assert!(connection.frame.capacity() <= 4 * READ_MAX, "{}", connection.frame.capacity());
}

#[test]
fn the_end_of_the_stream_is_told_after_what_came_before() {
    for (after, expected) in [
        (0, "the broker has closed the connection"),
        (1, "the broker has closed the connection within a response"),
        (5, "the broker has closed the connection within a response"),
    ] {
        let (mut connection, mut broker) = pair();
        broker.write_all(&framed(b"one")).unwrap();
        broker.write_all(&framed(b"two")[..after]).unwrap();
        drop(broker);
        assert_eq!(ends(&mut connection, MAX), (1, expected.to_owned()));
    }
}

#[test]
fn what_a_broker_said_before_the_end_is_read_although_writing_fails() {
    let (mut connection, mut broker) = pair();
    broker.write_all(&framed(b"you may not")).unwrap();
    connection.socket().shutdown(std::net::Shutdown::Write).unwrap();
    connection.send(Bytes::from_static(b"request"));
    let mut inputs = Vec::new();
    while inputs.is_empty() {
        (connection.readable, connection.writable) = (true, true);
        let error = connection.go_on(MAX, &mut inputs).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
    }
}

#[test]
fn what_does_not_fit_the_socket_waits() {
    let (mut connection, broker) = pair();
    let body = vec![3; 32 << 20];
    connection.send(framed(&body).into());
    connection.send(Bytes::new());
    connection.send(framed(b"after").into());
    connection.writable = true;
    let mut inputs = Vec::new();
    connection.go_on(MAX, &mut inputs).unwrap();
    assert!(!connection.writable && !connection.is_due(), "nobody reads");
    let reader = crate::driver::script::serve(move || {
        let mut broker = broker;
        crate::driver::script::echo(&mut broker);
    });
    let mut got = Vec::new();
    while got.len() < 2 {
        (connection.readable, connection.writable) = (true, true);
        connection.go_on(64 << 20, &mut got).unwrap();
    }
    let sizes: Vec<_> = got
        .iter()
        .map(|input| match input {
            Input::Frame { frame, .. } => frame.len(),
            input => panic!("{input:?}"),
        })
        .collect();
    assert_eq!(sizes, [body.len(), 5]);
    drop(connection);
    reader.join().unwrap();
}

#[test]
fn one_connection_does_not_keep_the_others_from_their_turn() {
    let (mut connection, broker) = pair();
    let body = vec![5; TURN_MAX / 4];
    let _open = broker.try_clone().unwrap();
    let writer = crate::driver::script::serve(move || {
        let mut broker = broker;
        for _ in 0..16 {
            broker.write_all(&framed(&body)).unwrap();
        }
    });
    let (mut got, mut turns) = (Vec::new(), 0);
    while got.len() < 16 {
        connection.readable = true;
        let before = got.len();
        connection.go_on(MAX, &mut got).unwrap();
        turns += usize::from(got.len() > before);
        assert!(got.len() - before <= 6, "a turn has a limit");
    }
    assert!(turns > 2);
    writer.join().unwrap();
}
