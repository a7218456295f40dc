//! Settings of applications and topics, and the handle that ends a run.

use std::time::Duration;

use millstream::{Application, Error, RunLimits, StopReason, Value, function};

use crate::broker::{Broker, Place, TIMEOUT, on_both_brokers, run_until_quiet};
use crate::pipelines::number;

on_both_brokers!(
    topics_are_created_as_declared,
    settings_reach_the_consumer,
    settings_reach_the_producer,
    a_setting_that_does_not_exist_is_named,
    a_handle_ends_the_run_and_what_was_read_is_committed,
    a_count_ends_the_run,
    without_changelogs_there_is_none,
);

/// T-10, T-11: of topics that are not there yet; one that is there stays as it is.
fn topics_are_created_as_declared(place: &Place) {
    let broker = Broker::start(place);
    let (input, output, there) = (broker.name("in"), broker.name("out"), broker.topic("there", 2));
    let app = broker.application().build().expect("an application");
    app.dataframe(&app.topic(&input).created_with(3, 1))
        .and_then(|sdf| sdf.to_topic(&app.topic(&output).created_with(4, 1)))
        .and_then(|sdf| sdf.to_topic(&app.topic(&there).created_with(5, 1)))
        .expect("a pipeline");
    run_until_quiet(&app);
    let partitions = |topic: &str| broker.describe(topic).partitions.len();
    assert_eq!(partitions(&input), 3);
    assert_eq!(partitions(&output), 4);
    assert_eq!(partitions(&there), 2);
}

/// the group's other members see the client's id.
fn settings_reach_the_consumer(place: &Place) {
    let broker = Broker::start(place);
    let input = broker.topic("in", 1);
    broker.produce(&input, &[(0, "k", "1", 1)]);
    let app = broker
        .application()
        .consumer_setting("client.id", "a-name-of-its-own")
        .consumer_setting("group.instance.id", "the-first")
        .build()
        .expect("an application");
    let group = broker.name("group");
    let (member_found, members) = std::sync::mpsc::channel();
    let address = broker.address.clone();
    let look = function("look", move |_| {
        member_found.send(members_of(&address, &group)).expect("somebody listens");
        Ok(Value::Null)
    });
    app.dataframe(&app.topic(&input)).and_then(|sdf| sdf.update(look)).expect("a pipeline");
    run_until_quiet(&app);
    let member = ("a-name-of-its-own".to_owned(), Some("the-first".to_owned()));
    assert_eq!(members.try_iter().collect::<Vec<_>>(), [vec![member]]);
}

/// The (client id, instance id) of a group's members.
fn members_of(address: &str, group: &str) -> Vec<(String, Option<String>)> {
    use millstream_kafka::{ClientConfig, ClientFactory, Clients, Properties, admin_properties};
    let connection = Properties::from([("bootstrap.servers", address)]);
    let config = ClientConfig::new(admin_properties(&Properties::new(), &connection));
    let mut admin = Clients.admin(&config).expect("an admin client");
    let mut groups = admin.describe_groups(&[group], TIMEOUT).expect("an answer");
    let members = groups.remove(0).expect("the group").members;
    members.into_iter().map(|member| (member.client_id, member.instance_id)).collect()
}

/// with a limit below the size of the output, the producer refuses it and the run fails.
fn settings_reach_the_producer(place: &Place) {
    let broker = Broker::start(place);
    let (input, output) = (broker.topic("in", 1), broker.topic("out", 1));
    let large = format!("\"{}\"", "x".repeat(5_000));
    broker.produce(&input, &[(0, "k", &large, 1)]);
    let run = |limit: &str| {
        let app = broker
            .application()
            .producer_setting("message.max.bytes", limit)
            .build()
            .expect("an application");
        app.dataframe(&app.topic(&input))
            .and_then(|sdf| sdf.to_topic(&app.topic(&output)))
            .expect("a pipeline");
        app.run_until(RunLimits { count: 0, timeout: Duration::from_secs(2) })
    };
    let error = run("1000").expect_err("the output is too large");
    assert!(matches!(error, Error::Run(_)), "{error:?}");
    assert_eq!(broker.values(&output), Vec::<String>::new());
    run("100000").expect("the record is processed again");
    assert_eq!(broker.values(&output), [large]);
}

fn a_setting_that_does_not_exist_is_named(place: &Place) {
    let broker = Broker::start(place);
    let input = broker.topic("in", 1);
    let fails = |app: Application| {
        app.dataframe(&app.topic(&input)).expect("a pipeline");
        let limits = RunLimits { count: 0, timeout: Duration::from_secs(2) };
        app.run_until(limits).expect_err("a setting that librdkafka does not know").to_string()
    };
    let consumer = broker.application().consumer_setting("no.such.consumer.setting", "1").build();
    let said = fails(consumer.expect("an application"));
    assert!(said.contains("no.such.consumer.setting"), "{said}");
    let producer = broker.application().producer_setting("no.such.producer.setting", "1").build();
    let said = fails(producer.expect("an application"));
    assert!(said.contains("no.such.producer.setting"), "{said}");
}

/// from another thread, while the run waits for records.
fn a_handle_ends_the_run_and_what_was_read_is_committed(place: &Place) {
    let broker = Broker::start(place);
    let (input, output) = (broker.topic("in", 1), broker.topic("out", 1));
    broker.produce(&input, &[(0, "k", "1", 1), (0, "k", "2", 2)]);
    // Only the stop can commit.
    let app = broker.application().commit_interval(TIMEOUT * 100).build().expect("an application");
    let (seen, told) = std::sync::mpsc::channel();
    let tell = function("tell", move |value| {
        seen.send(number(value)?).expect("somebody listens");
        Ok(Value::Null)
    });
    app.dataframe(&app.topic(&input))
        .and_then(|sdf| sdf.update(tell))
        .and_then(|sdf| sdf.to_topic(&app.topic(&output)))
        .expect("a pipeline");
    let stop = app.stop_handle();
    #[expect(clippy::disallowed_methods, reason = "the thread that is not the run's")]
    let stopper = std::thread::spawn(move || {
        let seen: Vec<_> = (0..2).map(|_| told.recv_timeout(TIMEOUT)).collect();
        stop.stop();
        (seen, told)
    });
    let report = app.run().expect("a run without errors");
    let (seen, told) = stopper.join().expect("no panic");
    assert_eq!(seen, [Ok(1), Ok(2)]);
    assert_eq!(report.reason, StopReason::Requested);
    assert_eq!((report.records, report.outputs), (2, 2));
    assert_eq!(broker.values(&output), ["1", "2"]);

    // The request was for that run alone, and nothing is read twice.
    broker.produce(&input, &[(0, "k", "3", 3)]);
    let report = run_until_quiet(&app);
    assert_eq!((report.reason, report.records), (StopReason::Timeout, 1));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [3]);
}

///
fn a_count_ends_the_run(place: &Place) {
    let broker = Broker::start(place);
    let (input, output) = (broker.topic("in", 1), broker.topic("out", 1));
    broker.produce(&input, &[(0, "k", "1", 1), (0, "k", "2", 2), (0, "k", "3", 3)]);
    let app = broker.application().build().expect("an application");
    app.dataframe(&app.topic(&input))
        .and_then(|sdf| sdf.to_topic(&app.topic(&output)))
        .expect("a pipeline");
    let report =
        app.run_until(RunLimits { count: 2, timeout: TIMEOUT }).expect("a run without errors");
    assert_eq!((report.reason, report.outputs), (StopReason::Count, 2));
    assert_eq!(broker.values(&output), ["1", "2"]);
    run_until_quiet(&app);
    assert_eq!(broker.values(&output), ["1", "2", "3"]);
}

///
fn without_changelogs_there_is_none(place: &Place) {
    let broker = Broker::start(place);
    let input = broker.topic("in", 1);
    let changelogs = || {
        let topics = broker.admin().list_topics(TIMEOUT).expect("an answer");
        topics
            .into_iter()
            .filter(|topic| topic.name.starts_with("changelog__") && topic.name.contains(&input))
            .count()
    };
    let run = |without: bool| {
        let settings = broker.application().state_dir(broker.dir.path().join(without.to_string()));
        let settings = if without { settings.without_changelogs() } else { settings };
        let app = settings.build().expect("an application");
        app.dataframe(&app.topic(&input))
            .and_then(|sdf| {
                sdf.tumbling_window(Duration::from_secs(1), Duration::ZERO).count().last()
            })
            .expect("a pipeline");
        run_until_quiet(&app);
    };
    run(true);
    assert_eq!(changelogs(), 0);
    run(false);
    assert_eq!(changelogs(), 1);
}
