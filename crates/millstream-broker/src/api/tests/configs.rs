//! Settings and topics that requests make or change.

use super::*;

impl Bench {
    fn own(&self, topic: &str) -> Vec<(String, String)> {
        let own = &self.broker.topics.get(topic).unwrap().own;
        own.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// IncrementalAlterConfigs with one operation on a topic: 0 set, 1 delete, 2 append,
    /// 3 subtract.
    fn change(&mut self, topic: &str, name: &str, operation: i8, value: Option<&str>) -> i16 {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let change = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(topic))
            .with_configs(vec![change]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        self.ask(1, &request).responses[0].error_code
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[test]
fn metadata_makes_topics_only_if_the_broker_and_the_client_allow_it() {
    use metadata_request::MetadataRequestTopic;
    let ask = |bench: &mut Bench, name: &str, allow: bool| {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(allow);
        let response = bench.ask(12, &request);
        (response.topics[0].error_code, response.topics[0].partitions.len())
    };
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let mut off = Bench::new();
    assert_eq!(ask(&mut off, "t", true), (unknown, 0));
    let config = BrokerConfig::new("/data")
        .setting("auto.create.topics.enable", "true")
        .setting("num.partitions", "3");
    let mut on = Bench::with(config);
    assert_eq!(ask(&mut on, "t", false), (unknown, 0));
    assert_eq!(ask(&mut on, "t", true), (0, 3));
    assert_eq!(ask(&mut on, "a/b", true).0, ResponseError::InvalidTopicException.code());
    let on = on.crash();
    assert_eq!(on.broker.topics.get("t").unwrap().partitions.len(), 3);
}

#[test]
fn legacy_alter_configs_replaces_everything() {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let mut bench = Bench::new();
    bench.create("t", 1, &[("retention.ms", "1"), ("max.message.bytes", "2000")]);
    let mut replace = |configs: &[(&str, &str)], validate_only: bool| {
        let configs = configs
            .iter()
            .map(|(name, value)| {
                AlterableConfig::default().with_name(text(*name)).with_value(Some(text(*value)))
            })
            .collect();
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(configs);
        let request = AlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(validate_only);
        (bench.ask(2, &request).responses[0].error_code, bench.own("t"))
    };
    let before = pairs(&[("max.message.bytes", "2000"), ("retention.ms", "1")]);
    assert_eq!(replace(&[("retention.ms", "7")], true), (0, before.clone()));
    let config = ResponseError::InvalidConfig.code();
    assert_eq!(replace(&[("retention.ms", "7"), ("no.such", "1")], false), (config, before));
    // What is not named goes back to its default.
    assert_eq!(replace(&[("retention.ms", "7")], false), (0, pairs(&[("retention.ms", "7")])));
    assert_eq!(replace(&[], false), (0, vec![]));
}

#[test]
fn incremental_changes_add_to_lists_and_take_away() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[("retention.ms", "1")]);
    // Added to what the topic inherits.
    assert_eq!(bench.change("t", "cleanup.policy", 2, Some("compact")), 0);
    let both = pairs(&[("cleanup.policy", "delete,compact"), ("retention.ms", "1")]);
    assert_eq!(bench.own("t"), both);
    assert_eq!(bench.change("t", "cleanup.policy", 2, Some("compact")), 0, "it is there already");
    assert_eq!(bench.own("t"), both);
    assert_eq!(bench.change("t", "cleanup.policy", 3, Some("delete")), 0);
    let config = bench.broker.topics.get("t").unwrap().config.clone();
    assert!(config.compact && !config.delete);
    assert_eq!(bench.change("t", "cleanup.policy", 1, None), 0);
    assert_eq!(bench.own("t"), pairs(&[("retention.ms", "1")]));
    let refused = ResponseError::InvalidConfig.code();
    assert_eq!(bench.change("t", "retention.ms", 2, Some("1")), refused, "not a list");
    assert_eq!(bench.change("t", "cleanup.policy", 2, Some("shred")), refused);
    assert_eq!(bench.change("t", "retention.ms", 0, None), refused, "no value");
    assert_eq!(bench.change("t", "retention.ms", 9, None), ResponseError::InvalidRequest.code());
    assert_eq!(bench.own("t"), pairs(&[("retention.ms", "1")]));
}

#[test]
fn a_setting_that_an_option_decides_cannot_be_changed_either() {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let mut bench = Bench::new();
    let change = AlterableConfig::default()
        .with_name(text("listeners"))
        .with_value(Some(text("PLAINTEXT://:1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text("1"))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let row = &bench.ask(1, &request).responses[0];
    assert_eq!(row.error_code, ResponseError::InvalidRequest.code());
    assert!(row.error_message.as_ref().unwrap().contains("--listen"));
}
