//! What librdkafka itself can do, as the ceiling for benchmarks, and what this crate makes of it.
//!
//! ```text
//! raw fill    --broker B --topic T --count N [--size 100]
//! raw consume --broker B --topic T --count N [--ours]
//! raw copy    --broker B --topic T --to T2 --count N [--ours]
//! ```
//!
//! Without `--ours` it is plain `rdkafka-sys` used in the best way that is known: every partition's
//! queue forwarded to one, emptied in batches; produced with a copy of the payload, deliveries not
//! reported. With `--ours` the same goes through the traits of this crate. `fill` makes the topics'
//! input: one partition, 16-byte keys, values of `--size` bytes. Prints one line: records, seconds,
//! CPU seconds of the process, nanoseconds of CPU per record.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use millstream_kafka::{
    ClientConfig, ClientFactory, ConsumerConfig, ConsumerEvent, ConsumerSettings, Librdkafka,
    NewTopic, Partition, PartitionStart, ProduceError, ProduceRecord, ProducerEvent, Properties,
    StartOffset, admin_properties, consumer_properties, producer_properties,
};
use millstream_types::{Clock, HeadersView, SystemClock, TopicPartition};
use rdkafka_sys::bindings as sys;

const LIMIT: Duration = Duration::from_secs(120);

struct Options {
    command: String,
    broker: String,
    topic: String,
    to: String,
    count: u64,
    size: usize,
    ours: bool,
    extra: Properties,
}

fn options() -> Result<Options, String> {
    let mut args = std::env::args().skip(1);
    let command = args.next().ok_or("a command: fill, consume or copy")?;
    let mut options = Options {
        command,
        broker: String::new(),
        topic: String::new(),
        to: String::new(),
        count: 0,
        size: 100,
        ours: false,
        extra: Properties::new(),
    };
    while let Some(name) = args.next() {
        if name == "--ours" {
            options.ours = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{name}: not a number: {value}"));
        match &*name {
            "--broker" => options.broker = value,
            "--topic" => options.topic = value,
            "--to" => options.to = value,
            "--count" => options.count = number()?,
            "--size" => options.size = number()? as usize,
            "-X" => {
                let (name, value) = value.split_once('=').ok_or("-X name=value")?;
                options.extra.set(name, value);
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    match options.count > 0 && !options.broker.is_empty() && !options.topic.is_empty() {
        true => Ok(options),
        false => Err("--broker, --topic and --count are needed".to_owned()),
    }
}

fn main() {
    let options = options().unwrap_or_else(|error| {
        eprintln!("raw: {error}");
        std::process::exit(2)
    });
    let clock = SystemClock;
    let (start, cpu) = (clock.monotonic(), cpu_seconds());
    match (&*options.command, options.ours) {
        ("fill", _) => fill(&options),
        ("consume", false) => raw(&options, false),
        ("copy", false) => raw(&options, true),
        ("consume", true) => ours(&options, false),
        ("copy", true) => ours(&options, true),
        (other, _) => panic!("unknown command {other}"),
    }
    let (wall, cpu) = ((clock.monotonic() - start).as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{} {} records={} seconds={wall:.2} cpu={cpu:.2} cpu_ns_per_record={:.0}",
        options.command,
        if options.ours { "ours" } else { "raw" },
        options.count,
        cpu * 1e9 / options.count as f64
    );
}

/// CPU time of all threads of this process so far, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<_> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    // Fields 14 and 15, in hundredths of a second.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks")).sum::<f64>() / 100.0
}

fn properties(options: &Options, producer: bool) -> Properties {
    let connection = Properties::from([("bootstrap.servers", &*options.broker)]);
    match producer {
        true => producer_properties(&options.extra, &connection),
        false => consumer_properties(&options.extra, &connection, &ConsumerSettings::default()),
    }
}

fn create(options: &Options, topic: &str) {
    let connection = Properties::from([("bootstrap.servers", &*options.broker)]);
    let config = ClientConfig::new(admin_properties(&Properties::new(), &connection));
    let mut admin = Librdkafka.admin(&config).expect("settings");
    // The records' timestamps are older than what a broker keeps by default.
    let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
    let new = NewTopic { config, ..NewTopic::new(topic) };
    let _ = admin.create_topics(&[new], LIMIT).expect("a broker").remove(0);
    admin.await_topics(&[topic], LIMIT).expect("the topic");
}

fn fill(options: &Options) {
    create(options, &options.topic);
    let config = ClientConfig::new(properties(options, true));
    let mut producer = Librdkafka.producer(&config).expect("settings");
    let topic = producer.topic(&options.topic).expect("a name");
    let mut value = vec![b'x'; options.size];
    let mut events = Vec::new();
    for number in 0..options.count {
        let key = format!("{number:016}");
        let tail = options.size.saturating_sub(16);
        value[tail..].copy_from_slice(&key.as_bytes()[16 - (options.size - tail)..]);
        let record = ProduceRecord {
            topic,
            partition: Partition::At(0),
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: HeadersView::default(),
            timestamp: Some(1_700_000_000_000 + number as i64),
        };
        while let Err(error) = producer.produce(&record) {
            assert_eq!(error, ProduceError::QueueFull);
            producer.flush(Duration::from_millis(1), &mut events);
        }
    }
    assert_eq!(producer.flush(LIMIT, &mut events), 0);
}

fn ours(options: &Options, copy: bool) {
    let config = ConsumerConfig::new(ClientConfig::new(properties(options, false)));
    let mut consumer = Librdkafka.consumer(&config).expect("settings");
    let config = ClientConfig::new(properties(options, true));
    let mut out = copy.then(|| {
        create(options, &options.to);
        let mut producer = Librdkafka.producer(&config).expect("settings");
        let topic = producer.topic(&options.to).expect("a name");
        (producer, topic)
    });
    let partition = TopicPartition::new(&*options.topic, 0);
    let start = PartitionStart::new(partition, StartOffset::Beginning);
    consumer.assign(&[start]).expect("a partition");
    let (mut events, mut told, mut count, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    while count < options.count {
        consumer.poll(Duration::from_secs(1), &mut events);
        for event in events.drain(..) {
            let batch = match event {
                ConsumerEvent::Records(batch) => batch,
                ConsumerEvent::PartitionEnd(..) if count < options.count => {
                    panic!("the topic has only {count} records")
                }
                _ => continue,
            };
            for record in batch.iter() {
                count += 1;
                bytes += record.size();
                let Some((producer, topic)) = &mut out else { continue };
                let copied = ProduceRecord {
                    topic: *topic,
                    partition: Partition::At(0),
                    key: record.key(),
                    value: record.value(),
                    headers: record.headers(),
                    timestamp: Some(record.timestamp()),
                };
                while producer.produce(&copied).is_err() {
                    producer.flush(Duration::from_millis(1), &mut told);
                }
            }
        }
        if let Some((producer, _)) = &mut out {
            producer.poll(&mut told);
        }
    }
    if let Some((producer, _)) = &mut out {
        assert_eq!(producer.flush(LIMIT, &mut told), 0);
    }
    let failed = told.iter().any(|event| matches!(event, ProducerEvent::DeliveryFailed(_)));
    assert!(!failed && bytes > 0);
}

/// A client of librdkafka's, with its settings.
unsafe fn client(kind: sys::rd_kafka_type_t, properties: &Properties) -> *mut sys::rd_kafka_t {
    let mut text = [0; 512];
    // SAFETY: strings live as long as the calls; the client takes the configuration over.
    unsafe {
        let conf = sys::rd_kafka_conf_new();
        for (name, value) in properties.iter() {
            let (name, value) = (CString::new(name).unwrap(), CString::new(value).unwrap());
            sys::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), text.as_mut_ptr(), 512);
        }
        let rk = sys::rd_kafka_new(kind, conf, text.as_mut_ptr(), 512);
        assert!(!rk.is_null(), "{:?}", CStr::from_ptr(text.as_ptr()));
        rk
    }
}

unsafe fn topic(rk: *mut sys::rd_kafka_t, name: &str) -> *mut sys::rd_kafka_topic_t {
    let name = CString::new(name).unwrap();
    // SAFETY: the client is alive; the name is copied.
    unsafe { sys::rd_kafka_topic_new(rk, name.as_ptr(), ptr::null_mut()) }
}

fn raw(options: &Options, copy: bool) {
    if copy {
        create(options, &options.to);
    }
    let mut consumer_settings = properties(options, false);
    consumer_settings.set("enable.partition.eof", "false");
    let mut producer_settings = properties(options, true);
    producer_settings.remove("delivery.report.only.error");
    // SAFETY: clients, topics and queue live until the process ends; messages are used between
    // their arrival and `rd_kafka_message_destroy`; lengths are theirs.
    unsafe {
        let rk = client(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, &consumer_settings);
        let queue = sys::rd_kafka_queue_new(rk);
        let input = topic(rk, &options.topic);
        let beginning = i64::from(sys::RD_KAFKA_OFFSET_BEGINNING);
        assert_eq!(sys::rd_kafka_consume_start_queue(input, 0, beginning, queue), 0);
        let out = copy.then(|| {
            let rk = client(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, &producer_settings);
            (rk, topic(rk, &options.to))
        });
        let mut messages = vec![ptr::null_mut(); 1024];
        let (mut count, mut bytes) = (0, 0);
        while count < options.count {
            // Nothing there: wait for one, then take what there is.
            let mut got =
                sys::rd_kafka_consume_batch_queue(queue, 0, messages.as_mut_ptr(), messages.len());
            if got == 0 {
                got = sys::rd_kafka_consume_batch_queue(queue, 100, messages.as_mut_ptr(), 1);
            }
            for &message in &messages[..got as usize] {
                let read = &*message;
                count += 1;
                bytes += read.len + read.key_len;
                if let Some((rk, topic)) = out {
                    produce_raw(rk, topic, read);
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
        if let Some((rk, _)) = out {
            sys::rd_kafka_flush(rk, 120_000);
            assert_eq!(sys::rd_kafka_outq_len(rk), 0);
        }
        assert!(bytes > 0);
    }
}

unsafe fn produce_raw(
    rk: *mut sys::rd_kafka_t,
    topic: *mut sys::rd_kafka_topic_t,
    read: &sys::rd_kafka_message_t,
) {
    use sys::rd_kafka_vtype_t::*;
    loop {
        // SAFETY: client and topic are alive, key and payload are copied; each tag is followed by
        // what it asks for.
        let code = unsafe {
            sys::rd_kafka_producev(
                rk,
                RD_KAFKA_VTYPE_RKT,
                topic,
                RD_KAFKA_VTYPE_PARTITION,
                0_i32,
                RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                RD_KAFKA_VTYPE_KEY,
                read.key,
                read.key_len,
                RD_KAFKA_VTYPE_VALUE,
                read.payload,
                read.len,
                RD_KAFKA_VTYPE_TIMESTAMP,
                sys::rd_kafka_message_timestamp(read, ptr::null_mut()),
                RD_KAFKA_VTYPE_END,
            )
        };
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => return,
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL => {
                // SAFETY: the client is alive.
                unsafe { sys::rd_kafka_poll(rk, 1) };
            }
            other => panic!("{other:?}"),
        }
    }
}
