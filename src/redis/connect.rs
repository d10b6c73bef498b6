//! A connection: made, watched, given up.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};
use secrecy::ExposeSecret;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::sleep;

use super::commands::SAVE;
use super::progress::Sent;
use crate::clock::Moment;
use crate::config::{Address, Endpoint, TlsMaterial};
use crate::error::Error;

/// Pipelines that may wait for the socket before a sender does.
const PIPELINE_BUFFER: usize = 1024;

/// Why an answer did not come. In each case Redis may or may not have done what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It took longer than the command timeout.
    TimedOut,
    /// The connection is gone, for this reason.
    Lost(String),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(match trouble {
            Trouble::TimedOut => "it did not answer in time".to_owned(),
            Trouble::Lost(reason) => reason,
        })
    }
}

impl Trouble {
    /// What a refusal says of Redis as a whole: that it serves nobody, or only readers.
    #[must_use]
    pub fn from_refusal(error: &Error) -> Option<Self> {
        match error {
            Error::Redis(reason) if error.is_outage() => Some(Self::Lost(reason.clone())),
            _ => None,
        }
    }
}

/// What a Redis calls a connection. The number alone may mean another's after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    id: String,
    address: String,
}

impl Identity {
    fn from_info(info: &str) -> Option<Self> {
        let field = |name| info.split_whitespace().find_map(|pair: &str| pair.strip_prefix(name)).map(str::to_owned);
        Some(Self { id: field("id=")?, address: field("addr=")? })
    }
}

/// Who is told what a connection shows of the sessions. Every method is called in the order in which it came from Redis,
/// from the task that reads the socket, and must not block.
pub trait Watch: Send + Sync + 'static {
    /// The present moment: a command is about to be sent.
    fn sending(&self) -> Moment;
    /// A command that was sent at this moment was answered.
    fn answered(&self, sent: Moment);
    /// Another client changed what is under a key.
    fn changed(&self, key: &[u8]);
    /// Another client removed everything.
    fn flushed(&self);
    /// The connection is gone.
    fn lost(&self);
}

/// One connection to Redis, shared by all commands. Clones share it; it ends when it is abandoned.
#[derive(Clone)]
pub struct Connection {
    inner: MultiplexedConnection,
    lost: watch::Sender<bool>,
    scripts_forbidden: Arc<AtomicBool>,
    pub(super) sent: Arc<Sent>,
    command_timeout: Duration,
    watch: Arc<dyn Watch>,
    /// What Redis calls it.
    identity: Option<Identity>,
    /// Redis tells of changes, or why it does not.
    tracking: Result<(), String>,
}

impl Connection {
    /// Connects, authenticates and sees to it that Redis answers. With `track`, asks Redis to tell `watch` of the changes
    /// that others make to what is read here. Redis lets go of the `former` connection, if it still has it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] with the reason, in words that hold no secret.
    pub async fn open(
        endpoint: &Endpoint,
        (connect_timeout, command_timeout): (Duration, Duration),
        watch: Arc<dyn Watch>,
        track: bool,
        former: Option<&Identity>,
    ) -> Result<Self, Error> {
        let refused = |error: RedisError| Error::Unavailable(explain(&error, &endpoint.address));
        let open = |protocol| Self::open_with(endpoint, protocol, command_timeout, watch.clone());
        let connecting = async {
            let mut connection = match open(ProtocolVersion::RESP3).await {
                // Redis before version 6, and some proxies, speak RESP2 only.
                Err(error) if is_refusal_of_hello(&error) => open(ProtocolVersion::RESP2).await?,
                opened => opened?,
            };
            // A Redis that is loading its data accepts connections and refuses everything else.
            match redis::cmd("PING").query_async::<Value>(&mut connection.inner).await {
                // A user who may not say PING may well do all the rest.
                Err(error) if error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm) => return Err(error),
                _ => {}
            }
            if let Ok(info) = redis::cmd("CLIENT").arg("INFO").query_async::<String>(&mut connection.inner).await {
                connection.identity = Identity::from_info(&info);
            }
            if let Some(Identity { id, address }) = former {
                // What was sent on it and has not arrived must not be executed late, after what comes now.
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address);
                let _ = kill.query_async::<Value>(&mut connection.inner).await;
            }
            // So that the first save need not be sent twice, and to see whether it may be sent at all.
            let mut script = redis::cmd("EVAL");
            match script.arg(SAVE.as_str()).arg(0).query_async::<Value>(&mut connection.inner).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => connection.forbid_scripts(),
                _ => {}
            }
            if track && connection.tracking.is_ok() {
                let mut start = redis::cmd("CLIENT");
                start.arg("TRACKING").arg("ON").arg("NOLOOP");
                match start.query_async::<Value>(&mut connection.inner).await {
                    Err(error) if error.is_io_error() || error.is_timeout() => return Err(error),
                    Err(error) => connection.tracking = Err(reason(&error)),
                    Ok(_) => {}
                }
            } else if !track {
                connection.tracking = Err("it was not asked for".to_owned());
            }
            Ok(connection)
        };
        match tokio::time::timeout(connect_timeout, connecting).await {
            Ok(opened) => opened.map_err(refused),
            Err(_) => Err(Error::Unavailable(format!(
                "{} did not answer within {} ms",
                endpoint.address,
                connect_timeout.as_millis()
            ))),
        }
    }

    async fn open_with(
        endpoint: &Endpoint,
        protocol: ProtocolVersion,
        command_timeout: Duration,
        watch: Arc<dyn Watch>,
    ) -> Result<Self, RedisError> {
        let (lost, _) = watch::channel(false);
        let mut config = AsyncConnectionConfig::new()
            // `open` bounds the whole handshake.
            .set_connection_timeout(None)
            // `send` bounds each reply.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        if protocol == ProtocolVersion::RESP3 {
            let (lost, watch) = (lost.clone(), watch.clone());
            config = config.set_push_sender(move |push: PushInfo| {
                match push.kind {
                    PushKind::Disconnection => {
                        watch.lost();
                        lost.send_replace(true);
                    }
                    PushKind::Invalidate => tell(watch.as_ref(), &push.data),
                    _ => {}
                }
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let inner = client(endpoint, protocol)?.get_multiplexed_async_connection_with_config(&config).await?;
        let tracking = match protocol {
            ProtocolVersion::RESP3 => Ok(()),
            _ => Err("the server does not speak RESP3".to_owned()),
        };
        Ok(Self {
            inner,
            lost,
            scripts_forbidden: Arc::default(),
            sent: Sent::new(),
            command_timeout,
            watch,
            identity: None,
            tracking,
        })
    }

    /// What Redis calls this connection, if it told.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.identity.clone()
    }

    /// Whether this user may run scripts, as far as is known.
    #[must_use]
    pub fn may_run_scripts(&self) -> bool {
        !self.scripts_forbidden.load(Ordering::Relaxed)
    }

    pub(super) fn forbid_scripts(&self) {
        self.scripts_forbidden.store(true, Ordering::Relaxed);
    }

    /// Whether Redis tells this connection of changes that others make.
    #[must_use]
    pub fn tracks(&self) -> bool {
        self.tracking.is_ok()
    }

    /// Why Redis does not tell of changes.
    #[must_use]
    pub fn why_not_tracking(&self) -> Option<&str> {
        self.tracking.as_ref().err().map(String::as_str)
    }

    /// Sends a pipeline, in the order of the calls, and waits for all of its replies. A refusal by the server stands
    /// among them.
    ///
    /// # Errors
    ///
    /// [`Trouble`]; then it is unknown which of the commands were executed. But as long as the connection lasts they are
    /// sent, and before all that comes later: from what was executed follows what was.
    pub(super) async fn send(&self, pipeline: redis::Pipeline) -> Result<Vec<Value>, Trouble> {
        // There would be no reply to wait for.
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let sent = self.watch.sending();
        let mut inner = self.inner.clone();
        let mut request = Box::pin(async move { inner.send_packed_commands(&pipeline, 0, pipeline.len()).await });
        // It is sent when this is polled first, and not later: others are polled, and sent, after that.
        unconstrained(async {
            tokio::select! {
                biased;
                replies = &mut request => {
                    let replies = replies.map_err(|error| Trouble::Lost(reason(&error)))?;
                    if self.tracks() {
                        self.watch.answered(sent);
                    }
                    Ok(replies)
                }
                () = self.lost() => Err(Trouble::Lost("the connection was lost".to_owned())),
                () = sleep(self.command_timeout) => {
                    tokio::spawn(self.clone().linger(request));
                    Err(Trouble::TimedOut)
                }
            }
        })
        .await
    }

    /// Keeps a request that was given up: the redis crate does not send what nobody waits for.
    async fn linger<T>(self, request: impl Future<Output = T>) {
        tokio::select! {
            _ = request => {}
            () = self.lost() => {}
        }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when none comes.
    pub async fn ping(&self) -> Result<(), Trouble> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("PING");
        match self.send(pipeline).await?.into_iter().next() {
            Some(Value::ServerError(error)) => {
                Trouble::from_refusal(&Error::Redis(reason(&error.into()))).map_or(Ok(()), Err)
            }
            _ => Ok(()),
        }
    }

    /// Ends when the connection does.
    pub async fn lost(&self) {
        // The channel cannot be closed: `self` holds a sender.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Ends the connection: whatever waits for it ends at once with [`Trouble::Lost`].
    pub fn abandon(&self) {
        self.watch.lost();
        self.lost.send_replace(true);
    }
}

/// An invalidation: keys, or nothing for all of them.
fn tell(watch: &dyn Watch, data: &[Value]) {
    for value in data {
        match value {
            Value::Array(keys) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        watch.changed(key);
                    }
                }
            }
            _ => watch.flushed(),
        }
    }
}

fn client(endpoint: &Endpoint, protocol: ProtocolVersion) -> Result<Client, RedisError> {
    let mut settings = RedisConnectionInfo::default()
        .set_db(endpoint.db)
        .set_protocol(protocol)
        .set_lib_name("meetabl-session", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &endpoint.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &endpoint.password {
        settings = settings.set_password(password.expose_secret());
    }
    let address = match &endpoint.address {
        Address::Unix { path } => ConnectionAddr::Unix(path.clone()),
        Address::Tcp { host, port } if endpoint.tls.is_some() => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let info = address
        .into_connection_info()?
        .set_redis_settings(settings)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match &endpoint.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls)),
        None => Client::open(info),
    }
}

fn certificates(tls: &TlsMaterial) -> TlsCertificates {
    TlsCertificates {
        client_tls: tls.identity.as_ref().map(|(cert, key)| ClientTlsConfig {
            client_cert: cert.clone().into_bytes(),
            client_key: key.expose_secret().as_bytes().to_vec(),
        }),
        root_cert: tls.ca.clone().map(String::into_bytes),
    }
}

fn is_refusal_of_hello(error: &RedisError) -> bool {
    let kind = error.kind();
    kind == ErrorKind::RESP3NotSupported
        || kind == ErrorKind::Server(ServerErrorKind::ResponseError)
        || kind == ErrorKind::Server(ServerErrorKind::NoPerm)
}

/// What to tell a person whose Redis cannot be reached.
fn explain(error: &RedisError, address: &Address) -> String {
    match error.code() {
        Some("WRONGPASS" | "NOAUTH") => {
            format!("{address} refused the password. Check REDIS_PASSWORD and REDIS_USERNAME (or the options)")
        }
        Some("LOADING") => format!("{address} is loading its data"),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            format!("{address} refused the password. Check REDIS_PASSWORD and REDIS_USERNAME (or the options)")
        }
        _ => format!("{address}: {}", reason(error)),
    }
}

/// An error in short. Redis repeats the arguments of commands it does not know, and a key is one of them: they go.
pub(super) fn reason(error: &RedisError) -> String {
    if let ErrorKind::Server(kind) = error.kind() {
        let code = error.code().unwrap_or("ERR");
        let detail = error.detail().unwrap_or_default();
        let detail = detail.split(", with args").next().unwrap_or_default();
        return if kind == ServerErrorKind::ResponseError && detail.is_empty() {
            code.to_owned()
        } else {
            format!("{code} {detail}")
        };
    }
    // A code that the redis crate has no name for.
    match (error.kind(), error.code()) {
        (ErrorKind::Extension, Some(code)) => format!("{code} {}", error.detail().unwrap_or_default()),
        _ => error.to_string(),
    }
}
