//! What comes before the first frame: TLS, and who the client is by its certificate.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{self, Closed};
use super::{Door, Shared};
use crate::broker::Peer;
use crate::security::tls;

/// So long a TLS handshake may take. What it may keep in memory meanwhile, rustls bounds.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Serves a connection of a listener until the client closes it.
pub(super) async fn serve(
    shared: &Shared,
    door: &Door,
    stream: TcpStream,
    address: SocketAddr,
) -> Result<(), Closed> {
    stream.set_nodelay(true)?;
    let host = address.ip().to_string();
    let listener = door.number;
    let by_sasl = door.protocol.has_sasl();
    let Some(acceptor) = &door.tls else {
        let peer = match by_sasl {
            true => Peer::to_authenticate(&host, listener),
            false => Peer::unknown(&host, listener),
        };
        return connection::serve(shared, stream, peer).await;
    };
    let stream = shake_hands(shared, acceptor, stream).await?;
    let peer = if by_sasl {
        Peer::to_authenticate(&host, listener)
    } else {
        match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            None => Peer::unknown(&host, listener),
            Some(certificate) => {
                let unreadable = || Closed::Tls("the client's certificate names nobody".to_owned());
                let principal = tls::principal_of(certificate).ok_or_else(unreadable)?;
                Peer::known(&host, listener, &principal)
            }
        }
    };
    connection::serve(shared, stream, peer).await
}

async fn shake_hands(
    shared: &Shared,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Closed> {
    let limit = shared.idle_max.map_or(HANDSHAKE_MAX, |idle| idle.min(HANDSHAKE_MAX));
    match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Err(_) => Err(Closed::Tls(format!("no handshake within {} s", limit.as_secs_f32()))),
        Ok(Err(error)) => Err(Closed::Tls(tls::describe(&error))),
        Ok(Ok(stream)) => Ok(stream),
    }
}
