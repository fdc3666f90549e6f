//! Encryption of the merchant port, for tills and apps on other machines: certificate and key are files, and can be
//! replaced while the node runs. Whoever connects from this machine itself may go on without.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use zeroize::Zeroizing;

use super::connection::{self, Connection, Connections};
use crate::config::Merchant;

/// A chain of a few certificates has some 10 kB.
const PEM_BYTES_MAX: u64 = 256 * 1_024;
/// Rights of everybody that make a key none: reading and writing. A group may read it, as certificate tools have it.
#[cfg(unix)]
const KEY_SHARED_MODE: u32 = 0o026;
/// Callers who have connected and not yet spoken, or are in their handshake. Beyond, others wait.
const HANDSHAKES_MAX: usize = 256;
/// A handshake takes two round trips in the shop's own network.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Connections that wait for the server to take them; it does so at once.
const READY_MAX: usize = 64;
/// After a failed accept. With no file descriptors left the next one fails too, and would at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What the first byte of a TLS connection is, and of no other that is spoken here.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large to be what it is said to be.
    #[error("{0} has more than {PEM_BYTES_MAX} bytes")]
    Size(PathBuf),
    /// Everybody may read the key, or a group may write it.
    #[error("{path} can be read by everybody or written by others (mode {mode:03o}): run `chmod 640 {path}`")]
    Shared {
        /// The key.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// It holds nothing of the kind.
    #[error("{path} holds no {what} in PEM form: {why}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        why: String,
    },
    /// The key is another certificate's, or of a kind that is not known.
    #[error("{certificate} and {key} cannot be used together: {source}")]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Reads what the settings name; none where they name nothing.
///
/// # Errors
/// A file is missing, open to others or no PEM, or the two do not belong together.
pub fn load(settings: &Merchant) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else {
        return Ok(None);
    };
    let pem = |path: &Path, what, why: String| TlsError::Pem { path: path.to_owned(), what, why };
    let bytes = read(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| pem(certificate, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(pem(certificate, "certificate", "there is none".to_owned()));
    }
    refuse_shared(key)?;
    let bytes = read(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes);
    let secret = secret.map_err(|error| pem(key, "private key", error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret));
    let mut config = config.map_err(|source| TlsError::Pair {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })?;
    // gRPC, and browsers' gRPC-Web.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(TlsError::Size(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn refuse_shared(path: &Path) -> Result<(), TlsError> {
    let metadata = fs::metadata(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })?;
    let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777;
    if mode & KEY_SHARED_MODE == 0 { Ok(()) } else { Err(TlsError::Shared { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_shared(_path: &Path) -> Result<(), TlsError> {
    Ok(())
}

/// How callers are let in. Clones see the same.
#[derive(Debug, Clone)]
pub(super) struct Doorway(Arc<RwLock<Terms>>);

#[derive(Debug, Clone)]
struct Terms {
    tls: Option<Arc<ServerConfig>>,
    /// Whether other machines may come without encryption.
    plaintext_lan: bool,
}

impl Doorway {
    /// By the settings, and the certificate that they name.
    pub(super) fn new(settings: &Merchant, tls: Option<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(Terms { tls, plaintext_lan: settings.allow_plaintext_lan })))
    }

    /// Lets callers in by other terms from now on; those who are in stay.
    pub(super) fn set(&self, settings: &Merchant, tls: Option<Arc<ServerConfig>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            Terms { tls, plaintext_lan: settings.allow_plaintext_lan };
    }

    fn terms(&self) -> Terms {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes callers in until the stream is dropped. What goes wrong with one concerns no other. Must be called within the
    /// runtime.
    pub(super) fn open(self, listener: TcpListener) -> ReceiverStream<io::Result<Caller>> {
        let (ready, incoming) = mpsc::channel(READY_MAX);
        tokio::spawn(self.accept_all(listener, ready));
        ReceiverStream::new(incoming)
    }

    async fn accept_all(self, listener: TcpListener, ready: mpsc::Sender<io::Result<Caller>>) {
        let connections = Arc::<Connections>::default();
        let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        // Dropping the set at the end aborts the handshakes under way.
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = ready.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            drop(stream.set_nodelay(true));
            let (terms, local) = (self.terms(), is_local(&stream, remote));
            let stream = match Connection::admit(&connections, stream, connection::SILENCE_MAX) {
                Ok(stream) => stream,
                Err(reason) => {
                    tracing::warn!(%remote, %reason, "a connection was turned away");
                    continue;
                }
            };
            // This machine's own callers wait for no stranger.
            let slot = if local { None } else { Arc::clone(&slots).acquire_owned().await.ok() };
            let ready = ready.clone();
            handshakes.spawn(async move {
                let received = tokio::time::timeout(HANDSHAKE_TIME, terms.receive(stream, local)).await;
                drop(slot);
                match received {
                    Ok(Ok(caller)) => drop(ready.send(Ok(caller)).await),
                    Ok(Err(error)) => tracing::debug!(%remote, %error, "a caller was not let in"),
                    Err(_) => tracing::debug!(%remote, "a caller was too slow to be let in"),
                }
            });
        }
    }
}

impl Terms {
    async fn receive(self, stream: Connection, local: bool) -> io::Result<Caller> {
        let plain_fits = local || self.plaintext_lan;
        let Some(tls) = self.tls else {
            return if plain_fits { Ok(Caller::Plain(stream)) } else { Err(unencrypted()) };
        };
        let mut first = [0];
        let is_tls = stream.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE;
        match (is_tls, plain_fits) {
            (true, _) => Ok(Caller::Tls(Box::new(TlsAcceptor::from(tls).accept(stream).await?))),
            (false, true) => Ok(Caller::Plain(stream)),
            (false, false) => Err(unencrypted()),
        }
    }
}

fn unencrypted() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "it does not encrypt")
}

/// Whether both ends are on this machine.
fn is_local(stream: &TcpStream, remote: SocketAddr) -> bool {
    let remote = remote.ip().to_canonical();
    remote.is_loopback() || stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == remote)
}

/// A caller's connection.
#[derive(Debug)]
pub(super) enum Caller {
    Plain(Connection),
    Tls(Box<TlsStream<Connection>>),
}

impl Connected for Caller {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Self::Plain(stream) => stream.connect_info(),
            Self::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Caller {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Caller {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use data_encoding::BASE64;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
    }

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
    }

    fn write(folder: &Path, certificate: &str, key: &str) -> Merchant {
        let (certificate_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&certificate_file, certificate).unwrap();
        fs::write(&key_file, key).unwrap();
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o640)).unwrap();
        Merchant { tls_certificate: Some(certificate_file), tls_key: Some(key_file), ..Merchant::default() }
    }

    #[test]
    fn what_is_no_pair_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (_, other)) = (pair(), pair());
        assert!(load(&Merchant::default()).unwrap().is_none());
        assert!(load(&write(folder.path(), &certificate, &key)).unwrap().is_some());
        let cut = &certificate[..certificate.len() / 2];
        for (certificate, key, file) in [
            (certificate.as_str(), other.as_str(), "cannot be used together"),
            ("", &key, "chain.pem holds no certificate"),
            (cut, &key, "chain.pem holds no certificate"),
            (&key, &key, "chain.pem holds no certificate"),
            (&certificate, "", "key.pem holds no private key"),
            (&certificate, &certificate, "key.pem holds no private key"),
            (&certificate, &"x".repeat(300_000), "key.pem has more than"),
        ] {
            let error = load(&write(folder.path(), certificate, key)).unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
        }
        let settings = write(folder.path(), &certificate, &key);
        for (mode, fits) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false)] {
            let key = settings.tls_key.as_ref().unwrap();
            fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(load(&settings).is_ok(), fits, "{mode:o}");
        }
        fs::remove_file(settings.tls_certificate.as_ref().unwrap()).unwrap();
        assert!(matches!(load(&settings), Err(TlsError::Io { .. })));
    }

    /// Whether a caller from somewhere is let in, and encrypted.
    async fn received(terms: Terms, local: bool, says: &[u8]) -> Option<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        caller.write_all(says).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connections = Arc::<Connections>::default();
        let admitted = Connection::admit(&connections, stream, HANDSHAKE_TIME).unwrap();
        match terms.receive(admitted, local).await {
            Ok(Caller::Plain(mut stream)) => {
                let mut heard = vec![0; says.len()];
                stream.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, says, "nothing that was looked at is lost");
                Some(false)
            }
            Ok(Caller::Tls(_)) => Some(true),
            Err(_) => None,
        }
    }

    #[tokio::test]
    async fn other_machines_encrypt_unless_the_owner_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = pair();
        let tls = load(&write(folder.path(), &certificate, &key)).unwrap();
        let terms = |tls: &Option<_>, plaintext_lan| Terms { tls: tls.clone(), plaintext_lan };
        let hello = b"PRI * HTTP/2.0\r\n";
        assert_eq!(received(terms(&tls, false), true, hello).await, Some(false));
        assert_eq!(received(terms(&tls, false), false, hello).await, None);
        assert_eq!(received(terms(&tls, true), false, hello).await, Some(false));
        assert_eq!(received(terms(&None, false), false, hello).await, None);
        assert_eq!(received(terms(&None, false), true, hello).await, Some(false));
        // What begins as TLS and is none is let in nowhere.
        assert_eq!(received(terms(&tls, true), true, b"\x16nonsense that is no handshake").await, None);
    }
}
