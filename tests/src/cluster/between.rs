//! A door in front of the API server that can fail in the ways of a real one.
//!
//! Behind it is `kubectl proxy`, so it speaks plain HTTP/1.1, one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use super::Cluster;
use crate::process::Process;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is passed on.
    Pass,
    /// It is answered with this status, these header lines and this body.
    Answer(u16, String, String),
    /// The connection is closed without an answer.
    Close,
}

/// Decides by method and path with query.
type Rule = dyn Fn(&str, &str) -> Fault + Send + Sync;

/// The door.
pub struct Between {
    address: SocketAddr,
    shared: Arc<Shared>,
    folder: PathBuf,
    _proxy: Process,
}

struct Shared {
    behind: SocketAddr,
    rule: Mutex<Arc<Rule>>,
    asked: Mutex<Vec<(String, String)>>,
    open: Mutex<Vec<TcpStream>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Between {
    /// Opens one that acts with the rights of a kubeconfig.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(cluster: &Cluster, kubeconfig: &std::path::Path) -> Self {
        let mut command = Command::new(cluster.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(kubeconfig).args([
            "proxy",
            "--port=0",
            "--reject-paths=^$",
        ]);
        let proxy = Process::start("kubectl proxy", command);
        let behind = proxy.wait_line("where it listens", |line| {
            line.strip_prefix("Starting to serve on ")?.parse().ok()
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener's address");
        let shared = Arc::new(Shared {
            behind,
            rule: Mutex::new(Arc::new(|_: &str, _: &str| Fault::Pass)),
            asked: Mutex::default(),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(shared.serve(connection)));
            }
        });
        Self {
            address,
            shared,
            folder: cluster.folder.clone(),
            _proxy: proxy,
        }
    }

    /// A kubeconfig that leads here.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.join(format!("between-{}", self.address.port()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tests\n\
             clusters: [{{name: tests, cluster: {{server: \"http://{}\"}}}}]\nusers: [{{name: tests, user: {{}}}}]\n\
             contexts: [{{name: tests, context: {{cluster: tests, user: tests}}}}]\n",
            self.address
        );
        std::fs::write(&path, text).expect("the folder of the cluster can be written");
        path
    }

    /// From now on requests go by this rule.
    pub fn rule(&self, rule: impl Fn(&str, &str) -> Fault + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Arc::new(rule);
    }

    /// Breaks off everything that is under way, watches among it.
    pub fn cut(&self) {
        for connection in lock(&self.shared.open).drain(..) {
            // It may have ended by itself.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Method and path of every request so far.
    pub fn asked(&self) -> Vec<(String, String)> {
        lock(&self.shared.asked).clone()
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if !lower.starts_with("connection:") {
                head.push(line);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let first = head.first().cloned().unwrap_or_default();
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        lock(&self.asked).push((method.clone(), path.clone()));
        let rule = Arc::clone(&lock(&self.rule));
        match rule(&method, &path) {
            Fault::Close => Ok(()),
            Fault::Answer(status, headers, body) => {
                write!(
                    client,
                    "HTTP/1.1 {status} said\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                    body.len()
                )
            }
            Fault::Pass => {
                let mut behind = TcpStream::connect(self.behind)?;
                lock(&self.open).extend([behind.try_clone()?, client.try_clone()?]);
                head.push("connection: close\r\n\r\n".to_owned());
                behind.write_all(head.concat().as_bytes())?;
                behind.write_all(&body)?;
                std::io::copy(&mut behind, &mut client)?;
                client.shutdown(Shutdown::Both)
            }
        }
    }
}
