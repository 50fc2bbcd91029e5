//! Ports of pods on this machine, through the API server: what `kubectl port-forward` does.
//!
//! Each port gets a listener on loopback; each connection that it takes becomes a connection to the pod over a websocket
//! of its own. So whoever wants to talk to a pod needs an address only and no way into the cluster's network.

use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::watch::chain;

/// A forwarded port; it ends when this is dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forward {
    /// Opens `port` of a pod here. It is tried once, so that what is wrong is said at once.
    ///
    /// # Errors
    /// The API server or the node refuses, or there is no port free here.
    pub async fn open(
        client: &Client,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<Self, String> {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let what = format!("port {port} of pod {namespace}/{pod} cannot be forwarded");
        let wrong = |why: &(dyn std::error::Error + 'static)| format!("{what}: {}", chain(why));
        let first = api.portforward(pod, &[port]).await;
        drop(first.map_err(|error| wrong(&error))?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| wrong(&error))?;
        let address = listener.local_addr().map_err(|error| wrong(&error))?;
        let task = tokio::spawn(accept(listener, api, pod.to_owned(), port));
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, api: Api<Pod>, pod: String, port: u16) {
    loop {
        // Out of file descriptors: the next one may find some.
        let Ok((connection, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (api, pod) = (api.clone(), pod.clone());
        tokio::spawn(async move { carry(connection, &api, &pod, port).await });
    }
}

/// A connection that breaks is closed here, too; whoever uses it sees that.
async fn carry(mut connection: TcpStream, api: &Api<Pod>, pod: &str, port: u16) {
    let _ = connection.set_nodelay(true);
    let Ok(mut forwarder) = api.portforward(pod, &[port]).await else {
        return;
    };
    if let Some(mut stream) = forwarder.take_stream(port) {
        let _ = copy_bidirectional(&mut connection, &mut stream).await;
    }
    forwarder.abort();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    const PORT: u16 = 8000;

    /// What kubelets speak when ports are forwarded.
    const PROTOCOL: &str = "v4.channel.k8s.io";

    /// An API server that knows nothing but the forwarding of one port, behind which everything is said back in capitals.
    async fn api_server(listener: TcpListener) {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                #[allow(clippy::result_large_err)] // the library's own type
                let agree = |request: &Request, mut response: Response| {
                    let (path, query) = (request.uri().path(), request.uri().query());
                    assert_eq!(path, "/api/v1/namespaces/n/pods/p/portforward");
                    assert!(query.unwrap().ends_with("ports=8000"));
                    let offered = request.headers()["sec-websocket-protocol"].to_str();
                    assert!(offered.unwrap().contains(PROTOCOL));
                    let chosen = PROTOCOL.parse().unwrap();
                    response
                        .headers_mut()
                        .insert("sec-websocket-protocol", chosen);
                    Ok(response)
                };
                let mut socket = accept_hdr_async(connection, agree).await.unwrap();
                for channel in [0, 1] {
                    let [low, high] = PORT.to_le_bytes();
                    let first = Message::binary(vec![channel, low, high]);
                    socket.send(first).await.unwrap();
                }
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_binary() {
                        let back = message.into_data().to_ascii_uppercase();
                        let _ = socket.send(Message::binary(back)).await;
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn what_is_sent_to_the_port_here_comes_to_the_pod_and_back() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(api_server(listener));
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let forward = Forward::open(&client, "n", "p", PORT).await.unwrap();
        for word in ["one", "two"] {
            let mut own = TcpStream::connect(forward.address()).await.unwrap();
            own.write_all(word.as_bytes()).await.unwrap();
            let mut back = [0; 3];
            own.read_exact(&mut back).await.unwrap();
            assert_eq!(back, *word.to_uppercase().as_bytes());
        }
        server.abort();
        let _ = server.await;
        let refused = Forward::open(&client, "n", "p", PORT).await.unwrap_err();
        assert!(refused.contains("port 8000 of pod n/p"), "{refused}");
    }
}
