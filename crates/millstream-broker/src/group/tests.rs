use super::*;

const SETTINGS: GroupSettings = GroupSettings {
    initial_delay: Duration::ZERO,
    session_timeout: (Duration::from_secs(6), Duration::from_secs(1800)),
    max_size: 10,
};

/// A group with a clock and a counter of tickets.
struct Play {
    group: Group,
    settings: GroupSettings,
    now: Duration,
    tickets: Ticket,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Play {
    fn new() -> Self {
        Self { group: Group::new(0), settings: SETTINGS, now: secs(100), tickets: 0 }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    fn request(id: &str, instance: Option<&str>, metadata: &'static str) -> JoinRequest {
        JoinRequest {
            member_id: id.into(),
            instance: instance.map(str::to_owned),
            client_id: "client".into(),
            client_host: "127.0.0.1".into(),
            session_timeout: secs(10),
            rebalance_timeout: secs(60),
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::from_static(metadata.as_bytes()))],
            new_id: String::new(),
            needs_known_id: false,
            may_skip_assignment: false,
        }
    }

    fn join_with(&mut self, request: JoinRequest) -> Ticket {
        let ticket = self.ticket();
        let settings = self.settings;
        self.group.join(request, ticket, &settings, self.now, 0);
        ticket
    }

    /// A new member that will be called `name`.
    fn join_new(&mut self, name: &str) -> Ticket {
        let mut request = Self::request("", None, "m");
        request.new_id = name.into();
        self.join_with(request)
    }

    fn rejoin(&mut self, name: &str) -> Ticket {
        self.join_with(Self::request(name, None, "m"))
    }

    fn sync(&mut self, name: &str, assignments: &[(&str, &'static str)]) -> Ticket {
        let ticket = self.ticket();
        let request = SyncRequest {
            member_id: name.into(),
            instance: None,
            generation: self.group.generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments
                .iter()
                .map(|(id, bytes)| ((*id).into(), Bytes::from_static(bytes.as_bytes())))
                .collect(),
        };
        self.group.sync(request, ticket, self.now);
        ticket
    }

    fn heartbeat(&mut self, name: &str) -> Result<(), ResponseError> {
        let generation = self.group.generation;
        let key = MemberKey { id: name, instance: None };
        self.group.heartbeat(&key, generation, self.now)
    }

    fn leave(&mut self, name: &str) -> Result<(), ResponseError> {
        let key = MemberKey { id: name, instance: None };
        self.group.leave(&key, self.now, 77)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.group.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(next);
            self.group.tick(self.now, 77);
            assert_ne!(self.group.deadline(), Some(next), "a deadline that nothing resolves");
        }
        self.now = end;
    }

    /// Answers since the last call, as text.
    fn answers(&mut self) -> Vec<String> {
        self.group
            .take_outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Join(ticket, Ok(joined)) => Some(format!(
                    "{ticket}: {} in {} led by {} of {}",
                    joined.member_id,
                    joined.generation,
                    joined.leader,
                    joined.members.len()
                )),
                Output::Join(ticket, Err((code, id))) => Some(format!("{ticket}: {code:?} {id}")),
                Output::Sync(ticket, Ok(synced)) => {
                    Some(format!("{ticket}: {}", String::from_utf8_lossy(&synced.assignment)))
                }
                Output::Sync(ticket, Err(code)) => Some(format!("{ticket}: {code:?}")),
                Output::Store => None,
            })
            .collect()
    }

    /// A stable group of `a` (the leader) and `b`.
    fn stable() -> Self {
        let mut play = Self::new();
        play.join_new("a");
        play.join_new("b");
        play.rejoin("a");
        play.sync("b", &[]);
        play.sync("a", &[("a", "for a"), ("b", "for b")]);
        play.answers();
        assert_eq!(play.group.state(), GroupState::Stable);
        play
    }
}

#[test]
fn the_first_member_leads_and_a_second_one_makes_it_join_again() {
    let mut play = Play::new();
    play.join_new("a");
    assert_eq!(play.answers(), ["1: a in 1 led by a of 1"]);
    play.sync("a", &[("a", "all")]);
    assert_eq!(play.answers(), ["2: all"]);
    assert_eq!(play.group.state(), GroupState::Stable);

    play.join_new("b");
    assert!(play.answers().is_empty(), "b waits for a");
    assert_eq!(play.heartbeat("a"), Err(ResponseError::RebalanceInProgress));
    play.rejoin("a");
    assert_eq!(play.answers(), ["4: a in 2 led by a of 2", "3: b in 2 led by a of 0"]);
    play.sync("b", &[]);
    assert!(play.answers().is_empty(), "b waits for the leader");
    play.sync("a", &[("a", "left"), ("b", "right")]);
    assert_eq!(play.answers(), ["6: left", "5: right"]);
    assert_eq!(play.heartbeat("b"), Ok(()));
    // Asked again, the same answer.
    play.sync("b", &[]);
    assert_eq!(play.answers(), ["7: right"]);
}

#[test]
fn the_first_gathering_waits_while_members_come() {
    let mut play = Play::new();
    play.settings.initial_delay = secs(3);
    play.join_new("a");
    play.pass(secs(2));
    play.join_new("b");
    play.pass(secs(2));
    assert!(play.answers().is_empty(), "b came during the first three seconds");
    play.pass(secs(2));
    assert_eq!(play.answers(), ["1: a in 1 led by a of 2", "2: b in 1 led by a of 0"]);
}

#[test]
fn a_silent_member_is_put_out_and_the_others_rebalance() {
    let mut play = Play::stable();
    play.pass(secs(9));
    assert_eq!(play.heartbeat("a"), Ok(()));
    play.pass(secs(2));
    assert_eq!(play.heartbeat("a"), Err(ResponseError::RebalanceInProgress));
    assert_eq!(play.heartbeat("b"), Err(ResponseError::UnknownMemberId));
    play.rejoin("a");
    assert_eq!(play.answers().len(), 1);
    assert_eq!(play.group.members().len(), 1);
}

#[test]
fn when_the_leader_dies_another_one_leads() {
    let mut play = Play::stable();
    play.pass(secs(9));
    play.heartbeat("b").unwrap();
    play.pass(secs(2));
    let ticket = play.rejoin("b");
    let generation = play.group.generation;
    assert_eq!(play.answers(), [format!("{ticket}: b in {generation} led by b of 1")]);
}

#[test]
fn who_does_not_rejoin_in_time_is_left_behind() {
    let mut play = Play::stable();
    let waiting = play.join_new("c");
    for _ in 0..12 {
        play.pass(secs(5));
        // b is alive, but busy for longer than its rebalance time-out.
        let _ = play.heartbeat("b");
        let _ = play.heartbeat("a");
    }
    assert_eq!(play.answers(), [format!("{waiting}: c in 3 led by c of 1")]);
    assert_eq!(play.heartbeat("b"), Err(ResponseError::UnknownMemberId));
}

#[test]
fn who_joins_but_does_not_sync_is_put_out() {
    let mut play = Play::stable();
    play.rejoin("a");
    play.rejoin("b");
    assert_eq!(play.group.state(), GroupState::CompletingRebalance);
    play.sync("b", &[]);
    play.answers();
    for _ in 0..11 {
        play.pass(secs(5));
        play.heartbeat("a").unwrap();
    }
    play.pass(secs(5));
    // The leader never assigned. b is sent to join again, without it.
    assert_eq!(play.answers(), ["8: RebalanceInProgress"]);
    assert_eq!(play.group.members().len(), 1);
}

#[test]
fn leaving_empties_the_group_and_the_generation_goes_on() {
    let mut play = Play::stable();
    assert_eq!(play.leave("a"), Ok(()));
    assert_eq!(play.leave("a"), Err(ResponseError::UnknownMemberId));
    assert_eq!(play.heartbeat("b"), Err(ResponseError::RebalanceInProgress));
    assert_eq!(play.leave("b"), Ok(()));
    assert_eq!(play.group.state(), GroupState::Empty);
    assert_eq!(play.group.empty_since_ms(), Some(77));
    let generation = play.group.generation;
    play.join_new("c");
    assert_eq!(play.group.generation, generation + 1);
}

#[test]
fn a_new_member_may_have_to_learn_its_id_first() {
    let mut play = Play::new();
    let mut request = Play::request("", None, "m");
    request.needs_known_id = true;
    request.new_id = "a".into();
    play.join_with(request.clone());
    assert_eq!(play.answers(), ["1: MemberIdRequired a"]);
    assert_eq!(play.group.state(), GroupState::Empty);
    play.rejoin("a");
    assert_eq!(play.answers(), ["2: a in 1 led by a of 1"]);
    play.sync("a", &[]);
    // Somebody who never comes back does not hold up the others for longer than a session.
    request.new_id = "ghost".into();
    play.join_with(request);
    play.answers();
    play.rejoin("a");
    assert!(play.answers().is_empty(), "waits for the ghost");
    play.pass(secs(10));
    assert_eq!(play.answers(), ["5: a in 2 led by a of 1"]);
    assert_eq!(play.group.members().len(), 1);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut play = Play::new();
    let mut first = Play::request("", Some("one"), "m");
    first.new_id = "one-1".into();
    play.join_with(first.clone());
    let mut second = Play::request("", Some("two"), "m");
    second.new_id = "two-1".into();
    play.join_with(second.clone());
    play.join_with(Play::request("one-1", Some("one"), "m"));
    assert_eq!(play.answers().len(), 3);
    let sync = |play: &mut Play, id: &str, instance: &str, assignments: &[(&str, &'static str)]| {
        let ticket = play.ticket();
        let request = SyncRequest {
            member_id: id.into(),
            instance: Some(instance.into()),
            generation: play.group.generation,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignments: assignments
                .iter()
                .map(|(id, bytes)| ((*id).into(), Bytes::from_static(bytes.as_bytes())))
                .collect(),
        };
        play.group.sync(request, ticket, play.now);
    };
    sync(&mut play, "one-1", "one", &[("one-1", "1"), ("two-1", "2")]);
    sync(&mut play, "two-1", "two", &[]);
    assert_eq!(play.answers(), ["4: 1", "5: 2"]);
    let generation = play.group.generation;

    second.new_id = "two-2".into();
    play.join_with(second);
    assert_eq!(play.answers(), [format!("6: two-2 in {generation} led by one-1 of 0")]);
    assert_eq!(play.group.state(), GroupState::Stable);
    sync(&mut play, "two-2", "two", &[]);
    assert_eq!(play.answers(), ["7: 2"], "it gets its old assignment");
    let old = MemberKey { id: "two-1", instance: Some("two") };
    let fenced = play.group.heartbeat(&old, generation, play.now);
    assert_eq!(fenced, Err(ResponseError::FencedInstanceId));

    // The leader too; one that knows KIP-814 is told not to assign.
    first.new_id = "one-2".into();
    first.may_skip_assignment = true;
    play.join_with(first);
    match &play.group.take_outputs()[..] {
        [Output::Join(_, Ok(joined)), Output::Store] => {
            assert!(joined.skip_assignment);
            assert_eq!((joined.leader.as_str(), joined.members.len()), ("one-2", 2));
        }
        other => panic!("{other:?}"),
    }
    // An administrator removes a static member by its instance alone.
    let by_instance = MemberKey { id: "", instance: Some("two") };
    assert_eq!(play.group.leave(&by_instance, play.now, 0), Ok(()));
}

#[test]
fn the_strategy_is_one_that_all_support_and_most_prefer() {
    let mut play = Play::new();
    let with = |name: &str, protocols: &[&str]| {
        let mut request = Play::request("", None, "m");
        request.new_id = name.into();
        request.protocols = protocols.iter().map(|p| ((*p).into(), Bytes::new())).collect();
        request
    };
    play.settings.initial_delay = secs(1);
    play.join_with(with("a", &["x", "y"]));
    play.join_with(with("b", &["y", "x", "z"]));
    play.join_with(with("c", &["y", "x"]));
    play.join_with(with("d", &["z"]));
    assert_eq!(play.answers(), ["4: InconsistentGroupProtocol "]);
    play.pass(secs(2));
    assert_eq!(play.group.protocol(), Some("y"));
    let mut other = with("e", &["y"]);
    other.protocol_type = "connect".into();
    play.answers();
    play.join_with(other);
    assert_eq!(play.answers(), ["5: InconsistentGroupProtocol "]);
}

#[test]
fn limits_are_kept() {
    let mut play = Play::new();
    let mut request = Play::request("", None, "m");
    request.session_timeout = secs(5);
    play.join_with(request);
    assert_eq!(play.answers(), ["1: InvalidSessionTimeout "]);
    play.settings.max_size = 1;
    play.join_new("a");
    play.answers();
    play.join_new("b");
    assert_eq!(play.answers(), ["3: GroupMaxSizeReached "]);
}

#[test]
fn commits_are_checked() {
    let mut play = Play::new();
    let nobody = MemberKey { id: "", instance: None };
    assert_eq!(play.group.check_commit(&nobody, -1, play.now), Ok(()));
    let mut play = Play::stable();
    let generation = play.group.generation;
    let mut check = |id: &str, generation| {
        play.group.check_commit(&MemberKey { id, instance: None }, generation, play.now)
    };
    assert_eq!(check("a", generation), Ok(()));
    assert_eq!(check("a", generation - 1), Err(ResponseError::IllegalGeneration));
    assert_eq!(check("x", generation), Err(ResponseError::UnknownMemberId));
    assert_eq!(check("", -1), Err(ResponseError::UnknownMemberId));
    // While others are being gathered, members still commit what they have done.
    play.join_new("c");
    let a = MemberKey { id: "a", instance: None };
    assert_eq!(play.group.check_commit(&a, generation, play.now), Ok(()));
}

#[test]
fn a_group_survives_a_restart_of_the_broker() {
    let play = Play::stable();
    let bytes = play.group.encode();
    let mut back = Group::decode(&bytes, secs(5)).unwrap();
    assert_eq!(back.state(), GroupState::Stable);
    assert_eq!(back.generation, play.group.generation);
    let key = MemberKey { id: "b", instance: None };
    assert_eq!(back.heartbeat(&key, play.group.generation, secs(6)), Ok(()));
    assert_eq!(back.members()[1].assignment, "for b");
    assert_eq!(back.deadline(), Some(secs(15)));
    for end in 0..bytes.len() {
        assert!(Group::decode(&bytes[..end], secs(5)).is_none(), "cut at {end}");
    }
    // Version 1 does not tell whether a rebalance was under way.
    let old = [&[1], &bytes[2..]].concat();
    assert_eq!(Group::decode(&old, secs(5)).unwrap().encode(), bytes);
}

/// A static member that has come back knows its new id from the answer to its JoinGroup on. (Found
/// by the simulator, seed 30065: a broker that had only the old one fenced it for good.)
#[test]
fn an_id_and_a_generation_that_were_told_survive_a_restart_of_the_broker() {
    let mut play = Play::new();
    for (id, metadata) in [("one-1", "m"), ("one-2", "n")] {
        let mut request = Play::request("", Some("one"), metadata);
        request.new_id = id.into();
        play.join_with(request);
    }
    // Both were first of their generation; nobody has brought assignments.
    assert_eq!(play.group.state(), GroupState::CompletingRebalance);
    assert!(play.group.take_outputs().contains(&Output::Store));
    let mut back = Group::decode(&play.group.encode(), secs(5)).unwrap();
    assert_eq!(back.state(), GroupState::PreparingRebalance);
    let key = MemberKey { id: "one-2", instance: Some("one") };
    let refused = back.heartbeat(&key, play.group.generation, secs(6));
    assert_eq!(refused, Err(ResponseError::RebalanceInProgress));
    let settings = play.settings;
    back.join(Play::request("one-2", Some("one"), "m"), 9, &settings, secs(6), 0);
    assert_eq!(back.state(), GroupState::CompletingRebalance);
    assert!(back.generation > play.group.generation);
}

#[test]
fn legal_changes_of_state() {
    use GroupState::*;
    let all = [Empty, PreparingRebalance, CompletingRebalance, Stable, Dead];
    let legal: Vec<(GroupState, GroupState)> = all
        .into_iter()
        .flat_map(|from| all.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| from.may_become(*to))
        .collect();
    assert_eq!(
        legal,
        [
            (Empty, PreparingRebalance),
            (Empty, Dead),
            (PreparingRebalance, Empty),
            (PreparingRebalance, CompletingRebalance),
            (PreparingRebalance, Dead),
            (CompletingRebalance, PreparingRebalance),
            (CompletingRebalance, Stable),
            (CompletingRebalance, Dead),
            (Stable, PreparingRebalance),
            (Stable, Dead),
        ]
    );
}

#[test]
fn static_members_without_a_rebalance_timeout_keep_nobody_busy() {
    let mut play = Play::new();
    for name in ["a", "b"] {
        let mut request = Play::request("", Some(name), "m");
        request.new_id = name.into();
        request.rebalance_timeout = Duration::ZERO;
        play.join_with(request);
    }
    play.sync("b", &[("a", "1"), ("b", "2")]);
    assert_eq!(play.group.state(), GroupState::Stable);
    // Only a static member is left, and it does not come: `pass` sees whether time stands still.
    play.leave("b").unwrap();
    assert_eq!(play.group.state(), GroupState::PreparingRebalance);
    play.pass(secs(9));
    assert_eq!(play.group.members().len(), 1);
    play.pass(secs(5));
    assert_eq!(play.group.state(), GroupState::Empty);
}
