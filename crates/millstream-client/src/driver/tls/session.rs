//! A TLS connection over a socket that does not block.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::TlsConfig;
use super::words::io_error;

/// A socket with its session. Where a call would have to wait for the socket it says
/// [`io::ErrorKind::WouldBlock`], and only then: as long as there are decrypted bytes, reading
/// gives them.
#[derive(Debug)]
pub(in crate::driver) struct TlsStream {
    pub(in crate::driver) socket: TcpStream,
    session: Box<ClientConnection>,
}

impl TlsStream {
    /// A session with a host of that name. Nothing is sent yet.
    pub(in crate::driver) fn new(
        socket: TcpStream,
        config: &TlsConfig,
        host: &str,
        address: IpAddr,
    ) -> io::Result<Self> {
        // What cannot be a name in a certificate can still be talked to if names are not verified;
        // otherwise the address will not be in the certificate, and the user is told so.
        let name = ServerName::try_from(host.to_owned())
            .unwrap_or_else(|_| ServerName::from(address).to_owned());
        let session = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| io_error(&error, true))?;
        Ok(Self { socket, session: Box::new(session) })
    }

    /// Goes on with the handshake. Returns whether it is done.
    pub(in crate::driver) fn handshake(&mut self) -> io::Result<()> {
        loop {
            self.flush()?;
            if !self.session.is_handshaking() {
                return Ok(());
            }
            if self.receive()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the other side closed the connection during the TLS handshake; check that security.protocol fits the port",
                ));
            }
        }
    }

    /// Reads from the socket and decrypts. Returns how many encrypted bytes there were; 0 at the
    /// end of the stream.
    fn receive(&mut self) -> io::Result<usize> {
        let read = self.session.read_tls(&mut self.socket)?;
        let handshaking = self.session.is_handshaking();
        if let Err(error) = self.session.process_new_packets() {
            // The alert that tells the other side why. It is a courtesy.
            let _ = self.flush();
            return Err(io_error(&error, handshaking));
        }
        Ok(read)
    }

    pub(in crate::driver) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A stream that ends without saying so is no worse than one that does: frames
                // have their length.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            self.receive()?;
        }
    }

    pub(in crate::driver) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What was taken before goes first, or the session would buffer without end.
        self.flush()?;
        let taken = self.session.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(in crate::driver) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Sends the encrypted bytes that wait.
    pub(in crate::driver) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will come. If the socket is full, it is not said.
    pub(in crate::driver) fn close(&mut self) {
        self.session.send_close_notify();
        let _ = self.flush();
    }
}
