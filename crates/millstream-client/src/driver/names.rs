//! Looking names up, on a thread of its own: the system's resolver blocks.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::network::ConnectionId;
use crate::settings::AddressFamily;

use super::sockets::Control;

/// What came of a look-up.
pub(super) struct Resolved {
    pub(super) connection: ConnectionId,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// All addresses in the resolver's order, or why there is none.
    pub(super) addresses: Result<Vec<SocketAddr>, String>,
}

/// Look-ups under way. Each runs on a thread of its own, which ends with it: they are rare, and one
/// that hangs must not hold the others up.
pub(super) struct Names {
    family: AddressFamily,
    control: Arc<Control>,
    sender: Sender<Resolved>,
    receiver: Receiver<Resolved>,
}

impl Names {
    pub(super) fn new(family: AddressFamily, control: Arc<Control>) -> Self {
        let (sender, receiver) = channel();
        Self { family, control, sender, receiver }
    }

    /// Begins a look-up; the thread is woken when it is done. An address needs none.
    pub(super) fn begin(
        &self,
        connection: ConnectionId,
        host: &Arc<str>,
        port: u16,
    ) -> Option<Resolved> {
        let resolved = |addresses| Resolved { connection, host: host.clone(), port, addresses };
        if let Ok(address) = host.parse() {
            return Some(resolved(Ok(vec![SocketAddr::new(address, port)])));
        }
        let (family, control, sender) = (self.family, self.control.clone(), self.sender.clone());
        let host = host.clone();
        let look_up = move || {
            let addresses = look_up(&host, port, family);
            // Nobody waits for it if the client is gone.
            let _ = sender.send(Resolved { connection, host, port, addresses });
            control.wake();
        };
        let thread = std::thread::Builder::new().name("millstream-names".into()).spawn(look_up);
        thread.err().map(|error| resolved(Err(format!("no thread to look the name up: {error}"))))
    }

    /// The next one that is done.
    pub(super) fn done(&self) -> Option<Resolved> {
        self.receiver.try_recv().ok()
    }
}

fn look_up(host: &str, port: u16, family: AddressFamily) -> Result<Vec<SocketAddr>, String> {
    let found =
        (host, port).to_socket_addrs().map_err(|error| format!("cannot find {host}: {error}"))?;
    let addresses: Vec<_> = found
        .filter(|address| match family {
            AddressFamily::Any => true,
            AddressFamily::V4 => address.is_ipv4(),
            AddressFamily::V6 => address.is_ipv6(),
        })
        .collect();
    if addresses.is_empty() {
        return Err(format!(
            "{host} has no address of the family that broker.address.family names"
        ));
    }
    Ok(addresses)
}
