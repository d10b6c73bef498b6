//! Where Redis is, and how to get in.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::settings::{Setting, Settings};
use crate::error::Error;

/// What a connection is made to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp {
        /// Name or IP address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Through a unix socket.
    Unix {
        /// The socket's path.
        path: PathBuf,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// Certificates in PEM. All absent: the system's trust store decides, and no client certificate is shown.
#[derive(Debug, Clone, Default)]
pub struct TlsMaterial {
    /// Authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// Client certificate chain and its key.
    pub identity: Option<(String, SecretString)>,
}

/// An address with what it takes to be let in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// ACL user, `None` for Redis's default user.
    pub username: Option<String>,
    /// Password, `None` when Redis asks for none.
    pub password: Option<SecretString>,
    /// Database number.
    pub db: i64,
    /// `None`: in the clear.
    pub tls: Option<TlsMaterial>,
}

impl Endpoint {
    /// An address is one URL, or parts. An option wins over the environment, so `host` given as an option sets
    /// `REDIS_URL` aside; within one source, both at once are an error or, in the environment, the URL wins.
    pub(super) fn from_settings(settings: &mut Settings) -> Result<Self, Error> {
        let url = settings.take("url");
        let parts = ["host", "port", "socketPath"].map(|name| settings.take(name));
        let given = parts.iter().flatten().find(|part| part.is_option());
        // Where an option says all of it, the environment has no say in it.
        let complete =
            url.as_ref().is_some_and(Setting::is_option) || given.is_some_and(|part| part.name == "socketPath");
        let mut endpoint = match (url, given) {
            (Some(url), Some(part)) if url.is_option() => {
                return Err(Error::InvalidOption(format!(
                    "The options `url` and `{}` both say where Redis is. Expected one of them: leave the other out.",
                    part.name
                )));
            }
            (Some(url), None) => from_url(&url)?,
            (Some(_) | None, _) => from_parts(parts)?,
        };
        endpoint.refine(settings, complete)?;
        Ok(endpoint)
    }

    /// Adds what is configured beside the address. What a URL says is only overruled by an option. A password from the
    /// environment completes any address without one.
    fn refine(&mut self, settings: &mut Settings, complete: bool) -> Result<(), Error> {
        if let Some(user) = settings.take("username").filter(|s| s.is_option() || self.username.is_none()) {
            self.username = Some(user.text()?);
        }
        if let Some(password) = settings.take("password").filter(|s| s.is_option() || self.password.is_none()) {
            self.password = Some(password.text()?.into());
        }
        if let Some(db) = settings.take("db").filter(|s| s.is_option() || !complete) {
            self.db = db.whole(&(0..=1_000_000))?.cast_signed();
        }
        self.refine_tls(settings, complete)
    }

    fn refine_tls(&mut self, settings: &mut Settings, complete: bool) -> Result<(), Error> {
        let [ca, cert, key] = ["tls.ca", "tls.cert", "tls.key"].map(|name| settings.take(name));
        if let Some(setting) = settings.take("tls").filter(|s| s.is_option() || !complete) {
            match (setting.flag()?, &self.address, &self.tls) {
                (true, Address::Unix { .. }, _) => {
                    return Err(setting.refuse("nothing here: a unix socket never leaves the machine"));
                }
                (false, _, Some(_)) => return Err(setting.refuse("`true`, as the address starts with rediss://")),
                (true, Address::Tcp { .. }, _) => self.tls = Some(TlsMaterial::default()),
                (false, _, None) => {}
            }
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((pem(&cert)?, pem(&key)?.into())),
            (None, None) => None,
            (Some(lone), None) | (None, Some(lone)) => {
                return Err(lone.refuse("`cert` and `key` together, or neither"));
            }
        };
        if let Some(tls) = &mut self.tls {
            tls.ca = ca.as_ref().map(pem).transpose()?;
            tls.identity = identity;
        }
        Ok(())
    }
}

fn pem(setting: &Setting) -> Result<String, Error> {
    let text = setting.text()?;
    if text.contains("-----BEGIN ") { Ok(text) } else { Err(setting.refuse("PEM text (`-----BEGIN …`), not a path")) }
}

fn from_parts([host, port, path]: [Option<Setting>; 3]) -> Result<Endpoint, Error> {
    let address = match path {
        Some(path) if host.iter().chain(&port).any(Setting::is_option) => {
            return Err(path.refuse("either `socketPath` or `host` and `port`"));
        }
        Some(path) if path.text()?.is_empty() || path.text()?.contains("://") => {
            return Err(path.refuse("the path of a unix socket"));
        }
        Some(path) => Address::Unix { path: path.text()?.into() },
        None => Address::Tcp {
            host: host.map_or(Ok("localhost".to_owned()), |host| match host.text()? {
                text if text.is_empty() || text.contains(['/', ' ', '@']) => {
                    Err(host.refuse("a host name or IP address, such as `localhost`"))
                }
                text => Ok(text),
            })?,
            port: match port {
                None => 6379,
                Some(port) => u16::try_from(port.whole(&(1..=65_535))?).unwrap_or(u16::MAX),
            },
        },
    };
    Ok(Endpoint { address, username: None, password: None, db: 0, tls: None })
}

fn from_url(setting: &Setting) -> Result<Endpoint, Error> {
    const EXPECTED: &str = "an address such as redis://localhost:6379, rediss://user:password@host:6380/0 or \
                            redis+unix:///run/redis.sock, with special characters percent-encoded";
    let refuse = || setting.refuse(EXPECTED);
    let url = Url::parse(&setting.text()?).map_err(|_| refuse())?;
    let query = |name| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let (address, path_db) = match url.scheme() {
        "redis" | "rediss" => {
            let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(refuse)?;
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = url.port().unwrap_or(6379);
            (Address::Tcp { host, port }, Some(url.path().trim_matches('/').to_owned()))
        }
        "redis+unix" | "unix" => {
            let path = decode(url.path()).filter(|path| path.len() > 1).ok_or_else(refuse)?;
            (Address::Unix { path: path.into() }, None)
        }
        _ => return Err(refuse()),
    };
    let db = path_db.filter(|db| !db.is_empty()).or_else(|| query("db"));
    let username = Some(url.username()).filter(|name| !name.is_empty());
    Ok(Endpoint {
        address,
        username: username.map(|name| decode(name).ok_or_else(refuse)).transpose()?.or_else(|| query("user")),
        password: match url.password() {
            Some(password) => Some(decode(password).ok_or_else(refuse)?.into()),
            None => query("pass").map(Into::into),
        },
        db: db.map_or(Ok(0), |db| db.parse::<u32>().map(i64::from).map_err(|_| refuse()))?,
        tls: (url.scheme() == "rediss").then(TlsMaterial::default),
    })
}

fn decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}
