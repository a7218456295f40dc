//! Groups as requests see them.

use super::*;

/// What a consumer says to the leader: version, topics, user data.
fn subscription(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    out.freeze()
}

impl Bench {
    /// Makes a group with one member that has its assignment, and returns the member's id.
    fn stable_group(&mut self, group: &str, topics: &[&str]) -> String {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription(topics));
        let request = JoinGroupRequest::default()
            .with_group_id(text(group).into())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let joined = self.ask(3, &request);
        assert_eq!(joined.error_code, 0);
        let request = SyncGroupRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        assert_eq!(self.ask(3, &request).error_code, 0);
        joined.member_id.to_string()
    }

    fn heartbeat(&mut self, group: &str, member: &str) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id(1)
            .with_member_id(text(member));
        self.ask(3, &request).error_code
    }
}

/// The broker's process was stopped for a minute: heartbeats wait in its sockets.
#[test]
fn a_stall_of_the_broker_ends_no_session() {
    let mut bench = Bench::new();
    let member = bench.stable_group("g", &["t"]);
    bench.clock.advance(Duration::from_secs(60));
    bench.broker.tick();
    assert_eq!(bench.heartbeat("g", &member), 0);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.heartbeat("g", &member), 0);
    // In time, a silent member is put out as ever.
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.heartbeat("g", &member), ResponseError::UnknownMemberId.code());
}
