//! A server: accepts until the drain starts, gives each connection a task, and ends when the last of them has ended.
//!
//! Never spins and never exits for want of file descriptors: it backs off, and lets go of idle connections meanwhile.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::body::Body;
use crate::connection::{Control, House, Peer, attend};
use crate::drain::Drain;
use crate::fault::{Fault, FaultSwitch};
use crate::listener::Bound;
use crate::server_options::ServerOptions;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Serves HTTP/1.1 and HTTP/2 without TLS (by prior knowledge) on one port, until the drain has started and all connections have ended.
///
/// Dropping the future ends everything at once. Bounds are per call: workers that share a socket by [`Bound::try_clone`] each have their
/// own share. The handler's future of an HTTP/1.1 request is dropped when its client leaves; that of an HTTP/2 stream when it is reset.
pub async fn serve<H, F>(
    bound: Bound,
    options: Arc<ServerOptions>,
    faults: FaultSwitch,
    drain: Drain,
    handler: H,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut fault_changes = faults.watch();
    let most = options.max_connections.max(1);
    let house = Arc::new(House {
        options,
        control: Control::default(),
        faults,
        handler,
    });
    let mut connections = JoinSet::new();
    let mut listener: Option<TcpListener> = None;
    // After an accept failed: how long it is left alone, and whether that time still runs.
    let mut pause: Option<Duration> = None;
    let mut resting = false;
    let mut drained = pin!(drain.started());

    loop {
        while connections.try_join_next().is_some() {}
        if house.faults.current() == Fault::Down {
            listener = None;
            bound.close();
            house.control.reset_all();
            tokio::select! {
                () = &mut drained => break,
                _ = fault_changes.changed() => continue,
            }
        }
        let open = match &listener {
            Some(open) => open,
            // After a fault another worker may not have let go of the port yet.
            None => match bound.listen() {
                Ok(opened) => listener.insert(opened),
                Err(_) => {
                    tokio::select! {
                        () = &mut drained => break,
                        () = tokio::time::sleep(FIRST_PAUSE) => continue,
                    }
                }
            },
        };
        let full = connections.len() >= most;
        house.control.set_crowded(full || pause.is_some());
        tokio::select! {
            biased;
            () = &mut drained => break,
            _ = fault_changes.changed() => {}
            _ = connections.join_next(), if !connections.is_empty() => resting = false,
            () = tokio::time::sleep(pause.unwrap_or_default()), if resting => resting = false,
            accepted = open.accept(), if !resting && !full => match accepted {
                Ok((stream, addr)) => {
                    pause = None;
                    connections.spawn(attend(Arc::clone(&house), prepared(stream), addr));
                }
                Err(error) => {
                    pause = after(&error, pause);
                    resting = pause.is_some();
                }
            },
        }
    }

    drop(listener);
    bound.close();
    house.control.drain();
    while connections.join_next().await.is_some() {}
}

fn prepared(stream: TcpStream) -> TcpStream {
    // Without it a token waits for the acknowledgement of the one before. A failure costs only that.
    let _ = stream.set_nodelay(true);
    stream
}

/// How long to wait after a failed accept; no time at all when only that one connection was bad.
fn after(error: &io::Error, last: Option<Duration>) -> Option<Duration> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::Interrupted => None,
        _ => Some(last.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE))),
    }
}
