//! A way to the brokers on which a test can do what networks do: cut connections at any byte, leave
//! them half open, slow them down, hold back one direction, or hide what a broker is able to.
//!
//! Brokers advertise the addresses of a lane (each is a listener of its own, `tools/kafka start
//! --lanes`), so that every byte is passed on as it came. The exceptions are [`Lane::pretend`] and
//! [`Lane::throttle`].
//!
//! `MILLSTREAM_TEST_LANES` has one lane a word, `TOLD=LISTENING,..` for each broker of it; or it is
//! `embedded`, and each lane leads to an embedded broker of its own.

mod link;
mod pretence;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_types::{Clock, SystemClock};

pub(crate) use pretence::KAFKA_2_4;

use crate::support::{LIMIT, until};
use link::Link;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToBroker,
    ToClient,
}

/// The lane of a test, or a skipped test.
macro_rules! lane {
    () => {
        match crate::lane::Lane::take() {
            Some(lane) => lane,
            None => return,
        }
    };
}
pub(crate) use lane;

/// What clients of a broker's lane are told, and where the broker listens.
type Pair = (SocketAddr, SocketAddr);

/// Lanes of Apache Kafka that no test uses at the moment.
static FREE: Mutex<Option<Vec<Vec<Pair>>>> = Mutex::new(None);
static RETURNED: Condvar = Condvar::new();

/// One test's own proxies, one for each broker. Nothing is wrong with them until it is told.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    pairs: Vec<Pair>,
    acceptors: Vec<JoinHandle<()>>,
    embedded: Option<(BrokerHandle, tempfile::TempDir)>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

#[derive(Default)]
struct State {
    links: Vec<Arc<Link>>,
    delay: Option<(Way, Duration)>,
    bytes_per_second: Option<u32>,
    pretend: Option<pretence::Table>,
    throttle: Option<Duration>,
    random: u64,
    /// New connections get a place to be cut at, as long as there are any left.
    cuts_left: u32,
    /// New connections that will be half open.
    mute: u32,
    /// Half open connections that their client has closed.
    given_up: usize,
    /// What was asked and is not to be had.
    refused: Vec<String>,
    /// Answers of brokers that were changed.
    rewritten: u32,
    closed: bool,
}

impl Lane {
    /// Waits for a lane that is free. `None`: the caller is to be skipped, and it was said.
    pub(crate) fn take() -> Option<Self> {
        let told = crate::support::env("MILLSTREAM_TEST_LANES")?;
        if Self::are_embedded() {
            return Some(Self::embedded(Arc::new(SystemClock)));
        }
        let mut free = FREE.lock().unwrap();
        free.get_or_insert_with(|| parse(&told));
        let pairs = loop {
            match free.as_mut().and_then(Vec::pop) {
                Some(pairs) => break pairs,
                None => free = RETURNED.wait(free).unwrap(),
            }
        };
        drop(free);
        let bound: Result<_, _> = pairs.iter().map(|pair| TcpListener::bind(pair.0)).collect();
        match bound {
            Ok(bound) => Some(Self::start(bound, pairs)),
            Err(error) => {
                let said = format!("a port of the lane {pairs:?} cannot be had: {error}");
                // Or other tests would wait for it.
                give_back(pairs);
                panic!("{said}");
            }
        }
    }

    /// Whether there are embedded brokers behind lanes, which can be had with another clock.
    pub(crate) fn are_embedded() -> bool {
        std::env::var("MILLSTREAM_TEST_LANES").as_deref() == Ok("embedded")
    }

    /// A lane to an embedded broker of its own, with that clock.
    pub(crate) fn embedded(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let told = bound.local_addr().unwrap();
        let config = BrokerConfig::new(dir.path()).advertise("127.0.0.1", told.port());
        let broker = BrokerHandle::start(config, clock).unwrap();
        let mut lane = Self::start(vec![bound], vec![(told, broker.address())]);
        lane.embedded = Some((broker, dir));
        lane
    }

    #[expect(clippy::disallowed_methods, reason = "real sockets, on threads")]
    fn start(bound: Vec<TcpListener>, pairs: Vec<Pair>) -> Self {
        let shared = Arc::new(Shared::default());
        let accept = |(listener, pair): (TcpListener, &Pair)| {
            let (shared, broker) = (Arc::clone(&shared), pair.1);
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if shared.lock().closed {
                        break;
                    }
                    // Nobody listens: the client sees its connection end, as it would without us.
                    if let (Ok(client), Ok(broker)) = (client, TcpStream::connect(broker)) {
                        link::open(&shared, client, broker);
                    }
                }
            })
        };
        let acceptors = bound.into_iter().zip(&pairs).map(accept).collect();
        Self { shared, pairs, acceptors, embedded: None }
    }

    /// The value of `bootstrap.servers`.
    pub(crate) fn brokers(&self) -> String {
        let told: Vec<_> = self.pairs.iter().map(|pair| pair.0.to_string()).collect();
        told.join(",")
    }

    /// Cuts so many connections, each at a byte that `seed` decides, in either direction. Those
    /// that are open are cut at once.
    pub(crate) fn cut(&self, seed: u64, cuts: u32) {
        let mut state = self.shared.lock();
        (state.random, state.cuts_left) = (seed | 1, cuts);
        state.links.iter().for_each(|link| link.close());
    }

    /// How many connections are still to be cut.
    pub(crate) fn cuts_left(&self) -> u32 {
        self.shared.lock().cuts_left
    }

    /// Open connections stay open from now on, and nothing passes them in either direction. New
    /// ones are sound.
    pub(crate) fn freeze(&self) {
        let state = self.shared.lock();
        assert!(!state.links.is_empty(), "nobody is connected");
        state.links.iter().for_each(|link| link.freeze());
    }

    /// The next `count` connections are taken, and nothing passes them.
    pub(crate) fn mute(&self, count: u32) {
        self.shared.lock().mute = count;
    }

    /// Waits until clients have closed `count` half open connections.
    pub(crate) fn await_given_up(&self, count: usize) {
        until("half open connections to be given up", || {
            link::pause(Duration::from_millis(10));
            (self.shared.lock().given_up >= count).then_some(())
        });
    }

    /// What passes in this direction arrives so much later, in order; `None`: no longer.
    pub(crate) fn delay(&self, delay: Option<(Way, Duration)>) {
        self.shared.lock().delay = delay;
    }

    /// At most so many bytes a second pass each connection, in each direction.
    pub(crate) fn slow(&self, bytes_per_second: u32) {
        self.shared.lock().bytes_per_second = Some(bytes_per_second);
    }

    /// New connections lead to what looks like a broker with these versions of requests and no
    /// features. One of another version is refused as such a broker would.
    pub(crate) fn pretend(&self, table: pretence::Table) {
        self.shared.lock().pretend = Some(table);
    }

    /// On new connections every answer to a Fetch says that the client is throttled for so long. One
    /// that sends anything before that is over is refused.
    pub(crate) fn throttle(&self, throttle: Duration) {
        self.shared.lock().throttle = Some(throttle);
    }

    /// What was asked that a pretended broker does not have, or of a throttled client, and frames
    /// that could not be read.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.shared.lock().refused.clone()
    }

    /// How many answers were changed for [`Self::pretend`] or [`Self::throttle`].
    pub(crate) fn rewritten(&self) -> u32 {
        self.shared.lock().rewritten
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.links.iter().for_each(|link| link.close());
        }
        for (acceptor, pair) in self.acceptors.drain(..).zip(&self.pairs) {
            // Wakes it; then it has let the port go.
            drop(TcpStream::connect_timeout(&pair.0, LIMIT));
            drop(acceptor.join());
        }
        if self.embedded.is_none() {
            give_back(std::mem::take(&mut self.pairs));
        }
    }
}

fn give_back(pairs: Vec<Pair>) {
    FREE.lock().unwrap().as_mut().expect("taken from it").push(pairs);
    RETURNED.notify_one();
}

fn parse(lanes: &str) -> Vec<Vec<Pair>> {
    let pair = |text: &str| {
        let (told, listening) = text.split_once('=').expect("TOLD=LISTENING");
        (told.parse().unwrap(), listening.parse().unwrap())
    };
    lanes.split_whitespace().map(|lane| lane.split(',').map(pair).collect()).collect()
}
