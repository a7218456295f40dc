//! Makes the topics.

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};

use super::{Shared, Topic, code};
use crate::actor::Me;
use crate::link::{Link, text};

/// Creates the topics, however often it takes, and says that they are there.
pub(crate) async fn run(me: Me, shared: Shared, topics: &'static [Topic]) {
    let topics = topics.iter().map(|topic| {
        let settings = topic.settings.iter().copied().chain([("cleanup.policy", topic.cleanup)]);
        let configs = settings.map(|(name, value)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        });
        CreatableTopic::default()
            .with_name(TopicName(text(topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(-1)
            .with_configs(configs.collect())
    });
    let request =
        CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(5_000);
    loop {
        let mut link = Link::reopen(&me, shared.broker).await;
        if let Ok(response) = link.ask(7, &request).await {
            let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
            if codes.iter().all(|code| [0, code::TOPIC_ALREADY_EXISTS].contains(code)) {
                shared.ledger.borrow_mut().ready = true;
                return;
            }
            if !codes.iter().all(|code| code::is_retriable(*code) || *code == 0 || *code == 36) {
                me.host().violation(format!("topics are not made: {codes:?}"));
                return;
            }
        }
        me.sleep_ms(50, 300).await;
    }
}

/// Waits until the topics are there. `false`: the run is over before.
pub(crate) async fn ready(me: &Me, shared: &Shared) -> bool {
    loop {
        let (ready, closing) = {
            let ledger = shared.ledger.borrow();
            (ledger.ready, ledger.closing)
        };
        if ready || closing {
            return ready;
        }
        me.sleep_ms(20, 60).await;
    }
}
