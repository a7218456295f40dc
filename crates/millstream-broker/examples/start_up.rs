//! How long a broker takes to start on what is there already:
//! `cargo run --release -p millstream-broker --example start_up -- [--topics N] [--partitions N]
//! [--records N] [--batch N] [--bytes N] [--idempotent]`.
//!
//! A child process of this program is the broker that is filled and killed. The defaults are 100
//! topics of 10 partitions, 10,000 records of 100 bytes in each, 100 of them a batch. What is
//! measured: the start after the kill, and the start after an orderly stop.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_protocol::{Compression, RecordBatchBuilder};
use millstream_types::{Clock, SystemClock};

struct Size {
    topics: usize,
    partitions: i32,
    records: usize,
    batch: usize,
    bytes: usize,
    idempotent: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut size = Size {
        topics: 100,
        partitions: 10,
        records: 10_000,
        batch: 100,
        bytes: 100,
        idempotent: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number = || -> Result<usize, Box<dyn Error>> {
            Ok(arguments.next().ok_or("the option takes a value")?.parse()?)
        };
        match name.as_str() {
            "--topics" => size.topics = number()?,
            "--partitions" => size.partitions = i32::try_from(number()?)?,
            "--records" => size.records = number()?,
            "--batch" => size.batch = number()?.max(1),
            "--bytes" => size.bytes = number()?,
            "--idempotent" => size.idempotent = true,
            "--serve" => return serve(&arguments.next().ok_or("--serve takes a folder")?),
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let dir = tempfile::tempdir()?;
    let clock = SystemClock;
    let (mut child, address) = spawn(dir.path().to_str().ok_or("a temporary folder of text")?)?;
    let begun = clock.monotonic();
    let filled = fill(&address, &size);
    child.kill()?;
    child.wait()?;
    filled?;
    println!("filled in {:.1?}", clock.monotonic() - begun);
    for how in ["a kill", "an orderly stop", "an orderly stop"] {
        let begun = clock.monotonic();
        let broker = BrokerHandle::start(BrokerConfig::new(dir.path()), Arc::new(SystemClock))?;
        let took = clock.monotonic() - begun;
        broker.shutdown();
        let begun = clock.monotonic();
        broker.wait()?;
        println!(
            "start after {how}: {took:.1?}; its orderly stop: {:.1?}",
            clock.monotonic() - begun
        );
    }
    Ok(())
}

fn serve(dir: &str) -> Result<(), Box<dyn Error>> {
    let broker = BrokerHandle::start(BrokerConfig::new(dir), Arc::new(SystemClock))?;
    println!("{}", broker.address());
    std::io::stdout().flush()?;
    Ok(broker.wait()?)
}

fn spawn(dir: &str) -> Result<(Child, String), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--serve", dir])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
    Ok((child, line.trim().to_owned()))
}

fn fill(address: &str, size: &Size) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let name = |number: usize| TopicName(StrBytes::from_string(format!("t{number}")));
    let topics = (0..size.topics).map(|number| {
        CreatableTopic::default()
            .with_name(name(number))
            .with_num_partitions(size.partitions)
            .with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect());
    ask(&mut stream, 7, &request.with_timeout_ms(60_000))?;
    let value = vec![b'v'; size.bytes];
    for round in 0..size.records.div_ceil(size.batch) {
        let count = size.batch.min(size.records - round * size.batch);
        let now_ms = SystemClock.wall();
        for topic in 0..size.topics {
            let mut partitions = Vec::new();
            for partition in 0..size.partitions {
                let mut builder = RecordBatchBuilder::new(Compression::None);
                if size.idempotent {
                    builder = builder.producer(7, 0, (round * size.batch) as i32);
                }
                for number in 0..count {
                    let key = (number as u64).to_be_bytes();
                    builder.push(now_ms, Some(&key), Some(&value), []);
                }
                let records = builder.finish(0)?;
                partitions.push(
                    PartitionProduceData::default()
                        .with_index(partition)
                        .with_records(Some(records.into())),
                );
            }
            let data =
                TopicProduceData::default().with_name(name(topic)).with_partition_data(partitions);
            let request = ProduceRequest::default()
                .with_acks(1)
                .with_timeout_ms(60_000)
                .with_topic_data(vec![data]);
            ask(&mut stream, 9, &request)?;
        }
    }
    Ok(())
}

/// Sends a request and reads its answer.
fn ask<R: Request>(
    stream: &mut TcpStream,
    version: i16,
    request: &R,
) -> Result<(), Box<dyn Error>> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i16(R::KEY);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    if R::header_version(version) >= 2 {
        frame.put_u8(0);
    }
    request.encode(&mut frame, version)?;
    let length = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length))?];
    Ok(stream.read_exact(&mut answer)?)
}
